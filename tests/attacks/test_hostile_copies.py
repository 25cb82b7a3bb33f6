"""An audit of a copy whose giver wants to stop the tool, or to write on the auditor's screen."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from ledgers import filler
from typer.testing import CliRunner

from node.audit_files import MAX_DEPTH, DirectoryReader
from node.cli import common
from node.cli.main import app
from node.ledger_store import LedgerStore

ORIGIN = "cl.example/ledger"


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    with LedgerStore.open(tmp_path / "ledger", ORIGIN, bytes(32)) as store:
        store.append(filler(0))
    return tmp_path / "ledger"


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A directory of 1500 directories, one in the other; no tool of ours or Python's may recurse into it."""
    top = tmp_path / "deep"
    (top / "tile").mkdir(parents=True)
    at = os.open(top / "tile", os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("a", dir_fd=at)
        below = os.open("a", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    yield top
    for _ in range(1500):
        above = os.open("..", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = above
        os.rmdir("a", dir_fd=at)
    os.close(at)


def audit(ledger: Path, *options: str) -> tuple[int, str]:
    ran = CliRunner().invoke(
        app, ["audit", "verify", str(ledger), "--policy", str(ledger / "policy"), *options]
    )
    return ran.exit_code, ran.stdout


def test_directories_without_end_are_one_name(deep: Path) -> None:
    (found,) = DirectoryReader(deep).list("tile")
    assert found.count("/") == MAX_DEPTH


def test_an_audit_of_directories_without_end_reports(ledger: Path, deep: Path) -> None:
    (deep / "tile" / "a").rename(ledger / "tile" / "a")
    try:
        code, shown = audit(ledger, "--json")
    finally:
        (ledger / "tile" / "a").rename(deep / "tile" / "a")
    assert code == 1
    assert [one["rule"] for one in json.loads(shown)["findings"]] == ["unexpected-file"]


@pytest.mark.parametrize("name", ["\x1b[2J\x1b[H", "x\nother: 9 entries, holds", "\x9b2J", "\u202eegami"])
def test_a_file_name_does_not_write_on_the_screen(ledger: Path, name: str) -> None:
    (ledger / "tile" / name).write_bytes(b"x")
    code, shown = audit(ledger)
    assert code == 1
    assert all(line.isprintable() for line in shown.splitlines())
    assert sum("entries" in line for line in shown.splitlines() if "unexpected-file" not in line) == 1


def test_a_file_name_that_is_not_utf8_leaves_json_that_is(ledger: Path) -> None:
    (ledger / "tile" / os.fsdecode(b"\xff\x1b")).touch()
    code, shown = audit(ledger, "--json")
    assert code == 1
    assert shown.isascii()
    assert json.loads(shown)["findings"][0]["where"] == "tile/\udcff\x1b"


def test_text_of_others_is_shown_and_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    common.say("a [red]name[/] :skull: \x1b]0;title\x07 \udcff\nnext line")
    shown = capsys.readouterr().out
    assert shown == "a [red]name[/] :skull: \\x1b]0;title\\x07 \\udcff\nnext line\n"


def test_a_copy_is_left_alone(ledger: Path, tmp_path: Path) -> None:
    shutil.copytree(ledger, tmp_path / "copy")
    assert audit(tmp_path / "copy")[0] == 0
