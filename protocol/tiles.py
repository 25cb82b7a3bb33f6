"""Tiles and entry bundles: how a ledger's tree and entries lie in files.

A tile of level L holds up to 256 hashes of perfect subtrees of height ``8 * L``; a bundle holds the same 256
entries as the tile of level 0 with its index. Partial tiles carry their width in the path.

Source: C2SP tlog-tiles; specs/ledger.md, section "Tiles".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from crypto.errors import BadEncoding
from crypto.merkle import HASH_BYTES, HashReader, node_hash

TILE_WIDTH: Final = 256
TILE_HEIGHT: Final = 8
MAX_LEVEL: Final = 7
"""2**63 entries need no higher tile."""
MAX_ENTRY_BYTES: Final = 0xFFFF
MAX_TILE_BYTES: Final = TILE_WIDTH * HASH_BYTES
MAX_BUNDLE_BYTES: Final = TILE_WIDTH * (2 + MAX_ENTRY_BYTES)

_PATH = re.compile(
    r"tile/(?P<level>entries|0|[1-9][0-9]?)/"
    r"(?P<index>(?:x[0-9]{3}/)*[0-9]{3})"
    r"(?:\.p/(?P<width>[1-9][0-9]{0,2}))?\Z",
    re.ASCII,
)


@dataclass(frozen=True, order=True)
class TileRef:
    """One tile or bundle.

    Attributes:
        level: 0 to 7; None for a bundle of entries.
        index: Position within the level.
        width: Hashes or entries in it, 1 to 256; below 256 it is partial.
    """

    level: int | None
    index: int
    width: int = TILE_WIDTH

    @property
    def path(self) -> str:
        """The path below the ledger's directory or URL prefix."""
        level = "entries" if self.level is None else str(self.level)
        partial = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        return f"tile/{level}/{_index_path(self.index)}{partial}"

    @property
    def full(self) -> TileRef:
        """The full tile that supersedes this one."""
        return TileRef(self.level, self.index)


def _index_path(index: int) -> str:
    digits = str(index)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[i : i + 3] for i in range(0, len(digits), 3)]
    return "/".join([f"x{group}" for group in groups[:-1]] + groups[-1:])


def parse_path(path: str) -> TileRef:
    """Read a tile or bundle path; raise ``BadEncoding`` unless it is in its one form."""
    match = _PATH.match(path) if len(path) <= 64 else None
    if match is None:
        raise BadEncoding("not the path of a tile or bundle")
    level = None if match["level"] == "entries" else int(match["level"])
    index = int(match["index"].replace("x", "").replace("/", ""))
    ref = TileRef(level, index, int(match["width"] or TILE_WIDTH))
    if (level or 0) > MAX_LEVEL or ref.path != path or (match["width"] and ref.width >= TILE_WIDTH):
        raise BadEncoding("not the path of a tile or bundle")
    return ref


def width_at(size: int, level: int, index: int) -> int:
    """Width of a tile in a tree of ``size`` entries: 0 if it does not exist yet, at most 256."""
    return max(0, min(TILE_WIDTH, (size >> (TILE_HEIGHT * level)) - index * TILE_WIDTH))


def bundle_at(size: int, index: int) -> TileRef:
    """The bundle ``index`` of a tree of ``size`` entries, with the width it has there."""
    return TileRef(None, index, width_at(size, 0, index))


def tile_at(size: int, level: int, index: int) -> TileRef:
    """The tile ``index`` of ``level`` in a tree of ``size`` entries, with the width it has there."""
    return TileRef(level, index, width_at(size, level, index))


def levels_of(size: int) -> range:
    """The levels at which a tree of ``size`` entries has tiles."""
    levels = 0
    while size >> (TILE_HEIGHT * levels):
        levels += 1
    return range(levels)


def tiles_of(size: int, level: int) -> Iterator[TileRef]:
    """All tiles of one level in a tree of ``size`` entries."""
    for index in range(-(-(size >> (TILE_HEIGHT * level)) // TILE_WIDTH)):
        yield tile_at(size, level, index)


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """``u16 length || entry`` for each entry."""
    parts: list[bytes] = []
    for entry in entries:
        if len(entry) > MAX_ENTRY_BYTES:
            raise ValueError(f"an entry of {len(entry)} bytes does not fit a bundle")
        parts += [len(entry).to_bytes(2, "big"), entry]
    return b"".join(parts)


def parse_bundle(data: bytes, width: int) -> list[bytes]:
    """Read exactly ``width`` entries; raise ``BadEncoding`` on anything less or more."""
    entries, rest = split_bundle(data, width)
    if len(entries) != width:
        raise BadEncoding(f"bundle: ends within entry {len(entries)} of {width}")
    if rest:
        raise BadEncoding(f"bundle: {rest} bytes after its {width} entries")
    return entries


def split_bundle(data: bytes, width: int) -> tuple[list[bytes], int]:
    """Up to ``width`` whole entries from the start of ``data``, and how many bytes were left over."""
    entries: list[bytes] = []
    at = 0
    while len(entries) < width and at + 2 <= len(data):
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        if end > len(data):
            break
        entries.append(data[at + 2 : end])
        at = end
    return entries, len(data) - at


def parse_tile(data: bytes, width: int) -> list[bytes]:
    """Read exactly ``width`` hashes; raise ``BadEncoding`` on another length."""
    if len(data) != width * HASH_BYTES:
        raise BadEncoding(f"tile: {len(data)} bytes instead of {width * HASH_BYTES}")
    return [data[i : i + HASH_BYTES] for i in range(0, len(data), HASH_BYTES)]


def subtree(hashes: Sequence[bytes]) -> bytes:
    """The hash of the perfect subtree over a power-of-two number of hashes."""
    row = list(hashes)
    while len(row) > 1:
        row = [node_hash(row[i], row[i + 1]) for i in range(0, len(row), 2)]
    return row[0]


def tile_hash_reader(tile: Callable[[int, int], Sequence[bytes]]) -> HashReader:
    """A ``HashReader`` over tiles; ``tile(level, index)`` gives the hashes that this tile has by now."""

    def read(height: int, index: int) -> bytes:
        level, inner = divmod(height, TILE_HEIGHT)
        first = index << inner
        at, offset = divmod(first, TILE_WIDTH)
        hashes = tile(level, at)[offset : offset + (1 << inner)]
        if len(hashes) != 1 << inner:
            raise LookupError(f"tile {level}/{at} has no hash {offset + (1 << inner) - 1}")
        return subtree(hashes)

    return read
