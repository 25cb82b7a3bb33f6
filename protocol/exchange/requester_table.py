"""The requester's states, what a session knows, and what each event does in each state.

Source: specs/wire.md, section "Sessions".
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import Field

from protocol import limits
from protocol.claims import HIT_BYTES
from protocol.errors import EventNotAllowed
from protocol.exchange import events
from protocol.exchange.request import QueryRequest
from protocol.exchange.session import Record, Rule, build_table
from protocol.messages import AnswerHeader, Signed
from protocol.model import Count, Hash

Outcome = Literal["hit", "no-hit", "refused", "failed"]


class RequesterState(StrEnum):
    """Where the exchange stands, seen from the requester."""

    WITHHOLDING = "withholding"
    ENCRYPTING = "encrypting"
    LOGGING_INTENT = "logging-intent"
    SENDING = "sending"
    WAITING = "waiting"
    FETCHING = "fetching"
    OPENING = "opening"
    LOGGING_RESULT = "logging-result"
    REPORTING = "reporting"
    ANSWERED = "answered"
    REFUSED = "refused"
    FAILED = "failed"


class RequesterRecord(Record):
    """All that a requester's session knows."""

    state: Annotated[RequesterState, Field(strict=False)]
    request: QueryRequest
    query: bytes | None = None
    intent_index: Count | None = None
    intent_leaf: Hash | None = None
    sent: bool = False
    attempts: Count = 0
    stale: Count = 0
    evidence_from: Count | None = None
    decision: bytes | None = None
    decision_index: Count | None = None
    retry_after_s: Count | None = None
    done: Count = 0
    total: Count = 0
    answer: bytes | None = None
    outcome: Outcome | None = None
    hits: Count = 0
    found: Annotated[bytes, Field(max_length=limits.MAX_KEPT_HITS * HIT_BYTES)] = b""
    reason: str | None = None
    error_code: str | None = None
    report_due: bool = False
    result_index: Count | None = None
    report: bytes | None = None
    receipt: bytes | None = None

    @property
    def envelope(self) -> bytes:
        """The signed query, once there is one."""
        if self.query is None:
            raise EventNotAllowed("there is no query yet")
        return self.query

    @property
    def header(self) -> AnswerHeader:
        """The header of the answer, once there is one."""
        return AnswerHeader.from_bytes(Signed.from_bytes(self.answer or b"").message)

    @property
    def answer_hash(self) -> bytes | None:
        """Hash of the answer that was opened; None if none was."""
        return self.header.answer_hash if self.outcome in ("hit", "no-hit") else None


_S = RequesterState
TERMINAL = frozenset({_S.ANSWERED, _S.REFUSED, _S.FAILED})
_ENDED = (_S.LOGGING_RESULT, _S.REPORTING, *TERMINAL)
EVENTS: Final = (
    events.EntryAppended,
    events.AppendFailed,
    events.Restarted,
    events.DeadlinePassed,
    events.ProbeEncrypted,
    events.ProbeFailed,
    events.StatusReceived,
    events.ErrorReceived,
    events.PeerUnreachable,
    events.AnswerFetched,
    events.AnswerOpened,
    events.AnswerUnusable,
    events.ReceiptReceived,
    events.Cancelled,
)


def _late(event: type, *states: RequesterState) -> dict[tuple[StrEnum, type], str | Rule]:
    """Rows for an event that comes after the session has moved on: replies cross, commands repeat."""
    return {(state, event): Rule.IGNORE for state in states}


_AFTER_ENCRYPTING = tuple(state for state in _S if state not in (_S.WITHHOLDING, _S.ENCRYPTING))
_AFTER_WAITING = (_S.FETCHING, _S.OPENING, *_ENDED)

TABLE: Final = build_table(
    RequesterState,
    EVENTS,
    {
        **{(state, events.Restarted): "_restarted" for state in _S if state not in TERMINAL},
        **_late(events.Restarted, *TERMINAL),
        **{(state, events.DeadlinePassed): "_deadline" for state in _S if state not in TERMINAL},
        **_late(events.DeadlinePassed, *TERMINAL),
        **_late(events.EntryAppended, *_S),
        (_S.WITHHOLDING, events.EntryAppended): "_withheld",
        (_S.LOGGING_INTENT, events.EntryAppended): "_intent_logged",
        (_S.LOGGING_RESULT, events.EntryAppended): "_result_logged",
        **_late(events.AppendFailed, *_S),
        (_S.WITHHOLDING, events.AppendFailed): "_not_logged",
        (_S.LOGGING_INTENT, events.AppendFailed): "_not_logged",
        (_S.LOGGING_RESULT, events.AppendFailed): "_retry_append",
        (_S.ENCRYPTING, events.ProbeEncrypted): "_encrypted",
        **_late(events.ProbeEncrypted, *_AFTER_ENCRYPTING),
        (_S.ENCRYPTING, events.ProbeFailed): "_probe_lost",
        **_late(events.ProbeFailed, *_AFTER_ENCRYPTING),
        (_S.SENDING, events.StatusReceived): "_status",
        (_S.WAITING, events.StatusReceived): "_status",
        **_late(events.StatusReceived, *_AFTER_WAITING),
        (_S.SENDING, events.ErrorReceived): "_error",
        (_S.WAITING, events.ErrorReceived): "_error",
        (_S.FETCHING, events.ErrorReceived): "_error",
        (_S.REPORTING, events.ErrorReceived): "_error",
        **_late(events.ErrorReceived, _S.OPENING, _S.LOGGING_RESULT, *TERMINAL),
        (_S.SENDING, events.PeerUnreachable): "_retry",
        (_S.WAITING, events.PeerUnreachable): "_retry",
        (_S.FETCHING, events.PeerUnreachable): "_retry",
        (_S.REPORTING, events.PeerUnreachable): "_retry",
        **_late(events.PeerUnreachable, _S.OPENING, _S.LOGGING_RESULT, *TERMINAL),
        (_S.FETCHING, events.AnswerFetched): "_fetched",
        **_late(events.AnswerFetched, _S.OPENING, *_ENDED),
        (_S.OPENING, events.AnswerOpened): "_opened",
        **_late(events.AnswerOpened, *_ENDED),
        (_S.OPENING, events.AnswerUnusable): "_unusable",
        **_late(events.AnswerUnusable, *_ENDED),
        (_S.REPORTING, events.ReceiptReceived): "_receipt",
        **_late(events.ReceiptReceived, *TERMINAL),
        (_S.ENCRYPTING, events.Cancelled): "_cancelled",
        (_S.LOGGING_INTENT, events.Cancelled): "_cancelled",
        (_S.SENDING, events.Cancelled): "_cancelled",
        (_S.WAITING, events.Cancelled): "_cancelled",
        (_S.FETCHING, events.Cancelled): "_cancelled",
        (_S.OPENING, events.Cancelled): "_cancelled",
        **_late(events.Cancelled, _S.WITHHOLDING, *_ENDED),
    },
)
