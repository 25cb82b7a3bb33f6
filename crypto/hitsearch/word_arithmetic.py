"""Ciphertexts as plain arrays: the operations of ``arithmetic.Arithmetic`` in the kernel, with SEAL's words.

Source: specs/kernel.md, section 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crypto.hitsearch.kernel import GaloisKey, Kernel
from crypto.hitsearch.keyset import exchange_element, rotation_element
from crypto.hitsearch.packing import Slots, Words

GaloisKeys = dict[int, GaloisKey]


class WordArithmetic:
    """Ciphertexts are arrays of shape (2, level, degree).

    A plaintext for sums is an integer (a constant) or its centred coefficients; one that is ready for products is
    one number for each prime of a level, or transformed words of shape (level, degree).
    """

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.plan = kernel.plan

    # -- words in and out --

    def load_full(self, words: Words, level: int) -> Words:
        """A ciphertext from its words; a copy."""
        return np.array(words, dtype=np.uint64).reshape(2, level, self.plan.degree)

    def words_of(self, ciphertext: Words, level: int) -> Words:
        """The words of a ciphertext of that level, in one dimension."""
        if ciphertext.shape[1] != level:
            raise ValueError(f"a ciphertext of {ciphertext.shape[1]} primes, not {level}")
        return ciphertext.reshape(-1)

    def load_relin_keys(self, digits: list[Words]) -> Words:
        """The relinearisation key."""
        return self.kernel.switch_key(digits)

    def load_galois_keys(self, by_element: dict[int, list[Words]]) -> GaloisKeys:
        """Keys of automorphisms by Galois element."""
        return {element: self.kernel.galois_key(digits, element) for element, digits in by_element.items()}

    # -- plaintexts --

    def constant(self, value: int) -> int:
        """The same value in every slot, for sums."""
        t = self.plan.plain_modulus
        return (value + t // 2) % t - t // 2

    def constant_ntt(self, value: int, level: int) -> Words:
        """The same value in every slot, ready for products at a level."""
        return self.number_ntt(self.constant(value), level)

    def encode(self, values: Slots) -> Slots:
        """One value per slot, for sums."""
        return self.kernel.coefficients(values)

    def encode_ntt(self, values: Slots, level: int) -> Words:
        """One value per slot, ready for products at a level."""
        return self.small_ntt(self.encode(values), level)

    def uniform_ntt(self, values: Words, level: int) -> Words:
        """A polynomial of coefficients below t, ready for products at a level."""
        return self.small_ntt(self._centred(values), level)

    def small_ntt(self, values: Slots, level: int) -> Words:
        """A polynomial of small signed coefficients, ready for products at a level."""
        return self.kernel.transform(values, level).reshape(level, -1)

    def number_ntt(self, number: int, level: int) -> Words:
        """An integer of any size as a factor at a level."""
        return np.array([number % q for q in self.kernel.primes[:level]], dtype=np.uint64)

    def _centred(self, values: Words) -> Slots:
        t = self.plan.plain_modulus
        signed = values.astype(np.int64)
        return np.where(signed > t // 2, signed - t, signed)

    # -- ciphertexts --

    def constant_pair(self, first: int, second: int, level: int) -> Words:
        """The public ciphertext ``(first, second)``."""
        halves = np.stack([self.number_ntt(number, level) for number in (first, second)])
        return np.repeat(halves[:, :, None], self.plan.degree, axis=2)

    def add(self, left: Words, right: Words) -> Words:
        """left + right."""
        return self.kernel.add_into(left.copy(), right)

    def add_into(self, total: Words, term: Words) -> Words:
        """Add a term into a sum that nobody else holds; returns the sum."""
        return self.kernel.add_into(total, term)

    def plus_plain(self, left: Words, right: int | Slots) -> Words:
        """left plus a plaintext."""
        level, degree = left.shape[1:]
        if isinstance(right, int):
            words = np.repeat(self.number_ntt(right, level), degree).reshape(level, degree)
        else:
            words = self.small_ntt(right, level)
        return self.kernel.add_into(left.copy(), words)

    def plus_polynomials(self, left: Words, polynomials: Sequence[Words]) -> Words:
        """left plus the sum of polynomials of coefficients below t, each centred."""
        return self.plus_plain(left, self._centred(np.stack(polynomials)).sum(axis=0))

    def times_plain(self, left: Words, right: Words) -> Words:
        """left times a plaintext that is ready for products at the same level."""
        return self.kernel.times(left, right)

    def product(self, left: Words, right: Words, key: Words, *, drop: bool = True) -> Words:
        """left * right, relinearised, one prime dropped unless told otherwise."""
        result = self.kernel.product(left, right, key)
        return self.kernel.drop(result) if drop else result

    def rotate(self, value: Words, steps: int, keys: GaloisKeys) -> Words:
        """Both rows rotated to the left."""
        return self.kernel.rotate(value, keys[rotation_element(steps, self.plan.degree)])

    def exchange_rows(self, value: Words, keys: GaloisKeys) -> Words:
        """The two rows exchanged."""
        return self.kernel.rotate(value, keys[exchange_element(self.plan.degree)])

    def drop_to(self, value: Words, level: int) -> Words:
        """Switched down to a level."""
        while value.shape[1] > level:
            value = self.kernel.drop(value)
        return value
