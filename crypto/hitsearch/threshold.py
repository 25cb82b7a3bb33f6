"""The polynomial that vanishes exactly on accepted scores.

Accepted scores are ``tau..S``. An affine map sends them to a set that is symmetric about zero, so that the
square w of the mapped score takes few accepted values, and a polynomial in w of half the degree decides.

Source: specs/matching.md, section 4.
"""

from __future__ import annotations

from dataclasses import dataclass

from crypto.profiles import SearchProfile

LEAF_DEGREE = 4


@dataclass(frozen=True)
class Centring:
    """``u = scale * score - offset``; w = u^2 is accepted when it is one of ``roots``."""

    scale: int
    offset: int
    roots: tuple[int, ...]


def centre(profile: SearchProfile) -> Centring:
    """The affine map and the accepted values of w.

    An odd number of accepted scores has a middle score: scale 1, roots 0, 1, 4, 9, ...
    An even number has none: scale 2, and u takes odd values only: roots 1, 9, 25, ...
    When only every second score can occur (step 2), they are the squares of one parity: 0, 4, 16, ... or 1, 9, 25, ...
    """
    width = profile.norm - profile.threshold
    if profile.step == 2:
        highest = width // 2
        return Centring(
            1,
            (profile.norm + profile.threshold) // 2,
            tuple(x * x for x in range(highest % 2, highest + 1, 2)),
        )
    if width % 2 == 0:
        return Centring(
            1, (profile.norm + profile.threshold) // 2, tuple(x * x for x in range(width // 2 + 1))
        )
    return Centring(2, profile.norm + profile.threshold, tuple(x * x for x in range(1, width + 1, 2)))


@dataclass(frozen=True)
class ThresholdPolynomial:
    """A product of monic leaves, each given by its coefficients below the leading one, mod t.

    ``leaves[i][e]`` is the coefficient of ``w^e``; the degree of a leaf is the length of its tuple, at most 4.
    The number of leaves is a power of two: they are multiplied as a balanced tree.
    """

    modulus: int
    leaves: tuple[tuple[int, ...], ...]

    def evaluate(self, w: int) -> int:
        """The value at w, mod t: the plain meaning of what the responder computes under encryption."""
        product = 1
        for leaf in self.leaves:
            value = sum(c * pow(w, e, self.modulus) for e, c in enumerate(leaf)) + pow(
                w, len(leaf), self.modulus
            )
            product = product * value % self.modulus
        return product


def polynomial(roots: tuple[int, ...], modulus: int) -> ThresholdPolynomial:
    """Split the roots evenly over the smallest power of two of leaves of degree at most ``LEAF_DEGREE``."""
    count = 1
    while count * LEAF_DEGREE < len(roots):
        count *= 2
    leaves = [_from_roots(roots[i::count], modulus) for i in range(count)]
    return ThresholdPolynomial(modulus, tuple(leaves))


def _from_roots(roots: tuple[int, ...], modulus: int) -> tuple[int, ...]:
    coefficients = [1]
    for root in roots:
        shifted = [0, *coefficients]
        scaled = [*(-root * c for c in coefficients), 0]
        coefficients = [(a + b) % modulus for a, b in zip(shifted, scaled, strict=True)]
    return tuple(coefficients[:-1])
