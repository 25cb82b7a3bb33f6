"""A fault at every file system call of an append: nothing acknowledged is lost, nothing is half there."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from faulty_files import Killed, QuickFiles, VolatileFiles, failing_at, killed_at
from ledgers import AUDITOR, REQUESTED, Country, filler, intent, open_country, snapshot

from crypto.errors import LocalFault
from node.files import AlreadyLocked, Files
from node.ledger_store import LedgerDamaged, LedgerStore, LedgerUnavailable
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
                country.ledger.close()
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
                country.ledger.close()
        _reopen_and_check(directory, acknowledged)


def _run_on_volatile_disk(tmp_path: Path, forget: int | None) -> VolatileFiles:
    """Record on a disk with a cache; after every call, what a power cut leaves must open with all that was
    acknowledged until then."""
    root = tmp_path / "volatile"
    directory = root / "ledger"
    files = VolatileFiles(root, forget)
    root.mkdir(parents=True)
    # The store makes its own directory before anything else.
    files.make_directory(directory)
    Files.sync_directory(files, root)
    files._find(root).durable_names = dict(files._names(root))
    acknowledged: list[bytes] = []
    begun = False

    def cut() -> None:
        if begun:
            for names in (False, True):
                left = files.power_cut(tmp_path / "after", names) / "ledger"
                _open_raw(left, acknowledged)

    # A forgotten sync shows at the next acknowledgement; without one, no moment may be bad.
    files.on_step = cut if forget is None else lambda: None
    country = open_country(directory, "US", files)
    try:
        begun = True
        for number in range(1, 3):
            acknowledged.append(country.record(intent(number), REQUESTED).leaf.to_bytes())
            cut()
    finally:
        country.ledger.close()
    return files


def _open_raw(directory: Path, acknowledged: list[bytes]) -> None:
    seed = hashlib.sha256(b"ledger key of US").digest()
    with LedgerStore.open(directory, "us.example/ledger", seed, QuickFiles()) as store:
        for leaf in acknowledged:
            assert store.find(leaf) is not None, "an acknowledged entry is lost"
    report = verify_ledger(MemoryReader(snapshot(directory)), (directory / "policy").read_bytes(), AUDITOR)
    assert report.ok, report.findings


def test_a_power_cut_at_every_call(tmp_path: Path) -> None:
    _run_on_volatile_disk(tmp_path, None)


def test_every_fsync_of_a_record_is_needed(tmp_path: Path) -> None:
    files = _run_on_volatile_disk(tmp_path / "counting", None)
    first = next(
        number for number, (_, path) in enumerate(files.syncs) if "payloads" in path.parts and number > 30
    )
    unneeded = []
    for number in range(first, len(files.syncs)):
        try:
            _run_on_volatile_disk(tmp_path / f"forgot-{number}", number)
        except (LedgerDamaged, LedgerUnavailable, AssertionError):
            continue
        unneeded.append((number, *files.syncs[number]))
    assert not unneeded


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
