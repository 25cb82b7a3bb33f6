"""Which of several copies of a hash is the right one: the tree above says, down from the signed root.

A hash of the tree is in up to three places: in the tile that holds it, in the tile below (it is that tile's
root), and in superseded partial files. Where they differ, the choice that leads to the hash above is right and
the file that says otherwise is wrong; nothing that follows from a wrong file is held against another.

Source: specs/ledger.md, section "Audit".
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Final

from crypto import merkle

HASH: Final = merkle.HASH_BYTES
LOST: Final = bytes(HASH)
"""Stands for a hash that could not be read; no SHA-256 output is zero."""
_MAX_CHOICES: Final = 256
"""Mixtures tried for one tile: eight hashes that each have two candidates."""


def tile_root(hashes: bytes) -> bytes:
    """The root of a full tile; ``LOST`` if one of its hashes is."""
    row = [hashes[i : i + HASH] for i in range(0, len(hashes), HASH)]
    if LOST in row:
        return LOST
    while len(row) > 1:
        row = [hashlib.sha256(b"\x01" + row[i] + row[i + 1]).digest() for i in range(0, len(row), 2)]
    return row[0]


def edge_root(parts: Sequence[bytes]) -> bytes:
    """The root of a tree from the hashes of its right edge: per level, lowest first, those that no tile above
    covers yet (at most 255 hashes each)."""
    heads: list[bytes] = []
    for part in reversed(parts):
        count, at = len(part) // HASH, 0
        for bit in reversed(range(8)):
            if count >> bit & 1:
                heads.append(tile_root(part[at : at + (HASH << bit)]))
                at += HASH << bit
    if not heads:
        return merkle.EMPTY_ROOT
    root = heads.pop()
    while heads:
        root = merkle.node_hash(heads.pop(), root)
    return root


def settle(sources: Sequence[bytes], accepts: Callable[[bytes], bool]) -> bytes | None:
    """The hashes that ``accepts`` takes, put together from sources of one length; None if none does.

    Each whole source is tried first (its lost hashes filled from the others), then mixtures.
    """
    tried: set[bytes] = set()
    for choice in _choices(sources):
        if choice not in tried:
            tried.add(choice)
            if accepts(choice):
                return choice
    return None


def majority(sources: Sequence[bytes]) -> bytes:
    """Without a hash above to ask: at each place what most sources say, the earlier source on a tie."""
    return b"".join(options[0] for options in _options(sources))


def _options(sources: Sequence[bytes]) -> list[list[bytes]]:
    """At each place the different hashes, the most frequent first, ``LOST`` only where there is no other."""
    places = []
    for at in range(0, len(sources[0]), HASH):
        said = [source[at : at + HASH] for source in sources]
        known = [one for one in said if one != LOST] or [LOST]
        places.append(sorted(dict.fromkeys(known), key=known.count, reverse=True))
    return places


def _choices(sources: Sequence[bytes]) -> Iterator[bytes]:
    places = _options(sources)
    best = [options[0] for options in places]
    for source in sources:
        row = [source[i * HASH : (i + 1) * HASH] for i in range(len(places))]
        yield b"".join(mine if mine != LOST else other for mine, other in zip(row, best, strict=True))
    yield b"".join(best)
    open_places = [i for i, options in enumerate(places) if len(options) > 1]
    count = 1
    for i in open_places:
        count *= len(places[i])
        if count > _MAX_CHOICES:
            return
    for chosen in product(*(places[i] for i in open_places)):
        row = list(best)
        for i, one in zip(open_places, chosen, strict=True):
            row[i] = one
        yield b"".join(row)
