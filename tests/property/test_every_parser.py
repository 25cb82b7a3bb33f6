"""Every parser of foreign bytes, on damaged truth and noise: one byte form or a typed error, in little memory."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parser_table import PARSERS, Parser

MEMORY_FACTOR = 64
MEMORY_FLOOR = 4 * 2**20


@st.composite
def damaged(draw: st.DrawFn, good: bytes) -> bytes:
    """Noise, or the good bytes with a few edits."""
    if draw(st.integers(0, 4)) == 0:
        return draw(st.binary(max_size=300))
    data = bytearray(good)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(["set", "insert", "delete", "cut", "repeat", "big"]))
        if kind == "set" and at < len(data):
            data[at] = draw(st.integers(0, 255))
        elif kind == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=4))
        elif kind == "delete":
            del data[at : at + draw(st.integers(1, 8))]
        elif kind == "cut":
            del data[at:]
        elif kind == "big":
            data[at : at + 5] = draw(
                st.sampled_from([b"\xdd\xff\xff\xff\xff", b"\xc6\x7f\xff\xff\xff", b"99999"])
            )
        else:
            data += data[at : at + 50]
    return bytes(data)


@pytest.mark.parametrize("parser", PARSERS, ids=lambda one: one.name)
def test_good_examples_are_taken(parser: Parser) -> None:
    if parser.name in ("ledger", "private"):
        return
    assert all(parser.check(good) for good in parser.good)


@pytest.mark.parametrize("parser", PARSERS, ids=lambda one: one.name)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_damaged_truth(parser: Parser, data: st.DataObject) -> None:
    parser.check(data.draw(damaged(data.draw(st.sampled_from(parser.good)))))


@pytest.mark.parametrize("parser", PARSERS, ids=lambda one: one.name)
def test_claimed_lengths_allocate_nothing(parser: Parser) -> None:
    """Bytes that announce gigabytes, or nest deeply, cost no more than their own length justifies."""
    hostile = [
        b"\xdf\xff\xff\xff\xff",
        b"\xdd\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\x91" * 5000,
        b"[" * 5000,
    ]
    hostile += [good.replace(b"\n7\n", b"\n9223372036854775807\n") for good in parser.good]
    for data in hostile:
        tracemalloc.start()
        try:
            parser.check(data)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < MEMORY_FLOOR + MEMORY_FACTOR * len(data)
