"""Whether what a ledger says of trust can be so: suspensions, quorums, clock steps and successions in their order.

Source: specs/ledger.md, section "Rules of witnessing".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from crypto.contexts import Context, hash_fields
from crypto.errors import ConcordatError
from crypto.note import parse_note
from protocol.audit.entries import Entry, country_of
from protocol.audit.predecessor import check_successor
from protocol.audit.reader import LedgerReader, read_file
from protocol.audit.report import Findings, Rule
from protocol.audit.tree import Tree
from protocol.checkpoint import Checkpoint
from protocol.log_policy import LogPolicy
from protocol.statements import QueryAccepted, QueryAnswered
from protocol.statements_witness import (
    ClockStepped,
    LedgerSucceeded,
    PeerResumed,
    PeerSuspended,
    QuorumMet,
    QuorumMissed,
    SuccessionAccepted,
)
from protocol.succession import MAX_SUCCESSION_BYTES

SUCCESSIONS: Final = "successions"


def check_trust(
    reader: LedgerReader,
    entries: Sequence[Entry],
    tree: Tree,
    policy: LogPolicy,
    of_before: Sequence[tuple[str, Checkpoint]],
    findings: Findings,
) -> None:
    """The rules within one ledger.

    Args:
        reader: The ledger's files.
        entries: In the order of the tree.
        tree: What could be read; nothing is concluded from an absence unless it was everything.
        policy: The auditor's: whose ledger it is, and so which keys the one before had.
        of_before: Checkpoints of the ledger before that others hold, with who holds each.
        findings: What is broken is added here.
    """
    country = country_of(entries)
    # What another needs may be in an entry that was not opened.
    all_read = tree.whole and all(entry.shared is not None for entry in entries)
    _check_states(entries, all_read, country, findings)
    _check_steps(entries, country, findings)
    check_successor(reader, entries, tree, policy, of_before, country, findings)
    _check_accepted(reader, entries, country, findings)


def _check_states(entries: Sequence[Entry], all_read: bool, country: str | None, findings: Findings) -> None:
    """What ends must have begun; what never ended is said."""
    suspended: set[str] = set()
    missed: int | None = None
    # A successor does not repeat what the ledger before has left open.
    inherits = any(isinstance(entry.shared, LedgerSucceeded) for entry in entries)
    for entry in entries:
        match entry.shared:
            case PeerSuspended() as said:
                suspended.add(said.peer)
            case PeerResumed() as said:
                if said.peer not in suspended and all_read and not inherits:
                    what = f"takes up exchanges with {said.peer}, which no entry before it has suspended"
                    findings.add(Rule.SUSPENSION, what, index=entry.index, blame=country)
                suspended.discard(said.peer)
            case QueryAccepted() | QueryAnswered() as said:
                # Also where the end of a suspension may be in an entry that was not read, nothing is concluded.
                if said.requester in suspended and all_read:
                    what = f"a {said.type} for {said.requester}, with which exchanges are suspended at that entry"
                    findings.add(Rule.SUSPENSION, what, index=entry.index, blame=country)
            case QuorumMissed() as said:
                _check_size(entry, said.size, country, findings)
                missed = entry.index if missed is None else missed
            case QuorumMet() as said:
                _check_size(entry, said.size, country, findings)
                if missed is None and all_read:
                    what = f"the quorum {said.quorum} is met again, and no entry before it says that it was missed"
                    findings.add(Rule.QUORUM, what, index=entry.index, blame=country)
                missed = None
            case _:
                pass
    if missed is not None:
        findings.note(
            f"Entry {missed} says that the quorum is missed, and none after it that it is met again: "
            "what was sent since then may have had too few witnesses."
        )


def _check_size(entry: Entry, size: int, country: str | None, findings: Findings) -> None:
    if size > entry.index:
        what = f"speaks of {size} entries, there are {entry.index} before it"
        findings.add(Rule.QUORUM, what, index=entry.index, blame=country)


def _check_steps(entries: Sequence[Entry], country: str | None, findings: Findings) -> None:
    for entry in entries:
        shared = entry.shared
        if isinstance(shared, ClockStepped) and shared.after_ms >= shared.before_ms:
            what = f"a step back of the clock that went forward by {shared.after_ms - shared.before_ms} ms"
            findings.add(Rule.CLOCK_STEP, what, index=entry.index, blame=country)


def _check_accepted(
    reader: LedgerReader, entries: Sequence[Entry], country: str | None, findings: Findings
) -> None:
    """Acceptances of one peer form a chain, and each has its document."""
    newest: dict[str, str] = {}
    for entry in entries:
        said = entry.shared
        if not isinstance(said, SuccessionAccepted):
            continue
        if (
            said.previous_origin == said.origin
            or newest.get(said.peer, said.previous_origin) != said.previous_origin
        ):
            what = f"{said.origin} goes on after {said.previous_origin}, "
            what += f"but the ledger of {said.peer} was {newest.get(said.peer, said.origin)}"
            findings.add(Rule.SUCCESSION, what, index=entry.index, blame=country)
        newest[said.peer] = said.origin
        path = f"{SUCCESSIONS}/{said.peer}-{said.succession.hex()}"
        data = read_file(reader, path, MAX_SUCCESSION_BYTES, findings)
        if data is None:
            findings.note("The document of an accepted succession is not here; it was not checked.")
            continue
        try:
            digest = hash_fields(Context.SUCCESSION, parse_note(data).text)
        except ConcordatError as error:
            findings.add(Rule.SUCCESSION, str(error), path)
            continue
        if digest != said.succession:
            findings.add(Rule.SUCCESSION, "the document has another digest than its name", path)


def check_successions(ledgers: Mapping[str, Sequence[Entry]], findings: Findings) -> None:
    """What a peer accepted must be what the successor's own first entry says."""
    begun = {
        (entries[0].shared.country, entries[0].shared.origin): entries[0].shared
        for entries in ledgers.values()
        if entries and entries[0].index == 0 and isinstance(entries[0].shared, LedgerSucceeded)
    }
    for entries in ledgers.values():
        for entry in entries:
            said = entry.shared
            if not isinstance(said, SuccessionAccepted):
                continue
            own = begun.get((said.peer, said.origin))
            names = ("previous_origin", "previous_size", "previous_root")
            differing = [
                name for name in names if own is not None and getattr(own, name) != getattr(said, name)
            ]
            for name in differing:
                what = f"{country_of(entries)} accepted the succession of {said.peer} with another {name}"
                findings.add(Rule.DIFFERING_TWIN, what, index=entry.index, blame=said.peer)


def trust_counts(entries: Sequence[Entry]) -> dict[str, Any]:
    """The statistics of witnessing: how often, and what is still so at the last entry.

    Returns:
        ``peers``: for each, how often ``suspended`` (of these ``for_conflict``) and ``resumed``, whether
        ``suspended_now``, and ``successions`` accepted; ``quorum``: ``missed``, ``met``, ``below_now``;
        ``clock``: ``steps``, ``largest_ms``; ``succeeds``: the ledger before, with ``lost`` entries, or None.
    """
    peers: dict[str, dict[str, Any]] = {}
    quorum: dict[str, Any] = {"missed": 0, "met": 0, "below_now": False}
    clock = {"steps": 0, "largest_ms": 0}
    succeeds: dict[str, Any] | None = None
    blank = {"suspended": 0, "for_conflict": 0, "resumed": 0, "suspended_now": False, "successions": 0}
    for entry in entries:
        match entry.shared:
            case PeerSuspended() as said:
                peer = peers.setdefault(said.peer, dict(blank))
                peer["suspended"] += 1
                peer["for_conflict"] += said.conflict is not None
                peer["suspended_now"] = True
            case PeerResumed() as said:
                peer = peers.setdefault(said.peer, dict(blank))
                peer["resumed"] += 1
                peer["suspended_now"] = False
            case SuccessionAccepted() as said:
                peers.setdefault(said.peer, dict(blank))["successions"] += 1
            case QuorumMissed():
                quorum["missed"] += 1
                quorum["below_now"] = True
            case QuorumMet():
                quorum["met"] += 1
                quorum["below_now"] = False
            case ClockStepped() as said:
                clock["steps"] += 1
                clock["largest_ms"] = max(clock["largest_ms"], said.before_ms - said.after_ms)
            case LedgerSucceeded() as said:
                lost = max(0, said.previous_size - said.copy_size)
                succeeds = {"origin": said.previous_origin, "size": said.previous_size, "lost": lost}
            case _:
                pass
    return {"peers": dict(sorted(peers.items())), "quorum": quorum, "clock": clock, "succeeds": succeeds}
