"""Messages: one byte form each, signatures bound to their type, and errors that repeat nothing."""

from __future__ import annotations

from typing import Any

import pytest
from parties import NOW, agreement, named_key, request
from pydantic import ValidationError

from crypto.contexts import Context, hash_fields
from crypto.errors import BadEncoding, BadSignature
from protocol import limits, wire
from protocol.errors import BadMessage
from protocol.messages import (
    AnswerHeader,
    BodyHash,
    Decision,
    ErrorReply,
    ExchangeStatus,
    Progress,
    Query,
    QuerySubmission,
    Receipt,
    ReceiptReply,
    ReportSubmission,
    ResultReport,
    Signed,
    SignedMessage,
    key_id,
    message_hash,
    open_signed,
    sign,
)
from protocol.model import Model

KEY = named_key("US identity")
NAMES = {"exchange_id": bytes(16), "requester": "US", "responder": "CL", "query_hash": bytes(32)}


def query(**changes: Any) -> Query:
    asked = request(agreement().digest)
    names = set(Query.model_fields) & set(type(asked).model_fields)
    values = {name: getattr(asked, name) for name in names}
    values |= {"ciphertext_hash": bytes(32), "ciphertext_bytes": 10, "created_ms": NOW, "expires_ms": NOW + 1}
    return Query.model_validate({**values, **changes})


DECISION = Decision.model_validate(
    {**NAMES, "outcome": "accepted", "reason": None, "decided_ms": 1, "answer_by_ms": 2}
)
HEADER = AnswerHeader.model_validate(
    {**NAMES, "blocks": 3, "block_bytes": 7, "answer_hash": bytes(32), "answered_ms": 1}
)
REPORT = ResultReport.model_validate(
    {**NAMES, "answer_hash": bytes(32), "outcome": "hit", "hits": 1, "reason": None, "reported_ms": 1}
)
RECEIPT = Receipt.model_validate({**NAMES, "report_hash": bytes(32), "received_ms": 1})
SIGNED: list[SignedMessage] = [query(), DECISION, HEADER, REPORT, RECEIPT]
PLAIN: list[Model] = [
    QuerySubmission(query=b"q", evidence=b"e", seen_size=0, witnessed=None),
    ExchangeStatus(
        decision=b"d",
        decision_evidence=b"e",
        progress=None,
        answer=None,
        answer_evidence=None,
        witnessed=b"w",
    ),
    ReportSubmission(report=b"r", evidence=b"e", seen_size=2**62, witnessed=b"w"),
    ReceiptReply(receipt=b"r", evidence=b"e", witnessed=b"w"),
    ErrorReply(code="try-later", message="m", stored_size=None),
]


@pytest.mark.parametrize("message", [*SIGNED, *PLAIN], ids=lambda m: type(m).__name__)
class TestEveryMessage:
    def test_has_one_byte_form(self, message: Model) -> None:
        data = message.to_bytes()
        assert type(message).from_bytes(data) == message
        assert type(message).from_bytes(data).to_bytes() == data

    def test_is_refused_without_any_one_field(self, message: Model) -> None:
        for name in type(message).model_fields:
            values = message.model_dump()
            del values[name]
            with pytest.raises(BadMessage, match=name):
                type(message).from_bytes(wire.encode(values))

    def test_is_refused_with_a_foreign_field_that_the_error_does_not_repeat(self, message: Model) -> None:
        values = {**message.model_dump(), "zz-secret": 1}
        with pytest.raises(BadMessage) as caught:
            type(message).from_bytes(wire.encode(values))
        assert "secret" not in str(caught.value)

    def test_is_refused_with_any_field_of_another_type(self, message: Model) -> None:
        for name in type(message).model_fields:
            for wrong in (True, 1, -1, "secret", b"secret", [], {}):
                values = {**message.model_dump(), name: wrong}
                try:
                    made = type(message).from_bytes(wire.encode(values))
                except BadMessage as caught:
                    problem = str(caught)
                else:
                    assert made.to_bytes() == wire.encode(values)
                    problem = ""
                assert "secret" not in problem
                assert problem or not isinstance(wrong, bool)

    def test_is_no_other_message(self, message: Model) -> None:
        for other in (*SIGNED, *PLAIN):
            if type(other) is not type(message):
                with pytest.raises(BadMessage):
                    type(other).from_bytes(message.to_bytes())

    def test_is_cut_off_at_its_limit(self, message: Model) -> None:
        with pytest.raises(BadEncoding, match="limit"):
            type(message).from_bytes(b"\xc0" * (type(message).LIMIT + 1))


@pytest.mark.parametrize("message", SIGNED, ids=lambda m: type(m).__name__)
class TestSignatures:
    def test_open_under_their_key_and_type_only(self, message: SignedMessage) -> None:
        envelope = sign(message, KEY)
        assert open_signed(type(message), envelope, KEY.verify_key) == message
        with pytest.raises(BadSignature):
            open_signed(type(message), envelope, named_key("CL identity").verify_key)
        for other in SIGNED:
            if type(other) is not type(message):
                with pytest.raises(BadSignature):
                    open_signed(type(other), envelope, KEY.verify_key)

    def test_cover_every_byte(self, message: SignedMessage) -> None:
        signed = Signed.from_bytes(sign(message, KEY))
        for at in range(0, len(signed.message), 7):
            altered = bytearray(signed.message)
            altered[at] ^= 1
            envelope = signed.model_copy(update={"message": bytes(altered)}).to_bytes()
            with pytest.raises(BadSignature):
                open_signed(type(message), envelope, KEY.verify_key)

    def test_a_key_id_alone_proves_nothing(self, message: SignedMessage) -> None:
        forger = named_key("CO identity")
        forged = Signed.from_bytes(sign(message, forger))
        envelope = forged.model_copy(update={"key_id": key_id(KEY.verify_key)}).to_bytes()
        with pytest.raises(BadSignature):
            open_signed(type(message), envelope, KEY.verify_key)

    def test_are_deterministic_and_named_by_a_hash(self, message: SignedMessage) -> None:
        envelope = sign(message, KEY)
        assert envelope == sign(message, KEY)
        assert message_hash(envelope) == hash_fields(Context.MESSAGE_HASH, envelope)


@pytest.mark.parametrize(
    "changes",
    [
        {"outcome": "accepted", "reason": "busy", "answer_by_ms": 2},
        {"outcome": "accepted", "reason": None, "answer_by_ms": None},
        {"outcome": "refused", "reason": None, "answer_by_ms": None},
        {"outcome": "refused", "reason": "busy", "answer_by_ms": 2},
        {"outcome": "failed", "reason": None, "answer_by_ms": None},
        {"outcome": "refused", "reason": "because", "answer_by_ms": None},
        {"outcome": "maybe", "reason": None, "answer_by_ms": 2},
    ],
)
def test_a_decision_that_contradicts_itself(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Decision.model_validate({**NAMES, "decided_ms": 1, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"outcome": "hit", "hits": 0},
        {"outcome": "no-hit", "hits": 1},
        {"outcome": "failed", "hits": 0},
        {"outcome": "failed", "hits": 0, "reason": "cancelled"},
        {"outcome": "hit", "hits": 1, "reason": "cancelled"},
        {"outcome": "hit", "hits": 1, "answer_hash": None},
        {"outcome": "hit", "hits": limits.MAX_HITS + 1},
    ],
)
def test_a_report_that_contradicts_itself(changes: dict[str, Any]) -> None:
    values = {**NAMES, "answer_hash": bytes(32), "reason": None, "reported_ms": 1}
    with pytest.raises(ValidationError):
        ResultReport.model_validate({**values, **changes})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("requester", "us"),
        ("requester", "USA"),
        ("requester", "U\n"),
        ("purpose", ""),
        ("purpose", " x"),
        ("purpose", "x\n"),
        ("purpose", "a\u202eb"),
        ("purpose", "x" * (limits.MAX_TERM + 1)),
        ("authority", "x\x00"),
        ("modality", "voice"),
        ("exchange_id", bytes(15)),
        ("agreement", bytes(33)),
        ("created_ms", -1),
        ("created_ms", limits.MAX_TIME_MS),
        ("created_ms", True),
        ("ciphertext_bytes", 0),
        ("ciphertext_bytes", limits.MAX_QUERY_CIPHERTEXT + 1),
        ("version", 2),
        ("type", "decision"),
    ],
)
def test_a_query_with_an_impossible_field(name: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        query(**{name: value})


def test_the_largest_messages_fit_their_limits() -> None:
    term, text = "\U0001f4a9" * limits.MAX_TERM, "\U0001f4a9" * limits.MAX_TEXT
    names = dict.fromkeys(("purpose", "offence", "person_category", "legal_basis"), term)
    envelope = sign(query(authority=text, **names), KEY)
    assert len(envelope) <= limits.MAX_ENVELOPE
    most, evidence = bytes(limits.MAX_ENVELOPE), bytes(limits.MAX_EVIDENCE)
    note = bytes(limits.MAX_WITNESSED)
    for message in (
        QuerySubmission(query=most, evidence=evidence, seen_size=2**63 - 1, witnessed=note),
        ReceiptReply(receipt=most, evidence=evidence, witnessed=note),
        ExchangeStatus(
            decision=most,
            decision_evidence=evidence,
            progress=Progress(done=limits.MAX_BLOCKS, total=limits.MAX_BLOCKS),
            answer=most,
            answer_evidence=evidence,
            witnessed=note,
        ),
        ErrorReply(
            code="x" * 64, message="\U0001f4a9" * limits.MAX_ERROR_TEXT, stored_size=2**63 - 1, witnessed=note
        ),
    ):
        assert type(message).from_bytes(message.to_bytes()) == message


def test_a_body_hash_needs_exactly_the_announced_length() -> None:
    whole = BodyHash(Context.ANSWER, 6)
    whole.update(b"abc")
    with pytest.raises(BadMessage, match="3 bytes before"):
        whole.digest()
    whole.update(b"def")
    assert whole.digest() == hash_fields(Context.ANSWER, b"abcdef")
    with pytest.raises(BadMessage, match="longer"):
        whole.update(b"g")
