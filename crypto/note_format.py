"""The form of signed notes: a text, a blank line, and the signature lines of those who vouch for it.

Lines are ``— <name> <base64(key id || signature)>``. What a signature is over is a matter of its key
(``crypto.note_keys``).

Source: C2SP signed-note; specs/ledger.md, section "Signed notes".
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from crypto.errors import BadEncoding, BadSignature
from crypto.textforms import decode_base64, encode_base64

MAX_NOTE_BYTES: Final = 1 << 20
"""A bilateral agreement with two descriptors is about 20 kB; a hundred post-quantum signatures are 350 kB."""
MAX_SIGNATURES: Final = 100
"""C2SP asks for at least 16; a witness network of a hundred is beyond every policy limit."""
MAX_NAME_BYTES: Final = 255

_KEY_ID_BYTES = 4


@dataclass(frozen=True)
class NoteSignature:
    """One signature line: who says so, under which key id, and the raw signature bytes."""

    name: str
    key_id: bytes
    payload: bytes

    def line(self) -> bytes:
        """The exact line, newline included."""
        return f"— {self.name} {encode_base64(self.key_id + self.payload)}\n".encode()


@dataclass(frozen=True)
class Note:
    """A parsed note. From ``parse_note`` nothing is verified; from ``open_note`` see ``verified``.

    Attributes:
        text: The signed bytes, final newline included.
        signatures: All lines in order, known or not.
        verified: Those of ``signatures`` that verified under a known key.
    """

    text: bytes
    signatures: tuple[NoteSignature, ...]
    verified: tuple[NoteSignature, ...] = ()

    def to_bytes(self) -> bytes:
        """The one byte form of the note."""
        return self.text + b"\n" + b"".join(item.line() for item in self.signatures)

    def is_signed_by(self, verifier: NoteVerifier) -> bool:
        """Whether ``open_note`` saw a good signature of this key."""
        return any((s.name, s.key_id) == (verifier.name, verifier.key_id) for s in self.verified)


class NoteVerifier(Protocol):
    """A known key: its name, its id, and how its signatures are checked."""

    @property
    def name(self) -> str: ...
    @property
    def key_id(self) -> bytes: ...
    @property
    def key_bytes(self) -> bytes: ...
    def check(self, text: bytes, payload: bytes) -> None:
        """Return None, or raise ``BadSignature``."""


class NoteSigner(Protocol):
    """A key that signs notes under a name."""

    @property
    def name(self) -> str: ...
    @property
    def key_id(self) -> bytes: ...
    def sign(self, text: bytes) -> bytes:
        """The raw signature bytes for the line, without the key id."""


def key_id(name: str, kind: bytes, public: bytes) -> bytes:
    """``SHA-256(name || 0x0A || kind || public)``, the first 4 bytes."""
    return hashlib.sha256(name.encode() + b"\n" + kind + public).digest()[:_KEY_ID_BYTES]


def check_name(name: str) -> None:
    """Raise ``BadEncoding`` unless ``name`` can stand in a signature line."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise BadEncoding("key name: not Unicode text") from None
    if not 0 < size <= MAX_NAME_BYTES:
        raise BadEncoding(f"key name: empty or longer than {MAX_NAME_BYTES} bytes")
    if any(c == "+" or c.isspace() or ord(c) < 0x20 for c in name):
        raise BadEncoding("key name: contains a space, a plus or a control character")


def check_text(text: bytes) -> None:
    """Raise ``BadEncoding`` unless ``text`` can be the text of a note."""
    if not text.endswith(b"\n"):
        raise BadEncoding("note: the text does not end in a newline")
    if any(byte < 0x20 and byte != 0x0A for byte in text):
        raise BadEncoding("note: a control character")
    try:
        text.decode()
    except UnicodeDecodeError:
        raise BadEncoding("note: not UTF-8") from None


def parse_note(data: bytes) -> Note:
    """Split a note into its text and signature lines, verifying nothing.

    Raises:
        BadEncoding: Not in the one byte form of a signed note, or above the limits.
    """
    if len(data) > MAX_NOTE_BYTES:
        raise BadEncoding(f"note: longer than {MAX_NOTE_BYTES} bytes")
    check_text(data)
    boundary = data.rfind(b"\n\n")
    if boundary < 0 or boundary + 2 == len(data):
        raise BadEncoding("note: no signature lines after a blank line")
    return Note(data[: boundary + 1], parse_signature_lines(data[boundary + 2 :]))


def parse_signature_lines(data: bytes) -> tuple[NoteSignature, ...]:
    """Read one or more signature lines alone, as a witness sends them; ``BadEncoding`` on anything else."""
    if len(data) > MAX_NOTE_BYTES:
        raise BadEncoding(f"note: longer than {MAX_NOTE_BYTES} bytes")
    check_text(data)
    lines = data[:-1].split(b"\n")
    if len(lines) > MAX_SIGNATURES:
        raise BadEncoding(f"note: more than {MAX_SIGNATURES} signatures")
    return tuple(_parse_line(line.decode()) for line in lines)


def _parse_line(line: str) -> NoteSignature:
    fields = line.split(" ")
    if len(fields) != 3 or fields[0] != "—":
        raise BadEncoding("note: a malformed signature line")
    check_name(fields[1])
    blob = decode_base64(fields[2], "note signature")
    if len(blob) <= _KEY_ID_BYTES:
        raise BadEncoding("note: a signature line without a signature")
    return NoteSignature(fields[1], blob[:_KEY_ID_BYTES], blob[_KEY_ID_BYTES:])


def open_note(data: bytes, verifiers: Sequence[NoteVerifier]) -> Note:
    """Parse a note and verify every signature of a known key; unknown lines are ignored.

    Args:
        data: The note.
        verifiers: The known keys. Lines match by name and key id together.

    Returns:
        The note with at least one signature in ``verified``.

    Raises:
        BadEncoding: Not a note.
        BadSignature: A known key's signature fails, or no known key signed.
    """
    note = parse_note(data)
    known = {(v.name, v.key_id): v for v in verifiers}
    verified = []
    for signature in note.signatures:
        verifier = known.get((signature.name, signature.key_id))
        if verifier is not None:
            verifier.check(note.text, signature.payload)
            verified.append(signature)
    if not verified:
        raise BadSignature("note: no signature of a known key")
    return Note(note.text, note.signatures, tuple(verified))


def sign_note(text: bytes, signers: Iterable[NoteSigner]) -> bytes:
    """The note of ``text`` with one signature line per signer, in that order."""
    check_text(text)
    lines = tuple(NoteSignature(s.name, s.key_id, s.sign(text)) for s in signers)
    if not lines:
        raise ValueError("a note needs at least one signer")
    return Note(text, lines).to_bytes()


def add_signatures(data: bytes, signers: Iterable[NoteSigner]) -> bytes:
    """Append signature lines to a note; a signer who already signed replaces its line."""
    note = parse_note(data)
    fresh = tuple(NoteSignature(s.name, s.key_id, s.sign(note.text)) for s in signers)
    replaced = {(s.name, s.key_id) for s in fresh}
    kept = tuple(s for s in note.signatures if (s.name, s.key_id) not in replaced)
    return Note(note.text, kept + fresh).to_bytes()
