"""The keys that sign notes, by the type byte of C2SP.

0x01 Ed25519 over the text; 0x04 cosignature/v1, Ed25519 with a time; 0x06 ML-DSA-44 with a time, over the
three values of a checkpoint; 0xff ``concordat-context-v1``, Ed25519 over ``frame(context, text)``, so that a
signature under one kind of document never passes under another.

Source: C2SP signed-note and tlog-cosignature; specs/ledger.md, section "Signed notes".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from crypto import mldsa
from crypto.checkpoint_text import split_checkpoint
from crypto.contexts import Context, hash_fields
from crypto.errors import BadEncoding, BadSignature
from crypto.note_format import check_name, key_id
from crypto.signing import KEY_BYTES, SIGNATURE_BYTES, SigningKey, VerifyKey
from crypto.textforms import decode_base64, encode_base64

ED25519: Final = b"\x01"
COSIGNATURE_V1: Final = b"\x04"
MLDSA44: Final = b"\x06"
CONTEXT_V1: Final = b"\xffconcordat-context-v1"

TIME_BYTES: Final = 8
_MAX_TIME_S = 2**63 - 1


@dataclass(frozen=True)
class _Verifier:
    """What the verifiers share; ``key`` has its 32 or 1312 bytes as ``public``."""

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
class MlDsaVerifier:
    """Type 0x06: timestamped ML-DSA-44 over a checkpoint, by its log or a witness.

    Payload ``u64 seconds || signature``. The name is signed too. A time of 0 says nothing of when.
    """

    name: str
    key: mldsa.MlDsaVerifyKey

    def __post_init__(self) -> None:
        check_name(self.name)

    @property
    def kind(self) -> bytes:
        return MLDSA44

    @property
    def key_id(self) -> bytes:
        return key_id(self.name, MLDSA44, self.key.public)

    @property
    def key_bytes(self) -> bytes:
        return self.key.public

    @property
    def vkey(self) -> str:
        """``name+hex8(key id)+base64(0x06 || public key)``; about 1,800 characters."""
        return f"{self.name}+{self.key_id.hex()}+{encode_base64(MLDSA44 + self.key.public)}"

    def check(self, text: bytes, payload: bytes) -> None:
        if len(payload) != TIME_BYTES + mldsa.SIGNATURE_BYTES:
            wanted = TIME_BYTES + mldsa.SIGNATURE_BYTES
            raise BadSignature(
                f"ML-DSA-44 signature of {self.name}: {len(payload)} bytes instead of {wanted}"
            )
        try:
            signed = cosigned_message(self.name, cosignature_time(payload), text)
        except BadEncoding:
            raise BadSignature(f"ML-DSA-44 signature of {self.name}: not under a checkpoint") from None
        self.key.verify_raw(signed, payload[TIME_BYTES:], f"ML-DSA-44 signature of {self.name}")


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
class MlDsaSigner:
    """Signs checkpoints as type 0x06. A log signs with time 0, a witness with the seconds since 1970."""

    name: str
    key: mldsa.MlDsaSigningKey
    time_s: int = 0

    @property
    def verifier(self) -> MlDsaVerifier:
        return MlDsaVerifier(self.name, self.key.verify_key)

    @property
    def key_id(self) -> bytes:
        return self.verifier.key_id

    def sign(self, text: bytes) -> bytes:
        signed = cosigned_message(self.name, self.time_s, text)
        return self.time_s.to_bytes(TIME_BYTES, "big") + self.key.sign_raw(signed)


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


def cosigned_message(name: str, time_s: int, text: bytes) -> bytes:
    """What a key of type 0x06 signs for the whole tree of a checkpoint text; extension lines are left out.

    Raises:
        BadEncoding: The text is not a checkpoint.
    """
    head = split_checkpoint(text)
    cosigner, origin = name.encode(), head.origin.encode()
    return b"".join(
        (
            b"subtree/v1\n\0",
            len(cosigner).to_bytes(1, "big") + cosigner,
            time_s.to_bytes(8, "big"),
            len(origin).to_bytes(1, "big") + origin,
            (0).to_bytes(8, "big"),
            head.size.to_bytes(8, "big"),
            head.root,
        )
    )


def cosignature_time(payload: bytes) -> int:
    """Seconds since 1970 in a cosignature payload; raises ``BadSignature`` on nonsense."""
    if len(payload) < 8:
        raise BadSignature("a cosignature without a time")
    time_s = int.from_bytes(payload[:8], "big")
    if time_s > _MAX_TIME_S:
        raise BadSignature("a cosignature with a time above 2**63 - 1")
    return time_s


KnownVerifier = Ed25519Verifier | CosignatureVerifier | MlDsaVerifier
LogVerifier = Ed25519Verifier | MlDsaVerifier
WitnessVerifier = CosignatureVerifier | MlDsaVerifier
WitnessSigner = CosignatureSigner | MlDsaSigner

_KINDS: Final[dict[bytes, tuple[int, Callable[[str, bytes], KnownVerifier]]]] = {
    ED25519: (KEY_BYTES, lambda name, key: Ed25519Verifier(name, VerifyKey(key))),
    COSIGNATURE_V1: (KEY_BYTES, lambda name, key: CosignatureVerifier(name, VerifyKey(key))),
    MLDSA44: (mldsa.PUBLIC_BYTES, lambda name, key: MlDsaVerifier(name, mldsa.MlDsaVerifyKey(key))),
}


def parse_vkey(text: str) -> KnownVerifier:
    """Read a verifier key line of type 0x01, 0x04 or 0x06.

    Raises:
        BadEncoding: Malformed, of another type, or its key id does not belong to its key.
    """
    name, hex_id, key = _split_vkey(text)
    length, make = _KINDS.get(key[:1], (-1, None))
    if make is None or len(key) != 1 + length:
        raise BadEncoding(f"verifier key of {name}: not an Ed25519, cosignature/v1 or ML-DSA-44 key")
    verifier = make(name, key[1:])
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


def log_signers(origin: str, seed: bytes) -> tuple[Ed25519Signer, MlDsaSigner]:
    """The two keys that a ledger signs every checkpoint with, from the one seed it keeps.

    The ML-DSA-44 seed is a hash of the Ed25519 seed: a quantum computer that finds the Ed25519 scalar from its
    public key does not find the seed, of which the scalar is itself a hash.
    """
    post_quantum = mldsa.MlDsaSigningKey.from_seed(hash_fields(Context.LEDGER_MLDSA_SEED, seed))
    return Ed25519Signer(origin, SigningKey.from_seed(seed)), MlDsaSigner(origin, post_quantum)


def witness_signers(name: str, seed: bytes, time_s: int) -> tuple[CosignatureSigner, MlDsaSigner]:
    """The two keys of a witness at a time in seconds since 1970, from the one seed it keeps."""
    post_quantum = mldsa.MlDsaSigningKey.from_seed(hash_fields(Context.WITNESS_MLDSA_SEED, seed))
    ed25519 = CosignatureSigner(name, SigningKey.from_seed(seed), time_s)
    return ed25519, MlDsaSigner(name, post_quantum, time_s)
