"""The engine under pressure: workers that die at the worst moment, queries called off, and a close in between."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from engines import PLAIN, PLAN, PROFILE, SEAL_KEY, Asked, Gallery, nothing

import crypto.errors
import node.errors
from crypto.errors import BadKeys, ConcordatError
from crypto.hitsearch.masks import MaskStream
from crypto.hitsearch.plain import PlainBlock, PlainResponder
from node.bodies import Bodies
from node.engine import Engine
from node.errors import WorkerLost
from node.warming import Warmer

SIZE = PLAN.search_level * 8 * PROFILE.n * PLAN.degree
ROOM = 8 * SIZE * 8 // 5
FLAG = "TEST_ENGINE_FLAG"


def first_time(what: str) -> bool:
    """Whether no worker did this before."""
    try:
        (Path(os.environ[FLAG]) / what).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


class DiesEncoding(PlainResponder):
    """Is killed with half of a block in the shared memory."""

    def encode(self, templates: Any, out: Any = None) -> PlainBlock:
        if out is not None and first_time("encode"):
            out[: len(out) // 2] = 2**63
            os.kill(os.getpid(), signal.SIGKILL)
        return super().encode(templates, out)


class DiesReading(PlainResponder):
    """Is killed while it reads a block that is there."""

    def encoded(self, words: Any) -> PlainBlock:
        if first_time("read"):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().encoded(words)


class FailsEncoding(PlainResponder):
    """Stops in the middle of a block with an error of ours."""

    def encode(self, templates: Any, out: Any = None) -> PlainBlock:
        if out is not None and first_time("encode"):
            out[: len(out) // 2] = 2**63
            raise ArithmeticError
        return super().encode(templates, out)


class Slow(PlainResponder):
    def answer(self, prepared: Any, block: Any, stream: MaskStream) -> bytes:
        time.sleep(0.1)
        return bytes(PLAN.answer_block_bytes)


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    return Gallery(tmp_path_factory.mktemp("gallery"), 20_000)


@pytest.fixture(autouse=True)
def flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "flags").mkdir()
    monkeypatch.setenv(FLAG, str(tmp_path / "flags"))


@asynccontextmanager
async def engine_of(responder: type[Any], workers: int = 2) -> AsyncIterator[Engine]:
    engine = Engine(replace(PLAIN, responder=responder), SEAL_KEY, workers, ROOM)
    try:
        await engine.start()
        yield engine
    finally:
        await engine.close()


def right(asked: Asked, answer: list[bytes]) -> bool:
    """Whether the probe's own record is the one hit."""
    return sum(len(asked.requester.open_block(block).hits()) for block in answer) == 1


@pytest.mark.parametrize("responder", [DiesEncoding, DiesReading])
async def test_a_block_whose_writer_was_killed_is_encoded_anew(
    tmp_path: Path, gallery: Gallery, responder: type[Any]
) -> None:
    asked = Asked(tmp_path, gallery.vectors[17_000])
    async with engine_of(responder) as engine:
        for _ in range(3):
            jobs = [asked.job(gallery.blocks) for _ in range(3)]
            answers = await asyncio.gather(*(engine.search(job, nothing) for job in jobs))
            assert all(right(asked, answer) for answer in answers)
        assert engine.encoded_bytes == len(gallery.blocks) * SIZE


async def test_a_block_whose_writer_failed_is_encoded_anew(tmp_path: Path, gallery: Gallery) -> None:
    asked = Asked(tmp_path, gallery.vectors[17_000])
    async with engine_of(FailsEncoding) as engine:
        with pytest.raises(Exception, match="ArithmeticError"):
            await engine.search(asked.job(gallery.blocks), nothing)
        for _ in range(2):
            job = asked.job(gallery.blocks)
            assert right(asked, await engine.search(job, nothing))


async def test_who_opens_and_calls_off_keeps_nobody_waiting_and_leaves_nothing(
    tmp_path: Path, gallery: Gallery
) -> None:
    asked = Asked(tmp_path, gallery.vectors[0])
    async with engine_of(Slow, 1) as engine:
        long = asyncio.create_task(engine.search(replace(asked.job(gallery.blocks * 20), peer="CL"), nothing))
        honest = asyncio.create_task(
            engine.search(replace(asked.job(gallery.blocks * 3), peer="US"), nothing)
        )
        for _ in range(30):
            query = asyncio.create_task(
                engine.search(replace(asked.job(gallery.blocks * 50), peer="CL"), nothing)
            )
            await asyncio.sleep(0.01)
            query.cancel()
            with pytest.raises(asyncio.CancelledError):
                await query
        assert engine.waiting_s() < 50 * engine._pace, "what was called off does not count"
        await asyncio.wait_for(honest, 5)
        assert not long.done()
        await engine.check_keys(PROFILE.search, asked.keys_path, asked.keys_hash)
        long.cancel()
        with pytest.raises(asyncio.CancelledError):
            await long
        assert engine.waiting_s() == 0
        assert engine._lanes.clear() == []
        assert not engine._lanes._started


async def test_keys_that_do_not_load_do_not_keep_the_others_cold(tmp_path: Path) -> None:
    """One damaged file of one peer is that peer's loss."""
    warmed: list[bytes] = []

    class Engines:
        async def warm(self, search: Any, path: Path, keys_hash: bytes, block: Any) -> None:
            if keys_hash == b"damaged":
                raise BadKeys("the evaluation keys do not have the announced hash")
            warmed.append(keys_hash)

    class Core:
        bodies = Bodies(tmp_path)

    async def thread(function: Callable[[], Any]) -> Any:
        return [(None, name, [0, 1]) for name in (b"damaged", b"whole")]

    await Warmer(Core(), thread, Engines()).run()  # type: ignore[arg-type]
    assert warmed == [b"whole"] * 2


async def ends(work: Callable[[], Any]) -> type[BaseException]:
    """How a piece of work ends, whose own task nobody cancelled."""
    try:
        await work()
    except BaseException as error:  # noqa: BLE001 - which one it is, is what is asked
        return type(error)
    raise AssertionError("the work was done")


async def test_an_engine_that_closes_tells_who_waits(tmp_path: Path, gallery: Gallery) -> None:
    """What runs, what is queued and what comes afterwards all end in the same typed error."""
    asked = Asked(tmp_path, gallery.vectors[0])
    async with engine_of(Slow, 1) as engine:
        begun = asyncio.Event()
        running = asyncio.create_task(
            ends(lambda: engine.search(asked.job(gallery.blocks * 5), lambda *_: begun.set()))
        )
        await begun.wait()
        queued = asyncio.create_task(
            ends(lambda: engine.search(replace(asked.job(gallery.blocks), peer="CL"), nothing))
        )
        idle = asyncio.create_task(
            ends(lambda: engine.warm(PROFILE.search, asked.keys_path, asked.keys_hash, gallery.blocks[0]))
        )
        await asyncio.sleep(0.05)
        await engine.close()
        found = await asyncio.wait_for(asyncio.gather(running, queued, idle), 5)
        later = await ends(lambda: engine.search(asked.job(gallery.blocks), nothing))
    assert [*found, later] == [WorkerLost] * 4


def test_every_error_of_a_worker_comes_back_as_what_it_was() -> None:
    """Workers raise what ``crypto`` and the storage raise; a pipe that cannot carry it would lose a query."""
    found = [*vars(crypto.errors).values(), *vars(node.errors).values()]
    kinds = {one for one in found if isinstance(one, type) and issubclass(one, ConcordatError)}
    assert {BadKeys, WorkerLost} <= kinds
    for kind in kinds:
        again = pickle.loads(pickle.dumps(kind("words")))
        assert (type(again), str(again)) == (kind, "words")
