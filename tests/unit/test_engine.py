"""The engine: work in other processes, the loop free, crashes survived, masks never used twice."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engines import PLAIN, PLAN, PROFILE, SEAL_KEY, Asked, Gallery, nothing

from crypto.errors import BadCiphertext, BadKeys
from crypto.hitsearch.masks import MaskStream
from crypto.hitsearch.plain import PlainResponder
from node.engine import Engine
from node.engine_worker import Budget
from node.errors import WorkerLost
from node.synthetic import images, people


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    return Gallery(tmp_path_factory.mktemp("gallery"), 20_000)


async def test_search_finds_the_enrolled_and_only_them(tmp_path: Path, gallery: Gallery) -> None:
    engine = Engine(PLAIN, SEAL_KEY, 2, 512 * 2**20)
    seen: list[tuple[int, int]] = []
    try:
        await engine.start()
        assert len(set(engine.worker_pids)) == 2
        assert os.getpid() not in engine.worker_pids
        asked = Asked(tmp_path, gallery.vectors[17_000])
        secret = asked.requester.secret()
        blocks = await engine.search(asked.job(gallery.blocks), lambda *step: seen.append(step))
        hits = await engine.open_answer(PROFILE.search, secret, blocks)
        stranger = Asked(tmp_path, images(people(1, 99), 1, 3)[0, 0])
        blocks = await engine.search(stranger.job(gallery.blocks), nothing)
        misses = await engine.open_answer(PROFILE.search, stranger.requester.secret(), blocks)
    finally:
        await engine.close()
    assert sum(map(len, hits)) == 1
    assert misses == [[], []]
    assert seen == [(1, 2), (2, 2)]


async def test_bad_input_is_a_typed_error_of_the_peer(tmp_path: Path, gallery: Gallery) -> None:
    engine = Engine(PLAIN, SEAL_KEY, 1, 512 * 2**20)
    asked = Asked(tmp_path, gallery.vectors[0])
    try:
        with pytest.raises(BadCiphertext):
            await engine.search(asked.job(gallery.blocks, asked.query[:-1]), nothing)
        with pytest.raises(BadKeys):
            await engine.check_keys(PROFILE.search, asked.keys_path, bytes(32))
        (tmp_path / "short").write_bytes(b"short")
        with pytest.raises(BadKeys):
            await engine.check_keys(PROFILE.search, tmp_path / "short", bytes(32))
        await engine.check_keys(PROFILE.search, asked.keys_path, asked.keys_hash)
    finally:
        await engine.close()


class DyingResponder(PlainResponder):
    """Kills its process at the first attempt at a block, or at every one."""

    always = False

    def answer(self, prepared: Any, block: Any, stream: MaskStream) -> bytes:
        attempt = int.from_bytes(stream._binding[2], "big")
        if attempt == 0 or self.always:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().answer(prepared, block, stream)


class HopelessResponder(DyingResponder):
    always = True


class SlowResponder(PlainResponder):
    def answer(self, prepared: Any, block: Any, stream: MaskStream) -> bytes:
        end = time.monotonic() + 1
        while time.monotonic() < end:
            pass
        return super().answer(prepared, block, stream)


async def test_a_killed_worker_costs_one_attempt_and_its_masks(tmp_path: Path, gallery: Gallery) -> None:
    engine = Engine(replace(PLAIN, responder=DyingResponder), SEAL_KEY, 1, 512 * 2**20)
    asked = Asked(tmp_path, gallery.vectors[3])
    retried: list[int] = []
    try:
        job = asked.job(gallery.blocks[:1])
        (answer,) = await engine.search(job, nothing, retried.append)
    finally:
        await engine.close()
    assert retried == [0], "an audit that computes the answer again must know"
    first = MaskStream(job.seed, job.exchange_id, 0, 0).masks(b"hits", PLAN.degree, PLAN.plain_modulus)
    second = MaskStream(job.seed, job.exchange_id, 0, 1).masks(b"hits", PLAN.degree, PLAN.plain_modulus)
    assert not np.array_equal(first, second)
    assert len(answer) == PLAN.answer_block_bytes


async def test_a_block_that_kills_twice_ends_the_search(tmp_path: Path, gallery: Gallery) -> None:
    engine = Engine(replace(PLAIN, responder=HopelessResponder), SEAL_KEY, 1, 512 * 2**20)
    asked = Asked(tmp_path, gallery.vectors[3])
    try:
        with pytest.raises(WorkerLost):
            await engine.search(asked.job(gallery.blocks[:1]), nothing)
        await engine.check_keys(PROFILE.search, asked.keys_path, asked.keys_hash)
    finally:
        await engine.close()


async def test_the_event_loop_answers_while_workers_compute(tmp_path: Path, gallery: Gallery) -> None:
    engine = Engine(replace(PLAIN, responder=SlowResponder), SEAL_KEY, 1, 512 * 2**20)
    asked = Asked(tmp_path, gallery.vectors[3])
    try:
        await engine.start()
        work = asyncio.create_task(engine.search(asked.job(gallery.blocks), nothing))
        ticks = 0
        while not work.done():
            await asyncio.sleep(0.02)
            ticks += 1
        await work
    finally:
        await engine.close()
    assert ticks > 30


def test_a_budget_forgets_what_was_used_longest_ago() -> None:
    budget: Budget[str] = Budget(10)
    made: list[str] = []

    def make(name: str, size: int) -> str:
        def maker() -> tuple[str, int]:
            made.append(name)
            return name, size

        return budget.get(name, maker)

    for name in ("a", "b", "a", "c", "a", "b"):
        make(name, 5)
    assert made == ["a", "b", "c", "b"]
    make("huge", 11)
    make("huge", 11)
    assert made[-1:] == ["huge"], "the next block wants what the last one used"
    make("a", 5)
    make("huge", 11)
    assert made[-2:] == ["a", "huge"]
