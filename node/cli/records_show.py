"""What was logged, printed for people."""

from __future__ import annotations

from typing import Any

from node.cli.common import say


def show_opened(one: dict[str, Any]) -> None:
    """One entry."""
    say(f"entry {one['index']}, {one['time']}; its commitment holds; read as entry {one['reading']}")
    for part in ("shared", "private"):
        for name, value in one[part].items():
            say(f"   {name}: {value}")


def show_found(result: dict[str, Any]) -> None:
    """What a search found."""
    for one in result["matches"]:
        say(f"{one['index']:8} {one['time']} {one['shared']['type']} {one['shared']['exchange_id']}")
    _show_completeness(result["completeness"])


def _show_completeness(known: dict[str, Any]) -> None:
    verdict = "complete" if known["complete"] else "NOT COMPLETE"
    say(f"{verdict}: {known['read']} of {known['size']} entries read; {known['how']} {known['root']}")
    for why, indexes in known["unread"].items():
        say(f"   {why}: {len(indexes)} entries")
    if known["findings"]:
        say(f"   {known['findings']} finding(s): see concordat audit verify")


def _show_trust(trust: dict[str, Any]) -> None:
    for country, counts in trust["peers"].items():
        now = ", suspended now" if counts["suspended_now"] else ""
        say(
            f"{country}: suspended {counts['suspended']} (for a conflict {counts['for_conflict']}), "
            f"resumed {counts['resumed']}, successions {counts['successions']}{now}"
        )
    quorum, clock, succeeds = trust["quorum"], trust["clock"], trust["succeeds"]
    if quorum["missed"]:
        now = ", below it now" if quorum["below_now"] else ""
        say(f"quorum: missed {quorum['missed']}, met again {quorum['met']}{now}")
    if trust["after_quorum"] is not None:
        say(f"entries after the quorum's last checkpoint: {trust['after_quorum']}")
    if clock["steps"]:
        say(f"clock: {clock['steps']} steps back, at most {clock['largest_ms']} ms")
    if succeeds is not None:
        say(
            f"succeeds {succeeds['origin']} of {succeeds['size']} entries, of which {succeeds['lost']} were lost"
        )


def show_statistics(result: dict[str, Any]) -> None:
    """The statistics of a ledger."""
    for row in result["rows"]:
        place = " ".join(row[name] for name in ("month", "direction", "peer", "modality", "purpose"))
        counts = ", ".join(
            f"{value} {name}" for name, value in row.items() if isinstance(value, int) and value
        )
        reasons = "".join(f", {name} {row[name]}" for name in ("withheld", "refused", "failed") if row[name])
        say(f"{place}: {counts}{reasons}")
    if result["fillers"]:
        say(f"{result['fillers']} fillers, which say nothing")
    for country, counts in result["keys"].items():
        said = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        say(f"keys with {country}: {said}")
    _show_trust(result["trust"])
    _show_completeness(result["completeness"])
