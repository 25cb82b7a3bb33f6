"""One byte form per value: canonical msgpack, in the strict subset that Concordat speaks.

A value is ``None``, a boolean, an integer in [-2^63, 2^64), a string, bytes, a list, or a map with string
keys.
Maps are sorted by key (by code point, which is also the order of their UTF-8 bytes), every head has its
smallest form, and there are no floats, no extensions, no duplicate keys and no trailing bytes.

``decode`` reads, re-encodes and compares, so two different byte strings never mean the same value.

Source: specs/wire.md, section "Canonical form".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import msgpack

from crypto.errors import BadEncoding

Value: TypeAlias = "bool | int | str | bytes | list[Value] | dict[str, Value] | None"
Encodable: TypeAlias = "bool | int | str | bytes | Sequence[Encodable] | Mapping[str, Encodable] | None"

MAX_DEPTH = 16
"""Nesting that ``encode`` makes and ``decode`` accepts; our deepest message needs 6."""

_LOWEST, _HIGHEST = -(2**63), 2**64 - 1


def encode(value: Encodable) -> bytes:
    """The canonical bytes of a value.

    Raises:
        TypeError: A type outside the subset (a float, a set, a map key that is not a string).
        ValueError: An integer out of range, text with surrogates, or nesting beyond ``MAX_DEPTH``.
    """
    packed: bytes = msgpack.packb(_normal(value, MAX_DEPTH), use_bin_type=True)
    return packed


def decode(data: bytes, limit: int) -> Value:
    """Read exactly one canonical value from at most ``limit`` bytes.

    The limit, the depth and every declared length are checked before anything is allocated: a head that
    promises more items than bytes follow is refused, however deep it is nested.

    Raises:
        BadEncoding: Too long, not msgpack, not in canonical form, or outside the subset.
    """
    if len(data) > limit:
        raise BadEncoding(f"a message of {len(data)} bytes is over its limit of {limit}")
    _scan(data)
    try:
        value = msgpack.unpackb(data, raw=False, object_pairs_hook=_map)
        normal = _normal(value, MAX_DEPTH)
        canonical: bytes = msgpack.packb(normal, use_bin_type=True)
    except (UnicodeDecodeError, UnicodeEncodeError):
        raise BadEncoding("not a canonical message: text is not UTF-8") from None
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise BadEncoding(f"not a canonical message: {type(error).__name__}") from None
    if canonical != data:
        raise BadEncoding("not in canonical form: the same value has another, shorter or sorted, encoding")
    return normal


def _normal(value: object, depth: int) -> Value:
    """Copy the value into plain types, maps sorted; refuse everything outside the subset."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if not _LOWEST <= value <= _HIGHEST:
            raise ValueError("an integer is out of range")
        return int(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bytes):
        return value
    if depth == 0:
        raise ValueError(f"nested deeper than {MAX_DEPTH}")
    if isinstance(value, (list, tuple)):
        return [_normal(item, depth - 1) for item in value]
    if isinstance(value, Mapping):
        result: dict[str, Value] = {}
        for key in value:
            if not isinstance(key, str):
                raise TypeError("a map key is not a string")
        for key in sorted(value):
            result[str(key)] = _normal(value[key], depth - 1)
        return result
    raise TypeError(f"a {type(value).__name__} has no form on the wire")


def _map(pairs: list[tuple[object, object]]) -> dict[object, object]:
    result: dict[object, object] = {}
    for key, value in pairs:
        if not isinstance(key, str):
            raise BadEncoding("not a canonical message: a map key is not a string")
        if key in result:
            raise BadEncoding("not a canonical message: a map has a key twice")
        result[key] = value
    return result


_FIXED = {
    0xC0: 0,
    0xC2: 0,
    0xC3: 0,
    **{0xCC + i: 1 << i for i in range(4)},
    **{0xD0 + i: 1 << i for i in range(4)},
}
_BYTES = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_ITEMS = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}


def _scan(data: bytes) -> None:
    """Walk the heads without allocating: exactly one value, in the subset, no deeper than ``MAX_DEPTH``."""
    end = len(data)
    at = 0
    left = [1]
    while left:
        if left[-1] == 0:
            left.pop()
            continue
        left[-1] -= 1
        if at >= end:
            raise BadEncoding("not a canonical message: it ends too early")
        head = data[at]
        at += 1
        items = None
        if head <= 0x7F or head >= 0xE0:
            pass
        elif head <= 0x9F:
            items = (head & 0x0F) * (1 if head >= 0x90 else 2)
        elif head <= 0xBF:
            at += head & 0x1F
        elif head in _FIXED:
            at += _FIXED[head]
        elif head in _BYTES:
            width = _BYTES[head]
            at += width + int.from_bytes(data[at : at + width], "big")
        elif head in _ITEMS:
            width, each = _ITEMS[head]
            items = int.from_bytes(data[at : at + width], "big") * each
            at += width
        else:
            raise BadEncoding(
                "not a canonical message: floats, extensions and reserved heads are not allowed"
            )
        if items is not None:
            if items > end - at:
                raise BadEncoding("not a canonical message: it ends too early")
            if len(left) > MAX_DEPTH:
                raise BadEncoding(f"not a canonical message: nested deeper than {MAX_DEPTH}")
            left.append(items)
    if at > end:
        raise BadEncoding("not a canonical message: it ends too early")
    if at < end:
        raise BadEncoding("not a canonical message: bytes follow the end of the value")
