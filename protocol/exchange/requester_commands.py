"""What a requester's session waits for in each state, as commands.

Source: specs/wire.md, section "Sessions".
"""

from __future__ import annotations

from protocol.errors import EventNotAllowed
from protocol.exchange.checks import own_query
from protocol.exchange.commands import (
    Command,
    DiscardBodies,
    EncryptProbe,
    FetchAnswer,
    FetchStatus,
    OpenAnswer,
    SendQuery,
    SendReport,
)
from protocol.exchange.entries import intent_entry, result_entry, withheld_entry
from protocol.exchange.requester_table import RequesterRecord, RequesterState
from protocol.exchange.session import append_entry


def outstanding(record: RequesterRecord, peer: str) -> tuple[Command, ...]:
    """The commands that the present state waits for; every one may be repeated."""
    match record.state:
        case RequesterState.WITHHOLDING:
            return (append_entry(record, withheld_entry(record.request, record.reason or "")),)
        case RequesterState.ENCRYPTING:
            return (EncryptProbe(record.exchange_id),)
        case RequesterState.LOGGING_INTENT:
            return (append_entry(record, intent_entry(record.envelope, record.request)),)
        case RequesterState.SENDING:
            query = own_query(record.envelope)
            return (
                SendQuery(
                    peer,
                    record.exchange_id,
                    record.envelope,
                    query.ciphertext_hash,
                    query.evaluation_keys,
                    _known(record.intent_index),
                    record.evidence_from,
                    record.retry_ms,
                ),
            )
        case RequesterState.WAITING:
            return (FetchStatus(peer, record.exchange_id, record.retry_ms),)
        case RequesterState.FETCHING:
            header = record.header
            return (
                FetchAnswer(
                    peer, record.exchange_id, header.answer_hash, header.answer_bytes, record.retry_ms
                ),
            )
        case RequesterState.OPENING:
            header = record.header
            return (OpenAnswer(record.exchange_id, header.answer_hash, header.blocks),)
        case RequesterState.LOGGING_RESULT:
            return (
                append_entry(
                    record,
                    result_entry(
                        record.envelope,
                        record.answer_hash,
                        record.outcome or "failed",
                        record.hits,
                        record.reason,
                    ),
                ),
            )
        case RequesterState.REPORTING:
            return (
                SendReport(
                    peer,
                    record.exchange_id,
                    record.report or b"",
                    _known(record.result_index),
                    record.evidence_from,
                    record.retry_ms,
                ),
            )
        case _:
            return (DiscardBodies(record.exchange_id),)


def _known(index: int | None) -> int:
    if index is None:
        raise EventNotAllowed("the entry has not been appended yet")
    return index
