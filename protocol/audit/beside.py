"""The files beside a tree that an audit reads, and that a copy of a ledger must therefore have.

Source: specs/ledger.md, section "Auditors".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from crypto.checkpoint_text import split_checkpoint
from crypto.errors import ConcordatError
from crypto.note import MAX_NOTE_BYTES, parse_note
from protocol.audit.head import COSIGNED
from protocol.audit.predecessor import PREVIOUS
from protocol.audit.reader import LedgerReader, Unreadable
from protocol.audit.report import Findings
from protocol.audit.trust import SUCCESSIONS
from protocol.audit.verify import LedgerInput, Seen
from protocol.audit.witnesses import DIRECTORY as CONFLICTS
from protocol.log_policy import BadPolicy, parse_policy

DIRECTORIES: Final = (CONFLICTS, SUCCESSIONS)
SEEN: Final = "seen"
"""What the node holds of its peers' ledgers, one file a country."""
FILES: Final = (COSIGNED, PREVIOUS)
BESIDE_NAME: Final = re.compile(
    rf"(?:(?:{'|'.join(DIRECTORIES)})/[A-Z]{{2}}-[0-9a-f]{{64}}|{SEEN}/[A-Z]{{2}}|{'|'.join(FILES)})\Z"
)
"""Evidence against peers and accepted successions are named by their digests; the others may be replaced."""


def held_by_others(ledgers: Mapping[str, LedgerInput], findings: Findings) -> dict[str, list[Seen]]:
    """For each ledger, its checkpoints that the nodes of the others hold, as their copies have them in ``seen/``.

    A copy that was made later may hold more than the copy of the ledger itself has: that accuses nobody, and is said.
    """
    told: dict[str, list[Seen]] = {name: [] for name in ledgers}
    names = {name: _origins(given.policy) for name, given in ledgers.items()}
    for holder, given in ledgers.items():
        for note in _notes(given.reader):
            try:
                head = split_checkpoint(parse_note(note).text)
            except ConcordatError:
                continue
            for name in ledgers:
                if name == holder or head.origin not in names[name]:
                    continue
                if head.size > _size(ledgers[name].reader):
                    findings.note(
                        f"{holder} holds a checkpoint of {name} of {head.size} entries, more than the copy has: "
                        "fetch it again to compare them."
                    )
                else:
                    told[name].append(Seen(holder, note))
    return told


def _origins(policy: bytes) -> set[str]:
    try:
        return {key.name for key in parse_policy(policy).logs}
    except BadPolicy:
        return set()


def _notes(reader: LedgerReader) -> list[bytes]:
    found = []
    try:
        for path in reader.list(SEEN):
            note = reader.read(path, MAX_NOTE_BYTES) if BESIDE_NAME.match(path) else None
            found += [note] if note is not None else []
    except Unreadable:
        pass  # the audit of that ledger itself does not depend on it
    return found


def _size(reader: LedgerReader) -> int:
    try:
        return split_checkpoint(parse_note(reader.read("checkpoint", MAX_NOTE_BYTES) or b"").text).size
    except (ConcordatError, Unreadable):
        return 0
