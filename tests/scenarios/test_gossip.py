"""Three nodes that tell each other what they hold: one history shown to one, another to the other, is found."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from nodes import World, ask, statements

from crypto.note import sign_note
from node.acceptance import accept_peer
from node.audit_files import DirectoryReader
from node.core import NodeCore
from node.operations import OPERATIONS
from node.status import status
from protocol.audit.keys import parse_private
from protocol.audit.reconcile import reconcile
from protocol.audit.verify import LedgerInput
from protocol.checkpoint import Checkpoint
from protocol.conflict import read_conflict, verify_conflict
from protocol.witness import AddCheckpoint
from protocol.witnessing import OwnLedgerContradicted


@pytest.fixture
def world(tmp_path: Path) -> World:
    """US and CL, and AR, which both know."""
    world = World.copied(tmp_path, registered=False)
    world.directories["AR"] = world.root / "ar"
    world._make("AR", world.directories["AR"])
    with NodeCore.open(world.directories["AR"]) as ar:
        for country in ("US", "CL"):
            with NodeCore.open(world.directories[country]) as core:
                accept_peer(core, ar.descriptor, "operator")
                accept_peer(ar, core.descriptor, "operator")
    return world


def shown_to(holder: Any, of: Any, size: int, root: bytes | None = None) -> None:
    """A node holds a checkpoint that a log signed: of its own history, or of another."""
    ledger = of.core.journal.ledger
    root = root or of.core.witnessing.root_at(size)
    note = sign_note(Checkpoint(ledger.verifier.name, size, root).to_text(), ledger._signers)
    holder.core.witnessing.observe(of.core.country, AddCheckpoint(0, (), note))


async def test_a_fork_that_gossip_finds_is_a_conflict_like_any_other(world: World) -> None:
    async with world.daemon("US") as us, world.daemon("CL") as cl, world.daemon("AR") as ar:
        assert (await ask(cl, world.arguments("known.npz:3")))["reported"]
        shown_to(ar, cl, us.core.seen("CL").size, bytes(32))
        await us.gossip.round()
        assert us.core.suspension("CL") == "fork"
        assert statements(us.core)[-1] == "peer.suspended"
        assert us.core.suspension("AR") == ""
        log = us.core.roster.peer("CL").ledger
        assert us.core.witnessing.owed == {}
    (file,) = (world.directories["US"] / "ledger" / "conflicts").iterdir()
    conflict = read_conflict(file.read_bytes())
    assert (conflict.rule, conflict.holder) == ("fork", "US")
    assert verify_conflict(conflict, log)


@pytest.mark.parametrize("longer", [False, True])
async def test_sizes_that_differ_are_proven_by_the_ledger_itself(world: World, longer: bool) -> None:
    async with world.daemon("US") as us, world.daemon("CL") as cl, world.daemon("AR") as ar:
        assert (await ask(cl, world.arguments("known.npz:3")))["reported"]
        held = us.core.seen("CL").size
        if longer:
            accept_peer(cl.core, cl.core.roster.peer("AR"), "operator")
            OPERATIONS["peer.suspend"](cl.core, {"country": "AR", "reason": "grows"}, lambda _: None)
            OPERATIONS["peer.resume"](cl.core, {"country": "AR", "reason": "grows"}, lambda _: None)
        size = cl.core.journal.ledger.size if longer else held - 1
        assert size > held or not longer
        shown_to(ar, cl, size)
        await us.gossip.round()
        assert us.core.suspension("CL") == ""
        assert us.core.witnessing.owed == {}
        assert us.core.seen("CL").size == max(size, held)
        assert (await ask(cl, world.arguments("known.npz:4")))["reported"]


@pytest.mark.parametrize("step", [-1, 1])
async def test_a_history_that_cannot_be_proven_holds_exchanges_until_it_is(world: World, step: int) -> None:
    async with world.daemon("US") as us, world.daemon("CL") as cl, world.daemon("AR") as ar:
        assert (await ask(cl, world.arguments("known.npz:3")))["reported"]
        size = us.core.seen("CL").size + step
        shown_to(ar, cl, size, bytes(32))
        real = us.gossip._get

        async def silent(country: str, path: str, limit: int) -> bytes:
            if path.startswith("/v1/consistency"):
                raise TimeoutError
            return await real(country, path, limit)

        us.gossip._get = silent
        await us.gossip.round()
        assert list(us.core.witnessing.owed) == ["CL"]
        assert status(us.core)["owes_proof"] == {"CL": "AR"}
        assert us.core.suspension("CL") == ""
        before = us.core.journal.ledger.size
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ask(cl, world.arguments("known.npz:4")), 2)
        assert us.core.journal.ledger.size == before
        # It answers at last, with the only proofs that it can make.
        us.gossip._get = real
        ledger = cl.core.journal.ledger
        proofs = ledger.consistency(min(size, us.core.seen("CL").size), ledger.size)
        body = {
            "old_size": min(size, us.core.seen("CL").size),
            "new_size": max(size, us.core.seen("CL").size),
        }

        async def lying(country: str, path: str, limit: int) -> bytes:
            from protocol.gossip import ConsistencyReply

            if path.startswith("/v1/consistency"):
                return ConsistencyReply(**body, proof=list(proofs)[:1] or [bytes(32)]).to_bytes()
            return await real(country, path, limit)

        us.gossip._get = lying
        await us.gossip.settle_owed()
        assert us.core.suspension("CL") == "inconsistent"
        assert us.core.witnessing.owed == {}
        log = us.core.roster.peer("CL").ledger
    (file,) = (world.directories["US"] / "ledger" / "conflicts").iterdir()
    assert verify_conflict(read_conflict(file.read_bytes()), log)


async def test_a_rolled_back_node_learns_it_from_whoever_has_seen_more(world: World) -> None:
    async with world.daemon("US") as us, world.daemon("CL") as cl:
        ledger = cl.core.journal.ledger
        note = sign_note(
            Checkpoint(ledger.verifier.name, ledger.size + 9, bytes(32)).to_text(), ledger._signers
        )
        us.core.witnessing.observe("CL", AddCheckpoint(0, (), note))
        await cl.gossip.round()
        assert cl.core.witnessing.halted is not None
        with pytest.raises(OwnLedgerContradicted):
            cl.core.evidence(0, 0)


async def test_auditors_start_from_what_peers_hold(world: World) -> None:
    async with world.daemon("US") as us, world.daemon("CL") as cl, world.daemon("AR") as ar:
        assert (await ask(cl, world.arguments("known.npz:3")))["reported"]
        await us.gossip.round()
        seen = world.directories["US"] / "ledger" / "seen" / "CL"
        assert seen.read_bytes().startswith(us.core.witnessing.returned("CL").split(b"\n\n")[0])
        shown_to(ar, cl, us.core.seen("CL").size, bytes(32))
        ar.core.paths.ledger.joinpath("seen").mkdir()
        ar.core.paths.ledger.joinpath("seen", "CL").write_bytes(ar.core.witnessing.returned("CL"))
        key = parse_private((world.root / "auditor").read_text())

        def rules(*countries: str) -> list[str]:
            given = {}
            for country in countries:
                ledger = world.directories[country] / "ledger"
                policy = (ledger / "policy").read_bytes()
                given[country] = LedgerInput(DirectoryReader(ledger), policy, key)
            report = reconcile(given).to_json()
            return [one["rule"] for one in report["ledgers"]["CL"]["findings"]]

        assert rules("CL", "US") == []
        assert rules("CL", "US", "AR") == ["fork"]
