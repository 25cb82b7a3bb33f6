"""The ledger statements of an exchange, built from its messages: the only place where both vocabularies meet.

Source: specs/ledger.md, section "Statements".
"""

from __future__ import annotations

from typing import Any, Literal

from protocol.exchange.checks import ASKED_FIELDS, OUTCOME_FIELDS, REPLY_FIELDS, own_query
from protocol.exchange.request import QueryRequest
from protocol.messages import Query, ResultReport, Signed, message_hash
from protocol.statement_parts import NoPrivatePart
from protocol.statements import (
    Computed,
    QueryAccepted,
    QueryAnswered,
    QueryClaimed,
    QueryFailed,
    QueryIntent,
    QueryRefused,
    QueryResult,
    QueryWithheld,
    Requested,
    Statement,
)


def withheld_entry(request: QueryRequest, reason: str) -> Statement:
    """A: our own policy says no; nothing was encrypted."""
    shared = QueryWithheld(reason=reason, **_take(request, ASKED_FIELDS))
    return Statement(shared, _requested(request))


def intent_entry(query_envelope: bytes, request: QueryRequest) -> Statement:
    """A: this query is about to be sent."""
    query = own_query(query_envelope)
    shared = QueryIntent(
        query_hash=message_hash(query_envelope),
        gallery=request.gallery,
        **_take(query, (*ASKED_FIELDS, "ciphertext_hash", "profile", "plan")),
    )
    return Statement(shared, _requested(request))


def accepted_entry(query_envelope: bytes, intent_leaf: bytes) -> Statement:
    """B: this query will be worked on."""
    query = own_query(query_envelope)
    shared = QueryAccepted(
        query_hash=message_hash(query_envelope),
        intent_leaf=intent_leaf,
        **_take(query, (*ASKED_FIELDS, "ciphertext_hash")),
    )
    return Statement(shared, NoPrivatePart())


def refused_entry(query_envelope: bytes, reason: str) -> Statement:
    """B: this query will not be answered."""
    query = own_query(query_envelope)
    shared = QueryRefused(
        query_hash=message_hash(query_envelope), reason=reason, **_take(query, ASKED_FIELDS)
    )
    return Statement(shared, NoPrivatePart())


def failed_entry(query_envelope: bytes, reason: str) -> Statement:
    """B: the accepted query cannot be answered."""
    query = own_query(query_envelope)
    shared = QueryFailed(query_hash=message_hash(query_envelope), reason=reason, **_take(query, REPLY_FIELDS))
    return Statement(shared, NoPrivatePart())


def answered_entry(
    query_envelope: bytes,
    answer_hash: bytes,
    blocks: int,
    gallery_commitment: bytes,
    seed_commitment: bytes,
    computed: Computed,
) -> Statement:
    """B: this answer may be handed over; how it was computed is for B's auditors only."""
    query = own_query(query_envelope)
    shared = QueryAnswered(
        query_hash=message_hash(query_envelope),
        answer_hash=answer_hash,
        blocks=blocks,
        gallery_commitment=gallery_commitment,
        seed_commitment=seed_commitment,
        **_take(query, REPLY_FIELDS),
    )
    return Statement(shared, computed)


def result_entry(
    query_envelope: bytes,
    answer_hash: bytes | None,
    outcome: Literal["hit", "no-hit", "refused", "failed"],
    hits: int,
    reason: str | None,
) -> Statement:
    """A: what came of the query."""
    query = own_query(query_envelope)
    shared = QueryResult(
        query_hash=message_hash(query_envelope),
        answer_hash=answer_hash,
        outcome=outcome,
        hits=hits,
        reason=reason,
        **_take(query, REPLY_FIELDS),
    )
    return Statement(shared, NoPrivatePart())


def claimed_entry(query_envelope: bytes, report_envelope: bytes) -> Statement:
    """B: what A says came of the query."""
    query: Query = own_query(query_envelope)
    report = ResultReport.from_bytes(Signed.from_bytes(report_envelope).message)
    shared = QueryClaimed(
        query_hash=message_hash(query_envelope),
        report_hash=message_hash(report_envelope),
        **_take(report, OUTCOME_FIELDS),
        **_take(query, REPLY_FIELDS),
    )
    return Statement(shared, NoPrivatePart())


def _requested(request: QueryRequest) -> Requested:
    return Requested(
        officer=request.officer, approver=request.approver, case_reference=request.case_reference
    )


def _take(source: object, names: tuple[str, ...]) -> dict[str, Any]:
    """The named fields as plain values: an enumerated reason becomes its text."""
    values = {name: getattr(source, name) for name in names}
    return {name: str(value) if isinstance(value, str) else value for name, value in values.items()}
