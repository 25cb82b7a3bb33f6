"""What each side checks of a claim, without any node."""

from __future__ import annotations

from typing import Any

import pytest
from memory_ledger import MemoryLedger
from parties import NOW, agreement, ledger_signer, named_key, parties, request

from crypto.errors import BadSignature
from protocol import limits
from protocol.claims import (
    Claim,
    ClaimReply,
    ClaimSubmission,
    ClaimVerdict,
    Hit,
    decided,
    pack_hits,
    sent,
    settled,
    unpack_hits,
)
from protocol.errors import EvidenceRejected, WrongMessage
from protocol.exchange.checks import own_query
from protocol.exchange.claims import Reported, admit_claim, judge_claim, open_claim, verify_verdict
from protocol.messages import Query, message_hash, sign

US, CL = named_key("US identity"), named_key("CL identity")
REQUEST = request(agreement().digest)
ANSWER = bytes([6]) * 32
FIELDS = {name: getattr(REQUEST, name) for name in ("exchange_id", "requester", "responder")}
QUERY = sign(
    Query(
        **{name: getattr(REQUEST, name) for name in Query.model_fields if hasattr(REQUEST, name)},
        ciphertext_hash=bytes(32),
        ciphertext_bytes=1,
        created_ms=NOW,
        expires_ms=NOW + 1000,
    ),
    US,
)
REPORTED = Reported(ANSWER, blocks=2, hits=1, answered_ms=NOW)
LATER = NOW + 5000


def claim(**changes: Any) -> Claim:
    fields = {"answer_hash": ANSWER, "block": 1, "slot": 9, "token": 300, "claimed_ms": LATER}
    return Claim.model_validate({**FIELDS, "query_hash": message_hash(QUERY), **fields, **changes})


def submission(message: Claim, logged: Claim | None = None) -> bytes:
    ledger = MemoryLedger(ledger_signer("US"))
    about = sign(logged or message, US)
    index = ledger.append(sent(own_query(QUERY), about, "officer-1"), LATER)
    return ClaimSubmission(
        claim=sign(message, US), evidence=ledger.evidence(index, 0), seen_size=0, witnessed=None
    ).to_bytes()


def admit(body: bytes) -> Any:
    return admit_claim(body, parties("CL", "US"), QUERY, REPORTED, None, LATER)


def test_hits_are_kept_in_eight_bytes_each() -> None:
    hits = [Hit(0, 0, 0), Hit(65534, 16383, 65535)]
    assert unpack_hits(pack_hits(hits)) == hits
    assert len(pack_hits(hits)) == 16


def test_a_claim_is_admitted_with_its_entry() -> None:
    assert admit(submission(claim())).shared.token == 300


@pytest.mark.parametrize(
    "changes", [{"token": 301}, {"slot": 10}, {"block": 0}, {"claimed_ms": LATER + 1}], ids=str
)
def test_the_entry_of_another_claim_is_not_believed(changes: dict[str, Any]) -> None:
    with pytest.raises(EvidenceRejected):
        admit(submission(claim(), logged=claim(**changes)))


@pytest.mark.parametrize(
    "changes",
    [
        {"exchange_id": bytes(16)},
        {"query_hash": bytes(32)},
        {"answer_hash": bytes(32)},
        {"requester": "CL"},
        {"claimed_ms": NOW - limits.CLOCK_SKEW - 1},
        {"claimed_ms": LATER + limits.CLOCK_SKEW + 1},
    ],
    ids=str,
)
def test_a_claim_of_another_exchange_answer_or_time_is_not_taken(changes: dict[str, Any]) -> None:
    with pytest.raises(WrongMessage):
        admit(submission(claim(**changes)))


def test_a_claim_that_another_signed_is_not_taken() -> None:
    body = ClaimSubmission.from_bytes(submission(claim()))
    forged = body.model_copy(update={"claim": sign(claim(), CL)}).to_bytes()
    with pytest.raises(BadSignature):
        open_claim(forged, parties("CL", "US"), QUERY)


@pytest.mark.parametrize(
    ("given", "earlier", "wait", "changes", "reason"),
    [
        (300, 0, 0, {}, None),
        (301, 0, 0, {}, "token-mismatch"),
        (300 + 256, 0, 0, {}, "token-mismatch"),
        (300, 1, 0, {}, "more-than-reported"),
        (300, 0, 0, {"block": 2}, "no-such-slot"),
        (300, 0, limits.CLAIM_PERIOD, {}, None),
        (300, 0, limits.CLAIM_PERIOD + 1, {}, "too-late"),
    ],
)
def test_the_verdict(
    given: int, earlier: int, wait: int, changes: dict[str, Any], reason: str | None
) -> None:
    assert judge_claim(claim(**changes), REPORTED, given, earlier, NOW + wait) == reason


def test_a_hit_that_was_claimed_before_is_refused_as_that_before_anything_else() -> None:
    for given, earlier, wait, block in ((300, 0, 0, 1), (301, 9, limits.CLAIM_PERIOD + 1, 2)):
        judged = judge_claim(claim(block=block), REPORTED, given, earlier, NOW + wait, is_first=False)
        assert judged == "claimed-before"


def verdict(reason: str | None = None, **changes: Any) -> ClaimVerdict:
    fields = {
        "claim_hash": message_hash(sign(claim(), US)),
        "query_hash": message_hash(QUERY),
        "outcome": "accepted" if reason is None else "refused",
        "reason": reason,
        "decided_ms": LATER,
    }
    return ClaimVerdict.model_validate({**FIELDS, **fields, **changes})


def reply(message: ClaimVerdict, reason: str | None = None) -> bytes:
    ledger = MemoryLedger(ledger_signer("CL"))
    index = ledger.append(decided(own_query(QUERY), sign(claim(), US), reason), LATER)
    return ClaimReply(
        verdict=sign(message, CL), evidence=ledger.evidence(index, 0), witnessed=b"-"
    ).to_bytes()


def told(body: bytes) -> ClaimVerdict:
    query = own_query(QUERY)
    return verify_verdict(body, parties("US", "CL"), query, sign(claim(), US), None, LATER)[0]


def test_a_verdict_is_believed_with_its_entry() -> None:
    assert told(reply(verdict())).outcome == "accepted"
    assert told(reply(verdict("token-mismatch"), "token-mismatch")).reason == "token-mismatch"
    # Another outcome or reason is on the ledger.
    for signed, logged in ((None, "too-late"), ("too-late", None), ("too-late", "token-mismatch")):
        with pytest.raises(EvidenceRejected):
            told(reply(verdict(signed), logged))


@pytest.mark.parametrize(
    "changes",
    [
        {"exchange_id": bytes(16)},
        {"query_hash": bytes(32)},
        {"claim_hash": bytes(32)},
        {"decided_ms": LATER - limits.CLOCK_SKEW - 1},
        {"decided_ms": LATER + limits.CLOCK_SKEW + 1},
    ],
    ids=str,
)
def test_a_verdict_on_another_claim_or_of_another_time_is_not_believed(changes: dict[str, Any]) -> None:
    with pytest.raises(WrongMessage):
        told(reply(verdict(**changes)))


def test_a_confirmation_needs_a_verdict() -> None:
    with pytest.raises(ValueError, match="verdict"):
        settled(own_query(QUERY), sign(claim(), US), None, None)
