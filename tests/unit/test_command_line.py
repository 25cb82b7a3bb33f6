"""The command line keeps its promises: exit codes, one JSON object, no traceback (specs/exit-codes.md)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from node.cli.main import app
from node.core import NodeCore

EXAMPLE = Path(__file__).parents[2] / "examples/us-chile/agreement.toml"
QUERY = ["--to", "US", "--modality", "face", "--purpose", "p", "--offence", "o", "--person", "s"]
QUERY += ["--legal-basis", "l", "--case", "c", "--officer", "f", "--approver", "a"]


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def error_of(result: Result, status: int, family: str) -> str:
    """The code of the error in the one JSON object that was printed."""
    assert result.exit_code == status, result.output
    told: dict[str, Any] = json.loads(result.stdout)
    assert told["ok"] is False
    assert told["error"]["family"] == family
    assert told["error"]["message"]
    return str(told["error"]["code"])


def all_commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield words
    for name, inner in getattr(command, "commands", {}).items():
        yield from all_commands(inner, (*words, name))


COMMANDS = list(all_commands(typer.main.get_command(app)))


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A node that is not served."""
    directory = tmp_path_factory.mktemp("nodes") / "cl"
    made = run("node", "init", directory, "--country", "CL", "--endpoint", "https://127.0.0.1:7443")
    assert made.exit_code == 0, made.output
    return directory


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(words: tuple[str, ...]) -> None:
    told = run(*words, "--help")
    assert told.exit_code == 0
    assert "Usage:" in told.output


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_an_unknown_option_is_bad_usage(words: tuple[str, ...]) -> None:
    assert run(*words, "--no-such-option").exit_code == 2


def test_a_directory_without_a_node(tmp_path: Path) -> None:
    assert error_of(run("node", "status", tmp_path, "--json"), 2, "input") == "no-such-node"


def test_a_node_is_not_made_twice(node: Path) -> None:
    again = ("node", "init", node, "--country", "CL", "--endpoint", "https://127.0.0.1:7443", "--json")
    assert error_of(run(*again), 2, "input") == "node-exists"


@pytest.mark.parametrize(
    "bad", [("--country", "chile"), ("--endpoint", "http://127.0.0.1:1"), ("--endpoint", "https://h:99999")]
)
def test_a_bad_setting_leaves_no_directory(tmp_path: Path, bad: tuple[str, str]) -> None:
    settings = {"--country": "CL", "--endpoint": "https://127.0.0.1:7443"} | dict([bad])
    words = [word for pair in settings.items() for word in pair]
    assert error_of(run("node", "init", tmp_path / "new", *words, "--json"), 2, "input") == "bad-config"
    assert not (tmp_path / "new").exists()


def test_a_query_wants_every_legal_field(node: Path, tmp_path: Path) -> None:
    probe = ("--probe", tmp_path / "probe.npz")
    for at in range(0, len(QUERY), 2):
        left = QUERY[:at] + QUERY[at + 2 :]
        assert run("query", node, *probe, *left).exit_code == 2, QUERY[at]
    assert error_of(run("query", node, *probe, *QUERY, "--json"), 2, "input") == "node-not-served"


def test_a_draft_can_be_shown_and_does_not_verify() -> None:
    assert run("agreement", "show", EXAMPLE).exit_code == 0
    told = run("agreement", "verify", EXAMPLE, "--json")
    assert told.exit_code == 1
    assert json.loads(told.stdout)["ok"] is False


def test_a_peer_is_accepted_by_fingerprint_only(node: Path, tmp_path: Path) -> None:
    us = tmp_path / "us"
    made = run("node", "init", us, "--country", "US", "--endpoint", "https://127.0.0.1:7444", "--json")
    fingerprint = json.loads(made.stdout)["fingerprint"]
    descriptor = tmp_path / "us.descriptor"
    assert run("peer", "export", us, "--output", descriptor).exit_code == 0
    shown = run("peer", "add", node, descriptor, "--json")
    assert shown.exit_code == 1
    assert json.loads(shown.stdout)["accepted"] is False
    other = ("--fingerprint", fingerprint[::-1], "--json")
    assert run("peer", "add", node, descriptor, *other).exit_code in (1, 2)
    assert json.loads(run("peer", "show", node, "--json").stdout)["peers"] == []
    assert run("peer", "add", node, descriptor, "--fingerprint", fingerprint).exit_code == 0
    assert run("peer", "export", us, "--output", descriptor).exit_code == 2, "nothing is overwritten"


def test_an_audit_says_what_holds_by_its_exit_code(node: Path, tmp_path: Path) -> None:
    policy = node / "ledger" / "policy"
    assert run("audit", "verify", node / "ledger", "--policy", policy).exit_code == 0
    copy = tmp_path / "ledger"
    for path in sorted((node / "ledger").rglob("*")):
        if path.is_file():
            target = copy / path.relative_to(node / "ledger")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    bundle = next(path for path in (copy / "tile" / "entries").rglob("*") if path.is_file())
    bundle.write_bytes(bundle.read_bytes()[:-1] + b"?")
    told = run("audit", "verify", copy, "--policy", policy, "--json")
    assert told.exit_code == 1
    report = json.loads(told.stdout)
    assert report["ok"] is False
    assert {"rule", "where", "what"} <= set(report["findings"][0])
    missing = run("audit", "verify", copy, "--policy", tmp_path / "none", "--json")
    assert error_of(missing, 2, "input") == "bad-config"


def test_an_auditors_key_is_private_and_never_overwritten(tmp_path: Path) -> None:
    key = tmp_path / "auditor.key"
    usual = os.umask(0o022)
    try:
        assert run("audit", "keygen", key).exit_code == 0
    finally:
        os.umask(usual)
    assert key.stat().st_mode & 0o777 == 0o600
    kept = key.read_bytes()
    assert run("audit", "keygen", key).exit_code == 2
    assert key.read_bytes() == kept


def test_a_bad_gallery_is_the_users_error_and_changes_nothing(node: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", embeddings=np.full((3, 128), np.nan, np.float32))
    words = ("--modality", "face", "--profile", "embedding-128", "--json")
    assert (
        error_of(run("gallery", "import", node, tmp_path / "bad.npz", *words), 2, "input") == "bad-features"
    )
    assert json.loads(run("gallery", "list", node, "--json").stdout)["galleries"] == []


def test_a_defect_shows_its_type_and_no_traceback(tmp_path: Path) -> None:
    program = (
        "import sys, node.cli.main as m, node.cli.common as c\n"
        "def broken(*_, **__): raise ZeroDivisionError('secret')\n"
        "import node.cli.node as n; n.perform = broken\n"
        f"sys.argv = ['concordat', 'node', 'status', {str(tmp_path)!r}]\n"
        "m.main()\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr == "error: ZeroDivisionError\n"
    assert ended.stdout == ""


def test_a_search_for_what_cannot_be_is_bad_usage(tmp_path: Path) -> None:
    search = ("audit", "search", tmp_path, "--policy", tmp_path / "p", "--key", tmp_path / "k", "--json")
    wrong = run(*search, "--type", "query.accept")
    assert error_of(wrong, 2, "input") == "bad-config"
    assert "query.accepted" in wrong.stdout


def test_a_copy_is_read_for_a_purpose_of_the_law(tmp_path: Path) -> None:
    for words in (("search",), ("stats",), ("report", "--output", tmp_path / "r")):
        given = ("--policy", tmp_path / "p", "--key", tmp_path / "k", "--reading", "curiosity", "--json")
        wrong = run("audit", *words, tmp_path, *given)
        assert error_of(wrong, 2, "input") == "bad-config"
        assert "lawfulness-check" in wrong.stdout


def test_a_profile_from_elsewhere_is_made_known(node: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    from node.profiles import builtin

    known = replace(builtin("embedding-128"), name="faces-of-others")
    file = tmp_path / "faces.json"
    file.write_bytes(known.to_bytes())
    assert json.loads(run("profile", "add", node, file, "--json").stdout)["digest"] == known.digest.hex()
    with NodeCore.open(node) as core:
        assert core.profiles.named(known.digest).name == "faces-of-others"
    other = file.rename(tmp_path / "faces.txt")
    assert error_of(run("profile", "add", node, other, "--json"), 2, "input") == "bad-config"


def test_an_unlock_file_that_will_not_do_leaves_no_directory(tmp_path: Path) -> None:
    made = ("node", "init", tmp_path / "new", "--country", "CL", "--endpoint", "https://127.0.0.1:7443")
    (tmp_path / "short").write_text("short")
    for unlock in (tmp_path / "absent" / "unlock", tmp_path / "short"):
        wrong = run(*made, "--unlock-file", unlock, "--json")
        assert error_of(wrong, 2, "input") == "bad-config"
    assert not (tmp_path / "new").exists()
