"""Polynomials from seeds: the same seeds give the same, other seeds others, and the distributions are as stated."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import combinations
from math import comb

import numpy as np
import pytest
from searching import EMBEDDING_128

from crypto.hitsearch.keyset import key_names, public_part, query_part, uniform_half
from crypto.hitsearch.parameters import plan_for
from crypto.hitsearch.primes import friendly_primes
from crypto.hitsearch.sampling import ERROR_BITS, keystream, small_errors, ternary, uniform_polynomial

DEGREE = 1 << 14
PRIMES = (friendly_primes(34, DEGREE)[0], friendly_primes(60, DEGREE)[0])
BINS = 64


def key(number: int) -> bytes:
    return hashlib.sha256(b"key of test %d" % number).digest()


def chi_square(observed: np.ndarray, expected: np.ndarray) -> float:
    return float(((observed - expected) ** 2 / expected).sum())


def within(statistic: float, freedom: int) -> bool:
    """Six standard deviations on both sides: too even is as suspicious as too uneven."""
    return abs(statistic - freedom) < 6 * (2 * freedom) ** 0.5


SAMPLERS: list[Callable[[bytes], np.ndarray]] = [
    lambda k: ternary(k, DEGREE),
    lambda k: small_errors(k, DEGREE),
    lambda k: uniform_polynomial(k, PRIMES[1:], DEGREE).astype(np.int64),
]


@pytest.mark.parametrize("sample", SAMPLERS, ids=["ternary", "errors", "uniform"])
def test_a_seed_gives_one_polynomial_and_another_seed_another(sample: Callable[[bytes], np.ndarray]) -> None:
    first = sample(key(0))
    assert np.array_equal(first, sample(key(0)))
    centred = first - first.mean()
    other = sample(key(1))
    correlation = (centred * (other - other.mean())).mean() / (first.std() * other.std())
    assert abs(correlation) < 6 / len(first) ** 0.5


def test_ternary_coefficients_are_uniform_over_three_values() -> None:
    drawn = np.concatenate([ternary(key(i), DEGREE) for i in range(16)])
    counts = np.bincount(drawn + 1, minlength=3)
    assert len(counts) == 3
    assert within(chi_square(counts, np.full(3, len(drawn) / 3)), 2)


def test_errors_have_the_centred_binomial_distribution() -> None:
    drawn = np.concatenate([small_errors(key(i), DEGREE) for i in range(16)])
    assert abs(drawn).max() <= ERROR_BITS
    shares = np.array([comb(2 * ERROR_BITS, ERROR_BITS + v) / 4**ERROR_BITS for v in range(-12, 13)])
    counts = np.array([(drawn == v).sum() for v in range(-12, 13)])
    assert within(chi_square(counts, shares * len(drawn)), 24)
    assert abs(drawn.std() - (ERROR_BITS / 2) ** 0.5) < 0.02
    assert abs(drawn.mean()) < 6 * drawn.std() / len(drawn) ** 0.5


@pytest.mark.parametrize("prime", PRIMES)
def test_uniform_words_fill_the_whole_range(prime: int) -> None:
    drawn = np.concatenate([uniform_polynomial(key(i), (prime,), DEGREE) for i in range(8)])
    assert int(drawn.max()) < prime
    assert int(drawn.max()) > prime - prime // 10000
    assert int(drawn.min()) < prime // 10000
    counts = np.bincount((drawn.astype(np.float64) * BINS / prime).astype(int), minlength=BINS)
    assert within(chi_square(counts, np.full(BINS, len(drawn) / BINS)), BINS - 1)
    low = np.bincount((drawn % np.uint64(BINS)).astype(int), minlength=BINS)
    assert within(chi_square(low, np.full(BINS, len(drawn) / BINS)), BINS - 1)


def test_each_prime_has_words_of_its_own() -> None:
    """Not even what they were before they were taken modulo their primes is the same."""
    small, large = PRIMES
    first, second = uniform_polynomial(key(0), PRIMES, DEGREE).reshape(2, DEGREE)
    for multiple in range((1 << 64) // large):
        drawn = second + np.uint64(multiple * large)
        assert np.isin(drawn % np.uint64(small), first).mean() < 0.001
    assert np.array_equal(first, uniform_polynomial(key(0), PRIMES[:1], DEGREE))


def test_every_part_of_a_key_set_has_a_uniform_half_of_its_own() -> None:
    """Two parts that shared it would give the difference of their messages away."""
    plan = plan_for(EMBEDDING_128)
    parts = [
        public_part(plan),
        query_part(plan),
        *(part for name in key_names(plan) for part in name.parts(plan)),
    ]
    labels = [part.label for part in parts]
    assert len(set(labels)) == len(labels)
    halves = [uniform_half(key(0), part, 64)[:64] for part in (*parts[:4], parts[-1])]
    assert all((first != second).all() for first, second in combinations(halves, 2))
    assert (uniform_half(key(0), parts[0], 64) != uniform_half(key(1), parts[0], 64)).all()


def test_a_keystream_is_a_prefix_of_a_longer_one() -> None:
    assert keystream(key(0), 1000) == keystream(key(0), 5000)[:1000]
    assert keystream(key(0), 64) != keystream(key(1), 64)
