"""Two ledgers beside each other: twins, deadlines, blame, and what cannot be said without the key."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from ledgers import (
    ANSWER,
    COMPUTED,
    REQUESTED,
    Country,
    accepted,
    answered,
    asked,
    claimed,
    filler,
    intent,
    open_country,
    result,
    whole_exchange,
)

from protocol import limits
from protocol import statements as s
from protocol.audit.reconcile import reconcile
from protocol.audit.report import ReconcileReport, Rule
from protocol.statement_parts import Operated

OTHER = bytes([9]) * 32
MUCH_LATER = limits.FETCH_PERIOD + limits.REPORT_PERIOD + limits.MAX_ANSWER_PERIOD


@pytest.fixture
def us(tmp_path: Path) -> Country:
    return open_country(tmp_path / "us", "US")


@pytest.fixture
def cl(tmp_path: Path) -> Country:
    return open_country(tmp_path / "cl", "CL")


def _reconcile(us: Country, cl: Country, **changes: object) -> ReconcileReport:
    return reconcile({"US": us.audited(**changes), "CL": cl.audited(**changes)})


def _later(country: Country) -> None:
    """An entry so late that every deadline has passed on this ledger."""
    country.now_ms += MUCH_LATER
    country.record(
        s.PeerAccepted(exchange_id=bytes([7]) * 16, country=country.code, peer="CO", descriptor=bytes(32)),
        Operated(operator="op"),
    )


def test_a_whole_exchange_fits(us: Country, cl: Country) -> None:
    whole_exchange(us, cl, 1)
    whole_exchange(us, cl, 2)
    report = _reconcile(us, cl)
    assert report.ok, report.findings
    assert report.exchanges == {"closed": 2}
    assert json.loads(json.dumps(report.to_json()))["ok"] is True


def test_without_a_key_the_report_says_what_it_cannot_know(us: Country, cl: Country) -> None:
    whole_exchange(us, cl, 1)
    us.record(intent(2), REQUESTED)
    report = _reconcile(us, cl, key=None)
    assert report.ok
    assert report.exchanges == {"paired-by-id": 2, "unpaired": 1}
    words = " ".join(report.unchecked)
    assert "was not checked" in words
    assert "other countries" in words


def _nothing_but_an_intent(us: Country, cl: Country) -> None:
    us.record(intent(1), REQUESTED)
    _later(us)
    _later(cl)


def _withheld(us: Country, cl: Country) -> None:
    fields = {k: v for k, v in asked(1).items() if k != "query_hash"}
    us.record(s.QueryWithheld(**fields, reason="purpose-not-covered"), REQUESTED)


def _refused(us: Country, cl: Country) -> None:
    us.record(intent(1), REQUESTED)
    cl.record(s.QueryRefused(**asked(1), reason="purpose-not-covered"))
    us.record(result(1, answer_hash=None, outcome="refused", hits=0, reason="purpose-not-covered"))


def _failed(us: Country, cl: Country) -> None:
    leaf = us.record(intent(1), REQUESTED).leaf.leaf_hash
    cl.record(accepted(1, leaf))
    cl.record(s.QueryFailed(**{k: getattr(answered(1), k) for k in _REPLY}, reason="internal"))
    _later(cl)


_REPLY = ("exchange_id", "requester", "responder", "agreement", "query_hash")


@pytest.mark.parametrize(
    ("build", "state"),
    [
        (_nothing_but_an_intent, "undelivered"),
        (_withheld, "withheld"),
        (_refused, "refused"),
        (_failed, "failed"),
    ],
)
def test_endings_that_blame_nobody(
    us: Country, cl: Country, build: Callable[[Country, Country], None], state: str
) -> None:
    build(us, cl)
    report = _reconcile(us, cl)
    assert report.ok, report.findings
    assert report.exchanges == {state: 1}


def _accept(us: Country, cl: Country) -> None:
    cl.record(accepted(1, us.record(intent(1), REQUESTED).leaf.leaf_hash))


def _unanswered(us: Country, cl: Country) -> None:
    _accept(us, cl)
    _later(cl)


def _no_result(us: Country, cl: Country) -> None:
    _accept(us, cl)
    cl.record(answered(1), COMPUTED)
    _later(us)


def _not_reported(us: Country, cl: Country) -> None:
    _accept(us, cl)
    cl.record(answered(1), COMPUTED)
    us.record(result(1))
    _later(cl)


def _no_intent(us: Country, cl: Country) -> None:
    cl.record(accepted(1, bytes(32)))


def _no_acceptance(us: Country, cl: Country) -> None:
    us.record(intent(1), REQUESTED)
    us.record(result(1))


def _no_answer_entry(us: Country, cl: Country) -> None:
    _accept(us, cl)
    us.record(result(1))


@pytest.mark.parametrize(
    ("build", "rule", "blame"),
    [
        (_unanswered, Rule.UNANSWERED, "CL"),
        (_no_result, Rule.UNREPORTED, "US"),
        (_not_reported, Rule.UNREPORTED, "US"),
        (_no_intent, Rule.MISSING_TWIN, "US"),
        (_no_acceptance, Rule.MISSING_TWIN, "CL"),
        (_no_answer_entry, Rule.MISSING_TWIN, "CL"),
    ],
)
def test_what_is_missing_and_whose_it_is(
    us: Country, cl: Country, build: Callable[[Country, Country], None], rule: Rule, blame: str
) -> None:
    build(us, cl)
    report = _reconcile(us, cl)
    assert not report.ok
    assert [(finding.rule, finding.blame) for finding in report.findings] == [(rule, blame)]


def test_deadlines_count_only_once_the_ledger_has_gone_past_them(us: Country, cl: Country) -> None:
    _accept(us, cl)
    assert _reconcile(us, cl).ok
    _later(us)
    assert _reconcile(us, cl).ok, "the other ledger simply ends before the deadline"
    _later(cl)
    assert not _reconcile(us, cl).ok


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"query_hash": OTHER}, "query_hash"),
        ({"ciphertext_hash": OTHER}, "ciphertext_hash"),
        ({"agreement": OTHER}, "agreement"),
        ({"purpose": "tourism"}, "purpose"),
        ({"person_category": "witness"}, "person_category"),
    ],
)
def test_differing_twins(us: Country, cl: Country, change: dict[str, object], names: str) -> None:
    leaf = us.record(intent(1), REQUESTED).leaf.leaf_hash
    cl.record(accepted(1, leaf, **change))
    report = _reconcile(us, cl)
    assert {finding.rule for finding in report.findings} == {Rule.DIFFERING_TWIN}
    assert any(finding.what.startswith(f"{names} differs") for finding in report.findings)


def test_an_acceptance_that_names_another_intent(us: Country, cl: Country) -> None:
    us.record(intent(1), REQUESTED)
    cl.record(accepted(1, OTHER))
    report = _reconcile(us, cl)
    assert [f.what.split(" ")[0] for f in report.findings] == ["intent_leaf"]


def test_a_claim_that_differs_from_the_result(us: Country, cl: Country) -> None:
    _accept(us, cl)
    cl.record(answered(1), COMPUTED)
    us.record(result(1))
    cl.record(claimed(1, outcome="no-hit", hits=0))
    words = [finding.what for finding in _reconcile(us, cl).findings]
    assert [w.split(" ")[0] for w in words] == ["outcome", "hits"]


def test_an_answer_that_differs(us: Country, cl: Country) -> None:
    _accept(us, cl)
    cl.record(answered(1, answer_hash=OTHER), COMPUTED)
    us.record(result(1, answer_hash=ANSWER))
    found = _reconcile(us, cl).findings
    assert [(f.rule, f.what.split(" ")[0]) for f in found] == [(Rule.DIFFERING_TWIN, "answer_hash")]


def test_an_exchange_with_a_country_that_is_not_there_is_no_finding(us: Country, cl: Country) -> None:
    us.record(intent(1, responder="CO"), REQUESTED)
    _later(us)
    report = _reconcile(us, cl)
    assert report.ok
    assert report.exchanges == {"other-country": 1}


def test_clocks_that_cannot_both_be_right(us: Country, cl: Country) -> None:
    us.now_ms += 2 * limits.CLOCK_SKEW
    _accept(us, cl)
    assert [f.rule for f in _reconcile(us, cl).findings] == [Rule.CLOCK_SKEW]


def test_one_side_sealed_to_the_auditor(us: Country, cl: Country) -> None:
    whole_exchange(us, cl, 1)
    report = reconcile({"US": us.audited(), "CL": cl.audited(key=None)})
    assert report.ok
    assert report.exchanges["paired-by-id"] >= 1
    assert any("CL" in words for words in report.unchecked)


def test_damage_in_one_ledger_fails_the_whole(us: Country, cl: Country) -> None:
    whole_exchange(us, cl, 1)
    cl.ledger.append(filler(1))
    report = _reconcile(us, cl)
    assert not report.ok
    assert report.ledgers["US"].ok
    assert not report.ledgers["CL"].ok
