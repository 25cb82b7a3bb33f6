"""Keys from a secret: the same 32 bytes give the same secret key and the same evaluation keys, to the byte.

Source: specs/matching.md, section 2.
"""

from __future__ import annotations

from itertools import chain, count

import numpy as np

from crypto.contexts import Context, hash_fields
from crypto.hitsearch.keyset import (
    KeyName,
    KeyPart,
    KeySet,
    key_names,
    public_part,
    uniform_half,
)
from crypto.hitsearch.modular import add, multiply, negate
from crypto.hitsearch.packing import Slots, Words
from crypto.hitsearch.sampling import is_steady, small_errors, ternary
from crypto.hitsearch.seal import Bgv
from crypto.hitsearch.transforms import transforms_for


def automorphism(coefficients: Slots, element: int) -> Slots:
    """The polynomial with X replaced by X^element."""
    degree = len(coefficients)
    places = np.arange(degree) * element % (2 * degree)
    result = np.zeros(degree, dtype=np.int64)
    result[places % degree] = np.where(places >= degree, -coefficients, coefficients)
    return result


class KeyMaker:
    """Samples of zero under one secret key, and the evaluation keys made of them.

    Args:
        bgv: A context of the plan.
        secret: 32 bytes from the operating system.
        use_kernel: False to transform through SEAL where the kernel is built, too: the same keys.
    """

    def __init__(self, bgv: Bgv, secret: bytes, *, use_kernel: bool = True) -> None:
        self.transforms = transforms_for(bgv, use_kernel=use_kernel)
        self.plan = bgv.plan
        self._secret = secret
        self._coefficients = self._steady_key()
        self.secret_words = self.transforms.ntt_words(self._coefficients)

    def _derive(self, label: bytes) -> bytes:
        return hash_fields(Context.KEY_STREAM, self._secret, label)

    def _steady_key(self) -> Slots:
        """The first steady key of the secret: with others, noise would outgrow the plan."""
        labels = chain([b"secret key"], (b"secret key/%d" % number for number in count(1)))
        drawn = (ternary(self._derive(label), self.plan.degree) for label in labels)
        return next(key for key in drawn if is_steady(key))

    def _rows(self, words: Words, primes: tuple[int, ...]) -> list[Words]:
        """The words at some of the primes, from those at all data primes and the special prime."""
        everything = (*self.plan.data_primes, self.plan.special_prime)
        rows = words.reshape(len(everything), self.plan.degree)
        return [rows[everything.index(prime)] for prime in primes]

    def sample_of_zero(self, seed: bytes, part: KeyPart, error_label: bytes) -> list[Words]:
        """``t*e - a*s`` at each prime of a part, where a expands from the public seed and e from the secret."""
        plan = self.plan
        uniform = uniform_half(seed, part, plan.degree).reshape(len(part.primes), plan.degree)
        errors = self.transforms.ntt_words(small_errors(self._derive(error_label), plan.degree))
        rows = []
        for a, e, s, q in zip(
            uniform,
            self._rows(errors, part.primes),
            self._rows(self.secret_words, part.primes),
            part.primes,
            strict=True,
        ):
            rows.append(add(multiply(e, plan.plain_modulus, q), negate(multiply(a, s, q), q), q))
        return rows

    def _switching_key(self, name: KeyName, seed: bytes) -> list[Words]:
        """First halves of a key's digits: samples of zero, digit i plus P times the other key at prime i."""
        plan = self.plan
        primes = plan.data_primes[: name.levels]
        digits = []
        for part, other, prime in zip(name.parts(plan), self._other_key(name, primes), primes, strict=True):
            rows = self.sample_of_zero(seed, part, b"error/" + part.label)
            scaled = multiply(other, plan.special_prime % prime, prime)
            rows[part.digit] = add(rows[part.digit], scaled, prime)
            digits.append(np.concatenate(rows))
        return digits

    def _other_key(self, name: KeyName, primes: tuple[int, ...]) -> list[Words]:
        """What the key switches from, prime by prime: the square of the secret key, or its automorphism."""
        if name.element == 0:
            rows = self._rows(self.secret_words, primes)
            return [multiply(row, row, prime) for row, prime in zip(rows, primes, strict=True)]
        moved = automorphism(self._coefficients, name.element)
        return self._rows(self.transforms.ntt_words(moved), primes)

    def evaluation_keys(self) -> KeySet:
        """The one key set of this secret."""
        plan = self.plan
        seed = self._derive(b"public seed")
        public = np.concatenate(self.sample_of_zero(seed, public_part(plan), b"error/public"))
        return KeySet(seed, public, [self._switching_key(name, seed) for name in key_names(plan)])
