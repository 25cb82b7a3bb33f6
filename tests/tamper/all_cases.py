"""The whole matrix."""

from __future__ import annotations

import checkpoint_cases
import claim_cases
import conflict_cases
import files_cases
import filler_cases
import key_cases
import peer_cases
import statement_cases
import trust_cases
from matrix import Cases


def all_cases() -> Cases:
    """Every case of every family, in a fixed order."""
    for family in (
        files_cases,
        checkpoint_cases,
        statement_cases,
        filler_cases,
        peer_cases,
        conflict_cases,
        claim_cases,
        trust_cases,
        key_cases,
    ):
        yield from family.cases()
