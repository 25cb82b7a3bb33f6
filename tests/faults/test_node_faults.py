"""Faults of this machine and of the peer while a query runs: full disks, silence, lost workers."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from faulty_files import HookedFiles
from nodes import PLAIN, World, ask, statements

from crypto.hitsearch.plain import PlainResponder
from node.daemon import Daemon
from node.engine_worker import Scheme
from node.errors import StorageFailed
from node.state import State
from protocol import limits
from protocol.exchange import requester


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.copied(tmp_path)


def queries(daemon: Daemon) -> list[str]:
    return [kind for kind in statements(daemon.core) if kind.startswith("query.")]


class Disk:
    """A disk below the ledger that is full whenever ``full`` is set."""

    def __init__(self) -> None:
        self.full = False
        self.refused = 0
        self.files = HookedFiles(self._check)

    def _check(self, number: int, name: str, path: Path) -> None:
        if self.full and name == "create" and "ledger" in path.parts:
            self.refused += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def test_a_full_disk_of_the_responder_delays_the_decision_and_nothing_is_computed(world: World) -> None:
    disk = Disk()
    async with world.daemon("US", files=disk.files) as us, world.daemon("CL") as cl:
        disk.full = True
        asked = asyncio.create_task(ask(cl, world.arguments("known.npz:1")))
        while disk.refused < 3:  # noqa: ASYNC110 - the disk has no events
            await asyncio.sleep(0.05)
        assert not asked.done()
        assert queries(us) == []
        disk.full = False
        result = await asked
        assert queries(us) == ["query.accepted", "query.answered", "query.claimed"]
    assert result["outcome"] == "hit"


async def test_a_full_disk_of_the_requester_sends_nothing(world: World) -> None:
    disk = Disk()
    async with world.daemon("US") as us, world.daemon("CL", files=disk.files) as cl:
        disk.full = True
        result = await ask(cl, world.arguments("known.npz:1"))
        disk.full = False
        assert (result["outcome"], result["reason"]) == ("failed", "internal")
        assert queries(cl) == []
        assert queries(us) == []
        assert (await ask(cl, world.arguments("known.npz:1")))["outcome"] == "hit"


async def test_state_that_cannot_be_stored_is_taken_up_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from node import driver

    monkeypatch.setattr(driver, "RETRY_STORAGE_S", 0.05)
    commit = State.commit_step
    calls = 0

    def sometimes(self: State, *arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls % 3 == 0:
            raise StorageFailed("state.sqlite refused a write: OperationalError")
        commit(self, *arguments)

    async with world.daemon("US") as us, world.daemon("CL") as cl:
        monkeypatch.setattr(State, "commit_step", sometimes)
        result = await ask(cl, world.arguments("known.npz:1"))
        assert queries(us) == ["query.accepted", "query.answered", "query.claimed"]
        assert queries(cl) == ["query.intent", "query.result"]
    assert (result["outcome"], result["reported"]) == ("hit", True)
    assert calls > 12


async def test_a_peer_that_is_down(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "QUERY_LIFE", 3000)
    async with world.daemon("CL") as cl:
        result = await ask(cl, world.arguments("known.npz:1"))
        assert (result["outcome"], result["reason"]) == ("failed", "peer-unreachable")
        assert queries(cl) == ["query.intent", "query.result"]


class StuckResponder(PlainResponder):
    """Never answers."""

    def answer(self, prepared: Any, block: Any, stream: Any) -> bytes:
        signal.pause()
        raise AssertionError


async def test_a_peer_that_falls_silent_after_its_acceptance(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ANSWER_PERIOD", 1500)
    monkeypatch.setattr(requester, "GRACE", 500)
    stuck = Scheme(PLAIN.plan_for, PLAIN.requester, StuckResponder, PLAIN.mask_stream)
    async with world.daemon("CL") as cl:
        async with world.daemon("US", scheme=stuck) as us:
            asked = asyncio.create_task(ask(cl, world.arguments("known.npz:1")))
            while "query.accepted" not in queries(us):  # noqa: ASYNC110 - the ledger has no events
                await asyncio.sleep(0.05)
        result = await asked
        assert (result["outcome"], result["reason"]) == ("failed", "answer-overdue")
        assert queries(cl) == ["query.intent", "query.result"]


async def test_a_search_that_does_not_end_in_time_fails_on_both_ledgers(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ANSWER_PERIOD", 1500)
    stuck = Scheme(PLAIN.plan_for, PLAIN.requester, StuckResponder, PLAIN.mask_stream)
    async with world.daemon("US", scheme=stuck) as us, world.daemon("CL") as cl:
        result = await ask(cl, world.arguments("known.npz:1"))
        assert (result["outcome"], result["reason"]) == ("failed", "peer-failed")
        assert queries(us) == ["query.accepted", "query.failed"]
        assert queries(cl) == ["query.intent", "query.result"]


class DeadlyResponder(PlainResponder):
    """Kills its process, every time."""

    def answer(self, prepared: Any, block: Any, stream: Any) -> bytes:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


async def test_a_query_that_kills_workers_fails_and_the_node_lives_on(world: World) -> None:
    deadly = Scheme(PLAIN.plan_for, PLAIN.requester, DeadlyResponder, PLAIN.mask_stream)
    async with world.daemon("US", scheme=deadly) as us, world.daemon("CL") as cl:
        result = await ask(cl, world.arguments("known.npz:1"))
        assert (result["outcome"], result["reason"]) == ("failed", "peer-failed")
        assert queries(us) == ["query.accepted", "query.failed"]
        again = await ask(cl, world.arguments("known.npz:1"))
        assert again["outcome"] == "failed"


async def test_the_answer_that_a_peer_alters_is_no_answer(world: World) -> None:
    async with world.daemon("US") as us, world.daemon("CL") as cl:
        answer_of = us.answering.answer_of

        async def altered(key: bytes) -> tuple[Any, int]:
            path, length = await answer_of(key)
            data = bytearray(path.read_bytes())
            data[7] ^= 1
            path.write_bytes(data)
            return path, length

        us.answering.answer_of = altered
        result = await ask(cl, world.arguments("known.npz:1"))
        assert (result["outcome"], result["reason"]) == ("failed", "bad-answer")
        assert queries(cl) == ["query.intent", "query.result"]
        assert queries(us) == ["query.accepted", "query.answered", "query.claimed"]
