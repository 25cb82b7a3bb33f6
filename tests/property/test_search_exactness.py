"""Z = 0 exactly on hits, never elsewhere, and every slot decrypts to what the plain twin says."""

from __future__ import annotations

import numpy as np
import pytest
from searching import (
    ALMOST_EQUAL,
    EMBEDDING_128,
    EVEN_WIDTH,
    SHORT,
    TERNARY_128,
    at_score,
    empty_slots,
    insecure_plan,
    parties,
    random_templates,
    scores,
    search,
    stream,
)

from crypto.hitsearch import Plan, plan_for
from crypto.hitsearch.plain import PlainRequester, PlainResponder, answer_values
from crypto.profiles import SearchProfile

PROFILES = [EMBEDDING_128, TERNARY_128, EVEN_WIDTH, SHORT, ALMOST_EQUAL]


def near_threshold_block(seed: int, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """A full block whose scores crowd around the threshold and the two extremes."""
    profile = plan.profile
    rng = np.random.default_rng(seed)
    probe = random_templates(rng, profile, 1)[0]
    bank = [probe, -probe, *random_templates(rng, profile, 60)]
    wanted = range(profile.threshold - 3, min(profile.threshold + 4, profile.norm + 1))
    found = [at_score(rng, probe, profile, score) for score in wanted for _ in range(4)]
    bank += [t for t in found if t is not None]
    block = np.stack(bank)[rng.integers(0, len(bank), plan.block_size)]
    return probe, block.astype(np.int8)


def assert_exact(plan: Plan, probe: np.ndarray, block: np.ndarray, number: int) -> np.ndarray:
    requester, responder = parties(plan)
    answer = search(responder, requester.encrypt(probe), block, number)
    assert len(answer) == plan.answer_block_bytes
    opened = requester.open_block(answer)
    expected = answer_values(probe.astype(np.int64), block.astype(np.int64), plan, stream(number))
    values = opened.values
    np.testing.assert_array_equal(values, expected.values)
    np.testing.assert_array_equal(opened.tokens, expected.tokens)
    hits = np.flatnonzero(values == 0)
    np.testing.assert_array_equal(opened.tokens[hits], stream(number).tokens(plan.degree)[hits])
    np.testing.assert_array_equal(values == 0, scores(probe, block) >= plan.profile.threshold)
    return values


@pytest.mark.parametrize("profile", PROFILES, ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_blocks_around_the_threshold(profile: SearchProfile, seed: int) -> None:
    plan = insecure_plan(profile)
    probe, block = near_threshold_block(seed, plan)
    reached = set(scores(probe, block).tolist())
    assert {profile.norm, -profile.norm} <= reached
    assert_exact(plan, probe, block, seed)


def test_the_scores_next_to_the_threshold_are_really_met() -> None:
    _, block = near_threshold_block(1, insecure_plan(EMBEDDING_128))
    probe, _ = near_threshold_block(1, insecure_plan(EMBEDDING_128))
    reached = set(scores(probe, block).tolist())
    assert {EMBEDDING_128.threshold - 1, EMBEDDING_128.threshold} <= reached


@pytest.mark.parametrize("profile", PROFILES, ids=str)
def test_empty_slots_never_hit(profile: SearchProfile) -> None:
    plan = insecure_plan(profile)
    probe = random_templates(np.random.default_rng(5), profile, 1)[0]
    values = assert_exact(plan, probe, empty_slots(plan), 5)
    assert (values != 0).all()


@pytest.mark.parametrize("profile", PROFILES, ids=str)
def test_one_person_in_the_last_slot(profile: SearchProfile) -> None:
    plan = insecure_plan(profile)
    probe = random_templates(np.random.default_rng(6), profile, 1)[0]
    block = empty_slots(plan)
    block[-1] = probe
    values = assert_exact(plan, probe, block, 6)
    assert np.flatnonzero(values == 0).tolist() == [plan.block_size - 1]


@pytest.mark.parametrize("sign", [1, -1])
def test_a_block_of_one_template(sign: int) -> None:
    plan = insecure_plan(EMBEDDING_128)
    probe = random_templates(np.random.default_rng(7), plan.profile, 1)[0]
    values = assert_exact(plan, probe, np.tile(sign * probe, (plan.block_size, 1)).astype(np.int8), 7)
    assert (values == 0).all() == (sign == 1)


def test_diagonals_of_zeros_are_skipped_and_exact() -> None:
    """A gallery may put all its weight on a few diagonals; SEAL refuses products with zero."""
    plan = insecure_plan(SearchProfile(16, 2, 17, 14))
    probe = random_templates(np.random.default_rng(8), plan.profile, 1)[0]
    rows = np.arange(plan.block_size)
    block = np.zeros((plan.block_size, 16), dtype=np.int8)
    block[rows, rows % 16] = 1  # only diagonal 0 is left
    assert_exact(plan, probe, block, 8)


def test_encoded_and_cold_blocks_give_the_same_values() -> None:
    plan = insecure_plan(EMBEDDING_128)
    requester, responder = parties(plan)
    probe, block = near_threshold_block(9, plan)
    prepared = responder.prepare(requester.encrypt(probe), stream(9, None))
    warm = responder.answer(prepared, responder.encode(block), stream(9))
    cold = responder.answer_once(prepared, block, stream(9))
    assert warm == cold, "an answer is a function of the query, the block and the seed"
    assert responder.answer_once(prepared, block, stream(10)) != cold


@pytest.mark.parametrize(
    "profile",
    [EMBEDDING_128, SearchProfile(256, 2, 191, 130), SearchProfile(128, 2, 127, 64)],
    ids=str,
)
def test_real_parameters(profile: SearchProfile) -> None:
    """The parameters that nodes use: 128-bit security, one full block of 16384 candidates."""
    plan = plan_for(profile)
    assert plan.secure
    probe, block = near_threshold_block(10, plan)
    block[-1] = probe
    assert_exact(plan, probe, block, 10)


def test_the_twin_answers_like_the_scheme() -> None:
    plan = insecure_plan(EVEN_WIDTH)
    requester, responder = PlainRequester.generate(plan), None
    responder = PlainResponder(plan, requester.evaluation_keys())
    probe, block = near_threshold_block(11, plan)
    prepared = responder.prepare(requester.encrypt(probe), stream(11, None))
    opened = requester.open_block(responder.answer(prepared, responder.encode(block), stream(11)))
    np.testing.assert_array_equal(opened.values, assert_exact(plan, probe, block, 11))
