"""Profiles: the named, frozen and hash-pinned rules that turn a feature vector into a template.

Source: specs/matching.md, section 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from crypto.errors import ImpossibleProfile

PLAINTEXT_MODULUS: Final = 65537
ROW_SLOTS: Final = 8192


@dataclass(frozen=True, slots=True)
class SearchProfile:
    """The four integers of a profile that the encrypted search depends on.

    Attributes:
        n: Length of a template; a power of two that divides a row of slots.
        bound: Largest absolute value of an entry (a).
        norm: Exact sum of squares of every template (S); also the highest score.
        threshold: Lowest score that is a hit (tau).

    Raises:
        ImpossibleProfile: The integers contradict each other or would wrap in the plaintext ring.
    """

    n: int
    bound: int
    norm: int
    threshold: int

    def __post_init__(self) -> None:
        for name in ("n", "bound", "norm", "threshold"):
            if type(getattr(self, name)) is not int:
                raise ImpossibleProfile(f"{name} must be an integer")
        half = PLAINTEXT_MODULUS / 2
        if not 2 <= self.n <= ROW_SLOTS or self.n & (self.n - 1):
            raise ImpossibleProfile(f"n must be a power of two from 2 to {ROW_SLOTS}, not {self.n}")
        if self.bound < 1:
            raise ImpossibleProfile(f"bound must be at least 1, not {self.bound}")
        if not 2 <= self.norm <= self.n * self.bound**2:
            raise ImpossibleProfile(f"norm must lie in 2..n*bound^2, not {self.norm}")
        if self.n * self.bound**2 >= half or 2 * self.norm >= half:
            raise ImpossibleProfile(f"n*bound^2 and 2*norm must stay below {half}: scores would wrap")
        if not 1 <= self.threshold <= self.norm:
            raise ImpossibleProfile(f"threshold must lie in 1..norm, not {self.threshold}")
        if self.threshold <= self.bound:
            raise ImpossibleProfile("threshold must exceed bound, or an empty slot could hit")

    @property
    def roots(self) -> int:
        """Degree of the threshold polynomial in w = (score - centre)^2: m + 1 distinct accepted squares."""
        return (self.norm - self.threshold) // 2 + 1
