"""Files beside a ledger that accuse somebody else of what its log never did, and those that are to be forgotten."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from pathlib import Path

import pytest
from ledgers import AUDITOR, START_MS, Country, open_country
from nodes import World
from typer.testing import CliRunner

from crypto import merkle
from crypto.note import log_signers, sign_note
from crypto.sealing import public_key
from node import succession
from node.acceptance import accept_peer
from node.cli.main import app
from node.config import AuditorConfig
from node.core import NodeCore, wall_clock
from node.setup import create_node, make_descriptor
from protocol.audit.keys import format_private
from protocol.audit.reader import MemoryReader
from protocol.audit.reconcile import reconcile
from protocol.audit.report import ReconcileReport, Rule
from protocol.audit.verify import LedgerInput
from protocol.checkpoint import Checkpoint, open_checkpoint
from protocol.conflict import Conflict, conflict_log, verify_conflict
from protocol.errors import BadDescriptor
from protocol.statements import GalleryImported, ImportedGallery
from protocol.succession import read_succession
from protocol.witness import AddCheckpoint


@pytest.fixture
def us(tmp_path: Path) -> Country:
    return open_country(tmp_path / "us", "US")


@pytest.fixture
def cl(tmp_path: Path) -> Country:
    return open_country(tmp_path / "cl", "CL")


def imported(country: Country, number: int) -> bytes:
    """One more entry; the checkpoint over it."""
    shared = GalleryImported(
        exchange_id=bytes([number]) * 16, country=country.code, gallery_commitment=bytes(32)
    )
    private = ImportedGallery(modality="face", profile=bytes(32), records=1, blocks=1, operator="o")
    country.record(shared, private)
    return country.ledger.checkpoint()


def judged(us: Country, cl: Country, conflict: Conflict) -> ReconcileReport:
    """Both ledgers together, with a conflict file that US keeps of CL."""
    verify_conflict(conflict, conflict_log(conflict))  # by itself it convicts
    files = us.files() | {f"conflicts/CL-{conflict.digest.hex()}": conflict.to_bytes()}
    accuser = LedgerInput(MemoryReader(files), files["policy"], AUDITOR)
    return reconcile({"us": accuser, "cl": cl.audited()})


def refuted(report: ReconcileReport) -> list[str | None]:
    return [one.blame for one in report.findings if one.rule is Rule.CONFLICT_REFUTED]


def test_a_proof_that_was_never_given_is_refuted_by_the_ledger(us: Country, cl: Country) -> None:
    smaller, larger = imported(cl, 1), imported(cl, 2)
    vkey = cl.ledger.verifier.vkey
    conflict = Conflict("inconsistent", vkey, "US", START_MS, START_MS, smaller, larger, (bytes(32),))
    assert refuted(judged(us, cl, conflict)) == ["US"]


def test_a_time_of_storing_that_is_made_up_is_refuted_by_the_ledger(us: Country, cl: Country) -> None:
    smaller, larger = imported(cl, 1), imported(cl, 2)
    size = 2
    conflict = Conflict(
        "rollback",
        cl.ledger.verifier.vkey,
        "US",
        1,
        START_MS,
        larger,
        smaller,
        tuple(cl.ledger.inclusion(1, size)),
        1,
        cl.ledger.entry(1),
    )
    assert refuted(judged(us, cl, conflict)) == ["US"]


def test_a_key_of_ones_own_under_the_name_of_the_other_is_refuted(us: Country, cl: Country) -> None:
    origin = cl.ledger.verifier.name
    signers = log_signers(origin, b"\x09" * 32)
    notes = [sign_note(Checkpoint(origin, 2, bytes([n]) * 32).to_text(), signers) for n in (1, 2)]
    conflict = Conflict("fork", signers[0].verifier.vkey, "US", START_MS, START_MS, *notes)
    report = judged(us, cl, conflict)
    assert refuted(report) == ["US"]
    (said,) = [one.what for one in report.findings if one.rule is Rule.CONFLICT_REFUTED]
    assert "by a key that is not of its policy" in said
    (shown,) = [one for one in report.ledgers["us"].findings if one.rule is Rule.PEER_CONFLICT]
    assert f"{origin}+{signers[0].verifier.key_id.hex()}" in shown.what


@pytest.mark.parametrize("rule", ["fork", "inconsistent"])
def test_what_a_log_did_is_not_refuted(us: Country, cl: Country, rule: str) -> None:
    smaller, larger = imported(cl, 1), imported(cl, 2)
    signers = cl.ledger._signers
    size = {"fork": 3, "inconsistent": 2}[rule]
    other = sign_note(Checkpoint(cl.ledger.verifier.name, size, bytes(32)).to_text(), signers)
    conflict = Conflict("fork", cl.ledger.verifier.vkey, "US", START_MS, START_MS, larger, other)
    if rule == "inconsistent":
        conflict = replace(conflict, rule="inconsistent", seen=other, shown=larger)
    assert smaller
    report = judged(us, cl, conflict)
    assert refuted(report) == []
    assert not report.ok


def test_what_a_successor_drops_is_kept_where_it_was_witnessed(tmp_path: Path) -> None:
    """The peer names a larger checkpoint of another history, which its log has just signed: nothing shows it here."""
    world = World.copied(tmp_path, registered=False)
    with NodeCore.open(world.directories["CL"]) as cl, NodeCore.open(world.directories["US"]) as us:
        note = cl.journal.ledger.checkpoint()
        us.witnessing.observe("CL", AddCheckpoint(0, (), note))
        held = us.roster.peer("CL")
        origin, size = cl.journal.ledger.verifier.name, cl.journal.ledger.size
        larger = Checkpoint(origin, size + 1, merkle.leaf_hash(b"another history"))
        forged = sign_note(larger.to_text(), cl.journal.ledger._signers)
        fields = cl.descriptor.fields
        # Prepared for later: the old ledger again, as if there had been no successor.
        back = make_descriptor(cl.config, cl.keys, fields.tls_certificate, fields.serial + 9, wall_clock())
    succession.succeed(world.directories["CL"], "operator", "lost", [forged], wall_clock())
    with NodeCore.open(world.directories["CL"]) as cl:
        document = succession.export(cl)
    with NodeCore.open(world.directories["US"]) as us:
        succession.accept(us, read_succession(document, held), "operator")
        assert us.seen("CL") is None
        path = us.paths.ledger / "successions" / f"CL-{hashlib.sha256(note).hexdigest()}"
        assert open_checkpoint(path.read_bytes(), held.ledger).checkpoint.size == size
        with pytest.raises(BadDescriptor, match="another ledger"):
            accept_peer(us, back, "operator")


@pytest.mark.parametrize("named", [".", "../../link"])
def test_a_reading_is_logged_however_the_ledger_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    create_node(
        tmp_path / "node",
        country="US",
        authority="CBP",
        endpoint="https://us.example:8443",
        listen="https://127.0.0.1:8443",
        auditors=[AuditorConfig(name="Inspector", key=public_key(AUDITOR).hex())],
        unlock_file=None,
        workers=1,
        memory_mib=64,
    )
    with NodeCore.open(tmp_path / "node", clock=lambda: time.time_ns() // 1_000_000) as core:
        assert core.journal.ledger.size == 1
    ledger, key = tmp_path / "node" / "ledger", tmp_path / "key"
    key.write_text(format_private(AUDITOR))
    (tmp_path / "link").symlink_to(ledger)
    monkeypatch.chdir(ledger)
    run = CliRunner().invoke(
        app, ["audit", "stats", named, "--policy", "policy", "--key", str(key), "--json"]
    )
    assert run.exit_code == 0, run.output
    with NodeCore.open(tmp_path / "node") as core:
        opened = core.journal.open(1)
        assert opened is not None
        assert opened.shared.type == "ledger.read"
