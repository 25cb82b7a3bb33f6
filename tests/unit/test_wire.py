"""The canonical form: what it accepts, and each way of spelling a value otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from crypto.errors import BadEncoding
from protocol.wire import MAX_DEPTH, decode, encode


def nested(depth: int) -> Any:
    value: Any = None
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0,
        127,
        128,
        255,
        256,
        65_535,
        65_536,
        2**32 - 1,
        2**32,
        2**64 - 1,
        -1,
        -32,
        -33,
        -128,
        -129,
        -(2**63),
        "",
        "é€𝄞",
        "x" * 31,
        "x" * 32,
        "x" * 65_536,
        b"",
        b"\x00" * 256,
        [],
        [1] * 16,
        {},
        {str(i): i for i in range(20)},
        {"b": [1, {"a": b"x"}], "a": None},
        nested(MAX_DEPTH),
    ],
    ids=repr,
)
def test_round_trip(value: Any) -> None:
    assert decode(encode(value), 100_000) == value


def test_maps_are_sorted_by_code_point() -> None:
    assert encode({"z": 1, "é": 2, "a": 3}) == b"\x83\xa1a\x03\xa1z\x01\xa2\xc3\xa9\x02"
    assert encode({"a": 1, "b": 2}) == encode({"b": 2, "a": 1})


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "too early"),
        (b"\x81", "too early"),
        (b"\xa2a", "too early"),
        (b"\xc4\x05abcd", "too early"),
        (b"\xcd\x01", "too early"),
        (b"\xdd\xff\xff\xff\xff", "too early"),
        (b"\xdf\xff\xff\xff\xff", "too early"),
        (b"\xc6\xff\xff\xff\xff", "too early"),
        (b"\xdd\x00\x00\xff\xff" * 1000, "too early"),
        (b"\x01\x01", "follow the end"),
        (b"\xc0\x00", "follow the end"),
        (b"\xcc\x01", "canonical form"),
        (b"\xcd\x00\xff", "canonical form"),
        (b"\xd0\x01", "canonical form"),
        (b"\xd0\xff", "canonical form"),
        (b"\xd3" + (5).to_bytes(8, "big"), "canonical form"),
        (b"\xd9\x01a", "canonical form"),
        (b"\xda\x00\x20" + b"a" * 32, "canonical form"),
        (b"\xc5\x00\x01a", "canonical form"),
        (b"\xdc\x00\x01\xc0", "canonical form"),
        (b"\xde\x00\x01\xa1a\xc0", "canonical form"),
        (b"\x82\xa1b\x01\xa1a\x01", "canonical form"),
        (b"\x82\xa1a\x01\xa1a\x01", "twice"),
        (b"\x81\x01\x01", "canonical"),
        (b"\x81\xc4\x01a\x01", "not a string"),
        (b"\x81\x90\x01", "canonical"),
        (b"\xca\x00\x00\x00\x00", "floats"),
        (b"\xcb" + bytes(8), "floats"),
        (b"\xc1", "reserved"),
        (b"\xd4\x01\x00", "extensions"),
        (b"\xd6\xff\x00\x00\x00\x01", "extensions"),
        (b"\xc7\x00\x05", "extensions"),
        (b"\xa1\xff", "UTF-8"),
        (b"\xa3\xed\xa0\x80", "UTF-8"),
        (b"\x91" * (MAX_DEPTH + 1) + b"\xc0", "deeper"),
        (b"\x91" * 50_000 + b"\xc0", "deeper"),
    ],
    ids=lambda item: item.hex()[:24] if isinstance(item, bytes) else item,
)
def test_every_other_spelling_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(BadEncoding, match=why):
        decode(data, 1_000_000)


def test_the_limit_comes_first() -> None:
    data = encode(b"x" * 98)
    assert decode(data, 100) == b"x" * 98
    with pytest.raises(BadEncoding, match="limit of 99"):
        decode(data, 99)


@pytest.mark.parametrize(
    "value", [1.0, {1: 2}, {b"a": 1}, {1, 2}, object(), [0.5], bytearray(b"x")], ids=repr
)
def test_what_has_no_form_is_a_defect_of_the_caller(value: Any) -> None:
    with pytest.raises(TypeError):
        encode(value)


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, "\ud800", nested(MAX_DEPTH + 1)], ids=str)
def test_what_is_out_of_range_is_a_value_error(value: Any) -> None:
    with pytest.raises(ValueError, match=r".+"):
        encode(value)
