"""The engine: work in other processes, the loop free, crashes survived, masks never used twice."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crypto.contexts import Context, hash_fields
from crypto.errors import BadCiphertext, BadKeys
from crypto.hitsearch.masks import MaskStream
from crypto.hitsearch.parameters import plan_for
from crypto.hitsearch.plain import PlainRequester, PlainResponder
from crypto.templates import make_template
from node.engine import Engine, SearchJob
from node.engine_worker import Budget, Scheme
from node.errors import WorkerLost
from node.gallery import BlockRef, GalleryStore
from node.profiles import builtin
from node.state import open_engine
from node.synthetic import images, people, write_features

PLAIN = Scheme(plan_for, PlainRequester, PlainResponder, MaskStream)
PROFILE = builtin("embedding-128")
PLAN = plan_for(PROFILE.search)
SEAL_KEY = bytes(range(32))


class Gallery:
    def __init__(self, directory: Path, count: int) -> None:
        self.vectors = images(people(count, 7), 1, 8)[:, 0]
        write_features(directory / "gallery.npz", self.vectors)
        engine = open_engine(directory / "gallery.sqlite")
        store = GalleryStore(engine, directory / "gallery", SEAL_KEY)
        store.import_file(directory / "gallery.npz", PROFILE, "face", os.urandom)
        self.blocks = tuple(store.blocks("face", PROFILE.digest))
        engine.dispose()


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    return Gallery(tmp_path_factory.mktemp("gallery"), 20_000)


class Asked:
    def __init__(self, directory: Path, probe: Any) -> None:
        self.requester = PlainRequester.generate(PLAN)
        data = self.requester.evaluation_keys()
        self.keys_path = directory / "keys"
        self.keys_path.write_bytes(data)
        self.keys_hash = hash_fields(Context.EVALUATION_KEYS, data)
        self.query = self.requester.encrypt(make_template(probe, PROFILE))

    def job(self, blocks: tuple[BlockRef, ...], query: bytes | None = None) -> SearchJob:
        return SearchJob(
            PROFILE.search,
            self.keys_path,
            self.keys_hash,
            self.query if query is None else query,
            secrets.token_bytes(16),
            secrets.token_bytes(32),
            blocks,
        )


def nothing(_: int, __: int) -> None:
    return None


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
    engine = Engine(Scheme(plan_for, PlainRequester, DyingResponder, MaskStream), SEAL_KEY, 1, 512 * 2**20)
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
    engine = Engine(Scheme(plan_for, PlainRequester, HopelessResponder, MaskStream), SEAL_KEY, 1, 512 * 2**20)
    asked = Asked(tmp_path, gallery.vectors[3])
    try:
        with pytest.raises(WorkerLost):
            await engine.search(asked.job(gallery.blocks[:1]), nothing)
        await engine.check_keys(PROFILE.search, asked.keys_path, asked.keys_hash)
    finally:
        await engine.close()


async def test_the_event_loop_answers_while_workers_compute(tmp_path: Path, gallery: Gallery) -> None:
    engine = Engine(Scheme(plan_for, PlainRequester, SlowResponder, MaskStream), SEAL_KEY, 1, 512 * 2**20)
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
    assert budget.fits(10)
    assert not budget.fits(11)
    make("huge", 11)
    make("huge", 11)
    assert made[-2:] == ["huge", "huge"]
