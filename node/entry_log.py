"""The entry log: one file that makes entries durable at one fsync, before their tiles are written.

A record is ``u32 length || body || checksum``: the body is ``u64 index of its first entry`` and the entries as in
a bundle, the checksum ``H(concordat/v1/ledger-record, origin, body)``. Records are written one after the other,
each brought to the disk before the next, so only the last can be torn. What a published checkpoint covers
is skipped when the log is read, and goes when the log is begun anew.

Source: specs/ledger.md, section "Durability".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from crypto.contexts import Context, hash_fields
from crypto.errors import BadEncoding
from node.files import Files
from protocol import tiles

ENTRY_LOG: Final = "log"
RENEW_AT: Final = 1 << 20
"""Bytes after which the log is begun anew, with only what no checkpoint covers yet."""
MAX_LOG_BYTES: Final = 1 << 28
_LENGTH_BYTES: Final = 4
_INDEX_BYTES: Final = 8
_CHECKSUM_BYTES: Final = 32


@dataclass(frozen=True)
class Record:
    """Entries that became durable together, and the index of the first."""

    first: int
    entries: Sequence[bytes]

    def to_bytes(self, origin: bytes) -> bytes:
        """The record of the ledger of this origin."""
        body = self.first.to_bytes(_INDEX_BYTES, "big") + tiles.encode_bundle(self.entries)
        checksum = hash_fields(Context.LEDGER_RECORD, origin, body)
        return len(body).to_bytes(_LENGTH_BYTES, "big") + body + checksum


def read_records(data: bytes, origin: bytes) -> Iterator[Record]:
    """The whole records of a log; a torn one at its end is left out.

    Raises:
        BadEncoding: A record is damaged and a whole one follows it, so the log was not torn, but changed.
    """
    at = 0
    while at < len(data):
        record, end = _record_at(data, at, origin)
        if record is None:
            if end < len(data) and _record_at(data, end, origin)[0] is not None:
                raise BadEncoding(f"entry log: the record at byte {at} is damaged, the next is not")
            return
        yield record
        at = end


def _record_at(data: bytes, at: int, origin: bytes) -> tuple[Record | None, int]:
    start = at + _LENGTH_BYTES
    end = start + int.from_bytes(data[at:start], "big")
    body, checksum = data[start:end], data[end : end + _CHECKSUM_BYTES]
    end += _CHECKSUM_BYTES
    if len(body) <= _INDEX_BYTES or checksum != hash_fields(Context.LEDGER_RECORD, origin, body):
        return None, end
    entries, rest = tiles.split_bundle(body[_INDEX_BYTES:], len(body))
    if rest:
        return None, end
    return Record(int.from_bytes(body[:_INDEX_BYTES], "big"), entries), end


class EntryLog:
    """The log as its writer has it. After a failed write it is begun anew before anything else is written."""

    def __init__(self, directory: Path, origin: str, files: Files, scratch: Path) -> None:
        self._path = directory / ENTRY_LOG
        self._origin = origin.encode()
        self._files = files
        self._scratch = scratch
        self._bytes: int | None = None

    def read(self) -> list[Record]:
        """Everything that is durable. ``BadEncoding`` if it was changed; ``OSError`` as it comes."""
        return list(read_records(self._files.read(self._path, MAX_LOG_BYTES) or b"", self._origin))

    def write(self, record: Record, uncovered: Record) -> None:
        """Add a record, durable on return.

        Args:
            record: The new entries.
            uncovered: The entries before them that no published checkpoint covers.
        """
        size, self._bytes = self._bytes, None
        data = record.to_bytes(self._origin)
        if size is None or size > RENEW_AT:
            # Begun anew with only what is still needed: the old log or the new one survives, both will do.
            data = (uncovered.to_bytes(self._origin) if uncovered.entries else b"") + data
            self._files.write_atomic(self._path, data, self._scratch)
            size = 0
        else:
            self._files.extend(self._path, data)
            self._files.sync(self._path)
        self._bytes = size + len(data)
