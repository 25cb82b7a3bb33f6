"""What an officer asks, complete: the legal fields, the parties and the plan of the encryption."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from protocol import limits
from protocol.messages import Modality
from protocol.model import Country, ExchangeId, Hash, Model, Term, Text


class QueryRequest(Model):
    """One question of one officer to one country.

    ``exchange_id`` is fresh and random for each country asked. ``officer``, ``approver`` and
    ``case_reference`` stay in this node's sealed payload; all else the responder sees.
    """

    exchange_id: ExchangeId
    requester: Country
    responder: Country
    agreement: Hash
    profile: Hash
    plan: Hash
    query_bytes: Annotated[int, Field(ge=1, le=limits.MAX_QUERY_CIPHERTEXT)]
    answer_block_bytes: Annotated[int, Field(ge=1, le=limits.MAX_BLOCK_BYTES)]
    evaluation_keys: Hash
    modality: Modality
    gallery: Term
    purpose: Term
    offence: Term
    person_category: Term
    legal_basis: Term
    authority: Text
    officer: Text
    approver: Text
    case_reference: Text
