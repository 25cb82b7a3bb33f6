"""Proof files: one entry's place in a ledger, for anybody's verifier.

Source: C2SP tlog-proof; specs/ledger.md, section "Proof files".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from crypto import merkle
from crypto.errors import BadEncoding, BadSignature
from crypto.note import MAX_NOTE_BYTES, NoteVerifier, parse_note
from crypto.textforms import decode_base64, decode_decimal, encode_base64
from protocol.checkpoint import Checkpoint, open_checkpoint, parse_checkpoint_text
from protocol.log_policy import LogPolicy

_HEADER: Final = "c2sp.org/tlog-proof@v1"
MAX_PROOF_BYTES: Final = MAX_NOTE_BYTES + 8192


@dataclass(frozen=True)
class TlogProof:
    """A parsed proof file.

    Attributes:
        index: Of the entry.
        path: Inclusion proof, nearest sibling first.
        checkpoint: The signed checkpoint note.
        extra: Opaque and unauthenticated; None if absent.
    """

    index: int
    path: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None

    def to_bytes(self) -> bytes:
        """The one byte form."""
        lines = [_HEADER]
        if self.extra is not None:
            lines.append(f"extra {encode_base64(self.extra)}")
        lines.append(f"index {self.index}")
        lines += [encode_base64(item) for item in self.path]
        return ("\n".join(lines) + "\n\n").encode() + self.checkpoint


def parse_proof(data: bytes) -> TlogProof:
    """Read a proof file; ``BadEncoding`` on anything but its one form."""
    if len(data) > MAX_PROOF_BYTES:
        raise BadEncoding("proof: too long")
    head, found, checkpoint = data.partition(b"\n\n")
    if not found:
        raise BadEncoding("proof: no blank line before the checkpoint")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise BadEncoding("proof: not ASCII") from None
    if lines.pop(0) != _HEADER:
        raise BadEncoding("proof: another first line")
    extra = None
    if lines and lines[0].startswith("extra "):
        extra = decode_base64(lines.pop(0).removeprefix("extra "), "proof extra")
    if not lines or not lines[0].startswith("index "):
        raise BadEncoding("proof: no index line")
    index = decode_decimal(lines.pop(0).removeprefix("index "), "proof index")
    if len(lines) > merkle.MAX_PROOF_HASHES:
        raise BadEncoding("proof: too many hashes")
    path = tuple(decode_base64(line, "proof hash") for line in lines)
    if any(len(item) != merkle.HASH_BYTES for item in path):
        raise BadEncoding("proof: a hash of another length than 32 bytes")
    return TlogProof(index, path, checkpoint, extra)


def verify_proof(proof: TlogProof, entry: bytes, log: NoteVerifier) -> Checkpoint:
    """Check that ``entry`` is where the proof says; return the checkpoint it is under.

    Raises:
        BadEncoding, BadSignature: The checkpoint is not one, or not of this log.
        BadProof: The path does not lead to its root.
    """
    return _verify_path(proof, entry, open_checkpoint(proof.checkpoint, log).checkpoint)


def verify_proof_by_policy(proof: TlogProof, entry: bytes, policy: LogPolicy) -> Checkpoint:
    """As ``verify_proof``, with the logs and the quorum of a policy.

    Raises:
        BadEncoding, BadSignature: The checkpoint is not one, or the policy does not accept it.
        BadProof: The path does not lead to its root.
    """
    shortfall = policy.shortfall(proof.checkpoint)
    if shortfall is not None:
        raise BadSignature(f"proof: {shortfall}")
    return _verify_path(proof, entry, parse_checkpoint_text(parse_note(proof.checkpoint).text))


def _verify_path(proof: TlogProof, entry: bytes, checkpoint: Checkpoint) -> Checkpoint:
    merkle.verify_inclusion(
        merkle.leaf_hash(entry), proof.index, checkpoint.size, proof.path, checkpoint.root
    )
    return checkpoint
