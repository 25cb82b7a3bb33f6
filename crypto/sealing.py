"""Sealing: AES-256-GCM at rest, and X25519 + HKDF-SHA256 + AES-256-GCM to the holder of a private key.

Every seal is bound to a context and to associated data (where the sealed bytes belong), so a sealed blob
that is moved to another place does not open.

Source: specs/ledger.md, section "Payloads".
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from crypto.contexts import Context, frame
from crypto.errors import BadEncoding, SealBroken

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
PUBLIC_BYTES: Final = 32

SEAL_OVERHEAD: Final = NONCE_BYTES + TAG_BYTES
"""Bytes that ``seal`` adds to the plaintext."""

SEAL_TO_OVERHEAD: Final = PUBLIC_BYTES + TAG_BYTES
"""Bytes that ``seal_to`` adds to the plaintext."""


def seal(key: bytes, context: Context, aad: bytes, plaintext: bytes, nonce: bytes) -> bytes:
    """Seal at rest.

    Args:
        key: 32 secret bytes.
        context: What kind of thing is sealed.
        aad: Where it belongs; the same bytes are needed to open.
        plaintext: What nobody else may read.
        nonce: 12 random bytes, fresh for each seal under this key.

    Returns:
        ``nonce || ciphertext || tag``.
    """
    if len(nonce) != NONCE_BYTES:
        raise ValueError(f"a nonce has {NONCE_BYTES} bytes")
    return nonce + _cipher(key).encrypt(nonce, plaintext, frame(context, aad))


def open_sealed(key: bytes, context: Context, aad: bytes, sealed: bytes) -> bytes:
    """Open what ``seal`` made; raise ``SealBroken`` on another key, context, place or a changed byte."""
    if len(sealed) < SEAL_OVERHEAD:
        raise SealBroken(f"{context.value}: too short to be sealed")
    try:
        return _cipher(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], frame(context, aad))
    except InvalidTag:
        raise SealBroken(f"{context.value}: does not open; wrong key, wrong place or damaged") from None


def public_key(private: bytes) -> bytes:
    """The 32-byte X25519 public key of a 32-byte private key."""
    return _private(private).public_key().public_bytes_raw()


def seal_to(public: bytes, context: Context, aad: bytes, plaintext: bytes, ephemeral: bytes) -> bytes:
    """Seal to the holder of an X25519 private key.

    Args:
        public: The recipient's 32-byte public key.
        context: What kind of thing is sealed.
        aad: Where it belongs.
        plaintext: What only the recipient may read.
        ephemeral: 32 random bytes, fresh for each seal and then forgotten.

    Returns:
        ``ephemeral public key || ciphertext || tag``.

    Raises:
        BadEncoding: The public key is malformed or of low order.
    """
    ours = _private(ephemeral)
    ours_public = ours.public_key().public_bytes_raw()
    key, nonce = _agree(ours, public, ours_public + public, context)
    return ours_public + AESGCM(key).encrypt(nonce, plaintext, frame(context, aad))


def open_sealed_to(private: bytes, context: Context, aad: bytes, sealed: bytes) -> bytes:
    """Open what ``seal_to`` made; raise ``SealBroken`` if it does not open."""
    if len(sealed) < SEAL_TO_OVERHEAD:
        raise SealBroken(f"{context.value}: too short to be sealed")
    ours = _private(private)
    theirs = sealed[:PUBLIC_BYTES]
    try:
        key, nonce = _agree(ours, theirs, theirs + ours.public_key().public_bytes_raw(), context)
        return AESGCM(key).decrypt(nonce, sealed[PUBLIC_BYTES:], frame(context, aad))
    except (InvalidTag, BadEncoding):
        raise SealBroken(f"{context.value}: does not open; wrong key, wrong place or damaged") from None


def _cipher(key: bytes) -> AESGCM:
    if len(key) != KEY_BYTES:
        raise ValueError(f"a sealing key has {KEY_BYTES} bytes")
    return AESGCM(key)


def _private(private: bytes) -> X25519PrivateKey:
    if len(private) != KEY_BYTES:
        raise BadEncoding(f"an X25519 private key has {KEY_BYTES} bytes")
    return X25519PrivateKey.from_private_bytes(private)


def _agree(ours: X25519PrivateKey, theirs: bytes, keys: bytes, context: Context) -> tuple[bytes, bytes]:
    """The AES key and nonce of one exchange; both public keys are hashed in, the ephemeral one first."""
    if len(theirs) != PUBLIC_BYTES:
        raise BadEncoding(f"an X25519 public key has {PUBLIC_BYTES} bytes")
    try:
        secret = ours.exchange(X25519PublicKey.from_public_bytes(theirs))
    except ValueError:
        raise BadEncoding("an X25519 public key of low order") from None
    info = frame(context, b"X25519-HKDF-SHA256-AES-256-GCM")
    okm = HKDF(hashes.SHA256(), KEY_BYTES + NONCE_BYTES, salt=keys, info=info).derive(secret)
    return okm[:KEY_BYTES], okm[KEY_BYTES:]
