"""ML-DSA-44 signatures (FIPS 204) over exact bytes, without a context string.

Signing is hedged: two signatures of one message differ, and both verify.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey

from crypto.errors import BadEncoding, BadSignature

SEED_BYTES: Final = 32
PUBLIC_BYTES: Final = 1312
SIGNATURE_BYTES: Final = 2420


class MlDsaVerifyKey:
    """A public ML-DSA-44 key."""

    def __init__(self, public: bytes) -> None:
        if len(public) != PUBLIC_BYTES:
            raise BadEncoding(f"an ML-DSA-44 public key has {PUBLIC_BYTES} bytes, not {len(public)}")
        self._public = bytes(public)
        # Every string of this length is a key: the encoding has no other constraint.
        self._key = MLDSA44PublicKey.from_public_bytes(self._public)

    @property
    def public(self) -> bytes:
        """The 1312 bytes of the key."""
        return self._public

    def verify_raw(self, signed: bytes, signature: bytes, purpose: str) -> None:
        """Return None if the signature is good, raise ``BadSignature`` otherwise."""
        if len(signature) != SIGNATURE_BYTES:
            raise BadSignature(f"{purpose}: a signature has {SIGNATURE_BYTES} bytes, not {len(signature)}")
        try:
            self._key.verify(signature, signed)
        except InvalidSignature:
            raise BadSignature(f"{purpose}: the signature does not verify under the expected key") from None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MlDsaVerifyKey) and other._public == self._public

    def __hash__(self) -> int:
        return hash(self._public)

    def __repr__(self) -> str:
        return f"MlDsaVerifyKey({self._public.hex()[:16]}…)"


class MlDsaSigningKey:
    """A private ML-DSA-44 key. Its repr shows nothing."""

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise BadEncoding(f"an ML-DSA-44 seed has {SEED_BYTES} bytes")
        self._key = MLDSA44PrivateKey.from_seed_bytes(bytes(seed))
        self._verify_key = MlDsaVerifyKey(self._key.public_key().public_bytes_raw())

    @classmethod
    def from_seed(cls, seed: bytes) -> MlDsaSigningKey:
        """The key of a 32-byte seed (xi of FIPS 204)."""
        return cls(seed)

    @property
    def verify_key(self) -> MlDsaVerifyKey:
        """The public half."""
        return self._verify_key

    def sign_raw(self, signed: bytes) -> bytes:
        """Sign exact bytes; 2420 bytes."""
        return self._key.sign(signed)

    def __repr__(self) -> str:
        return "MlDsaSigningKey(…)"
