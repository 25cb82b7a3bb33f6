"""What a responder's session waits for in each state, as commands.

Source: specs/wire.md, section "Sessions".
"""

from __future__ import annotations

from protocol.exchange.checks import own_query
from protocol.exchange.commands import Command, DiscardBodies, StartSearch
from protocol.exchange.entries import (
    accepted_entry,
    answered_entry,
    claimed_entry,
    failed_entry,
    refused_entry,
)
from protocol.exchange.responder_table import ResponderRecord, ResponderState
from protocol.exchange.session import append_entry
from protocol.statements import Computation


def outstanding(record: ResponderRecord, peer: str) -> tuple[Command, ...]:
    """The commands that the present state waits for; every one may be repeated."""
    match record.state:
        case ResponderState.LOGGING_REFUSAL:
            return (append_entry(record, refused_entry(record.query, str(record.reason))),)
        case ResponderState.LOGGING_ACCEPTANCE:
            return (append_entry(record, accepted_entry(record.query, record.intent_leaf or b"")),)
        case ResponderState.WORKING:
            query = own_query(record.query)
            return (
                StartSearch(
                    peer,
                    record.exchange_id,
                    record.query_hash,
                    query.modality,
                    query.profile,
                    query.plan,
                    query.evaluation_keys,
                    query.ciphertext_hash,
                    record.search,
                ),
            )
        case ResponderState.LOGGING_ANSWER:
            entry = answered_entry(
                record.query,
                record.answer_hash or b"",
                record.blocks,
                record.gallery_commitment or b"",
                record.seed_commitment or b"",
                Computation(
                    records=record.records,
                    compute_ms=record.compute_ms,
                    seed=record.seed or b"",
                    retried=record.retried,
                    answer_blocks=record.answer_blocks or b"",
                ),
            )
            return (append_entry(record, entry),)
        case ResponderState.LOGGING_FAILURE:
            return (append_entry(record, failed_entry(record.query, str(record.reason))),)
        case ResponderState.LOGGING_CLAIM:
            return (append_entry(record, claimed_entry(record.query, record.report or b"")),)
        case ResponderState.ANSWERED | ResponderState.SERVED:
            return ()
        case _:
            return (DiscardBodies(record.exchange_id),)
