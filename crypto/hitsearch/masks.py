"""The responder's randomness for one query and its blocks: masks, tokens, guards, flooding, expanded from a seed.

The seed is drawn from the operating system once per attempt and committed to on the ledger, so that an audit can
repeat the answer. Every (exchange, attempt, block, purpose) has a stream of its own; nothing is ever drawn twice.

Source: specs/matching.md, section 5.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from crypto.contexts import Context, hash_fields
from crypto.hitsearch.packing import Slots, Words
from crypto.hitsearch.sampling import keystream

SEED_LENGTH: Final = 32


class MaskStream:
    """Uniform values for one block of one attempt, or for what is done once for all blocks.

    Args:
        seed: 32 bytes from the operating system, fresh for every attempt at an answer.
        exchange_id: The exchange that the answer belongs to.
        block_index: Position of the block in the gallery; None for the steps before any block.
        attempt: Number of the attempt; a retry never shares a stream with the attempt before it.
        probe: Number of the probe in a query of several. They share nothing but the tokens: a token is of a slot.
    """

    def __init__(
        self, seed: bytes, exchange_id: bytes, block_index: int | None, attempt: int, probe: int = 0
    ) -> None:
        if len(seed) != SEED_LENGTH:
            raise ValueError(f"a mask seed has {SEED_LENGTH} bytes")
        block = b"query" if block_index is None else block_index.to_bytes(8, "big")
        where = (exchange_id, attempt.to_bytes(8, "big"), block)
        self._of_slots = (seed, *where)
        if probe:
            seed = hash_fields(Context.MASK_STREAM, seed, exchange_id, probe.to_bytes(8, "big"), b"probe")
        self._binding = (seed, *where)

    def masks(self, label: bytes, count: int, modulus: int) -> Slots:
        """Uniform over 1..modulus-1, for a modulus of 2^16 + 1: never zero, since a zero mask would be a false hit."""
        if modulus != (1 << 16) + 1:
            raise ValueError("masks are drawn for the plaintext modulus 65537")
        raw = self._keystream(b"mask/" + label, 2 * count)
        return np.frombuffer(raw, dtype=">u2").astype(np.int64) + 1

    def digits(self, label: bytes, count: int, modulus: int) -> Words:
        """Uniform over 0..modulus-1, by rejection of 32-bit draws above the last full multiple."""
        limit = (1 << 32) // modulus * modulus
        drawn = count + 64
        while True:
            raw = np.frombuffer(self._keystream(b"digits/" + label, 4 * drawn), dtype=">u4").astype(np.uint64)
            kept = raw[raw < limit][:count] % np.uint64(modulus)
            if len(kept) == count:
                return kept
            drawn *= 2

    def tokens(self, count: int) -> Slots:
        """The one-time tokens of a block's slots, uniform over 0..65535; the same for all probes of a query."""
        raw = keystream(hash_fields(Context.MASK_STREAM, *self._of_slots, b"token"), 2 * count)
        return np.frombuffer(raw, dtype=">u2").astype(np.int64)

    def order(self, count: int) -> list[int]:
        """The order in which an answer lists so many blocks: as 64-bit values of the stream sort them."""
        keys = np.frombuffer(self._keystream(b"order", 8 * count), dtype=">u8")
        return [int(position) for position in np.argsort(keys, kind="stable")]

    def number(self, label: bytes, bits: int) -> int:
        """Uniform over 0..2^bits - 1."""
        raw = self._keystream(b"number/" + label, (bits + 7) // 8)
        return int.from_bytes(raw, "big") >> (-bits % 8)

    def key(self, label: bytes) -> bytes:
        """32 bytes that seed the small polynomials of a fresh encryption of zero."""
        return hash_fields(Context.MASK_STREAM, *self._binding, b"small/" + label)

    def _keystream(self, label: bytes, length: int) -> bytes:
        return keystream(hash_fields(Context.MASK_STREAM, *self._binding, label), length)
