"""Agreements and descriptors that an operator is handed, made to hang or upset the reader."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from parties import agreement, descriptor

from crypto.errors import ConcordatError
from protocol.agreement import read_agreement, read_text
from protocol.descriptor import read_descriptor
from protocol.errors import BadAgreement, BadDescriptor

TEXTS = {
    "an integer of 10000 digits": b"serial = " + b"9" * 10_000,
    "arrays without end": b"a = " + b"[" * 15_000,
    "tables without end": b"a = " + b"{a=" * 9_000,
    "a key of 16000 parts": b"a." * 16_000 + b"a = 1",
    "a table of 16000 parts": b"[" + b"a." * 15_000 + b"a]",
    "a key behind a string": b"x = {a = '''\n# ''', " + b"a." * 15_000 + b"a = 1}",
    "no text": b"a = '\xff'",
    "half a character": b'a = "\\ud800"',
}


def signed(text: bytes) -> bytes:
    """A note of this text with the signature line of another."""
    lines = descriptor("US").note.split(b"\n\n")[-1]
    return text + b"\n\n" + lines


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
@pytest.mark.parametrize(
    ("read", "error"),
    [
        (read_text, BadAgreement),
        (lambda text: read_agreement(signed(text)), BadAgreement),
        (lambda text: read_descriptor(signed(text)), BadDescriptor),
    ],
    ids=["text", "agreement", "descriptor"],
)
def test_is_refused_at_once(
    text: bytes, read: Callable[[bytes], object], error: type[ConcordatError]
) -> None:
    started = time.process_time()
    with pytest.raises(error):
        read(text)
    assert time.process_time() - started < 2


def test_a_comment_may_have_dots() -> None:
    text = agreement().text
    assert read_text(b"# " + b"." * 100 + b"\n" + text).fields == read_text(text).fields
