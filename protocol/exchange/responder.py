"""The responder's side of one exchange: from a checked submission to the requester's claim.

    logging-refusal -> refused
    logging-acceptance -> working -> logging-answer -> answered -> served -> logging-claim -> closed
    working -> logging-failure -> failed        the work could not be done; logged, and told with its reason
    answered or served -> unreported            the requester's report is overdue; it may still come

Nothing is computed before the acceptance is on the ledger (log before work), and nothing is handed over
before the answer is (log before answer). A search that was cut off starts over under fresh randomness, which
is safe because no byte of its answer has left; from ``logging-answer`` on, the stored bytes are the only one.

Sessions are made by ``admission.admit``, after every check that needs no encrypted work.

Source: specs/wire.md, section "Sessions".
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar, Self

from crypto.errors import PeerFault
from protocol import limits
from protocol.errors import EventNotAllowed, OutOfOrder, RefusalReason
from protocol.evidence import StaleCheckpoint
from protocol.exchange import checks, events
from protocol.exchange.commands import Command, StopSearch
from protocol.exchange.parties import Parties
from protocol.exchange.responder_commands import outstanding
from protocol.exchange.responder_messages import (
    ReceiptParts,
    StatusParts,
    decision_message,
    header_message,
    receipt_message,
)
from protocol.exchange.responder_table import FINAL, TABLE, ResponderRecord, ResponderState
from protocol.exchange.session import Session, Step, backoff
from protocol.messages import Progress, Query, sign
from protocol.seen_by import UnseenCheckpoint


class ResponderSession(Session[ResponderRecord]):
    """One query that this node was asked."""

    TABLE = TABLE
    FINISHED: ClassVar[frozenset[StrEnum]] = FINAL
    RECORD = ResponderRecord

    @classmethod
    def open(cls, record: ResponderRecord, parties: Parties) -> tuple[Self, Step]:
        """A new session in its first state; for ``admission.admit`` alone."""
        session = cls(record, parties)
        return session, Step(session._outstanding())

    @classmethod
    def restore(cls, data: bytes, parties: Parties) -> Self:
        """A session from its snapshot; feed it ``Restarted`` next. Raises ``BadSnapshot``."""
        return cls(cls.read_record(data), parties)

    @property
    def state(self) -> ResponderState:
        return self._record.state

    @property
    def query(self) -> Query:
        """The query that was verified on arrival."""
        return checks.own_query(self._record.query)

    @property
    def query_hash(self) -> bytes:
        """The name of this session: one per signed query, so a replay finds it."""
        return self._record.query_hash

    def status(self) -> StatusParts | None:
        """What to answer to the query and to every later look; None while the decision is being logged."""
        record = self._record
        if record.decision is None or record.decision_index is None:
            return None
        working = self.state in (ResponderState.WORKING, ResponderState.LOGGING_ANSWER)
        return StatusParts(
            record.decision,
            record.decision_index,
            Progress(done=record.done, total=record.total) if working else None,
            record.answer,
            record.answer_index,
        )

    def servable(self) -> tuple[bytes, int] | None:
        """Hash and length of the answer that may be handed over now; None too early and too late."""
        record = self._record
        if self.state not in (ResponderState.ANSWERED, ResponderState.SERVED):
            return None
        return record.answer_hash or b"", record.blocks * record.answer_block_bytes

    def receipt(self) -> ReceiptParts | None:
        """The reply to a report, once the claim is on the ledger."""
        record = self._record
        if record.receipt is None or record.claim_index is None:
            return None
        return ReceiptParts(record.receipt, record.claim_index)

    def _outstanding(self) -> tuple[Command, ...]:
        return outstanding(self._record, self._parties.peer.country)

    # Entries of our own ledger

    def _refusal_logged(self, event: events.EntryAppended, now_ms: int) -> Step:
        return self._decided(event, "query.refused", "refused", ResponderState.REFUSED)

    def _failure_logged(self, event: events.EntryAppended, now_ms: int) -> Step:
        return self._decided(event, "query.failed", "failed", ResponderState.FAILED)

    def _acceptance_logged(self, event: events.EntryAppended, now_ms: int) -> Step:
        return self._decided(event, "query.accepted", "accepted", ResponderState.WORKING)

    def _decided(self, event: events.EntryAppended, kind: str, outcome: str, state: ResponderState) -> Step:
        if event.kind != kind:
            return Step()
        envelope = sign(decision_message(self._record, self.query, outcome), self._parties.identity)
        return self._enter(state, decision=envelope, decision_index=event.index)

    def _answer_logged(self, event: events.EntryAppended, now_ms: int) -> Step:
        if event.kind != "query.answered":
            return Step()
        header = header_message(self._record, self.query)
        return self._enter(
            ResponderState.ANSWERED,
            answer=sign(header, self._parties.identity),
            answer_index=event.index,
            deadline_ms=now_ms + limits.FETCH_PERIOD + limits.REPORT_PERIOD,
        )

    def _claim_logged(self, event: events.EntryAppended, now_ms: int) -> Step:
        if event.kind != "query.claimed":
            return Step()
        receipt = receipt_message(self._record, self.query)
        return self._enter(
            ResponderState.CLOSED,
            receipt=sign(receipt, self._parties.identity),
            claim_index=event.index,
        )

    def _retry_append(self, event: events.AppendFailed, now_ms: int) -> Step:
        """No ledger, no decision and no answer: the requester is told to try later until it is there."""
        attempts = self._record.attempts + 1
        self._update(attempts=attempts, retry_ms=now_ms + backoff(attempts))
        return Step(self._outstanding())

    # The search

    def _progressed(self, event: events.SearchProgressed, now_ms: int) -> Step:
        if not 0 <= event.done <= event.total <= limits.MAX_BLOCKS:
            raise EventNotAllowed("a search cannot have made such progress")
        self._update(done=event.done, total=event.total)
        return Step()

    def _searched(self, event: events.SearchFinished, now_ms: int) -> Step:
        if event.attempt != self._record.search:
            return Step()
        if not 1 <= event.blocks <= limits.MAX_BLOCKS:
            raise EventNotAllowed("an answer cannot have so many blocks")
        return self._enter(
            ResponderState.LOGGING_ANSWER,
            answer_hash=event.answer_hash,
            blocks=event.blocks,
            gallery_commitment=event.gallery_commitment,
            seed_commitment=event.seed_commitment,
            records=event.records,
            compute_ms=event.compute_ms,
            seed=event.seed,
            retried=list(event.retried),
            answer_blocks=event.answer_blocks,
            entry_ms=now_ms,
            retry_ms=now_ms,
            deadline_ms=None,
        )

    def _search_failed(self, event: events.SearchFailed, now_ms: int) -> Step:
        if event.attempt != self._record.search:
            return Step()
        return self._give_up(event.reason, now_ms)

    def _give_up(self, reason: RefusalReason, now_ms: int) -> Step:
        return self._enter(
            ResponderState.LOGGING_FAILURE, reason=reason, entry_ms=now_ms, retry_ms=now_ms, deadline_ms=None
        )

    def _served(self, event: events.AnswerServed, now_ms: int) -> Step:
        return self._enter(ResponderState.SERVED)

    # The requester's report

    def _reported(self, event: events.ReportReceived, now_ms: int) -> Step:
        record = self._record
        answer = (record.answer_hash, record.blocks) if record.answer_hash is not None else None
        try:
            report = checks.verify_report(event.body, self._parties, record.query, answer, event.seen, now_ms)
        except StaleCheckpoint as error:
            return Step(fault=error)
        except UnseenCheckpoint as error:
            return Step(self._remember(error.entry), fault=error)
        except PeerFault as error:
            return Step(self._keep(error, event.body), fault=error)
        stop: tuple[Command, ...] = ()
        if self.state is ResponderState.WORKING:
            stop = (StopSearch(record.exchange_id),)
        step = self._enter(
            ResponderState.LOGGING_CLAIM,
            report=report.envelope,
            entry_ms=now_ms,
            retry_ms=now_ms,
            deadline_ms=None,
        )
        return Step(self._remember(report.entry) + stop + step.commands)

    def _reported_again(self, event: events.ReportReceived, now_ms: int) -> Step:
        """The same report gets the stored receipt (or will); another one comes too late."""
        envelope = checks.report_envelope(event.body)
        if envelope is None or envelope != self._record.report:
            return Step(fault=OutOfOrder("another report on the same answer has been received"))
        return Step()

    # Time and restart

    def _deadline(self, event: events.DeadlinePassed, now_ms: int) -> Step:
        deadline = self._record.deadline_ms
        if deadline is None or now_ms < deadline:
            return Step()
        if self.state is ResponderState.WORKING:
            step = self._give_up(RefusalReason.INTERNAL, now_ms)
            return Step((StopSearch(self._record.exchange_id), *step.commands))
        if self.state in (ResponderState.ANSWERED, ResponderState.SERVED):
            return self._enter(ResponderState.UNREPORTED, deadline_ms=None)
        return Step()

    def _restarted(self, event: events.Restarted, now_ms: int) -> Step:
        self._update(retry_ms=now_ms)
        if self.state is ResponderState.WORKING:
            if self._record.search >= limits.MAX_SEARCH_ATTEMPTS:
                return self._give_up(RefusalReason.INTERNAL, now_ms)
            self._update(search=self._record.search + 1, done=0, total=0)
        return Step(self._outstanding())

    def _enter(self, state: ResponderState, **changes: Any) -> Step:
        if state in FINAL:
            changes = {**changes, "deadline_ms": None}
        self._update(state=state, attempts=0, **changes)
        return Step(self._outstanding())


__all__ = ["ResponderRecord", "ResponderSession", "ResponderState"]
