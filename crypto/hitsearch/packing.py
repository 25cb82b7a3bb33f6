"""How templates and words are laid out: diagonals for the slots, bit-packed words for the wire.

Source: specs/matching.md, sections 3 (packing) and 6 (byte forms).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from crypto.errors import BadEncoding

Words = NDArray[np.uint64]
Slots = NDArray[np.int64]


def spread_probe(template: NDArray[np.int8], slots: int) -> Slots:
    """Repeat a template of shape ``(n,)`` with period n over all slots."""
    return np.tile(template.astype(np.int64), slots // template.shape[0])


def diagonals(
    templates: NDArray[np.int8], baby_steps: int, scale: int
) -> Iterator[tuple[int, int, NDArray[np.int8]]]:
    """Yield ``(giant, baby, slot values)`` for every diagonal of one block.

    Diagonal ``k = giant * baby_steps + baby`` holds in slot j the entry ``(j + k) mod n`` of candidate j, times
    ``scale``, rotated right by ``giant * baby_steps`` inside each of the two rows, so that the rotation of the
    partial sum brings it back.

    Args:
        templates: The whole block, shape ``(slots, n)``; n divides half the number of slots.
        baby_steps: Rotations of the probe that are computed once a query; divides n.
        scale: 1 or 2, see ``threshold.centre``.
    """
    slots, n = templates.shape
    columns = (np.arange(slots)[:, None] + np.arange(n)) % n
    by_diagonal = np.ascontiguousarray(np.take_along_axis(templates, columns, axis=1).T)
    by_diagonal = by_diagonal.reshape(n, 2, slots // 2) * np.int8(scale)
    for giant in range(n // baby_steps):
        shift = giant * baby_steps
        for baby in range(baby_steps):
            yield giant, baby, np.roll(by_diagonal[shift + baby], shift, axis=1).reshape(slots)


def packed_length(count: int, bits: int) -> int:
    """Bytes that ``count`` words of ``bits`` bits take; count times bits is a multiple of 8."""
    return count * bits // 8


def pack_words(words: Words, bits: int) -> bytes:
    """Write each word as ``bits`` bits, most significant bit first, without gaps."""
    as_bytes = words.astype(">u8").view(np.uint8).reshape(-1, 8)
    return np.packbits(np.unpackbits(as_bytes, axis=1)[:, 64 - bits :]).tobytes()


def unpack_words(data: bytes, count: int, bits: int, modulus: int) -> Words:
    """Read ``count`` words back; each must lie below the modulus.

    Raises:
        BadEncoding: The length is not exact, or a word is not reduced.
    """
    if len(data) != packed_length(count, bits):
        raise BadEncoding(
            f"{count} words of {bits} bits take {packed_length(count, bits)} bytes, not {len(data)}"
        )
    wide = np.zeros((count, 64), dtype=np.uint8)
    wide[:, 64 - bits :] = np.unpackbits(np.frombuffer(data, dtype=np.uint8)).reshape(count, bits)
    words = np.packbits(wide, axis=1).view(">u8").reshape(count).astype(np.uint64)
    if bool((words >= np.uint64(modulus)).any()):
        raise BadEncoding("a word is not below its prime")
    return words
