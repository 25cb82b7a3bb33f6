"""What a requester can leave on a responder's disk: nothing of a question that it called off or never reported on."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from nodes import World, ask, statements, until

from node.bodies import Kind
from node.core import wall_clock
from node.errors import TooBusy
from node.query import cancel_query, run_query
from protocol import limits
from protocol.errors import UnknownExchange
from protocol.exchange import events
from protocol.exchange.responder import ResponderState


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.copied(tmp_path)


def answers(world: World) -> list[str]:
    return [path.name for path in (world.directories["US"] / "exchange" / "answers").iterdir()]


async def test_an_answer_that_was_called_off_while_it_was_stored_is_not_left_behind(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large answer takes its time on the disk, and the requester sees when all blocks are done."""
    stored, called_off, queued = asyncio.Event(), asyncio.Event(), threading.Event()
    async with world.daemon("US") as us, world.daemon("CL") as cl:
        search, put, feed = us.answering._engine.search, us.core.bodies.put, us.answering.feed

        async def searched(*arguments: Any) -> list[bytes]:
            blocks = await search(*arguments)
            stored.set()
            await called_off.wait()
            return blocks

        def slow_put(kind: Kind, data: bytes) -> bytes:
            name = put(kind, data)
            assert kind is not Kind.ANSWER or queued.wait(10)
            return name

        async def fed(key: bytes, event: Any) -> Any:
            if isinstance(event, events.ReportReceived):
                called_off.set()
                await asyncio.sleep(0.2)
                asyncio.get_running_loop().call_later(0.2, queued.set)
            return await feed(key, event)

        monkeypatch.setattr(us.answering._engine, "search", searched)
        monkeypatch.setattr(us.core.bodies, "put", slow_put)
        monkeypatch.setattr(us.answering, "feed", fed)
        shown: list[str] = []
        asked = asyncio.create_task(
            run_query(
                cl.core,
                cl.thread,
                cl.asking,
                world.arguments("known.npz:3"),
                lambda progress: shown.extend(progress.get("exchange", "").split()),
            )
        )
        await stored.wait()
        await until(lambda: bool(shown))
        await cancel_query(cl.asking, {"exchange": shown[0]}, lambda _: None)
        (result,) = (await asked)["results"]
        assert (result["outcome"], result["reason"]) == ("failed", "cancelled")
        await until(lambda: statements(us.core)[-1] == "query.claimed")
        assert "query.answered" not in statements(us.core)
        await until(lambda: not answers(world), 5)


async def test_an_answer_that_is_never_reported_on_goes_when_nobody_fetches_it_any_more(world: World) -> None:
    """Else every question of a peer that keeps silent would stay on this disk, at full size, for ever."""
    ahead = 0

    def clock() -> int:
        return wall_clock() + ahead

    async with world.daemon("US", clock=clock) as us, world.daemon("CL") as cl:

        async def silence(key: bytes, body: bytes) -> bytes:
            raise TooBusy("the report gets lost")

        us.answering.report = silence  # type: ignore[method-assign]
        asked = asyncio.create_task(ask(cl, world.arguments("known.npz:3")))
        await until(lambda: statements(us.core)[-1] == "query.answered")
        await until(lambda: us.answering.store.count_open([ResponderState.SERVED]) == 1)
        assert len(answers(world)) == 1
        ahead = limits.FETCH_PERIOD + limits.REPORT_PERIOD + limits.MINUTE
        (key,) = us.answering.store.open_keys()
        await us.answering._deliver(key, events.DeadlinePassed())
        assert us.answering.store.count_open([ResponderState.UNREPORTED]) == 1
        await until(lambda: not answers(world))
        with pytest.raises(UnknownExchange):
            await us.answering.answer_of(key)
        asked.cancel()
    async with world.daemon("US", clock=clock) as us:
        assert not us.answering.needed() - us.core.kept.bodies()
