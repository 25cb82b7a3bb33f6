"""A peer that is our witness, and a peer whose witness we are, may send whatever helps it: it hurts only itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from memory_ledger import MemoryLedger
from nodes import World
from parties import NOW, ledger_signer, parties

from crypto.note import Note, NoteSignature, parse_note
from node.audit_files import DirectoryReader
from node.core import NodeCore
from node.operations import OPERATIONS
from node.trust import settle_conflicts
from protocol import limits
from protocol.audit.keys import parse_private
from protocol.audit.report import AuditReport
from protocol.audit.verify import verify_ledger
from protocol.errors import EvidenceRejected
from protocol.evidence import LogEvidence
from protocol.exchange import checks
from protocol.exchange.parties import Seen
from protocol.log_policy import parse_policy
from protocol.statement_parts import PrivatePart, SharedPart
from protocol.statements import GalleryImported, ImportedGallery, Statement
from protocol.witness import AddCheckpoint
from protocol.witnessing import BadCosignature, cosign, witness_signer, witness_verifier


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.copied(tmp_path, registered=False)


@pytest.fixture
def cores(world: World) -> Iterator[tuple[NodeCore, NodeCore]]:
    with NodeCore.open(world.directories["CL"]) as cl, NodeCore.open(world.directories["US"]) as us:
        yield cl, us


def audit(world: World, country: str) -> AuditReport:
    ledger = world.directories[country] / "ledger"
    key = parse_private((world.root / "auditor").read_text())
    return verify_ledger(DirectoryReader(ledger), (ledger / "policy").read_bytes(), key)


def returned(us: NodeCore, cl: NodeCore, spoil: str) -> bytes:
    """The checkpoint of CL, cosigned by US, with the lines of CL's own log spoiled."""
    note = parse_note(cl.journal.ledger.checkpoint())
    first, second = (line for line in note.signatures if line.name == note.signatures[0].name)
    lines = {
        "post-quantum line changed": (
            first,
            NoteSignature(second.name, second.key_id, second.payload[:-1] + bytes([second.payload[-1] ^ 1])),
        ),
        "post-quantum line taken away": (first,),
        "strange line under our name": (first, second, NoteSignature(first.name, b"\x01\x02\x03\x04", b"x")),
    }[spoil]
    signer = witness_signer("US", us.keys.identity, us.clock())
    return cosign(Note(note.text, lines).to_bytes(), cl.journal.ledger.verifier, signer)


@pytest.mark.parametrize("spoil", ["post-quantum line changed", "post-quantum line taken away"])
def test_a_witness_does_not_spoil_our_own_signatures(
    world: World, cores: tuple[NodeCore, NodeCore], spoil: str
) -> None:
    """What a witness returns lies beside our ledger and leaves as evidence: with our lines, or not at all."""
    cl, us = cores
    note, size = returned(us, cl, spoil), cl.journal.ledger.size
    with pytest.raises(BadCosignature):
        cl.witnessing.take("US", note, size)
    cl.record(*_anything("CL"))  # from here on the note is of an older checkpoint
    with pytest.raises(BadCosignature):
        cl.witnessing.take("US", note, size)
    assert not (world.directories["CL"] / "ledger" / "cosigned").exists()
    assert audit(world, "CL").ok


def test_a_witness_adds_no_lines_under_our_name(world: World, cores: tuple[NodeCore, NodeCore]) -> None:
    cl, us = cores
    cl.witnessing.take("US", returned(us, cl, "strange line under our name"), cl.journal.ledger.size)
    for note in (
        (world.directories["CL"] / "ledger" / "cosigned").read_bytes(),
        cl.journal.ledger.checkpoint(),
    ):
        assert b"\x01\x02\x03\x04" not in {line.key_id for line in parse_note(note).signatures}
    assert audit(world, "CL").ok


def test_a_quorum_is_not_ended_by_one_member(world: World, cores: tuple[NodeCore, NodeCore]) -> None:
    """With a quorum in the policy every checkpoint that leaves was read back with all keys of the policy."""
    cl, us = cores
    shown = OPERATIONS["ledger.witnesses"](cl, {"quorum": "any"}, lambda _: None)
    cl.witnessing.policy = parse_policy(shown["policy"].encode())
    size = cl.journal.ledger.size
    with pytest.raises(BadCosignature):
        cl.witnessing.take("US", returned(us, cl, "post-quantum line changed"), size)
    cl.witnessing.take("US", returned(us, cl, "strange line under our name"), size)
    assert cl.witnessing.under_quorum(size) is not None
    assert cl.evidence(0, 0)


@pytest.mark.parametrize("known", [False, True])
def test_a_proof_where_none_is_needed_convicts_nobody(
    world: World, cores: tuple[NodeCore, NodeCore], known: bool
) -> None:
    """Junk beside an honest checkpoint: refused, but no file that our own audit would have to call void."""
    cl, us = cores
    note, size = cl.journal.ledger.checkpoint(), cl.journal.ledger.size
    if known:
        us.witnessing.observe("CL", AddCheckpoint(0, (), note))
    with pytest.raises(EvidenceRejected):
        us.witnessing.observe("CL", AddCheckpoint(size if known else 0, (bytes(32),), note))
    assert settle_conflicts(us) == 0
    assert not us.suspension("CL")
    assert audit(world, "US").ok


@pytest.mark.parametrize("held", [0, 3])
def test_nor_does_it_in_evidence(held: int) -> None:
    ledger = MemoryLedger(ledger_signer("CL"))
    for number in range(3):
        ledger.append(Statement(*_anything("CL", number)), NOW)
    seen = Seen(held, ledger.root(held), ledger.checkpoint(held), NOW) if held else None
    evidence = LogEvidence.from_bytes(ledger.evidence(1, held))
    body = evidence.model_copy(update={"consistency": [bytes(32)]}).to_bytes()
    with pytest.raises(EvidenceRejected) as caught:
        checks.verify_entry(body, parties("US", "CL"), seen, GalleryImported, NOW)
    assert (caught.value.cause, caught.value.conflict) == ("not-consistent", None)


@pytest.mark.parametrize("room", [0, 40_000])
def test_a_padded_checkpoint_is_returned_within_its_limit(
    cores: tuple[NodeCore, NodeCore], room: int
) -> None:
    """A peer's own lines come back to it, but never more of them than a message has room for."""
    cl, us = cores
    note = parse_note(cl.journal.ledger.checkpoint())
    line = NoteSignature(note.signatures[0].name, b"\x01\x02\x03\x04", b"x")
    spare = (room or limits.MAX_WITNESSED) - len(note.to_bytes()) - len(line.line())
    padded = NoteSignature(line.name, line.key_id, b"x" * (spare * 3 // 4))
    body = Note(note.text, (*note.signatures, padded)).to_bytes()
    back = us.witnessing.observe("CL", AddCheckpoint(0, (), body))
    assert len(back) <= limits.MAX_WITNESSED
    found = parse_note(back)
    assert [line.key_id for line in found.signatures] == [
        *[line.key_id for line in note.signatures],
        witness_verifier("US", us.keys.identity.verify_key).key_id,
    ]


def _anything(country: str, number: int = 0) -> tuple[SharedPart, PrivatePart]:
    shared = GalleryImported(exchange_id=bytes([number]) * 16, country=country, gallery_commitment=bytes(32))
    return shared, ImportedGallery(modality="face", profile=bytes(32), records=1, blocks=1, operator="o")
