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
        folder, _, name = path.rpartition("/")
        place = self._enter(folder)
        if place is None:
            return None
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
            descriptor = os.open(name, flags, dir_fd=place)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unreadable(f"cannot be opened: {error.strerror}") from None
        finally:
            os.close(place)
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
        return sorted(self._walk(prefix))

    def _enter(self, folder: str) -> int | None:
        """A descriptor of a directory below, reached without following a link; None if there is none."""
        try:
            place = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise Unreadable(f"cannot be opened: {error.strerror}") from None
        for name in folder.split("/") if folder else ():
            above = place
            try:
                place = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
            except FileNotFoundError:
                return None
            except NotADirectoryError:
                if _is_link(name, above):
                    raise Unreadable("lies behind a link, which is not followed") from None
                return None
            except OSError as error:
                raise Unreadable(f"cannot be opened: {error.strerror}") from None
            finally:
                os.close(above)
        return place

    def _walk(self, prefix: str) -> Iterator[str]:
        """Every path below; a directory deeper than any path of a ledger is named and not entered."""
        waiting = [prefix]
        while waiting:
            prefix = waiting.pop()
            place = self._enter(prefix)
            if place is None:
                continue
            try:
                with os.scandir(place) as found:
                    entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]
            except OSError as error:
                raise Unreadable(f"cannot be listed: {error.strerror}") from None
            finally:
                os.close(place)
            for name, is_directory in entries:
                path = f"{prefix}/{name}"
                if is_directory and path.count("/") < MAX_DEPTH:
                    waiting.append(path)
                else:
                    yield path


def _is_link(name: str, place: int) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=place, follow_symlinks=False).st_mode)
    except OSError:
        return False


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
