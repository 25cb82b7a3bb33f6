"""Copying a ledger while it is written to.

The checkpoint is read first: whatever it covers is there already, and stays, if only as the full tile that
replaces a partial one. What is in the entry log alone is not copied, so a copy is the ledger at its last checkpoint.

Source: specs/ledger.md, section "Durability".
"""

from __future__ import annotations

from pathlib import Path

from crypto.errors import InputError
from crypto.note import MAX_NOTE_BYTES
from node.files import Files
from node.ledger_store import CHECKPOINT, COSIGNED, PAYLOADS, POLICY, SCRATCH, VKEY
from protocol.audit.beside import DIRECTORIES
from protocol.audit.trust import PREVIOUS
from protocol.conflict import MAX_CONFLICT_BYTES
from protocol.payload import MAX_PAYLOAD_BYTES
from protocol.tiles import MAX_BUNDLE_BYTES


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
        for path in sorted((source / part).rglob("*")):
            if not path.is_dir():
                count += _copy(source, target, path.relative_to(source), limit, files)
    files.write_atomic(target / CHECKPOINT, note, target / SCRATCH)
    return count + 1


def _copy(source: Path, target: Path, path: Path, limit: int, files: Files) -> int:
    # A partial tile may be replaced by the full one between listing and reading.
    data = files.read(source / path, limit)
    if data is None:
        return 0
    files.ensure_directory((target / path).parent, target)
    files.write_atomic(target / path, data, target / SCRATCH)
    return 1
