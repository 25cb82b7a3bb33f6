"""Claims of this node at rest and on its ledger. For the core's thread.

Source: specs/wire.md, section "Claims".
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar

from pydantic import Field

from crypto.errors import InputError
from node.claim_limits import doubt, settle_suspensions
from node.claim_state import ASKING, ClaimRow, ClaimState
from node.core import NodeCore
from node.errors import BadConfig, PeerSuspended
from node.records import NoSuchExchange
from node.sessions import place
from node.state import FoundConflict, SeenHead
from node.trust import settle_conflicts
from node.witness_state import NOBODY
from protocol import limits
from protocol.claims import (
    Claim,
    ClaimReply,
    ClaimSubmission,
    FailedFor,
    Hit,
    read_claim,
    read_verdict,
    sent,
    settled,
    unpack_hits,
)
from protocol.conflict import read_conflict
from protocol.errors import EvidenceRejected
from protocol.evidence import VerifiedEntry
from protocol.exchange.checks import own_query
from protocol.exchange.claims import verify_verdict
from protocol.exchange.requester import RequesterSession
from protocol.exchange.requester_table import RequesterRecord
from protocol.messages import AnswerHeader, EnvelopeBytes, Signed, message_hash, sign
from protocol.model import Millis, Model, Text
from protocol.seen_by import UnseenCheckpoint
from protocol.statements_claims import claim_key


class NoSuchHit(InputError):
    """The exchange has no hit of that number, or several and none was named."""

    code = "no-such-hit"


class NotClaimable(InputError):
    """The hit cannot be claimed: its result is not reported yet, or it is too late."""

    code = "not-claimable"


class ClaimRecord(Model):
    """A claim of ours at rest."""

    LIMIT: ClassVar[int] = limits.MAX_SNAPSHOT

    query: EnvelopeBytes
    claim: EnvelopeBytes
    officer: Text
    number: Annotated[int, Field(ge=1)]
    verdict: EnvelopeBytes | None = None
    reason: FailedFor | None = None
    settled_ms: Millis | None = None


@dataclass(frozen=True, slots=True)
class Begun:
    """A claim that is stored."""

    row: ClaimRow
    record: ClaimRecord = field(repr=False)

    @property
    def name(self) -> bytes:
        """Hash of the signed claim."""
        return message_hash(self.record.claim)

    @property
    def exchange_id(self) -> bytes:
        return self.row.key

    @property
    def peer(self) -> str:
        return self.row.peer

    @property
    def number(self) -> int:
        """Of the hit in its exchange, from 1."""
        return self.record.number

    @property
    def is_settled(self) -> bool:
        """There is a verdict, or none will come."""
        return self.record.settled_ms is not None


class ClaimRecords:
    """The claims of one node."""

    def __init__(self, core: NodeCore) -> None:
        self._core = core
        self._claims = ClaimState(core.state)

    def resume(self) -> list[Begun]:
        """What has not come to its end; suspensions that a crash left without their entry get it."""
        settle_suspensions(self._core)
        return [self._begun(row) for row in self._claims.open_claims(ASKING)]

    def reread(self, begun: Begun) -> Begun:
        """The claim as it is stored now."""
        row = self._claims.claim(ASKING, begun.row.key, begun.row.block, begun.row.slot)
        return begun if row is None else self._begun(row)

    def begin(self, exchange_id: bytes, number: int | None, officer: str) -> Begun:
        """Make the claim of a hit, or find it again; durable and logged on return.

        Raises:
            NoSuchExchange, NoSuchHit, NotClaimable: There is nothing to claim.
            PeerSuspended: Exchanges with that peer are stopped.
        """
        core = self._core
        core.witnessing.require_sound()
        session = self._session(exchange_id)
        row = core.state.exchange(exchange_id, "q")
        if row is None or row.peer == NOBODY:
            raise NotClaimable("the exchange is of a ledger that the one in use has succeeded")
        hits = unpack_hits(session.found)
        if not 1 <= (number or 1) <= len(hits) or (number is None and len(hits) > 1):
            raise NoSuchHit(f"the exchange has {len(hits)} hits; name one of them by its number")
        number = number or 1
        hit = hits[number - 1]
        known = self._claims.claim(ASKING, exchange_id, hit.block, hit.slot)
        begun = self._begun(known) if known is not None else self._make(session, number, hit, officer)
        self.log_sent(begun)
        return begun

    def _make(self, session: RequesterRecord, number: int, hit: Hit, officer: str) -> Begun:
        core, now_ms, peer = self._core, self._core.clock(), session.request.responder
        if core.suspension(peer):
            raise PeerSuspended(f"exchanges with {peer} are suspended; see: concordat peer show")
        if session.receipt is None:
            raise NotClaimable("the result has not been reported yet; try again when it has")
        header = _header(session)
        if now_ms > header.answered_ms + limits.CLAIM_PERIOD:
            raise NotClaimable(f"a hit is claimed within {limits.CLAIM_PERIOD // limits.DAY} days")
        if not officer:
            raise BadConfig("officer: a name is expected")
        query = session.query or b""
        claim = Claim(
            exchange_id=session.exchange_id,
            requester=core.country,
            responder=peer,
            query_hash=message_hash(query),
            answer_hash=header.answer_hash,
            block=hit.block,
            slot=hit.slot,
            token=hit.token,
            claimed_ms=max(now_ms, header.answered_ms),
        )
        record = ClaimRecord(
            query=query, claim=sign(claim, core.keys.identity), officer=officer, number=number
        )
        row = ClaimRow(ASKING, session.exchange_id, hit.block, hit.slot, peer, now_ms, True, b"")
        return self._put(row, record)

    def log_sent(self, begun: Begun) -> int:
        """The index of ``claim.sent``."""
        record = begun.record
        statement = sent(own_query(record.query), record.claim, record.officer)
        return self._core.append(statement, read_claim(record.claim).claimed_ms).index

    def submission(self, begun: Begun, index: int, old_size: int) -> bytes:
        """The bytes of the ``ClaimSubmission``, with evidence from the size that the peer has seen."""
        seen_size, witnessed = self._core.witnessing.held(begun.peer)
        return ClaimSubmission(
            claim=begun.record.claim,
            evidence=self._core.evidence(index, old_size, begun.peer),
            seen_size=seen_size,
            witnessed=witnessed,
        ).to_bytes()

    def is_over(self, begun: Begun) -> bool:
        """Whether nobody waits for the verdict any more."""
        return self._core.clock() > begun.row.created_ms + limits.CLAIM_REPLY_PERIOD

    def take(self, begun: Begun, body: bytes) -> None:
        """Check the verdict and store it.

        Raises:
            StaleCheckpoint: It proves from an older size than the one held.
            UnseenCheckpoint: Nobody outside the pair vouches for it yet.
            PeerFault: It does not hold; what it proves is kept.
        """
        core, now_ms = self._core, self._core.clock()
        core.witnessing.take_reply(begun.peer, ClaimReply.from_bytes(body))
        try:
            verdict, envelope, entry = verify_verdict(
                body,
                core.parties(begun.peer),
                own_query(begun.record.query),
                begun.record.claim,
                core.seen(begun.peer),
                now_ms,
            )
        except EvidenceRejected as error:
            if error.conflict is not None:
                conflict = read_conflict(error.conflict)
                found = FoundConflict(begun.peer, conflict.digest, conflict.rule, error.conflict, now_ms)
                core.witnessing.state.put_conflict(found)
                settle_conflicts(core)
            raise
        except UnseenCheckpoint as error:
            core.witnessing.state.put_head(_head(begun.peer, error.entry, now_ms))
            raise
        reason: FailedFor | None = None if verdict.outcome == "accepted" else "refused"
        self.settle(begun, envelope, reason, _head(begun.peer, entry, now_ms))

    def settle(
        self, begun: Begun, verdict: bytes | None, reason: FailedFor | None, head: SeenHead | None = None
    ) -> None:
        """Store the end of a claim, and count it against the peer if it failed; nobody is told yet."""
        if self.reread(begun).is_settled:
            return
        changes = {"verdict": verdict, "reason": reason, "settled_ms": self._core.clock()}
        record = begun.record.model_copy(update=changes)
        self._put(begun.row, record, head, failed=reason is not None)

    def finish(self, begun: Begun) -> Begun:
        """Log the end of a claim, and the suspension if it was one failure too many."""
        begun = self.reread(begun)
        record = begun.record
        statement = settled(own_query(record.query), record.claim, record.verdict, record.reason)
        self._core.append(statement, record.settled_ms or 0)
        settle_suspensions(self._core)
        return self._put(replace(begun.row, is_open=False), record)

    def shown(self, exchange_id: bytes) -> dict[str, Any]:
        """All hits of an exchange in plain values: ``exchange, to, hits``; no token is shown.

        Each hit: ``hit`` (number), ``state`` (``unclaimed``, ``pending``, ``confirmed``, ``failed``), ``reason``,
        ``entries``.
        """
        session = self._session(exchange_id)
        shown = []
        for number, hit in enumerate(unpack_hits(session.found), 1):
            row = self._claims.claim(ASKING, exchange_id, hit.block, hit.slot)
            shown.append({"hit": number, **self._standing(row)})
        return {"exchange": exchange_id.hex(), "to": session.request.responder, "hits": shown}

    def _standing(self, row: ClaimRow | None) -> dict[str, Any]:
        if row is None:
            return {"state": "unclaimed", "reason": None, "entries": []}
        record = self._begun(row).record
        state, reason = "pending", str(record.reason or "")
        if not row.is_open:
            # A claim that its ledger did not outlive has neither verdict nor reason.
            state = "confirmed" if record.verdict is not None and record.reason is None else "failed"
        if record.verdict is not None and record.reason is not None:
            reason = str(read_verdict(record.verdict).reason)
        kinds = ("claim.sent", "claim.confirmed", "claim.failed")
        keys = [claim_key(kind, row.block, row.slot, message_hash(record.claim)) for kind in kinds]
        found = [self._core.journal.find(row.key, key) for key in keys]
        entries = [one.index for one in found if one is not None]
        return {"state": state, "reason": reason or None, "entries": entries}

    def _session(self, exchange_id: bytes) -> RequesterRecord:
        row = self._core.state.exchange(exchange_id, "q")
        if row is None:
            raise NoSuchExchange("this node has asked no query of that exchange")
        snapshot = self._core.open_sealed(place("q", exchange_id), row.snapshot)
        record = RequesterSession.read_record(snapshot)
        assert isinstance(record, RequesterRecord)
        if record.outcome != "hit":
            raise NoSuchHit("this node has no hit in this exchange")
        return record

    def _begun(self, row: ClaimRow) -> Begun:
        return Begun(row, ClaimRecord.from_bytes(self._core.open_sealed(_place(row), row.record)))

    def _put(
        self, row: ClaimRow, record: ClaimRecord, head: SeenHead | None = None, *, failed: bool = False
    ) -> Begun:
        row = replace(row, record=self._core.seal(_place(row), record.to_bytes()))
        heads = [] if head is None else [head]
        self._claims.put(row, heads, doubt(self._core, ASKING) if failed else None)
        return Begun(row, record)


def _header(session: RequesterRecord) -> AnswerHeader:
    return AnswerHeader.from_bytes(Signed.from_bytes(session.answer or b"").message)


def _head(peer: str, entry: VerifiedEntry[Any], now_ms: int) -> SeenHead:
    return SeenHead(peer, entry.head.size, entry.head.root, entry.checkpoint, now_ms)


def _place(row: ClaimRow) -> bytes:
    return b"claim/q/" + row.key + row.block.to_bytes(4, "big") + row.slot.to_bytes(2, "big")
