"""Files that accuse a peer, of whichever kind: conflicts of its ledger, and evidence about its keys.

Source: specs/ledger.md, sections "Conflicts" and "Evidence about keys".
"""

from __future__ import annotations

from typing import Final

from crypto.errors import ConcordatError
from protocol.conflict import MAX_CONFLICT_BYTES, Conflict, read_conflict
from protocol.key_evidence import BadKeyEvidence, KeyEvidence

MAX_ACCUSATION_BYTES: Final = MAX_CONFLICT_BYTES

_MAP: Final = b"\x89"
"""How a map of nine fields begins."""

Accusation = Conflict | KeyEvidence


def is_key_evidence(data: bytes) -> bool:
    """Whether a file is evidence about keys rather than a conflict: a map, not lines."""
    return data.startswith(_MAP)


def read_accusation(data: bytes) -> Accusation:
    """Parse a file of either kind; what it says is not yet checked.

    Raises:
        BadConflict, BadKeyEvidence: Not in its one form.
    """
    if not is_key_evidence(data):
        return read_conflict(data)
    try:
        return KeyEvidence.from_bytes(data)
    except ConcordatError as error:
        raise BadKeyEvidence(f"evidence about keys: {error}") from None


def accusation_words(one: Accusation) -> str:
    """Of what, in a few words."""
    return (
        f"the peer's ledger contradicts itself: {one.rule}"
        if isinstance(one, Conflict)
        else (f"the peer broke the registration of keys: {one.rule}")
    )
