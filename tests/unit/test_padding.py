"""Who counts bytes on the network does not read the outcome off a report or its receipt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.errors import ConcordatError
from protocol import limits, wire
from protocol.messages import ReceiptReply, ReportSubmission


def report(length: int) -> ReportSubmission:
    return ReportSubmission(report=b"r" * length, evidence=b"e", seen_size=0, witnessed=None)


@given(st.integers(1, 8192))
def test_a_report_fills_whole_units(length: int) -> None:
    data = report(length).to_bytes()
    assert len(data) % limits.PAD_TO == 0
    assert len(data) < length + 2 * limits.PAD_TO + 200
    assert ReportSubmission.from_bytes(data).report == b"r" * length


def test_every_length_of_padding_is_reached() -> None:
    for length in range(1, limits.PAD_TO + 300):
        assert len(report(length).to_bytes()) % limits.PAD_TO == 0


def test_one_byte_more_or_less_does_not_show() -> None:
    assert len({len(report(length).to_bytes()) for length in range(600, 640)}) == 1
    replies = [ReceiptReply(receipt=b"r" * n, evidence=b"e", witnessed=b"w") for n in range(600, 640)]
    assert len({len(reply.to_bytes()) for reply in replies}) == 1


@pytest.mark.parametrize("padding", [b"", b"\0", b"\1" * 3000, bytes(4097)])
def test_another_padding_is_refused(padding: bytes) -> None:
    fields = report(700).model_dump()
    with pytest.raises(ConcordatError):
        ReportSubmission.from_bytes(wire.encode({**fields, "padding": padding}))
