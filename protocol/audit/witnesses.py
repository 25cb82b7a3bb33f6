"""What a ledger says of trust: conflicts of peers' ledgers, successions, missed quorums, clock steps, cadences.

A conflict file convicts a peer, so it is a finding whose blame is the peer's. A succession, a missed quorum, a
clock step and a cadence broke no rule; they are notices, which every audit shows for ever.

Source: specs/ledger.md, sections "Conflicts", "Succession" and "Time".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from crypto.errors import PeerFault
from crypto.note import LogVerifier
from protocol.accusations import is_key_evidence
from protocol.audit.entries import Entry
from protocol.audit.reader import LedgerReader, Unreadable, read_file
from protocol.audit.registrations import check_key_evidence
from protocol.audit.report import Findings, Rule
from protocol.checkpoint import open_checkpoint
from protocol.conflict import MAX_CONFLICT_BYTES, conflict_log, read_conflict, verify_conflict
from protocol.log_policy import LogPolicy
from protocol.statements_records import CadenceStated
from protocol.statements_witness import (
    ClockStepped,
    LedgerSucceeded,
    PeerResumed,
    PeerSuspended,
    QuorumMet,
    QuorumMissed,
    SuccessionAccepted,
)

DIRECTORY: Final = "conflicts"
CONFLICT_NAME: Final = re.compile(rf"{DIRECTORY}/([A-Z]{{2}})-([0-9a-f]{{64}})\Z")


def check_conflicts(reader: LedgerReader, entries: Sequence[Entry], findings: Findings) -> None:
    """Check every conflict file, and that every suspension that names one has it.

    The log's key is taken from the file: whether it is the peer's is for the reader of the finding to compare.
    """
    found = set()
    try:
        paths = list(reader.list(DIRECTORY))
    except Unreadable as error:
        findings.add(Rule.UNREADABLE_FILE, str(error), DIRECTORY)
        return
    for path in paths:
        data = read_file(reader, path, MAX_CONFLICT_BYTES, findings)
        name = CONFLICT_NAME.match(path)
        if data is None:
            continue
        try:
            if name is None:
                findings.add(Rule.UNEXPECTED_FILE, "not the name of a conflict file", path)
                continue
            if is_key_evidence(data):
                found.add(check_key_evidence(path, data, name[2], name[1], findings) or b"")
                continue
            conflict = read_conflict(data)
            what = verify_conflict(conflict, conflict_log(conflict))
        except PeerFault as error:
            findings.add(Rule.CONFLICT_FORM, str(error), path)
            continue
        if conflict.digest.hex() != name[2]:
            findings.add(Rule.CONFLICT_FORM, "the file has another digest than its name", path)
            continue
        found.add(conflict.digest)
        # With the key's id: whose the key is, the file alone does not prove.
        log = conflict.log.rpartition("+")[0]
        findings.add(Rule.PEER_CONFLICT, f"{conflict.rule} of {log}: {what}", path, blame=name[1])
    for entry in entries:
        shared = entry.shared
        if isinstance(shared, PeerSuspended) and shared.conflict not in (None, *found):
            what = f"{shared.peer} was suspended for a conflict of which the file is not here"
            findings.add(Rule.CONFLICT_MISSING, what, index=entry.index)


@dataclass(frozen=True)
class Accused:
    """A ledger that conflict files may accuse.

    Attributes:
        logs: Its keys.
        origin: Its name.
        root_at: Its root at a size; None where it is not known.
    """

    logs: Sequence[LogVerifier]
    origin: str
    root_at: Callable[[int], bytes | None]


def check_accusations(
    reader: LedgerReader, holder: str | None, accused: Mapping[str, Sequence[Accused]], findings: Findings
) -> None:
    """Hold the conflict files of one ledger against the ledgers of those whom they accuse, by country.

    A proof that does not verify, and the time at which a checkpoint was stored, are the holder's word. The ledger
    itself refutes it where it continues both checkpoints; and nobody is accused by a key that is not its log's.
    """
    try:
        paths = list(reader.list(DIRECTORY))
    except Unreadable:
        return
    for path in paths:
        name = CONFLICT_NAME.match(path)
        ledgers = accused.get(name[1], ()) if name is not None else ()
        try:
            data = reader.read(path, MAX_CONFLICT_BYTES) if ledgers else None
            conflict = read_conflict(data) if data is not None else None
            if conflict is None:
                continue
            log = conflict_log(conflict)
            heads = [open_checkpoint(note, log).checkpoint for note in (conflict.seen, conflict.shown)]
        except (PeerFault, Unreadable):
            continue  # a finding of its own
        for ledger in ledgers:
            if ledger.origin != log.name:
                continue
            if log.key_bytes not in [one.key_bytes for one in ledger.logs]:
                what = f"accuses {ledger.origin} by a key that is not of its policy"
            elif any(_unsigned(ledger, note) for note in (conflict.seen, conflict.shown)):
                what = f"accuses {ledger.origin} by a checkpoint without each of the signatures of its policy"
            elif all(ledger.root_at(head.size) == head.root for head in heads):
                what = f"the ledger {ledger.origin} continues both checkpoints"
            else:
                continue
            findings.add(Rule.CONFLICT_REFUTED, what, path, blame=holder)


def _unsigned(ledger: Accused, note: bytes) -> bool:
    return LogPolicy(tuple(ledger.logs), {}, {}, None).shortfall(note) is not None


def notices(entries: Sequence[Entry]) -> list[str]:
    """What every audit shows of a ledger, in the order of its entries."""
    return [
        f"entry {entry.index}, {_time(entry.leaf.time_ms)}: {words}"
        for entry in entries
        if (words := _words(entry))
    ]


def _words(entry: Entry) -> str:
    match entry.shared:
        case LedgerSucceeded() as said:
            lost = said.previous_size - said.copy_size
            return (
                f"this ledger succeeds {said.previous_origin}, last witnessed at {said.previous_size} entries "
                f"(root {said.previous_root.hex()[:16]}…), of which {max(lost, 0)} were lost"
            )
        case SuccessionAccepted() as said:
            return (
                f"{said.peer} goes on under {said.origin} after {said.previous_origin} "
                f"of {said.previous_size} entries"
            )
        case PeerSuspended() as said:
            return f"exchanges with {said.peer} suspended"
        case PeerResumed() as said:
            return f"exchanges with {said.peer} taken up again"
        case QuorumMissed() as said:
            return f"from here on below the quorum {said.quorum}"
        case QuorumMet() as said:
            return f"the quorum {said.quorum} is met again"
        case ClockStepped() as said:
            return f"the clock went back by {said.before_ms - said.after_ms} ms"
        case CadenceStated() as said:
            if not said.seconds:
                return "no cadence is kept from here on"
            return f"the cadence is {said.entries} entries every {said.seconds} s from here on"
        case _:
            return ""


def _time(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
