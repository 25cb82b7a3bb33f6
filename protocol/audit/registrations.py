"""The registration of evaluation keys in audits: within one ledger, between two, and the evidence that came of it.

Source: specs/ledger.md, sections "Rules of registration" and "Evidence about keys".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from crypto.errors import PeerFault
from protocol import limits
from protocol.accusations import read_accusation
from protocol.audit.entries import Entry
from protocol.audit.report import Finding, Findings, Rule
from protocol.conflict import Conflict
from protocol.key_evidence import KeyEvidence, PlanIdentifier, verify_key_evidence
from protocol.registration import LEAD_PART, epoch_ms
from protocol.statements import QueryAccepted, QueryIntent
from protocol.statements_keys import (
    KeysAccepted,
    KeysChallenged,
    KeysOffered,
    KeysOpened,
    KeysRegistered,
    Registration,
)
from protocol.statements_witness import LedgerSucceeded

MAX_MADE_AGAIN: Final = 8
"""Sets that one audit makes again, a second each: a ledger of evidence must not keep it busy for a day."""

Side = Mapping[str, Entry]

FOLLOWS: Final = (
    ("keys.offered", "keys.challenged"),
    ("keys.challenged", "keys.opened"),
    ("keys.opened", "keys.registered"),
    ("keys.registered", "keys.accepted"),
)
"""What one side logged before the other can have logged the next."""


def check_registrations(entries: Sequence[Entry], country: str | None, findings: Findings) -> None:
    """The rules within one ledger: which set is in use, in its epoch, one for each peer and plan, few offers."""
    by_exchange: dict[bytes, dict[str, Entry]] = {}
    in_use: dict[tuple[object, ...], int] = {}
    offers: Counter[tuple[object, ...]] = Counter()
    for entry in entries:
        said = entry.shared
        if not isinstance(said, Registration):
            continue
        earlier = by_exchange.setdefault(entry.leaf.exchange, {})
        wrong = _kept(said, earlier)
        target = (said.requester, said.responder, said.plan, said.epoch_days, said.epoch)
        if isinstance(said, KeysRegistered | KeysAccepted):
            # A later edition of an agreement may ask for more sets, and then needs a registration of its own.
            first = in_use.setdefault((said.type, *target, said.agreement), entry.index)
            if first != entry.index:
                wrong.append(f"keys of this plan and epoch are in use since entry {first}")
            wrong += _epoch(said, entry.leaf.time_ms)
        if isinstance(said, KeysChallenged):
            offers[target] += 1
            if offers[target] > limits.MAX_KEY_OFFERS:
                wrong.append(f"the challenge of offer {offers[target]} for one plan and epoch")
        for what in wrong:
            findings.add(Rule.KEYS, what, index=entry.index, blame=country)
        earlier.setdefault(said.type, entry)


def check_keys_of_queries(
    entries: Sequence[Entry], country: str | None, findings: Findings, whole: bool
) -> None:
    """Within one ledger: what is asked and accepted has keys that came into use before it, in whose epoch it stands.

    Ledgers are older than registrations, so this begins with the first keys that two countries have in use.

    Args:
        entries: In the order of the tree.
        country: Whose ledger it is.
        findings: What is broken is added here.
        whole: Every entry is there; otherwise nothing is concluded from an absence.
    """
    in_use: dict[tuple[str, str], list[Registration]] = {}
    unread_ms = -1
    for entry in entries if whole else ():
        said, time_ms = entry.shared, entry.leaf.time_ms
        if said is None:
            unread_ms = max(unread_ms, time_ms)
        elif isinstance(said, LedgerSucceeded):
            # Keys of the ledger before may be in use as long as an epoch can be.
            unread_ms = time_ms + limits.MAX_KEY_EPOCH_DAYS * limits.DAY
        elif isinstance(said, KeysRegistered | KeysAccepted):
            in_use.setdefault((said.requester, said.responder), []).append(said)
        elif isinstance(said, QueryIntent | QueryAccepted):
            known = in_use.get((said.requester, said.responder), [])
            longest = max((epoch_ms(one.epoch_days) for one in known), default=0)
            since = time_ms - longest - longest // LEAD_PART - 2 * limits.CLOCK_SKEW
            if known and unread_ms < since and not any(_serves(one, said, time_ms) for one in known):
                what = f"{said.type} without keys that came into use before it, for its time"
                findings.add(Rule.KEYS, what, index=entry.index, blame=country)


def _serves(keys: Registration, query: QueryIntent | QueryAccepted, time_ms: int) -> bool:
    if isinstance(query, QueryIntent) and keys.plan != query.plan:
        return False
    begin = keys.epoch * epoch_ms(keys.epoch_days)
    end = begin + epoch_ms(keys.epoch_days)
    return begin - 2 * limits.CLOCK_SKEW <= time_ms < end + 2 * limits.CLOCK_SKEW


def _kept(said: Registration, earlier: Side) -> list[str]:
    """The set that is kept is one that was offered, and no other comes into use."""
    offer = earlier["keys.offered"].shared if "keys.offered" in earlier else None
    opening = earlier["keys.opened"].shared if "keys.opened" in earlier else None
    if not isinstance(offer, KeysOffered):
        return []
    if isinstance(said, KeysOpened) and said.kept >= len(offer.sets):
        return [f"keeps set {said.kept} of {len(offer.sets)}"]
    if isinstance(said, KeysAccepted) and isinstance(opening, KeysOpened):
        return _differs(offer, opening.kept, said.evaluation_keys)
    return []


def _differs(offer: KeysOffered, kept: int, in_use: bytes) -> list[str]:
    if kept < len(offer.sets) and offer.sets[kept] == in_use:
        return []
    return [f"the keys in use are not set {kept} of the offer"]


def _epoch(said: Registration, time_ms: int) -> list[str]:
    length = epoch_ms(said.epoch_days)
    begin = said.epoch * length
    if begin - length // LEAD_PART - limits.CLOCK_SKEW <= time_ms < begin + length + limits.CLOCK_SKEW:
        return []
    return ["keys come into use outside their epoch"]


def judge_registration(
    where: str, requester: str, responder: str, asks: Side, answers: Side, *, partly: bool
) -> tuple[list[Finding], str]:
    """The findings on one registration between two ledgers that we have, and the state it is in."""
    found: list[Finding] = []
    if partly:
        return found, "partly-erased"
    needs = (
        ("keys.challenged", answers, "keys.offered", asks, requester),
        ("keys.opened", asks, "keys.challenged", answers, responder),
        ("keys.registered", answers, "keys.opened", asks, requester),
        ("keys.accepted", asks, "keys.registered", answers, responder),
    )
    for kind, side, twin, other, blame in needs:
        if kind in side and twin not in other:
            what = f"{blame} has no {twin}, but the other side has {kind} at entry {side[kind].index}"
            found.append(Finding(Rule.MISSING_TWIN, where, what, blame=blame))
    offer, challenge = _shared(asks, "keys.offered"), _shared(answers, "keys.challenged")
    decided = _shared(answers, "keys.registered")
    if isinstance(offer, KeysOffered) and isinstance(decided, KeysRegistered):
        wrong = [] if decided.sets == len(offer.sets) else ["another number of sets than was offered"]
        if isinstance(challenge, KeysChallenged):
            wrong += _differs(offer, challenge.kept, decided.evaluation_keys)
        index = answers["keys.registered"].index
        found += [Finding(Rule.KEYS, where, what, index=index, blame=responder) for what in wrong]
    return found, _state(asks, answers)


def _shared(side: Side, kind: str) -> object:
    return side[kind].shared if kind in side else None


def _state(asks: Side, answers: Side) -> str:
    if "keys.accepted" in asks:
        return "keys-registered"
    if "keys.refused" in answers:
        return "keys-refused"
    return "keys-failed" if "keys.failed" in asks else "keys-open"


def check_key_evidence(path: str, data: bytes, named: str, blame: str, findings: Findings) -> bytes | None:
    """One file of evidence about keys; its digest if it convicts, or at least its messages do.

    Args:
        path: Of the file.
        data: Its bytes.
        named: The digest in its name, in hexadecimal digits.
        blame: The country in its name.
        findings: What comes of it.
    """
    try:
        evidence = read_accusation(data)
        if isinstance(evidence, Conflict):
            return None
        what = verify_key_evidence(evidence, *_real_scheme(evidence, findings))
    except PeerFault as error:
        findings.add(Rule.CONFLICT_FORM, str(error), path)
        return None
    if evidence.digest.hex() != named or evidence.accused != blame:
        findings.add(Rule.CONFLICT_FORM, "the file has another digest or country than its name", path)
        return None
    key = evidence.identity.hex()[:16]
    findings.add(Rule.PEER_KEYS, f"{evidence.rule}, signed by identity key {key}…: {what}", path, blame=blame)
    return evidence.digest


def _real_scheme(evidence: KeyEvidence, findings: Findings) -> tuple[Any, PlanIdentifier | None]:
    """What makes a set again; nothing where nothing has to be made, or enough was."""
    if evidence.rule != "set-differs":
        return None, None
    made = sum(one.rule is Rule.PEER_KEYS for one in findings.kept)
    if made >= MAX_MADE_AGAIN:
        findings.note("More sets of evaluation keys are in question than were made again.")
        return None, None
    from crypto.hitsearch.made_again import keys_hash, plan_identifier

    return keys_hash, plan_identifier


def key_counts(entries: Sequence[Entry], country: str | None) -> dict[str, dict[str, int]]:
    """The statistics of registration, for each peer: how many of each kind on either side.

    Returns:
        By country: ``offered``, ``opened``, ``accepted``, ``failed`` (ours); ``challenged``, ``registered``,
        ``refused`` (theirs); ``abandoned``: challenged by us and neither registered nor refused.
    """
    names = ("offered", "opened", "accepted", "failed", "challenged", "registered", "refused", "abandoned")
    peers: dict[str, dict[str, int]] = {}
    open_at: dict[bytes, str] = {}
    for entry in entries:
        said = entry.shared
        if not isinstance(said, Registration):
            continue
        peer = said.responder if said.requester == country else said.requester
        counts = peers.setdefault(peer, dict.fromkeys(names, 0))
        kind = said.type.partition(".")[2]
        counts[kind] += 1
        if kind == "challenged":
            open_at[entry.leaf.exchange] = peer
        elif kind in ("registered", "refused"):
            open_at.pop(entry.leaf.exchange, None)
    for peer in open_at.values():
        peers[peer]["abandoned"] += 1
    return dict(sorted(peers.items()))
