"""Mutual witnessing: each side cosigns the newest checkpoint of the other's ledger that it verified and stored.

What travels is a *witnessed checkpoint*: the recipient's own checkpoint, signed by its own log, come back with the
sender's cosignature. It serves as the cosignature, and it is the only proof that counts of what a peer has seen:
a size that we never signed is a claim, not a fact.

Source: specs/ledger.md, section "Witnesses".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from crypto.errors import BadEncoding, BadSignature, LocalFault, PeerFault
from crypto.note import (
    CosignatureSigner,
    CosignatureVerifier,
    Note,
    NoteSignature,
    NoteVerifier,
    add_signatures,
    cosignature_time,
    open_note,
    parse_note,
)
from crypto.signing import SigningKey, VerifyKey
from protocol import limits
from protocol.checkpoint import AnyLog, TreeHead, open_checkpoint

PREFIX: Final = "concordat/"


class BadCosignature(PeerFault):
    """What a peer returned as our checkpoint is not ours, is not cosigned by the peer, or is not what it says."""

    code = "bad-cosignature"


class OwnLedgerContradicted(LocalFault):
    """Our own log signed a checkpoint that our ledger does not have: our copy is an older or another one.

    Attributes:
        seen_size: The size that was signed.
        note: The checkpoint with our own signature; the proof.
    """

    code = "ledger-rolled-back"

    def __init__(self, message: str, seen_size: int, note: bytes) -> None:
        super().__init__(message)
        self.seen_size = seen_size
        self.note = note


@dataclass(frozen=True)
class Witnessed:
    """A checkpoint of our own that a peer has cosigned.

    Attributes:
        head: Size and root.
        witness: The cosigner's name.
        note: Our signature and the cosignature.
        time_s: When it was cosigned, seconds since 1970 by the peer's clock.
    """

    head: TreeHead
    witness: str
    note: bytes
    time_s: int


def witness_name(country: str) -> str:
    """The name under which the node of a country cosigns."""
    return PREFIX + country


def witness_verifier(country: str, identity: VerifyKey) -> CosignatureVerifier:
    """The verifier of a node's cosignatures: its identity key, so that no further key needs to be confirmed."""
    return CosignatureVerifier(witness_name(country), identity)


def witness_signer(country: str, identity: SigningKey, now_ms: int) -> CosignatureSigner:
    """The signer of this node's cosignatures, at a time."""
    return CosignatureSigner(witness_name(country), identity, now_ms // 1000)


def cosign(checkpoint: bytes, log: AnyLog, signer: CosignatureSigner) -> bytes:
    """A witnessed checkpoint of a stored, verified note: the log's own lines, then our cosignature.

    Lines of others are left out: what is returned to a log says only what the sender vouches for. Of the log's own
    each key has one line, the one that was verified comes first, and those that a message has no room for are left out.
    """
    note = parse_note(checkpoint)
    by_key: dict[bytes, NoteSignature] = {}
    for line in note.signatures:
        if line.name == log.name:
            by_key.setdefault(line.key_id, line)
    own = sorted(by_key.values(), key=lambda line: line.key_id != log.key_id)
    while True:
        made = add_signatures(Note(note.text, tuple(own)).to_bytes(), [signer])
        if len(made) <= limits.MAX_WITNESSED or len(own) < 2:
            return made
        own.pop()


def open_witnessed(
    data: bytes,
    log: NoteVerifier,
    witness: CosignatureVerifier,
    root_at: Callable[[int], bytes | None],
    now_ms: int,
    also: tuple[NoteVerifier, ...] = (),
) -> Witnessed:
    """Check what a peer returns as our own checkpoint.

    Args:
        data: The note.
        log: Our own log's key.
        witness: The peer's cosigning key.
        root_at: The root of our ledger at a size, None beyond its end.
        now_ms: The time.
        also: The other keys of our log: each signed whatever we published, so a line that fails or is gone is the
            peer's doing.

    Raises:
        BadCosignature: Not signed by our log with each of its keys, not cosigned by this peer, or from the future.
        OwnLedgerContradicted: Signed by our log, but our ledger has no such tree.
    """
    try:
        signed = open_checkpoint(data, log)
    except (BadEncoding, BadSignature) as error:
        raise BadCosignature(f"not a checkpoint of this node's ledger: {error}") from None
    head = signed.checkpoint.head
    # Our own signature proves it, whatever the peer's is worth.
    known = root_at(head.size)
    if known != head.root:
        what = "a longer ledger" if known is None else "another ledger"
        raise OwnLedgerContradicted(f"this node signed {what} of size {head.size}", head.size, data)
    note = _as_we_signed(data, log, also)
    line = _line_of(signed.note, witness)
    try:
        witness.check(signed.note.text, line.payload)
        time_s = cosignature_time(line.payload)
    except BadSignature as error:
        raise BadCosignature(str(error)) from None
    if time_s * 1000 > now_ms + limits.CLOCK_SKEW:
        raise BadCosignature("cosigned in the future")
    return Witnessed(head, witness.name, Note(note.text, (*note.verified, line)).to_bytes(), time_s)


def _as_we_signed(data: bytes, log: NoteVerifier, also: tuple[NoteVerifier, ...]) -> Note:
    """The note, in which nothing counts but what our own keys signed; none of them may be missing."""
    try:
        note = open_note(data, (log, *also))
    except BadSignature as error:
        raise BadCosignature(f"a signature of this node's log was changed: {error}") from None
    for key in also:
        if not note.is_signed_by(key):
            raise BadCosignature(f"without the signature of this node's log by key {key.key_id.hex()}")
    by_key = {line.key_id: line for line in note.verified}
    return Note(note.text, note.signatures, tuple(by_key.values()))


def _line_of(note: Note, witness: CosignatureVerifier) -> NoteSignature:
    for line in note.signatures:
        if (line.name, line.key_id) == (witness.name, witness.key_id):
            return line
    raise BadCosignature(f"without the cosignature of {witness.name}")


def merge(notes: list[bytes]) -> bytes:
    """One note with the signature lines of several notes of one text, each line once, in the order given."""
    parsed = [parse_note(data) for data in notes]
    texts = {note.text for note in parsed}
    if len(texts) != 1:
        raise ValueError("notes of different texts")
    lines: dict[tuple[str, bytes], NoteSignature] = {}
    for note in parsed:
        for line in note.signatures:
            lines.setdefault((line.name, line.key_id), line)
    return Note(parsed[0].text, tuple(lines.values())).to_bytes()
