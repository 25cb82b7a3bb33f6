"""The one rule by which both nodes decide whether an agreement covers a query.

The requester applies it before it encrypts, the responder before it works.

Source: specs/agreements.md, section "What is checked".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from protocol import limits
from protocol.agreement import Agreement, Grant
from protocol.errors import RefusalReason, Refused


class QueryTerms(Protocol):
    """The legal fields of a query, as ``Query`` and ``QueryRequest`` have them."""

    @property
    def requester(self) -> str: ...
    @property
    def responder(self) -> str: ...
    @property
    def modality(self) -> str: ...
    @property
    def profile(self) -> bytes: ...
    @property
    def purpose(self) -> str: ...
    @property
    def offence(self) -> str: ...
    @property
    def person_category(self) -> str: ...
    @property
    def legal_basis(self) -> str: ...


@dataclass(frozen=True)
class Quota:
    """What one grant allows on one day (UTC, days since 1970): ``grant`` is its place in the agreement."""

    agreement: bytes
    grant: int
    day: int


Spent = Callable[[Quota], int]
"""How many queries count against a quota so far, by the durable state of the node that asks itself."""


_RULES: tuple[tuple[RefusalReason, str, Callable[[Grant, QueryTerms], bool]], ...] = (
    (
        RefusalReason.DIRECTION_NOT_COVERED,
        "no grant in this direction",
        lambda grant, terms: (grant.requester, grant.responder) == (terms.requester, terms.responder),
    ),
    (
        RefusalReason.MODALITY_NOT_COVERED,
        "no grant for this modality",
        lambda grant, terms: grant.modality == terms.modality,
    ),
    (
        RefusalReason.PROFILE_MISMATCH,
        "no grant for this profile",
        lambda grant, terms: grant.profile_digest == terms.profile,
    ),
    (
        RefusalReason.PURPOSE_NOT_COVERED,
        "no grant for this purpose",
        lambda grant, terms: terms.purpose in grant.purposes,
    ),
    (
        RefusalReason.OFFENCE_NOT_COVERED,
        "no grant for this offence with this purpose",
        lambda grant, terms: terms.offence in grant.offences,
    ),
    (
        RefusalReason.PERSON_CATEGORY_NOT_COVERED,
        "no grant for this category of persons with this purpose and offence",
        lambda grant, terms: terms.person_category in grant.person_categories,
    ),
    (
        RefusalReason.LEGAL_BASIS_NOT_COVERED,
        "no grant under this legal basis for the rest",
        lambda grant, terms: terms.legal_basis in grant.legal_bases,
    ),
)


def check(agreement: Agreement | None, terms: QueryTerms, now_ms: int) -> Grant:
    """The grant that covers the query at this time.

    One grant has to cover all of it: terms of two grants do not add up. The reason given is the first field,
    in the order of ``RefusalReason``, that leaves no grant.

    Raises:
        Refused: With the reason, never with the query's own words.
    """
    if agreement is None or not agreement.in_force:
        raise Refused(RefusalReason.AGREEMENT_UNKNOWN, "no such agreement is in force on this node")
    if not agreement.fields.not_before_ms <= now_ms < agreement.fields.not_after_ms:
        raise Refused(RefusalReason.AGREEMENT_EXPIRED, "the agreement is not valid at this time")
    grants = list(agreement.fields.grants)
    for reason, message, covers in _RULES:
        grants = [grant for grant in grants if covers(grant, terms)]
        if not grants:
            raise Refused(reason, message)
    return grants[0]


def allow(agreement: Agreement | None, terms: QueryTerms, now_ms: int, spent: Spent) -> Quota | None:
    """``check``, and the quota of the grant that covers the query; None where the grant has no quota.

    Raises:
        Refused: As ``check``, or ``quota-exceeded``.
    """
    grant = check(agreement, terms, now_ms)
    if agreement is None or grant.queries_per_day is None:
        return None
    quota = Quota(agreement.digest, agreement.fields.grants.index(grant), now_ms // limits.DAY)
    if spent(quota) >= grant.queries_per_day:
        raise Refused(
            RefusalReason.QUOTA_EXCEEDED, "the queries that the agreement allows on this day are used up"
        )
    return quota
