"""Nothing leaves under a checkpoint that the policy's witnesses have not cosigned, or it is said loudly."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from nodes import World, ask, statements, until

from crypto.note import CosignatureSigner, add_signatures, open_note
from crypto.signing import SigningKey
from node.core import NodeCore
from node.errors import BelowQuorum
from node.operations import OPERATIONS
from protocol.errors import EvidenceRejected
from protocol.evidence import LogEvidence, StaleCheckpoint
from protocol.log_policy import parse_policy
from protocol.witness import AddCheckpoint


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.copied(tmp_path)


def configure(world: World, country: str, quorum: str, below: str) -> None:
    home = world.directories[country]
    with NodeCore.open(home) as core:
        shown = OPERATIONS["ledger.witnesses"](core, {"quorum": quorum}, lambda _: None)
        assert shown["quorum"] == "witnesses"
    config = (home / "node.toml").read_text()
    assert 'below_quorum = "degrade"' in config
    (home / "node.toml").write_text(config.replace('"degrade"', f'"{below}"'))


async def test_what_is_sent_is_cosigned_first(world: World) -> None:
    configure(world, "CL", "all", "refuse")
    async with world.daemon("US") as us, world.daemon("CL") as cl:
        assert (await ask(cl, world.arguments("known.npz:3")))["outcome"] == "hit"
        policy = parse_policy((world.directories["CL"] / "ledger" / "policy").read_bytes())
        evidence = LogEvidence.from_bytes(cl.core.evidence(0, 0))
        assert policy.missing(open_note(evidence.checkpoint, policy.verifiers)) is None
        assert "quorum.missed" not in statements(cl.core)
        assert us.core.seen("CL").size == cl.core.journal.ledger.size


async def test_below_the_quorum_a_strict_node_sends_nothing(world: World) -> None:
    configure(world, "US", "all", "refuse")
    async with world.daemon("US") as us, world.daemon("CL") as cl:
        cl.server._core.witnessing.observe = lambda *_: b"no cosignature"
        seen = cl.core.seen("US")
        asking = asyncio.create_task(ask(cl, world.arguments("known.npz:3")))
        await until(lambda: "query.accepted" in statements(us.core))
        with pytest.raises(BelowQuorum):
            await us.quorum.require(us.core.journal.ledger.size, "CL")
        with pytest.raises(BelowQuorum):
            us.core.evidence(us.core.journal.ledger.size - 1, 0)
        assert not asking.done()
        assert cl.core.seen("US") == seen, "nothing of US has left"
        asking.cancel()


async def test_below_the_quorum_a_lenient_node_says_so_and_says_when_it_is_over(world: World) -> None:
    configure(world, "US", "all", "degrade")
    async with world.daemon("US") as us, world.daemon("CL") as cl:
        real, cl.core.witnessing.observe = cl.core.witnessing.observe, lambda *_: b"no cosignature"
        assert (await ask(cl, world.arguments("known.npz:3")))["outcome"] == "hit"
        assert statements(us.core).count("quorum.missed") == 1
        cl.core.witnessing.observe = real
        assert (await ask(cl, world.arguments("known.npz:4")))["outcome"] == "hit"
        assert statements(us.core).count("quorum.met") == 1


async def test_a_restart_forgets_neither_that_the_quorum_was_missed_nor_to_say_that_it_is_met(
    world: World,
) -> None:
    configure(world, "US", "all", "degrade")
    async with world.daemon("CL") as cl:
        real = cl.core.witnessing.observe
        for life in range(2):
            cl.core.witnessing.observe = lambda *_: b"no cosignature"
            async with world.daemon("US") as us:
                assert (await ask(cl, world.arguments(f"known.npz:{life}")))["outcome"] == "hit"
                assert statements(us.core).count("quorum.missed") == 1
        cl.core.witnessing.observe = real
        for life in range(2):
            async with world.daemon("US") as us:
                assert (await ask(cl, world.arguments(f"known.npz:{life + 2}")))["outcome"] == "hit"
                assert statements(us.core).count("quorum.missed") == 1
                assert statements(us.core).count("quorum.met") == 1


async def test_a_witness_takes_only_what_continues_what_it_holds(world: World) -> None:
    async with world.daemon("US") as us, world.daemon("CL") as cl:
        assert (await ask(cl, world.arguments("known.npz:3")))["outcome"] == "hit"
        ledger, witness = cl.core.journal.ledger, us.core.witnessing
        head, note = ledger.published()
        assert witness.observe("CL", AddCheckpoint(head.size, (), note))
        with pytest.raises(StaleCheckpoint):
            witness.observe("CL", AddCheckpoint(0, (), note))
        OPERATIONS["peer.suspend"](cl.core, {"country": "US", "reason": "grow"}, lambda _: None)
        longer, grown = ledger.published()
        with pytest.raises(EvidenceRejected):
            witness.observe("CL", AddCheckpoint(head.size, (bytes(32),), grown))
        assert us.core.suspension("CL") == "inconsistent"
        assert us.core.seen("CL").size == head.size < longer.size
        assert witness.observe(
            "CL", AddCheckpoint(head.size, tuple(ledger.consistency(head.size, longer.size)), grown)
        )
        assert us.core.seen("CL").size == longer.size


def test_the_cosigned_file_holds_all_witnesses_of_a_checkpoint_that_is_no_longer_the_newest(
    world: World,
) -> None:
    signers = [CosignatureSigner(f"w{n}.example", SigningKey.from_seed(bytes([n]) * 32), 1) for n in (1, 2)]
    home = world.directories["US"]
    lines = "".join(f"witness {one.verifier.name} {one.verifier.vkey}\n" for one in signers)
    lines += "group both all w1.example w2.example\nquorum both\n"
    data = (home / "ledger" / "policy").read_bytes().replace(b"quorum none\n", lines.encode())
    policy = parse_policy(data)
    with NodeCore.open(home) as core:
        _, note = core.journal.ledger.published()
        OPERATIONS["peer.suspend"](core, {"country": "CL", "reason": "grow"}, lambda _: None)
        core.witnessing.take_cosigned(policy, add_signatures(note, signers))
    assert policy.shortfall((home / "ledger" / "cosigned").read_bytes()) is None


def test_a_newer_checkpoint_with_too_few_cosignatures_does_not_hide_an_older_one_with_the_quorum(
    world: World,
) -> None:
    signers = [CosignatureSigner(f"w{n}.example", SigningKey.from_seed(bytes([n]) * 32), 1) for n in (1, 2)]
    home = world.directories["US"]
    lines = "".join(f"witness {one.verifier.name} {one.verifier.vkey}\n" for one in signers)
    lines += "group both all w1.example w2.example\nquorum both\n"
    data = (home / "ledger" / "policy").read_bytes().replace(b"quorum none\n", lines.encode())
    (home / "ledger" / "policy").write_bytes(data)
    policy, file = parse_policy(data), home / "ledger" / "cosigned"

    def kept() -> tuple[int, bool]:
        note = file.read_bytes()
        return int(note.split(b"\n")[1]), policy.shortfall(note) is None

    with NodeCore.open(home) as core:
        notes = []
        for number in range(4):
            what = "peer.resume" if number % 2 else "peer.suspend"
            OPERATIONS[what](core, {"country": "CL", "reason": "grow"}, lambda _: None)
            notes.append(core.journal.ledger.published())
        sizes = [head.size for head, _ in notes]
        core.witnessing.take_cosigned(policy, add_signatures(notes[1][1], signers[:1]))
        assert kept() == (sizes[1], False), "better than nothing"
        core.witnessing.take_cosigned(policy, add_signatures(notes[0][1], signers))
        assert kept() == (sizes[0], True), "the quorum counts more than the size"
        core.witnessing.take_cosigned(policy, add_signatures(notes[2][1], signers[:1]))
        assert kept() == (sizes[0], True)
        core.witnessing.take_cosigned(policy, add_signatures(notes[2][1], signers[1:]))
        assert kept() == (sizes[2], True), "one by one they met it"
        core.witnessing.take_cosigned(policy, add_signatures(notes[1][1], signers))
        assert kept() == (sizes[2], True), "of two with the quorum the newer one stays"
        core.witnessing.take_cosigned(policy, add_signatures(notes[3][1], signers[:1]))
        assert kept() == (sizes[2], True)
        assert len(open_note(core.journal.ledger.checkpoint(), policy.verifiers).verified) >= 3
    with NodeCore.open(home):
        assert kept() == (sizes[2], True)
