"""Witnesses, conflicts, successions and clocks, without a node."""

from __future__ import annotations

from dataclasses import replace

import pytest
from memory_ledger import MemoryLedger
from network import Node, World, pair
from parties import NOW, agreement, descriptor, ledger_signer, named_key, parties, request

from crypto.errors import BadSignature
from crypto.note import open_note, parse_note, sign_note
from protocol import limits
from protocol.checkpoint import Checkpoint, TreeHead
from protocol.clock import ClockStep, ClockWatch
from protocol.conflict import BadConflict, Conflict, read_conflict, verify_conflict
from protocol.errors import EvidenceRejected
from protocol.evidence import LogEvidence, RolledBackLedger, StaleCheckpoint, verify_evidence
from protocol.exchange import checks, commands
from protocol.exchange.parties import Seen
from protocol.statement_parts import SharedPart
from protocol.statements import GalleryImported, ImportedGallery, Statement
from protocol.statements_witness import Decided, LedgerSucceeded
from protocol.succession import BadSuccession, check_continues, read_succession, sign_succession
from protocol.witnessing import cosign, merge, witness_signer, witness_verifier

AGREEMENT = agreement()
CL = named_key("CL identity")


def filled(country: str, count: int, start_ms: int = NOW) -> MemoryLedger:
    ledger = MemoryLedger(ledger_signer(country))
    for number in range(count):
        shared = GalleryImported(
            exchange_id=number.to_bytes(16, "big"), country=country, gallery_commitment=bytes(32)
        )
        private = ImportedGallery(modality="face", profile=bytes(32), records=1, blocks=1, operator="o")
        ledger.append(Statement(shared, private), start_ms + number)
    return ledger


def seen_of(ledger: MemoryLedger, size: int, stored_ms: int = NOW) -> Seen:
    return Seen(size, ledger.root(size), ledger.checkpoint(size), stored_ms)


# Cosigning


def test_a_cosigned_checkpoint_has_the_logs_lines_and_ours_and_no_others() -> None:
    ledger = filled("US", 2)
    third = cosign(
        ledger.checkpoint(2), ledger.signer.verifier, witness_signer("CO", named_key("CO identity"), NOW)
    )
    ours = cosign(third, ledger.signer.verifier, witness_signer("CL", CL, NOW))
    assert [line.name for line in parse_note(ours).signatures] == [ledger.signer.name, "concordat/CL"]
    assert open_note(ours, [witness_verifier("CL", CL.verify_key)]).verified
    both = merge([ours, third])
    names = [line.name for line in parse_note(both).signatures]
    assert names == [ledger.signer.name, "concordat/CL", "concordat/CO"]
    with pytest.raises(ValueError, match="different texts"):
        merge([ours, ledger.checkpoint(1)])
    with pytest.raises(BadSignature):
        open_note(ours, [witness_verifier("CL", named_key("CO identity").verify_key)])


# Rollbacks


def test_an_old_checkpoint_is_stale_unless_its_entry_is_younger_than_the_newer_one() -> None:
    held = filled("CL", 4)
    restored = filled("CL", 2, NOW + limits.CLOCK_SKEW + 1_000)
    early = LogEvidence.from_bytes(held.evidence(1, 0, 2))
    late = LogEvidence.from_bytes(restored.evidence(1, 0))
    arguments = (ledger_signer("CL").verifier, (4, held.root(4)), SharedPart)
    with pytest.raises(StaleCheckpoint):
        verify_evidence(early, *arguments, NOW)
    with pytest.raises(RolledBackLedger):
        verify_evidence(late, *arguments, NOW)
    with pytest.raises(StaleCheckpoint):
        verify_evidence(late, *arguments, NOW + 2_000)  # within what two clocks may differ
    with pytest.raises(StaleCheckpoint):
        verify_evidence(late, *arguments)


@pytest.mark.parametrize("rule", ["fork", "rollback", "inconsistent"])
def test_each_contradiction_gives_a_file_that_convicts(rule: str) -> None:
    held = filled("CL", 3)
    other = filled("CL", 5, NOW + limits.CLOCK_SKEW + 1_000)
    size = {"fork": 3, "rollback": 2, "inconsistent": 5}[rule]
    body = other.evidence(1, 0 if rule == "rollback" else 3, size)
    with pytest.raises(EvidenceRejected) as caught:
        checks.verify_entry(body, parties("US", "CL"), seen_of(held, 3), GalleryImported, NOW + limits.HOUR)
    assert caught.value.conflict is not None
    conflict = read_conflict(caught.value.conflict)
    assert (conflict.rule, conflict.holder, conflict.seen_ms) == (rule, "US", NOW)
    verify_conflict(conflict, held.signer.verifier)
    with pytest.raises(BadConflict):
        verify_conflict(conflict, ledger_signer("US").verifier)
    with pytest.raises(BadConflict):
        verify_conflict(replace(conflict, seen=other.checkpoint(size)), held.signer.verifier)


def test_a_conflict_file_has_one_form() -> None:
    ledger = filled("CL", 2)
    fork = Checkpoint(ledger.signer.name, 2, bytes(32)).to_text()
    conflict = Conflict(
        "fork",
        ledger.signer.verifier.vkey,
        "US",
        NOW,
        NOW,
        ledger.checkpoint(2),
        sign_note(fork, [ledger.signer]),
    )
    data = conflict.to_bytes()
    assert read_conflict(data) == conflict
    for bad in (
        b"",
        data[:-1],
        data + b"\n",
        data.replace(b"rule fork", b"rule knife"),
        data.replace(b"index 0", b"index 00"),
        data.replace(b"proof 0", b"proof 99999"),
        data.replace(b"holder US\n", b""),
        data.replace(b"seen-ms", b"seen\xff"),
    ):
        with pytest.raises(BadConflict):
            read_conflict(bad)


# What the sessions do about it


def forked(world: World, us: Node, cl: Node) -> None:
    """CL holds a checkpoint of the ledger of US that is not its ledger."""
    size = len(us.disk.ledger.leaves)
    text = Checkpoint(us.disk.ledger.signer.name, size, bytes(32)).to_text()
    cl.disk.seen = Seen(size, bytes(32), sign_note(text, [us.disk.ledger.signer]), world.now)


def test_a_fork_suspends_the_peer_once_and_says_why() -> None:
    world = World()
    us, cl = pair(world, AGREEMENT)
    us.ask(request(AGREEMENT.digest))
    world.run(lambda: bool(cl.live) and all(s.finished for n in (us, cl) for s in n.live.values()))
    forked(world, us, cl)
    us.take = lambda _: None  # type: ignore[method-assign]
    cl.take = lambda _: None  # type: ignore[method-assign]
    us.ask(request(AGREEMENT.digest, 2))
    world.run(lambda: bool(cl.disk.conflicts))
    (body,) = cl.disk.conflicts
    assert verify_conflict(read_conflict(body), us.disk.ledger.signer.verifier)
    assert cl.disk.kept == ["not-consistent"]
    assert commands.SuspendPeer("US", body).conflict == body


def test_a_suspended_peer_gets_a_refusal_that_is_on_the_ledger() -> None:
    world = World()
    us, cl = pair(world, AGREEMENT)
    ordinary = cl.surroundings
    cl.surroundings = lambda: replace(ordinary(), suspended=True)  # type: ignore[method-assign]
    us.ask(request(AGREEMENT.digest))
    world.run(lambda: bool(us.live) and all(session.finished for session in us.live.values()))
    (session,) = us.live.values()
    assert (session.record.outcome, session.record.reason) == ("refused", "peer-suspended")
    assert cl.disk.ledger.kinds(request(AGREEMENT.digest).exchange_id) == ["query.refused"]
    assert cl.disk.seen is None, "nothing of a suspended peer is taken up"


def test_both_disks_hold_the_other_sides_cosignature() -> None:
    world = World()
    us, cl = pair(world, AGREEMENT)
    us.ask(request(AGREEMENT.digest))
    world.run(lambda: bool(cl.live) and all(s.finished for n in (us, cl) for s in n.live.values()))
    assert max(us.disk.cosigned) == len(us.disk.ledger.leaves)
    assert max(cl.disk.cosigned) == len(cl.disk.ledger.leaves) - 1
    for node, other in ((us, "CL"), (cl, "US")):
        key = witness_verifier(other, named_key(f"{other} identity").verify_key)
        for note in node.disk.cosigned.values():
            assert open_note(note, [key]).is_signed_by(key)


# Succession


def succession(last: MemoryLedger, size: int, **changes: object) -> bytes:
    new = descriptor("CL", serial=2, ledger_vkey=_successor().verifier.vkey)
    ledger = MemoryLedger(_successor())
    values: dict[str, object] = {
        "exchange_id": bytes(16),
        "country": "CL",
        "identity_key": CL.verify_key.public,
        "origin": _successor().name,
        "previous_origin": last.signer.name,
        "previous_key": last.signer.verifier.key.public,
        "previous_size": size,
        "previous_root": last.root(size),
        "copy_size": 0,
    }
    shared = LedgerSucceeded.model_validate({**values, **changes})
    ledger.append(Statement(shared, Decided(operator="o", reason="r")), NOW)
    return sign_succession(last.checkpoint(size), ledger.evidence(0, 0), new, CL)


def _successor():  # type: ignore[no-untyped-def]
    return replace(ledger_signer("CL"), name="cl.example/ledger/2")


def test_a_succession_is_believed_as_a_whole_or_not_at_all() -> None:
    ledger, held = filled("CL", 3), descriptor("CL")
    good = read_succession(succession(ledger, 3), held)
    assert (good.last, good.previous.ed25519) == (TreeHead(3, ledger.root(3)), ledger.signer.verifier)
    assert good.descriptor.ledger.name == "cl.example/ledger/2"
    for changes in (
        {"country": "US"},
        {"identity_key": bytes(32)},
        {"origin": "elsewhere"},
        {"previous_origin": "elsewhere"},
        {"previous_key": bytes(32)},
        {"previous_size": 2},
        {"previous_root": bytes(32)},
    ):
        with pytest.raises(BadSuccession, match="not the same"):
            read_succession(succession(ledger, 3, **changes), held)
    with pytest.raises(BadSuccession):
        read_succession(succession(filled("US", 3), 3), held)
    with pytest.raises(BadSuccession):
        read_succession(succession(ledger, 3), descriptor("US"))
    with pytest.raises(BadSuccession):
        read_succession(good.note.replace(b"witnessed ", b"witnessed  "), held)


def test_a_succession_begins_at_or_after_what_was_witnessed() -> None:
    ledger = filled("CL", 3)
    given = read_succession(succession(ledger, 2), descriptor("CL"))
    check_continues(given, None)
    check_continues(given, TreeHead(1, ledger.root(1)))
    check_continues(given, TreeHead(2, ledger.root(2)))
    for seen in (TreeHead(3, ledger.root(3)), TreeHead(2, bytes(32))):
        with pytest.raises(BadSuccession):
            check_continues(given, seen)


# The clock


def test_a_clock_watch_tells_steps_from_jitter() -> None:
    watch = ClockWatch(NOW)
    for now in (NOW - 2_000, NOW + 10, NOW + 5):
        watch.observe(now)
        assert watch.take_step() is None
    watch.observe(NOW - 5_000)
    watch.observe(NOW - 90_000)
    watch.observe(NOW - 80_000)
    assert watch.take_step() == ClockStep(NOW + 10, NOW - 90_000)
    assert watch.take_step() is None
    watch.put_back(ClockStep(2, 1))
    assert watch.take_step() == ClockStep(2, 1)
