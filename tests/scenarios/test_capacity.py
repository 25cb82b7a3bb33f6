"""More questions than a node can work on: turns, a time to come back, and questions that are called off."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from nodes import PLAIN, World, ask, statements, until

from crypto.hitsearch.plain import PlainResponder
from node.query import cancel_query, run_query
from protocol.errors import UnknownExchange


class SlowResponder(PlainResponder):
    def answer(self, prepared: Any, block: Any, stream: Any) -> bytes:
        time.sleep(1.0)
        return super().answer(prepared, block, stream)


SLOW = replace(PLAIN, responder=SlowResponder)


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World.copied(tmp_path)
    path = world.directories["US"] / "node.toml"
    text = path.read_text()
    assert "max_waiting_queries = 16" in text
    path.write_text(text.replace("max_waiting_queries = 16", "max_waiting_queries = 4"))
    return world


async def test_who_has_half_of_the_room_is_told_when_to_ask_again(world: World) -> None:
    async with world.daemon("US", scheme=SLOW) as us, world.daemon("CL") as cl:
        both = [asyncio.create_task(ask(cl, world.arguments("known.npz:3"))) for _ in range(2)]
        await until(lambda: statements(us.core).count("query.accepted") == 2)
        third = await ask(cl, world.arguments("known.npz:3"))
        results = await asyncio.gather(*both)
        fourth = await ask(cl, world.arguments("known.npz:3"))
    assert (third["outcome"], third["reason"]) == ("refused", "busy")
    assert 1 <= third["retry_after_s"] <= 60
    assert [one["outcome"] for one in (*results, fourth)] == ["hit"] * 3
    assert "retry_after_s" not in fourth


async def test_a_question_that_is_called_off_ends_on_both_sides(world: World) -> None:
    async with world.daemon("US", scheme=SLOW) as us, world.daemon("CL") as cl:
        shown: list[str] = []

        def report(progress: dict[str, Any]) -> None:
            shown.extend(progress.get("exchange", "").split())

        arguments = world.arguments("known.npz:3")
        asked = asyncio.create_task(run_query(cl.core, cl.thread, cl.asking, arguments, report))
        await until(lambda: statements(us.core)[-1] == "query.accepted" and bool(shown))
        await cancel_query(cl.asking, {"exchange": shown[0]}, report)
        (result,) = (await asked)["results"]
        await until(lambda: statements(us.core)[-1] == "query.claimed")
        await cancel_query(cl.asking, {"exchange": shown[0]}, report)  # too late: what stands, stands
        with pytest.raises(UnknownExchange):
            await cancel_query(cl.asking, {"exchange": "00" * 16}, report)
        again = await ask(cl, arguments)
        entries = statements(us.core)
    assert (result["outcome"], result["reason"]) == ("failed", "cancelled")
    assert again["outcome"] == "hit"
    assert entries[-5:] == [
        "query.accepted",
        "query.claimed",
        "query.accepted",
        "query.answered",
        "query.claimed",
    ]


async def test_a_question_that_is_called_off_while_keys_are_registered_is_never_asked(world: World) -> None:
    """That takes half a minute, and an officer who pressed Ctrl-C is not there to hear of a hit."""
    async with world.daemon("US") as us, world.daemon("CL") as cl:
        keys_for, registered = cl.registering.keys_for, asyncio.Event()

        async def slow(*arguments: Any) -> Any:
            await registered.wait()
            return await keys_for(*arguments)

        cl.registering.keys_for = slow  # type: ignore[method-assign]
        shown: list[str] = []

        def report(progress: dict[str, Any]) -> None:
            shown.extend(progress.get("exchange", "").split())

        arguments = world.arguments("known.npz:3")
        asked = asyncio.create_task(run_query(cl.core, cl.thread, cl.asking, arguments, report))
        await until(lambda: bool(shown), 5)
        await cancel_query(cl.asking, {"exchange": shown[0]}, report)
        registered.set()
        (result,) = (await asked)["results"]
        assert (result["outcome"], result["reason"]) == ("failed", "cancelled")
        assert not any(kind.startswith("query.") for core in (us.core, cl.core) for kind in statements(core))
        again = await ask(cl, arguments)
    assert again["outcome"] == "hit"
