"""Reading, keeping and erasing records of a real node: everything logged first, every proof still good."""

from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ledgers import AUDITOR, REQUESTED, exchange_id, filler, intent, open_country, result, whole_exchange
from sqlalchemy import delete, insert
from typer.testing import CliRunner

from crypto.sealing import public_key
from node import records
from node.audit_files import DirectoryReader, prove
from node.cli.main import app
from node.config import AuditorConfig
from node.core import NodeCore
from node.errors import BadConfig
from node.ledger_errors import LedgerUnavailable
from node.setup import create_node
from node.tables import exchanges
from node.unfinished import ERASURE, Marks
from protocol import limits
from protocol.audit.keys import format_private
from protocol.audit.proof import verify_proof
from protocol.audit.report import AuditReport
from protocol.audit.search import Criteria, search, statistics
from protocol.audit.verify import LedgerInput, audit_ledger, verify_ledger
from protocol.payload import payload_path
from protocol.statement_parts import NoPrivatePart
from protocol.statements_records import LogFiller

BASIS = "agreement-article-4"


@dataclass
class Node:
    """A node of the United States on its own, with a clock of ours."""

    directory: Path
    key: Path
    now_ms: int

    def open(self) -> NodeCore:
        return NodeCore.open(self.directory, clock=lambda: self.now_ms)

    def audit(self) -> AuditReport:
        ledger = self.directory / "ledger"
        return verify_ledger(DirectoryReader(ledger), (ledger / "policy").read_bytes(), AUDITOR)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    directory, key = tmp_path / "node", tmp_path / "auditor"
    create_node(
        directory,
        country="US",
        authority="Border Protection",
        endpoint="https://us.example:8443",
        listen="https://127.0.0.1:8443",
        auditors=[AuditorConfig(name="Inspector", key=public_key(AUDITOR).hex())],
        unlock_file=None,
        workers=1,
        memory_mib=64,
    )
    with (directory / "node.toml").open("a") as file:
        file.write(f"{BASIS} = 365\n")
    key.write_text(format_private(AUDITOR))
    made = Node(directory, key, time.time_ns() // 1_000_000)
    with made.open() as core:
        for number in (1, 2):
            core.record(intent(number), REQUESTED)
            core.record(result(number), NoPrivatePart())
    return made


def _cli(*arguments: object) -> tuple[int, dict[str, Any]]:
    run = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    return run.exit_code, json.loads(run.stdout)


def test_an_erasure_is_an_entry_and_every_proof_still_holds(node: Node) -> None:
    with node.open() as core:
        leaves = [core.journal.leaf(index) for index in range(core.journal.ledger.size)]
        assert records.erase(core, "op", really=True)["erased"] == 0, "nothing is due yet"
    node.now_ms += 366 * limits.DAY
    with node.open() as core:
        counted = records.erase(core, "op", really=False)
        assert (counted["erased"], counted["exchanges"], counted["entries"]) == (4, 2, [])
        done = records.erase(core, "op", really=True)
        assert (done["erased"], done["entries"]) == (4, [5])
        assert records.erase(core, "op", really=True)["erased"] == 0
        assert core.journal.open(1) is None
    assert node.audit().ok
    ledger = node.directory / "ledger"
    for index in range(5):
        there = (ledger / payload_path(leaves[index].leaf_hash)).exists()
        assert there == (index == 0)
        proof = prove(DirectoryReader(ledger), index)
        with node.open() as core:
            verify_proof(proof, leaves[index].to_bytes(), core.journal.ledger.verifier)


def test_an_erasure_takes_the_nodes_own_sessions_with_it(node: Node) -> None:
    """A session's snapshot names officer and case; it must not outlive the payload, not even as free pages."""
    secret = b"snapshot-that-names-an-officer" * 8
    with node.open() as core:
        for number, is_open in ((1, 0), (2, 1)):
            row = {
                "key": bytes([number]) * 32,
                "role": "r",
                "peer": "CL",
                "exchange_id": exchange_id(number),
                "created_ms": 1,
                "is_open": is_open,
                "snapshot": secret,
            }
            row = {name: value for name, value in row.items() if name in exchanges.c}
            with core.state.writing() as connection:
                connection.execute(insert(exchanges).values(**row))
        core.state.put_seed(bytes([1]) * 32, 1, b"sealed seed")
        records.erase(core, "op", really=True)
        assert len(core.state.all_exchanges()) == 2, "nothing is due yet"
        node.now_ms += 366 * limits.DAY
        records.erase(core, "op", really=True)
        assert [row.exchange_id for row in core.state.all_exchanges()] == [exchange_id(2)], "open ones stay"
        with core.state.writing() as connection:
            connection.execute(delete(exchanges))
        core.state.forget_exchanges(lambda _: True)
    with sqlite3.connect(node.directory / "state.sqlite") as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert database.execute("SELECT count(*) FROM search_seeds").fetchone() == (0,)
    database.close()
    stored = b"".join(path.read_bytes() for path in node.directory.glob("state.sqlite*"))
    assert secret not in stored


def test_an_erasure_that_was_cut_short_is_ended_by_the_next(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.now_ms += 366 * limits.DAY
    with node.open() as core:
        with monkeypatch.context() as patch:
            patch.setattr(core.journal, "erase", lambda leaf: False)
            records.erase(core, "op", really=True)
        assert not node.audit().ok
        assert records.erase(core, "op", really=True)["finished"] == 4
    assert node.audit().ok


def test_an_erasure_that_was_cut_short_is_ended_by_the_next_start(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.now_ms += 366 * limits.DAY
    with node.open() as core:
        real, left = core.journal.erase, [1]

        def dies(leaf_hash: bytes) -> bool:
            if not left:
                raise LedgerUnavailable("the plug is pulled")
            left.pop()
            return real(leaf_hash)

        with monkeypatch.context() as patch:
            patch.setattr(core.journal, "erase", dies)
            with pytest.raises(LedgerUnavailable):
                records.erase(core, "op", really=True)
    assert not node.audit().ok
    with node.open() as core:
        assert core.journal.ledger.size == 6
        assert [core.journal.open(index) for index in range(1, 5)] == [None] * 4
        assert records.finish_erasures(core) == 0
    assert node.audit().ok


def test_an_erasure_that_never_got_into_the_ledger_erases_nothing(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.now_ms += 366 * limits.DAY
    with node.open() as core:
        monkeypatch.setattr(
            core.journal, "record", lambda *_: (_ for _ in ()).throw(LedgerUnavailable("full"))
        )
        with pytest.raises(LedgerUnavailable):
            records.erase(core, "op", really=True)
    monkeypatch.undo()
    with node.open() as core:
        assert core.journal.open(1) is not None
        assert Marks(core.state, ERASURE).open() == []
    assert node.audit().ok


def test_payloads_of_fillers_go_by_a_rule_of_their_own(node: Node) -> None:
    with (node.directory / "node.toml").open("a") as file:
        file.write("filler = 30\n")
    with node.open() as core:
        for number in (11, 12):
            core.record(LogFiller(exchange_id=exchange_id(number), country="US"), NoPrivatePart())
        node.now_ms += 31 * limits.DAY
        done = records.erase(core, "op", really=True)
        assert (done["erased"], done["exchanges"]) == (2, 2)
    assert node.audit().ok


def test_a_hold_blocks_erasure_until_the_last_one_is_released(node: Node) -> None:
    with node.open() as core:
        records.hold(core, exchange_id(1), "op", "court", "order 7")
        records.hold(core, exchange_id(1), "op", "prosecutor", "order 8")
        node.now_ms += 366 * limits.DAY
        done = records.erase(core, "op", really=True)
        assert (done["erased"], done["held"]) == (2, 1)
        assert core.journal.open(1) is not None
        assert len(records.release(core, exchange_id(1), "op")) == 2
        with pytest.raises(records.NoSuchExchange):
            records.release(core, exchange_id(1), "op")
        assert records.erase(core, "op", really=True)["erased"] == 2
        with pytest.raises(records.NoSuchExchange):
            records.hold(core, exchange_id(9), "op", "court", "order 9")
    assert node.audit().ok


def test_opening_is_logged_before_anything_is_shown(node: Node) -> None:
    code, shown = _cli("audit", "open", node.directory, 1, "--key", node.key, "--purpose", "lawfulness-check")
    assert code == 0
    assert shown["private"] == REQUESTED.model_dump()
    assert shown["commitment"] == "holds"
    with node.open() as core:
        read = core.journal.open(shown["reading"])
        assert read is not None
        assert read.shared.model_dump(exclude={"exchange_id"}) == {
            "type": "ledger.read",
            "country": "US",
            "scope": "payload",
            "first": 1,
            "count": 1,
        }
        assert read.private.model_dump()["reader"] == "Inspector"
    assert node.audit().ok


def test_only_auditors_of_the_node_and_only_lawful_purposes(node: Node, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger"
    stranger.write_text(format_private(bytes(range(32))))
    size = node.audit().size
    for key, purpose, code in (
        (stranger, "security", "not-entitled"),
        (node.key, "curiosity", "bad-config"),
    ):
        status, shown = _cli("audit", "open", node.directory, 1, "--key", key, "--purpose", purpose)
        assert (status, shown["error"]["code"]) == (2, code)
    assert node.audit().size == size


def test_searching_a_node_is_logged_and_says_whether_it_is_complete(node: Node) -> None:
    ledger = node.directory / "ledger"
    base = ("--policy", ledger / "policy", "--key", node.key)
    code, found = _cli("audit", "search", ledger, *base, "--type", "query.intent", "--peer", "CL")
    assert code == 0
    assert [one["index"] for one in found["matches"]] == [1, 3]
    assert found["completeness"]["complete"] is True
    assert found["completeness"]["size"] == found["completeness"]["read"] == 6
    assert found["reading"] == 5
    code, counted = _cli("audit", "stats", ledger, *base)
    assert code == 0
    assert counted["totals"]["queries"] == counted["totals"]["with_hit"] == 2
    assert counted["statements"]["ledger.read"] == 2
    written = node.directory.parent / "report.json"
    code, shown = _cli("audit", "report", ledger, *base, "-o", written)
    assert (code, shown["ok"]) == (0, True)
    handed_over = json.loads(written.read_text())
    assert handed_over["audit"]["size"] == handed_over["statistics"]["completeness"]["read"] == 8


def test_confirming_a_hit_takes_two_persons(node: Node) -> None:
    arguments = ("audit", "confirm", node.directory, exchange_id(1).hex(), "--examiner", "a", "--match")
    assert _cli(*arguments, "--second-examiner", "a")[0] == 2
    code, shown = _cli(*arguments, "--second-examiner", "b", "--disclosed-to", "court")
    assert (code, shown["entry"]) == (0, 5)
    assert (
        _cli(
            "audit", "confirm", node.directory, exchange_id(7).hex(), *arguments[4:], "--second-examiner", "b"
        )[0]
        == 2
    )
    ledger = node.directory / "ledger"
    counted = statistics(audit_ledger(_input(ledger)))
    assert counted["totals"]["matches"] == 1


def _input(ledger: Path) -> LedgerInput:
    return LedgerInput(DirectoryReader(ledger), (ledger / "policy").read_bytes(), AUDITOR)


def test_criteria(tmp_path: Path) -> None:
    us, cl = open_country(tmp_path / "us", "US"), open_country(tmp_path / "cl", "CL")
    whole_exchange(us, cl, 1)
    us.record(intent(2, responder="CO", purpose="asylum"), REQUESTED)
    audited = audit_ledger(us.audited())
    entries = {entry.index: entry.leaf.time_ms for entry in audited.entries}
    for criteria, expected in (
        (Criteria(), [0, 1, 2, 3]),
        (Criteria(exchange=exchange_id(1)), [1, 2]),
        (Criteria(peer="CO"), [3]),
        (Criteria(purpose="border-control"), [1, 2]),
        (Criteria(kind="query.intent"), [1, 3]),
        (Criteria(from_ms=entries[2]), [2, 3]),
        (Criteria(until_ms=entries[2]), [0, 1]),
        (Criteria(peer="CL", kind="query.result", purpose="asylum"), []),
    ):
        assert [one["index"] for one in search(audited, criteria)["matches"]] == expected
    rows = statistics(audited)["rows"]
    assert [(row["peer"], row["purpose"], row["queries"], row["hits"]) for row in rows] == [
        ("CL", "border-control", 1, 1),
        ("CO", "asylum", 1, 0),
    ]
    answered = statistics(audit_ledger(cl.audited()))["rows"]
    assert [(row["direction"], row["peer"], row["accepted"], row["hits"]) for row in answered] == [
        ("answered", "US", 1, 1)
    ]


def test_what_cannot_be_read_is_counted_and_the_search_is_not_complete(tmp_path: Path) -> None:
    us = open_country(tmp_path / "us", "US")
    us.record(intent(1), REQUESTED)
    us.ledger.append(filler(1))
    known = search(audit_ledger(us.audited()), Criteria())["completeness"]
    assert known["complete"] is False
    assert known["unread"] == {"absent": [2]}
    assert known["findings"] == 1


def test_a_reading_needs_a_purpose_that_the_law_knows(node: Node) -> None:
    with node.open() as core, pytest.raises(BadConfig):
        records.log_reading(core, core.config.auditors[0], "research", "pull", 0, 1)
