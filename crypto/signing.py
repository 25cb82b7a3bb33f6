"""Ed25519 signatures (RFC 8032) over a context string and the exact bytes of a message.

The signed bytes are ``frame(context, message)``: a signature made for one purpose never verifies for another.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from crypto.contexts import Context, frame
from crypto.errors import BadEncoding, BadSignature

KEY_BYTES = 32
SIGNATURE_BYTES = 64


class VerifyKey:
    """A public Ed25519 key."""

    def __init__(self, public: bytes) -> None:
        if len(public) != KEY_BYTES:
            raise BadEncoding(f"an Ed25519 public key has {KEY_BYTES} bytes, not {len(public)}")
        self._public = bytes(public)
        self._key = Ed25519PublicKey.from_public_bytes(self._public)

    @property
    def public(self) -> bytes:
        """The 32 bytes of the key."""
        return self._public

    def verify(self, context: Context, message: bytes, signature: bytes) -> None:
        """Return None if the signature is good, raise ``BadSignature`` otherwise."""
        self.verify_raw(frame(context, message), signature, context.value)

    def verify_raw(self, signed: bytes, signature: bytes, purpose: str) -> None:
        """Verify over exact bytes, for formats of others (C2SP notes) that bring their own framing."""
        if len(signature) != SIGNATURE_BYTES:
            raise BadSignature(f"{purpose}: a signature has {SIGNATURE_BYTES} bytes, not {len(signature)}")
        try:
            self._key.verify(signature, signed)
        except InvalidSignature:
            raise BadSignature(f"{purpose}: the signature does not verify under the expected key") from None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VerifyKey) and other._public == self._public

    def __hash__(self) -> int:
        return hash(self._public)

    def __repr__(self) -> str:
        return f"VerifyKey({self._public.hex()[:16]}…)"


class SigningKey:
    """A private Ed25519 key. Its repr shows nothing."""

    def __init__(self, seed: bytes) -> None:
        if len(seed) != KEY_BYTES:
            raise BadEncoding(f"an Ed25519 seed has {KEY_BYTES} bytes")
        self._seed = bytes(seed)
        self._key = Ed25519PrivateKey.from_private_bytes(self._seed)
        self._verify_key = VerifyKey(self._key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls) -> SigningKey:
        """A fresh key from the operating system's randomness."""
        return cls(os.urandom(KEY_BYTES))

    @classmethod
    def from_seed(cls, seed: bytes) -> SigningKey:
        """The key of a 32-byte seed."""
        return cls(seed)

    @property
    def seed(self) -> bytes:
        """The 32 secret bytes, for sealing at rest only."""
        return self._seed

    @property
    def verify_key(self) -> VerifyKey:
        """The public half."""
        return self._verify_key

    def sign(self, context: Context, message: bytes) -> bytes:
        """Sign ``frame(context, message)``; 64 bytes."""
        return self._key.sign(frame(context, message))

    def sign_raw(self, signed: bytes) -> bytes:
        """Sign exact bytes, for formats of others that bring their own framing."""
        return self._key.sign(signed)

    def __repr__(self) -> str:
        return "SigningKey(…)"
