"""Fresh encryptions of zero under the requester's public key, and the noise that hides the gallery's.

Both are functions of the responder's stream, so that an audit can repeat an answer.

Source: specs/matching.md, sections 3 and 5; the bound is in specs/parameters.md, section 4.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from crypto.contexts import Context, hash_fields
from crypto.hitsearch.arithmetic import Arithmetic, Ciphertext
from crypto.hitsearch.masks import MaskStream
from crypto.hitsearch.packing import Words
from crypto.hitsearch.sampling import small_errors, ternary
from crypto.hitsearch.stages import FLOOD_DIGITS, FLOOD_UNIFORMS


class FreshZeros:
    """Encryptions of zero under a public key.

    Args:
        bgv: Arithmetic at all primes of the plan.
        first: Words of the public key's first half, at all data primes.
        second: Words of its second half.
    """

    def __init__(self, bgv: Arithmetic, first: Words, second: Words) -> None:
        self._bgv = bgv
        self._halves = (first, second)
        self._loaded: dict[int, tuple[Ciphertext, Ciphertext, Ciphertext]] = {}

    def fresh(self, stream: MaskStream, label: bytes, level: int) -> Ciphertext:
        """``(b*u + t*e0, a*u + t*e1)`` at a level, with u ternary and both errors small."""
        bgv, degree = self._bgv, self._bgv.plan.degree
        public, both, second = self._at(level)
        key = stream.key(label)
        u, e0, e1 = (hash_fields(Context.KEY_STREAM, key, name) for name in (b"u", b"e0", b"e1"))
        errors = [small_errors(e, degree) for e in (e0, e1)]
        zero = bgv.times_plain(public, bgv.small_ntt(ternary(u, degree), level))
        zero = bgv.add_into(zero, bgv.times_plain(both, bgv.small_ntt(errors[0], level)))
        return bgv.add_into(zero, bgv.times_plain(second, bgv.small_ntt(errors[1] - errors[0], level)))

    def _at(self, level: int) -> tuple[Ciphertext, Ciphertext, Ciphertext]:
        """The public key, (t, t) and (0, t) at a level: a plaintext factor then makes an error of either half."""
        if level not in self._loaded:
            bgv = self._bgv
            count, t = level * bgv.plan.degree, bgv.plan.plain_modulus
            public = bgv.load_full(np.concatenate([half[:count] for half in self._halves]), level)
            self._loaded[level] = (public, bgv.constant_pair(t, t, level), bgv.constant_pair(0, t, level))
        return self._loaded[level]


class Flood:
    """Uniform noise: t times a sum of terms, each uniform over ``t^FLOOD_DIGITS`` consecutive integers.

    Args:
        bgv: Arithmetic at all primes of the plan.
    """

    def __init__(self, bgv: Arithmetic) -> None:
        self._bgv = bgv

    def add_to(self, value: Ciphertext, stream: MaskStream, label: bytes) -> Ciphertext:
        """The value, at the level of the flooding, with fresh noise."""
        bgv, t = self._bgv, self._bgv.plan.plain_modulus
        level = bgv.plan.stage("flooding").level
        noise = bgv.constant_pair(0, 1, level)  # a second half that SEAL wants to see; taken away again below
        for group in self._digits(stream, label):
            noise = bgv.times_plain(bgv.plus_polynomials(noise, group), bgv.number_ntt(t, level))
        without = bgv.constant_pair(0, -(t**FLOOD_DIGITS), level)
        return bgv.add_into(bgv.add(value, without), noise)

    def _digits(self, stream: MaskStream, label: bytes) -> Iterator[list[Words]]:
        """The highest digits of all terms, then the next."""
        plan = self._bgv.plan
        for digit in reversed(range(FLOOD_DIGITS)):
            names = [b"flood/%s/%d/%d" % (label, uniform, digit) for uniform in range(FLOOD_UNIFORMS)]
            yield [stream.digits(name, plan.degree, plan.plain_modulus) for name in names]
