"""The tree that a published checkpoint covers: its right edge in memory, everything else in tiles on the disk.

Source: specs/ledger.md, section "Tiles".
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from crypto import merkle
from crypto.errors import BadEncoding
from protocol import tiles
from protocol.checkpoint import TreeHead

_CACHED_TILES: Final = 256
_CACHED_BUNDLES: Final = 64
Item = TypeVar("Item")


@dataclass(frozen=True)
class Edge:
    """What of a tree is in no full tile.

    Attributes:
        size: Entries.
        rows: Per level, the hashes of the tile that still grows.
        bundle: The entries of the bundle that still grows.
    """

    size: int = 0
    rows: tuple[tuple[bytes, ...], ...] = ()
    bundle: tuple[bytes, ...] = ()

    @property
    def head(self) -> TreeHead:
        """Size and root."""
        # The perfect subtrees that make up the tree are all in the growing tiles.
        reader = tiles.tile_hash_reader(lambda level, _: self.rows[level])
        return TreeHead(self.size, merkle.range_root(0, self.size, reader))

    def grow(self, entries: Sequence[bytes], hashes: Sequence[bytes]) -> tuple[Edge, list[tuple[str, bytes]]]:
        """The edge after more entries, and the files that make it true."""
        size, bundle = self.size, list(self.bundle)
        rows = [list(row) for row in self.rows]
        writes: list[tuple[str, bytes]] = []
        for entry, leaf in zip(entries, hashes, strict=True):
            size += 1
            bundle.append(entry)
            if len(bundle) == tiles.TILE_WIDTH:
                writes.append((_last(None, size).path, tiles.encode_bundle(bundle)))
                bundle = []
            carry, level = leaf, 0
            while True:
                if level == len(rows):
                    rows.append([])
                rows[level].append(carry)
                if len(rows[level]) < tiles.TILE_WIDTH:
                    break
                writes.append((_last(level, size).path, b"".join(rows[level])))
                carry, rows[level] = tiles.subtree(rows[level]), []
                level += 1
        if bundle and size > self.size:
            writes.append((_last(None, size).path, tiles.encode_bundle(bundle)))
        for level, row in enumerate(rows):
            # A level of which nothing changed ends where it ended before.
            if row and size >> (8 * level) != self.size >> (8 * level):
                writes.append((_last(level, size).path, b"".join(row)))
        return Edge(size, tuple(tuple(row) for row in rows), tuple(bundle)), writes


def _last(level: int | None, size: int) -> tiles.TileRef:
    """The tile at the right end of a level in a tree of ``size`` entries."""
    count = size >> (8 * (level or 0))
    index = (count - 1) // tiles.TILE_WIDTH
    return tiles.TileRef(level, index, count - index * tiles.TILE_WIDTH)


class TileReader:
    """The full tiles and bundles of a ledger, a few of them kept in memory. For several threads."""

    def __init__(self, read: Callable[[str, int], bytes]) -> None:
        """``read(path, limit)`` gives the bytes of a file, or raises."""
        self._read = read
        self._tiles = _Cache[list[bytes]](_CACHED_TILES)
        self._bundles = _Cache[list[bytes]](_CACHED_BUNDLES)

    def tile(self, level: int, index: int) -> list[bytes]:
        """The hashes of a full tile."""

        def load() -> list[bytes]:
            path = tiles.TileRef(level, index).path
            return tiles.parse_tile(self._read(path, tiles.MAX_TILE_BYTES), tiles.TILE_WIDTH)

        return self._tiles.get((level, index), load)

    def bundle(self, index: int) -> list[bytes]:
        """The entries of a full bundle."""

        def load() -> list[bytes]:
            path = tiles.TileRef(None, index).path
            return tiles.parse_bundle(self._read(path, tiles.MAX_BUNDLE_BYTES), tiles.TILE_WIDTH)

        return self._bundles.get((0, index), load)

    def hashes(self, edge: Edge) -> merkle.HashReader:
        """The hashes of the tree that ends in ``edge``, which must be published."""

        def tile(level: int, index: int) -> Sequence[bytes]:
            if index == (edge.size >> (8 * level)) // tiles.TILE_WIDTH:
                return edge.rows[level]
            return self.tile(level, index)

        return tiles.tile_hash_reader(tile)

    def entry(self, edge: Edge, index: int) -> bytes:
        """One entry of the tree that ends in ``edge``."""
        at, offset = divmod(index, tiles.TILE_WIDTH)
        return (edge.bundle if at == edge.size // tiles.TILE_WIDTH else self.bundle(at))[offset]


class _Cache(Generic[Item]):
    """What was read last, by level and index."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._mutex = threading.Lock()
        self._items: OrderedDict[tuple[int, int], Item] = OrderedDict()

    def get(self, key: tuple[int, int], load: Callable[[], Item]) -> Item:
        with self._mutex:
            if key in self._items:
                self._items.move_to_end(key)
                return self._items[key]
        item = load()
        with self._mutex:
            self._items[key] = item
            if len(self._items) > self._room:
                self._items.popitem(last=False)
        return item


def load_edge(read: Callable[[tiles.TileRef], bytes], size: int, add_leaf: Callable[[bytes], None]) -> Edge:
    """Read the whole ledger up to ``size`` and check every tile against the entries below it.

    Args:
        read: The bytes of a tile or bundle as it is in a tree of ``size`` entries.
        size: Of the checkpoint.
        add_leaf: Told every leaf hash, in order.

    Raises:
        BadEncoding: A file is malformed, or a tile is not that of its entries.
    """
    edge = Edge()
    for whole in tiles.tiles_of(size, 0):
        bundle = tiles.bundle_at(size, whole.index)
        entries = tiles.parse_bundle(read(bundle), bundle.width)
        hashes = [merkle.leaf_hash(entry) for entry in entries]
        edge, files = edge.grow(entries, hashes)
        for path, data in files:
            ref = tiles.parse_path(path)
            # An upper tile is looked at when it is full, and in the width that it has at the end.
            if (
                ref.level is not None
                and ref == tiles.tile_at(size, ref.level, ref.index)
                and read(ref) != data
            ):
                raise BadEncoding(f"{path} is not the tile of its entries")
        for leaf in hashes:
            add_leaf(leaf)
    return edge
