"""Bytes from nowhere, and honest messages bent: a typed error or the one value, nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parties import NOW, agreement, descriptor, named_key, parties

from crypto.errors import BadEncoding, ConcordatError, PeerFault
from protocol import messages, wire
from protocol.agreement import read_agreement, read_text
from protocol.descriptor import read_descriptor
from protocol.errors import BadAgreement, BadDescriptor
from protocol.exchange.admission import Arrival, Surroundings, admit
from protocol.exchange.requester import RequesterSession
from protocol.exchange.responder import ResponderSession
from protocol.model import Model

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)
MODELS: list[type[Model]] = [
    messages.Signed,
    messages.Query,
    messages.Decision,
    messages.AnswerHeader,
    messages.ResultReport,
    messages.Receipt,
    messages.QuerySubmission,
    messages.ExchangeStatus,
    messages.ReportSubmission,
    messages.ReceiptReply,
    messages.ErrorReply,
]
AROUND = Surroundings(
    None, lambda _: [], lambda _: None, lambda _: 0, lambda _: False, lambda _: None, busy=0
)
PARTIES = parties("CL", "US")
DESCRIPTOR, AGREEMENT = descriptor("CL").note, agreement()


@given(VALUES)
def test_every_value_has_one_form(value: Any) -> None:
    data = wire.encode(value)
    assert wire.encode(wire.decode(data, len(data))) == data


@given(st.binary(max_size=300))
def test_noise_decodes_to_itself_or_not_at_all(data: bytes) -> None:
    try:
        value = wire.decode(data, 300)
    except BadEncoding:
        return
    assert wire.encode(value) == data


@given(VALUES, st.data())
def test_a_bent_value_is_another_value_or_none(value: Any, data: st.DataObject) -> None:
    honest = bytearray(wire.encode(value))
    at = data.draw(st.integers(0, len(honest) - 1))
    honest[at] ^= data.draw(st.integers(1, 255))
    try:
        bent = wire.decode(bytes(honest), len(honest))
    except BadEncoding:
        return
    assert wire.encode(bent) == bytes(honest)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
@given(value=VALUES)
def test_canonical_values_that_are_no_message(model: type[Model], value: Any) -> None:
    with pytest.raises(PeerFault):
        model.from_bytes(wire.encode(value))


@given(st.binary(max_size=200))
def test_noise_at_the_door(data: bytes) -> None:
    admission = admit(Arrival(data, bytes(32), 1), AROUND, PARTIES, NOW)
    assert admission.session is None
    assert admission.fault is not None


@given(st.binary(max_size=200))
def test_noise_as_a_snapshot(data: bytes) -> None:
    for kind in (RequesterSession, ResponderSession):
        with pytest.raises(ConcordatError):
            kind.restore(b"\x01" + data, PARTIES)


@given(st.integers(0, len(DESCRIPTOR) - 1), st.integers(1, 255))
def test_no_byte_of_a_descriptor_can_change(at: int, change: int) -> None:
    bent = bytearray(DESCRIPTOR)
    bent[at] ^= change
    with pytest.raises(BadDescriptor):
        read_descriptor(bytes(bent))


@given(st.integers(0, len(AGREEMENT.text) - 1), st.integers(1, 255))
def test_no_byte_of_a_signed_agreement_can_change(at: int, change: int) -> None:
    bent = bytearray(SIGNED)
    bent[at] ^= change
    with pytest.raises(BadAgreement):
        read_agreement(bytes(bent))


@given(st.binary(max_size=300))
def test_noise_as_texts(data: bytes) -> None:
    for read, error in (
        (read_descriptor, BadDescriptor),
        (read_agreement, BadAgreement),
        (read_text, BadAgreement),
    ):
        with pytest.raises(error):
            read(data)


def _signed() -> bytes:
    from protocol.agreement import sign_agreement

    once = sign_agreement(AGREEMENT.text, "US", named_key("US identity"))
    return sign_agreement(once, "CL", named_key("CL identity"))


SIGNED = _signed()
