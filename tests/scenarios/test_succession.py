"""A ledger is lost, a copy restored, and the node goes on under a successor that its peer accepts; clocks that step."""

from __future__ import annotations

import asyncio
import base64
import shutil
from pathlib import Path
from typing import Any

import pytest
from nodes import World, ask, statements, until

from node import succession
from node.acceptance import accept_peer
from node.audit_files import DirectoryReader
from node.core import NodeCore, wall_clock
from node.errors import BadConfig
from node.operations import OPERATIONS
from protocol.audit.keys import parse_private
from protocol.audit.verify import AuditReport, verify_ledger
from protocol.errors import BadDescriptor
from protocol.succession import BadSuccession, read_succession


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.copied(tmp_path)


def audit(world: World, ledger: Path) -> AuditReport:
    key = parse_private((world.root / "auditor").read_text())
    return verify_ledger(DirectoryReader(ledger), (ledger / "policy").read_bytes(), key)


def run(core: NodeCore, operation: str, **arguments: Any) -> dict[str, Any]:
    return OPERATIONS[operation](core, arguments, lambda _: None)


async def lose_an_exchange(world: World, backup: Path) -> None:
    """CL asks twice; of the second question CL's restored directory knows nothing."""
    async with world.daemon("US"):
        async with world.daemon("CL") as cl:
            assert (await ask(cl, world.arguments("known.npz:3")))["reported"]
        shutil.copytree(world.directories["CL"], backup)
        async with world.daemon("CL") as cl:
            assert (await ask(cl, world.arguments("known.npz:4")))["reported"]
    shutil.rmtree(world.directories["CL"])
    shutil.copytree(backup, world.directories["CL"])


async def test_a_successor_names_the_last_witnessed_checkpoint_and_exchanges_go_on(
    world: World, tmp_path: Path
) -> None:
    await lose_an_exchange(world, tmp_path / "backup")
    home = world.directories["CL"]
    with NodeCore.open(world.directories["US"]) as us:
        held = run(us, "peer.witnessed", country="CL")
        old = us.roster.peer("CL")
    whole = held["checkpoint"].encode()
    post_quantum = next(line for line in whole.split(b"\n") if len(line) > 2000) + b"\n"
    with pytest.raises(BadConfig, match="each of its keys"):
        succession.succeed(home, "o", "r", [whole.replace(post_quantum, b"")], wall_clock())
    result = succession.succeed(
        home, "operator-1", "the disk broke", [held["checkpoint"].encode()], wall_clock()
    )
    assert result["size"] == held["size"] == result["copy_size"] + 2
    with NodeCore.open(home) as cl:
        document = succession.export(cl)
        assert statements(cl) == ["ledger.succeeded"]
        fingerprint = cl.descriptor.fingerprint
        assert cl.journal.ledger.verifier.name.endswith("/ledger/2")
    with NodeCore.open(world.directories["US"]) as us:
        given = read_succession(document, old)
        with pytest.raises(BadDescriptor, match="another ledger"):
            accept_peer(us, given.descriptor, "operator")
        arguments = {"country": "CL", "succession": base64.b64encode(document).decode()}
        assert not run(us, "peer.succeed", **arguments)["accepted"]
        with pytest.raises(BadDescriptor, match="fingerprint"):
            run(us, "peer.succeed", **arguments, fingerprint="00")
        assert run(us, "peer.succeed", **arguments, fingerprint=fingerprint)["accepted"]
        assert us.seen("CL") is None
    async with world.daemon("US") as us_daemon, world.daemon("CL") as cl_daemon:
        assert (await ask(cl_daemon, world.arguments("known.npz:5")))["outcome"] == "hit"
        assert us_daemon.core.seen("CL").size == cl_daemon.core.journal.ledger.size
        assert cl_daemon.core.witnessing.told("US") == cl_daemon.core.journal.ledger.size
    for ledger, words in (
        (home / "ledger-2", f"last witnessed at {held['size']} entries"),
        (world.directories["US"] / "ledger", "CL goes on under"),
    ):
        report = audit(world, ledger)
        assert report.ok, report.findings
        assert any(words in notice for notice in report.notices)
    assert audit(world, home / "ledger").ok, "the old ledger stays as it was restored"


async def test_a_successor_that_forgets_what_the_peer_holds_is_refused(world: World, tmp_path: Path) -> None:
    await lose_an_exchange(world, tmp_path / "backup")
    home = world.directories["CL"]
    with NodeCore.open(world.directories["US"]) as us:
        old = us.roster.peer("CL")
    succession.succeed(home, "operator-1", "nobody needs to know", [], wall_clock())
    with NodeCore.open(home) as cl:
        document = succession.export(cl)
    with NodeCore.open(world.directories["US"]) as us:
        with pytest.raises(BadSuccession, match="has witnessed"):
            succession.accept(us, read_succession(document, old), "operator")
        assert us.roster.peer("CL") == old
        assert "succession.accepted" not in statements(us)
    altered = document.replace(b"evidence ", b"evidence A", 1)
    with pytest.raises(BadSuccession):
        read_succession(altered, old)
    with pytest.raises(BadConfig, match="not of"):
        succession.succeed(home, "o", "r", [b"nonsense"], wall_clock())


async def test_open_exchanges_of_the_old_ledger_are_over_and_their_ids_stay_used(
    world: World, tmp_path: Path
) -> None:
    async with world.daemon("CL") as cl:  # nobody answers
        asking = asyncio.create_task(ask(cl, world.arguments("known.npz:3")))
        await until(lambda: "query.intent" in statements(cl.core))
        asking.cancel()
    home = world.directories["CL"]
    succession.succeed(home, "operator-1", "test", [], wall_clock())
    with NodeCore.open(home) as core:
        assert core.state.open_exchanges("q") == []
        assert core.state.count_exchanges()["asked"] == 1


def test_a_clock_that_steps_back_is_on_the_ledger_also_over_a_restart(world: World) -> None:
    home = world.directories["CL"]
    ahead = wall_clock() + 3_600_000
    times = [ahead]
    with NodeCore.open(home, clock=lambda: times[0]) as core:
        assert core.watch.take_step() is None
        OPERATIONS["peer.suspend"](core, {"country": "US", "reason": "test"}, lambda _: None)
        times[0] = ahead - 1_000
        OPERATIONS["peer.resume"](core, {"country": "US", "reason": "test"}, lambda _: None)
        assert "clock.stepped" not in statements(core), "a second is no step"
        times[0] = ahead - 60_000
        OPERATIONS["peer.suspend"](core, {"country": "US", "reason": "test"}, lambda _: None)
        assert statements(core)[-2:] == ["clock.stepped", "peer.suspended"]
        stepped = core.journal.open(core.journal.ledger.size - 2)
        assert stepped is not None
        assert (stepped.shared.before_ms, stepped.shared.after_ms) == (ahead, ahead - 60_000)
    with NodeCore.open(home) as core:
        OPERATIONS["peer.resume"](core, {"country": "US", "reason": "test"}, lambda _: None)
        assert statements(core)[-2:] == ["clock.stepped", "peer.resumed"]
    report = audit(world, home / "ledger")
    assert sum("clock went back" in notice for notice in report.notices) == 2
