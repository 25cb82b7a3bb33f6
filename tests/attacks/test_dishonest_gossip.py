"""A peer that lies in gossip: forged, replayed and spliced checkpoints, floods, two histories, false proofs.

Over the real endpoints, ``/v1/checkpoints`` and ``/v1/consistency``. Only what a log itself signed counts against it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nodes import World, ask, statements

from crypto.note import Ed25519Signer, log_signers, parse_note, sign_note
from node import gossip
from node.acceptance import accept_peer
from node.core import NodeCore
from node.daemon import Daemon
from protocol.checkpoint import Checkpoint
from protocol.conflict import read_conflict, verify_conflict
from protocol.gossip import MAX_HELD, ConsistencyReply, HeldCheckpoints
from protocol.wire import encode

REPEAT = 3
"""How often the lies are told: nothing may add up."""


@pytest.fixture
def world(tmp_path: Path) -> World:
    """US and CL, and AR, which both know."""
    world = World.copied(tmp_path)
    world.directories["AR"] = world.root / "ar"
    world._make("AR", world.directories["AR"])
    with NodeCore.open(world.directories["AR"]) as ar:
        for country in ("US", "CL"):
            with NodeCore.open(world.directories[country]) as core:
                accept_peer(core, ar.descriptor, "operator")
                accept_peer(ar, core.descriptor, "operator")
    return world


class Liar:
    """AR: what its server says in place of the truth."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.notes: list[bytes] | bytes | None = None
        self.proof: Callable[[int, int], bytes] | None = None
        self.asked = 0

        def held(core: NodeCore) -> bytes:
            if core.country != "AR" or self.notes is None:
                return gossip.held_checkpoints(core)
            self.asked += 1
            return (
                self.notes
                if isinstance(self.notes, bytes)
                else encode({"version": 1, "type": "held-checkpoints", "notes": self.notes})
            )

        def consistency(core: NodeCore, old: int, new: int) -> bytes:
            if core.country != "AR" or self.proof is None:
                return gossip.consistency(core, old, new)
            return self.proof(old, new)

        patch.setattr("node.server.held_checkpoints", held)
        patch.setattr("node.server.consistency", consistency)


@pytest.fixture
def liar(monkeypatch: pytest.MonkeyPatch) -> Liar:
    return Liar(monkeypatch)


def signed(of: Daemon, size: int, root: bytes | None = None, signers: Any = None) -> bytes:
    """A checkpoint of a log, by its own keys unless told otherwise."""
    ledger = of.core.journal.ledger
    text = Checkpoint(ledger.verifier.name, size, root or of.core.witnessing.root_at(size)).to_text()
    return sign_note(text, ledger._signers if signers is None else signers)


def trust_of(daemon: Daemon) -> dict[str, Any]:
    """Everything that gossip could change at a node."""
    core, witnessing = daemon.core, daemon.core.witnessing
    peers = sorted(core.roster.peers)
    conflicts = core.paths.ledger / "conflicts"
    return {
        "held": {one: core.seen(one) for one in peers},
        "suspended": {one: core.suspension(one) for one in peers},
        "owed": dict(witnessing.owed),
        "halted": witnessing.halted,
        "own": witnessing.state.own_checkpoints(witnessing.origin),
        "size": core.journal.ledger.size,
        "conflicts": sorted(conflicts.iterdir()) if conflicts.exists() else [],
    }


def forgeries(us: Daemon, cl: Daemon, ar: Daemon) -> dict[str, bytes]:
    """Notes about CL's ledger, and about that of US, that these logs never signed as they are."""
    held = us.core.seen("CL")
    assert held is not None
    ed25519, mldsa = log_signers(cl.core.config.origin, cl.core.keys.ledger.seed)
    theirs = log_signers(cl.core.config.origin, ar.core.keys.ledger.seed)
    own = log_signers(us.core.config.origin, ar.core.keys.ledger.seed)
    good, longer = signed(cl, held.size), signed(cl, held.size + 1, bytes(32))
    spliced = good.replace(parse_note(good).text, parse_note(longer).text)
    lines = {len(line) > 1000: line for line in longer.split(b"\n\n")[1].splitlines(keepends=True)}
    half = good.split(b"\n\n")[1].splitlines(keepends=True)
    return {
        "by the liar's keys": signed(cl, held.size, bytes(32), theirs),
        "larger, by the liar's keys": signed(cl, 10**9, bytes(32), theirs),
        "by the Ed25519 key alone": signed(cl, held.size, bytes(32), [ed25519]),
        "by the ML-DSA-44 key alone": signed(cl, held.size, bytes(32), [mldsa]),
        "by one key of each": signed(cl, held.size, bytes(32), [ed25519, theirs[1]]),
        "with the signatures of another": spliced,
        "with one signature of another": longer.replace(lines[True], half[-1]),
        "cut": longer[:-40],
        "without a signature": parse_note(longer).text,
        "of US, by the liar's keys": signed(us, us.core.journal.ledger.size + 9, bytes(32), own),
        "of US, of its size": signed(us, us.core.journal.ledger.size, bytes(32), own),
        "of nobody": sign_note(
            Checkpoint("nobody.example/ledger", 3, bytes(32)).to_text(),
            [Ed25519Signer("nobody.example/ledger", ar.core.keys.ledger)],
        ),
    }


async def test_what_a_log_did_not_sign_changes_nothing(world: World, liar: Liar) -> None:
    async with world.daemon("US") as us, world.daemon("CL") as cl, world.daemon("AR") as ar:
        assert (await ask(cl, world.arguments("known.npz:3")))["reported"]
        await us.gossip.round()
        before = trust_of(us)
        for name, note in forgeries(us, cl, ar).items():
            liar.notes = [note]
            await us.gossip.round()
            assert trust_of(us) == before, name
        liar.notes = [*forgeries(us, cl, ar).values()] * 5
        for _ in range(REPEAT):
            await us.gossip.round()
        assert trust_of(us) == before
        assert liar.asked == 12 + REPEAT
        liar.notes = None
        assert (await ask(cl, world.arguments("known.npz:4")))["reported"]


async def test_old_checkpoints_that_are_told_again_take_nothing_back(world: World, liar: Liar) -> None:
    async with world.daemon("US") as us, world.daemon("CL") as cl, world.daemon("AR"):
        for number in (3, 4):
            assert (await ask(cl, world.arguments(f"known.npz:{number}")))["reported"]
        await us.gossip.round()
        before = trust_of(us)
        asked: list[str] = []
        get = us.gossip._get

        async def counted(country: str, path: str, limit: int) -> bytes:
            asked.append(f"{country} {path.split('?')[0]}")
            return await get(country, path, limit)

        us.gossip._get = counted
        # All of CL's own, and of US's own, word for word, old ones and the newest, as often as fits.
        sizes = range(1, before["held"]["CL"].size + 1)
        liar.notes = [signed(cl, size) for size in sizes] + [signed(us, size) for size in range(1, 4)]
        for _ in range(REPEAT):
            await us.gossip.round()
        after = trust_of(us)
        assert {**after, "own": None} == {**before, "own": None}
        # CL proves each size that it is asked about; a liar cannot make more of one round than notes fit in a reply.
        assert asked.count("CL /v1/consistency") <= REPEAT * len(sizes) <= REPEAT * MAX_HELD
        assert (await ask(cl, world.arguments("known.npz:5")))["reported"]


async def test_replies_without_form_end_nobody_elses_round(world: World, liar: Liar) -> None:
    async with world.daemon("US") as us, world.daemon("CL") as cl, world.daemon("AR"):
        assert (await ask(cl, world.arguments("known.npz:3")))["reported"]
        await us.gossip.round()
        before = trust_of(us)
        newest = signed(cl, before["held"]["CL"].size)
        for lie in (
            b"",
            b"\x00" * 100,
            [newest] * (MAX_HELD + 1),
            [b""],
            [b"x" * 20_000],
            bytes(HeldCheckpoints.LIMIT + 1),
        ):
            liar.notes = lie
            await us.gossip.round()
            assert trust_of(us) == before
        heard: list[str] = []
        take = us.gossip.take

        async def listened(teller: str, note: bytes) -> None:
            heard.append(teller)
            await take(teller, note)

        us.gossip.take = listened
        await us.gossip.round()
        assert set(heard) == {"CL"}, "AR is asked first, and CL all the same"


async def test_two_histories_of_the_liar_convict_the_liar_alone(world: World, liar: Liar) -> None:
    async with world.daemon("US") as us, world.daemon("CL") as cl, world.daemon("AR") as ar:
        size = ar.core.journal.ledger.size
        for to, root in ((us, None), (cl, bytes(32))):
            await to.gossip.take("AR", signed(ar, size, root))
        assert (us.core.seen("AR").root, cl.core.seen("AR").root) != (bytes(32), bytes(32))
        assert cl.core.seen("AR").root == bytes(32)
        liar.notes = []
        await us.gossip.round()
        assert us.core.suspension("AR") == "fork"
        assert us.core.suspension("CL") == ""
        log = us.core.roster.peer("AR").ledger
        assert statements(us.core)[-1] == "peer.suspended"
        # Told again, by whomever, it is the same conflict.
        for _ in range(REPEAT):
            await us.gossip.round()
            await us.gossip.take("CL", signed(ar, size, bytes(32)))
        assert statements(us.core).count("peer.suspended") == 1
        await cl.gossip.round()
        assert cl.core.suspension("AR") == "fork"
        assert cl.core.suspension("US") == ""
        assert (await ask(cl, world.arguments("known.npz:3")))["reported"]
    for country in ("US", "CL"):
        (file,) = (world.directories[country] / "ledger" / "conflicts").iterdir()
        conflict = read_conflict(file.read_bytes())
        assert (conflict.rule, conflict.holder) == ("fork", country)
        assert verify_conflict(conflict, log)


PROOFS: dict[str, Callable[[int, int], bytes]] = {
    "of other sizes": lambda old, new: ConsistencyReply(
        old_size=old, new_size=new + 1, proof=[bytes(32)]
    ).to_bytes(),
    "without form": lambda old, new: b"no proof",
    "with hashes of no length": lambda old, new: encode(
        {"version": 1, "type": "consistency", "old_size": old, "new_size": new, "proof": [b"x"]}
    ),
    "with hashes without number": lambda old, new: encode(
        {"version": 1, "type": "consistency", "old_size": old, "new_size": new, "proof": [bytes(32)] * 999}
    ),
}


@pytest.mark.parametrize("name", PROOFS)
async def test_a_liar_that_proves_nothing_owes_it_and_nothing_goes_on_with_it(
    world: World, liar: Liar, name: str
) -> None:
    async with world.daemon("US") as us, world.daemon("CL") as cl, world.daemon("AR") as ar:
        size = ar.core.journal.ledger.size
        await us.gossip.take("AR", signed(ar, size))
        await cl.gossip.take("AR", signed(ar, size - 1, bytes(32)))
        liar.notes, liar.proof = [], PROOFS[name]
        for _ in range(REPEAT):
            await us.gossip.round()
        # No reply of that kind convicts it: nobody else can check what it did not sign.
        assert list(us.core.witnessing.owed) == ["AR"]
        assert us.core.suspension("AR") == us.core.suspension("CL") == ""
        assert us.core.seen("AR").size == size
        assert (await ask(cl, world.arguments("known.npz:3")))["reported"], "the others go on"
        # A proof that fails does: both checkpoints are signed, and it is the reply to what was asked.
        liar.proof = lambda old, new: ConsistencyReply(
            old_size=old, new_size=new, proof=[bytes(32)]
        ).to_bytes()
        await us.gossip.settle_owed()
        assert us.core.suspension("AR") == "inconsistent"
        assert us.core.suspension("CL") == ""
        assert us.core.witnessing.owed == {}
        log = us.core.roster.peer("AR").ledger
    (file,) = (world.directories["US"] / "ledger" / "conflicts").iterdir()
    assert verify_conflict(read_conflict(file.read_bytes()), log)
