"""What every statement is made of: a part that the other country may see, and one that stays at home.

Source: specs/ledger.md, section "Statements".
"""

from __future__ import annotations

from typing import ClassVar, Final

from protocol.model import Country, ExchangeId, Model, Text

MAX_PART_BYTES: Final = 8 * 1024
"""One part of a statement; the largest (an intent) is about 4 kB when every text has its greatest length."""


class SharedPart(Model):
    """What the other country may see. ``type`` names the statement."""

    LIMIT: ClassVar[int] = MAX_PART_BYTES

    type: str
    exchange_id: ExchangeId

    @property
    def key(self) -> str:
        """What an exchange has at most one of on one ledger: the type, for claims with their hit."""
        return self.type


class PrivatePart(Model):
    """What stays at home, sealed, for the node and its auditors. ``HIDDEN`` fields are shown to nobody by a command."""

    LIMIT: ClassVar[int] = MAX_PART_BYTES
    HIDDEN: ClassVar[frozenset[str]] = frozenset()


class NoPrivatePart(PrivatePart):
    """A statement with nothing to keep at home."""


class LocalPart(SharedPart):
    """A statement that belongs to no exchange; ``country`` is whose ledger it is on."""

    country: Country


class Operated(PrivatePart):
    """Who did it."""

    operator: Text
