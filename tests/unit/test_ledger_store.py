"""The store as its users see it: shared commits, one writer, copies, restored copies, little memory."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from faulty_files import QuickFiles
from ledgers import REQUESTED, START_MS, filler, intent, open_country, open_ledger, snapshot

from crypto.errors import LocalFault
from crypto.note import CosignatureSigner, add_signatures
from crypto.signing import SigningKey
from node import entry_log, ledger_store, prefix_index
from node.group_commit import GroupCommit
from node.ledger_copy import CopyExists, copy_ledger
from node.ledger_store import CHECKPOINT, LedgerDamaged, LedgerRolledBack
from node.prefix_index import PrefixIndex
from protocol.audit.reader import MemoryReader
from protocol.audit.verify import verify_ledger
from protocol.leaf import exchange_in_leaf
from protocol.statements import Statement

WITNESS = CosignatureSigner("witness.example", SigningKey.from_seed(bytes(32)), 1_750_000_000)


class SlowFiles(QuickFiles):
    """Files whose log waits for company: every sync of it takes until ``gate`` opens."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = threading.Event()
        self.log_syncs = 0

    def sync(self, path: Path) -> None:
        if path.name in ("log", "log.new"):
            self.log_syncs += 1
            self.waiting.set()
            self.gate.wait(30)


def test_writers_that_come_during_a_commit_share_the_next(tmp_path: Path) -> None:
    files = SlowFiles()
    store = open_ledger(tmp_path / "ledger", "US", files)
    store.add(filler(0))
    files.gate.clear()
    files.waiting.clear()
    with ThreadPoolExecutor(20) as pool:
        first = pool.submit(store.add, filler(1))
        assert files.waiting.wait(30)
        others = [pool.submit(store.add, filler(number)) for number in range(2, 20)]
        while len(store._commits._queue) < 18:
            time.sleep(0.001)
        assert not first.done()
        assert store.size == 1
        files.gate.set()
        indexes = [one.result() for one in (first, *others)]
    assert sorted(indexes) == list(range(1, 20))
    assert files.log_syncs == 3
    store.close()


def test_the_same_entry_from_two_writers_is_one_entry(tmp_path: Path) -> None:
    with open_ledger(tmp_path / "ledger", "US") as store:
        with ThreadPoolExecutor(8) as pool:
            indexes = list(pool.map(store.append, [filler(number % 3) for number in range(24)]))
        assert store.size == 3
        assert [store.entry(index) for index in indexes] == [filler(number % 3) for number in range(24)]


def test_a_failed_commit_fails_for_all_who_share_it_and_for_nobody_else() -> None:
    groups: list[list[int]] = []
    entered, gate = threading.Event(), threading.Event()

    def commit(requests: list[int]) -> list[int]:
        groups.append(list(requests))
        entered.set()
        gate.wait(30)
        if 13 in requests:
            raise LocalFault("no")
        return [request * 2 for request in requests]

    commits = GroupCommit[int, int](commit)  # type: ignore[arg-type]
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(commits.submit, 1)
        assert entered.wait(30)
        others = [pool.submit(commits.submit, number) for number in (13, 14, 15)]
        while len(commits._queue) < 3:
            time.sleep(0.001)
        gate.set()
        assert first.result() == 2
        for one in others:
            with pytest.raises(LocalFault):
                one.result()
    assert len(groups) == 2
    assert commits.submit(16) == 32


def test_a_queue_moves_on() -> None:
    entered, gate = threading.Event(), threading.Event()

    def commit(requests: Sequence[int]) -> Sequence[int]:
        entered.set()
        gate.wait(30)
        return requests

    commits = GroupCommit[int, int](commit)
    # Daemons: a writer who waits for ever must not hold up the tests.
    threads = [threading.Thread(target=commits.submit, args=(number,), daemon=True) for number in range(3)]
    threads[0].start()
    assert entered.wait(30)
    for thread in threads[1:]:
        thread.start()
    while len(commits._queue) < 2:
        time.sleep(0.001)
    gate.set()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from node.ledger_store import LedgerStore\n"
        "try: LedgerStore.open(Path(sys.argv[1]), 'us.example/ledger', bytes(32))\n"
        "except Exception as error: print(error.code)"
    )
    with open_ledger(tmp_path / "ledger", "US"):
        run = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "ledger")], capture_output=True, text=True, check=True
        )
    assert run.stdout == "already-locked\n", run.stderr


def test_a_copy_of_a_ledger_that_is_written_to_is_a_ledger(tmp_path: Path) -> None:
    us = open_country(tmp_path / "ledger", "US")
    us.ledger.append_many([filler(number) for number in range(250)])
    us.record(intent(1), REQUESTED)
    stop = threading.Event()

    def write() -> None:
        number = 1000
        while not stop.is_set() and number < 3000:
            us.ledger.append(filler(number))
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(4):
            copy = tmp_path / f"copy-{number}"
            assert copy_ledger(tmp_path / "ledger", copy, QuickFiles()) > 6
            files = snapshot(copy)
            report = verify_ledger(MemoryReader(files), files["policy"])
            assert report.ok, report.findings
            with open_ledger(copy, "US") as store:
                assert store.size >= 252
                us.ledger.check_floor(store.head)
    finally:
        stop.set()
        writer.join()
    with pytest.raises(CopyExists):
        copy_ledger(tmp_path / "ledger", copy)


def test_a_restored_older_copy_is_found_out_by_its_last_cosigned_checkpoint(tmp_path: Path) -> None:
    directory = tmp_path / "ledger"
    with open_ledger(directory, "US") as store:
        store.append(filler(1))
        shutil.copytree(directory, tmp_path / "older")
        store.append(filler(2))
        assert store.cosign(add_signatures(store.checkpoint(), [WITNESS]))
        seen = store.head
        store.append(filler(3))
    # Only the ledger's tree is old: its own file tells. All of it is old: whoever holds the head tells.
    with open_ledger(tmp_path / "older", "US") as store, pytest.raises(LedgerRolledBack) as caught:
        store.check_floor(seen)
    assert caught.value.seen_size == 2
    shutil.copy(directory / "cosigned", tmp_path / "older" / "cosigned")
    with pytest.raises(LedgerRolledBack):
        open_ledger(tmp_path / "older", "US")


def test_a_fork_of_ourselves_is_found_out_too(tmp_path: Path) -> None:
    with open_ledger(tmp_path / "one", "US") as one, open_ledger(tmp_path / "two", "US") as two:
        one.append_many([filler(1), filler(2)])
        two.append_many([filler(1), filler(3), filler(4)])
        with pytest.raises(LedgerRolledBack, match="another root"):
            two.check_floor(one.head)
        with pytest.raises(LedgerRolledBack, match="another root"):
            two.cosign(one.checkpoint())


def test_a_tile_that_is_not_that_of_its_entries_is_not_opened(tmp_path: Path) -> None:
    with open_ledger(tmp_path / "ledger", "US") as store:
        store.append_many([filler(number) for number in range(300)])
    tile = tmp_path / "ledger" / "tile" / "0" / "000"
    data = tile.read_bytes()
    tile.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(LedgerDamaged):
        open_ledger(tmp_path / "ledger", "US")


def test_what_is_published_is_not_kept_in_memory(tmp_path: Path) -> None:
    with open_ledger(tmp_path / "ledger", "US") as store:
        store.append_many([filler(number) for number in range(1500)])
        assert store._pending == []
        assert len(store._edge.bundle) == 1500 % 256
        assert store.entry(700) == filler(700)
        assert store.find(filler(1234)) == 1234


def test_a_writer_far_ahead_of_the_checkpoint_publishes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_store, "MAX_UNPUBLISHED", 10)
    with open_ledger(tmp_path / "ledger", "US") as store:
        for number in range(12):
            store.add(filler(number))
        assert store.head.size == 11
        assert store.size == 12
        assert b"\n11\n" in (tmp_path / "ledger" / CHECKPOINT).read_bytes()


def test_hashes_that_begin_alike_are_all_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefix_index, "_MIN_RECENT", 4)
    index = PrefixIndex()
    keys = [bytes([number % 3]) * 8 + bytes([number]) * 24 for number in range(40)]
    for number, key in enumerate(keys):
        index.add(key)
        assert len(index) == number + 1
        for value in range(3):
            assert index.candidates(bytes([value]) * 32) == list(range(value, number + 1, 3))
    assert index.candidates(b"\xff" * 32) == []


def test_statements_of_different_exchanges_share_a_commit(tmp_path: Path) -> None:
    files = SlowFiles()
    us = open_country(tmp_path / "ledger", "US", files)
    files.gate.clear()
    files.waiting.clear()
    before = files.log_syncs
    statements = [Statement(intent(number), REQUESTED) for number in range(1, 9)]
    with ThreadPoolExecutor(8) as pool:
        recorded = [pool.submit(us.journal.record, one, START_MS) for one in statements]
        assert files.waiting.wait(30)
        while len(us.ledger._commits._queue) < 7 - _sharing_a_stripe(statements):
            time.sleep(0.001)
        files.gate.set()
        indexes = {one.result().index for one in recorded}
    assert indexes == set(range(1, 9))
    assert files.log_syncs - before <= 2 + _sharing_a_stripe(statements)
    for one in statements:
        found = us.journal.find(one.shared.exchange_id, "query.intent")
        assert found is not None
        assert us.journal.record(one, START_MS + 5) == found
    us.ledger.close()


def _sharing_a_stripe(statements: list[Statement]) -> int:
    """How many of them must wait for another of them."""
    return len(statements) - len({exchange_in_leaf(one.shared.exchange_id)[0] % 64 for one in statements})


def test_the_same_entry_twice_in_one_call_is_one_entry(tmp_path: Path) -> None:
    with open_ledger(tmp_path / "ledger", "US") as store:
        assert store.add_many([filler(1), filler(2), filler(1), filler(3)]) == [0, 1, 0, 2]
        assert store.publish().size == 3


def test_a_log_begun_anew_keeps_what_no_checkpoint_covers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_ledger(tmp_path / "ledger", "US")
    store.append(filler(0))
    monkeypatch.setattr(entry_log, "RENEW_AT", 0)
    for number in range(1, 5):
        store.add(filler(number))
    store.abandon()
    with open_ledger(tmp_path / "ledger", "US") as again:
        assert [again.find(filler(number)) for number in range(5)] == list(range(5))
