"""Each guard spoils every slot by itself, both checks reach every slot, and flooding is of the planned size."""

from __future__ import annotations

from functools import lru_cache
from math import log2

import numpy as np
import pytest
from searching import (
    EVEN_WIDTH,
    SHORT,
    decrypted,
    insecure_plan,
    parties,
    random_templates,
    search,
    stream,
)
from undefended import NoCanary

from crypto.hitsearch import Responder, plan_for
from crypto.hitsearch.guards import CANARY_FACTORS, Guards, canary, canary_scale, spoilers
from crypto.hitsearch.keyset import unpack_answer
from crypto.hitsearch.packing import Slots, spread_probe
from crypto.hitsearch.parameters import Plan
from crypto.hitsearch.primes import is_prime
from crypto.hitsearch.stages import FLOOD_DIGITS, FLOOD_UNIFORMS
from crypto.profiles import SearchProfile

PLAN = insecure_plan(EVEN_WIDTH)
T = PLAN.plain_modulus


def encrypted(slots: Slots, level: int) -> object:
    requester, responder = parties(PLAN)
    bgv = responder._bgv
    probe = responder._rebuild(requester.encrypt_slots(slots, bytes(32)))
    return bgv.drop_to(probe, level)


def spoiled(values: tuple[int, int, int], label: bytes = b"hits", number: int = 0) -> Slots:
    """What is added to an answer when the guards hold these values in all slots."""
    first, second, third = (encrypted(np.full(PLAN.degree, v), PLAN.guard_level) for v in values)
    requester, responder = parties(PLAN)
    added = spoilers(responder._bgv, Guards((first, second), third), stream(number), label)
    return decrypted(requester, responder, added, PLAN.guard_level)


def is_noise(values: Slots) -> bool:
    """Neither often zero, nor often the same, nor of one half of the range."""
    return len(np.unique(values)) > 0.97 * len(values) and 0.4 < (values > T // 2).mean() < 0.6


def test_silent_guards_add_nothing() -> None:
    assert (spoiled((0, 0, 0)) == 0).all()


@pytest.mark.parametrize("values", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, -1, 0), (1, 1, -1)], ids=str)
def test_each_guard_spoils_every_slot_and_none_cancels_another(values: tuple[int, int, int]) -> None:
    assert is_noise(spoiled(values))


@pytest.mark.parametrize("values", [(1, 0, 0), (0, 1, 0), (0, 0, 1)], ids=str)
def test_no_two_ciphertexts_are_spoiled_alike(values: tuple[int, int, int]) -> None:
    hits = spoiled(values)
    assert is_noise((hits - spoiled(values, b"tokens")) % T)
    assert is_noise((hits - spoiled(values, b"hits", 1)) % T)


def checks_of(slots: Slots, number: int = 0) -> list[Slots]:
    requester, responder = parties(PLAN)
    query = requester.encrypt_slots(slots, bytes(32))
    checks = responder.prepare(query, stream(number, None)).guards.validity
    return [decrypted(requester, responder, one, PLAN.guard_level) for one in checks]


def test_both_checks_are_silent_for_a_template() -> None:
    template = random_templates(np.random.default_rng(1), EVEN_WIDTH, 1)[0]
    for one in checks_of(spread_probe(template, PLAN.degree)):
        assert (one == 0).all()


def unit() -> Slots:
    template = np.zeros(EVEN_WIDTH.n, dtype=np.int8)
    template[0] = 1
    return spread_probe(template, PLAN.degree)


def single_slot(value: int) -> Slots:
    """A template everywhere, and another value in one slot."""
    template = random_templates(np.random.default_rng(1), EVEN_WIDTH, 1)[0]
    slots = spread_probe(template, PLAN.degree)
    slots[-1] = value
    return slots


@pytest.mark.parametrize("slots", [unit(), single_slot(3), single_slot(T // 3)], ids=["unit", "3", "t/3"])
def test_two_different_checks_reach_every_slot(slots: Slots) -> None:
    straight, exchanged = checks_of(slots)
    half = PLAN.degree // 2
    first, second = straight[0], straight[half]
    assert 0 not in (first, second)
    assert first != second
    assert (straight == np.repeat([first, second], half)).all()
    assert (exchanged == np.repeat([second, first], half)).all()


def test_the_checks_of_another_query_are_weighted_anew() -> None:
    first, again = checks_of(unit(), 1)[0], checks_of(unit(), 2)[0]
    assert first[0] != again[0]
    assert first[-1] != again[-1]


@pytest.mark.parametrize("bound", [1, 2, 3, 4])
def test_the_range_ends_at_the_bound(bound: int) -> None:
    """One slot a step beyond the bound, for every bound that a profile may have; the norm aside."""
    norm = (bound + 1) ** 2 + 4
    plan = insecure_plan(SearchProfile(16, bound, norm, norm - 1))
    requester, responder = parties(plan)
    values = np.zeros(16, dtype=np.int64)
    for entry, silent in ((bound, True), (-bound, True), (bound + 1, False), (-bound - 1, False)):
        values[:] = 0
        values[0], left = entry, norm - entry * entry
        for i in range(1, 16):
            step = next((v for v in range(bound, 0, -1) if v * v <= left), 0)
            values[i], left = step, left - step * step
        assert left == 0
        query = requester.encrypt_slots(spread_probe(values, plan.degree), bytes(32))
        for one in responder.prepare(query, stream(0, None)).guards.validity:
            checked = decrypted(requester, responder, one, plan.guard_level)
            assert (checked == 0).all() == silent


@pytest.mark.parametrize(
    "plan", [PLAN, insecure_plan(SHORT), plan_for(SearchProfile(128, 2, 127, 65))], ids=str
)
def test_the_scalar_of_the_canary_has_large_factors_and_the_planned_size(plan: Plan) -> None:
    for number in range(8):
        scale = canary_scale(stream(number, None), plan)
        assert abs(log2(scale) - plan.canary_scale_bits) < 0.5
        bits = plan.canary_scale_bits // CANARY_FACTORS
        small = [p for p in range(2, min(1 << 16, 1 << bits - 2)) if scale % p == 0]
        assert small == [], "a small factor lets a fraction of the modulus pass"
        assert scale != canary_scale(stream(number + 8, None), plan)
        assert not is_prime(scale)


def test_the_large_factors_are_beyond_forty_bits_for_the_profiles_of_nodes() -> None:
    for profile in (SearchProfile(128, 2, 127, 65), SearchProfile(256, 3, 127, 65)):
        assert plan_for(profile).canary_scale_bits // CANARY_FACTORS - 1 >= 40


def test_the_canary_is_another_in_every_query() -> None:
    """Of a probe that is not zero modulo the scalar's t, only the noise differs: compare the words."""
    _, responder = parties(PLAN)
    probe = encrypted(unit(), PLAN.levels)
    words = [
        responder._bgv.words_of(canary(responder._bgv, probe, stream(number, None)), PLAN.guard_level)
        for number in (0, 1)
    ]
    assert (words[0] == words[1]).mean() < 0.01


def test_both_ciphertexts_are_flooded_as_planned() -> None:
    """The canary aside, whose noise would cover for the flooding."""
    requester, responder = parties(PLAN)
    unguarded = NoCanary.of(responder)
    template = random_templates(np.random.default_rng(1), EVEN_WIDTH, 1)[0]
    block = random_templates(np.random.default_rng(2), EVEN_WIDTH, 1).repeat(PLAN.degree, axis=0)
    answer = search(unguarded, requester.encrypt(template, bytes(32)), block)
    planned = (FLOOD_DIGITS + 1) * log2(T) + 0.5 * log2(FLOOD_UNIFORMS / 12) - log2(PLAN.data_primes[1])
    for words in unpack_answer(answer, PLAN):
        ciphertext = requester._bgv.load_full(words, 1)
        left = requester._bgv.noise_budget(requester._secret, ciphertext)
        largest = log2(PLAN.data_primes[0]) - 1 - left
        assert planned + 1 < largest < planned + 3, (
            "three standard deviations are 1.6 bits, and a whole bit is lost"
        )


@lru_cache
def weakened() -> Responder:
    requester, _ = parties(PLAN)
    return Responder(PLAN, requester.evaluation_keys())


def test_the_guards_start_from_the_probe_that_is_searched_for() -> None:
    """Re-randomised once: keys that know the requester's own words must not meet them in either."""
    seen: list[object] = []
    responder = weakened()
    original = responder._guard
    responder._guard = lambda probe, draws: (seen.append(probe), original(probe, draws))[1]  # type: ignore[method-assign]
    requester, _ = parties(PLAN)
    query = requester.encrypt_slots(unit(), bytes(32))
    prepared = responder.prepare(query, stream(0, None))
    bgv, level = responder._bgv, PLAN.search_level
    given = bgv.words_of(bgv.drop_to(seen[0], level), level)
    assert np.array_equal(given, bgv.words_of(prepared.probe, level))
    own = bgv.words_of(responder._rebuild(query), PLAN.levels)
    assert (own == bgv.words_of(seen[0], PLAN.levels)).mean() < 0.01
