"""What an audit shows of witnessing beside its findings: entries after the quorum, open outages, statistics."""

from __future__ import annotations

from pathlib import Path

from ledgers import AUDITOR, START_MS, Country, filler, open_country

from crypto.note import CosignatureSigner, add_signatures
from crypto.signing import SigningKey
from protocol import statements_witness as w
from protocol.audit.reader import MemoryReader
from protocol.audit.search import statistics
from protocol.audit.verify import LedgerInput, audit_ledger

WITNESS = CosignatureSigner("w.example", SigningKey.from_seed(b"\x08" * 32), 1)
NOTICED, DECIDED = w.Noticed(software="test"), w.Decided(operator="op", reason="because")


def _told(directory: Path) -> Country:
    us = open_country(directory, "US")

    def number() -> dict[str, object]:
        return {"exchange_id": us.ledger.size.to_bytes(16, "big"), "country": "US"}

    us.record(w.PeerSuspended(**number(), peer="CL", conflict=None), DECIDED)
    us.record(w.PeerResumed(**number(), peer="CL"), DECIDED)
    us.record(w.PeerSuspended(**number(), peer="CL", conflict=None), DECIDED)
    us.record(w.QuorumMissed(**number(), size=1, quorum="w"), NOTICED)
    us.record(w.QuorumMet(**number(), size=2, quorum="w"), NOTICED)
    us.record(w.QuorumMissed(**number(), size=3, quorum="w"), NOTICED)
    us.record(w.ClockStepped(**number(), before_ms=START_MS, after_ms=START_MS - 5_000), NOTICED)
    return us


def test_statistics_of_trust(tmp_path: Path) -> None:
    audited = audit_ledger(_told(tmp_path).audited())
    assert audited.report.ok
    assert statistics(audited)["trust"] == {
        "peers": {
            "CL": {"suspended": 2, "for_conflict": 0, "resumed": 1, "suspended_now": True, "successions": 0}
        },
        "quorum": {"missed": 2, "met": 1, "below_now": True},
        "clock": {"steps": 1, "largest_ms": 5_000},
        "succeeds": None,
        "after_quorum": None,
    }


def test_an_outage_that_never_ended_is_said(tmp_path: Path) -> None:
    report = audit_ledger(_told(tmp_path).audited()).report
    assert sum("Entry 6 says that the quorum is missed" in words for words in report.unchecked) == 1


def test_entries_after_the_quorum_are_counted(tmp_path: Path) -> None:
    us = open_country(tmp_path, "US")
    us.ledger.cosign(add_signatures(us.ledger.checkpoint(), [WITNESS]))
    policy = us.files()["policy"].replace(
        b"quorum none", f"witness w {WITNESS.verifier.vkey}\nquorum w".encode()
    )

    def audit() -> tuple[bool, int | None, tuple[str, ...]]:
        files = MemoryReader(us.files())
        report = audit_ledger(LedgerInput(files, policy, AUDITOR, statements=False)).report
        return report.ok, report.after_quorum, report.notices

    assert audit() == (True, 0, ())
    for number in range(3):
        us.ledger.append(filler(number))
    assert audit() == (True, 3, ("the quorum w cosigned 1 entries; 3 come after them",))
