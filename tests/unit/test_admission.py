"""The door: one fault at a time, then two at a time to see that the documented order holds."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from memory_ledger import MemoryLedger
from parties import (
    KEYS,
    NOW,
    PLAN,
    PROFILE,
    agreement,
    grant,
    in_use,
    ledger_signer,
    named_key,
    parties,
    request,
)

from crypto.errors import BadEncoding, BadSignature
from protocol import limits
from protocol.agreement import Agreement
from protocol.errors import BadMessage, RefusalReason, Replayed, WrongMessage
from protocol.evidence import StaleCheckpoint
from protocol.exchange.admission import Admission, Arrival, StoredQuery, Surroundings, admit
from protocol.exchange.commands import AppendEntry, KeepEvidence, RememberCheckpoint, SpendQuota
from protocol.exchange.entries import intent_entry
from protocol.exchange.parties import PlanSizes, Seen
from protocol.exchange.responder import ResponderState
from protocol.limits import DAY
from protocol.messages import Query, QuerySubmission, message_hash, sign
from protocol.policy import Quota
from protocol.registration import InUse

AGREEMENT = agreement(grant(queries_per_day=3))
CIPHERTEXT = bytes([4]) * 32
KEYS_IN_USE = in_use(AGREEMENT, NOW)
RR = RefusalReason


@dataclass
class Case:
    """A query that is fine in every respect, until somebody spoils it."""

    fields: dict[str, Any] = field(default_factory=dict)
    signer: str = "US identity"
    agreement: Agreement = AGREEMENT
    known_agreement: bool = True
    keys: InUse | None = KEYS_IN_USE
    plan: PlanSizes | None = PLAN
    busy: int = 0
    spent: int = 2
    place: int = 0
    now: int = NOW
    stored: list[StoredQuery] = field(default_factory=list)
    seen: Seen | None = None
    ciphertext_hash: bytes = CIPHERTEXT
    ciphertext_bytes: int = PLAN.query_bytes
    intent: Callable[[bytes], Any] | None = None
    ledger: str = "US"

    def query(self) -> bytes:
        asked = request(self.agreement.digest)
        names = set(Query.model_fields) & set(type(asked).model_fields)
        values = {name: getattr(asked, name) for name in names}
        values |= {"ciphertext_hash": CIPHERTEXT, "ciphertext_bytes": PLAN.query_bytes}
        values |= {"created_ms": NOW, "expires_ms": NOW + limits.QUERY_LIFE, **self.fields}
        return sign(Query.model_validate(values), named_key(self.signer))

    def arrival(self) -> Arrival:
        envelope = self.query()
        ledger = MemoryLedger(ledger_signer(self.ledger))
        asked = request(self.agreement.digest)
        entry = self.intent(envelope) if self.intent else intent_entry(envelope, asked)
        index = ledger.append(entry, NOW)
        submission = QuerySubmission(
            query=envelope, evidence=ledger.evidence(index, 0), seen_size=0, witnessed=None
        )
        return Arrival(submission.to_bytes(), self.ciphertext_hash, self.ciphertext_bytes)

    def around(self) -> Surroundings:
        return Surroundings(
            seen=self.seen,
            stored=lambda _: self.stored,
            agreement=lambda d: (
                self.agreement if self.known_agreement and d == self.agreement.digest else None
            ),
            spent=self._spent,
            keys=lambda digest: self.keys if digest == KEYS else None,
            plan=lambda digest: self.plan if digest == PROFILE else None,
            busy=self.busy,
        )

    def _spent(self, quota: Quota) -> int:
        assert quota == Quota(self.agreement.digest, self.place, self.now // limits.DAY)
        return self.spent

    def admit(self) -> Admission:
        return admit(self.arrival(), self.around(), parties("CL", "US"), self.now)


def other_intent(envelope: bytes) -> Any:
    """An intent that is on the ledger, but of another query."""
    other = Case(fields={"created_ms": NOW - 1}).query()
    return intent_entry(other, request(AGREEMENT.digest))


LATE = limits.CLOCK_SKEW + 1
OTHER = StoredQuery("US", bytes(32))
EXPIRED = agreement(not_after_ms=NOW, not_before_ms=NOW - limits.DAY)
FAULTS: list[tuple[RefusalReason, Callable[[Case], None]]] = [
    (RR.OUTSIDE_TIME_WINDOW, lambda c: c.fields.update(created_ms=NOW - LATE, expires_ms=NOW + 1)),
    (RR.BAD_EVIDENCE, lambda c: setattr(c, "intent", other_intent)),
    (RR.AGREEMENT_UNKNOWN, lambda c: setattr(c, "known_agreement", False)),
    (RR.AGREEMENT_EXPIRED, lambda c: setattr(c, "agreement", EXPIRED)),
    (RR.MODALITY_NOT_COVERED, lambda c: c.fields.update(modality="iris")),
    (RR.PROFILE_MISMATCH, lambda c: c.fields.update(profile=bytes(32))),
    (RR.PURPOSE_NOT_COVERED, lambda c: c.fields.update(purpose="curiosity")),
    (RR.OFFENCE_NOT_COVERED, lambda c: c.fields.update(offence="jaywalking")),
    (RR.PERSON_CATEGORY_NOT_COVERED, lambda c: c.fields.update(person_category="witness")),
    (RR.LEGAL_BASIS_NOT_COVERED, lambda c: c.fields.update(legal_basis="none")),
    (RR.QUOTA_EXCEEDED, lambda c: setattr(c, "spent", 3)),
    (RR.KEYS_UNKNOWN, lambda c: setattr(c, "keys", None)),
    (RR.BAD_CIPHERTEXT_LENGTH, lambda c: setattr(c, "ciphertext_bytes", 999)),
    (RR.CIPHERTEXT_MISMATCH, lambda c: setattr(c, "ciphertext_hash", bytes(32))),
    (RR.BUSY, lambda c: setattr(c, "busy", 30)),
]


def entry_of(admission: Admission) -> AppendEntry:
    appends = [command for command in admission.step.commands if isinstance(command, AppendEntry)]
    assert len(appends) == 1
    return appends[0]


def reason_of(admission: Admission) -> RefusalReason | None:
    assert admission.fault is None
    assert admission.session is not None
    state = admission.session.state
    if state is ResponderState.LOGGING_ACCEPTANCE:
        assert entry_of(admission).kind == "query.accepted"
        return None
    assert state is ResponderState.LOGGING_REFUSAL
    statement = entry_of(admission).statement
    assert statement.shared.type == "query.refused"
    assert getattr(statement.shared, "reason", None) == admission.session.record.reason
    return admission.session.record.reason


def test_a_good_query_is_accepted() -> None:
    assert reason_of(Case().admit()) is None


def test_an_accepted_query_alone_counts_against_the_quota_of_its_grant() -> None:
    other = grant(modality="iris", queries_per_day=1)
    for case, spends in (
        (Case(), [Quota(AGREEMENT.digest, 0, NOW // limits.DAY)]),
        (Case(busy=30), []),
        (Case(agreement=agreement()), []),
    ):
        commands = case.admit().step.commands
        assert [one.quota for one in commands if isinstance(one, SpendQuota)] == spends
    assert reason_of(Case(agreement=agreement(other, grant(queries_per_day=3)), place=1).admit()) is None


@pytest.mark.parametrize(("reason", "spoil"), FAULTS, ids=lambda item: getattr(item, "value", ""))
def test_each_fault_is_refused_with_its_reason_and_an_entry(
    reason: RefusalReason, spoil: Callable[[Case], None]
) -> None:
    case = Case()
    spoil(case)
    assert reason_of(case.admit()) is reason


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(range(len(FAULTS)), 2)))
def test_of_two_faults_the_earlier_check_speaks(first: int, second: int) -> None:
    case = Case()
    FAULTS[first][1](case)
    FAULTS[second][1](case)
    assert reason_of(case.admit()) is FAULTS[first][0]


def test_a_query_without_a_grant_in_its_direction_is_refused() -> None:
    case = Case(agreement=agreement(grant(requester="CL", responder="US")))
    assert reason_of(case.admit()) is RR.DIRECTION_NOT_COVERED


def test_another_plan_for_the_profile_is_refused() -> None:
    assert reason_of(Case(plan=None).admit()) is RR.PROFILE_MISMATCH
    assert reason_of(Case(plan=replace(PLAN, identifier=bytes(32))).admit()) is RR.PROFILE_MISMATCH


@pytest.mark.parametrize(
    ("created", "expires", "fine"),
    [
        (NOW - limits.CLOCK_SKEW, NOW + 1, True),
        (NOW - limits.CLOCK_SKEW - 1, NOW + 1, False),
        (NOW + limits.CLOCK_SKEW, NOW + 2 * limits.CLOCK_SKEW, True),
        (NOW + limits.CLOCK_SKEW + 1, NOW + 2 * limits.CLOCK_SKEW, False),
        (NOW - limits.MINUTE, NOW, False),
        (NOW - limits.MINUTE, NOW + 1, True),
        (NOW, NOW + limits.MAX_QUERY_LIFE, True),
        (NOW, NOW + limits.MAX_QUERY_LIFE + 1, False),
        (NOW, NOW + limits.MIN_QUERY_LIFE - 1, False),
        (NOW, NOW - 1, False),
    ],
)
def test_the_time_window_to_the_millisecond(created: int, expires: int, fine: bool) -> None:
    case = Case(fields={"created_ms": created, "expires_ms": expires})
    assert reason_of(case.admit()) is (None if fine else RR.OUTSIDE_TIME_WINDOW)


@pytest.mark.parametrize(
    ("signer", "error"),
    [("CL identity", BadSignature), ("US ledger", BadSignature), ("CO identity", BadSignature)],
)
def test_a_query_that_its_sender_did_not_sign_is_counted_only(signer: str, error: type) -> None:
    admission = Case(signer=signer).admit()
    assert (admission.session, admission.step.commands) == (None, ())
    assert isinstance(admission.fault, error)


def test_noise_is_counted_only() -> None:
    for body, error in ((b"", BadEncoding), (b"\x80", BadMessage), (b"\x00" * 100_000, BadEncoding)):
        arrival = Arrival(body, CIPHERTEXT, PLAN.query_bytes)
        admission = admit(arrival, Case().around(), parties("CL", "US"), NOW)
        assert isinstance(admission.fault, error)
        assert admission.session is None


def test_the_same_query_finds_its_session_even_after_its_time() -> None:
    case = Case()
    known = StoredQuery("US", message_hash(case.query()))
    case = Case(stored=[known], now=NOW + limits.DAY)
    admission = case.admit()
    assert (admission.known, admission.session, admission.fault) == (known.query_hash, None, None)


def test_the_same_bytes_from_another_peer_are_not_its_own_query() -> None:
    case = Case()
    case.stored.append(StoredQuery("CO", message_hash(case.query())))
    assert isinstance(case.admit().fault, Replayed)


@pytest.mark.parametrize("spoil", [None, *(spoil for _, spoil in FAULTS)])
@pytest.mark.parametrize(
    ("fields", "stored", "error"),
    [
        ({"requester": "CO"}, [], WrongMessage),
        ({"responder": "CO"}, [], WrongMessage),
        ({"requester": "CL", "responder": "US"}, [], WrongMessage),
        ({}, [OTHER], Replayed),
        ({}, [StoredQuery("US", bytes([1]) * 32)], Replayed),
        ({}, [StoredQuery("CL", b"")], Replayed),
    ],
)
def test_what_no_entry_of_ours_could_say_truthfully_is_counted_only(
    fields: dict[str, Any],
    stored: list[StoredQuery],
    error: type,
    spoil: Callable[[Case], None] | None,
) -> None:
    case = Case(fields=dict(fields), stored=stored)
    if spoil is not None:
        spoil(case)
    admission = case.admit()
    assert isinstance(admission.fault, error)
    assert (admission.session, admission.step.commands) == (None, ())


def test_stale_evidence_is_asked_for_again_and_not_logged() -> None:
    admission = Case(seen=Seen(5, bytes(32))).admit()
    assert isinstance(admission.fault, StaleCheckpoint)
    assert admission.fault.stored_size == 5
    assert (admission.session, admission.step.commands) == (None, ())


def test_a_fork_is_refused_logged_and_kept_and_the_forged_head_is_not_remembered() -> None:
    admission = Case(seen=Seen(1, bytes([1]) * 32)).admit()
    assert reason_of(admission) is RR.BAD_EVIDENCE
    kept = [command for command in admission.step.commands if isinstance(command, KeepEvidence)]
    assert [command.code for command in kept] == ["forked-ledger"]
    assert not [command for command in admission.step.commands if isinstance(command, RememberCheckpoint)]


def test_evidence_of_another_ledger_is_refused() -> None:
    assert reason_of(Case(ledger="CL").admit()) is RR.BAD_EVIDENCE


def test_a_good_head_is_remembered_with_the_decision() -> None:
    for case in (Case(), Case(busy=30)):
        remembered = [c for c in case.admit().step.commands if isinstance(c, RememberCheckpoint)]
        assert [(command.peer, command.size) for command in remembered] == [("US", 1)]


@pytest.mark.parametrize(
    "name", ["purpose", "legal_basis", "offence", "person_category", "authority", "ciphertext_hash", "plan"]
)
def test_an_intent_that_says_anything_else_than_the_query_is_bad_evidence(name: str) -> None:
    def lying(envelope: bytes) -> Any:
        statement = intent_entry(envelope, request(AGREEMENT.digest))
        value = bytes([6]) * 32 if name in ("ciphertext_hash", "plan") else "something else"
        return type(statement)(statement.shared.model_copy(update={name: value}), statement.private)

    assert reason_of(Case(intent=lying).admit()) is RR.BAD_EVIDENCE


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        (replace(KEYS_IN_USE, plan=bytes(32)), RR.KEYS_UNKNOWN),
        (replace(KEYS_IN_USE, sets=31), RR.KEYS_UNKNOWN),
        (replace(KEYS_IN_USE, epoch_days=29), RR.KEYS_UNKNOWN),
        (replace(KEYS_IN_USE, epoch=KEYS_IN_USE.epoch - 1), RR.KEYS_EXPIRED),
        (replace(KEYS_IN_USE, epoch=KEYS_IN_USE.epoch + 1), RR.KEYS_EXPIRED),
        (replace(KEYS_IN_USE, sets=128), None),
    ],
)
def test_keys_must_be_registered_as_the_agreement_asks(keys: InUse, reason: RR | None) -> None:
    assert reason_of(Case(keys=keys).admit()) is reason


def test_keys_are_in_use_in_their_epoch_and_the_clocks_may_differ() -> None:
    begin = KEYS_IN_USE.epoch * 30 * DAY
    end, skew = begin + 30 * DAY, limits.CLOCK_SKEW
    assert [KEYS_IN_USE.at(when) for when in (begin - skew - 1, begin - skew, begin, end + skew - 1, end + skew)] == [
        False, True, True, True, False,
    ]  # fmt: skip
