"""The tlog-witness protocol without sockets: a request body in, a status and a body out.

A witness keeps, for each log it knows, the largest checkpoint it has cosigned, and cosigns another only if
that one is proven to continue it. Trust and state are behind ``WitnessStore``; time is an argument.

Source: C2SP tlog-witness; specs/ledger.md, section "The witness endpoint".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from crypto import merkle
from crypto.checkpoint_text import CheckpointLines, split_checkpoint
from crypto.errors import BadEncoding, BadProof, BadSignature, PeerFault
from crypto.note import (
    LogVerifier,
    Note,
    WitnessSigner,
    cosignature_time,
    open_note,
    parse_note,
    sign_note,
)
from crypto.textforms import decode_base64, decode_decimal, encode_base64

MAX_PROOF_LINES: Final = 63
MAX_REQUEST_BYTES: Final = 512 * 1024
"""A checkpoint with a hundred ML-DSA-44 signatures is about 350 kB."""
SIZE_TYPE: Final = "text/x.tlog.size"
TEXT_TYPE: Final = "text/plain; charset=utf-8"


class MovedOn(PeerFault):
    """The log has another checkpoint on record by now than the one that was checked against.

    Attributes:
        stored_size: The size on record.
    """

    code = "stale-checkpoint"

    def __init__(self, stored_size: int) -> None:
        super().__init__(f"the checkpoint on record has {stored_size} entries")
        self.stored_size = stored_size


class WitnessStore(Protocol):
    """What a witness knows and remembers."""

    def log_keys(self, origin: str) -> Sequence[LogVerifier]:
        """The trusted keys of a log; none if the origin is unknown."""

    def latest(self, origin: str) -> bytes | None:
        """The checkpoint on record, with our cosignatures; None if nothing was cosigned yet."""

    def replace(self, origin: str, expected: bytes | None, note: bytes) -> None:
        """Put ``note`` on record, durably, if ``expected`` still is; ``MovedOn`` otherwise."""

    def keep_fork(self, origin: str, seen: bytes, shown: bytes) -> None:
        """Keep two checkpoints of one size with different roots that the log signed both."""


@dataclass(frozen=True)
class AddCheckpoint:
    """A parsed request.

    Attributes:
        old_size: Of the checkpoint that the proof starts from.
        proof: Consistency proof, 32 bytes each.
        note: The checkpoint note.
    """

    old_size: int
    proof: tuple[bytes, ...]
    note: bytes

    def to_bytes(self) -> bytes:
        """The one byte form."""
        lines = [f"old {self.old_size}", *map(encode_base64, self.proof)]
        return ("\n".join(lines) + "\n\n").encode() + self.note


@dataclass(frozen=True)
class Reply:
    """What to answer: an HTTP status, the body, its media type."""

    status: int
    body: bytes
    media_type: str = TEXT_TYPE


def parse_request(body: bytes) -> AddCheckpoint:
    """Read the body of an add-checkpoint request; ``BadEncoding`` on anything but its one form."""
    if len(body) > MAX_REQUEST_BYTES:
        raise BadEncoding("add-checkpoint: too long")
    head, found, note = body.partition(b"\n\n")
    if not found:
        raise BadEncoding("add-checkpoint: no empty line before the checkpoint")
    try:
        old, *lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise BadEncoding("add-checkpoint: not ASCII before the checkpoint") from None
    if not old.startswith("old "):
        raise BadEncoding("add-checkpoint: the first line is not the old size")
    old_size = decode_decimal(old.removeprefix("old "), "old size")
    if len(lines) > MAX_PROOF_LINES:
        raise BadEncoding(f"add-checkpoint: more than {MAX_PROOF_LINES} proof lines")
    proof = tuple(decode_base64(line, "proof line") for line in lines)
    if any(len(item) != merkle.HASH_BYTES for item in proof):
        raise BadEncoding("add-checkpoint: a proof line of another length than 32 bytes")
    return AddCheckpoint(old_size, proof, note)


def process(store: WitnessStore, body: bytes, signers: Sequence[WitnessSigner]) -> Reply:
    """Answer one add-checkpoint request by the specification's status codes.

    Args:
        store: What the witness knows.
        body: As received.
        signers: The witness's keys at the present time, which must not be 0.

    Raises:
        OSError, LocalFault: The checkpoint could not be put on record; nothing was cosigned.
    """
    try:
        request = parse_request(body)
        note = parse_note(request.note)
        head = split_checkpoint(note.text)
    except BadEncoding as error:
        return _refusal(400, str(error))
    keys = store.log_keys(head.origin)
    if not keys:
        return _refusal(404, "unknown log")
    try:
        opened = open_note(request.note, keys)
    except BadSignature as error:
        return _refusal(403, str(error))
    if request.old_size > head.size:
        return _refusal(400, "the old size is above the size of the checkpoint")
    record = store.latest(head.origin)
    # One line for each key: what is on record must stay within the limits of a note.
    signed = tuple({(line.name, line.key_id): line for line in opened.verified}.values())
    refusal = _check_continues(record, request, head)
    if refusal is not None:
        if record is not None and _is_fork(record, head):
            store.keep_fork(head.origin, record, Note(note.text, signed).to_bytes())
        return refusal
    if record is not None and _clock_went_back(record, signers):
        return _refusal(503, "the clock of this witness is behind its last cosignature")
    cosigned = parse_note(sign_note(note.text, signers)).signatures
    try:
        store.replace(head.origin, record, Note(note.text, signed + cosigned).to_bytes())
    except MovedOn as moved:
        return _conflict(moved.stored_size)
    return Reply(200, b"".join(line.line() for line in cosigned))


def _check_continues(record: bytes | None, request: AddCheckpoint, head: CheckpointLines) -> Reply | None:
    """The refusal of a checkpoint that does not continue the one on record; None if it does."""
    if record is None:
        stored_size, stored_root = 0, merkle.EMPTY_ROOT
    else:
        stored = split_checkpoint(parse_note(record).text)
        stored_size, stored_root = stored.size, stored.root
    if request.old_size != stored_size:
        return _conflict(stored_size)
    try:
        merkle.verify_consistency(stored_size, stored_root, head.size, head.root, request.proof)
    except BadProof as error:
        return _refusal(422, f"consistency proof: {error}")
    return None


def _is_fork(record: bytes, head: CheckpointLines) -> bool:
    stored = split_checkpoint(parse_note(record).text)
    return stored.size == head.size and stored.root != head.root


def _clock_went_back(record: bytes, signers: Sequence[WitnessSigner]) -> bool:
    """Whether we said already, at a later time, which tree is the largest."""
    ours = {(signer.name, signer.key_id): signer.time_s for signer in signers}
    return any(
        cosignature_time(line.payload) > ours[line.name, line.key_id]
        for line in parse_note(record).signatures
        if (line.name, line.key_id) in ours
    )


def _conflict(stored_size: int) -> Reply:
    return Reply(409, b"%d\n" % stored_size, SIZE_TYPE)


def _refusal(status: int, why: str) -> Reply:
    return Reply(status, f"{why}\n".encode())
