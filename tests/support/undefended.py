"""Responders with one defence of the probe switched off, for attacks that must be seen to work without it."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import ClassVar, Self

import numpy as np
import tenseal.sealapi as sealapi

from crypto.hitsearch import MaskStream, Plan, Responder
from crypto.hitsearch.containers import MemoryFile
from crypto.hitsearch.guards import Guards, Validity, Weights
from crypto.hitsearch.noise import uniform_plain_bits
from crypto.hitsearch.parameters import SUM_RADIX
from crypto.hitsearch.seal import Ciphertext, shared_context


class Undefended(Responder):
    """A responder that shares the keys of another and leaves something out."""

    validity: ClassVar[type[Validity]] = Validity

    @classmethod
    def of(cls, whole: Responder) -> Self:
        """The same responder without the defence."""
        other = copy.copy(whole)
        other.__class__ = cls
        inner = whole._validity
        other._validity = cls.validity(inner._bgv, inner._relin, inner._guard)
        return other

    def _nothing(self, stream: MaskStream) -> Ciphertext:
        return self._zeros.fresh(stream, b"in place of a guard", self.plan.guard_level)


class NoValidity(Undefended):
    """Any slots are searched for."""

    def _guard(self, probe: Ciphertext, stream: MaskStream) -> Guards:
        nothing = self._nothing(stream)
        return replace(super()._guard(probe, stream), validity=(nothing, nothing))


class NoCanary(Undefended):
    """Any noise is searched with."""

    def _guard(self, probe: Ciphertext, stream: MaskStream) -> Guards:
        return replace(super()._guard(probe, stream), canary=self._nothing(stream))


def known_scalar(plan: Plan) -> int:
    """A factor that enlarges noise as much as the canary's secret ones together, and that everybody knows."""
    return (1 << plan.canary_scale_bits + int(2 * uniform_plain_bits(plan.degree))) + 1


class KnownCanary(Undefended):
    """The canary is enlarged by one known number, instead of a secret one and secret polynomials."""

    def _guard(self, probe: Ciphertext, stream: MaskStream) -> Guards:
        bgv, plan = self._bgv, self.plan
        scale = bgv.number_ntt(plan.plain_modulus * known_scalar(plan), plan.levels)
        known = bgv.drop_to(bgv.times_plain(probe, scale), plan.guard_level)
        return replace(super()._guard(probe, stream), canary=known)

    def _spoil(self, masked: Ciphertext, guards: Guards, stream: MaskStream, label: bytes) -> Ciphertext:
        others = replace(guards, canary=self._nothing(stream))
        return self._bgv.add(super()._spoil(masked, others, stream, label), guards.canary)


class NoRerandomising(Undefended):
    """The search starts from the requester's own words."""

    def _rerandomise(self, probe: Ciphertext, stream: MaskStream) -> Ciphertext:
        return probe


class SealFiles(Undefended):
    """Takes probes as files of SEAL."""

    def _rebuild(self, query: bytes) -> Ciphertext:
        bgv, probe = shared_context(self.plan), sealapi.Ciphertext()
        with MemoryFile(query) as file:
            probe.load(bgv.context, file.path)
        return self._bgv.load_full(bgv.words_of(probe, self.plan.levels), self.plan.levels)


class _RangeUnchecked(Validity):
    """Looks at the range of the last slot only: SEAL refuses a product with nothing but zeros."""

    def _draw_weights(self, stream: MaskStream, name: bytes) -> Weights:
        last = np.zeros(self.plan.degree, dtype=np.int64)
        last[-1] = 1
        return replace(super()._draw_weights(stream, name), range=last)


class NoRange(Undefended):
    """Entries may have any size."""

    validity = _RangeUnchecked


class _EqualRanges(Validity):
    def _draw_weights(self, stream: MaskStream, name: bytes) -> Weights:
        return replace(super()._draw_weights(stream, name), range=np.ones(self.plan.degree, dtype=np.int64))


class EqualRanges(Undefended):
    """The range check of all slots is summed up without random factors."""

    validity = _EqualRanges


class _RepetitionUnchecked(Validity):
    """Compares one entry of the first two periods only."""

    def _draw_weights(self, stream: MaskStream, name: bytes) -> Weights:
        pair = np.zeros(self.plan.degree, dtype=np.int64)
        pair[0], pair[self.plan.profile.n] = 1, self.plan.plain_modulus - 1
        return replace(super()._draw_weights(stream, name), repetition=pair)


class NoRepetition(Undefended):
    """Slots may hold several probes."""

    validity = _RepetitionUnchecked


class _Remembering(Validity):
    """Keeps the factors of the norm, so that what they contribute can be taken away again."""

    norms: tuple[int, ...] = ()

    def _draw_weights(self, stream: MaskStream, name: bytes) -> Weights:
        weights = super()._draw_weights(stream, name)
        self.norms = (*self.norms, weights.norm)[-2:]
        return weights

    def _plus_norms(self, value: Ciphertext, periods: int) -> Ciphertext:
        """Take so many periods less for granted."""
        guard, plan = self._guard.bgv, self.plan
        sums = np.repeat(np.array(self.norms) * periods * plan.profile.norm, plan.degree // 2)
        return guard.plus_plain(value, guard.encode(sums % plan.plain_modulus))


class _NormUnchecked(_Remembering):
    def _weighted(self, probe, *others):  # type: ignore[no-untyped-def]
        bgv, level = self._bgv, self.plan.levels - 1
        squares, _, upper, lower, half = others[-5:]
        whole = super()._weighted(probe, *others)
        norm = bgv.encode_ntt(-np.repeat(np.array([upper.norm, lower.norm]), half), level)
        return bgv.add(whole, bgv.drop_to(bgv.times_plain(squares, norm), self.plan.guard_level))

    def _sum_rows(self, value: Ciphertext) -> Ciphertext:
        plan = self.plan
        return self._plus_norms(super()._sum_rows(value), plan.degree // plan.profile.n)


class NoNorm(Undefended):
    """The squares may sum to anything."""

    validity = _NormUnchecked


class _WindowSum(_Remembering):
    """Every slot sums what its own score depends on: the n slots from it on, in both rows.

    What a probe must repeat is then compared slot by slot: with the slot one period on, and with the other row's.
    """

    def check(self, probe: Ciphertext, stream: MaskStream) -> tuple[Ciphertext, Ciphertext]:
        guard, level = self._guard.bgv, self.plan.guard_level
        low = guard.load_full(self._bgv.words_of(self._bgv.drop_to(probe, level), level), level)
        further = low
        step = max(s for s in self.plan.sum_steps if s <= self.plan.profile.n)
        for _ in range(self.plan.profile.n // step):
            further = guard.rotate(further, step, self._guard.galois)
        opposite = guard.exchange_rows(low, self._guard.galois)
        minus = guard.constant_ntt(-1, level)
        self._differences = [
            guard.times_plain(guard.add(low, guard.times_plain(other, minus)), self._factor(stream, name))
            for name, other in ((b"period", further), (b"row", opposite))
        ]
        weight = guard.encode_ntt(-self._first_slots(), level)
        self._differences.append(guard.times_plain(guard.add(low, opposite), weight))
        return super().check(probe, stream)

    def _factor(self, stream: MaskStream, name: bytes) -> object:
        values = stream.digits(b"window/" + name, self.plan.degree, self.plan.plain_modulus)
        return self._guard.bgv.uniform_ntt(values, self.plan.guard_level)

    def _draw_weights(self, stream: MaskStream, name: bytes) -> Weights:
        return replace(super()._draw_weights(stream, name), repetition=self._first_slots())

    def _first_slots(self) -> np.ndarray:
        """Weights in place of those of whole rows, taken away again: SEAL refuses a product with nothing but zeros."""
        weights = np.zeros(self.plan.degree, dtype=np.int64)
        weights[[0, self.plan.degree // 2]] = 1
        return weights

    def _sum_rows(self, value: Ciphertext) -> Ciphertext:
        guard, n = self._guard.bgv, self.plan.profile.n
        for difference in self._differences:
            value = guard.add(value, difference)
        for step in self.plan.sum_steps:
            for times in range(1, SUM_RADIX // 2 + 1):
                if times * step < n:
                    other = value
                    for _ in range(times):
                        other = guard.rotate(other, step, self._guard.galois)
                    value = guard.add(value, other)
        return self._plus_norms(value, self.plan.degree // n - 2)


class WindowSum(Undefended):
    """The validity check sums windows instead of whole rows."""

    validity = _WindowSum
