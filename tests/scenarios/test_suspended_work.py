"""What is under way when a peer is suspended ends without an answer, and no acceptance comes after it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from nodes import World, ask, statements, until

from node import trust
from node.audit_files import DirectoryReader
from protocol.audit.keys import parse_private
from protocol.audit.verify import verify_ledger
from protocol.exchange import commands, events


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.copied(tmp_path)


def audited(world: World, country: str) -> list[str]:
    ledger = world.directories[country] / "ledger"
    key = parse_private((world.root / "auditor").read_text())
    report = verify_ledger(DirectoryReader(ledger), (ledger / "policy").read_bytes(), key)
    return [one.rule.value for one in report.findings]


async def test_a_search_that_ends_during_a_suspension_gives_no_answer(world: World) -> None:
    async with world.daemon("US") as us, world.daemon("CL") as cl:
        real, started, go = us.engine.search, asyncio.Event(), asyncio.Event()

        async def slow(*arguments: Any) -> Any:
            found = await real(*arguments)
            started.set()
            await go.wait()
            return found

        us.engine.search = slow
        asking = asyncio.create_task(ask(cl, world.arguments("known.npz:3")))
        await asyncio.wait_for(started.wait(), 30)
        trust.suspend(us.core, "CL", "operator-1", "stolen keys")
        go.set()
        await until(lambda: "query.failed" in statements(us.core))
        asking.cancel()
        kinds = statements(us.core)
    assert "query.answered" not in kinds
    assert kinds.index("query.accepted") < kinds.index("peer.suspended") < kinds.index("query.failed")
    assert audited(world, "US") == []


async def test_an_entry_that_waits_for_the_ledger_does_not_come_after_the_suspension(world: World) -> None:
    async with world.daemon("US") as us, world.daemon("CL") as cl:
        real, waiting = us.answering._append, []

        def late(command: commands.AppendEntry) -> Any:
            if command.kind == "query.answered" and not us.core.suspension("CL"):
                trust.suspend(us.core, "CL", "operator-1", "stolen keys")
                waiting.append(command)
            return real(command)

        us.answering._append = late
        asking = asyncio.create_task(ask(cl, world.arguments("known.npz:3")))
        await until(lambda: bool(waiting))
        assert isinstance(real(waiting[0]), events.AppendFailed)
        asking.cancel()
        kinds = statements(us.core)
    assert kinds[-1] == "peer.suspended"
    assert audited(world, "US") == []
