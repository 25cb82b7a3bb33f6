"""Arithmetic of ciphertexts on plain words gives what SEAL gives, at every level, also at the ends of their ranges."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from searching import EVEN_WIDTH, insecure_plan, parties, stream

from crypto.hitsearch import kernel_library as native
from crypto.hitsearch.flooding import Flood
from crypto.hitsearch.kernel import Kernel
from crypto.hitsearch.keyset import KeySet
from crypto.hitsearch.packing import Words
from crypto.hitsearch.seal import Bgv, shared_context
from crypto.hitsearch.word_arithmetic import WordArithmetic

pytestmark = pytest.mark.skipif(not native.built(), reason="there is no C compiler on this machine")

PLAN = insecure_plan(EVEN_WIDTH)
LEVELS = range(2, PLAN.levels + 1)


@pytest.fixture(params=[True, False], ids=["of this processor", "portable"], autouse=True)
def operations(request: pytest.FixtureRequest) -> Iterator[None]:
    native.choose(best=request.param)
    yield
    native.choose(best=True)


@lru_cache
def key_words(levels: int) -> dict[int, list[Words]]:
    """The words of the keys that are for so many primes, by Galois element; 0 is the relinearisation key."""
    requester, _ = parties(PLAN)
    pairs = KeySet.from_bytes(requester.evaluation_keys(), PLAN).pairs(PLAN)
    return {name.element: digits for name, digits in pairs if name.levels == levels}


class Both:
    """The same ciphertexts for SEAL and for the kernel, and what holds their results against each other."""

    def __init__(self, level: int) -> None:
        self.level = level
        whole = key_words(PLAN.levels)
        self.seal = shared_context(PLAN)
        self.relin = self.seal.load_relin_keys(whole[0])
        self.words = WordArithmetic(Kernel(PLAN))
        self.key = self.words.load_relin_keys(whole[0])
        rng = np.random.default_rng(level)
        primes = np.array(PLAN.data_primes[:level], dtype=np.uint64)[None, :, None]
        shape = (2, level, PLAN.degree)
        uniform = rng.integers(0, primes, shape, dtype=np.uint64)
        extreme = np.where(np.arange(PLAN.degree) % 3 == 0, primes - np.uint64(1), np.uint64(0))
        self.pairs: list[tuple[Any, Words]] = [
            (self.seal.load_full(words.ravel(), level), words)
            for words in (uniform, np.ascontiguousarray(np.broadcast_to(extreme, shape)))
        ]

    def same(self, ciphertext: Any, words: Words) -> bool:
        return np.array_equal(self.seal.words_of(ciphertext, words.shape[1]), words.ravel())


@pytest.mark.parametrize("level", LEVELS)
def test_products_are_those_of_seal(level: int) -> None:
    both = Both(level)
    (first, words), (second, others) = both.pairs
    for drop in (True, False):
        assert both.same(
            both.seal.product(first, second, both.relin, drop=drop),
            both.words.product(words, others, both.key, drop=drop),
        )
    assert both.same(
        both.seal.product(first, first, both.relin, drop=False),
        both.words.product(words, words, both.key, drop=False),
    )


@pytest.mark.parametrize("level", LEVELS)
def test_plaintexts_are_those_of_seal(level: int) -> None:
    both = Both(level)
    t = PLAN.plain_modulus
    slots = np.resize([0, 1, 32768, 32769, 65536, 12345], PLAN.degree)
    for ciphertext, words in both.pairs:
        before = words.copy()
        for number in (1, -1, t // 2, t // 2 + 1, 3 * t + 5):
            scaled = both.words.times_plain(words, both.words.constant_ntt(number, level))
            plain = both.seal.constant_ntt(number, level)
            assert both.same(both.seal.times_plain(ciphertext, plain), scaled)
            more = both.words.plus_plain(words, both.words.constant(number))
            assert both.same(both.seal.plus_plain(ciphertext, both.seal.constant(number)), more)
        scaled = both.words.times_plain(words, both.words.encode_ntt(slots, level))
        by_seal = both.seal.times_plain(ciphertext, both.seal.encode_ntt(slots, level))
        assert both.same(by_seal, scaled)
        more = both.words.plus_plain(words, both.words.encode(slots))
        assert both.same(both.seal.plus_plain(ciphertext, both.seal.encode(slots)), more)
        assert both.same(both.seal.add(by_seal, ciphertext), both.words.add_into(scaled, words))
        assert np.array_equal(words, before), "an operation returns a new ciphertext"


def test_primes_are_dropped_one_after_the_other() -> None:
    both = Both(PLAN.levels)
    for ciphertext, words in both.pairs:
        for level in LEVELS:
            assert both.same(both.seal.drop_to(ciphertext, level), both.words.drop_to(words, level))


def test_other_levels_do_not_mix() -> None:
    both = Both(4)
    (_, words), _ = both.pairs
    lower = both.words.drop_to(words, 3)
    with pytest.raises(ValueError, match="shape"):
        both.words.product(words, lower, both.key)
    with pytest.raises(ValueError, match="shape"):
        both.words.add_into(words, lower)
    with pytest.raises(ValueError, match="shape"):
        both.words.times_plain(words, lower[0])
    with pytest.raises(ValueError, match="two primes"):
        both.words.times_plain(np.zeros((2, 1, PLAN.degree), dtype=np.uint64), lower[0])


@pytest.mark.parametrize("level", LEVELS)
def test_polynomials_and_numbers_are_those_of_seal(level: int) -> None:
    both = Both(level)
    t = PLAN.plain_modulus
    values = np.resize(np.array([0, 1, t // 2, t // 2 + 1, t - 1, 777], dtype=np.uint64), PLAN.degree)
    small = np.resize([0, 1, -1, 21, -21], PLAN.degree)
    factors = [
        (both.seal.uniform_ntt(values, level), both.words.uniform_ntt(values, level)),
        (both.seal.small_ntt(small, level), both.words.small_ntt(small, level)),
        (both.seal.number_ntt(t**9 + 5, level), both.words.number_ntt(t**9 + 5, level)),
    ]
    for ciphertext, words in both.pairs:
        for plain, factor in factors:
            assert both.same(both.seal.times_plain(ciphertext, plain), both.words.times_plain(words, factor))
        polynomials = [values, values[::-1].copy(), values]
        more = both.words.plus_polynomials(words, polynomials)
        assert both.same(both.seal.plus_polynomials(ciphertext, polynomials), more)
        pairs = [one.constant_pair(t, -(t**3), level) for one in (both.seal, both.words)]
        assert both.same(both.seal.add(ciphertext, pairs[0]), both.words.add(words, pairs[1]))
        assert np.array_equal(both.seal.words_of(ciphertext, level), both.words.words_of(words, level))


def test_rotations_and_the_exchange_of_rows_are_those_of_seal_at_fewer_primes() -> None:
    """Where the slot sum happens: keys of three digits, which neither side may take for keys of the whole."""
    level = PLAN.guard_level
    keys = key_words(level)
    seal, words = Bgv(PLAN, level), WordArithmetic(Kernel(PLAN, level))
    by_seal, by_words = seal.load_galois_keys(keys), words.load_galois_keys(keys)
    (_, value), (_, other) = Both(level).pairs
    for one in (value, other):
        ciphertext = seal.load_full(one.ravel(), level)
        moved = [(seal.exchange_rows(ciphertext, by_seal), words.exchange_rows(one, by_words))]
        for step in PLAN.guard_steps:
            moved.append((seal.rotate(ciphertext, step, by_seal), words.rotate(one, step, by_words)))
        for wanted, found in moved:
            assert np.array_equal(seal.words_of(wanted, level), words.words_of(found, level))
    with pytest.raises(ValueError, match="shape"):
        WordArithmetic(Kernel(PLAN)).rotate(value, PLAN.guard_steps[0], by_words)


def test_flooding_is_that_of_seal() -> None:
    both = Both(PLAN.stage("flooding").level)
    (ciphertext, words), _ = both.pairs
    flooded = Flood(both.words).add_to(words, stream(1), b"hits")
    assert both.same(Flood(both.seal).add_to(ciphertext, stream(1), b"hits"), flooded)
    assert not np.array_equal(flooded, words)
