"""Payloads: both parts of a statement with their salts, sealed for the node and for each of its auditors.

The parts are sealed under a fresh key; that key is wrapped once under the node's storage key and once to the
X25519 key of each auditor. All is bound to the leaf hash, so a payload opens only at its own leaf, and
deleting the payload erases the statement while the tree still verifies. What is sealed is padded, so that the
length of a payload says little of its statement.

Source: specs/ledger.md, section "Payloads".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from crypto.contexts import Context
from crypto.errors import SealBroken
from crypto.sealing import NONCE_BYTES, open_sealed, open_sealed_to, public_key, seal, seal_to
from protocol import limits
from protocol.errors import BadMessage
from protocol.leaf import SALT_BYTES, Leaf, commit, exchange_in_leaf, private_digest, shared_digest
from protocol.model import Hash, Model
from protocol.opening import BadOpening, Opening, verify_opening
from protocol.statement_parts import MAX_PART_BYTES, PrivatePart, SharedPart
from protocol.statements import Statement, parse_private

MAX_PAYLOAD_BYTES: Final = 3 * MAX_PART_BYTES
PAYLOAD_CLASS: Final = 2048
"""Sealed contents have a multiple of this length: one, but for statements with long texts or lists."""
_PAD_MARK: Final = b"\x80"
Random = Callable[[int], bytes]
"""``random(n)`` gives n fresh secret bytes."""


class _Contents(Model):
    LIMIT: ClassVar[int] = MAX_PAYLOAD_BYTES

    shared: bytes
    shared_salt: Hash
    private: bytes
    private_salt: Hash


class WrappedKey(Model):
    """The payload key for one reader: an auditor's public key, and the key sealed to it."""

    recipient: Hash
    sealed: Annotated[bytes, Field(max_length=128)]


class PayloadBox(Model):
    """A payload at rest."""

    LIMIT: ClassVar[int] = MAX_PAYLOAD_BYTES

    version: Literal[1] = 1
    sealed: bytes
    node_key: Annotated[bytes, Field(max_length=128)]
    auditor_keys: Annotated[list[WrappedKey], Field(max_length=limits.MAX_AUDITORS)]


@dataclass(frozen=True)
class OpenedPayload:
    """A payload that opened and matches its leaf.

    Attributes:
        statement: Both parts.
        opening: What reveals the shared part to the other country.
    """

    statement: Statement
    opening: Opening

    @property
    def shared(self) -> SharedPart:
        """The shared part."""
        return self.statement.shared

    @property
    def private(self) -> PrivatePart:
        """The private part."""
        return self.statement.private


def payload_path(leaf_hash: bytes) -> str:
    """Where a payload lies below the ledger's directory: ``payloads/<first byte>/<leaf hash>`` in hex."""
    name = leaf_hash.hex()
    return f"payloads/{name[:2]}/{name}"


def pad(contents: bytes) -> bytes:
    """Contents, the byte 0x80, and zeros up to the next multiple of the class."""
    marked = contents + _PAD_MARK
    return marked + bytes(-len(marked) % PAYLOAD_CLASS)


def unpad(padded: bytes) -> bytes:
    """What was padded; ``BadMessage`` unless it is in the one form."""
    contents = padded.rstrip(b"\0")[:-1]
    if pad(contents) != padded:
        raise BadMessage("a payload that is not padded as it must be")
    return contents


def make_entry(
    statement: Statement, time_ms: int, storage_key: bytes, auditors: Sequence[bytes], random: Random
) -> tuple[Leaf, PayloadBox, Opening]:
    """Salt, commit and seal one statement.

    Args:
        statement: What is to be logged.
        time_ms: Milliseconds since 1970.
        storage_key: 32 secret bytes of the node.
        auditors: X25519 public keys.
        random: Source of salts, keys and nonces.

    Returns:
        The leaf, its payload at rest, and the opening for the peer.
    """
    shared, private = statement.shared.to_bytes(), statement.private.to_bytes()
    for part in (shared, private):
        if len(part) > MAX_PART_BYTES:
            raise ValueError(f"a part of a statement is over {MAX_PART_BYTES} bytes")
    contents = _Contents(
        shared=shared, shared_salt=random(SALT_BYTES), private=private, private_salt=random(SALT_BYTES)
    )
    hidden = private_digest(contents.private_salt, private)
    leaf = Leaf(
        exchange=exchange_in_leaf(statement.shared.exchange_id),
        time_ms=time_ms,
        commitment=commit(shared_digest(contents.shared_salt, shared), hidden),
    )
    place = leaf.leaf_hash
    key = random(32)
    box = PayloadBox(
        sealed=seal(key, Context.PAYLOAD, place, pad(contents.to_bytes()), random(NONCE_BYTES)),
        node_key=seal(storage_key, Context.PAYLOAD_KEY, place, key, random(NONCE_BYTES)),
        auditor_keys=[
            WrappedKey(
                recipient=auditor, sealed=seal_to(auditor, Context.PAYLOAD_KEY, place, key, random(32))
            )
            for auditor in auditors
        ],
    )
    return leaf, box, Opening(shared=shared, salt=contents.shared_salt, private_digest=hidden)


def open_as_node(leaf: Leaf, box: PayloadBox, storage_key: bytes) -> OpenedPayload:
    """Open a payload with the node's storage key; errors as ``open_as_auditor``."""
    return _open(leaf, box, open_sealed(storage_key, Context.PAYLOAD_KEY, leaf.leaf_hash, box.node_key))


def is_for(box: PayloadBox, auditor_private: bytes) -> bool:
    """Whether a payload is sealed to this auditor at all."""
    return any(item.recipient == public_key(auditor_private) for item in box.auditor_keys)


def open_as_auditor(leaf: Leaf, box: PayloadBox, auditor_private: bytes) -> OpenedPayload:
    """Open a payload with an auditor's X25519 private key and check it against its leaf.

    Raises:
        SealBroken: Not sealed to this auditor, of another leaf, or damaged.
        BadOpening: It opens, but does not match the commitment of the leaf.
        BadEncoding, BadMessage: It opens, but holds something malformed.
    """
    ours = public_key(auditor_private)
    for item in box.auditor_keys:
        if item.recipient == ours:
            return _open(
                leaf, box, open_sealed_to(auditor_private, Context.PAYLOAD_KEY, leaf.leaf_hash, item.sealed)
            )
    raise SealBroken("this payload is not sealed to this auditor")


def _open(leaf: Leaf, box: PayloadBox, key: bytes) -> OpenedPayload:
    contents = _Contents.from_bytes(unpad(open_sealed(key, Context.PAYLOAD, leaf.leaf_hash, box.sealed)))
    opening = Opening(
        shared=contents.shared,
        salt=contents.shared_salt,
        private_digest=private_digest(contents.private_salt, contents.private),
    )
    shared = verify_opening(leaf, opening)
    try:
        return OpenedPayload(Statement(shared, parse_private(contents.private, shared)), opening)
    except TypeError:
        raise BadMessage("a payload whose parts do not belong together") from None


__all__ = [
    "BadOpening",
    "OpenedPayload",
    "PayloadBox",
    "WrappedKey",
    "is_for",
    "make_entry",
    "open_as_auditor",
    "open_as_node",
    "pad",
    "payload_path",
    "unpad",
]
