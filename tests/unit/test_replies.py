"""What a requester believes of a responder's replies, and a responder of a report: nothing that does not hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from memory_ledger import MemoryLedger
from parties import NOW, PLAN, agreement, ledger_signer, named_key, parties, request

from crypto.errors import BadSignature, PeerFault
from protocol.errors import BadMessage, EvidenceRejected, RefusalReason, WrongMessage
from protocol.evidence import StaleCheckpoint
from protocol.exchange import checks, entries, events
from protocol.exchange.commands import KeepEvidence, RememberCheckpoint
from protocol.exchange.parties import Seen
from protocol.exchange.requester import RequesterSession, RequesterState
from protocol.messages import (
    AnswerHeader,
    Decision,
    ExchangeStatus,
    Receipt,
    ReceiptReply,
    ReportSubmission,
    ResultReport,
    message_hash,
    sign,
)
from protocol.statements import Computed

AGREEMENT = agreement()
REQUEST = request(AGREEMENT.digest)
ANSWER, GALLERY, SEED = bytes([11]) * 32, bytes([12]) * 32, bytes([13]) * 32
LEAF = bytes([14]) * 32
US, CL = parties("US", "CL"), parties("CL", "US")


def waiting() -> RequesterSession:
    """A requester that has sent its query and heard nothing yet."""
    session, _ = RequesterSession.start(REQUEST, AGREEMENT, US, NOW, lambda _: 0)
    session.handle(events.ProbeEncrypted(bytes(32), PLAN.query_bytes), NOW)
    session.handle(events.EntryAppended("query.intent", 0, LEAF), NOW)
    assert session.state is RequesterState.SENDING
    return session


QUERY = waiting().record.query or b""
NAMES = {
    "exchange_id": REQUEST.exchange_id,
    "requester": "US",
    "responder": "CL",
    "query_hash": message_hash(QUERY),
}


class Chile:
    """A responder that says whatever a test wants, properly signed unless told otherwise."""

    def __init__(self) -> None:
        self.ledger = MemoryLedger(ledger_signer("CL"))
        self.key = named_key("CL identity")
        self.witnessed: bytes | None = b"a checkpoint that the node looks at"

    def decision(self, outcome: str = "accepted", **changes: Any) -> bytes:
        reason = None if outcome == "accepted" else RefusalReason.BUSY
        by = NOW + 60_000 if outcome == "accepted" else None
        values = {"outcome": outcome, "reason": reason, "decided_ms": NOW, "answer_by_ms": by}
        said = {**NAMES, **values, **changes}
        is_busy = said["outcome"] == "refused" and said["reason"] is RefusalReason.BUSY
        said.setdefault("retry_after_s", 5 if is_busy else None)
        return sign(Decision.model_validate(said), self.key)

    def header(self, **changes: Any) -> bytes:
        values = {
            "blocks": 2,
            "block_bytes": PLAN.answer_block_bytes,
            "answer_hash": ANSWER,
            "answered_ms": NOW,
        }
        return sign(AnswerHeader.model_validate({**NAMES, **values, **changes}), self.key)

    def accepted(self, leaf: bytes = LEAF) -> int:
        return self.ledger.append(entries.accepted_entry(QUERY, leaf), NOW)

    def answered(self, answer: bytes = ANSWER, blocks: int = 2) -> int:
        entry = entries.answered_entry(
            QUERY, answer, blocks, GALLERY, SEED, Computed(records=1, compute_ms=1)
        )
        return self.ledger.append(entry, NOW)

    def status(
        self, decision: bytes, index: int, answer: tuple[bytes, int] | None = None, old: int = 0
    ) -> bytes:
        return ExchangeStatus(
            decision=decision,
            decision_evidence=self.ledger.evidence(index, old),
            progress=None,
            answer=answer[0] if answer else None,
            answer_evidence=self.ledger.evidence(answer[1], old) if answer else None,
            witnessed=self.witnessed,
        ).to_bytes()


def good(chile: Chile) -> bytes:
    first = chile.accepted()
    second = chile.answered()
    return chile.status(chile.decision(), first, (chile.header(), second))


def with_decision(**changes: Any) -> Callable[[Chile], bytes]:
    return lambda chile: chile.status(chile.decision(**changes), chile.accepted())


def signed_by(name: str) -> Callable[[Chile], bytes]:
    def make(chile: Chile) -> bytes:
        chile.key = named_key(name)
        return chile.status(chile.decision(), chile.accepted())

    return make


def answer_with(**changes: Any) -> Callable[[Chile], bytes]:
    def make(chile: Chile) -> bytes:
        first = chile.accepted()
        second = chile.answered()
        return chile.status(chile.decision(), first, (chile.header(**changes), second))

    return make


def answered_first(chile: Chile) -> bytes:
    second = chile.answered()
    first = chile.accepted()
    return chile.status(chile.decision(), first, (chile.header(), second))


def answered_without_work(chile: Chile) -> bytes:
    index = chile.ledger.append(entries.refused_entry(QUERY, "busy"), NOW)
    second = chile.answered()
    return chile.status(chile.decision("refused"), index, (chile.header(), second))


def refused_otherwise(chile: Chile) -> bytes:
    index = chile.ledger.append(entries.refused_entry(QUERY, "internal"), NOW)
    return chile.status(chile.decision("refused"), index)


def other_entry(chile: Chile) -> bytes:
    return chile.status(chile.decision(), chile.ledger.append(entries.failed_entry(QUERY, "internal"), NOW))


def other_ledger(chile: Chile) -> bytes:
    chile.ledger = MemoryLedger(ledger_signer("US"))
    return chile.status(chile.decision(), chile.accepted())


def header_as_decision(chile: Chile) -> bytes:
    return chile.status(chile.header(), chile.accepted())


BAD: list[tuple[str, type[PeerFault], Callable[[Chile], bytes]]] = [
    ("noise", PeerFault, lambda _: b"\xff"),
    ("another signer", BadSignature, signed_by("CO identity")),
    ("our own signature", BadSignature, signed_by("US identity")),
    ("another type under its signature", BadSignature, header_as_decision),
    ("another exchange", WrongMessage, with_decision(exchange_id=bytes(16))),
    ("another query", WrongMessage, with_decision(query_hash=bytes(32))),
    ("another requester", WrongMessage, with_decision(requester="CO")),
    ("another responder", WrongMessage, with_decision(responder="CO")),
    ("another intent", EvidenceRejected, lambda c: c.status(c.decision(), c.accepted(bytes(32)))),
    ("an entry of another kind", EvidenceRejected, other_entry),
    ("an entry of another ledger", EvidenceRejected, other_ledger),
    ("another reason on the ledger", EvidenceRejected, refused_otherwise),
    ("an answer before the acceptance", EvidenceRejected, answered_first),
    ("an answer to a refused query", WrongMessage, answered_without_work),
    ("another answer on the ledger", EvidenceRejected, answer_with(answer_hash=bytes(32))),
    ("other blocks on the ledger", EvidenceRejected, answer_with(blocks=3)),
    ("an answer to another query", WrongMessage, answer_with(query_hash=bytes(32))),
    ("blocks of another length", BadMessage, answer_with(block_bytes=PLAN.answer_block_bytes + 1)),
]


def test_a_good_status_is_believed() -> None:
    session = waiting()
    step = session.handle(events.StatusReceived(good(Chile()), None), NOW)
    assert session.state is RequesterState.FETCHING
    assert isinstance(step.commands[0], RememberCheckpoint)
    assert step.commands[0].size == 2


@pytest.mark.parametrize(("what", "error", "make"), BAD, ids=[item[0] for item in BAD])
def test_a_bad_status_ends_the_query_and_is_kept(
    what: str, error: type[PeerFault], make: Callable[[Chile], bytes]
) -> None:
    session = waiting()
    body = make(Chile())
    if error is not BadMessage:
        with pytest.raises(error):
            checks.verify_status(body, US, QUERY, LEAF, None, NOW)
    step = session.handle(events.StatusReceived(body, None), NOW)
    assert session.state is RequesterState.LOGGING_RESULT
    evidence = error is EvidenceRejected
    assert session.record.reason == ("bad-evidence" if evidence else "bad-reply")
    assert [command.body for command in step.commands if isinstance(command, KeepEvidence)] == [body]
    assert not [command for command in step.commands if isinstance(command, RememberCheckpoint)]


def test_stale_evidence_is_fetched_again_and_a_fork_is_not() -> None:
    chile = Chile()
    body = good(chile)
    session = waiting()
    with pytest.raises(StaleCheckpoint):
        checks.verify_status(body, US, QUERY, LEAF, Seen(3, bytes(32)), NOW)
    session.handle(events.StatusReceived(body, Seen(3, bytes(32))), NOW)
    assert session.state is RequesterState.SENDING
    step = session.handle(events.StatusReceived(body, Seen(2, bytes(32))), NOW)
    assert session.record.reason == "bad-evidence"
    assert [command.code for command in step.commands if isinstance(command, KeepEvidence)] == [
        "forked-ledger"
    ]


def test_a_responder_does_not_change_its_mind() -> None:
    chile = Chile()
    session = waiting()
    index = chile.accepted()
    session.handle(events.StatusReceived(chile.status(chile.decision(), index), None), NOW)
    assert session.state is RequesterState.WAITING
    later = chile.status(chile.decision(decided_ms=NOW + 1), index)
    session.handle(events.StatusReceived(later, None), NOW)
    assert (session.state, session.record.reason) == (RequesterState.LOGGING_RESULT, "bad-reply")


def test_a_failure_after_the_acceptance_is_believed_and_not_reported_back() -> None:
    chile = Chile()
    session = waiting()
    session.handle(events.StatusReceived(chile.status(chile.decision(), chile.accepted()), None), NOW)
    index = chile.ledger.append(entries.failed_entry(QUERY, "busy"), NOW)
    session.handle(events.StatusReceived(chile.status(chile.decision("failed"), index), None), NOW)
    assert (session.record.outcome, session.record.reason) == ("failed", "peer-failed")
    session.handle(events.EntryAppended("query.result", 1, LEAF), NOW)
    assert session.state is RequesterState.FAILED


def test_a_promise_beyond_reason_is_not_waited_for() -> None:
    chile = Chile()
    session = waiting()
    body = chile.status(chile.decision(answer_by_ms=NOW + 10**12), chile.accepted())
    session.handle(events.StatusReceived(body, None), NOW)
    assert session.deadline_ms is not None
    assert session.deadline_ms <= NOW + 86_400_000 + 60_000


# Reports and receipts


def report(outcome: str = "hit", **changes: Any) -> bytes:
    failed = outcome == "failed"
    values: dict[str, Any] = {
        "outcome": outcome,
        "hits": 1 if outcome == "hit" else 0,
        "reason": "cancelled" if failed else None,
        "answer_hash": None if failed else ANSWER,
        "reported_ms": NOW,
    }
    return sign(ResultReport.model_validate({**NAMES, **values, **changes}), named_key("US identity"))


def submission(envelope: bytes, outcome: str = "hit", hits: int = 1) -> bytes:
    ledger = MemoryLedger(ledger_signer("US"))
    failed = outcome == "failed"
    entry = entries.result_entry(
        QUERY,
        None if failed else ANSWER,
        outcome,
        hits,
        "cancelled" if failed else None,  # type: ignore[arg-type]
    )
    index = ledger.append(entry, NOW)
    return ReportSubmission(
        report=envelope, evidence=ledger.evidence(index, 0), seen_size=0, witnessed=None
    ).to_bytes()


def test_good_reports_are_believed() -> None:
    answer = (ANSWER, 2)
    assert checks.verify_report(submission(report()), CL, QUERY, answer, None, NOW).report.hits == 1
    failed = submission(report("failed"), "failed", 0)
    assert checks.verify_report(failed, CL, QUERY, None, None, NOW).report.outcome == "failed"


@pytest.mark.parametrize(
    ("body", "answer", "error"),
    [
        (submission(report(query_hash=bytes(32))), (ANSWER, 2), WrongMessage),
        (submission(report(exchange_id=bytes(16))), (ANSWER, 2), WrongMessage),
        (submission(report(answer_hash=bytes(32))), (ANSWER, 2), WrongMessage),
        (submission(report()), None, WrongMessage),
        (submission(report(hits=2 * 16_384 + 1), "hit", 2 * 16_384 + 1), (ANSWER, 2), WrongMessage),
        (submission(report(hits=2)), (ANSWER, 2), EvidenceRejected),
        (submission(report("no-hit")), (ANSWER, 2), EvidenceRejected),
        (b"\x80", (ANSWER, 2), BadMessage),
    ],
)
def test_bad_reports_are_not(body: bytes, answer: Any, error: type[PeerFault]) -> None:
    with pytest.raises(error):
        checks.verify_report(body, CL, QUERY, answer, None, NOW)


def receipt_reply(report_envelope: bytes, named: bytes, claimed: bytes) -> bytes:
    ledger = MemoryLedger(ledger_signer("CL"))
    index = ledger.append(entries.claimed_entry(QUERY, claimed), NOW)
    receipt = Receipt.model_validate({**NAMES, "report_hash": message_hash(named), "received_ms": NOW})
    envelope = sign(receipt, named_key("CL identity"))
    return ReceiptReply(receipt=envelope, evidence=ledger.evidence(index, 0), witnessed=b"w").to_bytes()


def test_a_receipt_and_its_entry_name_this_report() -> None:
    mine, other = report(), report("no-hit")
    checks.verify_receipt(receipt_reply(mine, mine, mine), US, QUERY, mine, None, NOW)
    with pytest.raises(WrongMessage):
        checks.verify_receipt(receipt_reply(mine, other, mine), US, QUERY, mine, None, NOW)
    with pytest.raises(EvidenceRejected):
        checks.verify_receipt(receipt_reply(mine, mine, other), US, QUERY, mine, None, NOW)
