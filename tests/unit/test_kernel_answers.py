"""An answer is the same bytes whether the kernel computed its scores or SEAL did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from searching import (
    EVEN_WIDTH,
    SHORT,
    TERNARY_128,
    empty_slots,
    insecure_plan,
    parties,
    random_templates,
    stream,
)

from crypto.hitsearch import EncodedBlock, Plan, Requester, Responder
from crypto.hitsearch.kernel_library import built
from crypto.hitsearch.keymaking import KeyMaker
from crypto.hitsearch.seal import shared_context
from crypto.profiles import SearchProfile

pytestmark = pytest.mark.skipif(not built(), reason="there is no C compiler on this machine")

ODD_WIDTH = SearchProfile(32, 2, 40, 19)
PLANS = [insecure_plan(profile) for profile in (EVEN_WIDTH, ODD_WIDTH, SHORT, TERNARY_128)]


def through_seal(plan: Plan) -> Responder:
    requester, _ = parties(plan)
    return Responder(plan, requester.evaluation_keys(), use_kernel=False)


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: str(plan.profile))
def test_whole_answers_are_the_same_bytes(plan: Plan) -> None:
    requester, responder = parties(plan)
    seal = through_seal(plan)
    assert responder.arithmetic.startswith("kernel")
    assert seal.arithmetic == "SEAL"
    rng = np.random.default_rng(6)
    bank = random_templates(rng, plan.profile, 30)
    block = bank[rng.integers(0, 30, plan.block_size)]
    queries = [requester.encrypt(one) for one in bank[:2]]
    prepared = [responder.prepare(query, stream(i, None)) for i, query in enumerate(queries)]
    by_seal = [seal.prepare(query, stream(i, None)) for i, query in enumerate(queries)]
    wanted = [seal.answer_once(one, block, stream(i)) for i, one in enumerate(by_seal)]
    assert wanted[0] != wanted[1]
    encoded = responder.encode(block)
    streams = [stream(i) for i in range(2)]
    assert [responder.answer(one, encoded, s) for one, s in zip(prepared, streams, strict=True)] == wanted
    assert responder.answer_once(prepared[0], block, stream(0)) == wanted[0]
    assert responder.answer_many(prepared, encoded, streams) == wanted
    assert responder.answer_many(prepared, block, streams) == wanted
    assert seal.answer_many(by_seal, seal.encode(block), streams) == wanted


def test_diagonals_of_zeros_make_no_difference() -> None:
    """Empty slots alone: most diagonals hold nothing, and whole giant steps are left out by SEAL's engine."""
    plan = insecure_plan(EVEN_WIDTH)
    requester, responder = parties(plan)
    query = requester.encrypt(random_templates(np.random.default_rng(7), plan.profile, 1)[0])
    block = empty_slots(plan)
    block[:] = 0
    block[np.arange(plan.block_size), np.arange(plan.block_size) % plan.profile.n] = 1  # diagonal 0 alone
    answers = [
        r.answer_once(r.prepare(query, stream(0, None)), block, stream(0))
        for r in (responder, through_seal(plan))
    ]
    assert answers[0] == answers[1]


def test_a_block_may_lie_in_a_mapped_file(tmp_path: Path) -> None:
    plan = insecure_plan(EVEN_WIDTH)
    requester, responder = parties(plan)
    rng = np.random.default_rng(8)
    block = random_templates(rng, plan.profile, 9)[rng.integers(0, 9, plan.block_size)]
    prepared = responder.prepare(requester.encrypt(block[0]), stream(0, None))
    shape = responder.encoded_shape
    assert shape is not None
    file = np.memmap(tmp_path / "block", dtype=np.uint64, mode="w+", shape=shape)
    responder.encode(block, file)
    file.flush()
    assert (tmp_path / "block").stat().st_size == responder.encoded_bytes
    mapped = np.memmap(tmp_path / "block", dtype=np.uint64, mode="r", shape=shape)
    wanted = responder.answer_once(prepared, block, stream(0))
    assert responder.answer(prepared, EncodedBlock(mapped), stream(0)) == wanted


def test_a_block_of_one_engine_is_not_for_the_other() -> None:
    plan = insecure_plan(EVEN_WIDTH)
    requester, responder = parties(plan)
    seal = through_seal(plan)
    block = empty_slots(plan)
    query = requester.encrypt(random_templates(np.random.default_rng(9), plan.profile, 1)[0])
    with pytest.raises(ValueError, match="for SEAL"):
        seal.answer(seal.prepare(query, stream(0, None)), responder.encode(block), stream(0))
    with pytest.raises(ValueError, match="for the kernel"):
        responder.answer(responder.prepare(query, stream(0, None)), seal.encode(block), stream(0))
    with pytest.raises(ValueError, match="one array"):
        seal.encode(block, np.zeros(1, dtype=np.uint64))


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: str(plan.profile))
def test_keys_and_probes_are_the_same_bytes(plan: Plan) -> None:
    requester = Requester.load(plan, bytes(range(32)))
    by_seal = Requester.load(plan, bytes(range(32)))
    by_seal._maker = KeyMaker(shared_context(plan), bytes(range(32)), use_kernel=False)
    assert type(requester._maker.transforms) is not type(by_seal._maker.transforms)
    assert requester.evaluation_keys() == by_seal.evaluation_keys()
    probe = random_templates(np.random.default_rng(10), plan.profile, 1)[0]
    assert requester.encrypt(probe, bytes(32)) == by_seal.encrypt(probe, bytes(32))
