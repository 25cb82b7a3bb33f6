"""Statements about the records themselves: who read them, what was erased, what must not be, what was confirmed,
and the entries that say nothing.

Source: specs/ledger.md, sections "Statements", "Retention", "Reading" and "Cadence".
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, field_validator

from protocol.model import Count, Country, Hash, Term, Text
from protocol.statement_parts import LocalPart, NoPrivatePart, Operated, PrivatePart, SharedPart

MAX_ERASED: Final = 200
"""Payloads named by one statement: 200 hashes of 32 bytes fit the part."""

ReadScope = Literal["payload", "pull", "search", "statistics", "recompute"]
ReadPurpose = Literal["lawfulness-check", "self-monitoring", "security", "proceedings"]
"""What the law lets a log be read for."""


class PayloadsErased(LocalPart):
    """These payloads went after their retention; their leaves stay, and every proof with them.

    Attributes:
        leaves: Leaf hashes of the entries, in the order of the tree.
        legal_basis: Whose retention rule it was.
        retention_days: What the rule said on that day.
    """

    type: Literal["payloads.erased"] = "payloads.erased"
    leaves: Annotated[list[Hash], Field(min_length=1, max_length=MAX_ERASED)]
    legal_basis: Term
    retention_days: Annotated[int, Field(ge=1, le=36_525)]

    @field_validator("leaves")
    @classmethod
    def _each_once(cls, value: list[bytes]) -> list[bytes]:
        if len(set(value)) != len(value):
            raise ValueError("an entry is named twice")
        return value


class HoldPlaced(LocalPart):
    """No payload of this exchange may be erased until the hold is released.

    ``exchange`` is the hashed exchange id as it stands in the leaves.
    """

    type: Literal["hold.placed"] = "hold.placed"
    exchange: Hash


class Held(PrivatePart):
    """Who asked for the hold, on what ground, and who placed it."""

    operator: Text
    authority: Text
    reference: Text


class HoldReleased(LocalPart):
    """The hold on this exchange has ended; ``placed`` is the leaf hash of the statement that placed it."""

    type: Literal["hold.released"] = "hold.released"
    exchange: Hash
    placed: Hash


class LedgerRead(LocalPart):
    """Somebody is about to read this ledger's records.

    Attributes:
        scope: One payload, or all of them by a pull, a search or statistics.
        first: Index of the first entry that is read.
        count: How many entries.
    """

    type: Literal["ledger.read"] = "ledger.read"
    scope: ReadScope
    first: Count
    count: Count


class Reading(PrivatePart):
    """Who reads, with which key, and what for."""

    reader: Text
    key: Hash
    purpose: ReadPurpose


class QueryConfirmed(SharedPart):
    """People have compared what a hit led to: it is the person, or it is not."""

    type: Literal["query.confirmed"] = "query.confirmed"
    requester: Country
    responder: Country
    agreement: Hash
    query_hash: Hash
    confirmed: bool


class Compared(PrivatePart):
    """The two persons who verified the match, and to whom what was disclosed."""

    examiner: Text
    second_examiner: Text
    disclosed_to: Text | None


class LogFiller(LocalPart):
    """Nothing happened: an entry that makes the ledger grow alike whatever happens."""

    type: Literal["log.filler"] = "log.filler"


class CadenceStated(LocalPart):
    """From here on a served node brings this ledger to a multiple of ``entries`` every ``seconds``; 0 is not at all."""

    type: Literal["cadence.stated"] = "cadence.stated"
    seconds: Annotated[int, Field(ge=0, le=86_400)]
    entries: Annotated[int, Field(ge=4, le=1024)]


FILLER: Final = "log.filler"
CADENCE: Final = "cadence.stated"
FILLER_BASIS: Final = "filler"
"""Under this name the operator says how long the payloads of fillers are kept; they have no legal basis."""

RECORD_STATEMENTS: Final[dict[str, tuple[type[SharedPart], type[PrivatePart]]]] = {
    "query.confirmed": (QueryConfirmed, Compared),
    "payloads.erased": (PayloadsErased, Operated),
    "hold.placed": (HoldPlaced, Held),
    "hold.released": (HoldReleased, Operated),
    "ledger.read": (LedgerRead, Reading),
    FILLER: (LogFiller, NoPrivatePart),
    CADENCE: (CadenceStated, NoPrivatePart),
}
"""The shared and private model of every statement type in this file."""
