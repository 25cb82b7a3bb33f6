"""Searching a ledger, and its statistics: both are made anew from every entry, so both can say what they missed.

Source: specs/ledger.md, section "Search and statistics".
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from crypto.textforms import encode_base64
from protocol.audit.cadence import cadence_counts
from protocol.audit.claims import claim_counts
from protocol.audit.entries import Entry, country_of
from protocol.audit.registrations import key_counts
from protocol.audit.trust import trust_counts
from protocol.audit.verify import AuditedLedger
from protocol.leaf import exchange_in_leaf
from protocol.statement_parts import PrivatePart
from protocol.statements_records import FILLER, PayloadsErased


@dataclass(frozen=True)
class Criteria:
    """What is looked for; what is None does not matter. Times are milliseconds, the end is not included.

    Fillers say nothing, and are found only by their type.
    """

    exchange: bytes | None = None
    peer: str | None = None
    purpose: str | None = None
    kind: str | None = None
    from_ms: int | None = None
    until_ms: int | None = None

    def covers(self, entry: Entry, country: str | None, purposes: dict[bytes, str]) -> bool:
        """Whether an entry that could be opened is among what is looked for."""
        if self.exchange is not None and exchange_in_leaf(self.exchange) != entry.leaf.exchange:
            return False
        if self.from_ms is not None and entry.leaf.time_ms < self.from_ms:
            return False
        if self.until_ms is not None and entry.leaf.time_ms >= self.until_ms:
            return False
        kind = None if entry.shared is None else entry.shared.type
        if (self.kind or kind) != kind or (kind == FILLER and self.kind is None):
            return False
        if self.peer is not None and self.peer not in parties(entry, country):
            return False
        return self.purpose is None or purposes.get(entry.leaf.exchange) == self.purpose


def parties(entry: Entry, country: str | None) -> set[str]:
    """The other countries that a statement names."""
    named = {getattr(entry.shared, name, None) for name in ("requester", "responder", "peer")}
    return {str(one) for one in named if one is not None} - {country}


def search(ledger: AuditedLedger, criteria: Criteria) -> dict[str, Any]:
    """Every entry that matches, and whether there can be others.

    Returns:
        ``matches`` (index, time, and both parts), ``completeness``: over which root, how many entries were
        looked at, and which of them could not be read and why. It is derived from all entries of the ledger:
        ``complete`` says that each of them was read and that the audit found nothing.
    """
    country = country_of(ledger.entries)
    purposes = _purposes(ledger.entries)
    matches = [
        shown(entry) for entry in ledger.entries if entry.opened and criteria.covers(entry, country, purposes)
    ]
    return {"matches": matches, "completeness": completeness(ledger)}


def completeness(ledger: AuditedLedger) -> dict[str, Any]:
    """What a search or statistics rests on, and what it could not see."""
    report = ledger.report
    erased = erased_leaves(ledger.entries)
    unread: dict[str, list[int]] = {"erased": [], "sealed": [], "absent": []}
    for entry in ledger.entries:
        if entry.opened is None:
            why = "sealed" if not entry.absent else "erased" if entry.leaf.leaf_hash in erased else "absent"
            unread[why].append(entry.index)
    damaged = sorted(set(range(report.size)) - {entry.index for entry in ledger.entries})[:1000]
    complete = report.ok and not damaged and not any(unread.values())
    return {
        "complete": complete,
        "how": "derived from all entries, recomputed from their bytes up to the root",
        "size": report.size,
        "root": None if report.root is None else encode_base64(report.root),
        "read": sum(entry.opened is not None for entry in ledger.entries),
        "unread": {why: indexes for why, indexes in unread.items() if indexes}
        | ({"damaged": damaged} if damaged else {}),
        "findings": len(report.findings) + report.dropped,
    }


def erased_leaves(entries: Sequence[Entry]) -> set[bytes]:
    """Leaf hashes that statements of this ledger say were erased."""
    said = (entry.shared for entry in entries if isinstance(entry.shared, PayloadsErased))
    return {leaf for statement in said for leaf in statement.leaves}


def shown(entry: Entry) -> dict[str, Any]:
    """An entry in plain values: hashes in hex, time in ISO 8601."""
    return {
        "index": entry.index,
        "time": time_text(entry.leaf.time_ms),
        "leaf": entry.leaf.leaf_hash.hex(),
        "shared": None if entry.shared is None else plain(entry.shared.model_dump()),
        "private": None if entry.private is None else plain(visible_part(entry.private)),
    }


def visible_part(part: PrivatePart) -> dict[str, Any]:
    """A private part without what no command shows, such as the secret of a key."""
    return {
        name: f"{len(value)} bytes, not shown" if name in part.HIDDEN else value
        for name, value in part.model_dump().items()
    }


def plain(value: Any) -> Any:
    """Bytes as hex, all the way down."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def time_text(time_ms: int) -> str:
    """ISO 8601, UTC, milliseconds."""
    seconds, rest = divmod(time_ms, 1000)
    return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%dT%H:%M:%S}.{rest:03}Z"


def _purposes(entries: Sequence[Entry]) -> dict[bytes, str]:
    """The purpose of each exchange; answers and results do not repeat it."""
    return {
        entry.leaf.exchange: str(getattr(entry.shared, "purpose"))  # noqa: B009
        for entry in entries
        if hasattr(entry.shared, "purpose")
    }


def statistics(ledger: AuditedLedger) -> dict[str, Any]:
    """The counts that a report on an exchange of this kind asks for, made anew from the entries.

    Returns:
        ``rows``, one for each month (UTC, of the first entry), direction (``asked`` or ``answered``), peer,
        modality and purpose; ``totals`` over all rows; ``statements`` by type, and apart from them ``fillers``;
        ``cadence`` as of ``cadence_counts``; ``keys`` as of ``key_counts``; ``trust`` as of ``trust_counts``, with
        ``after_quorum`` of the report; ``completeness`` as of ``search``.
    """
    country = country_of(ledger.entries)
    exchanges: dict[bytes, list[Entry]] = {}
    for entry in ledger.entries:
        if entry.shared is not None and entry.shared.type.startswith(("query.", "claim.")):
            exchanges.setdefault(entry.leaf.exchange, []).append(entry)
    rows: dict[tuple[str, ...], Counter[str]] = {}
    totals: Counter[str] = Counter()
    for entries in exchanges.values():
        place, counts = _counted(entries, country)
        rows.setdefault(place, Counter()).update(counts)
        totals.update(counts)
    names = ("month", "direction", "peer", "modality", "purpose")
    return {
        "country": country,
        "rows": [{**dict(zip(names, place, strict=True)), **_spread(rows[place])} for place in sorted(rows)],
        "totals": _spread(totals),
        "statements": {
            kind: count for kind, count in sorted(ledger.report.statements.items()) if kind != FILLER
        },
        "fillers": ledger.report.statements.get(FILLER, 0),
        "cadence": cadence_counts(ledger.entries),
        "keys": key_counts(ledger.entries, country),
        "trust": trust_counts(ledger.entries) | {"after_quorum": ledger.report.after_quorum},
        "completeness": completeness(ledger),
    }


def _counted(entries: Sequence[Entry], country: str | None) -> tuple[tuple[str, ...], Counter[str]]:
    by_kind: dict[str, Any] = {entry.shared.type: entry.shared for entry in entries if entry.shared}
    any_one = next(iter(by_kind.values()))
    direction = "asked" if any_one.requester == country else "answered"
    peer = any_one.responder if direction == "asked" else any_one.requester
    asked = next((one for one in by_kind.values() if hasattr(one, "purpose")), None)
    place = (
        time_text(min(entry.leaf.time_ms for entry in entries))[:7],
        direction,
        peer,
        getattr(asked, "modality", "unknown"),
        getattr(asked, "purpose", "unknown"),
    )
    counts = Counter({"queries": 1})
    counts.update({name: 1 for name in ("withheld", "accepted", "answered") if f"query.{name}" in by_kind})
    for kind, name in (
        ("query.withheld", "withheld"),
        ("query.refused", "refused"),
        ("query.failed", "failed"),
    ):
        if kind in by_kind:
            counts[f"{name}:{by_kind[kind].reason}"] += 1
    outcome = by_kind.get("query.result") or by_kind.get("query.claimed")
    if outcome is not None:
        if outcome.outcome in ("hit", "no-hit"):
            counts[f"with_{outcome.outcome.replace('-', '_')}"] += 1
            counts["hits"] += outcome.hits
        elif direction == "asked":
            counts[f"{outcome.outcome}:{outcome.reason}"] += 1
    counts.update(claim_counts(entries))
    compared = by_kind.get("query.confirmed")
    if compared is not None:
        counts["matches" if compared.confirmed else "disproved_matches"] += 1
    return place, counts


_COUNTS = (
    "queries",
    "accepted",
    "answered",
    "with_hit",
    "with_no_hit",
    "hits",
    "claims_sent",
    "claims_failed",
    "claims_accepted",
    "claims_refused",
    "confirmed_hits",
    "matches",
    "disproved_matches",
)


def _spread(counts: Counter[str]) -> dict[str, Any]:
    """Every count, and those with a reason by reason."""
    spread: dict[str, Any] = {name: counts[name] for name in _COUNTS}
    for name in ("withheld", "refused", "failed"):
        reasons = {
            key.partition(":")[2]: n for key, n in sorted(counts.items()) if key.startswith(f"{name}:")
        }
        spread[name] = reasons
    return spread
