"""Parameters are planned from the profile, bounded in code, and the measured noise stays within the plan."""

from __future__ import annotations

from dataclasses import replace
from math import log2, prod

import numpy as np
import pytest
import tenseal.sealapi as sealapi
from searching import EMBEDDING_128, random_templates, search
from watched import Watched

from crypto.contexts import Context, hash_fields
from crypto.errors import ImpossibleProfile
from crypto.hitsearch import Plan, Requester, plan_for
from crypto.hitsearch.keyset import unpack_answer
from crypto.hitsearch.noise import TAIL_BITS, honest_probe_bits, uniform_plain_bits
from crypto.hitsearch.parameters import MAX_MODULUS_BITS, MIN_FLOOD_BITS
from crypto.hitsearch.primes import friendly_primes
from crypto.hitsearch.sampling import is_steady, ternary
from crypto.hitsearch.seal import Bgv
from crypto.hitsearch.stages import CANARY_BITS
from crypto.profiles import SearchProfile

PROFILES = [EMBEDDING_128, SearchProfile(256, 2, 191, 130), SearchProfile(256, 1, 127, 66)]


@pytest.mark.parametrize("profile", PROFILES, ids=str)
def test_a_plan_is_secure_and_friendly(profile: SearchProfile) -> None:
    plan = plan_for(profile)
    primes = (*plan.data_primes, plan.special_prime)
    assert prod(primes).bit_length() <= MAX_MODULUS_BITS
    assert len(set(primes)) == len(primes)
    assert all(q % (2 * plan.degree * plan.plain_modulus) == 1 for q in primes)
    assert plan.special_prime > 8 * max(plan.data_primes)
    assert plan.flood_ratio_bits >= MIN_FLOOD_BITS
    assert plan.secure
    assert Bgv(plan).context.parameters_set()


def test_friendly_primes_are_prime_by_another_algorithm() -> None:
    for bits in (34, 37, 52, 60):
        found = friendly_primes(bits, 16384)
        assert found
        assert all(sealapi.Modulus(q).is_prime() for q in found)


@pytest.mark.parametrize(
    ("profile", "reason"),
    [
        (SearchProfile(256, 2, 191, 60), "modulus of"),
        (SearchProfile(1024, 2, 511, 100), "128-bit security"),
        (SearchProfile(4096, 2, 16384 - 5000, 11000), "modulus of|noise|wrap"),
    ],
)
def test_an_impossible_profile_is_refused_with_the_reason(profile: SearchProfile, reason: str) -> None:
    with pytest.raises(ImpossibleProfile, match=reason):
        plan_for(profile)


def test_the_identifier_pins_every_parameter() -> None:
    plan = plan_for(EMBEDDING_128)
    others: list[Plan] = [
        replace(plan, degree=8192),
        replace(plan, baby_steps=8),
        replace(plan, special_prime=plan.special_prime + 2),
        replace(plan, data_primes=plan.data_primes[::-1]),
        replace(plan, profile=SearchProfile(128, 2, 127, 66)),
        replace(plan, stages=plan.stages[:-1]),
    ]
    identifiers = {p.identifier for p in [plan, *others]}
    assert len(identifiers) == len(others) + 1
    assert plan_for(SearchProfile(128, 2, 127, 65)).identifier == plan.identifier


def test_hiding_over_a_lifetime_falls_with_the_answers() -> None:
    plan = plan_for(EMBEDDING_128)
    assert plan.hiding_bits(1) - plan.hiding_bits(1 << 16) == pytest.approx(8)
    assert plan.hiding_bits(1 << 20) >= 20


FIRST_KEY_UNSTEADY = bytes([14] * 32)
"""Its first key would have some seven times the noise of others at the noisiest product: beyond the plan."""


@pytest.mark.parametrize("secret", [bytes(range(32)), FIRST_KEY_UNSTEADY], ids=["usual", "first unsteady"])
@pytest.mark.parametrize("profile", PROFILES[:2], ids=str)
def test_measured_noise_stays_within_the_plan(profile: SearchProfile, secret: bytes) -> None:
    """The bound holds at every step, and is not so loose that it proves nothing (10 bits)."""
    plan = plan_for(profile)
    requester = Requester.load(plan, secret)  # noise depends on the key: a fixed one repeats
    watched = Watched(plan, requester)
    rng = np.random.default_rng(4)
    bank = random_templates(rng, profile, 40)
    block = bank[rng.integers(0, 40, plan.block_size)]
    answer = search(watched, requester.encrypt(bank[0], bytes(32)), block)
    compare_guards(watched)
    by_level = {stage.level - 1: stage for stage in plan.stages if stage.dropped_bits}
    compared = 0
    for name, noise in watched.measured.items():
        level = int(name.split()[-1]) if name.startswith("product") else None
        stage = by_level[level] if level is not None else plan.stage(name)
        planned = stage.left_bits + TAIL_BITS
        assert noise <= planned, (name, noise, planned)
        assert noise >= planned - 10, (name, noise, planned)
        compared += 1
    assert compared == 7
    flooding = plan.stage("flooding")
    for words in unpack_answer(answer, plan):
        left = watched._bgv.noise_budget(requester._secret, watched._bgv.load_full(words, 1))
        assert 1 <= left <= 33 - flooding.left_bits, "flooded noise fills the answer's prime, and no more"


def test_keys_are_steady_whatever_the_secret() -> None:
    plan = plan_for(PROFILES[0])
    first = ternary(hash_fields(Context.KEY_STREAM, FIRST_KEY_UNSTEADY, b"secret key"), plan.degree)
    assert not is_steady(first)
    for secret in (FIRST_KEY_UNSTEADY, *(bytes([i]) * 32 for i in range(4, 24))):
        key = Requester.load(plan, secret)._maker._coefficients.tolist()
        walk, squares = -sum(key), 0
        for coefficient in key:
            walk += 2 * coefficient
            squares += walk * walk
        assert 3 * squares <= 2 * plan.degree**2


def compare_guards(watched: Watched) -> None:
    """Takes out of the measurements what is planned for the noisiest probe that passes: far above an honest one's."""
    plan, measured = watched.plan, watched.measured
    probe = measured.pop("probe")
    assert honest_probe_bits(plan.degree) <= probe <= honest_probe_bits(plan.degree) + TAIL_BITS
    guard = next(s for s in plan.guard_stages if s.name == "validity: sum")
    assert measured.pop("validity: sum") <= guard.noise_bits + TAIL_BITS
    modulus = sum(log2(q) for q in plan.data_primes[: plan.guard_level])
    wanted = modulus - CANARY_BITS - uniform_plain_bits(plan.degree)
    assert abs(measured.pop("canary") - (wanted + 2)) < 1.5, (
        "the greatest coefficient is near four standard deviations"
    )
