"""Encoded gallery blocks in memory that all workers share, within a budget.

One anonymous file in memory, mapped by every worker: a block is encoded once and there is one copy of it. It has no
name, is never on a disk, and ends with the process. The engine alone says what lies where (``Shelf``); workers are
told a place and read or fill it. What does not fit is computed anew by each query.

Least recently used out, a gallery at a time: a search reads all of one, so the blocks of a gallery that is larger than
the budget would only push each other out. They stay, and the rest of them is computed.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Hashable
from dataclasses import dataclass
from itertools import count

Gallery = tuple[str, bytes]
"""Modality and profile digest."""


@dataclass(slots=True)
class Place:
    """Where one encoded block lies.

    Attributes:
        is_filled: The block is there; else whoever got the place fills it, and nobody else reads it before.
        readers: How many pieces of work use the place now.
    """

    offset: int
    length: int
    gallery: Gallery
    version: bytes
    is_filled: bool = False
    readers: int = 0


class Shelf:
    """Which encoded block lies where in the shared memory.

    Args:
        limit: Bytes of all encoded blocks together.
    """

    def __init__(self, limit: int) -> None:
        self.limit = _whole_pages(max(limit, 1))
        self.descriptor = os.memfd_create("encoded-gallery", os.MFD_CLOEXEC)
        os.ftruncate(self.descriptor, self.limit)
        self._map = mmap.mmap(self.descriptor, self.limit)
        self._places: dict[Hashable, Place] = {}
        self._used: dict[Gallery, int] = {}
        self._clock = count()

    def close(self) -> None:
        """Give the memory back, once the workers are gone."""
        self._places.clear()
        self._map.close()
        os.close(self.descriptor)

    @property
    def bytes_used(self) -> int:
        """Memory of all places."""
        return sum(place.length for place in self._places.values())

    def borrow(self, key: Hashable, gallery: Gallery, version: bytes, size: int) -> Place | None:
        """The place of a block, to read or to fill; None if the block has to be computed without one.

        Args:
            key: What the encoding depends on: the search, and the hash of the block.
            gallery: Whose block it is.
            version: Of the gallery: blocks of another one go first.
            size: Bytes of the encoded block.
        """
        self._used[gallery] = next(self._clock)
        place = self._places.get(key)
        if place is not None:
            place.version = version
            if not place.is_filled:
                return None  # another worker is at it
        else:
            place = self._new_place(gallery, version, _whole_pages(size))
            if place is None:
                return None
            self._places[key] = place
        place.readers += 1
        return place

    def give_back(self, key: Hashable, *, filled: bool) -> None:
        """The end of the work with a place; one that was to be filled and was not is free again."""
        place = self._places[key]
        place.readers -= 1
        place.is_filled = place.is_filled or filled
        if not place.is_filled:
            self._forget(key)

    def has_room(self, key: Hashable, size: int) -> bool:
        """Whether a block is here, or can come here without anything going."""
        return key in self._places or self._gap(_whole_pages(size)) is not None

    def _new_place(self, gallery: Gallery, version: bytes, size: int) -> Place | None:
        if size > self.limit:
            return None
        while (offset := self._gap(size)) is None:
            victim = self._victim(gallery, version)
            if victim is None:
                return None
            self._forget(victim)
        return Place(offset, size, gallery, version)

    def _gap(self, size: int) -> int | None:
        end = 0
        for place in sorted(self._places.values(), key=lambda place: place.offset):
            if place.offset - end >= size:
                return end
            end = place.offset + place.length
        return end if self.limit - end >= size else None

    def _victim(self, gallery: Gallery, version: bytes) -> Hashable | None:
        """A block of an older version of this gallery, else of the gallery that was used longest ago."""
        free = [(key, place) for key, place in self._places.items() if not place.readers]
        for key, place in free:
            if place.gallery == gallery and place.version != version:
                return key
        others = [(self._used[place.gallery], key) for key, place in free if place.gallery != gallery]
        return min(others, key=lambda one: one[0])[1] if others else None

    def _forget(self, key: Hashable) -> None:
        place = self._places.pop(key)
        self._map.madvise(mmap.MADV_REMOVE, place.offset, place.length)


def _whole_pages(size: int) -> int:
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
