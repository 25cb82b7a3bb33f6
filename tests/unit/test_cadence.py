"""The ledger's size at the fixed times says nothing of what happened between; payloads of all kinds look alike."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import pytest
from ledgers import AUDITOR, REQUESTED, accepted, answered, counter_random, exchange_id, intent, result

from crypto.sealing import public_key
from node.cadence import TICKS, Window, next_multiple
from node.config import NodeConfig
from protocol import statements as s
from protocol import statements_records as r
from protocol.errors import BadMessage
from protocol.payload import PAYLOAD_CLASS, make_entry, pad, unpad
from protocol.statement_parts import NoPrivatePart

GROUP = 16


def played(seed: int, happens: Sequence[int], group: int = GROUP) -> list[int]:
    """The sizes at every tick of a window and at its end, with an entry of its own at each of these ticks."""
    below = random.Random(seed).randrange
    size = 10 * group
    window = Window.begin(size, group, below)
    sizes = []
    for tick in range(TICKS):
        size += window.early(size, TICKS - tick, below)
        size += happens.count(tick)
        sizes.append(size)
    return [*sizes, size + window.last(size)]


@pytest.mark.parametrize("count", [0, 1, 2, GROUP // 2])
def test_up_to_half_a_group_leaves_no_trace_at_the_end_of_a_window(count: int) -> None:
    for seed in range(300):
        ticks = random.Random(seed + 1).choices(range(TICKS), k=count)
        assert played(seed, ticks)[-1] == 11 * GROUP


def test_more_than_a_group_shows_only_as_whole_groups() -> None:
    for seed in range(50):
        assert played(seed, [seed] * (GROUP + 1))[-1] == 12 * GROUP
        assert played(seed, [59] * (2 * GROUP))[-1] in (12 * GROUP, 13 * GROUP)


def test_what_comes_early_is_random_and_does_not_depend_on_what_happens() -> None:
    quiet = [[size - 10 * GROUP for size in played(seed, [])] for seed in range(2000)]
    busy = [[size - 10 * GROUP for size in played(seed, [30])] for seed in range(2000)]
    assert [one[29] for one in quiet] == [one[29] for one in busy]
    assert [one[59] + 1 for one in quiet] == [one[59] for one in busy]
    at_once, all_early = Counter(one[0] for one in quiet), Counter(one[59] for one in quiet)
    for early in range(GROUP // 4):
        assert 300 < at_once[early] < 560, "each number from 0 to 4 in a fifth of the windows, spread apart"
    assert set(all_early) == set(range(GROUP // 2 + 1))
    grown = sum(one[59] - one[29] for one in quiet) / sum(one[59] - one[0] for one in quiet)
    assert 0.45 < grown < 0.55, "the spread ones come in either half alike"


def test_a_start_goes_to_the_next_multiple_also_from_one() -> None:
    assert [next_multiple(size, 16) for size in (0, 1, 15, 16, 17, 31, 32)] == [16, 16, 16, 32, 32, 32, 48]


def test_the_cadence_is_on_unless_switched_off() -> None:
    fields = NodeConfig.model_fields
    assert fields["cadence_seconds"].default == 3600
    assert fields["cadence_entries"].default == 16


def _lengths(statement: s.Statement) -> tuple[int, int]:
    auditors = [public_key(AUDITOR)]
    leaf, box, _ = make_entry(statement, 1_750_000_000_000, bytes(32), auditors, counter_random("cadence"))
    return len(leaf.to_bytes()), len(box.to_bytes())


def test_a_filler_has_the_length_of_every_other_entry() -> None:
    filler = r.LogFiller(exchange_id=exchange_id(9), country="US")
    reply = {name: getattr(result(1), name) for name in ("requester", "responder", "agreement", "query_hash")}
    confirmed = r.QueryConfirmed(exchange_id=exchange_id(1), **reply, confirmed=True)
    others = [
        s.Statement(intent(1), REQUESTED),
        s.Statement(accepted(1, bytes(32)), NoPrivatePart()),
        s.Statement(answered(1), s.Computed(records=1, compute_ms=1)),
        s.Statement(result(1), NoPrivatePart()),
        s.Statement(confirmed, r.Compared(examiner="a", second_examiner="b", disclosed_to="c" * 200)),
    ]
    assert {_lengths(one) for one in others} == {_lengths(s.Statement(filler, NoPrivatePart()))}


def test_padding_has_one_form() -> None:
    for length in (0, 1, PAYLOAD_CLASS - 1, PAYLOAD_CLASS, 3 * PAYLOAD_CLASS - 2):
        contents = b"\0\x80" * (length // 2) + b"\0" * (length % 2)
        assert unpad(pad(contents)) == contents
        assert len(pad(contents)) % PAYLOAD_CLASS == 0
    for bad in (
        b"",
        bytes(PAYLOAD_CLASS),
        pad(b"a")[:-1],
        pad(b"a") + bytes(PAYLOAD_CLASS),
        b"a" * PAYLOAD_CLASS,
    ):
        with pytest.raises(BadMessage):
            unpad(bad)
