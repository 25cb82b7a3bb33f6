"""What an entry of a ledger says, and how much of it each reader may see.

The *shared part* is what the other country must see of the entry to check that the rule "log before ..." was kept on
this very query. The *private part* stays at home, for the auditor: officer, approver, case reference. An ``Opening``
reveals the first without the second.

Source: specs/ledger.md, section "Statements".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, ValidationError, model_validator

from crypto.contexts import Context, hash_fields
from protocol import limits, wire
from protocol.errors import BadMessage
from protocol.model import Count, Country, Hash, Term, Text, describe
from protocol.statement_parts import (
    MAX_PART_BYTES,
    LocalPart,
    NoPrivatePart,
    Operated,
    PrivatePart,
    SharedPart,
)
from protocol.statements_claims import CLAIM_STATEMENTS
from protocol.statements_keys import KEY_STATEMENTS
from protocol.statements_records import RECORD_STATEMENTS
from protocol.statements_witness import WITNESS_STATEMENTS

Outcome = Literal["hit", "no-hit", "refused", "failed"]


class Asked(SharedPart):
    """The fields by which both sides name the query: between whom, under which agreement, and why.

    Attributes:
        query_hash: Hash of the signed query message.
        authority: The querying authority.
    """

    requester: Country
    responder: Country
    agreement: Hash
    query_hash: Hash
    purpose: Term
    legal_basis: Term
    offence: Term
    person_category: Term
    modality: Term
    authority: Text


class QueryIntent(Asked):
    """A is about to send this query: the entry that must exist before the query leaves."""

    type: Literal["query.intent"] = "query.intent"
    ciphertext_hash: Hash
    profile: Hash
    plan: Hash
    gallery: Term


class Requested(PrivatePart):
    """Who asked, who ordered or validated it, and for which case."""

    officer: Text
    approver: Text
    case_reference: Text


class QueryWithheld(SharedPart):
    """A's own policy stopped a query before anything was encrypted or sent."""

    type: Literal["query.withheld"] = "query.withheld"
    requester: Country
    responder: Country
    agreement: Hash | None
    purpose: Term
    legal_basis: Term
    offence: Term
    person_category: Term
    modality: Term
    authority: Text
    reason: Term


class QueryAccepted(Asked):
    """B will work on this query. ``intent_leaf`` is the leaf hash of A's intent that B checked."""

    type: Literal["query.accepted"] = "query.accepted"
    ciphertext_hash: Hash
    intent_leaf: Hash


class QueryRefused(Asked):
    """B does not answer this query; ``reason`` is the stable code that A is told."""

    type: Literal["query.refused"] = "query.refused"
    reason: Term


class _Reply(SharedPart):
    requester: Country
    responder: Country
    agreement: Hash
    query_hash: Hash


class QueryAnswered(_Reply):
    """B has computed this answer and may now hand it over."""

    type: Literal["query.answered"] = "query.answered"
    answer_hash: Hash
    blocks: Count
    gallery_commitment: Hash
    seed_commitment: Hash


class Computed(PrivatePart):
    """How large the search was; the number of records is nobody else's business."""

    records: Count
    compute_ms: Count


class Computation(Computed):
    """What the answer was computed from: with it B's auditors can compute it again.

    Attributes:
        seed: All randomness of the answer follows from it; ``seed_commitment`` commits to it.
        retried: Positions in the gallery of the blocks that were answered by a second attempt, after a lost worker.
        answer_blocks: ``answer_blocks_digest`` of the blocks of the answer, in its order.
    """

    HIDDEN: ClassVar[frozenset[str]] = frozenset({"seed"})

    seed: Hash
    retried: Annotated[list[Count], Field(max_length=limits.MAX_RETRIED)]
    answer_blocks: Hash


class QueryFailed(_Reply):
    """B accepted the query but cannot answer it."""

    type: Literal["query.failed"] = "query.failed"
    reason: Term


class _Outcome(_Reply):
    answer_hash: Hash | None
    outcome: Outcome
    hits: Count
    reason: Term | None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.outcome == "hit") != (self.hits > 0):
            raise ValueError("hits are counted on a hit and only there")
        if (self.outcome in ("hit", "no-hit")) != (self.answer_hash is not None):
            raise ValueError("an answer is named on hit and no-hit and only there")
        if (self.outcome in ("refused", "failed")) != (self.reason is not None):
            raise ValueError("a reason is given on refused and failed and only there")
        return self


class QueryResult(_Outcome):
    """A has opened the answer, or has given up on it."""

    type: Literal["query.result"] = "query.result"


class QueryClaimed(_Outcome):
    """B records what A reported as its result; ``report_hash`` is the hash of A's signed report."""

    type: Literal["query.claimed"] = "query.claimed"
    report_hash: Hash


class GalleryImported(LocalPart):
    """A gallery version went into use."""

    type: Literal["gallery.imported"] = "gallery.imported"
    gallery_commitment: Hash


class ImportedGallery(PrivatePart):
    """What was imported, in counts."""

    modality: Term
    profile: Hash
    records: Count
    blocks: Count
    operator: Text


class AgreementAccepted(LocalPart):
    """The operator put an agreement in force on this node."""

    type: Literal["agreement.accepted"] = "agreement.accepted"
    peer: Country
    agreement: Hash


class PeerAccepted(LocalPart):
    """The operator took a peer's descriptor into the roster."""

    type: Literal["peer.accepted"] = "peer.accepted"
    peer: Country
    descriptor: Hash


class NodeInitialised(LocalPart):
    """The first entry of a ledger: whose it is."""

    type: Literal["node.initialised"] = "node.initialised"
    identity_key: Hash
    origin: Text


class Installed(PrivatePart):
    """Under whose responsibility, and by which software."""

    authority: Text
    software: Text


STATEMENTS: Final[dict[str, tuple[type[SharedPart], type[PrivatePart]]]] = {
    "query.intent": (QueryIntent, Requested),
    "query.withheld": (QueryWithheld, Requested),
    "query.accepted": (QueryAccepted, NoPrivatePart),
    "query.refused": (QueryRefused, NoPrivatePart),
    "query.answered": (QueryAnswered, Computation),
    "query.failed": (QueryFailed, NoPrivatePart),
    "query.result": (QueryResult, NoPrivatePart),
    "query.claimed": (QueryClaimed, NoPrivatePart),
    "gallery.imported": (GalleryImported, ImportedGallery),
    "agreement.accepted": (AgreementAccepted, Operated),
    "peer.accepted": (PeerAccepted, Operated),
    "node.initialised": (NodeInitialised, Installed),
    **CLAIM_STATEMENTS,
    **KEY_STATEMENTS,
    **RECORD_STATEMENTS,
    **WITNESS_STATEMENTS,
}
"""The shared and private model of every statement type."""

EARLIER: Final[dict[str, type[PrivatePart]]] = {"query.answered": Computed}
"""Private parts that ledgers of earlier versions hold, and that are still read: an answer without its seed."""


@dataclass(frozen=True)
class Statement:
    """Both parts of one statement, which belong together by type."""

    shared: SharedPart
    private: PrivatePart

    def __post_init__(self) -> None:
        expected = STATEMENTS.get(self.shared.type)
        allowed = () if expected is None else (expected, (expected[0], EARLIER.get(self.shared.type)))
        if (type(self.shared), type(self.private)) not in allowed:
            raise TypeError(f"{type(self.shared).__name__} does not go with {type(self.private).__name__}")


def answer_block_hash(block: bytes) -> bytes:
    """The hash of one block of an answer; 32 bytes."""
    return hash_fields(Context.ANSWER, block)


def answer_blocks_digest(hashes: Sequence[bytes]) -> bytes:
    """What names all blocks of an answer by their hashes, in its order; 32 bytes."""
    return hash_fields(Context.ANSWER_BLOCKS, *hashes)


def parse_shared(data: bytes) -> SharedPart:
    """Read a shared part of any known type.

    Raises:
        BadEncoding: Not canonical.
        BadMessage: An unknown type, or a field that its model does not allow.
    """
    value = wire.decode(data, MAX_PART_BYTES)
    kind = value.get("type") if isinstance(value, dict) else None
    models = STATEMENTS.get(kind) if isinstance(kind, str) else None
    if models is None:
        raise BadMessage("a shared part of no known statement type")
    try:
        return models[0].from_bytes(data)
    except ValidationError as error:  # pragma: no cover - from_bytes translates it
        raise BadMessage(describe(error)) from None


def parse_private(data: bytes, shared: SharedPart) -> PrivatePart:
    """Read the private part that belongs to a shared part; errors as ``parse_shared``."""
    model, earlier = STATEMENTS[shared.type][1], EARLIER.get(shared.type)
    if earlier is not None:
        fields = wire.decode(data, MAX_PART_BYTES)
        if isinstance(fields, dict) and set(fields) == set(earlier.model_fields):
            return earlier.from_bytes(data)
    return model.from_bytes(data)
