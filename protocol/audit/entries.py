"""The entries of a ledger: their form, and with an auditor's key what they say and in which order.

Source: specs/ledger.md, sections "Entries" and "Rules within one ledger".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from crypto.errors import ConcordatError, SealBroken
from protocol import limits, tiles
from protocol.audit.reader import LedgerReader, Unreadable
from protocol.audit.report import Findings, Rule
from protocol.audit.tree import Tree
from protocol.leaf import Leaf
from protocol.payload import (
    MAX_PAYLOAD_BYTES,
    BadOpening,
    OpenedPayload,
    PayloadBox,
    is_for,
    open_as_auditor,
    payload_path,
)
from protocol.statement_parts import LocalPart, PrivatePart, SharedPart
from protocol.statements import Asked
from protocol.statements_claims import HitClaim
from protocol.statements_keys import Registration
from protocol.statements_records import FILLER

CLOCK_TOLERANCE_MS: Final = limits.CLOCK_SKEW

OWN_SIDE: Final = {
    "query.intent": "requester",
    "query.withheld": "requester",
    "query.result": "requester",
    "query.confirmed": "requester",
    "query.accepted": "responder",
    "query.refused": "responder",
    "query.answered": "responder",
    "query.failed": "responder",
    "query.claimed": "responder",
    "claim.sent": "requester",
    "claim.confirmed": "requester",
    "claim.failed": "requester",
    "claim.accepted": "responder",
    "claim.refused": "responder",
    "keys.offered": "requester",
    "keys.opened": "requester",
    "keys.accepted": "requester",
    "keys.failed": "requester",
    "keys.challenged": "responder",
    "keys.registered": "responder",
    "keys.refused": "responder",
}
"""Which party of a query, or of a registration of keys, has statements of this type on its own ledger."""

_NEEDS: Final[dict[str, tuple[str, ...]]] = {
    "query.result": ("query.intent",),
    "query.confirmed": ("query.result",),
    "query.answered": ("query.accepted",),
    "query.failed": ("query.accepted",),
    "query.claimed": ("query.accepted", "query.refused"),
    "claim.sent": ("query.result",),
    "claim.accepted": ("query.claimed",),
    "claim.refused": ("query.claimed",),
    "keys.opened": ("keys.offered",),
    "keys.accepted": ("keys.opened",),
    "keys.failed": ("keys.offered",),
    "keys.registered": ("keys.challenged",),
    "keys.refused": ("keys.challenged",),
}
"""A statement needs one of these before it in the same exchange."""

_FIRST: Final = ("node.initialised", "ledger.succeeded")
"""What a ledger may begin with: a node of its own, or the successor of a lost ledger."""

_EXCLUDES: Final[dict[str, tuple[str, ...]]] = {
    "query.intent": ("query.withheld",),
    "query.withheld": ("query.intent",),
    "query.accepted": ("query.refused",),
    "query.refused": ("query.accepted",),
    "query.answered": ("query.failed",),
    "query.failed": ("query.answered",),
    "keys.opened": ("keys.failed",),
    "keys.accepted": ("keys.failed",),
    "keys.failed": ("keys.accepted",),
    "keys.registered": ("keys.refused",),
    "keys.refused": ("keys.registered",),
}
"""A statement must not come after one of these in the same exchange."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry that could be read.

    Attributes:
        index: Its position.
        leaf: What is in clear.
        opened: What its payload says; None if there was no key or it did not open.
        absent: There is no payload file.
        closed: The payload is sealed to others only.
    """

    index: int
    leaf: Leaf
    opened: OpenedPayload | None = None
    absent: bool = False
    closed: bool = False

    @property
    def shared(self) -> SharedPart | None:
        """The shared part, if the payload was opened."""
        return None if self.opened is None else self.opened.shared

    @property
    def private(self) -> PrivatePart | None:
        """The private part, if the payload was opened."""
        return None if self.opened is None else self.opened.private


def read_leaves(tree: Tree, findings: Findings) -> list[Entry]:
    """Parse every entry as a leaf; check form, uniqueness and the clock."""
    entries: list[Entry] = []
    first: dict[bytes, int] = {}
    newest = 0
    file = ""
    for index, data in enumerate(tree.entries):
        if index % tiles.TILE_WIDTH == 0:
            file = tiles.bundle_at(tree.size, index // tiles.TILE_WIDTH).path
        if data is None:
            continue
        if first.setdefault(data, index) != index:
            findings.add(Rule.DUPLICATE_ENTRY, f"the same bytes as entry {first[data]}", file, index)
        try:
            leaf = Leaf.from_bytes(data)
        except ConcordatError as error:
            findings.add(Rule.ENTRY_FORM, str(error), file, index)
            continue
        if leaf.time_ms < newest - CLOCK_TOLERANCE_MS:
            behind = newest - leaf.time_ms
            findings.add(Rule.CLOCK_BACKWARD, f"{behind} ms before an earlier entry", file, index)
        newest = max(newest, leaf.time_ms)
        entries.append(Entry(index, leaf))
    return entries


def open_payloads(
    reader: LedgerReader, entries: Sequence[Entry], auditor_key: bytes, findings: Findings
) -> list[Entry]:
    """Open what is sealed to this auditor and check it against the leaves.

    An absent payload is no finding yet: it may have been erased, see ``protocol.audit.retention``.
    """
    opened = [_opened(reader, entry, auditor_key, findings) for entry in entries]
    _check_gaps(opened, findings)
    return opened


def _check_gaps(entries: Sequence[Entry], findings: Findings) -> None:
    """An auditor is named or not: what is sealed to others alone lies before the first entry that is not, or after
    the last. One finding for each run."""
    country, gap, has_begun = country_of(entries), [], False
    for entry in entries:
        if entry.closed and has_begun:
            gap.append(entry.index)
        elif entry.opened is not None:
            if gap:
                what = f"entries {gap[0]} to {gap[-1]} are sealed to others alone, those around them to this auditor"
                findings.add(Rule.PAYLOAD_CLOSED, what, index=gap[0], blame=country)
            gap, has_begun = [], True


def _opened(reader: LedgerReader, entry: Entry, auditor_key: bytes, findings: Findings) -> Entry:
    path = payload_path(entry.leaf.leaf_hash)
    try:
        data = reader.read(path, MAX_PAYLOAD_BYTES)
    except Unreadable as error:
        findings.add(Rule.UNREADABLE_FILE, str(error), path, entry.index)
        return entry
    if data is None:
        return Entry(entry.index, entry.leaf, absent=True)
    try:
        box = PayloadBox.from_bytes(data)
    except ConcordatError as error:
        findings.add(Rule.PAYLOAD_FORM, str(error), path, entry.index)
        return entry
    if not is_for(box, auditor_key):
        findings.note("Some payloads are not sealed to this auditor; what they say was not checked.")
        return Entry(entry.index, entry.leaf, closed=True)
    try:
        return Entry(entry.index, entry.leaf, open_as_auditor(entry.leaf, box, auditor_key))
    except SealBroken as error:
        findings.add(Rule.PAYLOAD_SEAL, str(error), path, entry.index)
    except BadOpening as error:
        findings.add(Rule.PAYLOAD_COMMITMENT, str(error), path, entry.index)
    except ConcordatError as error:
        findings.add(Rule.PAYLOAD_FORM, str(error), path, entry.index)
    return entry


def country_of(entries: Sequence[Entry]) -> str | None:
    """Whose ledger this is, by its first statement; if that is lost, by any that is about the node itself."""
    local = [entry.shared for entry in entries if isinstance(entry.shared, LocalPart)]
    first = (shared.country for shared in local if shared.type in _FIRST)
    return next(first, local[0].country if local else None)


def check_order(entries: Sequence[Entry], findings: Findings, whole: bool) -> None:
    """The rules within one ledger: who may say what, how often, after what, and of the same query.

    Args:
        entries: In the order of the tree.
        findings: What is broken is added here.
        whole: Every entry is there; otherwise nothing is concluded from an absence.
    """
    country = country_of(entries)
    exchanges: dict[bytes, dict[str, Entry]] = {}
    queries: dict[bytes, list[Entry]] = {}
    # An unopened entry of an exchange may be the very one that another needs, so nothing is concluded from
    # an absence there.
    partly_sealed = {entry.leaf.exchange for entry in entries if entry.shared is None}
    for entry in entries:
        if entry.shared is None:
            continue
        where = f"entry {entry.index}"
        shared = entry.shared
        _check_owner(shared, entry.index, country, findings)
        earlier = exchanges.setdefault(entry.leaf.exchange, {})
        if shared.key in earlier:
            what = f"a second {shared.key} in the exchange of entry {earlier[shared.key].index}"
            findings.add(Rule.REPEATED_STATEMENT, what, index=entry.index, blame=country)
        needed = _NEEDS.get(shared.type)
        if (
            needed
            and not any(kind in earlier for kind in needed)
            and whole
            and entry.leaf.exchange not in partly_sealed
        ):
            what = f"{shared.type} has no {' or '.join(needed)} before it"
            findings.add(Rule.ORDER, what, index=entry.index, blame=country, where=where)
        for kind in _EXCLUDES.get(shared.type, ()):
            if kind in earlier:
                what = f"{shared.type} after the {kind} of entry {earlier[kind].index}"
                findings.add(Rule.ORDER, what, index=entry.index, blame=country, where=where)
        if FILLER in earlier and shared.type != FILLER:
            what = f"{shared.type} in the exchange of the filler of entry {earlier[FILLER].index}"
            findings.add(Rule.FILLER, what, index=entry.index, blame=country)
        if shared.type == FILLER and earlier.keys() - {FILLER}:
            what = "a filler in an exchange that has other entries"
            findings.add(Rule.FILLER, what, index=entry.index, blame=country)
        for other in queries.setdefault(entry.leaf.exchange, []):
            _check_same_query(other, entry, country, findings)
        if shared.key not in earlier and not isinstance(shared, HitClaim):
            # Claims are held against what the query says, not each against all others: there may be many.
            queries[entry.leaf.exchange].append(entry)
        earlier.setdefault(shared.key, entry)


def _check_owner(shared: SharedPart, index: int, country: str | None, findings: Findings) -> None:
    if index == 0 and shared.type not in _FIRST:
        findings.add(Rule.FIRST_STATEMENT, f"the first entry is {shared.type}, not node.initialised", index=0)
    if country is None:
        return
    owner = getattr(shared, OWN_SIDE.get(shared.type, "country"), country)
    if owner != country:
        what = f"a {shared.type} of {owner} on the ledger of {country}"
        findings.add(Rule.FOREIGN_STATEMENT, what, index=index, blame=country)


def _check_same_query(one: Entry, other: Entry, country: str | None, findings: Findings) -> None:
    for name in differing(one.shared, other.shared):
        what = f"names another {name} than entry {one.index} of the same exchange"
        findings.add(Rule.QUERY_CHANGED, what, index=other.index, blame=country)


def differing(one: SharedPart | None, other: SharedPart | None) -> list[str]:
    """Fields that both statements have and that must agree within one exchange, but do not."""
    names = ["requester", "responder", "agreement", "query_hash", "ciphertext_hash", "answer_hash"]
    if isinstance(one, Registration) and isinstance(other, Registration):
        names += ["plan", "epoch_days", "epoch", "offer_hash", "kept", "challenge_hash", "opening_hash"]
        names += ["evaluation_keys"]
    if isinstance(one, Asked) and isinstance(other, Asked):
        names += ["purpose", "legal_basis", "offence", "person_category", "modality", "authority"]
    missing = object()
    found = []
    for name in names:
        mine, theirs = getattr(one, name, missing), getattr(other, name, missing)
        if missing not in (mine, theirs) and None not in (mine, theirs) and mine != theirs:
            found.append(name)
    return found
