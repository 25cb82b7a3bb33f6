"""Retention: an absent payload must have been erased by rule, by a statement that names it, and under no hold.

Source: specs/ledger.md, section "Retention".
"""

from __future__ import annotations

from collections.abc import Sequence

from protocol import limits
from protocol.audit.entries import Entry, country_of
from protocol.audit.report import Findings, Rule
from protocol.payload import payload_path
from protocol.statements_records import HoldPlaced, HoldReleased, PayloadsErased


def check_retention(entries: Sequence[Entry], findings: Findings) -> None:
    """Holds and erasures in the order of the ledger, then the payloads that nothing explains the absence of."""
    country = country_of(entries)
    by_leaf = {entry.leaf.leaf_hash: entry for entry in entries}
    erased: set[bytes] = set()
    holds: dict[bytes, dict[bytes, int]] = {}
    for entry in entries:
        shared = entry.shared
        if isinstance(shared, HoldPlaced):
            holds.setdefault(shared.exchange, {})[entry.leaf.leaf_hash] = entry.index
        elif isinstance(shared, HoldReleased):
            if holds.get(shared.exchange, {}).pop(shared.placed, None) is None:
                what = "releases a hold that is not in force"
                findings.add(Rule.HOLD, what, index=entry.index, blame=country)
        elif isinstance(shared, PayloadsErased):
            erased.update(shared.leaves)
            for leaf_hash in shared.leaves:
                _check_kept(entry, by_leaf.get(leaf_hash), country, findings)
                _check_erased(entry, shared, by_leaf.get(leaf_hash), holds, country, findings)
    last_closed = max((entry.index for entry in entries if entry.closed), default=-1)
    for entry in entries:
        if entry.absent and entry.leaf.leaf_hash not in erased:
            if entry.index < last_closed:
                findings.note(
                    "Some payloads are gone, and what could say that they were erased is sealed to others."
                )
                continue
            path = payload_path(entry.leaf.leaf_hash)
            what = "the entry has no payload, and no statement says that it was erased"
            findings.add(Rule.PAYLOAD_MISSING, what, path, entry.index)


def _check_kept(by: Entry, gone: Entry | None, country: str | None, findings: Findings) -> None:
    """The first entry says whose ledger it is, and what it succeeds: of the others only their payloads knew."""
    if gone is not None and gone.index == 0:
        what = f"entry {by.index} says that the payload of the first entry was erased, which is kept for ever"
        findings.add(Rule.ERASURE, what, index=by.index, blame=country)


def _check_erased(
    by: Entry,
    statement: PayloadsErased,
    gone: Entry | None,
    holds: dict[bytes, dict[bytes, int]],
    country: str | None,
    findings: Findings,
) -> None:
    if gone is None or gone.index >= by.index:
        what = "says that a payload was erased whose entry is not before it on this ledger"
        findings.add(Rule.ERASURE, what, index=by.index, blame=country)
        return
    if not gone.absent:
        what = f"was erased by entry {by.index}, but is still there"
        findings.add(Rule.ERASURE, what, payload_path(gone.leaf.leaf_hash), gone.index, blame=country)
    if gone.leaf.time_ms + statement.retention_days * limits.DAY > by.leaf.time_ms:
        what = f"erased by entry {by.index} before the end of its {statement.retention_days} days"
        findings.add(Rule.ERASED_EARLY, what, index=gone.index, blame=country)
    in_force = holds.get(gone.leaf.exchange)
    if in_force:
        what = f"erased by entry {by.index} under the hold of entry {min(in_force.values())}"
        findings.add(Rule.HOLD_BROKEN, what, index=gone.index, blame=country)
