"""What reveals the shared part of one entry to somebody else, and nothing of its private part.

Source: specs/ledger.md, section "Statements".
"""

from __future__ import annotations

from typing import ClassVar

from crypto.errors import PeerFault
from protocol.leaf import Leaf, commit, exchange_in_leaf, shared_digest
from protocol.model import Hash, Model
from protocol.statement_parts import MAX_PART_BYTES, SharedPart
from protocol.statements import parse_shared


class BadOpening(PeerFault):
    """An opening that does not match the commitment in its leaf, or does not say what it must."""

    code = "bad-opening"


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
