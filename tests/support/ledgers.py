"""Ledgers for tests: two countries that log a whole exchange, with deterministic salts and times."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faulty_files import QuickFiles

from crypto.sealing import public_key
from node.files import Files
from node.journal import Journal, Recorded
from node.ledger_store import LedgerStore
from protocol import statements as s
from protocol.audit.reader import MemoryReader
from protocol.audit.verify import LedgerInput
from protocol.leaf import Leaf
from protocol.statement_parts import NoPrivatePart, PrivatePart, SharedPart

AUDITOR = hashlib.sha256(b"auditor").digest()
START_MS = 1_750_000_000_000
AGREEMENT, QUERY, CIPHERTEXT, ANSWER = (bytes([n]) * 32 for n in range(1, 5))


def counter_random(seed: str) -> Callable[[int], bytes]:
    """A deterministic source of bytes, different on every call."""
    calls = 0

    def random(count: int) -> bytes:
        nonlocal calls
        calls += 1
        return hashlib.shake_256(f"{seed}/{calls}".encode()).digest(count)

    return random


def exchange_id(number: int) -> bytes:
    """A 16-byte exchange id."""
    return number.to_bytes(16, "big")


def filler(number: int) -> bytes:
    """The bytes of a well-formed leaf whose payload nobody has."""
    digest = hashlib.sha256(b"filler %d" % number).digest()
    return Leaf(exchange=digest, time_ms=START_MS, commitment=digest[::-1]).to_bytes()


@dataclass
class Country:
    """One country's open ledger and journal."""

    code: str
    directory: Path
    ledger: LedgerStore
    journal: Journal
    now_ms: int = START_MS

    def record(self, shared: SharedPart, private: PrivatePart | None = None) -> Recorded:
        """Log a statement a second after the one before."""
        self.now_ms += 1000
        return self.journal.record(s.Statement(shared, private or NoPrivatePart()), self.now_ms)

    def files(self) -> dict[str, bytes]:
        """Every file of the ledger, by relative path."""
        return snapshot(self.directory)

    def audited(self, key: bytes | None = AUDITOR, **changes: Any) -> LedgerInput:
        """This ledger as an auditor gets it."""
        return LedgerInput(MemoryReader(self.files()), self.files()["policy"], key, **changes)


def open_ledger(directory: Path, code: str, files: Files | None = None) -> LedgerStore:
    """Open (or begin) the ledger of a country, without a journal."""
    seed = hashlib.sha256(f"ledger key of {code}".encode()).digest()
    return LedgerStore.open(directory, f"{code.lower()}.example/ledger", seed, files or QuickFiles())


def open_country(
    directory: Path, code: str, files: Files | None = None, ledger: LedgerStore | None = None
) -> Country:
    """Open (or begin) the ledger of a country, unless it is open; its first entry says whose it is."""
    files = files or QuickFiles()
    ledger = ledger or open_ledger(directory, code, files)
    storage_key = hashlib.sha256(f"storage key of {code}".encode()).digest()
    random = counter_random(f"{code}/{ledger.size}")
    journal = Journal(ledger, storage_key, [public_key(AUDITOR)], files, random)
    country = Country(code, directory, ledger, journal)
    country.record(
        s.NodeInitialised(
            exchange_id=exchange_id(0), country=code, identity_key=bytes(32), origin=ledger.verifier.name
        ),
        s.Installed(authority=f"Police of {code}", software="concordat 0.1.0"),
    )
    return country


def snapshot(directory: Path) -> dict[str, bytes]:
    """Every file below a directory, by relative path."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def asked(number: int, **changes: Any) -> dict[str, Any]:
    """The fields that both sides state about a query of US to CL."""
    return {
        "exchange_id": exchange_id(number),
        "requester": "US",
        "responder": "CL",
        "agreement": AGREEMENT,
        "query_hash": QUERY,
        "purpose": "border-control",
        "legal_basis": "agreement-article-4",
        "offence": "trafficking",
        "person_category": "suspect",
        "modality": "face",
        "authority": "CBP",
    } | changes


def reply(number: int, **changes: Any) -> dict[str, Any]:
    """The fields that replies to such a query have in common."""
    wanted = ("exchange_id", "requester", "responder", "agreement", "query_hash")
    return {key: value for key, value in asked(number).items() if key in wanted} | changes


REQUESTED = s.Requested(officer="officer-7", approver="judge-3", case_reference="case-2025-11")
COMPUTED = s.Computed(records=12, compute_ms=900)
HIT: dict[str, Any] = {"answer_hash": ANSWER, "outcome": "hit", "hits": 1, "reason": None}


def intent(number: int, **changes: Any) -> s.QueryIntent:
    """A's intent."""
    extra = {"ciphertext_hash": CIPHERTEXT, "profile": bytes(32), "plan": bytes(32), "gallery": "main"}
    return s.QueryIntent(**(asked(number) | extra | changes))


def accepted(number: int, intent_leaf: bytes, **changes: Any) -> s.QueryAccepted:
    """B's acceptance."""
    fields = {"ciphertext_hash": CIPHERTEXT, "intent_leaf": intent_leaf}
    return s.QueryAccepted(**(asked(number) | fields | changes))


def answered(number: int, **changes: Any) -> s.QueryAnswered:
    """B's answer."""
    fields = {
        "answer_hash": ANSWER,
        "blocks": 1,
        "gallery_commitment": bytes(32),
        "seed_commitment": bytes(32),
    }
    return s.QueryAnswered(**(reply(number) | fields | changes))


def result(number: int, **changes: Any) -> s.QueryResult:
    """A's result."""
    return s.QueryResult(**(reply(number) | HIT | changes))


def claimed(number: int, **changes: Any) -> s.QueryClaimed:
    """B's record of A's result."""
    return s.QueryClaimed(**(reply(number) | HIT | {"report_hash": bytes(32)} | changes))


def whole_exchange(us: Country, cl: Country, number: int) -> None:
    """A query of US to CL from intent to claim."""
    asked_for = us.record(intent(number), REQUESTED)
    cl.record(accepted(number, asked_for.leaf.leaf_hash))
    cl.record(answered(number), COMPUTED)
    us.record(result(number))
    cl.record(claimed(number))
