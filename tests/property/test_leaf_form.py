"""The quick reader of leaves says exactly what the general one says, of every byte string."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from crypto.errors import ConcordatError
from protocol.leaf import Leaf
from protocol.model import Model

WHOLE = Leaf(exchange=b"E" * 32, time_ms=1_750_000_000_000, commitment=b"C" * 32).to_bytes()


def _general(data: bytes) -> Leaf | str:
    try:
        return Model.from_bytes.__func__(Leaf, data)  # type: ignore[attr-defined]
    except ConcordatError as error:
        return str(error)


def _read(data: bytes) -> Leaf | str:
    try:
        return Leaf.from_bytes(data)
    except ConcordatError as error:
        return str(error)


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255))
@example(114, 2)
@example(98, 255)
def test_one_changed_byte(at: int, value: int) -> None:
    data = WHOLE[:at] + bytes([value]) + WHOLE[at + 1 :]
    assert _read(data) == _general(data)


@given(st.integers(0, 2**64 - 1))
@example(0)
@example(2**32 - 1)
@example(2**32)
def test_every_time(time_ms: int) -> None:
    data = WHOLE[:98] + time_ms.to_bytes(8, "big") + WHOLE[106:]
    assert _read(data) == _general(data)


@given(st.binary(max_size=130))
@example(b"")
@example(WHOLE + b"\x00")
@example(WHOLE[:-1])
def test_anything(data: bytes) -> None:
    assert _read(data) == _general(data)


def test_every_byte_in_its_place() -> None:
    assert _read(WHOLE).to_bytes() == WHOLE  # type: ignore[union-attr]
    for at in range(len(WHOLE)):
        data = WHOLE[:at] + bytes([WHOLE[at] ^ 1]) + WHOLE[at + 1 :]
        assert _read(data) == _general(data)
