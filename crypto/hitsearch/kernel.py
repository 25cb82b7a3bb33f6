"""The kernel at the parameters of a plan: transforms, encodings, sums of products and rotations on plain arrays.

Every result is fully reduced, so there is one right result, and it is SEAL's to the bit.

Source: specs/kernel.md.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crypto.hitsearch.kernel_library import (
    LANE,
    ROW_SPARE,
    Encoding,
    Switch,
    address,
    aligned,
    library,
    prime_row,
    usable,
)
from crypto.hitsearch.keyset import rotation_element
from crypto.hitsearch.packing import Slots, Words
from crypto.hitsearch.parameters import Plan

Rotations = Words


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


class Kernel:
    """The kernel at the parameters of a plan.

    Args:
        plan: Whose primes are friendly.

    Raises:
        ValueError: The plan is beyond what the kernel can do.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.degree, self.level = plan.degree, plan.search_level
        self.primes = (*plan.data_primes, plan.special_prime)
        if not usable(plan):
            raise ValueError("the kernel is not built, or not for these parameters")
        self._rows = _rows(self.primes, self.degree)
        self._plain = _rows((plan.plain_modulus,), self.degree)
        data, t = plan.data_primes, plan.plain_modulus
        self._special_drops = drops(plan.special_prime, data, t)
        self._last_drops = {
            level: drops(data[level - 1], data[: level - 1], t) for level in range(2, len(data) + 1)
        }
        self._slot_places = slot_places(self.degree)
        babies, giants, lines = plan.baby_steps, plan.giant_steps, self.degree // LANE
        self.block_shape = (self.level, lines, giants, babies, LANE)
        self._rotations_shape = (self.level, lines, 2, babies, LANE)
        self._partials_shape = (giants, 2, self.level, self.degree)
        self.key_shape = (plan.levels + 1, lines, 2, plan.levels, LANE)

    # -- transforms --

    def transform(self, values: Slots, primes: int) -> Words:
        """The transform of a polynomial of small signed coefficients at the first primes; the special one is last."""
        degree = self.degree
        small = np.ascontiguousarray(values, dtype=np.int32)
        out = aligned((primes * degree,))
        place = address(small, (degree,), np.int32)
        if not 0 < primes <= len(self.primes):
            raise ValueError("there are not so many primes")
        library().concordat_transform(self._rows.ctypes.data, primes, place, out.ctypes.data)
        return out

    def coefficients(self, values: Slots) -> Slots:
        """The coefficients, between -t/2 and t/2, of the plaintext with these slots."""
        t = self.plan.plain_modulus
        words = aligned((self.degree,))
        words[self._slot_places] = (values % t).astype(np.uint64)
        library().concordat_inverse(self._plain.ctypes.data, words.ctypes.data)
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

    def rotation_key(self, digits: list[Words], steps: int) -> RotationKey:
        """A key of a row rotation."""
        places = automorphism_places(rotation_element(steps, self.degree), self.degree)
        return RotationKey(self.switch_key(digits), places)

    def rotate(self, value: Words, key: RotationKey, addend: Words | None = None) -> Words:
        """Rotate both rows of a ciphertext to the left, and add another ciphertext."""
        shape = self._shape(value)
        out = aligned(shape)
        parts, _scratch = self._switch(shape[1], key.words)
        places = address(key.places, (self.degree,), np.uint32)
        other = None if addend is None else address(addend, shape, np.uint64)
        source = address(value, shape, np.uint64)
        library().concordat_rotate(ctypes.byref(parts), places, source, other, out.ctypes.data)
        return out

    def product(self, left: Words, right: Words, key: Words) -> Words:
        """The product of two ciphertexts, relinearised."""
        shape = self._shape(left)
        out = aligned(shape)
        parts, _scratch = self._switch(shape[1], key)
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
        library().concordat_times(self._rows.ctypes.data, shape[1], source, factor, *lengths, out.ctypes.data)
        return out

    def add_into(self, total: Words, term: Words) -> Words:
        """Add a ciphertext, or a transformed plaintext, into a ciphertext."""
        shape = self._shape(total)
        target = address(total, shape, np.uint64, written=True)
        halves = 2 if term.ndim == 3 else 1
        source = address(term, shape if halves == 2 else shape[1:], np.uint64)
        library().concordat_add(self._rows.ctypes.data, shape[1], halves, target, source)
        return total

    def drop(self, value: Words) -> Words:
        """Switch a ciphertext down by one prime."""
        shape = self._shape(value)
        out, scratch = aligned((2, shape[1] - 1, self.degree)), self._scratch(3)
        library().concordat_drop(
            self._rows.ctypes.data,
            self._plain.ctypes.data,
            shape[1],
            self._last_drops[shape[1]].ctypes.data,
            address(value, shape, np.uint64),
            scratch.ctypes.data,
            out.ctypes.data,
        )
        return out

    def _shape(self, value: Words) -> tuple[int, int, int]:
        level = value.shape[1] if value.ndim == 3 else 0
        if not 2 <= level <= self.plan.levels:
            raise ValueError("the kernel computes at two primes or more")
        return (2, level, self.degree)

    def _switch(self, level: int, key: Words) -> tuple[Switch, Words]:
        scratch = self._scratch(7 * level + 4)
        parts = Switch(
            self._rows.ctypes.data,
            self._plain.ctypes.data,
            level,
            self.plan.levels,
            address(key, self.key_shape, np.uint64),
            self.plan.levels,
            self._special_drops.ctypes.data,
            scratch.ctypes.data,
        )
        return parts, scratch

    def _scratch(self, rows: int) -> Words:
        return aligned((rows, self.degree + ROW_SPARE))

    # -- sums of products --

    def rotations(self, probe: Words, key: RotationKey | None) -> Rotations:
        """The probe rotated by 0, 1, 2, ...: the words of all, as the sums read them."""
        plan, result = self.plan, aligned(self._rotations_shape)
        current = np.ascontiguousarray(probe).reshape(2, self.level, self.degree)
        encoding, _ = self._encoding()
        for baby in range(plan.baby_steps):
            if baby and key is not None:
                current = self.rotate(current, key)
            library().concordat_place(ctypes.byref(encoding), current.ctypes.data, baby, result.ctypes.data)
        return result

    def encode(self, templates: NDArray[np.int8], out: Words | None = None) -> Words:
        """The diagonals of a block, transformed, in the order in which the sums read them."""
        block = aligned(self.block_shape) if out is None else out
        place = address(block, self.block_shape, np.uint64, written=True)
        encoding, _scratch = self._encoding()
        entries = self._templates(templates)
        library().concordat_encode(ctypes.byref(encoding), entries.ctypes.data, place)
        return block

    def sums(self, rotations: list[Rotations], block: Words) -> list[Words]:
        """For each probe and giant step the sum of products with the diagonals; the block is read once."""
        encoding, _scratch = self._encoding()
        place = address(block, self.block_shape, np.uint64)
        partials, sources, targets = self._many(rotations)
        library().concordat_sums(ctypes.byref(encoding), place, len(rotations), sources, targets)
        return partials

    def sums_once(self, rotations: list[Rotations], templates: NDArray[np.int8]) -> list[Words]:
        """The same for a block that is not kept encoded."""
        encoding, _scratch = self._encoding()
        entries = self._templates(templates)
        partials, sources, targets = self._many(rotations)
        library().concordat_sums_once(
            ctypes.byref(encoding), entries.ctypes.data, len(rotations), sources, targets
        )
        return partials

    def total(self, partials: Words, key: RotationKey | None) -> Words:
        """The sum of the partial sums, each rotated to its place, one prime dropped."""
        total = partials[-1]
        for partial in partials[-2::-1]:
            assert key is not None
            total = self.rotate(total, key, partial)
        return self.drop(total)

    def _many(self, rotations: list[Rotations]) -> tuple[list[Words], Any, Any]:
        partials = [aligned(self._partials_shape) for _ in rotations]
        pointers = ctypes.c_void_p * len(rotations)
        sources = pointers(*(address(one, self._rotations_shape, np.uint64) for one in rotations))
        targets = pointers(*(one.ctypes.data for one in partials))
        return partials, sources, targets

    def _templates(self, templates: NDArray[np.int8]) -> NDArray[np.int8]:
        entries = np.ascontiguousarray(templates)
        address(entries, (self.degree, self.plan.profile.n), np.int8)
        return entries

    def _encoding(self) -> tuple[Encoding, Any]:
        """What C wants to know of the plan, and the memory that it points to."""
        plan = self.plan
        coefficients = aligned((plan.baby_steps, self.degree), np.int32)
        scratch = self._scratch(plan.baby_steps)
        parts = Encoding(
            self._rows.ctypes.data,
            self._plain.ctypes.data,
            self.level,
            plan.profile.n,
            plan.centring.scale,
            plan.baby_steps,
            plan.giant_steps,
            self._slot_places.ctypes.data,
            coefficients.ctypes.data,
            scratch.ctypes.data,
        )
        return parts, (coefficients, scratch)


@dataclass(frozen=True)
class RotationKey:
    """The words of one rotation key, and the permutation that goes with it."""

    words: Words
    places: NDArray[np.uint32]
