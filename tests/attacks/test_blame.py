"""A dishonest requester uses one exchange id with two countries, so that one of them is blamed."""

from __future__ import annotations

from pathlib import Path

from ledgers import COMPUTED, REQUESTED, accepted, answered, intent, open_country

from protocol.audit.reconcile import reconcile


def test_one_id_with_two_countries_is_nobodys_fault_but_the_requesters(tmp_path: Path) -> None:
    cl, co = open_country(tmp_path / "cl", "CL"), open_country(tmp_path / "co", "CO")
    # US keeps a ledger of lies, and does not hand it over.
    us = open_country(tmp_path / "us", "US")
    leaf = us.record(intent(6), REQUESTED).leaf.leaf_hash
    for country in (cl, co):
        country.record(accepted(6, leaf, responder=country.code))
        country.record(answered(6, responder=country.code), COMPUTED)
    report = reconcile({one.code: one.audited() for one in (cl, co)})
    assert report.findings == ()
    assert report.ok
    assert report.exchanges == {"other-country": 2}
    # With it, what is missing is missing at US.
    report = reconcile({one.code: one.audited() for one in (cl, co, us)})
    assert [(one.rule.value, one.blame) for one in report.findings] == [("missing-twin", "US")]
