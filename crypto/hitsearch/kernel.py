"""The kernel at the primes of a plan: transforms, products and rotations on plain arrays.

Every result is fully reduced, so there is one right result, and it is SEAL's to the bit.

Source: specs/kernel.md.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from crypto.hitsearch.kernel_library import (
    LANE,
    ROW_SPARE,
    Switch,
    address,
    aligned,
    library,
    prime_row,
    usable,
)
from crypto.hitsearch.packing import Slots, Words
from crypto.hitsearch.parameters import Plan


def _reversed_bits(values: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    result = np.zeros_like(values)
    for bit in range(bits):
        result |= (values >> bit & 1) << (bits - 1 - bit)
    return result


@lru_cache(maxsize=8)
def _rows(primes: tuple[int, ...], degree: int) -> NDArray[np.uint8]:
    """The tables of each prime."""
    rows = [prime_row(prime, degree) for prime in primes]
    table = aligned((len(rows), len(rows[0])), np.uint8)
    for place, row in enumerate(rows):
        table[place] = row
    return table


@lru_cache(maxsize=8)
def slot_places(degree: int) -> NDArray[np.uint32]:
    """The place of each slot in a transform modulo t: the powers of 3 make one row, their negatives the other."""
    half, bits = degree // 2, degree.bit_length() - 1
    powers = np.array([pow(3, i, 2 * degree) for i in range(half)], dtype=np.int64)
    exponents = np.concatenate([powers, 2 * degree - powers])
    return _reversed_bits((exponents - 1) // 2, bits).astype(np.uint32)


@lru_cache(maxsize=32)
def automorphism_places(element: int, degree: int) -> NDArray[np.uint32]:
    """Where each word of a polynomial comes from when X is replaced by X^element, in transformed form."""
    bits = degree.bit_length() - 1
    exponents = 2 * _reversed_bits(np.arange(degree), bits) + 1
    return _reversed_bits((exponents * element % (2 * degree) - 1) // 2, bits).astype(np.uint32)


def drops(divisor: int, primes: tuple[int, ...], modulus: int) -> Words:
    """What a division by a prime takes at each prime that is left; its remainder modulo t must be 1."""
    if divisor % modulus != 1:
        raise ValueError("a prime that is dropped is 1 modulo t")
    table = []
    for q in primes:
        inverse = pow(divisor, -1, q)
        table.append([divisor % q, ((divisor % q) << 64) // q, inverse, (inverse << 64) // q])
    return np.array(table, dtype=np.uint64)


def scratch(degree: int, rows: int) -> Words:
    """A scratch area as the kernel lays it out."""
    return aligned((rows, degree + ROW_SPARE))


@dataclass(frozen=True)
class GaloisKey:
    """The words of a key, and the permutation that goes with it."""

    words: Words
    places: NDArray[np.uint32]


class Kernel:
    """Transforms, and arithmetic of ciphertexts, at the first data primes of a plan.

    Args:
        plan: Whose primes are friendly.
        levels: How many of its data primes; all by default. Keys are for exactly so many.

    Raises:
        ValueError: The plan is beyond what the kernel can do.
    """

    def __init__(self, plan: Plan, levels: int | None = None) -> None:
        self.plan = plan
        self.degree = plan.degree
        self.levels = plan.levels if levels is None else levels
        self.primes = (*plan.data_primes[: self.levels], plan.special_prime)
        if not usable(plan):
            raise ValueError("the kernel is not built, or not for these parameters")
        self.rows = _rows(self.primes, self.degree)
        self.plain = _rows((plan.plain_modulus,), self.degree)
        data, t = self.primes[:-1], plan.plain_modulus
        self._special_drops = drops(plan.special_prime, data, t)
        self._last_drops = {
            level: drops(data[level - 1], data[: level - 1], t) for level in range(2, len(data) + 1)
        }
        self._slot_places = slot_places(self.degree)
        self.key_shape = (self.levels + 1, self.degree // LANE, 2, self.levels, LANE)

    # -- transforms --

    def transform(self, values: Slots, primes: int) -> Words:
        """The transform of a polynomial of small signed coefficients at the first primes; the special one is last."""
        degree = self.degree
        small = np.ascontiguousarray(values, dtype=np.int32)
        out = aligned((primes * degree,))
        place = address(small, (degree,), np.int32)
        if not 0 < primes <= len(self.primes):
            raise ValueError("there are not so many primes")
        library().concordat_transform(self.rows.ctypes.data, primes, place, out.ctypes.data)
        return out

    def coefficients(self, values: Slots) -> Slots:
        """The coefficients, between -t/2 and t/2, of the plaintext with these slots."""
        t = self.plan.plain_modulus
        words = aligned((self.degree,))
        words[self._slot_places] = (values % t).astype(np.uint64)
        library().concordat_inverse(self.plain.ctypes.data, words.ctypes.data)
        signed = words.astype(np.int64)
        return np.where(signed > t // 2, signed - t, signed)

    def slots_transform(self, values: Slots, primes: int) -> Words:
        """The transform of a plaintext that is given by its slots."""
        return self.transform(self.coefficients(values), primes)

    # -- ciphertexts: arrays of shape (2, level, degree) --

    def switch_key(self, digits: list[Words]) -> Words:
        """A key from the words of its digits, in the order in which the kernel reads it."""
        primes, lines, halves, count, _ = self.key_shape
        words = aligned(self.key_shape)
        for digit, pair in zip(range(count), digits, strict=True):
            words[:, :, :, digit] = pair.reshape(halves, primes, lines, LANE).transpose(1, 2, 0, 3)
        return words

    def galois_key(self, digits: list[Words], element: int) -> GaloisKey:
        """A key of a row rotation, or of the exchange of rows."""
        return GaloisKey(self.switch_key(digits), automorphism_places(element, self.degree))

    def rotate(self, value: Words, key: GaloisKey, addend: Words | None = None) -> Words:
        """Rotate both rows of a ciphertext to the left, or exchange them; then add another ciphertext."""
        shape = self._shape(value)
        out = aligned(shape)
        parts, _spare = self._switch(shape[1], key.words)
        places = address(key.places, (self.degree,), np.uint32)
        other = None if addend is None else address(addend, shape, np.uint64)
        source = address(value, shape, np.uint64)
        library().concordat_rotate(ctypes.byref(parts), places, source, other, out.ctypes.data)
        return out

    def product(self, left: Words, right: Words, key: Words) -> Words:
        """The product of two ciphertexts, relinearised."""
        shape = self._shape(left)
        out = aligned(shape)
        parts, _spare = self._switch(shape[1], key)
        first, second = (address(one, shape, np.uint64) for one in (left, right))
        library().concordat_product(ctypes.byref(parts), first, second, out.ctypes.data)
        return out

    def times(self, value: Words, plain: Words) -> Words:
        """A ciphertext times a transformed plaintext, or times a number that is given at each prime."""
        shape = self._shape(value)
        out, source = aligned(shape), address(value, shape, np.uint64)
        if plain.ndim == 1:
            plain, lengths = np.repeat(plain, LANE), (LANE, 0)
            factor = address(plain, (shape[1] * LANE,), np.uint64)
        else:
            lengths = (self.degree, LANE)
            factor = address(plain, shape[1:], np.uint64)
        library().concordat_times(self.rows.ctypes.data, shape[1], source, factor, *lengths, out.ctypes.data)
        return out

    def add_into(self, total: Words, term: Words) -> Words:
        """Add a ciphertext, or a transformed plaintext, into a ciphertext."""
        shape = self._shape(total)
        target = address(total, shape, np.uint64, written=True)
        halves = 2 if term.ndim == 3 else 1
        source = address(term, shape if halves == 2 else shape[1:], np.uint64)
        library().concordat_add(self.rows.ctypes.data, shape[1], halves, target, source)
        return total

    def drop(self, value: Words) -> Words:
        """Switch a ciphertext down by one prime."""
        shape = self._shape(value)
        out, spare = aligned((2, shape[1] - 1, self.degree)), scratch(self.degree, 3)
        library().concordat_drop(
            self.rows.ctypes.data,
            self.plain.ctypes.data,
            shape[1],
            self._last_drops[shape[1]].ctypes.data,
            address(value, shape, np.uint64),
            spare.ctypes.data,
            out.ctypes.data,
        )
        return out

    def _shape(self, value: Words) -> tuple[int, int, int]:
        level = value.shape[1] if value.ndim == 3 else 0
        if not 2 <= level <= self.levels:
            raise ValueError("the kernel computes at two primes or more")
        return (2, level, self.degree)

    def _switch(self, level: int, key: Words) -> tuple[Switch, Words]:
        spare = scratch(self.degree, 7 * level + 4)
        parts = Switch(
            self.rows.ctypes.data,
            self.plain.ctypes.data,
            level,
            self.levels,
            address(key, self.key_shape, np.uint64),
            self.levels,
            self._special_drops.ctypes.data,
            spare.ctypes.data,
        )
        return parts, spare
