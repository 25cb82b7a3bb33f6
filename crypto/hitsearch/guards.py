"""What the responder computes once a query against a dishonest requester: probe validity, and the noise canary.

Both are ciphertexts that decrypt to zero for a well-formed probe with honest noise, and to uniform values otherwise.
Fresh random multiples of them are added to every ciphertext of the answer, so that a bad probe spoils every slot.

Source: specs/matching.md, section 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from crypto.hitsearch.arithmetic import Arithmetic, Ciphertext
from crypto.hitsearch.masks import MaskStream
from crypto.hitsearch.packing import Slots, Words
from crypto.hitsearch.parameters import SUM_RADIX, Plan
from crypto.hitsearch.primes import is_prime

CANARY_FACTORS: Final = 5


@dataclass(frozen=True)
class Guards:
    """Ciphertexts at the guard level.

    Attributes:
        validity: The first check in all slots of row 0 and the second in row 1, and the same with the rows exchanged.
        canary: An encryption of zero whose noise is the probe's, greatly enlarged.
    """

    validity: tuple[Ciphertext, Ciphertext]
    canary: Ciphertext


@dataclass(frozen=True)
class GuardKeys:
    """Arithmetic of the last primes, where the slot sum happens, and its keys."""

    bgv: Arithmetic
    galois: Any


@dataclass(frozen=True)
class Weights:
    """Random factors of one check, by slot: of the range, of the repetition, and of the norm."""

    range: Slots
    repetition: Slots
    norm: int


class Validity:
    """The check that a probe is a well-formed template, repeated over all slots.

    With p the slots of the probe, one check is the sum over all slots s of
    ``range_s * f(p_s) + repetition_s * p_s + norm * p_s^2``, minus ``norm * (N/n) * S``,
    where f vanishes on [-a, a] only.
    """

    def __init__(self, bgv: Arithmetic, relin: Any, guard: GuardKeys) -> None:
        self._bgv = bgv
        self._relin = relin
        self._guard = guard
        self.plan = bgv.plan

    def check(self, probe: Ciphertext, stream: MaskStream) -> tuple[Ciphertext, Ciphertext]:
        """Two independent checks, one a row, and the same with the rows exchanged."""
        bgv, plan, guard = self._bgv, self.plan, self._guard.bgv
        first, second = (self._draw_weights(stream, name) for name in (b"0", b"1"))
        half = plan.degree // 2
        squares = bgv.product(probe, probe, self._relin)
        quadratics = self._quadratics(squares)
        # Row 0 of the sum gathers the first check over both rows, row 1 the second.
        low = bgv.drop_to(probe, plan.levels - 1)
        sums = [
            self._weighted(probe, low, squares, quadratics, *pair, half)
            for pair in ((first, second), (second, first))
        ]
        straight, crossed = (
            guard.load_full(bgv.words_of(one, plan.guard_level), plan.guard_level) for one in sums
        )
        total = guard.add(straight, guard.exchange_rows(crossed, self._guard.galois))
        total = self._sum_rows(total)
        wanted = [-w.norm * (plan.degree // plan.profile.n) * plan.profile.norm for w in (first, second)]
        total = guard.plus_plain(total, guard.encode(np.repeat(np.array(wanted), half) % plan.plain_modulus))
        exchanged = guard.exchange_rows(total, self._guard.galois)
        back = [
            bgv.load_full(guard.words_of(one, plan.guard_level), plan.guard_level)
            for one in (total, exchanged)
        ]
        return back[0], back[1]

    def _draw_weights(self, stream: MaskStream, name: bytes) -> Weights:
        t, n = self.plan.plain_modulus, self.plan.profile.n
        in_range = stream.digits(b"validity/range/" + name, self.plan.degree, t).astype(np.int64)
        drawn = stream.digits(b"validity/repetition/" + name, self.plan.degree, t)
        repetition = drawn.astype(np.int64).reshape(-1, n)
        # Orthogonal to every vector of period n in both rows, and uniform among those.
        repetition[-1] = -repetition[:-1].sum(axis=0) % t
        norm = int(stream.digits(b"validity/norm/" + name, 1, t)[0])
        return Weights(in_range, repetition.reshape(-1), norm)

    def _quadratics(self, squares: Ciphertext) -> list[Ciphertext]:
        """With u = p^2: (u - v^2)(u - (v+1)^2) for the pairs of entries up to the bound."""
        bgv, bound = self._bgv, self.plan.profile.bound
        if bound < 2:
            return []
        fourth = bgv.product(squares, squares, self._relin)
        low = bgv.drop_to(squares, self.plan.levels - 2)
        result = []
        for v in range(1 + bound % 2, bound, 2):
            a, b = v * v, (v + 1) * (v + 1)
            linear = bgv.times_plain(low, bgv.constant_ntt(-(a + b), self.plan.levels - 2))
            result.append(bgv.plus_plain(bgv.add(fourth, linear), bgv.constant(a * b)))
        return result

    def _weighted(
        self,
        probe: Ciphertext,
        low: Ciphertext,
        squares: Ciphertext,
        quadratics: list[Ciphertext],
        upper: Weights,
        lower: Weights,
        half: int,
    ) -> Ciphertext:
        """The weighted terms of every slot at the guard level: one check's weights in row 0, the other's in row 1."""
        bgv, plan = self._bgv, self.plan
        top = plan.levels

        def rows(of_upper: Slots, of_lower: Slots) -> Slots:
            return np.concatenate([of_upper[:half], of_lower[half:]])

        in_range = bgv.encode_ntt(rows(upper.range, lower.range), top)
        value = bgv.drop_to(bgv.times_plain(probe, in_range), top - 1)
        level = top - 1
        if plan.profile.bound % 2:
            value = bgv.product(value, bgv.plus_plain(squares, bgv.constant(-1)), self._relin)
            level -= 1
        for factor in self._range_factors(quadratics):
            level = min(level, factor[1])
            value = bgv.product(bgv.drop_to(value, level), bgv.drop_to(factor[0], level), self._relin)
            level -= 1
        repetition = bgv.encode_ntt(rows(upper.repetition, lower.repetition), top - 1)
        norm = bgv.encode_ntt(np.repeat(np.array([upper.norm, lower.norm]), half), top - 1)
        linear = bgv.times_plain(low, repetition)
        linear = bgv.add_into(linear, bgv.times_plain(squares, norm))
        return bgv.drop_to(bgv.add(value, bgv.drop_to(linear, level)), plan.guard_level)

    def _range_factors(self, quadratics: list[Ciphertext]) -> list[tuple[Ciphertext, int]]:
        """The quadratics as one factor and its level."""
        if not quadratics:
            return []
        level = self.plan.levels - 2
        product = quadratics[0]
        for quadratic in quadratics[1:]:
            product = self._bgv.product(product, self._bgv.drop_to(quadratic, level), self._relin)
            level -= 1
        return [(product, level)]

    def _sum_rows(self, value: Ciphertext) -> Ciphertext:
        """Every slot becomes the sum of its row."""
        bgv, galois = self._guard.bgv, self._guard.galois
        row = self.plan.degree // 2
        for step in self.plan.sum_steps:
            value = bgv.add(value, bgv.rotate(value, step, galois))
            if step * SUM_RADIX <= row:
                further = bgv.rotate(bgv.rotate(value, step, galois), step, galois)
                value = bgv.add(value, further)
        return value


def canary_scale(stream: MaskStream, plan: Plan) -> int:
    """M0: a product of random primes near ``2^canary_scale_bits``.

    A scalar with a small factor k would not see noise that is a fraction j/k of the modulus; no use of such is known.
    """
    bits = plan.canary_scale_bits // CANARY_FACTORS
    product, number = 1, 0
    for _ in range(CANARY_FACTORS - 1):
        number, prime = _draw_prime(stream, number, 1 << (bits - 1), 1 << bits)
        product *= prime
    middle = (1 << plan.canary_scale_bits) // product
    _, prime = _draw_prime(stream, number, middle * 15 // 16, middle * 17 // 16)
    return product * prime


def _draw_prime(stream: MaskStream, number: int, low: int, high: int) -> tuple[int, int]:
    """The first prime of the stream within [low, high), and the number of the next draw."""
    width = high - low
    while True:
        candidate = low + stream.number(b"canary/prime/%d" % number, width.bit_length() + 32) % width
        number += 1
        if is_prime(candidate):
            return number, candidate


def canary(bgv: Arithmetic, probe: Ciphertext, stream: MaskStream) -> Ciphertext:
    """``t * M0 * mu0 * probe`` at the guard level: zero, unless the probe's noise wraps around the modulus.

    M0 and the polynomial mu0 are secret and fresh: a requester who knew them could choose noise that they cancel.
    """
    plan = bgv.plan
    t, top = plan.plain_modulus, plan.levels
    mu0 = bgv.uniform_ntt(stream.digits(b"canary/polynomial", plan.degree, t), top)
    scale = bgv.number_ntt(t * canary_scale(stream, plan), top)
    return bgv.drop_to(bgv.times_plain(bgv.times_plain(probe, mu0), scale), plan.guard_level)


def spoilers(bgv: Arithmetic, guards: Guards, stream: MaskStream, label: bytes) -> Ciphertext:
    """What is added to one ciphertext of the answer: fresh random multiples of the guards, at the guard level.

    The factors are uniform including zero and differ by slot, by check and by ciphertext.
    """
    plan = bgv.plan

    def factor(name: bytes) -> Any:
        values: Words = stream.digits(b"guard/" + name + b"/" + label, plan.degree, plan.plain_modulus)
        return bgv.uniform_ntt(values, plan.guard_level)

    total = bgv.times_plain(guards.validity[0], factor(b"0"))
    total = bgv.add_into(total, bgv.times_plain(guards.validity[1], factor(b"1")))
    return bgv.add_into(total, bgv.times_plain(guards.canary, factor(b"canary")))
