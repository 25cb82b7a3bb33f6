"""Arithmetic modulo a prime in numpy gives what Python's integers give, to the edges of the words."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.hitsearch.modular import MAX_PRIME_BITS, add, multiply, negate
from crypto.hitsearch.primes import friendly_primes, is_prime


def primes_of(bits: int) -> list[int]:
    """The smallest and the largest prime of that size."""
    low = next(n for n in range((1 << (bits - 1)) + 1, 1 << bits, 2) if is_prime(n))
    high = next(n for n in range((1 << bits) - 1, 1 << (bits - 1), -2) if is_prime(n))
    return [low, high]


PRIMES = [q for bits in (34, 39, 47, 48, 49, 52, 55, 56, 59, 60, 61) for q in primes_of(bits)]


def edges(prime: int) -> list[int]:
    """Words around zero, the prime, its halves and roots, and powers of two."""
    root = round(prime**0.5)
    near = [0, 1, 2, prime - 1, prime - 2, prime // 2, prime // 2 + 1, root - 1, root, root + 1]
    powers = [(1 << b) + d for b in range(1, 62) for d in (-1, 0, 1)]
    return sorted({w for w in (*near, *powers, *(prime - p for p in powers)) if 0 <= w < prime})


def words(values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.uint64)


@pytest.mark.parametrize("prime", PRIMES, ids=lambda q: f"{q.bit_length()} bits, {q}")
def test_every_pair_of_edge_words(prime: int) -> None:
    values = edges(prime)
    left = [x for x in values for _ in values]
    right = values * len(values)
    pairs = list(zip(left, right, strict=True))
    assert multiply(words(left), words(right), prime).tolist() == [x * y % prime for x, y in pairs]
    assert add(words(left), words(right), prime).tolist() == [(x + y) % prime for x, y in pairs]
    assert negate(words(values), prime).tolist() == [-x % prime for x in values]


@pytest.mark.parametrize("prime", PRIMES, ids=lambda q: f"{q.bit_length()} bits, {q}")
def test_many_random_words(prime: int) -> None:
    rng = np.random.default_rng(prime % 2**32)
    left, right = rng.integers(0, prime, (2, 20000), dtype=np.uint64)
    expected = [int(x) * int(y) % prime for x, y in zip(left, right, strict=True)]
    assert multiply(left, right, prime).tolist() == expected


@given(st.sampled_from(PRIMES), st.data())
def test_a_number_is_a_factor_like_an_array_of_it(prime: int, data: st.DataObject) -> None:
    number = data.draw(st.integers(0, prime - 1))
    left = words(data.draw(st.lists(st.integers(0, prime - 1), min_size=1, max_size=8)))
    expected = [int(x) * number % prime for x in left]
    assert multiply(left, number, prime).tolist() == expected
    assert multiply(left, np.full(len(left), number, np.uint64), prime).tolist() == expected


def test_the_primes_of_all_plans_are_small_enough() -> None:
    assert (
        max(q.bit_length() for bits in range(34, 61) for q in friendly_primes(bits, 16384)) <= MAX_PRIME_BITS
    )
