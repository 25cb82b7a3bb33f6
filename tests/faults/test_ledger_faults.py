"""A fault at every file system call of an append: nothing acknowledged is lost, nothing is half there."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest
from faulty_files import Killed, failing_at, killed_at
from ledgers import AUDITOR, REQUESTED, Country, filler, intent, open_country, snapshot

from crypto.errors import LocalFault
from node.files import AlreadyLocked, Files
from node.ledger_store import LedgerUnavailable
from protocol.audit.reader import MemoryReader
from protocol.audit.verify import verify_ledger

BEFORE = 253
"""Entries before the faults begin, so that the appends fill a tile and begin the next."""


def _begin(directory: Path, files: Files | None = None) -> Country:
    country = open_country(directory, "US", files)
    country.ledger.append_many([filler(n) for n in range(BEFORE - 1)])
    return country


def _steps(country: Country) -> Iterator[bytes]:
    """Four statements, one after the other; yields the leaf of each once it is acknowledged."""
    for number in range(1, 5):
        yield country.record(intent(number), REQUESTED).leaf.to_bytes()


def _reopen_and_check(directory: Path, acknowledged: list[bytes], complete: bool = True) -> None:
    """The ledger opens, verifies in full, holds what was acknowledged, and takes the same statements again."""
    country = open_country(directory, "US")
    try:
        for leaf in acknowledged:
            assert country.ledger.find(leaf) is not None, "an acknowledged entry is lost"
        assert country.ledger.size in range(BEFORE + len(acknowledged), BEFORE + len(acknowledged) + 2)
        leaves = list(_steps(country))
        assert leaves[: len(acknowledged)] == acknowledged
        assert country.ledger.size == BEFORE + 4
        report = verify_ledger(
            MemoryReader(snapshot(directory)), (directory / "policy").read_bytes(), AUDITOR
        )
        real = [f for f in report.findings if f.rule != "payload-missing" or f.index not in range(1, BEFORE)]
        assert not real
    finally:
        country.ledger.close()


def _calls_of_all_steps(tmp_path: Path) -> int:
    directory = tmp_path / "counted"
    _begin(directory).ledger.close()
    files = failing_at(lambda _: False)
    country = open_country(directory, "US", files)
    opened = files.calls
    assert opened < 12
    list(_steps(country))
    country.ledger.close()
    return files.calls


def test_kill_at_every_call(tmp_path: Path) -> None:
    total = _calls_of_all_steps(tmp_path)
    assert total > 60
    pristine = tmp_path / "pristine"
    _begin(pristine).ledger.close()
    for last in range(total + 1):
        directory = _copy(pristine, tmp_path / f"killed-{last}")
        acknowledged: list[bytes] = []
        country = None
        try:
            country = open_country(directory, "US", killed_at(last))
            for leaf in _steps(country):
                acknowledged.append(leaf)
        except Killed:
            pass
        finally:
            if country is not None:
                country.ledger.abandon()
        _reopen_and_check(directory, acknowledged)


def test_one_failure_at_every_call_then_the_same_process_goes_on(tmp_path: Path) -> None:
    total = _calls_of_all_steps(tmp_path)
    pristine = tmp_path / "pristine"
    _begin(pristine).ledger.close()
    failures = 0
    for bad in range(total):
        directory = _copy(pristine, tmp_path / f"failed-{bad}")
        files = failing_at(lambda number, bad=bad: number == bad, errno.EIO)
        try:
            country = open_country(directory, "US", files)
        except LedgerUnavailable:
            failures += 1
            _reopen_and_check(directory, [])
            continue
        acknowledged: list[bytes] = []
        for number in range(1, 5):
            try:
                recorded = country.record(intent(number), REQUESTED)
            except LedgerUnavailable:
                failures += 1
                recorded = country.record(intent(number), REQUESTED)
            acknowledged.append(recorded.leaf.to_bytes())
        assert country.ledger.size == BEFORE + 4
        country.ledger.close()
        _reopen_and_check(directory, acknowledged)
    assert failures > 60


def test_a_disk_that_stays_full_refuses_every_append_and_loses_nothing(tmp_path: Path) -> None:
    total = _calls_of_all_steps(tmp_path)
    pristine = tmp_path / "pristine"
    _begin(pristine).ledger.close()
    for first in range(8, total, 3):
        directory = _copy(pristine, tmp_path / f"full-{first}")
        acknowledged: list[bytes] = []
        country = None
        try:
            country = open_country(directory, "US", failing_at(lambda number, first=first: number >= first))
            for leaf in _steps(country):
                acknowledged.append(leaf)
        except LocalFault:
            pass
        finally:
            if country is not None:
                country.ledger.abandon()
        _reopen_and_check(directory, acknowledged)


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    country = open_country(tmp_path / "ledger", "US")
    with pytest.raises(AlreadyLocked):
        open_country(tmp_path / "ledger", "US")
    country.ledger.close()
    open_country(tmp_path / "ledger", "US").ledger.close()


def _copy(source: Path, target: Path) -> Path:
    for path, data in snapshot(source).items():
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_bytes(data)
    return target
