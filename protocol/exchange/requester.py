"""The requester's side of one exchange: from the officer's question to the peer's receipt.

    withholding -> refused              our own policy says no: logged, nothing encrypted, nothing sent
    encrypting -> logging-intent -> sending -> waiting -> fetching -> opening -> logging-result -> reporting
    then answered, refused or failed    each with its reason; the outcome stands from reporting on

The intent is on our ledger before the query leaves (log before query). An acceptance, a refusal and an answer
count only with evidence that they are on the peer's ledger.

Source: specs/wire.md, section "Sessions".
"""

from __future__ import annotations

from typing import Any, Final, Self

from crypto.errors import BadEncoding, PeerFault
from protocol import limits
from protocol.agreement import Agreement
from protocol.errors import BadMessage, EventNotAllowed, EvidenceRejected, FailureReason, Refused
from protocol.evidence import StaleCheckpoint
from protocol.exchange import checks, events
from protocol.exchange.commands import FetchStatus, SpendQuota
from protocol.exchange.parties import Parties
from protocol.exchange.request import QueryRequest
from protocol.exchange.requester_messages import query_message, report_message
from protocol.exchange.requester_moves import RequesterMoves
from protocol.exchange.requester_table import Outcome, RequesterRecord, RequesterState
from protocol.exchange.session import Step
from protocol.messages import ErrorReply, Query, sign
from protocol.policy import Spent, allow
from protocol.seen_by import UnseenCheckpoint

RETRYABLE: Final = frozenset({"try-later", "unavailable", "unseen-checkpoint"})
"""Error codes after which the same message is sent again; every other code ends the query."""

GRACE: Final = limits.MINUTE
"""What a requester waits beyond the promised time before it says that the answer is overdue."""


class RequesterSession(RequesterMoves):
    """One query that this node asks."""

    @classmethod
    def start(
        cls,
        request: QueryRequest,
        agreement: Agreement | None,
        parties: Parties,
        now_ms: int,
        spent: Spent,
        *,
        enforce_own_policy: bool = True,
    ) -> tuple[Self, Step]:
        """Take a question of an officer.

        Args:
            request: The question, with a fresh random exchange id.
            agreement: The one that ``request.agreement`` names, None if this node has none.
            parties: This node and the peer asked.
            now_ms: The time.
            spent: How many of our queries the peer accepted under a quota, or may still accept.
            enforce_own_policy: False only in a dishonest requester of tests and demonstrations.

        Returns:
            The session and its first step: encrypt the probe, or log that the query was withheld.
        """
        state, reason, quota = RequesterState.ENCRYPTING, None, None
        if enforce_own_policy:
            try:
                quota = allow(agreement, request, now_ms, spent)
            except Refused as refusal:
                state, reason = RequesterState.WITHHOLDING, refusal.reason.value
        record = RequesterRecord(
            exchange_id=request.exchange_id,
            deadline_ms=now_ms + limits.QUERY_LIFE if reason is None else None,
            retry_ms=now_ms,
            entry_ms=now_ms,
            state=state,
            request=request,
            outcome=None if reason is None else "refused",
            reason=reason,
        )
        session = cls(record, parties)
        counted = () if quota is None else (SpendQuota(quota),)
        return session, Step(counted + session._outstanding())

    @classmethod
    def restore(cls, data: bytes, parties: Parties) -> Self:
        """A session from its snapshot; feed it ``Restarted`` next. Raises ``BadSnapshot``."""
        return cls(cls.read_record(data), parties)

    @property
    def outcome(self) -> Outcome | None:
        """What came of the query, once it is on our ledger; None before."""
        settled = self.finished or self.state is RequesterState.REPORTING
        return self._record.outcome if settled else None

    @property
    def query(self) -> Query:
        """The signed query, once there is one."""
        return checks.own_query(self._record.envelope)

    # Entries of our own ledger

    def _withheld(self, event: events.EntryAppended, now_ms: int) -> Step:
        if event.kind != "query.withheld":
            return Step()
        return self._finish(RequesterState.REFUSED)

    def _encrypted(self, event: events.ProbeEncrypted, now_ms: int) -> Step:
        request = self._record.request
        if event.ciphertext_bytes != request.query_bytes:
            raise EventNotAllowed(f"an encrypted probe has {request.query_bytes} bytes under this plan")
        query = query_message(request, event, now_ms)
        return self._enter(
            RequesterState.LOGGING_INTENT,
            now_ms,
            query=sign(query, self._parties.identity),
            entry_ms=now_ms,
            deadline_ms=query.expires_ms,
        )

    def _intent_logged(self, event: events.EntryAppended, now_ms: int) -> Step:
        if event.kind != "query.intent":
            return Step()
        known = {"intent_index": event.index, "intent_leaf": event.leaf_hash}
        if now_ms >= self.query.expires_ms:
            return self._fail(FailureReason.EXPIRED, now_ms, report=False, **known)
        return self._enter(RequesterState.SENDING, now_ms, sent=True, **known)

    def _not_logged(self, event: events.AppendFailed, now_ms: int) -> Step:
        """No ledger, no query: nothing has left this machine."""
        if event.kind not in ("query.withheld", "query.intent"):
            return Step()
        self._update(outcome="failed", reason=FailureReason.INTERNAL.value)
        return self._finish(RequesterState.FAILED)

    def _retry_append(self, event: events.AppendFailed, now_ms: int) -> Step:
        """The outcome is told to nobody before it is on the ledger."""
        if event.kind != "query.result":
            return Step()
        return self._again(now_ms)

    def _result_logged(self, event: events.EntryAppended, now_ms: int) -> Step:
        if event.kind != "query.result":
            return Step()
        record = self._record
        if not record.report_due:
            self._update(result_index=event.index)
            return self._finish(self._end())
        report = report_message(record, now_ms)
        return self._enter(
            RequesterState.REPORTING,
            now_ms,
            result_index=event.index,
            report=sign(report, self._parties.identity),
            evidence_from=None,
            stale=0,
            deadline_ms=now_ms + limits.REPORT_PERIOD,
        )

    # The peer's replies

    def _status(self, event: events.StatusReceived, now_ms: int) -> Step:
        record = self._record
        if event.fault is not None:
            return self._broken(event.fault, event.body, now_ms)
        try:
            status = checks.verify_status(
                event.body,
                self._parties,
                self._record.envelope,
                record.intent_leaf or b"",
                event.seen,
                now_ms,
            )
            self._check_against_earlier(status)
        except StaleCheckpoint:
            return self._look_again(now_ms)
        except PeerFault as error:
            return self._broken(error, event.body, now_ms)
        decision, entries = status.decision, [status.decision_entry]
        if decision.outcome == "refused":
            self._update(retry_after_s=decision.retry_after_s)
            step = self._settle("refused", str(decision.reason), now_ms, report=False)
        elif decision.outcome == "failed":
            step = self._settle("failed", FailureReason.PEER_FAILED.value, now_ms, report=False)
        else:
            kept = {"decision": status.decision_envelope, "decision_index": status.decision_entry.index}
            if status.answer is not None and status.answer_entry is not None:
                entries.append(status.answer_entry)  # type: ignore[arg-type]
                step = self._enter(
                    RequesterState.FETCHING,
                    now_ms,
                    answer=status.answer_envelope,
                    deadline_ms=now_ms + limits.FETCH_PERIOD,
                    **kept,
                )
            else:
                step = self._wait(status, now_ms, kept)
        return Step(self._remember(*entries) + step.commands)

    def _wait(self, status: checks.VerifiedStatus, now_ms: int, kept: dict[str, Any]) -> Step:
        """Poll on, until the time that the responder promised first."""
        deadline = self._record.deadline_ms
        if self._record.decision is None:
            promised = min(status.decision.answer_by_ms or 0, now_ms + limits.MAX_ANSWER_PERIOD)
            deadline = max(promised, now_ms) + GRACE
        progress = status.progress
        return self._enter(
            RequesterState.WAITING,
            now_ms + limits.POLL,
            deadline_ms=deadline,
            done=progress.done if progress is not None else 0,
            total=progress.total if progress is not None else 0,
            **kept,
        )

    def _check_against_earlier(self, status: checks.VerifiedStatus) -> None:
        """A responder does not change its mind, except from an acceptance to a failure."""
        record = self._record
        if record.decision is not None and status.decision.outcome != "failed":
            if status.decision_envelope != record.decision:
                raise BadMessage("another decision on the same query")
            if status.decision_entry.index != record.decision_index:
                raise EvidenceRejected("the decision moved on the ledger", "entry-differs")
        if status.answer is not None and status.answer.block_bytes != record.request.answer_block_bytes:
            raise BadMessage(f"a block of an answer has {record.request.answer_block_bytes} bytes")

    def _look_again(self, now_ms: int) -> Step:
        """What we know of the peer's ledger moved on meanwhile: ask for evidence from there."""
        if self._record.stale >= limits.MAX_STALE_RETRIES:
            return self._fail(FailureReason.STALE_EVIDENCE, now_ms)
        self._update(stale=self._record.stale + 1)
        return Step((FetchStatus(self._parties.peer.country, self._record.exchange_id, now_ms),))

    def _broken(self, error: PeerFault, body: bytes, now_ms: int) -> Step:
        if isinstance(error, UnseenCheckpoint):
            failed = self._fail(FailureReason.UNSEEN_CHECKPOINT, now_ms)
            return Step(self._remember(error.entry) + self._keep(error, body) + failed.commands)
        evidence = isinstance(error, EvidenceRejected)
        kept = self._keep(error, body)
        step = self._fail(FailureReason.BAD_EVIDENCE if evidence else FailureReason.BAD_REPLY, now_ms)
        return Step(kept + step.commands)

    def _error(self, event: events.ErrorReceived, now_ms: int) -> Step:
        try:
            reply = ErrorReply.from_bytes(event.body)
        except (BadEncoding, BadMessage):
            return self._retry(event, now_ms)
        if event.fault is not None:
            if self.state is not RequesterState.REPORTING:
                return self._broken(event.fault, event.body, now_ms)
            return Step(self._keep(event.fault, event.body) + self._finish(self._end()).commands)
        if reply.code == "stale-checkpoint" and reply.stored_size is not None:
            if self._record.stale < limits.MAX_STALE_RETRIES:
                self._update(stale=self._record.stale + 1, evidence_from=reply.stored_size, retry_ms=now_ms)
                return Step(self._outstanding())
            if self.state is not RequesterState.REPORTING:
                return self._fail(FailureReason.STALE_EVIDENCE, now_ms)
        elif reply.code in RETRYABLE:
            return self._retry(event, now_ms)
        if self.state is RequesterState.REPORTING:
            return self._finish(self._end())
        accepted = self._record.decision is not None
        return self._fail(FailureReason.ERROR_REPLY, now_ms, report=accepted, error_code=reply.code)

    def _receipt(self, event: events.ReceiptReceived, now_ms: int) -> Step:
        try:
            if event.fault is not None:
                raise event.fault
            envelope, entry = checks.verify_receipt(
                event.body,
                self._parties,
                self._record.envelope,
                self._record.report or b"",
                event.seen,
                now_ms,
            )
        except StaleCheckpoint:
            return self._again(now_ms)
        except PeerFault as error:
            known = self._remember(error.entry) if isinstance(error, UnseenCheckpoint) else ()
            return Step(known + self._keep(error, event.body) + self._again(now_ms).commands)
        self._update(receipt=envelope)
        return Step(self._remember(entry) + self._finish(self._end()).commands)

    # The answer

    def _fetched(self, event: events.AnswerFetched, now_ms: int) -> Step:
        header = self._record.header
        if (event.answer_hash, event.answer_bytes) != (header.answer_hash, header.answer_bytes):
            return self._fail(FailureReason.BAD_ANSWER, now_ms)
        return self._enter(RequesterState.OPENING, now_ms, deadline_ms=now_ms + limits.FETCH_PERIOD)

    def _opened(self, event: events.AnswerOpened, now_ms: int) -> Step:
        if not 0 <= event.hits <= self._record.header.blocks * checks.SLOTS_PER_BLOCK:
            raise EventNotAllowed("an answer cannot have so many hits")
        self._update(hits=event.hits, found=event.found)
        return self._settle("hit" if event.hits else "no-hit", None, now_ms, report=True)

    def _unusable(self, event: events.AnswerUnusable, now_ms: int) -> Step:
        return self._fail(event.reason, now_ms)

    # Time, failure, restart

    def _probe_lost(self, event: events.ProbeFailed, now_ms: int) -> Step:
        """Nothing has left this machine, so nothing is logged."""
        self._update(outcome="failed", reason=FailureReason.PROBE_LOST.value)
        return self._finish(RequesterState.FAILED)

    def _cancelled(self, event: events.Cancelled, now_ms: int) -> Step:
        if self.state is RequesterState.ENCRYPTING:
            self._update(outcome="failed", reason=FailureReason.CANCELLED.value)
            return self._finish(RequesterState.FAILED)
        return self._fail(FailureReason.CANCELLED, now_ms, report=self._record.sent)

    def _retry(self, event: Any, now_ms: int) -> Step:
        deadline = self._record.deadline_ms
        if deadline is not None and now_ms >= deadline:
            return self._deadline(event, now_ms)
        return self._again(now_ms)

    def _deadline(self, event: Any, now_ms: int) -> Step:
        deadline = self._record.deadline_ms
        if deadline is None or now_ms < deadline:
            return Step()
        match self.state:
            case RequesterState.ENCRYPTING:
                return self._probe_lost(events.ProbeFailed(), now_ms)
            case RequesterState.LOGGING_INTENT:
                return self._fail(FailureReason.EXPIRED, now_ms, report=False)
            case RequesterState.REPORTING:
                return self._finish(self._end())
            case RequesterState.WAITING:
                return self._fail(FailureReason.ANSWER_OVERDUE, now_ms)
            case RequesterState.OPENING:
                return self._fail(FailureReason.INTERNAL, now_ms)
            case _:
                return self._fail(FailureReason.PEER_UNREACHABLE, now_ms)

    def _restarted(self, event: events.Restarted, now_ms: int) -> Step:
        self._update(retry_ms=now_ms)
        return Step(self._outstanding())


__all__ = ["RETRYABLE", "RequesterRecord", "RequesterSession", "RequesterState"]
