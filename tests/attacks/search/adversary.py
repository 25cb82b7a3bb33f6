"""A requester who does not keep to the rules: any slots, any noise, any keys, and every look at the answer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from math import log2, prod

import numpy as np
from numpy.typing import NDArray
from searching import Templates

from crypto.hitsearch import Plan, Requester
from crypto.hitsearch.keyset import pack_polynomial, unpack_answer, unpack_polynomial
from crypto.hitsearch.modular import add, multiply, negate
from crypto.hitsearch.packing import Slots, Words
from crypto.hitsearch.parameters import SEED_BYTES

Numbers = Sequence[int] | NDArray[np.int64] | NDArray[np.object_]


class Transform:
    """The transform between coefficients and NTT words at one prime, in the order of SEAL, in numpy alone.

    Args:
        prime: 1 modulo twice the degree.
        root: The first NTT word of the polynomial X.
    """

    def __init__(self, prime: int, root: int, degree: int) -> None:
        self._prime = prime
        order = _bit_reversed(degree)
        self._forward = _powers(root, prime, degree)[order]
        self._backward = _powers(pow(root, -1, prime), prime, degree)[order]

    def words(self, coefficients: Words) -> Words:
        """NTT words of a polynomial with coefficients below the prime."""
        q, values, count = self._prime, coefficients, 1
        while count < len(values):
            pairs = values.reshape(count, 2, -1)
            high = multiply(pairs[:, 1], self._forward[count : 2 * count, None], q)
            values = np.stack([add(pairs[:, 0], high, q), add(pairs[:, 0], negate(high, q), q)], axis=1)
            values, count = values.reshape(-1), 2 * count
        return values

    def coefficients(self, words: Words) -> Words:
        """The polynomial of these NTT words."""
        q, values, count = self._prime, words, len(words) // 2
        while count:
            pairs = values.reshape(count, 2, -1)
            total = add(pairs[:, 0], pairs[:, 1], q)
            rest = add(pairs[:, 0], negate(pairs[:, 1], q), q)
            values = np.stack([total, multiply(rest, self._backward[count : 2 * count, None], q)], axis=1)
            values, count = values.reshape(-1), count // 2
        return multiply(values, pow(len(values), -1, q), q)


def _bit_reversed(count: int) -> NDArray[np.intp]:
    order = np.zeros(1, dtype=np.intp)
    while len(order) < count:
        order = np.concatenate([2 * order, 2 * order + 1])
    return order


def _powers(base: int, prime: int, count: int) -> Words:
    powers = np.ones(1, dtype=np.uint64)
    while len(powers) < count:
        powers = np.concatenate([powers, multiply(powers, pow(base, len(powers), prime), prime)])
    return powers


class Adversary(Requester):
    """Knows its own secret key, makes what it likes of it, and opens answers without asking about their noise."""

    @classmethod
    @lru_cache
    def of(cls, plan: Plan) -> Adversary:
        """One key set for all attacks of a run; always the same, so that runs repeat."""
        return cls(plan, bytes(range(32)))

    @cached_property
    def primes(self) -> tuple[int, ...]:
        """All data primes and the special prime."""
        return (*self.plan.data_primes, self.plan.special_prime)

    @cached_property
    def transforms(self) -> list[Transform]:
        """One a prime."""
        degree = self.plan.degree
        x = np.zeros(degree, dtype=np.int64)
        x[1] = 1
        roots = self._bgv.ntt_words(x).reshape(-1, degree)[:, 0]
        return [Transform(q, int(root), degree) for q, root in zip(self.primes, roots, strict=True)]

    def secret_at(self, place: int) -> Words:
        """NTT words of the secret key at a prime."""
        return self._maker.secret_words.reshape(-1, self.plan.degree)[place]

    def words_at(self, coefficients: Numbers, place: int) -> Words:
        """NTT words at a prime of a polynomial of any integers."""
        reduced = np.array([int(c) % self.primes[place] for c in coefficients], dtype=np.uint64)
        return self.transforms[place].words(reduced)

    def encrypt_noisy(self, slots: Slots, noise: Numbers, seed: bytes = bytes(32)) -> bytes:
        """A probe with t times this noise beside its own."""
        plan = self.plan
        honest = self.encrypt_slots(slots, seed)
        words = unpack_polynomial(honest[SEED_BYTES:], plan.data_primes, plan.degree)
        more = [int(c) * plan.plain_modulus for c in noise]
        rows = [
            add(row, self.words_at(more, place), q)
            for place, (row, q) in enumerate(
                zip(words.reshape(-1, plan.degree), plan.data_primes, strict=True)
            )
        ]
        return honest[:SEED_BYTES] + pack_polynomial(np.concatenate(rows), plan.data_primes, plan.degree)

    def read(self, answer: bytes) -> tuple[Slots, Slots]:
        """Values and tokens of an answer block, whatever its noise."""
        hits, tokens = (
            self._bgv.decrypt(self._secret, self._bgv.load_full(words, 1))
            for words in unpack_answer(answer, self.plan)
        )
        return hits, tokens

    def noises(self, answer: bytes) -> list[NDArray[np.int64]]:
        """The noise of both ciphertexts of an answer: each coefficient of what decrypts, without its value."""
        found = []
        for words in unpack_answer(answer, self.plan):
            phase = self.phase(words, 1)[0].astype(np.int64)
            q, t = self.plan.data_primes[0], self.plan.plain_modulus
            centred = np.where(phase > q // 2, phase - q, phase)
            found.append((centred - (centred + t // 2) % t + t // 2) // t)
        return found

    def noise_bits(self, answer: bytes) -> list[float]:
        """log2 of the spread of both noises, of an answer in full or of one that was never flooded."""
        if len(answer) == self.plan.answer_block_bytes:
            return [float(np.log2(noise.std())) for noise in self.noises(answer)]
        words = np.frombuffer(answer, dtype="<u8").astype(np.uint64).reshape(2, -1)
        return [self.large_noise_bits(one, self.plan.guard_level) for one in words]

    def large_noise_bits(self, words: Words, level: int) -> float:
        """log2 of the spread of a ciphertext's coefficients at a level of several primes."""
        modulus = prod(self.primes[:level])
        total = np.zeros(self.plan.degree, dtype=object)
        for residues, q in zip(self.phase(words, level), self.primes, strict=False):
            others = modulus // q
            total += residues.astype(object) * (others * pow(others, -1, q))
        total %= modulus
        centred = [int(c) if 2 * int(c) < modulus else int(c) - modulus for c in total]
        return log2(sum(c * c for c in centred) / len(centred)) / 2

    def phase(self, words: Words, level: int) -> list[Words]:
        """Coefficients of c0 + c1 s, prime by prime."""
        first, second = words.reshape(2, level, self.plan.degree)
        return [
            self.transforms[i].coefficients(
                add(first[i], multiply(second[i], self.secret_at(i), self.primes[i]), self.primes[i])
            )
            for i in range(level)
        ]


def scores_of(slots: Slots, block: Templates, plan: Plan) -> Slots:
    """What the responder's scores are modulo t for any slots, repeated or not."""
    rows = slots.reshape(2, -1)
    columns = np.arange(plan.degree)
    total = np.zeros(plan.degree, dtype=np.int64)
    for k in range(plan.profile.n):
        moved = np.roll(rows, -k, axis=1).reshape(-1)
        total += moved * block[columns, (columns + k) % plan.profile.n]
    return total % plan.plain_modulus


def accepted(scores: Slots, plan: Plan) -> NDArray[np.bool_]:
    """Where the threshold polynomial vanishes."""
    centring, t = plan.centring, plan.plain_modulus
    u = (centring.scale * scores - centring.offset) % t
    return np.isin(u * u % t, [root % t for root in centring.roots])
