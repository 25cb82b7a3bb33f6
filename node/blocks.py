"""Sealed gallery blocks, as a worker process reads them: no database here.

Source: specs/matching.md, section 1, "Galleries".
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from crypto.contexts import Context, frame
from crypto.sealing import SEAL_OVERHEAD, open_sealed
from crypto.templates import Template
from node.errors import StateDamaged

BLOCK_SLOTS: Final = 16384
MAX_RECORDS_BYTES: Final = BLOCK_SLOTS * (64 * 12 + 3)  # 64 characters, each at most two escapes, quoted


@dataclass(frozen=True, slots=True)
class BlockRef:
    """Where one block lies and what it must hold; safe to send to a worker process."""

    path: str
    modality: str
    profile_digest: bytes
    version: bytes
    index: int
    n: int
    sha256: bytes


def load_block(ref: BlockRef, seal_key: bytes) -> Template:
    """The templates of one block, int8, shape ``(16384, n)``; empty slots are filled.

    Raises:
        SealBroken: Another key, or a file that was changed or moved.
        StateDamaged: The file is missing, or holds another block than the row says.
    """
    size = BLOCK_SLOTS * ref.n
    plain = _open(Path(ref.path), size, size, "block", ref, seal_key)
    if hashlib.sha256(plain).digest() != ref.sha256:
        raise StateDamaged(f"gallery block {ref.index} is not the one that was imported")
    return np.frombuffer(plain, np.int8).reshape(BLOCK_SLOTS, ref.n)


def load_records(ref: BlockRef, seal_key: bytes) -> list[str | None]:
    """The record identifier of each slot of a block; None for an empty slot. Never leaves the node."""
    path = Path(ref.path).with_suffix(".records")
    slots: list[str | None] = json.loads(_open(path, 0, MAX_RECORDS_BYTES, "records", ref, seal_key))
    return slots


def _open(path: Path, least: int, most: int, kind: str, ref: BlockRef, seal_key: bytes) -> bytes:
    try:
        if not least <= path.stat().st_size - SEAL_OVERHEAD <= most:
            raise StateDamaged(f"gallery {kind} {ref.index} has another length than it was written with")
        sealed = path.read_bytes()
    except OSError as error:
        raise StateDamaged(f"gallery {kind} {ref.index} cannot be read: {error.strerror}") from error
    aad = block_aad(kind, ref.modality, ref.profile_digest, ref.version, ref.index)
    return open_sealed(seal_key, Context.GALLERY_BLOCK, aad, sealed)


def block_aad(kind: str, modality: str, profile_digest: bytes, version: bytes, index: int) -> bytes:
    """Where a sealed file belongs: moved elsewhere it does not open. Kind is ``block`` or ``records``."""
    place = (kind.encode(), modality.encode(), profile_digest, version, index.to_bytes(4, "big"))
    return frame(Context.GALLERY_BLOCK, *place)
