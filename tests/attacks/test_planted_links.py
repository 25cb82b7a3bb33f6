"""Links in the way of what a program reads and writes, planted by whoever may write beside it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from ledgers import AUDITOR, REQUESTED, intent, open_country
from nodes import World
from typer.testing import CliRunner

from node.audit_files import DirectoryReader
from node.cli.main import app
from node.core import NodeCore
from protocol.agreement import draft_agreement, read_agreement
from protocol.audit.reader import Unreadable
from protocol.audit.report import Rule
from protocol.audit.verify import verify_ledger


@pytest.mark.parametrize("linked", ["tile", "tile/0", "payloads", "tile/entries"])
def test_an_audit_follows_no_linked_directory(tmp_path: Path, linked: str) -> None:
    country = open_country(tmp_path / "us", "US")
    country.record(intent(1), REQUESTED)
    policy = country.files()["policy"]
    reader = DirectoryReader(country.directory)
    assert verify_ledger(reader, policy, AUDITOR).ok
    below = next(path for path in reader.list(linked.split("/")[0]) if path.startswith(linked))
    elsewhere = tmp_path / "elsewhere"
    shutil.move(country.directory / linked, elsewhere)
    (country.directory / linked).symlink_to(elsewhere)
    with pytest.raises(Unreadable):
        reader.read(below, 100_000)
    with pytest.raises(Unreadable):
        reader.list(linked)
    report = verify_ledger(reader, policy, AUDITOR)
    assert Rule.UNREADABLE_FILE in {finding.rule for finding in report.findings}


def test_the_ledger_itself_may_be_named_by_a_link(tmp_path: Path) -> None:
    country = open_country(tmp_path / "us", "US")
    country.record(intent(1), REQUESTED)
    (tmp_path / "named").symlink_to(country.directory)
    assert verify_ledger(DirectoryReader(tmp_path / "named"), country.files()["policy"], AUDITOR).ok


def test_signing_an_agreement_writes_through_no_link(tmp_path: Path) -> None:
    world = World.copied(tmp_path)
    with NodeCore.open(world.directories["US"]) as us, NodeCore.open(world.directories["CL"]) as cl:
        fields = us.agreements.current("CL").fields.model_copy(update={"serial": 2})
        text = draft_agreement(fields, us.descriptor, cl.descriptor)
    file, beside, victim = tmp_path / "a.toml", tmp_path / ".a.toml.new", tmp_path / "victim"
    file.write_bytes(text)
    victim.write_bytes(b"mine")
    beside.symlink_to(victim)
    sign = ["agreement", "sign", str(world.directories["CL"]), str(file)]
    refused = CliRunner().invoke(app, sign)
    assert refused.exit_code == 2
    assert (file.read_bytes(), victim.read_bytes()) == (text, b"mine")
    beside.unlink()
    assert CliRunner().invoke(app, sign).exit_code == 0
    assert read_agreement(file.read_bytes()).signed_by == {"CL"}
    assert not beside.exists()
