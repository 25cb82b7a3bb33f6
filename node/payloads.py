"""Sealed payloads beside the ledger's tree, one file each, by the leaf hash they belong to.

A payload is durable before its leaf is appended, so an entry never lacks its payload after a crash; the
reverse,
a payload without an entry, is swept when the journal opens.

Source: specs/ledger.md, section "Payloads".
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from crypto.errors import ConcordatError
from node.files import Files
from node.ledger_store import LedgerDamaged, LedgerUnavailable
from protocol.payload import MAX_PAYLOAD_BYTES, PayloadBox, payload_path


class PayloadStore:
    """Files ``payloads/<first byte>/<leaf hash>`` below a ledger's directory."""

    def __init__(self, directory: Path, files: Files, scratch: Path) -> None:
        self._directory = directory
        self._files = files
        self._scratch = scratch

    def put(self, leaf_hash: bytes, box: PayloadBox) -> None:
        """Store a payload, durable on return; ``LedgerUnavailable`` if the disk refuses."""
        target = self._directory / payload_path(leaf_hash)
        try:
            self._files.ensure_directory(target.parent, self._directory)
            self._files.write_atomic(target, box.to_bytes(), self._scratch)
        except OSError as error:
            raise LedgerUnavailable(f"a payload failed: {error.strerror}; nothing was logged") from error

    def get(self, leaf_hash: bytes) -> PayloadBox | None:
        """The payload of a leaf; None if it was erased. ``LedgerDamaged`` if it is not a payload."""
        try:
            data = self._files.read(self._directory / payload_path(leaf_hash), MAX_PAYLOAD_BYTES)
        except OSError as error:
            raise LedgerUnavailable(f"a payload cannot be read: {error.strerror}") from error
        if data is None:
            return None
        try:
            return PayloadBox.from_bytes(data)
        except ConcordatError as error:
            raise LedgerDamaged(f"{payload_path(leaf_hash)}: {error}") from None

    def remove(self, leaf_hash: bytes) -> bool:
        """Erase a payload, durable on return; whether it was there. ``LedgerUnavailable`` if the disk refuses."""
        target = self._directory / payload_path(leaf_hash)
        try:
            there = self._files.exists(target)
            self._files.remove(target)
            # Also when it is gone already: an earlier call may have died before the name was off the disk.
            if self._files.exists(target.parent):
                self._files.sync_directory(target.parent)
        except OSError as error:
            raise LedgerUnavailable(f"a payload cannot be erased: {error.strerror}") from error
        return there

    def sweep(self, is_known: Callable[[bytes], bool]) -> int:
        """Remove payloads of leaves that never got into the tree; how many."""
        removed = 0
        root = self._directory / "payloads"
        for group in self._files.list(root):
            for name in self._files.list(root / group):
                try:
                    leaf_hash = bytes.fromhex(name)
                except ValueError:
                    continue
                if len(leaf_hash) == 32 and not is_known(leaf_hash):
                    self._files.remove(root / group / name)
                    removed += 1
        return removed
