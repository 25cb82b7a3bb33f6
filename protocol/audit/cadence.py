"""Whether a ledger that promises to grow at fixed times has fallen silent, and where.

A node that is not served keeps no cadence, so silence breaks no rule: it is shown, with its place, and the auditor
asks. What it shows for certain is that the sizes seen by peers around it said more than the cadence is there to hide.

Source: specs/ledger.md, section "Cadence".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from protocol import limits
from protocol.audit.entries import Entry
from protocol.statements_records import CadenceStated
from protocol.statements_witness import ClockStepped

WINDOWS: Final = 2
"""A window without any entry may follow one whose entries all came early; two in a row do not follow each other."""
GRACE_MS: Final = limits.CLOCK_SKEW


@dataclass(frozen=True, slots=True)
class Silence:
    """A stretch without any entry, longer than the cadence in force allows."""

    after: int
    from_ms: int
    to_ms: int

    @property
    def length_ms(self) -> int:
        """How long it was."""
        return self.to_ms - self.from_ms


@dataclass(frozen=True)
class Kept:
    """One statement of a cadence, and what became of it up to the next."""

    index: int
    stated: CadenceStated
    silences: tuple[Silence, ...]


def cadences(entries: Sequence[Entry]) -> list[Kept]:
    """Every cadence that the ledger states, with the stretches in which nothing was entered.

    Nothing is concluded across an entry that is missing, nor from what a clock shows that was set back.
    """
    found: list[tuple[Entry, CadenceStated, list[Silence]]] = []
    before: Entry | None = None
    for entry in entries:
        if before is not None and found and entry.index == before.index + 1:
            _, stated, silences = found[-1]
            silence = Silence(before.index, before.leaf.time_ms, entry.leaf.time_ms)
            allowed = WINDOWS * stated.seconds * 1000 + GRACE_MS
            if stated.seconds and silence.length_ms > allowed:
                silences.append(silence)
        if isinstance(entry.shared, CadenceStated):
            found.append((entry, entry.shared, []))
        # Lanes may enter out of order by a little; only a step back of the clock makes time begin anew.
        late = before is not None and entry.leaf.time_ms < before.leaf.time_ms
        if before is None or not late or isinstance(entry.shared, ClockStepped):
            before = entry
        else:
            before = Entry(entry.index, before.leaf)
    return [Kept(entry.index, stated, tuple(silences)) for entry, stated, silences in found]


def cadence_notices(entries: Sequence[Entry]) -> list[str]:
    """One line for each stated cadence with silence: how often, how long, and the longest by name."""
    lines = []
    for kept in cadences(entries):
        if not kept.silences:
            continue
        longest = max(kept.silences, key=lambda one: one.length_ms)
        total_s = sum(one.length_ms for one in kept.silences) // 1000
        lines.append(
            f"the cadence stated by entry {kept.index} ({kept.stated.entries} entries every {kept.stated.seconds} s) "
            f"was not kept in {len(kept.silences)} stretch(es) without any entry, {total_s} s in all; the longest is "
            f"of {longest.length_ms // 1000} s, from entry {longest.after} at {_time(longest.from_ms)} to the next "
            f"at {_time(longest.to_ms)}: was the node not served then?"
        )
    return lines


def cadence_counts(entries: Sequence[Entry]) -> dict[str, Any]:
    """The statistics of the cadence.

    Returns:
        ``seconds`` and ``entries`` of the one in force at the last entry (None if none is stated), ``silences``,
        ``silent_ms`` and ``longest_ms`` over all that were stated.
    """
    stated = cadences(entries)
    lengths = [one.length_ms for kept in stated for one in kept.silences]
    last = stated[-1].stated if stated else None
    return {
        "seconds": None if last is None else last.seconds,
        "entries": None if last is None else last.entries,
        "silences": len(lengths),
        "silent_ms": sum(lengths),
        "longest_ms": max(lengths, default=0),
    }


def _time(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
