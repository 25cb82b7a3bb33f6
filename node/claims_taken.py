"""The responder's side of claims: computes the token again, and says whether it is the one that was given.

A verdict is stored before it is logged, and logged before it is told; each of these may be done again after a crash.

Source: specs/wire.md, section "Claims".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from crypto.hitsearch.masks import MaskStream
from node.claim_limits import doubt, settle_suspensions
from node.claim_state import ANSWERING, ClaimRow, ClaimState
from node.core import NodeCore
from node.driver import CoreThread
from node.errors import PeerSuspended
from node.logging import log
from node.quorum import Quorum
from node.sessions import place
from node.state import FoundConflict, SeenHead
from node.trust import settle_conflicts
from protocol import limits
from protocol.claims import Claim, ClaimReply, ClaimSubmission, ClaimVerdict, RefusedFor, decided, read_claim
from protocol.conflict import read_conflict
from protocol.errors import EvidenceRejected, OutOfOrder, UnknownExchange
from protocol.exchange.checks import own_query
from protocol.exchange.claims import Reported, admit_claim, judge_claim, open_claim
from protocol.exchange.responder import ResponderRecord, ResponderSession
from protocol.messages import (
    AnswerHeader,
    EnvelopeBytes,
    ResultReport,
    Signed,
    message_hash,
    sign,
)
from protocol.model import Millis, Model
from protocol.seen_by import UnseenCheckpoint


class TakenClaim(Model):
    """A claim of a peer at rest, decided."""

    LIMIT: ClassVar[int] = limits.MAX_SNAPSHOT

    query: EnvelopeBytes
    claim: EnvelopeBytes
    reason: RefusedFor | None
    decided_ms: Millis


@dataclass(frozen=True, slots=True)
class _Taken:
    """A claim with its verdict; ``row`` is where it is kept, None for a further claim of a hit."""

    record: TakenClaim
    row: ClaimRow | None = None


class ClaimsTaken:
    """All claims that peers make of hits in our answers."""

    def __init__(self, core: NodeCore, thread: CoreThread, quorum: Quorum) -> None:
        self.core = core
        self._thread = thread
        self._quorum = quorum
        self._claims = ClaimState(core.state)

    async def start(self) -> None:
        """Log what a crash left decided and not logged."""
        await self._thread(self._settle)

    async def take(self, peer: str, exchange_id: bytes, body: bytes) -> bytes:
        """Take a claim; the bytes of the ``ClaimReply``, once the verdict is on the ledger.

        Raises:
            PeerFault: The submission is not acceptable at all; nothing is logged.
        """
        seen_size = await self._thread(self._take_witnessed, peer, body)
        taken = await self._thread(self._decide, peer, exchange_id, body)
        index = await self._thread(self._finish, taken)
        await self._quorum.require(max(index + 1, seen_size), peer)
        return await self._thread(self._reply, peer, taken, index, seen_size)

    # In the core's thread

    def _settle(self) -> None:
        settle_suspensions(self.core)
        for row in self._claims.open_claims(ANSWERING):
            self._finish(self._kept(row))

    def _take_witnessed(self, peer: str, body: bytes) -> int:
        submission = ClaimSubmission.from_bytes(body)
        self.core.witnessing.take(peer, submission.witnessed, submission.seen_size)
        return submission.seen_size

    def _decide(self, peer: str, exchange_id: bytes, body: bytes) -> _Taken:
        """Check a claim and compare its token; the verdict is durable on return, or follows from what is."""
        core, now_ms = self.core, self.core.clock()
        if core.suspension(peer):
            raise PeerSuspended("exchanges with you are suspended; the operators have to talk")
        key, session = self._session(peer, exchange_id)
        claim, envelope = open_claim(body, core.parties(peer), session.query)
        known = self._claims.claim(ANSWERING, key, claim.block, claim.slot)
        told = None if known is None else self._told(known, envelope)
        if told is not None:
            return told
        reported = _reported(session)
        head = self._admitted(peer, body, session, reported, now_ms)
        earlier = len(self._claims.of_exchange(ANSWERING, key))
        token = given_token(session, claim)
        reason = judge_claim(claim, reported, token, earlier, now_ms, is_first=known is None)
        record = TakenClaim(query=session.query, claim=envelope, reason=reason, decided_ms=now_ms)
        if known is not None:
            return self._refuse_again(known, record, head)
        row = ClaimRow(ANSWERING, key, claim.block, claim.slot, peer, now_ms, True, b"")
        row = replace(row, record=core.seal(_place(row), record.to_bytes()))
        self._claims.put(row, [head], None if reason is None else doubt(core, ANSWERING))
        log("claim decided", exchange=exchange_id, peer=peer, reason=reason)
        return _Taken(record, row)

    def _told(self, first: ClaimRow, envelope: bytes) -> _Taken | None:
        """The verdict that this very claim got before."""
        kept = self._kept(first)
        if kept.record.claim == envelope:
            return kept
        shared = decided(own_query(kept.record.query), envelope, "claimed-before").shared
        found = self.core.journal.find(shared.exchange_id, shared.key)
        if found is None:
            return None
        changes = {"claim": envelope, "reason": "claimed-before", "decided_ms": found.leaf.time_ms}
        return _Taken(kept.record.model_copy(update=changes))

    def _refuse_again(self, first: ClaimRow, record: TakenClaim, head: SeenHead) -> _Taken:
        """Refuse a further claim of a hit. Its entry alone keeps it: the refusal follows from the first claim."""
        self._finish(self._kept(first))
        self.core.witnessing.state.put_head(head)
        taken = _Taken(record)
        self._finish(taken)
        # Counted after its entry, so that a disk that refuses the entry counts nothing, however often it is sent.
        self._claims.doubt(ANSWERING, first.peer, doubt(self.core, ANSWERING))
        log("a hit was claimed again", level="warning", exchange=first.key, peer=first.peer)
        return taken

    def _session(self, peer: str, exchange_id: bytes) -> tuple[bytes, ResponderRecord]:
        core = self.core
        key = core.state.opened_by(peer, exchange_id)
        row = None if key is None else core.state.exchange(key, "r")
        if key is None or row is None:
            raise UnknownExchange("no such exchange of yours")
        record = ResponderSession.read_record(core.open_sealed(place("r", key), row.snapshot))
        assert isinstance(record, ResponderRecord)
        return key, record

    def _admitted(
        self, peer: str, body: bytes, session: ResponderRecord, reported: Reported, now_ms: int
    ) -> SeenHead:
        """The head of A's ledger after the check; what a wrong or unseen entry proves is kept."""
        core = self.core
        try:
            entry = admit_claim(body, core.parties(peer), session.query, reported, core.seen(peer), now_ms)
        except EvidenceRejected as error:
            if error.conflict is not None:
                conflict = read_conflict(error.conflict)
                found = FoundConflict(peer, conflict.digest, conflict.rule, error.conflict, now_ms)
                core.witnessing.state.put_conflict(found)
                settle_conflicts(core)
            raise
        except UnseenCheckpoint as error:
            seen = error.entry
            core.witnessing.state.put_head(
                SeenHead(peer, seen.head.size, seen.head.root, seen.checkpoint, now_ms)
            )
            raise
        return SeenHead(peer, entry.head.size, entry.head.root, entry.checkpoint, now_ms)

    def _kept(self, row: ClaimRow) -> _Taken:
        return _Taken(TakenClaim.from_bytes(self.core.open_sealed(_place(row), row.record)), row)

    def _finish(self, taken: _Taken) -> int:
        """Log the verdict, and the suspension if it was one too many; where the verdict stands."""
        record, row = taken.record, taken.row
        statement = decided(own_query(record.query), record.claim, record.reason)
        index = self.core.append(statement, record.decided_ms).index
        settle_suspensions(self.core)
        if row is not None and row.is_open:
            self._claims.put(replace(row, is_open=False))
        return index

    def _reply(self, peer: str, taken: _Taken, index: int, seen_size: int) -> bytes:
        record, claim = taken.record, read_claim(taken.record.claim)
        verdict = ClaimVerdict(
            exchange_id=claim.exchange_id,
            requester=claim.requester,
            responder=claim.responder,
            query_hash=claim.query_hash,
            claim_hash=message_hash(record.claim),
            outcome="accepted" if record.reason is None else "refused",
            reason=record.reason,
            decided_ms=record.decided_ms,
        )
        evidence: Callable[[int, int, str], bytes] = self.core.evidence
        return ClaimReply(
            verdict=sign(verdict, self.core.keys.identity),
            evidence=evidence(index, seen_size, peer),
            witnessed=self.core.witnessing.returned(peer) or b"",
        ).to_bytes()


def given_token(session: ResponderRecord, claim: Claim) -> int:
    """The token that the answer gave to a slot, computed again from its seed; 0 where there is no such slot."""
    seed = session.seed
    if seed is None or claim.block >= session.blocks:
        return 0
    index = int(MaskStream(seed, session.exchange_id, None, 0).order(session.blocks)[claim.block])
    # A block that was lost with its worker was answered by a second attempt.
    attempt = int(index in session.retried)
    stream = MaskStream(seed, session.exchange_id, index, attempt)
    return int(stream.tokens(limits.SLOTS_PER_BLOCK)[claim.slot])


def _reported(session: ResponderRecord) -> Reported:
    """What can be claimed: hits that the requester reported. Raises ``OutOfOrder`` if it reported none."""
    report = None
    if session.report is not None and session.receipt is not None:
        report = ResultReport.from_bytes(Signed.from_bytes(session.report).message)
    if report is None or report.outcome != "hit" or session.answer is None or session.seed is None:
        raise OutOfOrder("a hit is claimed after it was reported")
    header = AnswerHeader.from_bytes(Signed.from_bytes(session.answer).message)
    return Reported(header.answer_hash, header.blocks, report.hits, header.answered_ms)


def _place(row: ClaimRow) -> bytes:
    where: tuple[Any, ...] = (row.block.to_bytes(4, "big"), row.slot.to_bytes(2, "big"))
    return b"claim/r/" + row.key + b"".join(where)
