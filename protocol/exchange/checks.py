"""What each side checks of the other's messages and ledger evidence, as pure functions.

A signed message and the entry that backs it must name each other: same exchange, same query, same content.

Source: specs/wire.md, section "Checks".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeVar

from crypto.errors import ConcordatError, PeerFault
from protocol import limits
from protocol.conflict import Conflict, accused
from protocol.conflict import Rule as ConflictRule
from protocol.errors import EvidenceRejected, WrongMessage
from protocol.evidence import (
    ForkedLedger,
    LogEvidence,
    NotConsistent,
    RolledBackLedger,
    StaleCheckpoint,
    VerifiedEntry,
    verify_evidence,
)
from protocol.exchange.parties import Parties, Seen
from protocol.messages import (
    AnswerHeader,
    Decision,
    ExchangeStatus,
    Progress,
    Query,
    Receipt,
    ReceiptReply,
    ReportSubmission,
    ResultReport,
    Signed,
    SignedMessage,
    message_hash,
    open_signed,
)
from protocol.seen_by import UnseenCheckpoint, unseen
from protocol.statement_parts import SharedPart
from protocol.statements import (
    Asked,
    QueryAccepted,
    QueryAnswered,
    QueryClaimed,
    QueryFailed,
    QueryIntent,
    QueryRefused,
    QueryResult,
)

T = TypeVar("T", bound=SharedPart)
S = TypeVar("S", bound=SignedMessage)

ASKED_FIELDS: Final = (
    "exchange_id",
    "requester",
    "responder",
    "agreement",
    "purpose",
    "legal_basis",
    "offence",
    "person_category",
    "modality",
    "authority",
)
"""The fields that a query and every ``Asked`` statement about it share."""

REPLY_FIELDS: Final = ("exchange_id", "requester", "responder", "agreement")
OUTCOME_FIELDS: Final = ("answer_hash", "outcome", "hits", "reason")

SLOTS_PER_BLOCK: Final = limits.SLOTS_PER_BLOCK


@dataclass(frozen=True)
class VerifiedStatus:
    """An ``ExchangeStatus`` of which everything holds."""

    decision: Decision
    decision_envelope: bytes
    decision_entry: VerifiedEntry[SharedPart]
    progress: Progress | None
    answer: AnswerHeader | None
    answer_envelope: bytes | None
    answer_entry: VerifiedEntry[QueryAnswered] | None


@dataclass(frozen=True)
class VerifiedReport:
    """A result report of which everything holds."""

    report: ResultReport
    envelope: bytes
    entry: VerifiedEntry[QueryResult]


def own_query(envelope: bytes) -> Query:
    """The query inside an envelope that was verified before it was stored."""
    return Query.from_bytes(Signed.from_bytes(envelope).message)


def verify_entry(
    body: bytes, parties: Parties, seen: Seen | None, expected: type[T], now_ms: int
) -> VerifiedEntry[T]:
    """Verify evidence of the peer's ledger.

    Raises:
        StaleCheckpoint: Ask for, or be asked for, newer evidence.
        EvidenceRejected: Everything else that is wrong with it; with a conflict file if the peer's log has signed
            what contradicts itself.
        UnseenCheckpoint: It holds, but nobody outside the pair vouches for the checkpoint as the agreement demands.
    """
    last_seen = (seen.size, seen.root) if seen is not None else None
    stored_ms = seen.stored_ms if seen is not None else 0
    try:
        evidence = LogEvidence.from_bytes(body)
    except ConcordatError as error:
        raise EvidenceRejected(str(error), error.code) from None
    try:
        entry = verify_evidence(evidence, parties.peer.ledger, last_seen, expected, stored_ms)
    except StaleCheckpoint:
        raise
    except ConcordatError as error:
        conflict = _conflict(error, evidence, parties, seen, now_ms)
        raise EvidenceRejected(str(error), error.code, conflict) from None
    missing = unseen(parties.peer.demands, evidence.checkpoint)
    if missing is not None:
        raise UnseenCheckpoint(missing, entry)
    return entry


CONFLICTS: Final[dict[type[ConcordatError], ConflictRule]] = {
    ForkedLedger: "fork",
    RolledBackLedger: "rollback",
    NotConsistent: "inconsistent",
}
"""What convicts the peer's log, or accuses it until it proves otherwise."""


def _conflict(
    error: ConcordatError, evidence: LogEvidence, parties: Parties, seen: Seen | None, now_ms: int
) -> bytes | None:
    rule = CONFLICTS.get(type(error))
    if rule is None or seen is None or not seen.note:
        return None
    late = rule == "rollback"
    log, mldsa = accused(parties.peer.ledger)
    return Conflict(
        rule=rule,
        log=log,
        mldsa=mldsa,
        holder=parties.country,
        seen_ms=seen.stored_ms,
        shown_ms=now_ms,
        seen=seen.note,
        shown=evidence.checkpoint,
        proof=tuple(evidence.inclusion if late else evidence.consistency),
        index=evidence.index if late else 0,
        entry=evidence.leaf if late else b"",
    ).to_bytes()


def verify_intent(entry: VerifiedEntry[QueryIntent], query: Query, query_hash: bytes) -> None:
    """The intent names this very query and ciphertext. Raises ``EvidenceRejected``."""
    shared = entry.shared
    _same(shared, query, ASKED_FIELDS)
    _equal(shared.query_hash, query_hash, "query_hash")
    _same(shared, query, ("ciphertext_hash", "profile", "plan"))


def verify_status(
    body: bytes, parties: Parties, query_envelope: bytes, intent_leaf: bytes, seen: Seen | None, now_ms: int
) -> VerifiedStatus:
    """Check all that a responder says about our query.

    Raises:
        BadEncoding, BadMessage, BadSignature, WrongMessage: The messages are wrong.
        StaleCheckpoint: The evidence is older than what we hold by now.
        EvidenceRejected: The evidence is wrong, or is of an entry that says something else.
        UnseenCheckpoint: No third party vouches for the checkpoint, and the agreement demands one.
    """
    status = ExchangeStatus.from_bytes(body)
    query = own_query(query_envelope)
    query_hash = message_hash(query_envelope)
    decision = _open(Decision, status.decision, parties, query, query_hash)
    _check_time(decision.decided_ms, query, now_ms)
    entry = _decision_entry(decision, status.decision_evidence, parties, seen, now_ms)
    _same(entry.shared, query, ASKED_FIELDS if isinstance(entry.shared, Asked) else REPLY_FIELDS)
    _equal(getattr(entry.shared, "query_hash", None), query_hash, "query_hash")
    if isinstance(entry.shared, QueryAccepted):
        _same(entry.shared, query, ("ciphertext_hash",))
        _equal(entry.shared.intent_leaf, intent_leaf, "intent_leaf")
    elif isinstance(entry.shared, QueryRefused | QueryFailed):
        _equal(entry.shared.reason, str(decision.reason), "reason")
    if decision.outcome == "accepted" and status.witnessed is None:
        raise WrongMessage("an acceptance without the requester's checkpoint, cosigned")
    if status.answer is None or status.answer_evidence is None:
        return VerifiedStatus(decision, status.decision, entry, status.progress, None, None, None)
    if decision.outcome != "accepted":
        raise WrongMessage("an answer to a query that was not accepted")
    answer = _open(AnswerHeader, status.answer, parties, query, query_hash)
    _check_time(answer.answered_ms, query, now_ms)
    answered = verify_entry(status.answer_evidence, parties, seen, QueryAnswered, now_ms)
    _same(answered.shared, query, REPLY_FIELDS)
    _equal(answered.shared.query_hash, query_hash, "query_hash")
    _same(answered.shared, answer, ("answer_hash", "blocks"))
    if answered.index <= entry.index:
        raise EvidenceRejected("the answer stands before the acceptance", "log-before-work")
    return VerifiedStatus(decision, status.decision, entry, status.progress, answer, status.answer, answered)


def verify_receipt(
    body: bytes,
    parties: Parties,
    query_envelope: bytes,
    report_envelope: bytes,
    seen: Seen | None,
    now_ms: int,
) -> tuple[bytes, VerifiedEntry[QueryClaimed]]:
    """The envelope of a receipt for this report, and the responder's entry; errors as ``verify_status``."""
    reply = ReceiptReply.from_bytes(body)
    query = own_query(query_envelope)
    query_hash = message_hash(query_envelope)
    report_hash = message_hash(report_envelope)
    receipt = _open(Receipt, reply.receipt, parties, query, query_hash)
    if receipt.report_hash != report_hash:
        raise WrongMessage("a receipt for another report")
    _check_time(receipt.received_ms, query, now_ms)
    report = ResultReport.from_bytes(Signed.from_bytes(report_envelope).message)
    entry = verify_entry(reply.evidence, parties, seen, QueryClaimed, now_ms)
    _same(entry.shared, query, REPLY_FIELDS)
    _equal(entry.shared.query_hash, query_hash, "query_hash")
    _equal(entry.shared.report_hash, report_hash, "report_hash")
    _same(entry.shared, report, OUTCOME_FIELDS)
    return reply.receipt, entry


def verify_report(
    body: bytes,
    parties: Parties,
    query_envelope: bytes,
    answer: tuple[bytes, int] | None,
    seen: Seen | None,
    now_ms: int,
) -> VerifiedReport:
    """Check a requester's report against what we answered: ``answer`` is (hash, blocks), None if nothing.

    Raises:
        BadEncoding, BadMessage, BadSignature, WrongMessage, StaleCheckpoint, EvidenceRejected: As above.
    """
    submission = ReportSubmission.from_bytes(body)
    query = own_query(query_envelope)
    query_hash = message_hash(query_envelope)
    report = _open(ResultReport, submission.report, parties, query, query_hash)
    _check_time(report.reported_ms, query, now_ms)
    if report.outcome != "failed":
        if answer is None or report.answer_hash != answer[0]:
            raise WrongMessage("a result of an answer that was not given")
        if report.hits > answer[1] * SLOTS_PER_BLOCK:
            raise WrongMessage("more hits than the answer has slots")
    entry = verify_entry(submission.evidence, parties, seen, QueryResult, now_ms)
    _same(entry.shared, query, REPLY_FIELDS)
    _equal(entry.shared.query_hash, query_hash, "query_hash")
    _same(entry.shared, report, OUTCOME_FIELDS)
    return VerifiedReport(report, submission.report, entry)


def report_envelope(body: bytes) -> bytes | None:
    """The envelope in a report submission, unverified, to compare with a stored one; None if unreadable."""
    try:
        return ReportSubmission.from_bytes(body).report
    except PeerFault:
        return None


def _decision_entry(
    decision: Decision, evidence: bytes, parties: Parties, seen: Seen | None, now_ms: int
) -> VerifiedEntry[SharedPart]:
    kinds: dict[str, type[SharedPart]] = {
        "accepted": QueryAccepted,
        "refused": QueryRefused,
        "failed": QueryFailed,
    }
    return verify_entry(evidence, parties, seen, kinds[decision.outcome], now_ms)


def _check_time(said_ms: int, query: Query, now_ms: int) -> None:
    """What is said about a query was said after the query was made, and not in the future; clocks may differ."""
    if not query.created_ms - limits.CLOCK_SKEW <= said_ms <= now_ms + limits.CLOCK_SKEW:
        raise WrongMessage("the message's time is before its query's, or in the future")


def _open(kind: type[S], envelope: bytes, parties: Parties, query: Query, query_hash: bytes) -> S:
    message = open_signed(kind, envelope, parties.peer.identity)
    for name in ("exchange_id", "requester", "responder"):
        if getattr(message, name) != getattr(query, name):
            raise WrongMessage(f"a {kind.__name__} of another exchange: {name} differs")
    if getattr(message, "query_hash", None) != query_hash:
        raise WrongMessage(f"a {kind.__name__} of another query")
    return message


def _same(shared: SharedPart, message: SignedMessage, names: tuple[str, ...]) -> None:
    for name in names:
        theirs = getattr(message, name)
        _equal(getattr(shared, name), str(theirs) if isinstance(theirs, str) else theirs, name)


def _equal(one: object, other: object, name: str) -> None:
    if one != other:
        raise EvidenceRejected(f"the entry and the message differ in {name}", "entry-differs")
