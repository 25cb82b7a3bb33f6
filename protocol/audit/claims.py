"""Claims of hits in audits: within one ledger, between two, and in the statistics.

Source: specs/ledger.md, section "Claims".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from protocol import limits
from protocol.audit.entries import Entry
from protocol.audit.report import Finding, Findings, Rule
from protocol.statement_parts import SharedPart
from protocol.statements import QueryAnswered, QueryClaimed, QueryResult
from protocol.statements_claims import ClaimAccepted, ClaimFailed, ClaimRefused, HitClaim, claim_key

Claims = Mapping[str, Entry]
"""The claims of one exchange on one ledger, by ``SharedPart.key``."""

NOT_BELIEVED: Final = frozenset({"bad-answer", "too-many-hits"})
"""Reasons of a result whose answer is not what an honest search leaves."""

REPEATED: Final = "claimed-before"
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
    exchanges: dict[bytes, _Earlier] = {}
    unread = {entry.leaf.exchange for entry in entries if entry.shared is None}
    for entry in entries:
        said = entry.shared
        if isinstance(said, QueryResult) and said.reason in NOT_BELIEVED:
            what = f"an answer of {said.responder} was not believed: {said.reason}"
            findings.add(Rule.PEER_ANSWER, what, index=entry.index, blame=said.responder)
        if said is None:
            continue
        earlier = exchanges.setdefault(entry.leaf.exchange, _Earlier())
        if isinstance(said, HitClaim):
            all_there = whole and entry.leaf.exchange not in unread
            for what in [
                *_answer(said, earlier),
                *_number(said, earlier),
                *_pair(said, earlier, all_there),
                *_again(said, earlier, all_there),
            ]:
                findings.add(Rule.CLAIM, what, index=entry.index, blame=country)
        earlier.add(entry)


class _Earlier:
    """What one side has said of one exchange."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.by_key: dict[str, Entry] = {}
        self.of_hit: dict[tuple[str, int, int], Entry] = {}
        self.hits: Counter[str] = Counter()
        for entry in entries:
            self.add(entry)

    def add(self, entry: Entry) -> None:
        """One more entry; the first with a key, and the first of a type about a hit, are kept."""
        said = entry.shared
        if said is None:
            return
        self.by_key.setdefault(said.key, entry)
        if isinstance(said, HitClaim) and not is_repeated(said) and (said.type, *said.hit) not in self.of_hit:
            self.of_hit[said.type, *said.hit] = entry
            self.hits[said.type] += 1

    def get(self, kind: str, said: HitClaim) -> Entry | None:
        """The statement of this type about the same claim."""
        return self.by_key.get(claim_key(kind, said.block, said.slot, said.claim_hash))

    def about(self, kind: str, said: HitClaim) -> Entry | None:
        """The same, or if there is none the first of this type about the same hit."""
        return self.get(kind, said) or self.of_hit.get((kind, *said.hit))

    def decided(self, said: HitClaim) -> Entry | None:
        """The first verdict on a claim of this hit."""
        both = (self.of_hit.get((kind, *said.hit)) for kind in ("claim.accepted", "claim.refused"))
        return min((one for one in both if one is not None), key=lambda one: one.index, default=None)


def is_repeated(said: SharedPart) -> bool:
    """Whether this refuses a claim because another message claimed the same hit before."""
    return isinstance(said, ClaimRefused) and said.reason == REPEATED


def _answer(said: HitClaim, earlier: _Earlier) -> list[str]:
    """The hit is in the answer."""
    entry = earlier.by_key.get("query.answered")
    answered = None if entry is None else entry.shared
    if (
        isinstance(said, ClaimAccepted)
        and isinstance(answered, QueryAnswered)
        and said.block >= answered.blocks
    ):
        return [f"accepts a hit in block {said.block} of an answer with {answered.blocks}"]
    return []


def _number(said: HitClaim, earlier: _Earlier) -> list[str]:
    """No more hits are claimed, and none more accepted, than the requester said that there are."""
    kind = {"claim.sent": "query.result", "claim.accepted": "query.claimed"}.get(said.type, "")
    entry = earlier.by_key.get(kind)
    outcome = None if entry is None else entry.shared
    number = earlier.hits[said.type] + ((said.type, *said.hit) not in earlier.of_hit)
    if isinstance(outcome, QueryResult | QueryClaimed) and number > outcome.hits:
        return [f"{said.type} number {number} of an answer with {outcome.hits} hits"]
    return []


def _pair(said: HitClaim, earlier: _Earlier, all_there: bool) -> list[str]:
    """What ends a claim comes after it, says the same, and is the only end."""
    found = []
    first = _AFTER.get(said.type)
    if first is not None:
        begun = earlier.about(first, said)
        if begun is None and all_there:
            found.append(f"{said.type} has no {first} of the same hit before it")
        elif begun is not None:
            found += [f"names another {name} than its {first}" for name in _differing(begun.shared, said)]
    other = earlier.get(_NOT_WITH.get(said.type, ""), said)
    if other is not None:
        found.append(f"{said.type} after the {_NOT_WITH[said.type]} of entry {other.index}")
    return found


def _again(said: HitClaim, earlier: _Earlier, all_there: bool) -> list[str]:
    """A hit is claimed once, and decided once; a further claim of it is refused as just that."""
    if said.type == "claim.sent":
        first = earlier.of_hit.get((said.type, *said.hit))
        if first is not None and getattr(first.shared, "claim_hash", None) != said.claim_hash:
            return [f"claims the hit of entry {first.index} by another message"]
    if said.type in ("claim.accepted", "claim.refused"):
        first = earlier.decided(said)
        is_other = first is not None and getattr(first.shared, "claim_hash", None) != said.claim_hash
        if is_repeated(said) and not is_other and all_there:
            return ["refused as claimed before, but no other claim of the hit was decided before"]
        if first is not None and is_other and not is_repeated(said):
            return [f"decides on the hit of entry {first.index} for the second time"]
    return []


def _differing(one: object, other: object) -> list[str]:
    return [name for name in SAME if getattr(one, name, None) != getattr(other, name, None)]


def judge_claims(
    where: str, requester: str, responder: str, asks: Claims, answers: Claims, *, partly: bool
) -> list[Finding]:
    """The findings on the claims of one exchange between two ledgers that we have."""
    found: list[Finding] = []
    asked, answered = _Earlier(asks.values()), _Earlier(answers.values())
    for entry in [*asks.values(), *answers.values()]:
        found += _twin(where, requester, responder, entry, asked, answered, partly)
    return found


def _twin(
    where: str,
    requester: str,
    responder: str,
    entry: Entry,
    asks: _Earlier,
    answers: _Earlier,
    partly: bool,
) -> list[Finding]:
    said = entry.shared
    if not isinstance(said, HitClaim):
        return []
    if said.type in ("claim.accepted", "claim.refused"):
        kind, side, blame = "claim.sent", asks, requester
    elif said.type == "claim.confirmed":
        kind, side, blame = "claim.accepted", answers, responder
    elif isinstance(said, ClaimFailed) and said.verdict_hash is not None:
        kind, side, blame = "claim.refused", answers, responder
    else:
        return []
    # Of a hit that was claimed twice each claim has its own twin; otherwise the other side may say it differently.
    twin = side.get(kind, said) if is_repeated(said) else side.about(kind, said)
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
