"""Operators who write their own ledger, and want an audit to stop, or to say that all is well."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pytest
from ledgers import (
    AUDITOR,
    REQUESTED,
    START_MS,
    Country,
    asked,
    exchange_id,
    intent,
    open_country,
    result,
)

from crypto.sealing import public_key
from node import records
from node.core import NodeCore
from node.journal import Journal
from node.setup import create_node
from protocol import limits
from protocol import statements as s
from protocol import statements_records as r
from protocol import statements_witness as w
from protocol.audit.reader import MemoryReader
from protocol.audit.report import AuditReport, Rule
from protocol.audit.search import Criteria, search, statistics
from protocol.audit.verify import LedgerInput, audit_ledger
from protocol.leaf import Leaf
from protocol.payload import payload_path
from protocol.statement_parts import NoPrivatePart, Operated, SharedPart

NOTICED, OPERATED = w.Noticed(software="test"), Operated(operator="op")
YEAR_10000_MS = 253_402_300_800_000


@pytest.fixture
def us(tmp_path: Path) -> Country:
    return open_country(tmp_path / "us", "US")


def audit(country: Country, *gone: int) -> AuditReport:
    """Of the ledger's files without the payloads of some entries."""
    files = country.files()
    for index in gone:
        del files[payload_path(country.journal.leaf(index).leaf_hash)]
    return audit_ledger(LedgerInput(MemoryReader(files), files["policy"], AUDITOR)).report


def rules(report: AuditReport) -> list[tuple[Rule, int | None]]:
    return [(one.rule, one.index) for one in report.findings]


@pytest.mark.parametrize("time_ms", [YEAR_10000_MS, 2**48 - 1, 2**64 - 1])
def test_no_time_stops_an_audit(us: Country, time_ms: int) -> None:
    """A leaf is written byte by byte: what no clock shows is not a leaf, and no tool has to show it."""
    digest = hashlib.sha256(b"far away").digest()
    entry = Leaf(exchange=digest, time_ms=START_MS, commitment=digest).to_bytes()
    us.ledger.append(entry.replace(START_MS.to_bytes(8, "big"), time_ms.to_bytes(8, "big")))
    assert rules(audit(us)) == [(Rule.ENTRY_FORM, 1)]


def test_the_last_time_of_all_is_shown(us: Country) -> None:
    """A statement with a time in a notice, in a search and in statistics."""
    us.now_ms = YEAR_10000_MS - 1001
    us.record(
        w.ClockStepped(exchange_id=exchange_id(1), country="US", before_ms=START_MS + 1, after_ms=START_MS),
        NOTICED,
    )
    us.journal.record(s.Statement(intent(2), REQUESTED), us.now_ms)
    audited = audit_ledger(us.audited())
    assert audited.report.ok
    assert "9999-12-31" in audited.report.notices[0]
    assert search(audited, Criteria())["matches"][2]["time"] == "9999-12-31T23:59:59.999Z"
    assert statistics(audited)["rows"][0]["month"] == "9999-12"


def erased(*leaves: bytes, number: int = 90, days: int = 1) -> r.PayloadsErased:
    return r.PayloadsErased(
        exchange_id=exchange_id(number),
        country="US",
        leaves=list(leaves),
        legal_basis="article-4",
        retention_days=days,
    )


def test_the_first_entry_is_not_erased(us: Country) -> None:
    """It says whose ledger this is, and what it goes on from, for ever."""
    us.now_ms += 2 * limits.DAY
    us.record(erased(us.journal.leaf(0).leaf_hash), OPERATED)
    assert (Rule.ERASURE, 1) in rules(audit(us, 0))


def test_what_has_no_legal_basis_is_never_erased_with_an_exchange(tmp_path: Path) -> None:
    """A peer knows the id under which its acceptance will be logged, and may ask under that id before."""
    create_node(
        tmp_path / "node",
        country="CL",
        authority="PDI",
        endpoint="https://cl.example:8443",
        listen="https://127.0.0.1:8443",
        auditors=[],
        unlock_file=None,
        workers=1,
        memory_mib=64,
    )
    with (tmp_path / "node" / "node.toml").open("a") as file:
        file.write("agreement-article-4 = 30\n")
    now = START_MS
    digest = hashlib.sha256(b"the next descriptor").digest()
    with NodeCore.open(tmp_path / "node", clock=lambda: now) as core:
        same_id = core.own_exchange("peer.accepted", digest)
        refused = s.QueryRefused(**asked(1, exchange_id=same_id), reason="agreement-unknown")
        asked_at = core.record(refused, NoPrivatePart()).index
        accepted = s.PeerAccepted(exchange_id=same_id, country="CL", peer="US", descriptor=digest)
        accepted_at = core.record(accepted, OPERATED).index
        now += 31 * limits.DAY
        assert records.erase(core, "op", really=True)["erased"] == 1
        assert core.journal.open(asked_at) is None
        kept = core.journal.open(accepted_at)
        assert kept is not None
        assert kept.shared == accepted


@dataclass
class Hidden:
    """A ledger on which some entries between others are sealed to nobody outside the node."""

    country: Country

    def record(self, *statements: SharedPart, sealed_to: list[bytes]) -> None:
        us = self.country
        key = hashlib.sha256(b"storage key of US").digest()
        us.journal = Journal(us.ledger, key, sealed_to)
        for one in statements:
            us.record(one, REQUESTED if isinstance(one, s.QueryIntent) else None)


def test_an_entry_between_others_is_not_sealed_away_from_the_auditor(us: Country) -> None:
    """An auditor is named or not; who takes the key out for one query and puts it back hides that query."""
    hidden, key = Hidden(us), public_key(AUDITOR)
    hidden.record(intent(1), result(1), sealed_to=[key])
    hidden.record(intent(2), result(2), sealed_to=[])
    hidden.record(intent(3), sealed_to=[key])
    report = audit(us)
    assert rules(report) == [(Rule.PAYLOAD_CLOSED, 3)]
    assert "entries 3 to 4" in report.findings[0].what


def test_what_came_before_the_auditor_or_after_is_no_finding(us: Country) -> None:
    hidden, key = Hidden(us), public_key(AUDITOR)
    hidden.record(intent(1), sealed_to=[key])
    hidden.record(intent(2), result(2), sealed_to=[])
    assert rules(audit(us)) == []
    assert any("not sealed to this auditor" in words for words in audit(us).unchecked)


def test_an_entry_sealed_to_others_does_not_excuse_a_payload_that_is_gone(us: Country) -> None:
    hidden, key = Hidden(us), public_key(AUDITOR)
    hidden.record(intent(1), intent(2), sealed_to=[key])
    hidden.record(intent(3), sealed_to=[])
    hidden.record(intent(4), sealed_to=[key])
    assert not audit(us, 2).ok
