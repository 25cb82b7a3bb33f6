"""Seen by a third: evidence under a checkpoint that nobody outside the pair has cosigned does not count."""

from __future__ import annotations

from dataclasses import replace

import pytest
from memory_ledger import MemoryLedger
from parties import (
    KEYS,
    NOW,
    PLAN,
    PROFILE,
    agreement,
    agreement_fields,
    descriptor,
    in_use,
    ledger_signer,
    named_key,
    parties,
    request,
)

from crypto.note import CosignatureSigner, NoteSignature, parse_note
from protocol import limits
from protocol.agreement import draft_agreement, read_text
from protocol.errors import BadAgreement
from protocol.exchange import checks, entries, events
from protocol.exchange.admission import Admission, Arrival, Surroundings, admit
from protocol.exchange.commands import AppendEntry, KeepEvidence, RememberCheckpoint
from protocol.exchange.parties import Parties
from protocol.exchange.requester import RequesterSession
from protocol.log_policy import LogPolicy
from protocol.messages import (
    Decision,
    ExchangeStatus,
    Query,
    QuerySubmission,
    Receipt,
    ReceiptReply,
    ReportSubmission,
    ResultReport,
    message_hash,
    sign,
)
from protocol.seen_by import UnseenCheckpoint, joined, read_demand, unseen
from protocol.witnessing import witness_signer

AGREEMENT = agreement()
REQUEST = request(AGREEMENT.digest)
CIPHERTEXT, ANSWER = bytes([4]) * 32, bytes([11]) * 32
THIRD = CosignatureSigner("w.example/1", named_key("third"), NOW // 1000)
OTHER = CosignatureSigner("w.example/2", named_key("other third"), NOW // 1000)
TEXT = f"witness w {THIRD.verifier.vkey} https://w.example/1\nquorum w\n"
DEMAND = read_demand(TEXT)


def demanding(own: str, other: str, *demands: LogPolicy) -> Parties:
    """The parties of an exchange under agreements that demand witnesses."""
    plain = parties(own, other)
    return replace(plain, peer=replace(plain.peer, demands=demands or (DEMAND,)))


def query() -> bytes:
    names = set(Query.model_fields) & set(type(REQUEST).model_fields)
    values = {name: getattr(REQUEST, name) for name in names}
    values |= {"ciphertext_hash": CIPHERTEXT, "ciphertext_bytes": PLAN.query_bytes}
    values |= {"created_ms": NOW, "expires_ms": NOW + limits.QUERY_LIFE}
    return sign(Query.model_validate(values), named_key("US identity"))


QUERY = query()
NAMES = {
    "exchange_id": REQUEST.exchange_id,
    "requester": "US",
    "responder": "CL",
    "query_hash": message_hash(QUERY),
}


def shown(country: str, entry: object, *witnesses: CosignatureSigner) -> bytes:
    """Evidence of the first entry of a ledger, under a checkpoint that witnesses have cosigned."""
    ledger = MemoryLedger(ledger_signer(country))
    ledger.witnesses = list(witnesses)
    return ledger.evidence(ledger.append(entry, NOW), 0)  # type: ignore[arg-type]


def arrive(us: Parties, *witnesses: CosignatureSigner) -> Admission:
    evidence = shown("US", entries.intent_entry(QUERY, REQUEST), *witnesses)
    submission = QuerySubmission(query=QUERY, evidence=evidence, seen_size=0, witnessed=None).to_bytes()
    around = Surroundings(
        seen=None,
        stored=lambda _: [],
        agreement=lambda digest: AGREEMENT if digest == AGREEMENT.digest else None,
        spent=lambda _: 0,
        keys=lambda digest: in_use(AGREEMENT, NOW) if digest == KEYS else None,
        plan=lambda digest: PLAN if digest == PROFILE else None,
        busy=0,
    )
    return admit(Arrival(submission, CIPHERTEXT, PLAN.query_bytes), around, us, NOW)


def entry_of(admission: Admission) -> AppendEntry:
    (entry,) = [one for one in admission.step.commands if isinstance(one, AppendEntry)]
    return entry


def test_a_query_is_refused_on_the_ledger_and_its_checkpoint_is_kept() -> None:
    assert entry_of(arrive(parties("CL", "US"))).kind == "query.accepted"
    admission = arrive(demanding("CL", "US"))
    refused = entry_of(admission)
    assert (refused.kind, refused.statement.shared.reason) == ("query.refused", "unseen-checkpoint")  # type: ignore[attr-defined]
    assert [one.size for one in admission.step.commands if isinstance(one, RememberCheckpoint)] == [1]


@pytest.mark.parametrize(
    ("witnesses", "kind"),
    [
        ((THIRD,), "query.accepted"),
        ((OTHER, THIRD), "query.accepted"),
        ((OTHER,), "query.refused"),
        ((replace(THIRD, time_s=0),), "query.refused"),
        ((replace(THIRD, key=named_key("other third")),), "query.refused"),
        ((witness_signer("US", named_key("US identity"), NOW),), "query.refused"),
    ],
)
def test_only_the_witness_that_the_agreement_names_counts(
    witnesses: tuple[CosignatureSigner, ...], kind: str
) -> None:
    assert entry_of(arrive(demanding("CL", "US"), *witnesses)).kind == kind


def test_every_agreement_that_demands_is_met() -> None:
    second = read_demand(f"witness v {OTHER.verifier.vkey}\nquorum v\n")
    both = demanding("CL", "US", DEMAND, second)
    assert entry_of(arrive(both, THIRD)).kind == "query.refused"
    assert entry_of(arrive(both, THIRD, OTHER)).kind == "query.accepted"


def test_an_answer_without_the_witness_ends_the_query_with_its_own_reason() -> None:
    leaf = bytes([14]) * 32
    for witnesses, reason in (((), "unseen-checkpoint"), ((THIRD,), None)):
        session, _ = RequesterSession.start(REQUEST, AGREEMENT, demanding("US", "CL"), NOW, lambda _: 0)
        session.handle(events.ProbeEncrypted(CIPHERTEXT, PLAN.query_bytes), NOW)
        session.handle(events.EntryAppended("query.intent", 0, leaf), NOW)
        envelope = session.record.query or b""
        said = {**NAMES, "query_hash": message_hash(envelope), "outcome": "accepted", "reason": None}
        said |= {"decided_ms": NOW, "answer_by_ms": NOW + 60_000}
        status = ExchangeStatus(
            decision=sign(Decision.model_validate(said), named_key("CL identity")),
            decision_evidence=shown("CL", entries.accepted_entry(envelope, leaf), *witnesses),
            progress=None,
            answer=None,
            answer_evidence=None,
            witnessed=b"a checkpoint that the node looks at",
        ).to_bytes()
        step = session.handle(events.StatusReceived(status, None), NOW)
        assert session.record.reason == reason
        assert [one.size for one in step.commands if isinstance(one, RememberCheckpoint)] == [1]
        kept = [one.code for one in step.commands if isinstance(one, KeepEvidence)]
        assert kept == ([] if reason is None else ["unseen-checkpoint"])


def test_reports_and_receipts_need_the_witness_as_well() -> None:
    values = {"outcome": "hit", "hits": 1, "reason": None, "answer_hash": ANSWER, "reported_ms": NOW}
    report = sign(ResultReport.model_validate({**NAMES, **values}), named_key("US identity"))
    said = {**NAMES, "report_hash": message_hash(report), "received_ms": NOW}
    receipt = sign(Receipt.model_validate(said), named_key("CL identity"))
    result = entries.result_entry(QUERY, ANSWER, "hit", 1, None)
    claim = entries.claimed_entry(QUERY, report)

    def reported(*witnesses: CosignatureSigner) -> None:
        evidence = shown("US", result, *witnesses)
        body = ReportSubmission(report=report, evidence=evidence, seen_size=0, witnessed=None).to_bytes()
        checks.verify_report(body, demanding("CL", "US"), QUERY, (ANSWER, 2), None, NOW)

    def received(*witnesses: CosignatureSigner) -> None:
        body = ReceiptReply(receipt=receipt, evidence=shown("CL", claim, *witnesses), witnessed=b"w")
        checks.verify_receipt(body.to_bytes(), demanding("US", "CL"), QUERY, report, None, NOW)

    for check in (reported, received):
        check(THIRD)
        with pytest.raises(UnseenCheckpoint) as caught:
            check()
        assert caught.value.entry.head.size == 1


def test_a_broken_cosignature_of_the_witness_is_not_passed_over() -> None:
    note = parse_note(MemoryLedger(ledger_signer("CL")).checkpoint(0))
    line = NoteSignature(THIRD.name, THIRD.key_id, THIRD.sign(b"another text\n"))
    broken = replace(note, signatures=(*note.signatures, line)).to_bytes()
    assert unseen([DEMAND], broken) is not None
    assert unseen([], broken) is None


BAD = {
    "a party's cosigning key": witness_signer("US", named_key("US identity"), NOW).verifier.vkey,
    "a party's identity key under another name": replace(THIRD, key=named_key("CL identity")).verifier.vkey,
    "a party's ledger key": replace(THIRD, key=named_key("CL ledger")).verifier.vkey,
    "a party's name": replace(THIRD, name="concordat/CL").verifier.vkey,
}


@pytest.mark.parametrize("vkey", BAD.values(), ids=BAD.keys())
def test_a_party_is_no_third(vkey: str) -> None:
    with pytest.raises(BadAgreement, match="is one of the parties"):
        draft(f"witness w {vkey}\nquorum w\n")


@pytest.mark.parametrize(
    "text",
    ["", "quorum none\n", f"witness w {THIRD.verifier.vkey}\n", f"log {named_key('x')}\nquorum none\n"],
)
def test_a_demand_names_witnesses_and_how_many(text: str) -> None:
    with pytest.raises(ValueError, match="witnesses"):
        agreement_fields(witnesses=text)


def draft(text: str) -> bytes:
    return draft_agreement(agreement_fields(witnesses=text), descriptor("US"), descriptor("CL"))


def test_the_demand_is_part_of_what_is_signed() -> None:
    text = draft(TEXT)
    assert read_text(text).demand == DEMAND
    plain = draft_agreement(agreement_fields(), descriptor("US"), descriptor("CL"))
    assert read_text(plain).demand is None
    assert read_text(plain).digest != read_text(text).digest


def test_all_witnesses_of_several_policies_are_asked_once() -> None:
    own = read_demand(f"witness mine {THIRD.verifier.vkey}\nwitness v {OTHER.verifier.vkey}\nquorum v\n")
    both = joined([own, DEMAND])
    assert len(both.witnesses) == 2
    assert list(both.urls.values()) == ["https://w.example/1"]
