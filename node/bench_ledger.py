"""Measures the ledger on this machine: durable entries from concurrent writers, beside a plain fsync loop,
and the audit of a large ledger.

Latencies run from the moment at which the timetable wants an entry written to the return of the call, for the
ledger and for the fsync loop alike: a stall of the disk counts for everything that waits behind it. The two take
turns of a second in an order drawn anew each time, so that both meet the same disk. The loop writes the bytes
that the ledger's log has of an entry, everything that is due at once, and brings it to the disk by one fsync: there is
no faster way to make them durable one after the other.

Source: specs/ledger.md, section "Durability".
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import resource
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, Final

from node.audit_files import DirectoryReader
from node.entry_log import Record
from node.ledger_store import POLICY, LedgerStore
from protocol.audit.verify import verify_ledger
from protocol.leaf import Leaf

RATE: Final = 1000
"""Entries a second at which latency is measured."""
_ORIGIN: Final = "bench.example/ledger"
_SEED: Final = bytes(32)
_CHUNK: Final = 1 << 14
_TURN_S: Final = 1.0
_PLENTY: Final = 20_000


def measure_ledger(
    entries: int, seconds: float, writers: int, directory: Path | None, tell: Callable[[str], None]
) -> dict[str, Any]:
    """All figures.

    Args:
        entries: Of the ledger that is verified.
        seconds: Of each of the measurements of writing.
        writers: Threads that write at the same time.
        directory: Where, e.g. on the disk that a node would use; a temporary one by default.
        tell: Told what is being done.
    """
    with tempfile.TemporaryDirectory(prefix="concordat-bench-", dir=directory) as place:
        root = Path(place)
        tell(f"{writers} writers, as fast as they can, for {seconds:g} s")
        figures = _throughput(root / "fast", seconds, writers)
        tell(f"{RATE} entries a second beside a plain loop of write and fsync, {seconds:g} s each, in turns")
        figures |= _latency(root, seconds, writers)
        tell(f"a ledger of {entries} entries")
        figures |= _build(root / "large", entries)
        tell("its verification, from bytes, in a process of its own")
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            figures |= pool.apply(_verify, (root / "large",))
    return figures


def leaf(number: int) -> bytes:
    """The bytes of a leaf like any other."""
    digest = hashlib.sha256(b"%d" % number).digest()
    return Leaf(exchange=digest, time_ms=1_750_000_000_000 + number, commitment=digest[::-1]).to_bytes()


def _throughput(directory: Path, seconds: float, writers: int) -> dict[str, Any]:
    """Each writer adds one entry after the other, each durable before the next; checkpoints go on meanwhile."""
    end = 0.0
    counts = [0] * writers
    # Making a leaf is not part of making it durable; more than the disk can take in that time.
    leaves = [[leaf(w << 32 | n) for n in range(int(_PLENTY * seconds / writers))] for w in range(writers)]

    def write(ledger: LedgerStore, writer: int) -> None:
        for data in leaves[writer]:
            if time.perf_counter() >= end:
                return
            ledger.add(data)
            counts[writer] += 1

    with LedgerStore.open(directory, _ORIGIN, _SEED) as ledger:
        started = time.perf_counter()
        end = started + seconds
        checkpoints = _run([lambda n=n: write(ledger, n) for n in range(writers)], ledger)  # type: ignore[misc]
        spent = time.perf_counter() - started
    return {"entries_per_s": round(sum(counts) / spent), "writers": writers, "checkpoints": checkpoints}


def _latency(root: Path, seconds: float, writers: int) -> dict[str, Any]:
    """The same timetable for durable entries, for published ones, and for a plain loop of write and fsync."""
    spent: dict[str, list[float]] = {"": [], "published_": [], "fsync_": []}
    with (
        LedgerStore.open(root / "paced", _ORIGIN, _SEED) as paced,
        LedgerStore.open(root / "published", _ORIGIN, _SEED) as published,
        (root / "plain").open("ab", buffering=0) as file,
    ):
        turns: dict[str, Callable[[int], list[float]]] = {
            "": lambda first: _paced(paced.add, first, writers, paced),
            "published_": lambda first: _paced(published.append, first, writers, None),
            "fsync_": lambda first: _plain(file, first),
        }
        for turn in range(max(1, round(seconds / _TURN_S))):
            for name in random.sample(list(turns), len(turns)):
                spent[name] += turns[name](turn * int(RATE * _TURN_S))
    figures: dict[str, Any] = {}
    for name, values in spent.items():
        figures |= _percentiles(name, values)
    figures["p99_over_fsync_p99"] = round(figures["p99_ms"] / figures["fsync_p99_ms"], 2)
    return figures


def _paced(
    write: Callable[[bytes], object], first: int, writers: int, ledger: LedgerStore | None
) -> list[float]:
    """Call ``write`` ``RATE`` times a second from several threads; how late each call was done."""
    spent: list[list[float]] = [[] for _ in range(writers)]
    leaves = [leaf(n) for n in range(first, first + int(RATE * _TURN_S))]
    begin = time.perf_counter() + 0.1

    def work(writer: int) -> None:
        for number in range(writer, len(leaves), writers):
            due = begin + number / RATE
            time.sleep(max(0.0, due - time.perf_counter()))
            write(leaves[number])
            spent[writer].append(time.perf_counter() - due)

    # In the middle of a turn, which begins a moment later.
    every_s = 0.1 + _TURN_S / 2
    _run([lambda n=n: work(n) for n in range(writers)], ledger, every_s)  # type: ignore[misc]
    return [value for part in spent for value in part]


def _plain(file: IO[bytes], first: int) -> list[float]:
    """Write and fsync what is due, as soon as it is; how late each entry was done."""
    records = [Record(n, [leaf(n)]).to_bytes(b"") for n in range(first, first + int(RATE * _TURN_S))]
    spent: list[float] = []
    begin = time.perf_counter() + 0.1
    while len(spent) < len(records):
        done = len(spent)
        time.sleep(max(0.0, begin + done / RATE - time.perf_counter()))
        due = min(len(records), int((time.perf_counter() - begin) * RATE) + 1)
        file.write(b"".join(records[done : max(due, done + 1)]))
        os.fsync(file.fileno())
        now = time.perf_counter()
        spent += [now - begin - number / RATE for number in range(done, max(due, done + 1))]
    return spent


def _run(jobs: Sequence[Callable[[], None]], ledger: LedgerStore | None, every_s: float = 1) -> int:
    """Run all jobs at the same time; publish a checkpoint now and then meanwhile, and one at the end; how many."""
    done = threading.Event()
    published = 0

    def publish() -> None:
        nonlocal published
        while ledger is not None and not done.wait(every_s):
            ledger.publish()
            published += 1

    threads = [threading.Thread(target=job) for job in jobs]
    publisher = threading.Thread(target=publish)
    for thread in (*threads, publisher):
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    publisher.join()
    if ledger is not None:
        ledger.publish()
    return published + 1


def _percentiles(prefix: str, spent: list[float]) -> dict[str, float]:
    ordered = sorted(spent)
    return {
        f"{prefix}p50_ms": round(1000 * ordered[len(ordered) // 2], 3),
        f"{prefix}p99_ms": round(1000 * ordered[len(ordered) * 99 // 100], 3),
    }


def _build(directory: Path, entries: int) -> dict[str, Any]:
    started = time.perf_counter()
    with LedgerStore.open(directory, _ORIGIN, _SEED) as ledger:
        for first in range(0, entries, _CHUNK):
            ledger.append_many([leaf(number) for number in range(first, min(first + _CHUNK, entries))])
    spent = time.perf_counter() - started
    started = time.perf_counter()
    LedgerStore.open(directory, _ORIGIN, _SEED).close()
    size = sum(path.stat().st_size for path in (directory / "tile").rglob("*") if path.is_file())
    return {
        "entries": entries,
        "built_entries_per_s": round(entries / spent),
        "open_s": round(time.perf_counter() - started, 2),
        "bytes_per_entry": round(size / entries, 1),
    }


def _verify(directory: Path) -> dict[str, Any]:
    started = time.perf_counter()
    report = verify_ledger(DirectoryReader(directory), (directory / POLICY).read_bytes())
    spent = time.perf_counter() - started
    return {
        "verified": report.ok,
        "verify_s": round(spent, 2),
        "verify_entries_per_s": round(report.size / spent),
        "verify_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
