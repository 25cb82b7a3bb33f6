"""Versions of a gallery: shuffled, sealed and synced to the disk before one counts.

Source: specs/matching.md, section 1, "Galleries".
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crypto.contexts import Context
from crypto.sealing import NONCE_BYTES, seal
from crypto.templates import Template, empty_slot
from node.blocks import BLOCK_SLOTS, block_aad
from node.errors import StorageFailed
from node.gallery_commitment import gallery_commitment
from node.gallery_tables import SALT_BYTES, VERSION_BYTES
from protocol import limits

RandomBytes = Callable[[int], bytes]
"""``os.urandom`` in a node; a seeded stream in tests."""


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import made; ``digest`` is the state commitment that goes into the ledger."""

    records: int
    blocks: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Staged:
    """A version that is complete on disk and does not count yet.

    Attributes:
        copy_of: The version whose records these are: if another counts by now, this one never will.
    """

    report: ImportReport
    modality: str
    profile_name: str
    profile_digest: bytes
    version: bytes
    salt: bytes
    n: int
    hashes: tuple[bytes, ...]
    copy_of: bytes | None = None


def write_version(
    directory: Path,
    seal_key: bytes,
    place: tuple[str, str, bytes],
    records: tuple[Sequence[str], Template],
    rng: RandomBytes,
    *,
    padded: bool,
) -> Staged:
    """A new version with these records in random slots, on disk and synced.

    Args:
        directory: Where the versions of all galleries lie.
        seal_key: 32 bytes, the node's storage key.
        place: Modality, name and digest of the profile.
        records: Names and templates, in the same order.
        rng: ``os.urandom``, or a seeded stream.
        padded: As many blocks as its size class has, not as many as it needs.

    Raises:
        StorageFailed: The disk refused; nothing is left of the version.
    """
    names, templates = records
    modality, _, profile_digest = place
    count = len(templates)
    block_count = -(-count // BLOCK_SLOTS)
    if padded:
        block_count = size_class(block_count)
    occupant = _shuffled(block_count * BLOCK_SLOTS, rng).reshape(block_count, BLOCK_SLOTS)
    version, salt = rng(VERSION_BYTES), rng(SALT_BYTES)
    target = directory / version.hex()
    hashes = []
    try:
        target.mkdir(mode=0o700)
        for index in range(block_count):
            plain = _fill(occupant[index], templates).tobytes()
            slots = [names[who] if who < count else None for who in occupant[index].tolist()]
            listing = json.dumps(slots, separators=(",", ":")).encode("ascii")
            for kind, data in (("block", plain), ("records", listing)):
                aad = block_aad(kind, modality, profile_digest, version, index)
                sealed = seal(seal_key, Context.GALLERY_BLOCK, aad, data, rng(NONCE_BYTES))
                _write_synced(target / f"{index:06d}.{kind}", sealed)
            hashes.append(hashlib.sha256(plain).digest())
        _sync_directory(target)
        _sync_directory(directory)
    except OSError as error:
        shutil.rmtree(target, ignore_errors=True)
        raise StorageFailed(f"the gallery could not be written: {error.strerror}") from error
    digest = gallery_commitment(modality, profile_digest, salt, count, tuple(hashes))
    report = ImportReport(count, block_count, digest)
    return Staged(report, *place, version, salt, templates.shape[1], tuple(hashes))


def size_class(needed: int) -> int:
    """The smallest number of blocks of the form 2^k or 3 * 2^(k-1) that is enough."""
    power = 1 << max(0, (needed - 1).bit_length())
    smaller = power * 3 // 4
    return min(smaller if power >= 4 and needed <= smaller else power, limits.MAX_BLOCKS)


def _shuffled(slots: int, rng: RandomBytes) -> NDArray[np.int64]:
    """A random permutation that peers cannot predict: slots sorted by 64-bit random keys."""
    keys = np.frombuffer(rng(8 * slots), "<u8")
    return np.argsort(keys, kind="stable").astype(np.int64)


def _fill(occupant: NDArray[np.int64], templates: Template) -> Template:
    """One block: the template of each occupant; an occupant beyond the last template is an empty slot."""
    taken = occupant < len(templates)
    n = templates.shape[1]
    block = np.stack([empty_slot(n, slot) for slot in range(BLOCK_SLOTS)])
    block[taken] = templates[occupant[taken]]
    return block


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
