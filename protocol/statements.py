"""What an entry of a ledger says, and how much of it each reader may see.

An entry (*leaf*) is the minimum in clear: a format version, the hashed exchange id, the time, and a salted
commitment. The commitment covers two parts. The *shared part* is what the other country must see of the
entry to check that the rule "log before ..." was kept on this very query. The *private part* stays at home,
for the auditor: officer, approver, case reference. An ``Opening`` reveals the first without the second.

Source: specs/ledger.md, sections "Entries" and "Statements".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, ValidationError, model_validator

from crypto.contexts import Context, hash_fields
from crypto.errors import PeerFault
from crypto.merkle import leaf_hash
from protocol import limits, wire
from protocol.errors import BadMessage
from protocol.model import Count, Country, Hash, Millis, Model, Term, Text, describe
from protocol.statement_parts import (
    MAX_PART_BYTES as MAX_PART_BYTES,
)
from protocol.statement_parts import (
    LocalPart as LocalPart,
)
from protocol.statement_parts import (
    NoPrivatePart as NoPrivatePart,
)
from protocol.statement_parts import (
    Operated as Operated,
)
from protocol.statement_parts import (
    PrivatePart as PrivatePart,
)
from protocol.statement_parts import (
    SharedPart as SharedPart,
)
from protocol.statements_claims import CLAIM_STATEMENTS
from protocol.statements_keys import KEY_STATEMENTS
from protocol.statements_records import RECORD_STATEMENTS
from protocol.statements_witness import WITNESS_STATEMENTS

LEAF_VERSION: Final = 1
SALT_BYTES: Final = 32
MAX_LEAF_BYTES: Final = 256
"""A leaf is 129 bytes; room for a second version."""

Outcome = Literal["hit", "no-hit", "refused", "failed"]


class BadOpening(PeerFault):
    """An opening that does not match the commitment in its leaf, or does not say what it must."""

    code = "bad-opening"


_LEAF_BYTES: Final = 115
_LEAF_FORM: Final = (
    (0, b"\x84\xaacommitment\xc4\x20"),
    (46, b"\xa8exchange\xc4\x20"),
    (89, b"\xa7time_ms\xcf"),
    (106, b"\xa7version\x01"),
)
_LEAF_FIELDS: Final = {"version", "exchange", "time_ms", "commitment"}


class Leaf(Model):
    """One entry of the tree, always of the same length.

    Attributes:
        version: 1.
        exchange: ``exchange_in_leaf`` of the exchange id, the same in both countries' leaves.
        time_ms: Milliseconds since 1970, UTC, by the clock of the node.
        commitment: ``commit`` of the two parts.
    """

    LIMIT: ClassVar[int] = MAX_LEAF_BYTES

    version: Literal[1] = LEAF_VERSION
    exchange: Hash
    time_ms: Millis
    commitment: Hash

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """As ``Model.from_bytes``; the form that every leaf of our time has is read without the general parser."""
        if len(data) == _LEAF_BYTES and all(data[at : at + len(part)] == part for at, part in _LEAF_FORM):
            time_ms = int.from_bytes(data[98:106], "big")
            # A smaller number would have a shorter form.
            if 1 << 32 <= time_ms < limits.MAX_TIME_MS:
                return cls.model_construct(  # type: ignore[return-value]
                    _LEAF_FIELDS,
                    version=LEAF_VERSION,
                    exchange=data[57:89],
                    time_ms=time_ms,
                    commitment=data[14:46],
                )
        return super().from_bytes(data)

    @property
    def leaf_hash(self) -> bytes:
        """The RFC 6962 leaf hash of the entry."""
        return leaf_hash(self.to_bytes())


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


class Opening(Model):
    """What reveals the shared part of one leaf, and nothing of its private part.

    Attributes:
        shared: The canonical bytes of the shared part.
        salt: 32 bytes, the salt of the shared part.
        private_digest: The salted digest of the private part.
    """

    LIMIT: ClassVar[int] = MAX_PART_BYTES + 256

    shared: bytes
    salt: Hash
    private_digest: Hash


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


def exchange_in_leaf(exchange_id: bytes) -> bytes:
    """The hashed exchange id that a leaf carries; 32 bytes."""
    return hash_fields(Context.EXCHANGE_ID_IN_LEAF, exchange_id)


def answer_block_hash(block: bytes) -> bytes:
    """The hash of one block of an answer; 32 bytes."""
    return hash_fields(Context.ANSWER, block)


def answer_blocks_digest(hashes: Sequence[bytes]) -> bytes:
    """What names all blocks of an answer by their hashes, in its order; 32 bytes."""
    return hash_fields(Context.ANSWER_BLOCKS, *hashes)


def shared_digest(salt: bytes, shared: bytes) -> bytes:
    """The salted digest of a shared part; 32 bytes."""
    return hash_fields(Context.SHARED_PART, salt, shared)


def private_digest(salt: bytes, private: bytes) -> bytes:
    """The salted digest of a private part; 32 bytes."""
    return hash_fields(Context.PRIVATE_PART, salt, private)


def commit(shared: bytes, private: bytes) -> bytes:
    """The commitment in a leaf, from the two digests; 32 bytes."""
    return hash_fields(Context.COMMITMENT, shared, private)


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


def verify_opening(leaf: Leaf, opening: Opening) -> SharedPart:
    """The shared part of a leaf, once its opening has been checked against the commitment.

    Raises:
        BadOpening: The opening does not open this leaf, or names another exchange than the leaf.
        BadEncoding, BadMessage: The shared part is malformed.
    """
    digest = shared_digest(opening.salt, opening.shared)
    if commit(digest, opening.private_digest) != leaf.commitment:
        raise BadOpening("the opening does not match the commitment in the leaf")
    shared = parse_shared(opening.shared)
    if exchange_in_leaf(shared.exchange_id) != leaf.exchange:
        raise BadOpening(f"the {shared.type} statement names another exchange than its leaf")
    return shared
