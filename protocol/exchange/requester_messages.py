"""The messages of a requester, before they are signed.

Source: specs/wire.md, section "Messages".
"""

from __future__ import annotations

from typing import Literal

from protocol import limits
from protocol.errors import EventNotAllowed, FailureReason
from protocol.exchange.events import ProbeEncrypted
from protocol.exchange.request import QueryRequest
from protocol.exchange.requester_table import Outcome, RequesterRecord
from protocol.messages import Query, ResultReport, message_hash


def query_message(request: QueryRequest, probe: ProbeEncrypted, now_ms: int) -> Query:
    """The question of an officer about an encrypted probe."""
    return Query(
        exchange_id=request.exchange_id,
        requester=request.requester,
        responder=request.responder,
        agreement=request.agreement,
        profile=request.profile,
        plan=request.plan,
        modality=request.modality,
        purpose=request.purpose,
        offence=request.offence,
        person_category=request.person_category,
        legal_basis=request.legal_basis,
        authority=request.authority,
        evaluation_keys=request.evaluation_keys,
        ciphertext_hash=probe.ciphertext_hash,
        ciphertext_bytes=probe.ciphertext_bytes,
        created_ms=now_ms,
        expires_ms=now_ms + limits.QUERY_LIFE,
    )


def report_message(record: RequesterRecord, now_ms: int) -> ResultReport:
    """What became of the answer."""
    return ResultReport(
        exchange_id=record.exchange_id,
        requester=record.request.requester,
        responder=record.request.responder,
        query_hash=message_hash(record.envelope),
        answer_hash=record.answer_hash,
        outcome=_reported(record.outcome),
        hits=record.hits,
        reason=FailureReason(record.reason) if record.reason is not None else None,
        reported_ms=now_ms,
    )


def _reported(outcome: Outcome | None) -> Literal["hit", "no-hit", "failed"]:
    if outcome is None or outcome == "refused":
        raise EventNotAllowed("a refusal is not reported to the one who refused")
    return outcome
