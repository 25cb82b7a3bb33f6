"""Two nodes and a third party, ``concordat witness`` in a process of its own: there, gone, and back again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nodes import World, ask, new_edition, statements, until
from witness_process import WitnessProcess

from crypto.note import open_note
from node import trust
from node.core import NodeCore
from node.journal import Journal
from node.operations import OPERATIONS
from node.status import status
from protocol.evidence import LogEvidence
from protocol.log_policy import parse_policy
from protocol.seen_by import unseen


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.copied(tmp_path)


@pytest.fixture
def witness(world: World) -> Iterator[WitnessProcess]:
    """It knows the logs of both nodes, and is served."""
    keys = []
    for home in world.directories.values():
        policy = parse_policy((home / "ledger" / "policy").read_bytes())
        keys += [key.vkey for key in policy.logs]
    with WitnessProcess(world.root / "witness", "w.example/third", keys) as process:
        yield process


def configure(world: World, country: str, witness: WitnessProcess, below: str) -> None:
    """The node's own policy: the third party must cosign."""
    home = world.directories[country]
    policy = home / "ledger" / "policy"
    own = [line for line in policy.read_text().splitlines() if line.startswith("log ")]
    policy.write_text("\n".join(own) + "\n" + witness.demand)
    config = home / "node.toml"
    config.write_text(config.read_text().replace('below_quorum = "degrade"', f'below_quorum = "{below}"'))


def demand(world: World, witness: WitnessProcess) -> None:
    """A later edition of the agreement, which demands the third party of both."""
    with NodeCore.open(world.directories["US"]) as us, NodeCore.open(world.directories["CL"]) as cl:
        new_edition(us, cl, witnesses=witness.demand)


def last_seen(holder: Any, peer: str, witness: WitnessProcess) -> bool:
    """Whether the newest checkpoint that a node has seen of its peer carries the third party's cosignature."""
    policy = parse_policy(witness.demand.encode())
    return unseen([policy], holder.core.seen(peer).note) is None


async def test_a_lenient_node_goes_on_without_its_witness_and_says_so(
    world: World, witness: WitnessProcess, caplog: pytest.LogCaptureFixture
) -> None:
    configure(world, "CL", witness, "degrade")
    caplog.set_level(logging.WARNING, "concordat")
    async with world.daemon("US") as us, world.daemon("CL") as cl:
        assert (await ask(cl, world.arguments("known.npz:3")))["outcome"] == "hit"
        assert "quorum.missed" not in statements(cl.core)
        assert last_seen(us, "CL", witness)
        assert not last_seen(cl, "US", witness), "US was not asked to have one"
        witness.kill()
        caplog.clear()
        assert (await ask(cl, world.arguments("known.npz:4")))["outcome"] == "hit"
        assert statements(cl.core).count("quorum.missed") == 1
        assert "below the quorum of witnesses" in caplog.messages
        assert not last_seen(us, "CL", witness)
        witness.start()
        assert (await ask(cl, world.arguments("known.npz:5")))["outcome"] == "hit"
        await until(lambda: statements(cl.core).count("quorum.met") == 1)
        assert statements(cl.core).count("quorum.missed") == 1
        assert last_seen(us, "CL", witness)


async def test_a_strict_node_waits_for_its_witness(world: World, witness: WitnessProcess) -> None:
    configure(world, "CL", witness, "refuse")
    async with world.daemon("US") as us, world.daemon("CL") as cl:
        witness.kill()
        seen = us.core.seen("CL")
        asking = asyncio.create_task(ask(cl, world.arguments("known.npz:3")))
        await until(lambda: "query.intent" in statements(cl.core))
        await asyncio.sleep(0.5)
        assert not asking.done()
        assert us.core.seen("CL") == seen, "nothing has left"
        witness.start()
        assert (await asyncio.wait_for(asking, 30))["outcome"] == "hit"
        assert last_seen(us, "CL", witness)
        assert "quorum.missed" not in statements(cl.core)


async def test_what_an_agreement_demands_holds_in_both_directions(
    world: World, witness: WitnessProcess, caplog: pytest.LogCaptureFixture
) -> None:
    demand(world, witness)
    caplog.set_level(logging.WARNING, "concordat")
    async with world.daemon("US") as us, world.daemon("CL") as cl:
        assert (await ask(cl, world.arguments("known.npz:3")))["reported"]
        assert last_seen(us, "CL", witness)
        assert last_seen(cl, "US", witness)
        witness.kill()
        asking = asyncio.create_task(ask(cl, world.arguments("known.npz:4")))
        await until(lambda: "below what the agreement demands" in caplog.messages)
        assert not asking.done()
        assert statements(us.core).count("query.accepted") == 1
        assert cl.core.config.below_quorum == "degrade", "it is not the sender's to waive"
        witness.start()
        assert (await asyncio.wait_for(asking, 30))["reported"]
        assert last_seen(us, "CL", witness)


async def test_a_peer_that_does_not_ask_the_witness_is_refused_and_so_is_its_answer(
    world: World, witness: WitnessProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    demand(world, witness)

    def careless(daemon: Any) -> Any:
        """A node that sends evidence under whatever checkpoint it has."""

        async def nothing(*_: object) -> None:
            return None

        monkeypatch.setattr(daemon.quorum, "require", nothing)
        journal: Journal = daemon.core.journal
        monkeypatch.setattr(
            daemon.core, "evidence", lambda index, old, _="": journal.evidence(index, old).to_bytes()
        )

    async with world.daemon("US") as us, world.daemon("CL") as cl:
        careless(cl)
        result = await ask(cl, world.arguments("known.npz:3"))
        assert (result["outcome"], result["reason"]) == ("refused", "unseen-checkpoint")
        assert statements(us.core).count("query.refused") == 1
        assert "query.accepted" not in statements(us.core)
    monkeypatch.undo()
    async with world.daemon("US") as us, world.daemon("CL") as cl:
        careless(us)
        result = await ask(cl, world.arguments("known.npz:3"))
        assert (result["outcome"], result["reason"]) == ("failed", "unseen-checkpoint")
        assert cl.core.state.evidence_codes()[-1] == ("US", "unseen-checkpoint")
        assert statements(cl.core).count("query.result") == 2, (
            "refused the one, failed the other: both logged"
        )


async def test_who_is_alone_with_whom_is_said(
    world: World, witness: WitnessProcess, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "concordat")
    words = "nobody outside the pair has to cosign"
    async with world.daemon("US") as us:
        assert status(us.core)["alone_with"] == ["CL"]
        assert words in caplog.messages
    with NodeCore.open(world.directories["US"]) as core:
        OPERATIONS["ledger.witnesses"](core, {"quorum": "all"}, lambda _: None)
        assert trust.alone_with(core) == ["CL"], "the peer is no third"
        OPERATIONS["ledger.witnesses"](core, {"quorum": "any", "third": witness.third}, lambda _: None)
        assert trust.alone_with(core) == ["CL"], "the peer alone would do"
    configure(world, "CL", witness, "degrade")
    with NodeCore.open(world.directories["CL"]) as core:
        assert trust.alone_with(core) == []
    demand(world, witness)
    caplog.clear()
    async with world.daemon("US") as us:
        assert status(us.core)["alone_with"] == []
        assert words not in caplog.messages
        evidence = LogEvidence.from_bytes(us.core.evidence(0, 0))
        assert open_note(evidence.checkpoint, [us.core.journal.ledger.verifier])
