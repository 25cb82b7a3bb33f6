"""Who takes part in an exchange, as both sessions need it. None of this is stored in a session."""

from __future__ import annotations

from dataclasses import dataclass

from crypto.note import NoteVerifier
from crypto.signing import SigningKey, VerifyKey


@dataclass(frozen=True)
class Seen:
    """The newest checkpoint of the peer's ledger that this node has verified and stored."""

    size: int
    root: bytes


@dataclass(frozen=True)
class Peer:
    """The accepted identity of the other side, from the roster."""

    country: str
    identity: VerifyKey
    ledger: NoteVerifier


@dataclass(frozen=True)
class Parties:
    """This node and the other side of one exchange."""

    country: str
    identity: SigningKey
    peer: Peer


@dataclass(frozen=True)
class PlanSizes:
    """The exact lengths of one search plan; ``identifier`` is its 32-byte hash."""

    identifier: bytes
    query_bytes: int
    answer_block_bytes: int
