"""The responder's states, what a session knows, and what each event does in each state.

Source: specs/wire.md, section "Sessions".
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import Field

from protocol import limits
from protocol.errors import RefusalReason
from protocol.exchange import events
from protocol.exchange.session import Record, Rule, build_table
from protocol.model import Count, Hash


class ResponderState(StrEnum):
    """Where the exchange stands, seen from the responder."""

    LOGGING_REFUSAL = "logging-refusal"
    REFUSED = "refused"
    LOGGING_ACCEPTANCE = "logging-acceptance"
    WORKING = "working"
    LOGGING_ANSWER = "logging-answer"
    ANSWERED = "answered"
    SERVED = "served"
    LOGGING_FAILURE = "logging-failure"
    FAILED = "failed"
    LOGGING_CLAIM = "logging-claim"
    CLOSED = "closed"
    UNREPORTED = "unreported"


class ResponderRecord(Record):
    """All that a responder's session knows."""

    state: Annotated[ResponderState, Field(strict=False)]
    query: bytes
    query_hash: Hash
    answer_block_bytes: Count
    intent_leaf: Hash | None = None
    reason: Annotated[RefusalReason, Field(strict=False)] | None = None
    answer_by_ms: Count | None = None
    retry_after_s: Count | None = None
    attempts: Count = 0
    search: Count = 1
    done: Count = 0
    total: Count = 0
    decision: bytes | None = None
    decision_index: Count | None = None
    answer_hash: Hash | None = None
    blocks: Count = 0
    gallery_commitment: Hash | None = None
    seed_commitment: Hash | None = None
    records: Count = 0
    compute_ms: Count = 0
    seed: Hash | None = Field(default=None, repr=False)
    retried: Annotated[list[Count], Field(max_length=limits.MAX_RETRIED)] = Field(default_factory=list)
    answer_blocks: Hash | None = None
    answer: bytes | None = None
    answer_index: Count | None = None
    report: bytes | None = None
    receipt: bytes | None = None
    claim_index: Count | None = None


_S = ResponderState
FINAL = frozenset({_S.REFUSED, _S.FAILED, _S.CLOSED})
_LOGGING = {
    _S.LOGGING_REFUSAL: "_refusal_logged",
    _S.LOGGING_ACCEPTANCE: "_acceptance_logged",
    _S.LOGGING_ANSWER: "_answer_logged",
    _S.LOGGING_FAILURE: "_failure_logged",
    _S.LOGGING_CLAIM: "_claim_logged",
}
_AFTER_WORKING = tuple(
    state for state in _S if state not in (_S.LOGGING_REFUSAL, _S.REFUSED, _S.LOGGING_ACCEPTANCE, _S.WORKING)
)
EVENTS: Final = (
    events.EntryAppended,
    events.AppendFailed,
    events.Restarted,
    events.DeadlinePassed,
    events.SearchProgressed,
    events.SearchFinished,
    events.SearchFailed,
    events.AnswerServed,
    events.ReportReceived,
)


def _each(states: tuple[ResponderState, ...], event: type, what: str | Rule) -> dict[Any, str | Rule]:
    return {(state, event): what for state in states}


TABLE: Final = build_table(
    ResponderState,
    EVENTS,
    {
        **_each(tuple(_S), events.EntryAppended, Rule.IGNORE),
        **{(state, events.EntryAppended): name for state, name in _LOGGING.items()},
        **_each(tuple(_S), events.AppendFailed, Rule.IGNORE),
        **{(state, events.AppendFailed): "_retry_append" for state in _LOGGING},
        **_each(tuple(_S), events.Restarted, "_restarted"),
        **_each(tuple(_S), events.DeadlinePassed, "_deadline"),
        **_each(_AFTER_WORKING, events.SearchProgressed, Rule.IGNORE),
        **_each(_AFTER_WORKING, events.SearchFinished, Rule.IGNORE),
        **_each(_AFTER_WORKING, events.SearchFailed, Rule.IGNORE),
        (_S.WORKING, events.SearchProgressed): "_progressed",
        (_S.WORKING, events.SearchFinished): "_searched",
        (_S.WORKING, events.SearchFailed): "_search_failed",
        (_S.ANSWERED, events.AnswerServed): "_served",
        **_each((_S.SERVED, _S.UNREPORTED, _S.LOGGING_CLAIM, _S.CLOSED), events.AnswerServed, Rule.IGNORE),
        **_each((_S.LOGGING_REFUSAL, _S.REFUSED), events.ReportReceived, Rule.OUT_OF_ORDER),
        **_each((_S.LOGGING_FAILURE, _S.FAILED), events.ReportReceived, Rule.OUT_OF_ORDER),
        **_each((_S.LOGGING_ACCEPTANCE, _S.LOGGING_ANSWER), events.ReportReceived, Rule.TRY_LATER),
        **_each((_S.WORKING, _S.ANSWERED, _S.SERVED, _S.UNREPORTED), events.ReportReceived, "_reported"),
        **_each((_S.LOGGING_CLAIM, _S.CLOSED), events.ReportReceived, "_reported_again"),
    },
)
