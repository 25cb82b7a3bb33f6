"""An entry of a ledger as it stands in the tree: a *leaf*, which says when, and commits to what.

It is the minimum in clear: a format version, the hashed exchange id, the time, and a salted commitment, which covers a
shared and a private part (see ``statements``).

Source: specs/ledger.md, section "Entries".
"""

from __future__ import annotations

from typing import ClassVar, Final, Literal, Self

from crypto.contexts import Context, hash_fields
from crypto.merkle import leaf_hash
from protocol import limits
from protocol.model import Hash, Millis, Model

LEAF_VERSION: Final = 1
SALT_BYTES: Final = 32
MAX_LEAF_BYTES: Final = 256
"""A leaf is 129 bytes; room for a second version."""

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


def exchange_in_leaf(exchange_id: bytes) -> bytes:
    """The hashed exchange id that a leaf carries; 32 bytes."""
    return hash_fields(Context.EXCHANGE_ID_IN_LEAF, exchange_id)


def shared_digest(salt: bytes, shared: bytes) -> bytes:
    """The salted digest of a shared part; 32 bytes."""
    return hash_fields(Context.SHARED_PART, salt, shared)


def private_digest(salt: bytes, private: bytes) -> bytes:
    """The salted digest of a private part; 32 bytes."""
    return hash_fields(Context.PRIVATE_PART, salt, private)


def commit(shared: bytes, private: bytes) -> bytes:
    """The commitment in a leaf, from the two digests; 32 bytes."""
    return hash_fields(Context.COMMITMENT, shared, private)
