"""Copying a ledger while it is written to.

The checkpoint is read first: whatever it covers is there already, and stays, if only as the full tile that
replaces a partial one. What is in the entry log alone is not copied, so a copy is the ledger at its last checkpoint.

Source: specs/ledger.md, section "Durability".
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from crypto.errors import InputError
from crypto.note import MAX_NOTE_BYTES
from node.files import Files
from node.ledger_store import CHECKPOINT, COSIGNED, PAYLOADS, POLICY, SCRATCH, VKEY
from protocol.audit.beside import DIRECTORIES
from protocol.audit.predecessor import PREVIOUS
from protocol.conflict import MAX_CONFLICT_BYTES
from protocol.payload import MAX_PAYLOAD_BYTES
from protocol.tiles import MAX_BUNDLE_BYTES

_PASSES: Final = 100


class CopyExists(InputError):
    """Something is at the place where a copy should go."""

    code = "copy-exists"


def copy_ledger(source: Path, target: Path, files: Files | None = None) -> int:
    """Copy a ledger's directory, also one that a running node writes to; the copy is durable on return.

    Until the copy is complete it has no checkpoint, so nothing takes a part of it for a ledger.

    Args:
        source: The ledger.
        target: A directory that does not exist yet, in one that does.
        files: The file seam.

    Returns:
        How many files were copied.

    Raises:
        CopyExists: ``target`` is there.
        InputError: The ledger changes faster than it can be listed.
        OSError: A file could not be read or written.
    """
    files = files or Files()
    if files.exists(target):
        raise CopyExists(f"{target}: is there already")
    files.ensure_directory(target / SCRATCH, target.parent)
    # First what was cosigned, then the checkpoint, which is never behind it.
    count = _copy(source, target, Path(COSIGNED), MAX_NOTE_BYTES, files)
    note = (source / CHECKPOINT).read_bytes()
    for name in (VKEY, POLICY):
        count += _copy(source, target, Path(name), MAX_NOTE_BYTES, files)
    count += _copy(source, target, Path(PREVIOUS), MAX_NOTE_BYTES, files)
    parts = {"tile": MAX_BUNDLE_BYTES, PAYLOADS: MAX_PAYLOAD_BYTES} | dict.fromkeys(
        DIRECTORIES, MAX_CONFLICT_BYTES
    )
    for part, limit in parts.items():
        count += _copy_part(source, target, part, limit, files)
    files.write_atomic(target / CHECKPOINT, note, target / SCRATCH)
    return count + 1


def _copy_part(source: Path, target: Path, part: str, limit: int, files: Files) -> int:
    """Copy one directory. What vanished was replaced by something that may not have been listed: look again."""
    for _ in range(_PASSES):
        vanished: list[OSError] = []
        paths = [
            Path(directory, name).relative_to(source)
            for directory, _, names in os.walk(source / part, onerror=vanished.append)
            for name in names
        ]
        copied = [_copy(source, target, path, limit, files) for path in sorted(paths)]
        if all(copied) and (not vanished or not (source / part).exists()):
            return len(copied)
    raise InputError(f"{source}: changes faster than it can be copied")


def _copy(source: Path, target: Path, path: Path, limit: int, files: Files) -> int:
    # 0 when a partial tile was replaced by the full one between listing and reading
    data = files.read(source / path, limit)
    if data is None:
        return 0
    files.ensure_directory((target / path).parent, target)
    files.write_atomic(target / path, data, target / SCRATCH)
    return 1
