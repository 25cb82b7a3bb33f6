"""The door of the responder: every check of a query that needs no encrypted work, in the documented order.

    1 signature    2 sender and recipient    3 replay    4 time window, suspension    5 evidence
    6 agreement and policy    7 evaluation keys    8 plan, ciphertext length and hash    9 capacity

Before 1 nothing shows who speaks. What fails 2 or 3 is the peer's own signed word, but no entry of ours can
say so truthfully: it would name parties that have no exchange, or stand in an exchange that says something
else, and an audit would lay it to us. All three are answered with an error and counted. From 4 on a refusal
is an entry of our ledger with its reason.

Source: specs/wire.md, section "Checks".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from crypto.errors import PeerFault
from protocol import limits
from protocol.agreement import Agreement
from protocol.errors import EvidenceRejected, RefusalReason, Refused, Replayed, WrongMessage
from protocol.evidence import StaleCheckpoint, VerifiedEntry
from protocol.exchange import checks
from protocol.exchange.commands import Command, RememberCheckpoint, SpendQuota
from protocol.exchange.parties import Parties, PlanSizes, Seen
from protocol.exchange.responder import ResponderRecord, ResponderSession, ResponderState
from protocol.exchange.session import Step, keep_evidence
from protocol.messages import Query, QuerySubmission, message_hash, open_signed
from protocol.policy import Quota, Spent, allow
from protocol.registration import InUse
from protocol.seen_by import UnseenCheckpoint
from protocol.statements import QueryIntent


@dataclass(frozen=True)
class Arrival:
    """A submission as it came over the peer's authenticated connection.

    Attributes:
        submission: The bytes of the ``QuerySubmission``.
        ciphertext_hash: Of the ciphertext that followed (``Context.CIPHERTEXT``), stored durably by now.
        ciphertext_bytes: Its length as received.
    """

    submission: bytes
    ciphertext_hash: bytes
    ciphertext_bytes: int


@dataclass(frozen=True)
class StoredQuery:
    """A query that has its session here.

    Attributes:
        peer: Who sent it.
        query_hash: Its name.
    """

    peer: str
    query_hash: bytes


@dataclass(frozen=True)
class Surroundings:
    """What the node knows at the time of an arrival.

    Attributes:
        seen: The newest checkpoint of the sender's ledger that is stored here.
        stored: Given an exchange id: all queries under it, from whatever peer, and what else our ledger has.
        agreement: The agreement with a digest that is in force between the two nodes, if any.
        spent: How many queries of this sender this node accepted under a quota.
        keys: The evaluation keys that this sender registered under a hash.
        plan: The plan of a profile digest, if this node has it and a gallery for it.
        busy: Seconds after which there may be capacity for another query of this sender; 0 if there is now.
        suspended: The operator, or evidence against the sender's ledger, has stopped exchanges with it.
    """

    seen: Seen | None
    stored: Callable[[bytes], Sequence[StoredQuery]]
    agreement: Callable[[bytes], Agreement | None]
    spent: Spent
    keys: Callable[[bytes], InUse | None]
    plan: Callable[[bytes], PlanSizes | None]
    busy: int
    suspended: bool = False


@dataclass(frozen=True)
class Admission:
    """What comes of an arrival: exactly one of a new session, a known query, or a fault.

    Attributes:
        session: New; store it under ``session.query_hash`` with ``step``'s commands.
        step: First step of the new session, or what to keep of a faulty arrival.
        known: The hash of a query that has its session already: answer with that session's status.
        fault: What to tell the sender; nothing is logged, the node counts it.
    """

    session: ResponderSession | None
    step: Step
    known: bytes | None = None
    fault: PeerFault | None = None


def admit(arrival: Arrival, around: Surroundings, parties: Parties, now_ms: int) -> Admission:
    """Check an arrival and open its session, accepting or refusing.

    Args:
        arrival: What came.
        around: What this node knows.
        parties: This node and the peer that the connection authenticated.
        now_ms: The time.
    """
    try:
        submission = QuerySubmission.from_bytes(arrival.submission)
        query = open_signed(Query, submission.query, parties.peer.identity)
    except PeerFault as fault:
        return Admission(None, Step(), fault=fault)
    query_hash = message_hash(submission.query)
    stored = around.stored(query.exchange_id)
    if any((item.peer, item.query_hash) == (parties.peer.country, query_hash) for item in stored):
        return Admission(None, Step(), known=query_hash)
    if (query.requester, query.responder) != (parties.peer.country, parties.country):
        return Admission(None, Step(), fault=WrongMessage("the query is not from its sender to this node"))
    if stored:
        return Admission(None, Step(), fault=Replayed("this exchange id is on the ledger already"))
    commands: list[Command] = []
    entry: VerifiedEntry[QueryIntent] | None = None
    quota: Quota | None = None
    block_bytes, reason = 0, None
    try:
        check_message(query, now_ms, suspended=around.suspended)
        entry = checks.verify_entry(submission.evidence, parties, around.seen, QueryIntent, now_ms)
        commands.append(_remember(entry, parties))
        checks.verify_intent(entry, query, query_hash)
        quota, block_bytes = _check_coverage(query, arrival, around, now_ms)
    except StaleCheckpoint as fault:
        return Admission(None, Step(), fault=fault)
    except EvidenceRejected as error:
        commands += keep_evidence(error, parties.peer.country, arrival.submission)
        reason = RefusalReason.BAD_EVIDENCE
    except UnseenCheckpoint as error:
        # Whoever else has seen it, the peer's log has signed it: that is kept.
        commands.append(_remember(error.entry, parties))
        reason = RefusalReason.UNSEEN_CHECKPOINT
    except Refused as refusal:
        reason = refusal.reason
    accepted = reason is None
    if accepted and quota is not None:
        commands.append(SpendQuota(quota))
    record = ResponderRecord(
        exchange_id=query.exchange_id,
        deadline_ms=now_ms + limits.ANSWER_PERIOD if accepted else None,
        retry_ms=now_ms,
        entry_ms=now_ms,
        state=ResponderState.LOGGING_ACCEPTANCE if accepted else ResponderState.LOGGING_REFUSAL,
        query=submission.query,
        query_hash=query_hash,
        answer_block_bytes=block_bytes,
        intent_leaf=entry.leaf_hash if entry is not None else None,
        reason=reason,
        retry_after_s=around.busy if reason is RefusalReason.BUSY else None,
        answer_by_ms=now_ms + limits.ANSWER_PERIOD if accepted else None,
    )
    session, step = ResponderSession.open(record, parties)
    return Admission(session, Step((*commands, *step.commands)))


def check_message(query: Query, now_ms: int, *, suspended: bool = False) -> None:
    """Check 4, which needs nothing but the query and the clock. Raises ``Refused``."""
    life = query.expires_ms - query.created_ms
    fresh = abs(now_ms - query.created_ms) <= limits.CLOCK_SKEW and now_ms < query.expires_ms
    if not fresh or not limits.MIN_QUERY_LIFE <= life <= limits.MAX_QUERY_LIFE:
        raise Refused(RefusalReason.OUTSIDE_TIME_WINDOW, "the query is too old, too new, or lives too long")
    if suspended:
        raise Refused(RefusalReason.PEER_SUSPENDED, "exchanges with this peer are suspended")


def _check_coverage(
    query: Query, arrival: Arrival, around: Surroundings, now_ms: int
) -> tuple[Quota | None, int]:
    """Checks 6 to 9; what the query counts against, and the bytes of one answer block."""
    agreement = around.agreement(query.agreement)
    quota = allow(agreement, query, now_ms, around.spent)
    plan = around.plan(query.profile)
    if plan is None or plan.identifier != query.plan:
        raise Refused(RefusalReason.PROFILE_MISMATCH, "this node searches under another plan")
    check_keys(around.keys(query.evaluation_keys), query, agreement)
    if not query.ciphertext_bytes == arrival.ciphertext_bytes == plan.query_bytes:
        raise Refused(
            RefusalReason.BAD_CIPHERTEXT_LENGTH, "the ciphertext has another length than the plan's"
        )
    if query.ciphertext_hash != arrival.ciphertext_hash:
        raise Refused(RefusalReason.CIPHERTEXT_MISMATCH, "the ciphertext is not the one that the query names")
    if around.busy:
        raise Refused(RefusalReason.BUSY, "no capacity for another query now")
    return quota, plan.answer_block_bytes


def check_keys(keys: InUse | None, query: Query, agreement: Agreement | None) -> None:
    """Check 7: registered for this plan, as strictly as this agreement asks, and for these days. Raises ``Refused``."""
    if agreement is None or keys is None or keys.plan != query.plan:
        raise Refused(RefusalReason.KEYS_UNKNOWN, "register the evaluation keys first")
    wanted = agreement.fields
    if keys.sets < wanted.key_sets or keys.epoch_days != wanted.key_epoch_days:
        raise Refused(RefusalReason.KEYS_UNKNOWN, "the keys were registered under another agreement")
    if not keys.at(query.created_ms):
        raise Refused(RefusalReason.KEYS_EXPIRED, "the keys are of another epoch")


def _remember(entry: VerifiedEntry[QueryIntent], parties: Parties) -> RememberCheckpoint:
    return RememberCheckpoint(parties.peer.country, entry.head.size, entry.head.root, entry.checkpoint)
