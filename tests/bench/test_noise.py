"""The noise of every step beside what the plan says, and the last steps of 10,000 block answers."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from math import log2
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest
from searching import EMBEDDING_128, decrypted, random_templates, search, stream
from watched import Watched

from crypto.hitsearch import Requester, Responder, plan_for
from crypto.hitsearch.noise import TAIL_BITS, honest_probe_bits
from crypto.profiles import SearchProfile

ANSWERS = 10_000
WORKERS = 2
PROFILES = {"embedding-128": EMBEDDING_128, "embedding-256": SearchProfile(256, 3, 127, 65)}


@pytest.mark.bench
@pytest.mark.parametrize("name", PROFILES)
def test_noise_beside_the_plan(book: Any, name: str) -> None:
    """Largest coefficient, in bits; the plan is for the noisiest probe that passes, with 2^-40 of tail."""
    profile = PROFILES[name]
    plan = plan_for(profile)
    requester = Requester.generate(plan)
    watched = Watched(plan, requester)
    rng = np.random.default_rng(4)
    block = random_templates(rng, profile, 40)[rng.integers(0, 40, plan.block_size)]
    search(watched, requester.encrypt(block[0]), block)
    planned = {
        f"product at {stage.level - 1}": stage.left_bits + TAIL_BITS
        for stage in plan.stages
        if stage.dropped_bits
    }
    planned |= {stage.name: stage.left_bits + TAIL_BITS for stage in plan.stages}
    planned |= {stage.name: stage.noise_bits + TAIL_BITS for stage in plan.guard_stages}
    planned["probe"] = honest_probe_bits(plan.degree) + TAIL_BITS
    figures: dict[str, Any] = {}
    for step, noise in watched.measured.items():
        if step in planned:
            figures[f"{step}: measured"] = noise
            figures[f"{step}: planned, at most"] = planned[step]
            assert noise <= planned[step]
    figures["canary, below the modulus at its level"] = (
        sum(log2(q) for q in plan.data_primes[: plan.guard_level]) - watched.measured["canary"]
    )
    figures["flooding over the noise it hides, bits"] = plan.flood_ratio_bits
    for count in (1, 1 << 10, 1 << 16, 1 << 20):
        figures[f"distance after {count} block answers, 2^-"] = plan.hiding_bits(2 * count)
    book.write(f"noise in bits, {name}", figures)


def _finish_many(number: int, count: int) -> tuple[int, dict[int, int]]:
    """Guard, flood and open one masked block again and again: wrong ones, and how often each budget was left."""
    plan = plan_for(EMBEDDING_128)
    requester = Requester.load(plan, bytes([number]) * 32)
    responder = Responder(plan, requester.evaluation_keys())
    block = random_templates(np.random.default_rng(number), plan.profile, 8)
    block = block[np.arange(plan.block_size) % 8]
    prepared = responder.prepare(requester.encrypt(block[0]), stream(number, None))
    scores = responder._scores(prepared, block)
    masked = responder._masked_product(*responder._factors(scores), stream(number), b"hits")
    expected = decrypted(requester, responder, masked, plan.guard_level)
    budgets: dict[int, int] = {}
    wrong = 0
    for i in range(count):
        words = responder._finish(masked, prepared.guards, stream(number, i), b"hits")
        ciphertext = requester._bgv.load_full(words, 1)
        left = requester._bgv.noise_budget(requester._secret, ciphertext)
        budgets[left] = budgets.get(left, 0) + 1
        wrong += left not in plan.answer_budgets
        wrong += not np.array_equal(requester._bgv.decrypt(requester._secret, ciphertext), expected)
    return wrong, budgets


@pytest.mark.bench
@pytest.mark.timeout(3600)
def test_no_honest_answer_fails(book: Any) -> None:
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
        parts = list(pool.map(_finish_many, range(WORKERS), [ANSWERS // WORKERS] * WORKERS))
    figures: dict[str, Any] = {"answer ciphertexts": ANSWERS, "failed": sum(wrong for wrong, _ in parts)}
    for left in sorted({budget for _, budgets in parts for budget in budgets}):
        figures[f"with {left} bits left"] = sum(budgets.get(left, 0) for _, budgets in parts)
    book.write("guards, flooding and last switch of honest answers, embedding-128", figures)
    assert figures["failed"] == 0
