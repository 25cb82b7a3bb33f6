"""A ledger's directory as an audit reads it: regular files only, never more bytes than asked for.

Source: specs/ledger.md, section "Audit".
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from crypto import merkle
from crypto.errors import InputError
from crypto.note import MAX_NOTE_BYTES, parse_note
from protocol import tiles
from protocol.audit.proof import TlogProof
from protocol.audit.reader import LedgerReader, Unreadable
from protocol.checkpoint import parse_checkpoint_text

MAX_DEPTH: Final = 16
"""Directories below a ledger that are entered: the deepest tile of 2^63 entries lies ten deep."""


class NoSuchEntry(InputError):
    """The ledger has no entry of that index."""

    code = "no-such-entry"


class DirectoryReader:
    """The files below a directory. Links and devices are not followed: the copy may come from anybody."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(self, path: str, limit: int) -> bytes | None:
        """As ``LedgerReader.read``."""
        try:
            descriptor = os.open(self._directory / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise Unreadable(f"cannot be opened: {error.strerror}") from None
        try:
            with os.fdopen(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise Unreadable("not a regular file")
                data = file.read(limit + 1)
        except OSError as error:
            raise Unreadable(f"cannot be read: {error.strerror}") from None
        if len(data) > limit:
            raise Unreadable(f"larger than {limit} bytes")
        return data

    def list(self, prefix: str) -> Iterable[str]:
        """As ``LedgerReader.list``."""
        return sorted(self._walk(self._directory / prefix, prefix))

    def _walk(self, directory: Path, prefix: str) -> Iterator[str]:
        """Every path below; a directory deeper than any path of a ledger is named and not entered."""
        waiting = [(directory, prefix)]
        while waiting:
            directory, prefix = waiting.pop()
            try:
                entries = list(os.scandir(directory))
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise Unreadable(f"cannot be listed: {error.strerror}") from None
            for entry in entries:
                path = f"{prefix}/{entry.name}"
                if entry.is_dir(follow_symlinks=False) and path.count("/") < MAX_DEPTH:
                    waiting.append((Path(entry.path), path))
                else:
                    yield path


def prove(reader: LedgerReader, index: int) -> TlogProof:
    """Make the proof file of one entry from a ledger's files.

    Raises:
        NoSuchEntry: Not under the checkpoint.
        BadEncoding: A file is not in its form; ``concordat audit verify`` says more.
    """
    note = reader.read("checkpoint", MAX_NOTE_BYTES)
    if note is None:
        raise NoSuchEntry("the ledger has no checkpoint")
    size = parse_checkpoint_text(parse_note(note).text).size
    if not 0 <= index < size:
        raise NoSuchEntry(f"the ledger has no entry {index}, its checkpoint covers {size}")
    path = merkle.inclusion_proof(size, index, hash_reader(reader, size))
    return TlogProof(index, tuple(path), note)


def hash_reader(reader: LedgerReader, size: int) -> merkle.HashReader:
    """The hashes of a ledger's tree of ``size`` entries, from its tile files; each is read once."""
    cache: dict[tuple[int, int], list[bytes]] = {}

    def tile(level: int, position: int) -> list[bytes]:
        if (level, position) not in cache:
            ref = tiles.tile_at(size, level, position)
            data = reader.read(ref.path, tiles.MAX_TILE_BYTES)
            width = ref.width
            if data is None:
                data, width = reader.read(ref.full.path, tiles.MAX_TILE_BYTES) or b"", tiles.TILE_WIDTH
            cache[level, position] = tiles.parse_tile(data, width)[: ref.width]
        return cache[level, position]

    return tiles.tile_hash_reader(tile)
