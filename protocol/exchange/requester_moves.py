"""The moves that the requester's transitions are made of.

Source: specs/wire.md, section "Sessions".
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar

from protocol.errors import FailureReason
from protocol.exchange.commands import Command, ReturnQuota
from protocol.exchange.requester_commands import outstanding
from protocol.exchange.requester_table import TABLE, TERMINAL, Outcome, RequesterRecord, RequesterState
from protocol.exchange.session import Session, Step, backoff


class RequesterMoves(Session[RequesterRecord]):
    """A requester's session without its transitions."""

    TABLE = TABLE
    FINISHED: ClassVar[frozenset[StrEnum]] = TERMINAL
    RECORD = RequesterRecord

    @property
    def state(self) -> RequesterState:
        return self._record.state

    def _outstanding(self) -> tuple[Command, ...]:
        return outstanding(self._record, self._parties.peer.country)

    def _again(self, now_ms: int) -> Step:
        attempts = self._record.attempts + 1
        self._update(attempts=attempts, retry_ms=now_ms + backoff(attempts))
        return Step(self._outstanding())

    def _fail(self, reason: FailureReason, now_ms: int, *, report: bool = True, **changes: Any) -> Step:
        return self._settle("failed", reason.value, now_ms, report=report, **changes)

    def _settle(
        self, outcome: Outcome, reason: str | None, now_ms: int, *, report: bool, **changes: Any
    ) -> Step:
        return self._enter(
            RequesterState.LOGGING_RESULT,
            now_ms,
            outcome=outcome,
            reason=reason,
            report_due=report,
            entry_ms=now_ms,
            deadline_ms=None,
            **changes,
        )

    def _enter(self, state: RequesterState, retry_ms: int, **changes: Any) -> Step:
        self._update(state=state, retry_ms=retry_ms, attempts=0, **changes)
        return Step(self._outstanding())

    def _finish(self, state: RequesterState) -> Step:
        self._update(state=state, deadline_ms=None)
        record = self._record
        accepted = record.decision is not None or record.reason == FailureReason.PEER_FAILED.value
        returned = () if accepted else (ReturnQuota(),)
        return Step(returned + self._outstanding())

    def _end(self) -> RequesterState:
        outcome = self._record.outcome
        if outcome in ("hit", "no-hit"):
            return RequesterState.ANSWERED
        return RequesterState.REFUSED if outcome == "refused" else RequesterState.FAILED
