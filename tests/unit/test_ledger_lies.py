"""A node that says other things than it committed to, and one whose disk fails half-way through a checkpoint."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from faulty_files import failing_at
from ledgers import AUDITOR, REQUESTED, intent, open_country

from crypto import merkle
from node.ledger_store import CHECKPOINT, LedgerUnavailable
from protocol import payload
from protocol.audit.reader import MemoryReader
from protocol.audit.report import Rule
from protocol.audit.verify import verify_ledger
from protocol.checkpoint import TreeHead, parse_checkpoint_text


def test_a_payload_that_says_something_else_than_its_leaf_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    us = open_country(tmp_path / "us", "US")
    us.record(intent(1), REQUESTED)
    monkeypatch.setattr(payload, "commit", lambda *_: bytes(32))
    lied = us.record(intent(2), REQUESTED).index
    monkeypatch.undo()
    files = us.files()
    report = verify_ledger(MemoryReader(files), files["policy"], AUDITOR)
    assert [(one.rule, one.index) for one in report.findings] == [(Rule.PAYLOAD_COMMITMENT, lied)]
    assert verify_ledger(MemoryReader(files), files["policy"]).ok, "only the auditor's key shows it"


def _head_on_disk(directory: Path) -> TreeHead:
    text = (directory / CHECKPOINT).read_bytes().partition(b"\n\n")[0] + b"\n"
    return parse_checkpoint_text(text).head


def test_no_checkpoint_that_anybody_could_read_is_ever_contradicted(tmp_path: Path) -> None:
    """Mirrors copy the file at any time, also one whose signing call failed before it was acknowledged."""
    counted = failing_at(lambda _: False)
    us = open_country(tmp_path / "counted", "US", counted)
    opened = counted.calls
    us.record(intent(1), REQUESTED)
    failures = 0
    for bad in range(opened, counted.calls):
        directory = tmp_path / f"failed-{bad}"
        us = open_country(directory, "US", failing_at(lambda number, bad=bad: number == bad, errno.EIO))
        seen = []
        for number in (1, 1, 2):
            try:
                us.record(intent(number), REQUESTED)
            except LedgerUnavailable:
                failures += 1
            seen.append(_head_on_disk(directory))
        leaves = [merkle.leaf_hash(us.ledger.entry(index)) for index in range(us.ledger.size)]
        for head in seen:
            assert head.root == merkle.root(leaves[: head.size])
        us.ledger.close()
    assert failures == counted.calls - opened
