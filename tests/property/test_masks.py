"""Masks are never zero, uniform, and never used twice."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from searching import EMBEDDING_128, insecure_plan, parties, random_templates, scores, search, stream

from crypto.hitsearch import MaskStream

T = 65537
BINS = 256


def chi_square(values: np.ndarray) -> float:
    """Pearson's statistic of values in 1..t-1 over equal bins; about 255 +- 23 when uniform."""
    observed = np.bincount((values - 1) * BINS // (T - 1), minlength=BINS)
    expected = len(values) / BINS
    return float(((observed - expected) ** 2 / expected).sum())


def looks_uniform(values: np.ndarray) -> bool:
    """Six standard deviations on both sides: too even is as suspicious as too uneven."""
    return bool((values > 0).all()) and abs(chi_square(values) - (BINS - 1)) < 6 * (2 * (BINS - 1)) ** 0.5


def test_masks_are_never_zero_and_cover_both_ends() -> None:
    drawn = np.concatenate([stream(i).masks(b"hits", 1 << 16, T) for i in range(64)])
    assert drawn.min() == 1
    assert drawn.max() == T - 1
    assert looks_uniform(drawn)


def test_the_test_of_uniformity_can_fail() -> None:
    drawn = stream().masks(b"hits", 1 << 16, T)
    assert not looks_uniform(np.minimum(drawn, T - 2000))
    assert not looks_uniform(drawn // 2 + 1)
    assert not looks_uniform(drawn * 0 + 7)


@pytest.mark.parametrize(
    "other",
    [
        lambda: stream(1).masks(b"hits", 4096, T),
        lambda: stream(0, block=1).masks(b"hits", 4096, T),
        lambda: stream(0, attempt=2).masks(b"hits", 4096, T),
        lambda: stream(0).masks(b"tokens", 4096, T),
        lambda: MaskStream(bytes(32), b"another-exchange", 0, 1).masks(b"hits", 4096, T),
    ],
    ids=["seed", "block", "attempt", "purpose", "exchange"],
)
def test_every_part_of_the_binding_changes_the_stream(other: Callable[[], np.ndarray]) -> None:
    mine, theirs = stream(0).masks(b"hits", 4096, T), other()
    assert (mine == theirs).mean() < 0.01


def test_digits_are_uniform_and_reach_zero() -> None:
    drawn = np.concatenate([stream(i).digits(b"flood", 1 << 16, T) for i in range(16)]).astype(np.int64)
    assert drawn.min() == 0
    assert drawn.max() == T - 1
    assert looks_uniform(drawn[drawn > 0])
    assert 2 <= (drawn == 0).sum() <= 40


def opened(number: int, block: np.ndarray, probe: np.ndarray) -> np.ndarray:
    requester, responder = parties(insecure_plan(EMBEDDING_128))
    return requester.open_block(search(responder, requester.encrypt(probe), block, number)).values


def test_one_score_in_every_slot_gives_uniform_values() -> None:
    """With one mask for a block, equal scores would give equal values."""
    plan = insecure_plan(EMBEDDING_128)
    pair = random_templates(np.random.default_rng(1), plan.profile, 2)
    block = np.tile(pair[1], (plan.block_size, 1))
    assert scores(pair[0], block)[0] < plan.profile.threshold
    values = np.concatenate([opened(number, block, pair[0]) for number in range(12)])
    assert looks_uniform(values)


def test_two_answers_to_one_question_are_independent() -> None:
    """With a mask used twice, the quotient of two answers would be 1, or would tell P/P'."""
    plan = insecure_plan(EMBEDDING_128)
    bank = random_templates(np.random.default_rng(2), plan.profile, 65)
    block = bank[np.random.default_rng(3).integers(1, 65, plan.block_size)]
    kept = scores(bank[0], block) < plan.profile.threshold
    quotients = []
    for number in range(0, 16, 2):
        first, second = opened(number, block, bank[0])[kept], opened(number + 1, block, bank[0])[kept]
        inverse = np.array([pow(int(v), -1, T) for v in second], dtype=np.int64)
        quotients.append(first * inverse % T)
    assert looks_uniform(np.concatenate(quotients))
