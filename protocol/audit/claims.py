"""Claims of hits in audits: within one ledger, between two, and in the statistics.

Source: specs/ledger.md, section "Claims".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from protocol import limits
from protocol.audit.entries import Entry
from protocol.audit.report import Finding, Findings, Rule
from protocol.statements import QueryAnswered, QueryClaimed, QueryResult
from protocol.statements_claims import ClaimAccepted, ClaimFailed, HitClaim

Claims = Mapping[str, Entry]
"""The claims of one exchange on one ledger, by ``SharedPart.key``."""

NOT_BELIEVED: Final = frozenset({"bad-answer", "too-many-hits"})
"""Reasons of a result whose answer is not what an honest search leaves."""

_AFTER: Final = {"claim.confirmed": "claim.sent", "claim.failed": "claim.sent"}
_NOT_WITH: Final = {
    "claim.confirmed": "claim.failed",
    "claim.failed": "claim.confirmed",
    "claim.accepted": "claim.refused",
    "claim.refused": "claim.accepted",
}
SAME: Final = ("claim_hash", "token")
"""What all statements about one hit have in common, on both ledgers."""


def check_claims(entries: Sequence[Entry], country: str | None, findings: Findings, whole: bool) -> None:
    """The rules within one ledger: each claim of a hit that was reported, ended once, of the answer that was given.

    Args:
        entries: In the order of the tree.
        country: Whose ledger it is.
        findings: What is broken is added here.
        whole: Every entry is there; otherwise nothing is concluded from an absence.
    """
    exchanges: dict[bytes, dict[str, Entry]] = {}
    counts: Counter[tuple[bytes, str]] = Counter()
    unread = {entry.leaf.exchange for entry in entries if entry.shared is None}
    for entry in entries:
        said = entry.shared
        if isinstance(said, QueryResult) and said.reason in NOT_BELIEVED:
            what = f"an answer of {said.responder} was not believed: {said.reason}"
            findings.add(Rule.PEER_ANSWER, what, index=entry.index, blame=said.responder)
        if said is None:
            continue
        earlier = exchanges.setdefault(entry.leaf.exchange, {})
        if isinstance(said, HitClaim):
            counts[entry.leaf.exchange, said.type] += 1
            all_there = whole and entry.leaf.exchange not in unread
            number = counts[entry.leaf.exchange, said.type]
            for what in [
                *_answer(said, earlier),
                *_number(said, earlier, number),
                *_pair(said, earlier, all_there),
            ]:
                findings.add(Rule.CLAIM, what, index=entry.index, blame=country)
        earlier.setdefault(said.key, entry)


def _answer(said: HitClaim, earlier: Claims) -> list[str]:
    """The hit is in the answer."""
    answered = earlier["query.answered"].shared if "query.answered" in earlier else None
    if (
        isinstance(said, ClaimAccepted)
        and isinstance(answered, QueryAnswered)
        and said.block >= answered.blocks
    ):
        return [f"accepts a hit in block {said.block} of an answer with {answered.blocks}"]
    return []


def _number(said: HitClaim, earlier: Claims, number: int) -> list[str]:
    """No more hits are claimed, and none more accepted, than the requester said that there are."""
    kind = {"claim.sent": "query.result", "claim.accepted": "query.claimed"}.get(said.type, "")
    outcome = earlier[kind].shared if kind in earlier else None
    if isinstance(outcome, QueryResult | QueryClaimed) and number > outcome.hits:
        return [f"{said.type} number {number} of an answer with {outcome.hits} hits"]
    return []


def _pair(said: HitClaim, earlier: Claims, all_there: bool) -> list[str]:
    """What ends a claim comes after it, says the same, and is the only end."""
    where = f"/{said.block}/{said.slot}"
    found = []
    first = _AFTER.get(said.type)
    if first is not None:
        begun = earlier.get(first + where)
        if begun is None and all_there:
            found.append(f"{said.type} has no {first} of the same hit before it")
        elif begun is not None:
            found += [f"names another {name} than its {first}" for name in _differing(begun.shared, said)]
    other = earlier.get(_NOT_WITH.get(said.type, "") + where)
    if other is not None:
        found.append(f"{said.type} after the {_NOT_WITH[said.type]} of entry {other.index}")
    return found


def _differing(one: object, other: object) -> list[str]:
    return [name for name in SAME if getattr(one, name, None) != getattr(other, name, None)]


def judge_claims(
    where: str, requester: str, responder: str, asks: Claims, answers: Claims, *, partly: bool
) -> list[Finding]:
    """The findings on the claims of one exchange between two ledgers that we have."""
    found: list[Finding] = []
    for entry in [*asks.values(), *answers.values()]:
        found += _twin(where, requester, responder, entry, asks, answers, partly)
    return found


def _twin(
    where: str, requester: str, responder: str, entry: Entry, asks: Claims, answers: Claims, partly: bool
) -> list[Finding]:
    said = entry.shared
    if not isinstance(said, HitClaim):
        return []
    hit = f"/{said.block}/{said.slot}"
    if said.type in ("claim.accepted", "claim.refused"):
        kind, side, blame = "claim.sent", asks, requester
    elif said.type == "claim.confirmed":
        kind, side, blame = "claim.accepted", answers, responder
    elif isinstance(said, ClaimFailed) and said.verdict_hash is not None:
        kind, side, blame = "claim.refused", answers, responder
    else:
        return []
    twin = side.get(kind + hit)
    if twin is None:
        what = f"{blame} has no {kind} of the hit, but the other side has {said.type} at entry {entry.index}"
        return [] if partly else [Finding(Rule.MISSING_TWIN, where, what, blame=blame)]
    found = []
    for name in _differing(said, twin.shared):
        what = f"{name} of a claim differs: entry {entry.index} of one side, entry {twin.index} of the other"
        found.append(Finding(Rule.DIFFERING_TWIN, where, what))
    # The verdict follows the claim, and its end the verdict: only clocks can say otherwise.
    ahead = twin.leaf.time_ms - entry.leaf.time_ms
    if ahead > limits.CLOCK_SKEW:
        what = f"{said.type} is {ahead} ms before the {kind} that it follows, by the clocks of both"
        found.append(Finding(Rule.CLOCK_SKEW, where, what))
    return found


def claim_counts(entries: Sequence[Entry]) -> Counter[str]:
    """The statistics of the claims of one exchange.

    Returns:
        ``claims_sent``, ``claims_failed`` (ours), ``claims_accepted``, ``claims_refused`` (of the other side), and
        ``confirmed_hits``: the hits for which the responder's word is on this ledger, its own or confirmed to us.
    """
    kinds = Counter(entry.shared.type for entry in entries if isinstance(entry.shared, HitClaim))
    counts = {f"claims_{name}": kinds[f"claim.{name}"] for name in ("sent", "failed", "accepted", "refused")}
    return Counter(counts | {"confirmed_hits": kinds["claim.confirmed"] + kinds["claim.accepted"]})
