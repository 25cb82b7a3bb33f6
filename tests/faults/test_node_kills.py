"""``kill -9`` of either node at every step of a query: after the restart it ends once, and the ledgers verify."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from mortal_node import STEPS
from nodes import World, ask, register, statements

from node import admin
from node.audit_files import DirectoryReader
from node.core import NodeCore
from node.errors import KeysNotRegistered, NodeNotServed
from protocol import limits
from protocol.audit.keys import parse_private
from protocol.audit.reconcile import reconcile
from protocol.audit.verify import LedgerInput

SCRIPT = Path(__file__).parents[1] / "support" / "mortal_node.py"
QUERY = ("query.",)


class Mortal:
    """A node in a process of its own that dies at points and is started again."""

    def __init__(self, directory: Path, marks: Path, *prefixes: str) -> None:
        self.directory = directory
        self.marks = marks
        self.socket = directory / "admin.sock"
        self._prefixes = prefixes
        self._process: subprocess.Popen[bytes] | None = None
        self.deaths = 0
        marks.mkdir()

    def start(self) -> None:
        command = [sys.executable, str(SCRIPT), str(self.directory), str(self.marks), *self._prefixes]
        environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{SCRIPT.parents[2]}:{SCRIPT.parent}"}
        self._process = subprocess.Popen(command, env=environment)

    def died(self) -> bool:
        assert self._process is not None
        if self._process.poll() is None:
            return False
        assert self._process.returncode == -9, "it died of something else"
        self.deaths += 1
        return True

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
        if self._process is not None:
            self._process.wait()

    async def revive_until(self, done: Any, timeout_s: float = 120) -> None:
        """Start it again whenever it is dead, until ``done()``."""
        end = time.monotonic() + timeout_s
        while not await done():
            assert time.monotonic() < end, (
                f"not settled; passed {sorted(p.name for p in self.marks.iterdir())}"
            )
            if self.died():
                self.start()
            await asyncio.sleep(0.05)

    async def settled(self) -> bool:
        """It answers, and no exchange of its own is open."""
        try:
            return bool((await self.call("status", {}))["exchanges"]["open"] == 0)
        except NodeNotServed:
            return False

    async def call(self, operation: str, arguments: dict[str, Any]) -> dict[str, Any]:
        return await asyncio.to_thread(admin.call, self.socket, operation, arguments)


def checked(world: World) -> tuple[list[str], list[str]]:
    """Both ledgers verify alone and together; the query statements of CL and US."""
    key = parse_private((world.root / "auditor").read_text())
    ledgers = {
        country: LedgerInput(
            DirectoryReader(directory / "ledger"), (directory / "ledger" / "policy").read_bytes(), key
        )
        for country, directory in world.directories.items()
    }
    report = reconcile(ledgers)
    assert report.ok, report.to_json()
    found = []
    for country in ("CL", "US"):
        with NodeCore.open(world.directories[country]) as core:
            found.append([kind for kind in statements(core) if kind.startswith(QUERY)])
            assert core.state.count_exchanges()["open"] == 0
    return found[0], found[1]


async def test_a_responder_killed_at_every_step_answers_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LAST_RETRY", 300)
    world = World.copied(tmp_path)
    names = ("r:logged:", "r:after:Entry", "r:before:SearchFinished", "r:after:SearchFinished")
    mortal = Mortal(world.directories["US"], tmp_path / "marks", *names, "r:before:Report", "r:after:Report")
    mortal.start()
    try:
        async with world.daemon("CL") as cl:
            asked = asyncio.create_task(ask(cl, world.arguments("known.npz:5")))

            async def done() -> bool:
                return asked.done() and await mortal.settled()

            await mortal.revive_until(done)
            result = await asked
            served = (await mortal.call("exchanges", {}))["exchanges"]
    finally:
        mortal.kill()
    assert (result["outcome"], result["hits"], result["reported"]) == ("hit", 1, True)
    assert mortal.deaths == 10, "every named point was passed, once"
    assert [one["state"] for one in served] == ["closed"]
    asks, answers = checked(world)
    assert asks == ["query.intent", "query.result"]
    assert answers == ["query.accepted", "query.answered", "query.claimed"]


async def test_a_requester_killed_at_every_step_asks_once(tmp_path: Path) -> None:
    world = World.copied(tmp_path)
    names = ("q:before:Status", "q:before:Answer", "q:before:Receipt", "q:after:", "q:logged:")
    mortal = Mortal(world.directories["CL"], tmp_path / "marks", *names)
    for early in ("q:before:ProbeEncrypted", "q:before:Restarted", "q:after:Restarted"):
        (mortal.marks / early).touch()
    mortal.start()

    async def is_up() -> bool:
        return await asyncio.to_thread(admin.is_served, mortal.socket)

    try:
        async with world.daemon("US"):
            await mortal.revive_until(is_up)
            with pytest.raises(NodeNotServed):
                await mortal.call("query", world.arguments("known.npz:5"))
            await mortal.revive_until(mortal.settled)
            (asked,) = (await mortal.call("exchanges", {}))["exchanges"]
    finally:
        mortal.kill()
    assert (asked["state"], asked["outcome"], asked["hits"]) == ("answered", "hit", 1)
    assert mortal.deaths >= 11
    asks, answers = checked(world)
    assert asks == ["query.intent", "query.result"]
    assert answers == ["query.accepted", "query.answered", "query.claimed"]


async def test_a_requester_killed_before_the_probe_is_encrypted_sends_nothing(tmp_path: Path) -> None:
    world = World.copied(tmp_path)
    mortal = Mortal(world.directories["CL"], tmp_path / "marks", "q:before:ProbeEncrypted")
    mortal.start()

    async def is_up() -> bool:
        return await asyncio.to_thread(admin.is_served, mortal.socket)

    try:
        async with world.daemon("US"):
            await mortal.revive_until(is_up)
            with pytest.raises(NodeNotServed):
                await mortal.call("query", world.arguments("known.npz:5"))
            mortal._process.wait()  # type: ignore[union-attr]
            assert mortal.died()
            mortal.start()
            await mortal.revive_until(is_up)
            await asyncio.sleep(0.3)
            (asked,) = (await mortal.call("exchanges", {}))["exchanges"]
    finally:
        mortal.kill()
    assert (asked["state"], asked["outcome"], asked["reason"]) == ("failed", "failed", "probe-lost")
    assert checked(world) == ([], [])


def points(role: str) -> set[str]:
    return {f"{prefix}:{name}" for prefix, _, names in STEPS if prefix.endswith(role) for name in names}


def said(world: World, country: str) -> list[str]:
    """What the ledger says of registrations and claims."""
    with NodeCore.open(world.directories[country]) as core:
        found = statements(core, keys=True)
    return [kind for kind in found if kind.startswith(("keys.", "claim.", "peer.suspended"))]


ASKS = ["keys.offered", "keys.opened", "keys.accepted", "claim.sent", "claim.confirmed"]
ANSWERS = ["keys.challenged", "keys.registered", "claim.accepted"]


async def test_a_requester_killed_at_every_step_of_a_registration_and_of_a_claim(tmp_path: Path) -> None:
    world = World.copied(tmp_path, registered=False)
    mortal = Mortal(world.directories["CL"], tmp_path / "marks", "keys:", "claim:")
    mortal.start()
    asked: dict[str, Any] = {}

    async def is_hit() -> bool:
        try:
            (one,) = (await mortal.call("query", world.arguments("known.npz:5")))["results"]
        except NodeNotServed:
            return False
        asked.update(one)
        return bool(one["reported"])

    async def is_confirmed() -> bool:
        try:
            return bool((await mortal.call("claim", {"exchange": asked["exchange"], "officer": "o"}))["ok"])
        except NodeNotServed:
            return False

    try:
        async with world.daemon("US"):
            await mortal.revive_until(is_hit)
            await mortal.revive_until(is_confirmed)
    finally:
        mortal.kill()
    assert {path.name for path in mortal.marks.iterdir()} == points("q")
    assert mortal.deaths == len(points("q"))
    assert checked(world) == (
        ["query.intent", "query.result"],
        ["query.accepted", "query.answered", "query.claimed"],
    )
    assert (said(world, "CL"), said(world, "US")) == (ASKS, ANSWERS)


async def test_a_responder_killed_at_every_step_of_a_registration_and_of_a_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LAST_RETRY", 300)
    world = World.copied(tmp_path, registered=False)
    mortal = Mortal(world.directories["US"], tmp_path / "marks", "keys:", "claim:")
    mortal.start()
    try:
        async with world.daemon("CL") as cl:

            async def is_registered() -> bool:
                try:
                    await asyncio.wait_for(register(cl, "US"), 1)
                except (TimeoutError, KeysNotRegistered):
                    return False
                return True

            await mortal.revive_until(is_registered)
            asked = await ask(cl, world.arguments("known.npz:5"))
            assert asked["outcome"] == "hit", asked
            exchange = asked["exchange"]
            claiming = asyncio.create_task(
                cl.claiming.run({"exchange": exchange, "officer": "o", "hit": 1}, lambda _: None)
            )

            async def is_claimed() -> bool:
                return claiming.done()

            await mortal.revive_until(is_claimed)
            assert (await claiming)["ok"]
    finally:
        mortal.kill()
    assert {path.name for path in mortal.marks.iterdir()} == points("r")
    assert mortal.deaths == len(points("r"))
    assert checked(world) == (
        ["query.intent", "query.result"],
        ["query.accepted", "query.answered", "query.claimed"],
    )
    assert (said(world, "CL"), said(world, "US")) == (ASKS, ANSWERS)
