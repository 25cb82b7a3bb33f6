"""An index from 32-byte hashes to entry numbers that keeps twelve bytes an entry, not a dictionary of them.

Only the first 8 bytes of a hash are kept, so an answer is a list of candidates: the caller, who can read the
entries, decides. Entry numbers are given out in order, which is what makes the sorted part small.

Source: specs/ledger.md, section "Durability".
"""

from __future__ import annotations

from array import array
from typing import Final

import numpy as np

_KEY_BYTES: Final = 8
_MIN_RECENT: Final = 1 << 15


class PrefixIndex:
    """Hashes of entries 0, 1, 2, ... in this order. Not safe for several threads by itself."""

    def __init__(self) -> None:
        self._keys = np.empty(0, np.uint64)
        self._numbers = np.empty(0, np.uint32)
        self._fresh = array("Q")
        self._recent: dict[int, int | list[int]] = {}

    def __len__(self) -> int:
        return len(self._keys) + len(self._fresh)

    def add(self, key: bytes) -> None:
        """The hash of the next entry."""
        number, prefix = len(self), int.from_bytes(key[:_KEY_BYTES], "big")
        self._fresh.append(prefix)
        there = self._recent.setdefault(prefix, number)
        if isinstance(there, list):
            there.append(number)
        elif there != number:
            self._recent[prefix] = [there, number]
        if len(self._fresh) > max(_MIN_RECENT, len(self._keys) // 8):
            self._settle()

    def candidates(self, key: bytes) -> list[int]:
        """Entries whose hash begins like this one, in order."""
        prefix = int.from_bytes(key[:_KEY_BYTES], "big")
        low = int(np.searchsorted(self._keys, np.uint64(prefix), "left"))
        high = int(np.searchsorted(self._keys, np.uint64(prefix), "right"))
        found = sorted(int(number) for number in self._numbers[low:high])
        recent = self._recent.get(prefix, [])
        return found + (recent if isinstance(recent, list) else [recent])

    def _settle(self) -> None:
        """Merge what is new into the sorted part."""
        first = len(self._keys)
        fresh = np.frombuffer(self._fresh, np.uint64)
        order = np.argsort(fresh, kind="stable")
        fresh = fresh[order]
        places = np.searchsorted(self._keys, fresh, "right")
        self._keys = np.insert(self._keys, places, fresh)
        self._numbers = np.insert(self._numbers, places, (order + first).astype(np.uint32))
        self._fresh = array("Q")
        self._recent = {}
