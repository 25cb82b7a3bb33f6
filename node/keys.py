"""The node's own keys, sealed at rest under what the unlock file gives.

Separate keys for identity, ledger, TLS, storage and query. Each is one file under ``keys/``: a header line, a
nonce and AES-256-GCM ciphertext, bound to the key's name. The unlock key is scrypt(unlock file, salt): the
operator's passphrase file, or 32 random bytes that ``node init`` writes (0600) when none is named.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from crypto.contexts import Context
from crypto.errors import SealBroken
from crypto.sealing import open_sealed, seal
from crypto.signing import SigningKey
from node.errors import BadConfig, StateDamaged
from node.files import Files
from node.tls import new_tls_key

HEADER: Final = b"concordat-sealed-key-v1\n"
NONCE_BYTES: Final = 12
SALT_BYTES: Final = 16
MAX_KEY_FILE: Final = 64 * 1024
MIN_PASSPHRASE: Final = 12
NAMES: Final = ("identity", "ledger", "tls", "storage", "query")


@dataclass(frozen=True, slots=True, repr=False)
class NodeKeys:
    """All secrets of a node, in memory.

    Attributes:
        identity: Signs descriptors, agreements and messages.
        ledger: Signs checkpoints only.
        tls_key: P-256, PKCS#8 DER.
        storage: Seals galleries and payloads; 32 bytes.
        query: Seals the query secrets (BGV) of this node; 32 bytes.
    """

    identity: SigningKey
    ledger: SigningKey
    tls_key: bytes
    storage: bytes
    query: bytes

    def __repr__(self) -> str:
        return "NodeKeys(…)"


def read_unlock(path: Path) -> bytes:
    """The bytes of an unlock file without its line end; ``BadConfig`` if it is short or open to others."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(4097)
    except OSError as error:
        raise BadConfig(f"unlock file {path}: {error.strerror}") from None
    if mode & 0o077:
        raise BadConfig(f"unlock file {path} can be read by others: chmod 600")
    secret = data.removesuffix(b"\n").removesuffix(b"\r")
    if not MIN_PASSPHRASE <= len(secret) <= 4096:
        raise BadConfig(f"unlock file {path} must hold {MIN_PASSPHRASE} to 4096 bytes")
    return secret


def _unlock_key(secret: bytes, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=32, n=2**15, r=8, p=1).derive(secret)


def _fresh() -> dict[str, bytes]:
    return {
        "identity": SigningKey.generate().seed,
        "ledger": SigningKey.generate().seed,
        "tls": new_tls_key(),
        "storage": os.urandom(32),
        "query": os.urandom(32),
    }


def create_keys(
    directory: Path, unlock: Path, files: Files, rng: Callable[[int], bytes] = os.urandom
) -> NodeKeys:
    """Make and seal all keys of a new node under ``directory`` (keys/).

    Args:
        directory: Exists, 0700, empty.
        unlock: Passphrase file; written with random bytes when it does not exist.
        files: The file seam.
        rng: For salt and nonces.
    """
    if not unlock.exists():
        files.write_atomic(unlock, rng(32).hex().encode() + b"\n")
    salt = rng(SALT_BYTES)
    key = _unlock_key(read_unlock(unlock), salt)
    files.write_atomic(directory / "salt", salt)
    secrets = _fresh()
    for name, secret in secrets.items():
        nonce = rng(NONCE_BYTES)
        sealed = seal(key, Context.UNLOCK, name.encode(), secret, nonce)
        files.write_atomic(directory / name, HEADER + sealed)
    return _assemble(secrets)


def load_keys(directory: Path, unlock: Path) -> NodeKeys:
    """Open all keys.

    Raises:
        BadConfig: The unlock file is missing, open to others, or not the right one.
        StateDamaged: A key file is missing or malformed.
    """
    try:
        salt = (directory / "salt").read_bytes()
        sealed = {name: (directory / name).read_bytes() for name in NAMES}
    except OSError as error:
        raise StateDamaged(f"keys: {error.filename}: {error.strerror}") from None
    if len(salt) != SALT_BYTES:
        raise StateDamaged(f"{directory / 'salt'} must have {SALT_BYTES} bytes")
    key = _unlock_key(read_unlock(unlock), salt)
    secrets: dict[str, bytes] = {}
    for name, data in sealed.items():
        if not data.startswith(HEADER) or len(data) > MAX_KEY_FILE:
            raise StateDamaged(f"{directory / name} is not a sealed key")
        try:
            secrets[name] = open_sealed(key, Context.UNLOCK, name.encode(), data[len(HEADER) :])
        except SealBroken:
            raise BadConfig(f"{directory / name}: wrong unlock file, or a damaged key") from None
    return _assemble(secrets)


def _assemble(secrets: dict[str, bytes]) -> NodeKeys:
    return NodeKeys(
        identity=SigningKey.from_seed(secrets["identity"]),
        ledger=SigningKey.from_seed(secrets["ledger"]),
        tls_key=secrets["tls"],
        storage=secrets["storage"],
        query=secrets["query"],
    )
