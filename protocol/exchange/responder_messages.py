"""What a responder says: its messages before they are signed, in the replies that carry them.

Source: specs/wire.md, section "Messages".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from protocol.exchange.responder_table import ResponderRecord
from protocol.messages import (
    AnswerHeader,
    Decision,
    ExchangeStatus,
    Progress,
    Query,
    Receipt,
    ReceiptReply,
    message_hash,
)


@dataclass(frozen=True)
class StatusParts:
    """What there is to say now; the node adds evidence of the entries with these indices."""

    decision: bytes
    decision_index: int
    progress: Progress | None
    answer: bytes | None
    answer_index: int | None

    def to_bytes(self, evidence: Callable[[int], bytes], witnessed: bytes | None) -> bytes:
        """The ``ExchangeStatus``.

        Args:
            evidence: Gives the ``LogEvidence`` bytes of an entry, from the size that the peer has seen.
            witnessed: The newest checkpoint held of the peer's ledger, cosigned.
        """
        answered = self.answer is not None and self.answer_index is not None
        return ExchangeStatus(
            decision=self.decision,
            decision_evidence=evidence(self.decision_index),
            progress=self.progress,
            answer=self.answer if answered else None,
            answer_evidence=evidence(self.answer_index) if self.answer_index is not None else None,
            witnessed=witnessed,
        ).to_bytes()


@dataclass(frozen=True)
class ReceiptParts:
    """The receipt, and the index of the entry of the claim."""

    receipt: bytes
    claim_index: int

    def to_bytes(self, evidence: Callable[[int], bytes], witnessed: bytes) -> bytes:
        """The ``ReceiptReply``; arguments as in ``StatusParts``."""
        return ReceiptReply(
            receipt=self.receipt, evidence=evidence(self.claim_index), witnessed=witnessed
        ).to_bytes()


def decision_message(record: ResponderRecord, query: Query, outcome: str) -> Decision:
    """What was decided on a query."""
    values: dict[str, Any] = {
        "exchange_id": query.exchange_id,
        "requester": query.requester,
        "responder": query.responder,
        "query_hash": record.query_hash,
        "outcome": outcome,
        "reason": record.reason if outcome != "accepted" else None,
        "decided_ms": record.entry_ms,
        "answer_by_ms": record.answer_by_ms if outcome == "accepted" else None,
        "retry_after_s": record.retry_after_s if outcome == "refused" else None,
    }
    return Decision.model_validate(values)


def header_message(record: ResponderRecord, query: Query) -> AnswerHeader:
    """The header of an answer that is on the ledger."""
    return AnswerHeader(
        exchange_id=query.exchange_id,
        requester=query.requester,
        responder=query.responder,
        query_hash=record.query_hash,
        blocks=record.blocks,
        block_bytes=record.answer_block_bytes,
        answer_hash=record.answer_hash or b"",
        answered_ms=record.entry_ms,
    )


def receipt_message(record: ResponderRecord, query: Query) -> Receipt:
    """The receipt of a report that is on the ledger."""
    return Receipt(
        exchange_id=query.exchange_id,
        requester=query.requester,
        responder=query.responder,
        query_hash=record.query_hash,
        report_hash=message_hash(record.report or b""),
        received_ms=record.entry_ms,
    )
