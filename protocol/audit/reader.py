"""How an audit reads a ledger: files by path, from wherever they are.

Source: specs/ledger.md, section "Audit".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from crypto.errors import LocalFault
from protocol.audit.report import Findings, Rule


class Unreadable(LocalFault):
    """A file that is there but cannot be read: too large, not a regular file, an input error."""

    code = "unreadable"


class LedgerReader(Protocol):
    """A copy of a ledger. Paths are relative, with ``/``."""

    def read(self, path: str, limit: int) -> bytes | None:
        """The bytes of a file; None if there is none; ``Unreadable`` above ``limit`` or on an error."""

    def list(self, prefix: str) -> Iterable[str]:
        """Paths of all files below a directory, e.g. ``"tile"``."""


class MemoryReader:
    """A ledger in a dictionary of path to bytes."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files

    def read(self, path: str, limit: int) -> bytes | None:
        """As ``LedgerReader.read``."""
        data = self._files.get(path)
        if data is not None and len(data) > limit:
            raise Unreadable(f"larger than {limit} bytes")
        return data

    def list(self, prefix: str) -> Iterable[str]:
        """As ``LedgerReader.list``."""
        return sorted(path for path in self._files if path.startswith(f"{prefix}/"))


def read_file(
    reader: LedgerReader, path: str, limit: int, findings: Findings, missing: str | None = None
) -> bytes | None:
    """The bytes of a file, or None with a finding if it cannot be read, or is not there and ``missing``."""
    try:
        data = reader.read(path, limit)
    except Unreadable as error:
        findings.add(Rule.UNREADABLE_FILE, str(error), path)
        return None
    if data is None and missing is not None:
        findings.add(Rule.MISSING_FILE, missing, path)
    return data
