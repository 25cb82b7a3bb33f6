"""What operators do with a node's files: copy its ledger, open a state that another version made."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner

from node.cli.main import app
from node.core import NodeCore
from node.schema import StateOfAnotherVersion
from node.setup import create_node
from protocol import statements_records as r
from protocol.statement_parts import NoPrivatePart


@pytest.fixture
def node(tmp_path: Path) -> Path:
    directory = tmp_path / "node"
    endpoint = "https://us.example:8443"
    create_node(
        directory,
        country="US",
        authority="Border Protection",
        endpoint=endpoint,
        listen="https://127.0.0.1:8443",
        auditors=[],
        unlock_file=None,
        workers=1,
        memory_mib=64,
    )
    return directory


def run(*words: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, [*map(str, words)])
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return done.exit_code, done.output


def test_a_copy_is_the_ledger_also_while_the_node_is_open(node: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    with NodeCore.open(node) as core:
        core.record(r.LogFiller(exchange_id=bytes(16), country="US"), NoPrivatePart())
        code, shown = run("ledger", "copy", node, copy, "--json")
        assert code == 0
        assert json.loads(shown)["size"] == core.journal.ledger.size == 2
    code, shown = run("audit", "verify", copy, "--policy", node / "ledger" / "policy", "--json")
    assert (code, json.loads(shown)["size"]) == (0, 2)
    assert len(list((copy / "payloads").rglob("*/*"))) == 2
    code, shown = run("ledger", "copy", node, copy, "--json")
    assert (code, json.loads(shown)["error"]["code"]) == (2, "copy-exists")
    code, shown = run("ledger", "copy", tmp_path / "nothing", tmp_path / "other", "--json")
    assert (code, json.loads(shown)["error"]["code"]) == (2, "no-such-node")
    code, shown = run("ledger", "copy", node, tmp_path / "no" / "such" / "place", "--json")
    assert (code, json.loads(shown)["error"]["code"]) == (1, "storage-failed")
    assert "2 entries" in run("ledger", "copy", node, tmp_path / "third")[1]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("ALTER TABLE peers DROP COLUMN seen_root", "peers, columns seen_root"),
        ("ALTER TABLE agreements ADD COLUMN more TEXT", "agreements, columns more"),
    ],
)
def test_a_state_of_another_version_is_named_and_left_alone(node: Path, change: str, named: str) -> None:
    file = node / "state.sqlite"
    database = sqlite3.connect(file)
    database.execute(change)
    database.commit()
    before = "\n".join(database.iterdump())
    database.close()
    with pytest.raises(StateOfAnotherVersion, match=named):
        NodeCore.open(node)
    code, shown = run("node", "status", node, "--json")
    assert (code, json.loads(shown)["error"]["code"]) == (1, "state-of-another-version")
    database = sqlite3.connect(file)
    assert "\n".join(database.iterdump()) == before
    database.close()


def test_a_state_without_a_table_that_came_later_is_taken(node: Path) -> None:
    database = sqlite3.connect(node / "state.sqlite")
    database.execute("DROP TABLE unfinished")
    database.commit()
    database.close()
    with NodeCore.open(node) as core:
        assert core.journal.ledger.size == 1
