"""What the threshold polynomial asks of ciphertexts, on plain arrays: the operations of ``seal.Bgv``, the same words.

Source: specs/matching.md, section 4; specs/kernel.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from crypto.hitsearch.kernel import Kernel
from crypto.hitsearch.packing import Slots, Words


class WordArithmetic:
    """Ciphertexts are arrays of shape (2, level, degree); every operation but ``add_into`` returns a new one.

    A plaintext is an integer (a constant), its coefficients (one dimension), or transformed words: one number for each
    prime of a level, or of shape (level, degree).
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def constant(self, value: int) -> int:
        """The same value in every slot, for sums."""
        t = self._kernel.plan.plain_modulus
        return (value + t // 2) % t - t // 2

    def constant_ntt(self, value: int, level: int) -> Words:
        """The same value in every slot, ready for products at a level."""
        centred = self.constant(value)
        return np.array([centred % q for q in self._kernel.primes[:level]], dtype=np.uint64)

    def encode(self, values: Slots) -> Slots:
        """One value per slot, for sums."""
        return self._kernel.coefficients(values)

    def encode_ntt(self, values: Slots, level: int) -> Words:
        """One value per slot, ready for products at a level."""
        return self._kernel.slots_transform(values, level).reshape(level, -1)

    def plus_plain(self, left: Words, right: int | Slots) -> Words:
        """left plus a plaintext."""
        level, degree = left.shape[1:]
        if isinstance(right, int):
            words = np.repeat(self.constant_ntt(right, level), degree).reshape(level, degree)
        else:
            words = self._kernel.transform(right, level).reshape(level, degree)
        return self._kernel.add_into(left.copy(), words)

    def times_plain(self, left: Words, right: Words) -> Words:
        """left times a plaintext that is ready for products at the same level."""
        return self._kernel.times(left, right)

    def add_into(self, total: Words, term: Words) -> Words:
        """Add a term into a sum that nobody else holds; returns the sum."""
        return self._kernel.add_into(total, term)

    def product(self, left: Words, right: Words, key: Any, *, drop: bool = True) -> Words:
        """left * right, relinearised, one prime dropped unless told otherwise."""
        result = self._kernel.product(left, right, key)
        return self._kernel.drop(result) if drop else result

    def drop_to(self, value: Words, level: int) -> Words:
        """Switch down to a level."""
        while value.shape[1] > level:
            value = self._kernel.drop(value)
        return value
