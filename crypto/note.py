"""Signed notes of C2SP: a text and the signature lines of those who vouch for it.

A note is the text (it ends in a newline), one blank line, then lines
``— <name> <base64(key id || signature)>``. Three kinds of signature are known here: Ed25519 over the text
(0x01), the timestamped witness cosignature/v1 (0x04), and ``concordat-context-v1`` (0xff), which signs
``frame(context, text)`` so that a signature under one kind of document never passes under another.

Source: C2SP signed-note and tlog-cosignature; specs/ledger.md, section "Signed notes".
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from crypto.contexts import Context
from crypto.errors import BadEncoding, BadSignature
from crypto.signing import KEY_BYTES, SIGNATURE_BYTES, SigningKey, VerifyKey
from crypto.textforms import decode_base64, encode_base64

MAX_NOTE_BYTES: Final = 1 << 20
"""A bilateral agreement with two descriptors is about 20 kB; a hundred post-quantum signatures are 350 kB."""
MAX_SIGNATURES: Final = 100
"""C2SP asks for at least 16; a witness network of a hundred is beyond every policy limit."""
MAX_NAME_BYTES: Final = 255

ED25519: Final = b"\x01"
COSIGNATURE_V1: Final = b"\x04"
CONTEXT_V1: Final = b"\xffconcordat-context-v1"

_KEY_ID_BYTES = 4
_MAX_TIME_S = 2**63 - 1


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


@dataclass(frozen=True)
class _Verifier:
    name: str
    key: VerifyKey

    def __post_init__(self) -> None:
        check_name(self.name)

    @property
    def kind(self) -> bytes:
        raise NotImplementedError

    @property
    def key_id(self) -> bytes:
        return key_id(self.name, self.kind, self.key.public)

    @property
    def key_bytes(self) -> bytes:
        return self.key.public

    @property
    def vkey(self) -> str:
        """``name+hex8(key id)+base64(kind || public key)``, one line without newline."""
        return f"{self.name}+{self.key_id.hex()}+{encode_base64(self.kind + self.key.public)}"


@dataclass(frozen=True)
class Ed25519Verifier(_Verifier):
    """Type 0x01: Ed25519 over the note text. Logs sign their checkpoints so."""

    @property
    def kind(self) -> bytes:
        return ED25519

    def check(self, text: bytes, payload: bytes) -> None:
        self.key.verify_raw(text, payload, f"note signature of {self.name}")


@dataclass(frozen=True)
class CosignatureVerifier(_Verifier):
    """Type 0x04: cosignature/v1 of a witness; payload ``u64 seconds || signature``."""

    @property
    def kind(self) -> bytes:
        return COSIGNATURE_V1

    def check(self, text: bytes, payload: bytes) -> None:
        if len(payload) != 8 + SIGNATURE_BYTES:
            raise BadSignature(f"cosignature of {self.name}: {len(payload)} bytes instead of 72")
        self.key.verify_raw(
            _cosigned(text, cosignature_time(payload)), payload[8:], f"cosignature of {self.name}"
        )


@dataclass(frozen=True)
class ContextVerifier(_Verifier):
    """Type 0xff ``concordat-context-v1``: Ed25519 over ``frame(context, text)``."""

    context: Context

    @property
    def kind(self) -> bytes:
        return CONTEXT_V1

    def check(self, text: bytes, payload: bytes) -> None:
        self.key.verify(self.context, text, payload)


@dataclass(frozen=True)
class Ed25519Signer:
    """Signs as type 0x01."""

    name: str
    key: SigningKey

    @property
    def verifier(self) -> Ed25519Verifier:
        return Ed25519Verifier(self.name, self.key.verify_key)

    @property
    def key_id(self) -> bytes:
        return self.verifier.key_id

    def sign(self, text: bytes) -> bytes:
        return self.key.sign_raw(text)


@dataclass(frozen=True)
class CosignatureSigner:
    """Signs as type 0x04, at a given time in seconds since 1970."""

    name: str
    key: SigningKey
    time_s: int

    @property
    def verifier(self) -> CosignatureVerifier:
        return CosignatureVerifier(self.name, self.key.verify_key)

    @property
    def key_id(self) -> bytes:
        return self.verifier.key_id

    def sign(self, text: bytes) -> bytes:
        return self.time_s.to_bytes(8, "big") + self.key.sign_raw(_cosigned(text, self.time_s))


@dataclass(frozen=True)
class ContextSigner:
    """Signs as type 0xff ``concordat-context-v1`` under one context."""

    name: str
    key: SigningKey
    context: Context

    @property
    def verifier(self) -> ContextVerifier:
        return ContextVerifier(self.name, self.key.verify_key, self.context)

    @property
    def key_id(self) -> bytes:
        return self.verifier.key_id

    def sign(self, text: bytes) -> bytes:
        return self.key.sign(self.context, text)


def _cosigned(text: bytes, time_s: int) -> bytes:
    return b"cosignature/v1\ntime %d\n" % time_s + text


def cosignature_time(payload: bytes) -> int:
    """Seconds since 1970 in a cosignature payload; raises ``BadSignature`` on nonsense."""
    if len(payload) < 8:
        raise BadSignature("a cosignature without a time")
    time_s = int.from_bytes(payload[:8], "big")
    if time_s > _MAX_TIME_S:
        raise BadSignature("a cosignature with a time above 2**63 - 1")
    return time_s


def parse_vkey(text: str) -> Ed25519Verifier | CosignatureVerifier:
    """Read a verifier key line of type 0x01 or 0x04.

    Raises:
        BadEncoding: Malformed, of another type, or its key id does not belong to its key.
    """
    name, hex_id, key = _split_vkey(text)
    verifier: Ed25519Verifier | CosignatureVerifier
    if key[:1] == ED25519 and len(key) == 1 + KEY_BYTES:
        verifier = Ed25519Verifier(name, VerifyKey(key[1:]))
    elif key[:1] == COSIGNATURE_V1 and len(key) == 1 + KEY_BYTES:
        verifier = CosignatureVerifier(name, VerifyKey(key[1:]))
    else:
        raise BadEncoding(f"verifier key of {name}: not an Ed25519 or cosignature/v1 key")
    if verifier.key_id.hex() != hex_id:
        raise BadEncoding(f"verifier key of {name}: the key id does not belong to the key")
    return verifier


def parse_context_vkey(text: str, context: Context) -> ContextVerifier:
    """Read a verifier key line of our own type 0xff; the context comes from the caller."""
    name, hex_id, key = _split_vkey(text)
    if not key.startswith(CONTEXT_V1) or len(key) != len(CONTEXT_V1) + KEY_BYTES:
        raise BadEncoding(f"verifier key of {name}: not a concordat-context-v1 key")
    verifier = ContextVerifier(name, VerifyKey(key[len(CONTEXT_V1) :]), context)
    if verifier.key_id.hex() != hex_id:
        raise BadEncoding(f"verifier key of {name}: the key id does not belong to the key")
    return verifier


def _split_vkey(text: str) -> tuple[str, str, bytes]:
    # Base64 may itself contain "+", so only the first two count.
    fields = text.split("+", 2)
    if len(fields) != 3:
        raise BadEncoding("verifier key: not name+id+key")
    name, hex_id, key = fields
    check_name(name)
    return name, hex_id, decode_base64(key, f"verifier key of {name}")


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
    lines = data[boundary + 2 : -1].split(b"\n")
    if len(lines) > MAX_SIGNATURES:
        raise BadEncoding(f"note: more than {MAX_SIGNATURES} signatures")
    return Note(data[: boundary + 1], tuple(_parse_line(line.decode()) for line in lines))


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
