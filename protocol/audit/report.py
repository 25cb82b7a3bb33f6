"""What an audit says: typed findings that name a rule and a place, and what could not be checked.

Source: specs/ledger.md, section "Findings".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from crypto.textforms import encode_base64

MAX_FINDINGS: Final = 1000
"""Beyond it findings are counted, not kept: a ledger of noise must not fill the auditor's memory."""


class Rule(StrEnum):
    """Every rule that a finding can name."""

    POLICY = "policy"
    VKEY = "vkey"
    CHECKPOINT_FORM = "checkpoint-form"
    CHECKPOINT_SIGNATURE = "checkpoint-signature"
    CHECKPOINT_QUORUM = "checkpoint-quorum"
    ROOT = "root"
    ROLLBACK = "rollback"
    FORK = "fork"
    MISSING_FILE = "missing-file"
    UNREADABLE_FILE = "unreadable-file"
    UNEXPECTED_FILE = "unexpected-file"
    BUNDLE_FORM = "bundle-form"
    TILE_FORM = "tile-form"
    ENTRY_HASH = "entry-hash"
    TILE_HASH = "tile-hash"
    SUPERSEDED_PARTIAL = "superseded-partial"
    ENTRY_FORM = "entry-form"
    DUPLICATE_ENTRY = "duplicate-entry"
    CLOCK_BACKWARD = "clock-backward"
    PAYLOAD_MISSING = "payload-missing"
    PAYLOAD_FORM = "payload-form"
    PAYLOAD_SEAL = "payload-seal"
    PAYLOAD_COMMITMENT = "payload-commitment"
    PAYLOAD_CLOSED = "payload-closed"
    FIRST_STATEMENT = "first-statement"
    FOREIGN_STATEMENT = "foreign-statement"
    REPEATED_STATEMENT = "repeated-statement"
    ORDER = "order"
    QUERY_CHANGED = "query-changed"
    ERASURE = "erasure"
    ERASED_EARLY = "erased-early"
    HOLD_BROKEN = "hold-broken"
    HOLD = "hold"
    MISSING_TWIN = "missing-twin"
    DIFFERING_TWIN = "differing-twin"
    UNANSWERED = "unanswered"
    UNREPORTED = "unreported"
    LATE_ANSWER = "late-answer"
    NOT_COVERED = "not-covered"
    QUOTA = "quota"
    CLOCK_SKEW = "clock-skew"
    PEER_CONFLICT = "peer-conflict"
    PEER_KEYS = "peer-keys"
    CONFLICT_FORM = "conflict-form"
    CONFLICT_MISSING = "conflict-missing"
    CONFLICT_REFUTED = "conflict-refuted"
    KEYS = "keys"
    CLAIM = "claim"
    PEER_ANSWER = "peer-answer"
    SEED = "seed"
    SUSPENSION = "suspension"
    SUCCESSION = "succession"
    QUORUM = "quorum"
    CLOCK_STEP = "clock-step"
    FILLER = "filler"


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it must be.

    Attributes:
        rule: Which rule.
        where: File, and tile, entry index or exchange where there is one.
        what: What is wrong, in words; never a payload's content.
        file: The file, where there is one.
        index: The entry's index in the ledger, where there is one.
        blame: The country whose duty was not met, where the rule says so.
    """

    rule: Rule
    where: str
    what: str
    file: str | None = None
    index: int | None = None
    blame: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``json.dumps``; unset fields are left out."""
        optional = {"file": self.file, "index": self.index, "blame": self.blame}
        return {"rule": self.rule.value, "where": self.where, "what": self.what} | {
            key: value for key, value in optional.items() if value is not None
        }


@dataclass
class Findings:
    """A bounded list of findings, and the plain words for what was not checked."""

    kept: list[Finding] = field(default_factory=list)
    dropped: int = 0
    unchecked: list[str] = field(default_factory=list)

    def add(
        self,
        rule: Rule,
        what: str,
        file: str | None = None,
        index: int | None = None,
        blame: str | None = None,
        where: str | None = None,
    ) -> None:
        """Keep a finding; the place is made of the file and the index unless it is given."""
        place = [file] if file else []
        place += [f"entry {index}"] if index is not None else []
        self.take([Finding(rule, where or ", ".join(place) or "ledger", what, file, index, blame)])

    def take(self, findings: Iterable[Finding]) -> None:
        """Keep findings made elsewhere."""
        for finding in findings:
            if len(self.kept) < MAX_FINDINGS:
                self.kept.append(finding)
            else:
                self.dropped += 1

    def note(self, words: str) -> None:
        """Say what was not checked, once."""
        if words not in self.unchecked:
            self.unchecked.append(words)


@dataclass(frozen=True)
class AuditReport:
    """The verdict on one ledger.

    Attributes:
        ok: No finding.
        origin: Name of the log, as far as it is known.
        size: Entries that the checkpoint covers, or that were found if there is no usable checkpoint.
        root: Root recomputed from the entries' bytes; None if not all could be read.
        findings: In the order found.
        dropped: Findings beyond the greatest number kept.
        unchecked: What was not checked, and why, in plain words.
        statements: How many statements of each type; empty without an auditor's key.
        notices: What broke no rule and is shown all the same: successions, suspensions, missed quorums, clock steps,
            silence under a stated cadence.
        after_quorum: Entries after the newest checkpoint that the policy's quorum cosigned; None without one.
    """

    ok: bool
    origin: str | None
    size: int
    root: bytes | None
    findings: tuple[Finding, ...]
    dropped: int = 0
    unchecked: tuple[str, ...] = ()
    statements: dict[str, int] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    after_quorum: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``json.dumps``; the root in base64 as in the checkpoint."""
        return {
            "ok": self.ok,
            "origin": self.origin,
            "size": self.size,
            "root": None if self.root is None else encode_base64(self.root),
            "findings": [finding.to_json() for finding in self.findings],
            "findings_dropped": self.dropped,
            "unchecked": list(self.unchecked),
            "statements": dict(sorted(self.statements.items())),
            "notices": list(self.notices),
            "after_quorum": self.after_quorum,
        }


@dataclass(frozen=True)
class ReconcileReport:
    """The verdict on several ledgers together.

    Attributes:
        ok: No finding, neither in a ledger by itself nor between them.
        ledgers: The report of each ledger, by the name given to it.
        findings: What does not fit between them.
        exchanges: How many exchanges are in each state.
        unchecked: What was not checked, and why, in plain words.
    """

    ok: bool
    ledgers: dict[str, AuditReport]
    findings: tuple[Finding, ...]
    exchanges: dict[str, int]
    unchecked: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``json.dumps``."""
        return {
            "ok": self.ok,
            "ledgers": {name: report.to_json() for name, report in self.ledgers.items()},
            "findings": [finding.to_json() for finding in self.findings],
            "exchanges": dict(sorted(self.exchanges.items())),
            "unchecked": list(self.unchecked),
        }
