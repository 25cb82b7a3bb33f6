"""Whether the agreement of its day covered each query, and whether quotas were kept.

The rule is the one that both nodes apply (``protocol.policy``), asked again with what the ledgers say.

Source: specs/ledger.md, section "Reconciliation".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from protocol import limits
from protocol.agreement import Agreement, Grant
from protocol.audit.entries import Entry, country_of
from protocol.audit.report import Findings, Rule
from protocol.errors import Refused
from protocol.policy import check
from protocol.statements import Asked, QueryAccepted, QueryIntent


@dataclass(frozen=True)
class _Terms:
    """The legal fields that a ledger states of a query, with the profile that the intent names."""

    requester: str
    responder: str
    modality: str
    profile: bytes
    purpose: str
    offence: str
    person_category: str
    legal_basis: str


def check_coverage(
    ledgers: Mapping[str, Sequence[Entry]], agreements: Sequence[Agreement], findings: Findings
) -> None:
    """Hold every intent and every acceptance against the agreement that it names."""
    asked: list[tuple[str, Entry, Asked]] = []
    profiles: dict[bytes, bytes] = {}
    for name, entries in ledgers.items():
        for entry in entries:
            if isinstance(entry.shared, QueryIntent):
                profiles[entry.shared.exchange_id] = entry.shared.profile
            if isinstance(entry.shared, QueryIntent | QueryAccepted):
                asked.append((country_of(entries) or name, entry, entry.shared))
    if not agreements:
        if asked:
            findings.note("No agreement was given: whether one covered each query was not checked.")
        return
    known = {agreement.digest: agreement for agreement in agreements}
    spent: Counter[tuple[bytes, int, int]] = Counter()
    for country, entry, shared in asked:
        agreement = known.get(shared.agreement)
        if agreement is None:
            digest = shared.agreement.hex()[:16]
            findings.note(f"The agreement {digest} was not given; its queries were not held against it.")
            continue
        profile = profiles.get(shared.exchange_id)
        if profile is None:
            continue  # an acceptance without its intent is a finding of its own
        terms = _Terms(
            profile=profile,
            **{name: getattr(shared, name) for name in _Terms.__annotations__ if name != "profile"},
        )
        try:
            grant = check(agreement, terms, entry.leaf.time_ms)
        except Refused as refused:
            what = f"{shared.type} outside the agreement of its day: {refused}"
            where = f"exchange {entry.leaf.exchange.hex()[:16]}"
            findings.add(Rule.NOT_COVERED, what, index=entry.index, blame=country, where=where)
            continue
        if isinstance(shared, QueryAccepted):
            _spend(spent, agreement, grant, entry, shared, findings)


def _spend(
    spent: Counter[tuple[bytes, int, int]],
    agreement: Agreement,
    grant: Grant,
    entry: Entry,
    shared: Any,
    findings: Findings,
) -> None:
    day = entry.leaf.time_ms // limits.DAY
    place = (agreement.digest, agreement.fields.grants.index(grant), day)
    spent[place] += 1
    if grant.queries_per_day is not None and spent[place] > grant.queries_per_day:
        what = f"query {spent[place]} of a day on which the agreement allows {grant.queries_per_day}"
        where = f"exchange {entry.leaf.exchange.hex()[:16]}"
        findings.add(Rule.QUOTA, what, index=entry.index, blame=shared.responder, where=where)
