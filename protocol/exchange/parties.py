"""Who takes part in an exchange, as both sessions need it. None of this is stored in a session."""

from __future__ import annotations

from dataclasses import dataclass, field

from crypto.note import CosignatureVerifier, Ed25519Verifier
from crypto.signing import SigningKey, VerifyKey
from protocol.checkpoint import LogKeys
from protocol.log_policy import LogPolicy
from protocol.witnessing import witness_verifier


@dataclass(frozen=True)
class Seen:
    """The newest checkpoint of the peer's ledger that this node has verified and stored.

    Attributes:
        size: Number of entries.
        root: 32 bytes.
        note: The signed checkpoint; empty only where no conflict can be shown.
        stored_ms: When this node stored it, by its own clock; 0 if that is not known.
    """

    size: int
    root: bytes
    note: bytes = field(default=b"", repr=False)
    stored_ms: int = 0


@dataclass(frozen=True)
class Peer:
    """The accepted identity of the other side, from the roster.

    Attributes:
        country: Which.
        identity: Signs its messages and cosignatures.
        ledger: Signs its checkpoints.
        demands: Who outside the pair must have cosigned a checkpoint before evidence under it counts, here or there.
    """

    country: str
    identity: VerifyKey
    ledger: Ed25519Verifier | LogKeys
    demands: tuple[LogPolicy, ...] = ()

    @property
    def witness(self) -> CosignatureVerifier:
        """The key by which the peer cosigns."""
        return witness_verifier(self.country, self.identity)


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
