"""What can be wrong with a ledger of our own.

Source: specs/ledger.md, section "Durability".
"""

from __future__ import annotations

from crypto.errors import LocalFault


class LedgerDamaged(LocalFault):
    """The ledger's files do not agree with its checkpoint. Nothing is written to it any more."""

    code = "ledger-damaged"


class LedgerUnavailable(LocalFault):
    """The ledger could not be written: nothing was acknowledged, the caller must not go on."""

    code = "ledger-unavailable"


class LedgerRolledBack(LocalFault):
    """Somebody holds a newer checkpoint of this ledger than its own: our copy is an older one.

    Attributes:
        seen_size: The size that is held.
    """

    code = "ledger-rolled-back"

    def __init__(self, message: str, seen_size: int) -> None:
        super().__init__(message)
        self.seen_size = seen_size
