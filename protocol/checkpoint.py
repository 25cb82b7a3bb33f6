"""Checkpoints: the signed size and root of a ledger.

A checkpoint of Concordat has exactly three lines (origin, size, root), no extension lines, and is signed by
the log under a key whose name is the origin.

Source: C2SP tlog-checkpoint; specs/ledger.md, section "Checkpoints".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from crypto.checkpoint_text import split_checkpoint
from crypto.errors import BadEncoding, BadSignature
from crypto.note import Ed25519Verifier, MlDsaVerifier, Note, NoteVerifier, open_note
from crypto.signing import VerifyKey
from crypto.textforms import encode_base64


class TreeHead(NamedTuple):
    """How many entries a tree has, and its root hash (32 bytes)."""

    size: int
    root: bytes


@dataclass(frozen=True)
class Checkpoint:
    """What a log says of itself.

    Attributes:
        origin: The name of the log, also the name of its key.
        size: Number of entries.
        root: 32 bytes.
    """

    origin: str
    size: int
    root: bytes

    @property
    def head(self) -> TreeHead:
        """Size and root."""
        return TreeHead(self.size, self.root)

    def to_text(self) -> bytes:
        """The text of the note; the one byte form."""
        return f"{self.origin}\n{self.size}\n{encode_base64(self.root)}\n".encode()


@dataclass(frozen=True)
class SignedCheckpoint:
    """A checkpoint whose log signature has been verified, with the note it came in."""

    checkpoint: Checkpoint
    note: Note


@dataclass(frozen=True)
class LogKeys:
    """The keys of one log: Ed25519, and ML-DSA-44 where it is known. Every one of them has to have signed.

    Attributes:
        ed25519: Its name is the log's.
        mldsa: Of the same name; None for a log of which only the other key is known.
    """

    ed25519: Ed25519Verifier
    mldsa: MlDsaVerifier | None = None

    @property
    def name(self) -> str:
        """The origin."""
        return self.ed25519.name

    @property
    def key(self) -> VerifyKey:
        """The Ed25519 key."""
        return self.ed25519.key

    @property
    def vkey(self) -> str:
        """The verifier key line of the Ed25519 key."""
        return self.ed25519.vkey

    @property
    def key_id(self) -> bytes:
        """The id of the Ed25519 key."""
        return self.ed25519.key_id

    @property
    def key_bytes(self) -> bytes:
        """The 32 bytes of the Ed25519 key."""
        return self.ed25519.key_bytes

    @property
    def all(self) -> tuple[NoteVerifier, ...]:
        """Those that are known."""
        return (self.ed25519,) if self.mldsa is None else (self.ed25519, self.mldsa)


AnyLog = NoteVerifier | LogKeys


def parse_checkpoint_text(text: bytes) -> Checkpoint:
    """Read the text of a checkpoint note.

    Raises:
        BadEncoding: Not the one byte form of a checkpoint.
    """
    origin, size, root, extensions = split_checkpoint(text)
    if extensions:
        raise BadEncoding("checkpoint: not three lines")
    return Checkpoint(origin, size, root)


def open_checkpoint(data: bytes, log: AnyLog, others: tuple[NoteVerifier, ...] = ()) -> SignedCheckpoint:
    """Verify a checkpoint note of the log that ``log`` stands for.

    Args:
        data: The note.
        log: The log's key, or all of its keys; the name is the expected origin.
        others: Known cosigners. Their signatures, where present, must verify; none is required here.

    Raises:
        BadEncoding: Not a checkpoint note.
        BadSignature: Not signed by the log with each of its known keys, signed wrongly, or of another origin.
    """
    keys = log.all if isinstance(log, LogKeys) else (log,)
    note = open_note(data, (*keys, *others))
    if not all(note.is_signed_by(key) for key in keys):
        raise BadSignature(f"checkpoint: not signed by {log.name} with each of its keys")
    checkpoint = parse_checkpoint_text(note.text)
    if checkpoint.origin != log.name:
        raise BadSignature(f"checkpoint: signed by {log.name}, but its origin is another")
    return SignedCheckpoint(checkpoint, note)
