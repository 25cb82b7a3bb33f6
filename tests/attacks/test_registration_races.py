"""Registrations of keys in an order that nobody meant: several offers at once, no end, and copies from a backup."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from forger import PLAN, Forger, hash_of
from nodes import World, ask, register, statements, until

from crypto.hitsearch.plain import PlainRequester
from node import succession
from node.audit_files import DirectoryReader
from node.claim_records import ClaimRecords, NotClaimable
from node.core import NodeCore, wall_clock
from node.daemon import Daemon
from node.errors import KeysNotRegistered
from node.offers import Offers
from protocol import limits
from protocol.audit.keys import parse_private
from protocol.audit.verify import verify_ledger


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.copied(tmp_path, registered=False)


@pytest.fixture
async def us(world: World) -> AsyncIterator[Daemon]:
    async with world.daemon("US") as daemon:
        daemon.registrar.taken.draw = lambda sets: 0  # type: ignore[method-assign]
        yield daemon


def keys(core: NodeCore) -> list[str]:
    return [kind for kind in statements(core, keys=True) if kind.startswith("keys.")]


def findings(world: World, country: str, ledger: str = "ledger") -> list[tuple[str, str]]:
    """What an audit with the key says of a ledger."""
    directory = world.directories[country] / ledger
    key = parse_private((world.root / "auditor").read_text())
    report = verify_ledger(DirectoryReader(directory), (directory / "policy").read_bytes(), key)
    return [(one.rule.value, one.what) for one in report.findings]


async def test_offers_made_at_once_bring_one_set_into_use(world: World, us: Daemon) -> None:
    """All are challenged before any is decided; an honest responder must not end up with two sets, and blamed."""
    forger = Forger(world.directories["CL"])
    offers = []
    try:
        for _ in range(limits.MAX_KEY_OFFERS):
            forger.sets = [PlainRequester.generate(PLAN) for _ in forger.sets]
            assert (await forger.offer()).status == 200
            offers.append((forger.sets, forger.offered, forger.challenge, forger.keys, forger.keys_hash))
        outcomes = []
        for forger.sets, forger.offered, forger.challenge, forger.keys, forger.keys_hash in offers:
            assert forger.keys_hash == hash_of(forger.sets[0])
            assert (await forger.open()).status == 200
            await forger.upload()
        for forger.sets, forger.offered, *_ in offers:
            decision = await forger.decided()
            outcomes.append((decision.outcome, decision.reason))
    finally:
        await forger.close()
    assert outcomes == [("registered", None), *[("refused", "keys-registered")] * 2]
    assert len(us.registrar.records.keys.all_keys("r")) == 1
    stored = list((world.directories["US"] / "exchange" / "keys").iterdir())
    assert [path.name for path in stored] == [offers[0][4].hex()], "bytes that are not used do not stay"
    assert us.core.suspension("CL") == "", "an honest node may have begun anew"
    assert findings(world, "US") == []


async def test_a_set_that_is_about_to_come_into_use_counts(
    world: World, us: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A responder that dies between two decisions and takes up the later one first."""
    records, decisions = us.registrar.records, us.registrar.decisions
    monkeypatch.setattr(us.registrar, "_begin_check", lambda name: None)
    forger = Forger(world.directories["CL"])
    try:
        for _ in range(2):
            forger.sets = [PlainRequester.generate(PLAN) for _ in forger.sets]
            await forger.offer()
            await forger.open()
            await forger.upload()
    finally:
        await forger.close()
    first, second = await us.thread(lambda: records.keys.registrations("r", only_open=True))

    def decide() -> None:
        decisions.store(second, records.record(second), None, 0)
        decisions.store(first, records.record(first), None, 0)
        decisions.finish(first.exchange_id)
        decisions.finish(second.exchange_id)

    await us.thread(decide)
    assert keys(us.core)[2:] == ["keys.refused", "keys.registered"]
    assert len(records.keys.all_keys("r")) == 1


async def test_a_responder_that_never_decides_is_given_up(
    world: World, us: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(us.registrar, "_begin_check", lambda name: None)
    async with world.daemon("CL") as cl:
        waiting = asyncio.create_task(register(cl, "US"))
        (work,) = [one async for one in _works(cl)]
        await until(lambda: work.step == "the peer checks")
        late = cl.core.clock() + 2 * limits.REGISTRATION_PERIOD + 60_000
        monkeypatch.setattr(cl.core, "_clock", lambda: late)
        with pytest.raises(KeysNotRegistered, match="overdue"):
            await asyncio.wait_for(waiting, 20)
        assert keys(cl.core) == ["keys.offered", "keys.opened", "keys.failed"]
        (row,) = cl.registering.offers.keys.registrations("q")
        assert cl.registering.offers._record(row).secrets == []


async def _works(daemon: Daemon) -> AsyncIterator[Any]:
    await until(lambda: bool(daemon.registering._works))
    for work in daemon.registering._works.values():
        yield work


class TestRestoredCopy:
    """A copy from before the challenge must not open the offer once more: the sets of both openings would be all."""

    async def _restored(self, world: World, backup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """CL has offered; a copy is made; the keys come into use, and CL asks under them; the copy comes back."""
        home, told = world.directories["CL"], asyncio.Event()

        def taken(self: Offers, at: Any, body: bytes) -> Any:
            told.set()
            return at

        with monkeypatch.context() as patch:
            patch.setattr(Offers, "take", taken)
            async with world.daemon("US"), world.daemon("CL") as cl:
                task = asyncio.create_task(register(cl, "US"))
                await asyncio.wait_for(told.wait(), 20)
                task.cancel()
        shutil.copytree(home, backup)
        async with world.daemon("US"), world.daemon("CL") as cl:
            await register(cl, "US")
            assert (await ask(cl, world.arguments("known.npz:3")))["outcome"] == "hit"
        shutil.rmtree(home)
        shutil.copytree(backup, home)

    async def test_the_successor_of_a_restored_ledger_opens_no_earlier_offer(
        self, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await self._restored(world, tmp_path / "backup", monkeypatch)
        home = world.directories["CL"]
        succession.succeed(home, "operator-1", "the disk broke", [], wall_clock())
        with NodeCore.open(home) as core:
            offers = Offers(core)
            (row,) = offers.keys.registrations("q")
            assert (row.is_open, row.record) == (False, b""), "its secrets are gone"
            assert offers.open_targets() == []
        assert findings(world, "CL", "ledger-2") == []

    async def test_claims_of_a_lost_ledger_are_not_made_under_its_successor(self, tmp_path: Path) -> None:
        """Their query is not on the new ledger: an audit would lay them to the node that claims."""
        world = World.copied(tmp_path)
        async with world.daemon("US"), world.daemon("CL") as cl:
            exchange = bytes.fromhex((await ask(cl, world.arguments("known.npz:3")))["exchange"])
        with NodeCore.open(world.directories["CL"]) as core:
            begun = ClaimRecords(core).begin(exchange, None, "officer-1")
        succession.succeed(world.directories["CL"], "operator-1", "the disk broke", [], wall_clock())
        with NodeCore.open(world.directories["CL"]) as core:
            records = ClaimRecords(core)
            assert records.resume() == []
            assert records.shown(exchange)["hits"][0]["state"] == "failed", "nobody confirmed it"
            with pytest.raises(NotClaimable, match="succeeded"):
                records.begin(exchange, begun.number, "officer-1")
            assert statements(core) == ["ledger.succeeded"]


async def test_uploads_over_and_over_take_one_worker_and_one_file(
    us: Daemon, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys of 31 MB each, loaded by a worker: a peer must not keep all of them busy with bytes that are here."""
    honest, loaded, go_on = us.engine.check_keys, 0, asyncio.Event()

    async def slowly(*arguments: Any) -> None:
        nonlocal loaded
        loaded += 1
        await go_on.wait()
        await honest(*arguments)

    monkeypatch.setattr(us.engine, "check_keys", slowly)
    forger = Forger(world.directories["CL"])
    try:
        await forger.offer()
        await forger.open()
        first = asyncio.create_task(forger.upload())
        await until(lambda: loaded == 1)
        others = [asyncio.create_task(forger.upload()) for _ in range(3)]
        done, _ = await asyncio.wait(others, timeout=5)
        assert [one.result() for one in done] == [503] * 3
        go_on.set()
        assert await first == 201
        assert (await forger.decided()).outcome == "registered"
        assert await forger.upload() == 201
    finally:
        go_on.set()
        await forger.close()
    assert loaded == 1
