"""A served node keeps its cadence: what a peer sees of its size is the same, whatever people did meanwhile."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from nodes import World, ask, statements, until

from node import records
from node.audit_files import DirectoryReader
from node.cadence import Below, Window, state_cadence
from node.core import NodeCore
from node.unfinished import Marks
from protocol.audit.keys import parse_private
from protocol.audit.search import Criteria, search, statistics
from protocol.audit.verify import LedgerInput, audit_ledger
from protocol.statements_records import CADENCE, FILLER, CadenceStated


async def test_with_and_without_a_confirmation_the_next_window_ends_at_the_same_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []
    begin = Window.begin

    def watched(size: int, group: int, below: Below) -> Window:
        begun.append(size)
        return begin(size, group, below)

    monkeypatch.setattr(Window, "begin", watched)
    (tmp_path / "world").mkdir()
    world = World(tmp_path / "world", cadence_seconds=2)
    async with world.daemon("US"), world.daemon("CL") as cl:
        assert (await ask(cl, world.arguments("known.npz:3")))["outcome"] == "hit"
        exchange = next(
            shared.exchange_id
            for shared in _shared(cl.core)
            if shared is not None and shared.type == "query.result"
        )
    home, ends = world.directories["CL"], []
    for confirms in (False, True):
        copy = tmp_path / str(confirms)
        shutil.copytree(home, copy)
        world.directories["CL"] = copy
        begun.clear()
        async with world.daemon("CL") as cl:
            await until(lambda: len(begun) == 1)
            if confirms:
                await cl.thread(records.confirm, cl.core, exchange, True, "one", "two", None)
            await until(lambda: len(begun) == 3)
            ends.append(list(begun))
            assert ("query.confirmed" in statements(cl.core)) == confirms
        report = audit_ledger(
            LedgerInput(
                DirectoryReader(copy / "ledger"),
                (copy / "ledger" / "policy").read_bytes(),
                parse_private((world.root / "auditor").read_text()),
            )
        )
        assert report.report.ok
        counted, found = statistics(report), search(report, Criteria())
        assert counted["fillers"] == report.report.statements[FILLER] > 16
        assert FILLER not in counted["statements"]
        assert counted["totals"]["queries"] == 1
        assert len(found["matches"]) == report.report.size - counted["fillers"]
        assert found["completeness"]["complete"]
        assert len(search(report, Criteria(kind=FILLER))["matches"]) == counted["fillers"]
    assert ends[0] == ends[1] == [ends[0][0] + more for more in (0, 16, 32)]
    assert ends[0][0] % 16 == 0


def _shared(core: NodeCore) -> list[object]:
    opened = [core.journal.open(index) for index in range(core.journal.ledger.size)]
    return [payload.shared if payload is not None else None for payload in opened]


async def test_what_came_while_the_node_was_not_served_does_not_show_after_the_start(tmp_path: Path) -> None:
    world = World(tmp_path, cadence_seconds=86_400)
    async with world.daemon("CL", warm=False) as cl:
        first = cl.core.journal.ledger.size
    sizes = []
    for offline in (0, 7):
        with NodeCore.open(world.directories["CL"]) as core:
            before = core.journal.ledger.size // 16 * 16
            for number in range(offline):
                records.log_reading(core, core.config.auditors[0], "security", "payload", number, 1)
        async with world.daemon("CL") as cl:
            await asyncio.sleep(0.2)
            sizes.append((cl.core.journal.ledger.size - before) // 16)
    assert first >= 16
    assert sizes == [1, 1]


async def test_a_cadence_that_is_switched_off_adds_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with world.daemon("CL") as cl:
        await asyncio.sleep(0.2)
        assert not {FILLER, CADENCE} & set(statements(cl.core))


async def test_the_ledger_says_which_cadence_is_kept_and_when_that_changes(tmp_path: Path) -> None:
    world = World(tmp_path, cadence_seconds=86_400)
    config = world.directories["CL"] / "node.toml"
    told = []
    for now, before in (
        (86_400, 86_400),
        (86_400, 86_400),
        (3_600, 86_400),
        (0, 3_600),
        (0, 0),
        (3_600, 0),
    ):
        old, new = (f"cadence_seconds = {seconds}\n" for seconds in (before, now))
        assert old in config.read_text()
        config.write_text(config.read_text().replace(old, new))
        async with world.daemon("CL", warm=False) as cl:
            said = statements(cl.core)
            assert said.index(CADENCE) < said.index(FILLER)
            told.append([one.seconds for one in _shared(cl.core) if isinstance(one, CadenceStated)])
    assert told == [
        [86_400],
        [86_400],
        [86_400, 3_600],
        [86_400, 3_600, 0],
        [86_400, 3_600, 0],
        [86_400, 3_600, 0, 3_600],
    ]
    with NodeCore.open(world.directories["CL"]) as core:
        names = [one.exchange_id for one in _shared(core) if isinstance(one, CadenceStated)]
        assert len(set(names)) == 4, "of a random exchange each, as every entry of no exchange"
        assert Marks(core.state, CADENCE).open() == names[-1:]


async def test_a_cadence_that_could_not_be_stated_is_stated_at_the_next_tick(tmp_path: Path) -> None:
    world = World(tmp_path, cadence_seconds=1)
    with NodeCore.open(world.directories["CL"]) as core:
        scratch = core.paths.ledger / "scratch"
    hidden = scratch.with_name("away")
    refused = state_cadence
    tried = []

    def hide(core: NodeCore) -> None:
        if not tried:
            scratch.rename(hidden)
        tried.append(core)
        try:
            refused(core)
        finally:
            if hidden.exists():
                hidden.rename(scratch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("node.cadence.state_cadence", hide)
        async with world.daemon("CL", warm=False) as cl:
            await until(lambda: CADENCE in statements(cl.core))
            assert statements(cl.core).count(CADENCE) == 1
            assert len(tried) == 2


async def test_a_disk_that_refuses_fillers_does_not_stop_the_node(tmp_path: Path) -> None:
    world = World(tmp_path, cadence_seconds=1)
    async with world.daemon("CL") as cl:
        payloads = cl.core.paths.ledger / "scratch"
        hidden = payloads.with_name("away")
        payloads.rename(hidden)
        await asyncio.sleep(1.2)
        hidden.rename(payloads)
        size = cl.core.journal.ledger.size
        await until(lambda: cl.core.journal.ledger.size > size)
