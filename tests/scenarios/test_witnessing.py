"""Two running nodes as each other's witnesses: cosignatures, lies about sizes, rollbacks, forks, suspension."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest
from nodes import World, ask, statements, until

from crypto.note import open_note, sign_note
from node import trust
from node.audit_files import DirectoryReader
from node.core import NodeCore
from node.errors import PeerSuspended
from node.ledger_store import LedgerRolledBack
from node.status import status
from protocol.audit.keys import parse_private
from protocol.audit.verify import verify_ledger
from protocol.checkpoint import Checkpoint, open_checkpoint
from protocol.conflict import read_conflict, verify_conflict
from protocol.witnessing import OwnLedgerContradicted, witness_verifier


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.copied(tmp_path)


def holds_cosignature(core: NodeCore, peer: str) -> int:
    """The largest size of a node's ledger with a cosignature of the peer that verifies."""
    key = witness_verifier(peer, core.roster.peer(peer).identity)
    (newest, *_) = core.witnessing.state.own_checkpoints(core.witnessing.origin)
    note = open_note(newest.note, [key, core.journal.ledger.verifier])
    assert note.is_signed_by(key)
    assert note.is_signed_by(core.journal.ledger.verifier)
    assert open_checkpoint(newest.note, core.journal.ledger.verifier).checkpoint.head == (
        newest.size,
        newest.root,
    )
    return newest.size


async def test_both_sides_hold_the_others_cosignature_and_it_survives_a_restart(world: World) -> None:
    async with world.daemon("US") as us, world.daemon("CL") as cl:
        for number in (3, 4):
            assert (await ask(cl, world.arguments(f"known.npz:{number}")))["reported"]
        sizes = cl.core.journal.ledger.size, us.core.journal.ledger.size
        assert holds_cosignature(cl.core, "US") == sizes[0]
        # The last entry of US is the claim; CL cosigns it with its next message.
        assert holds_cosignature(us.core, "CL") == sizes[1] - 1
        assert us.core.seen("CL").size == sizes[0]
        assert cl.core.seen("US").size == sizes[1]
    with NodeCore.open(world.directories["CL"]) as core:
        assert core.witnessing.told("US") == sizes[0]
        assert core.witnessing.halted is None


async def test_a_size_that_was_never_signed_neither_stops_nor_stalls_us(world: World) -> None:
    async with world.daemon("US") as us, world.daemon("CL") as cl:
        assert (await ask(cl, world.arguments("known.npz:3")))["reported"]
        with us.core.state.writing() as connection:
            connection.exec_driver_sql("UPDATE peers SET seen_size = 5000")
        result = await asyncio.wait_for(ask(cl, world.arguments("known.npz:4")), 20)
        assert (result["outcome"], result["reason"]) == ("failed", "bad-reply")
        assert cl.core.witnessing.halted is None
        assert cl.core.state.evidence_codes()[-1] == ("US", "bad-message")


async def test_a_restored_copy_is_noticed_by_its_own_state_and_by_its_peer(
    world: World, tmp_path: Path
) -> None:
    home = world.directories["CL"]
    async with world.daemon("US") as us:
        async with world.daemon("CL") as cl:
            assert (await ask(cl, world.arguments("known.npz:3")))["reported"]
        shutil.copytree(home, tmp_path / "backup")
        async with world.daemon("CL") as cl:
            assert (await ask(cl, world.arguments("known.npz:4")))["reported"]
            size = cl.core.journal.ledger.size
            published = open_note(cl.core.journal.ledger.checkpoint(), [cl.core.journal.ledger.verifier])
            assert "concordat/US" in {line.name for line in published.signatures}
        # The ledger says so itself, by the last checkpoint beside it that somebody cosigned.
        cosigned = (home / "ledger" / "cosigned").read_bytes()
        shutil.rmtree(home / "ledger")
        shutil.copytree(tmp_path / "backup" / "ledger", home / "ledger")
        older = (home / "ledger" / "cosigned").read_bytes()
        (home / "ledger" / "cosigned").write_bytes(cosigned)
        with pytest.raises(LedgerRolledBack):
            NodeCore.open(home)
        # If that file is restored too, the node's own state still holds it.
        (home / "ledger" / "cosigned").write_bytes(older)
        with NodeCore.open(home) as core:
            assert status(core)["halted"] == "ledger-rolled-back"
            with pytest.raises(OwnLedgerContradicted):
                core.evidence(0, 0)
        # All is restored: nothing here knows, but the peer does, and proves it by our own signature.
        shutil.rmtree(home)
        shutil.copytree(tmp_path / "backup", home)
        async with world.daemon("CL") as cl:
            assert cl.core.witnessing.halted is None
            result = await asyncio.wait_for(ask(cl, world.arguments("known.npz:4")), 30)
            assert (result["outcome"], result["reason"]) == ("failed", "ledger-rolled-back")
            assert cl.core.witnessing.halted is not None
            before = cl.core.journal.ledger.size
            with pytest.raises(OwnLedgerContradicted):
                trust.suspend(cl.core, "US", "operator", "test")
            assert cl.core.journal.ledger.size == before < size
        with NodeCore.open(home) as core:
            assert status(core)["halted"] == "ledger-rolled-back"
        assert "query.refused" not in statements(us.core), "an older copy is no crime, and nobody was accused"


async def fork(world: World, us: Any, cl: Any) -> None:
    """US holds a checkpoint of CL's ledger that CL's own log signed, and that is not CL's ledger."""
    seen = us.core.seen("CL")
    forged = Checkpoint(cl.core.journal.ledger.verifier.name, seen.size, bytes(32)).to_text()
    note = sign_note(forged, cl.core.journal.ledger._signers)
    with us.core.state.writing() as connection:
        statement = "UPDATE peers SET seen_root = ?, seen_checkpoint = ?"
        connection.exec_driver_sql(statement, (bytes(32), note))


async def test_a_fork_is_kept_shown_and_stops_exchanges_until_the_operator_acts(world: World) -> None:
    ledger = world.directories["US"] / "ledger"
    async with world.daemon("US") as us, world.daemon("CL") as cl:
        assert (await ask(cl, world.arguments("known.npz:3")))["reported"]
        await fork(world, us, cl)
        halted = cl.core.witnessing._contradicted
        # A dishonest CL keeps going although its own signature was shown to it.
        cl.core.witnessing.take = lambda *_: None
        cl.core.witnessing.take_reply = lambda *_: None
        result = await asyncio.wait_for(ask(cl, world.arguments("known.npz:4")), 30)
        assert result["outcome"] == "refused"
        assert result["reason"] == "bad-evidence"
        await until(lambda: "peer.suspended" in statements(us.core))
        assert us.core.suspension("CL") == "inconsistent"
        again = await asyncio.wait_for(ask(cl, world.arguments("known.npz:5")), 30)
        assert (again["outcome"], again["reason"]) == ("refused", "peer-suspended")
        with pytest.raises(PeerSuspended):
            us.asking._require_standing("CL")
        assert halted is not None
        log = us.core.roster.peer("CL").ledger
    (file,) = (ledger / "conflicts").iterdir()
    conflict = read_conflict(file.read_bytes())
    assert verify_conflict(conflict, log)
    assert (conflict.rule, conflict.holder) == ("inconsistent", "US")
    key = parse_private((world.root / "auditor").read_text())
    report = verify_ledger(DirectoryReader(ledger), (ledger / "policy").read_bytes(), key)
    assert [(one.rule.value, one.blame) for one in report.findings] == [("peer-conflict", "CL")]
    with NodeCore.open(world.directories["US"]) as core:
        assert core.suspension("CL") == "inconsistent"
        trust.resume(core, "CL", "operator-2", "talked to them")
        assert core.suspension("CL") == ""
        assert statements(core)[-1] == "peer.resumed"
    file.unlink()
    report = verify_ledger(DirectoryReader(ledger), (ledger / "policy").read_bytes(), key)
    assert [one.rule.value for one in report.findings] == ["conflict-missing"]


async def test_the_operator_suspends_and_resumes_and_both_are_on_the_ledger(world: World) -> None:
    async with world.daemon("US") as us, world.daemon("CL") as cl:
        trust.suspend(us.core, "CL", "operator-1", "their certificate may be stolen")
        result = await asyncio.wait_for(ask(cl, world.arguments("known.npz:4")), 20)
        assert (result["outcome"], result["reason"]) in (
            ("refused", "peer-suspended"),
            ("failed", "error-reply"),
        )
        trust.resume(us.core, "CL", "operator-1", "it was not")
        assert (await ask(cl, world.arguments("known.npz:4")))["outcome"] == "hit"
        kinds = statements(us.core)
    assert "peer.suspended" in kinds
    assert kinds.index("peer.resumed") < kinds.index("query.accepted")
