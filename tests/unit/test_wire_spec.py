"""What specs/wire.md and specs/agreements.md promise is what the code does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from node.config import NodeConfig
from node.server import STATUSES
from protocol import claims, limits, messages
from protocol.errors import FailureReason, RefusalReason
from protocol.exchange.requester import RETRYABLE, RequesterState
from protocol.exchange.responder import ResponderState
from protocol.model import Model
from protocol.statements_claims import CLAIM_STATEMENTS

SPECS = Path(__file__).resolve().parents[2] / "specs"
WIRE, AGREEMENTS = (SPECS / "wire.md").read_text(), (SPECS / "agreements.md").read_text()


def section(name: str) -> str:
    return WIRE.split(f"# {name}\n", 1)[1].split("\n## ", 1)[0]


def codes(text: str) -> set[str]:
    return set(re.findall(r"`([a-z][a-z-]+)`", text))


def test_the_reasons_are_exactly_those_of_the_code() -> None:
    ours, theirs = section("Reasons").split("Failures by A:")
    assert codes(ours) == {reason.value for reason in RefusalReason}
    assert codes(theirs) == {reason.value for reason in FailureReason}


def test_every_state_is_described() -> None:
    text = section("Sessions")
    for state in (*RequesterState, *ResponderState):
        assert f"`{state.value}`" in text


def test_every_error_code_has_its_status() -> None:
    rows = {}
    for line in section("Error codes").splitlines():
        match = re.match(r"\| (`.*?`) \| (\d+) \|", line)
        if match:
            rows.update(dict.fromkeys(codes(match[1]), int(match[2])))
    assert set(rows) >= RETRYABLE
    for code, status in STATUSES.items():
        if code != "too-busy":
            assert rows[code] == status


@pytest.mark.parametrize(
    "name", ["Query", "Decision", "AnswerHeader", "ResultReport", "Receipt", "QuerySubmission"]
)
def test_every_field_is_named(name: str) -> None:
    model = getattr(messages, name)
    row = next(
        line for line in WIRE.splitlines() if line.startswith(f"| `{model.model_fields['type'].default}`")
    )
    common = {"version", "type", "exchange_id", "requester", "responder"}
    for field in set(model.model_fields) - common:
        assert f"`{field}`" in row


@pytest.mark.parametrize(
    "model", [claims.Claim, claims.ClaimVerdict, claims.ClaimSubmission, claims.ClaimReply]
)
def test_every_field_of_a_claim_is_named(model: type[Model]) -> None:
    row = next(
        line for line in WIRE.splitlines() if line.startswith(f"| `{model.model_fields['type'].default}`")
    )
    for field in set(model.model_fields) - {"version", "type", "exchange_id", "requester", "responder"}:
        assert f"`{field}`" in row


def test_every_verdict_and_end_of_a_claim_is_named() -> None:
    text = section("Claims")
    for reason in (*get_args(claims.RefusedFor), *get_args(claims.FailedFor)):
        assert f"`{reason}`" in text
    for kind in CLAIM_STATEMENTS:
        assert f"`{kind}`" in text
    settings = NodeConfig.model_fields
    for name in ("max_hits", "max_failed_claims", "max_refused_claims"):
        assert f"`{name}` ({settings[name].default})" in text


def test_the_limits_are_those_of_the_code() -> None:
    numbers = set(map(int, re.findall(r"\d+", section("Limits"))))
    for name in (
        "MAX_SIGNED_MESSAGE", "MAX_ENVELOPE", "MAX_EVIDENCE", "MAX_SUBMISSION", "MAX_STATUS", "MAX_ERROR_REPLY",
        "MAX_QUERY_CIPHERTEXT", "MAX_EVALUATION_KEYS", "MAX_BLOCK_BYTES", "MAX_BLOCKS", "CLOCK_SKEW",
        "MIN_QUERY_LIFE", "MAX_QUERY_LIFE", "QUERY_LIFE", "ANSWER_PERIOD", "MAX_ANSWER_PERIOD", "FETCH_PERIOD",
        "REPORT_PERIOD", "CLAIM_PERIOD", "CLAIM_REPLY_PERIOD",
    ):  # fmt: skip
        assert getattr(limits, name) in numbers, name
    assert str(limits.MAX_DESCRIPTOR) in AGREEMENTS
    assert str(limits.MAX_AGREEMENT) in AGREEMENTS
