"""Reconciliation of several ledgers: does each exchange have its twin, and do both say the same?

Without an auditor's key only the hashed exchange ids and the times can be paired, and what was logged stays
unknown; the report says so. With the key both sides' shared parts are read and compared.

An entry without a twin among the given ledgers may belong to a country that is not among them: a finding is
made only where the ledger that must hold the twin is there.

Source: specs/ledger.md, section "Reconciliation".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from protocol import limits
from protocol.agreement import Agreement
from protocol.audit.beside import held_by_others
from protocol.audit.claims import judge_claims
from protocol.audit.coverage import check_coverage
from protocol.audit.entries import OWN_SIDE, Entry, country_of, differing
from protocol.audit.registrations import FOLLOWS, judge_registration
from protocol.audit.report import Finding, Findings, ReconcileReport, Rule
from protocol.audit.tree import root_of
from protocol.audit.trust import check_successions
from protocol.audit.verify import AuditedLedger, LedgerInput, audit_ledger
from protocol.audit.witnesses import Accused, check_accusations
from protocol.log_policy import BadPolicy, parse_policy
from protocol.statements_claims import HitClaim

SKEW_TOLERANCE_MS: Final = limits.CLOCK_SKEW

Side = dict[str, Entry]
"""The statements of one exchange on one ledger, by type."""


def reconcile(
    ledgers: Mapping[str, LedgerInput],
    answer_deadline_ms: int = limits.MAX_ANSWER_PERIOD,
    report_deadline_ms: int = limits.FETCH_PERIOD + limits.REPORT_PERIOD,
    agreements: Sequence[Agreement] = (),
) -> ReconcileReport:
    """Audit each ledger, then all of them together.

    Args:
        ledgers: By a name for the findings; each with its policy and, if payloads are to be read, its key.
        answer_deadline_ms: After acceptance, by then the answer must be logged.
        report_deadline_ms: After the answer, by then the result must be logged and reported.
        agreements: Those that queries are held against; without any, that is not checked.

    A deadline counts as passed when the same ledger has an entry later than it; a ledger that simply ends is
    given the benefit of the doubt.
    """
    findings = Findings()
    told = held_by_others(ledgers, findings)
    audited = {
        name: audit_ledger(replace(given, seen=(*given.seen, *told[name]))) for name, given in ledgers.items()
    }
    opened = {name: one for name, one in audited.items() if _is_opened(one)}
    closed = [name for name in audited if name not in opened]
    counts: Counter[str] = Counter()
    if closed:
        findings.note(
            "Not read (no auditor's key, or not sealed to it): "
            f"{', '.join(closed)}. There exchanges are paired by hashed id and time only; whether both sides "
            "logged the same query, answer and result was not checked."
        )
    _pair_by_hash(audited, counts, findings, both_opened=set(opened))
    _pair_by_content(opened, counts, findings, answer_deadline_ms, report_deadline_ms)
    check_coverage({name: one.entries for name, one in opened.items()}, agreements, findings)
    _check_accusations(ledgers, audited, findings)
    check_successions({name: one.entries for name, one in opened.items()}, findings)
    return ReconcileReport(
        ok=not findings.kept and all(one.report.ok for one in audited.values()),
        ledgers={name: one.report for name, one in audited.items()},
        findings=tuple(findings.kept),
        exchanges=dict(counts),
        unchecked=tuple(findings.unchecked),
    )


def _check_accusations(
    ledgers: Mapping[str, LedgerInput], audited: Mapping[str, AuditedLedger], findings: Findings
) -> None:
    accused: dict[str, list[Accused]] = {}
    for name, one in audited.items():
        country, origin = country_of(one.entries), one.report.origin
        try:
            logs = parse_policy(ledgers[name].policy).logs
        except BadPolicy:
            continue  # a finding of its own
        if country is not None and origin is not None:
            accused.setdefault(country, []).append(Accused(logs, origin, partial(root_of, one.leaves)))
    for name, given in ledgers.items():
        check_accusations(given.reader, country_of(audited[name].entries), accused, findings)


def _is_opened(ledger: AuditedLedger) -> bool:
    return country_of(ledger.entries) is not None


def _pair_by_hash(
    audited: Mapping[str, AuditedLedger], counts: Counter[str], findings: Findings, both_opened: set[str]
) -> None:
    """What can be said of exchanges of which at least one side is sealed to us."""
    spans: dict[bytes, dict[str, tuple[int, int]]] = {}
    for name, ledger in audited.items():
        for entry in ledger.entries:
            by_name = spans.setdefault(entry.leaf.exchange, {})
            low, high = by_name.get(name, (entry.leaf.time_ms, entry.leaf.time_ms))
            by_name[name] = (min(low, entry.leaf.time_ms), max(high, entry.leaf.time_ms))
    for exchange, by_name in spans.items():
        if set(by_name) <= both_opened:
            continue
        counts["unpaired" if len(by_name) == 1 else "paired-by-id"] += 1
        latest_start = max(low for low, _ in by_name.values())
        earliest_end = min(high for _, high in by_name.values())
        if latest_start - earliest_end > limits.FETCH_PERIOD + limits.REPORT_PERIOD:
            what = f"on {' and '.join(sorted(by_name))}, {latest_start - earliest_end} ms apart"
            findings.add(Rule.CLOCK_SKEW, what, where=_name(exchange))
    if counts["unpaired"]:
        findings.note("Unpaired exchanges may belong to other countries, or to no query; none is a finding.")


class _Exchange:
    """One exchange whose ledgers we can read; ``partly`` if some of its entries are erased, sealed or lost."""

    def __init__(
        self, exchange: bytes, requester: str, responder: str, asks: Side, answers: Side, partly: bool
    ) -> None:
        self.where = _name(exchange)
        self.requester = requester
        self.responder = responder
        self.asks, self.asked_claims = _split(asks)
        self.answers, self.answered_claims = _split(answers)
        self.partly = partly


def _split(side: Side) -> tuple[Side, Side]:
    """What is said of the query, and the claims of its hits."""
    claims = {key: entry for key, entry in side.items() if isinstance(entry.shared, HitClaim)}
    return {key: entry for key, entry in side.items() if key not in claims}, claims


def _pair_by_content(
    opened: Mapping[str, AuditedLedger],
    counts: Counter[str],
    findings: Findings,
    answer_deadline_ms: int,
    report_deadline_ms: int,
) -> None:
    ends: dict[str, int] = {}
    # By the parties as well: a dishonest requester may use one id with two countries, and neither is to blame.
    sides: dict[tuple[bytes, str, str], dict[str, Side]] = {}
    lost: set[str] = set()
    unread = {entry.leaf.exchange for one in opened.values() for entry in one.entries if entry.shared is None}
    for name, ledger in opened.items():
        country = country_of(ledger.entries) or name
        if country in ends:
            findings.note(f"More than one ledger of {country} was given; their entries were put together.")
        newest = max(entry.leaf.time_ms for entry in ledger.entries)
        ends[country] = max(ends.get(country, 0), newest)
        if not ledger.whole:
            lost.add(country)
            findings.note(
                f"Entries of {country} are damaged or lost: nothing is concluded from an absence there."
            )
        for entry in ledger.entries:
            if entry.shared is not None and entry.shared.type in OWN_SIDE:
                said: Any = entry.shared
                key = (entry.leaf.exchange, said.requester, said.responder)
                side = sides.setdefault(key, {}).setdefault(country, {})
                side.setdefault(said.key, entry)
    for (exchange, _, _), by_country in sides.items():
        case = _exchange(exchange, by_country, findings, exchange in unread)
        case.partly = case.partly or bool(lost & {case.requester, case.responder})
        if case.requester not in ends or case.responder not in ends:
            counts["other-country"] += 1
            continue
        found, state = _judge(case, ends, answer_deadline_ms, report_deadline_ms)
        findings.take(found)
        counts[state] += 1
    if counts["other-country"]:
        findings.note("Exchanges with countries whose ledgers were not given have no twin here; not checked.")


def _exchange(exchange: bytes, by_country: dict[str, Side], findings: Findings, partly: bool) -> _Exchange:
    """Sort the statements by the party whose they are; a ledger that is neither party is a finding."""
    first: Any = next(entry.shared for side in by_country.values() for entry in side.values())
    requester, responder = first.requester, first.responder
    for country in by_country:
        if country not in (requester, responder):
            what = f"{country} has statements of an exchange between {requester} and {responder}"
            findings.add(Rule.FOREIGN_STATEMENT, what, where=_name(exchange), blame=country)
    return _Exchange(
        exchange, requester, responder, by_country.get(requester, {}), by_country.get(responder, {}), partly
    )


def _judge(
    case: _Exchange, ends: Mapping[str, int], answer_deadline_ms: int, report_deadline_ms: int
) -> tuple[list[Finding], str]:
    """The findings on one exchange between two ledgers that we have, and the state it is in."""
    found = _compare(case)
    found += judge_claims(
        case.where,
        case.requester,
        case.responder,
        case.asked_claims,
        case.answered_claims,
        partly=case.partly,
    )
    if any(kind.startswith("keys.") for kind in case.asks | case.answers):
        more, state = judge_registration(
            case.where, case.requester, case.responder, case.asks, case.answers, partly=case.partly
        )
        return found + more, state
    if case.partly:
        return found, "partly-erased"
    asks, answers = case.asks, case.answers
    work = answers.get("query.accepted") or answers.get("query.refused")
    result = asks.get("query.result")
    if work is not None and "query.intent" not in asks:
        found.append(_missing(case, "query.intent", case.requester, work))
    if "query.withheld" in asks:
        return found, "withheld"
    if work is None:
        answered = result is not None and getattr(result.shared, "outcome", "") in (
            "hit",
            "no-hit",
            "refused",
        )
        if answered and result is not None:
            found.append(_missing(case, "query.accepted or query.refused", case.responder, result))
        return found, "undelivered"
    if "query.refused" in answers:
        return found, "refused"
    answer = answers.get("query.answered")
    if answer is None:
        if result is not None and getattr(result.shared, "answer_hash", None) is not None:
            found.append(_missing(case, "query.answered", case.responder, result))
        if "query.failed" in answers:
            return found, "failed"
        if ends[case.responder] > work.leaf.time_ms + answer_deadline_ms:
            found.append(_overdue(case, Rule.UNANSWERED, "accepted, but no answer", case.responder, work))
        return found, "open"
    if result is None:
        if ends[case.requester] > answer.leaf.time_ms + report_deadline_ms:
            found.append(_overdue(case, Rule.UNREPORTED, "answered, but no result", case.requester, answer))
        return found, "answered"
    if "query.claimed" not in answers:
        if ends[case.responder] > answer.leaf.time_ms + report_deadline_ms:
            what = "the result was not reported to the other side"
            found.append(_overdue(case, Rule.UNREPORTED, what, case.requester, result))
        return found, "unreported"
    return found, "closed"


def _compare(case: _Exchange) -> list[Finding]:
    """Fields that the two sides state differently, and clocks that cannot both be right."""
    found = []
    for mine in case.asks.values():
        for theirs in case.answers.values():
            for name in differing(mine.shared, theirs.shared):
                found.append(_differs(case, name, mine, theirs))
    result, claim = case.asks.get("query.result"), case.answers.get("query.claimed")
    if result is not None and claim is not None:
        for name in ("outcome", "hits", "reason"):
            if getattr(result.shared, name, None) != getattr(claim.shared, name, None):
                found.append(_differs(case, name, result, claim))
    intent, accepted = case.asks.get("query.intent"), case.answers.get("query.accepted")
    if intent is not None and accepted is not None:
        named = getattr(accepted.shared, "intent_leaf", None)
        found += [] if named == intent.leaf.leaf_hash else [_differs(case, "intent_leaf", intent, accepted)]
    return found + _check_times(case)


_FOLLOWS: Final = (
    ("query.intent", "query.accepted"),
    ("query.intent", "query.refused"),
    ("query.answered", "query.result"),
    ("query.result", "query.claimed"),
    *FOLLOWS,
)
"""What one side logged before the other can have logged the next: only clocks can say otherwise."""


def _check_times(case: _Exchange) -> list[Finding]:
    """Clocks that cannot both be right, and what was done after its time."""
    both = case.asks | case.answers
    found = []
    for first, then in _FOLLOWS:
        if first in both and then in both:
            ahead = both[first].leaf.time_ms - both[then].leaf.time_ms
            if ahead > SKEW_TOLERANCE_MS:
                what = f"{then} is {ahead} ms before the {first} that it follows, by the clocks of both"
                found.append(Finding(Rule.CLOCK_SKEW, case.where, what))
    for first, then, period in (
        ("query.intent", "query.accepted", limits.MAX_QUERY_LIFE + SKEW_TOLERANCE_MS),
        ("query.accepted", "query.answered", limits.MAX_ANSWER_PERIOD),
    ):
        if first in both and then in both:
            late = both[then].leaf.time_ms - both[first].leaf.time_ms - period
            if late > 0:
                what = f"{then} {late} ms after the time that its {first} left for it"
                found.append(
                    Finding(Rule.LATE_ANSWER, case.where, what, index=both[then].index, blame=case.responder)
                )
    return found


def _differs(case: _Exchange, name: str, mine: Entry, theirs: Entry) -> Finding:
    what = f"{name} differs: entry {mine.index} of {case.requester}, entry {theirs.index} of {case.responder}"
    return Finding(Rule.DIFFERING_TWIN, case.where, what)


def _missing(case: _Exchange, kind: str, blame: str, because: Entry) -> Finding:
    other = case.responder if blame == case.requester else case.requester
    what = f"{blame} has no {kind}, but {other} has entry {because.index}"
    return Finding(Rule.MISSING_TWIN, case.where, what, blame=blame)


def _overdue(case: _Exchange, rule: Rule, what: str, blame: str, since: Entry) -> Finding:
    return Finding(rule, case.where, f"{what} by {blame} within the deadline", index=since.index, blame=blame)


def _name(exchange: bytes) -> str:
    return f"exchange {exchange.hex()[:16]}"
