"""An audit shows where a ledger fell silent that promises to grow at fixed times, and nothing where it did not."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import pytest
from ledgers import START_MS, Country, exchange_id, open_country

from node.cadence import TICKS, Window
from protocol import statements_records as r
from protocol import statements_witness as w
from protocol.audit.cadence import GRACE_MS, cadences
from protocol.audit.entries import Entry
from protocol.audit.search import statistics
from protocol.audit.verify import audit_ledger
from protocol.leaf import Leaf

HOUR = 3_600_000


@pytest.fixture
def us(tmp_path: Path) -> Country:
    return open_country(tmp_path, "US")


def filler(us: Country, after_ms: int) -> None:
    """One more entry, so long after the one before."""
    us.now_ms += after_ms - 1000  # a second goes by with each entry
    us.record(r.LogFiller(exchange_id=exchange_id(100 + us.ledger.size), country="US"))


def stated(us: Country, seconds: int, entries: int = 16) -> None:
    name = exchange_id(100 + us.ledger.size)
    us.record(r.CadenceStated(exchange_id=name, country="US", seconds=seconds, entries=entries))


def silence(us: Country) -> list[str]:
    report = audit_ledger(us.audited()).report
    assert report.ok, report.findings
    return [words for words in report.notices if "was not kept" in words]


def test_silence_is_named_once_it_is_longer_than_two_windows_and_the_grace(us: Country) -> None:
    stated(us, 3600)
    filler(us, 2 * HOUR + GRACE_MS)
    assert silence(us) == []
    filler(us, 2 * HOUR + GRACE_MS + 1)
    filler(us, 9 * HOUR)
    filler(us, HOUR)
    (words,) = silence(us)
    assert "stated by entry 1 (16 entries every 3600 s)" in words
    assert "in 2 stretch(es) without any entry, 39900 s in all" in words
    assert "is of 32400 s, from entry 3 at 2025-06-15 " in words
    assert statistics(audit_ledger(us.audited()))["cadence"] == {
        "seconds": 3600,
        "entries": 16,
        "silences": 2,
        "silent_ms": 11 * HOUR + GRACE_MS + 1,
        "longest_ms": 9 * HOUR,
    }


def test_nothing_is_promised_before_it_is_stated_nor_after_it_is_taken_back(us: Country) -> None:
    filler(us, 90 * HOUR)
    assert silence(us) == []
    assert statistics(audit_ledger(us.audited()))["cadence"]["seconds"] is None
    stated(us, 3600)
    filler(us, HOUR)
    stated(us, 0)
    filler(us, 90 * HOUR)
    assert silence(us) == []
    stated(us, 60)
    filler(us, HOUR)
    (words,) = silence(us)
    assert "every 60 s" in words
    assert statistics(audit_ledger(us.audited()))["cadence"]["seconds"] == 60


def test_a_change_is_shown_for_ever(us: Country) -> None:
    stated(us, 3600)
    stated(us, 0)
    shown = audit_ledger(us.audited()).report.notices
    assert [words.split("Z: ")[1] for words in shown] == [
        "the cadence is 16 entries every 3600 s from here on",
        "no cadence is kept from here on",
    ]


def test_a_step_back_of_the_clock_is_no_silence_and_hides_none(us: Country) -> None:
    stated(us, 3600)
    us.now_ms -= 50 * HOUR
    name = exchange_id(7)
    us.record(
        w.ClockStepped(exchange_id=name, country="US", before_ms=START_MS, after_ms=START_MS - 50 * HOUR),
        w.Noticed(software="test"),
    )
    us.now_ms += 5 * HOUR
    us.record(r.LogFiller(exchange_id=exchange_id(8), country="US"))
    found = audit_ledger(us.audited())
    (kept,) = cadences(found.entries)
    assert [one.length_ms for one in kept.silences] == [5 * HOUR + 1000]


def entry(index: int, time_ms: int, said: Entry | None = None) -> Entry:
    return Entry(
        index,
        Leaf(exchange=bytes(32), time_ms=time_ms, commitment=bytes(32)),
        None if said is None else said.opened,
    )


def test_nothing_is_concluded_across_an_entry_that_is_missing(us: Country) -> None:
    stated(us, 60)
    promise = next(one for one in audit_ledger(us.audited()).entries if one.index == 1)
    for index, expected in ((2, 1), (3, 0)):
        entries = [entry(1, START_MS, promise), entry(index, START_MS + 9 * HOUR)]
        assert len(cadences(entries)[0].silences) == expected
    # Lanes that overtake each other do not make silence of what the later one had already reached.
    late = [entry(1, START_MS, promise), entry(2, START_MS + HOUR // 10), entry(3, START_MS)]
    entries = [*late, entry(4, START_MS + HOUR // 10 + GRACE_MS)]
    assert cadences(entries)[0].silences == ()


def test_a_node_that_keeps_its_cadence_is_never_named(us: Country) -> None:
    """Windows of the real cadence, with exchanges at chance times: no gap is ever longer than allowed."""
    stated(us, 3600, 4)
    promise = next(one for one in audit_ledger(us.audited()).entries if one.index == 1)
    entries = [entry(1, 0, promise)]
    below = random.Random(5).randrange

    def fill(count: int, time_ms: int) -> None:
        entries.extend(entry(len(entries) + 1, time_ms) for _ in range(count))

    for number in range(3000):
        start_ms = number * HOUR
        window = Window.begin(len(entries) + 1, 4, below)
        happens = below(TICKS) if below(2) else -1
        for tick in range(TICKS):
            now_ms = start_ms + tick * HOUR // TICKS
            fill(window.early(len(entries) + 1, TICKS - tick, below), now_ms)
            fill(below(5) if tick == happens else 0, now_ms)
        fill(window.last(len(entries) + 1), start_ms + HOUR)
    times = [one.leaf.time_ms for one in entries]
    longest = max(b - a for a, b in pairwise(times))
    assert HOUR < longest <= 2 * HOUR, "the allowance is needed, and is enough"
    assert cadences(entries)[0].silences == ()
