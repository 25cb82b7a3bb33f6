"""A small profile, and templates made the slow way: fractions, and every way to spend the norm."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np

from crypto.profiles import Profile, SearchProfile
from crypto.templates import FEATURE_BITS


def small_profile(
    d: int = 6, n: int = 8, bound: int = 2, norm: int = 7, threshold: int = 5, seed: int = 1
) -> Profile:
    random = np.random.default_rng(seed)
    return Profile(
        name="small",
        version=1,
        modality="face",
        fitted_on="nobody: random numbers",
        search=SearchProfile(n, bound, norm, threshold),
        mean=random.normal(size=d).astype(np.float32),
        matrix=random.integers(-32768, 32768, (d, n)).astype(np.int16),
    )


def round_half_even(value: Fraction) -> int:
    return round(value)


def slow_template(features: list[float], profile: Profile) -> list[int]:
    """The rule of specs/matching.md, section 1, word by word and without numpy's arithmetic."""
    centred = [float(x) - float(m) for x, m in zip(features, profile.mean.tolist(), strict=True)]
    exponent = math.frexp(max(abs(c) for c in centred))[1]
    scale = Fraction(2) ** (FEATURE_BITS - exponent)
    whole = [round_half_even(Fraction(c) * scale) for c in centred]
    mapped = [
        sum(w * int(row[j]) for w, row in zip(whole, profile.matrix, strict=True)) for j in range(profile.n)
    ]
    order = sorted(range(profile.n), key=lambda j: (-abs(mapped[j]), j))
    best: tuple[int, list[int]] | None = None
    bound, norm, n = profile.search.bound, profile.search.norm, profile.n
    # Magnitudes that never rise along the order; fewer large entries first.
    splits = itertools.product(*(range(n + 1) for _ in range(bound)))
    for high_first in splits:
        counts = list(reversed(high_first))  # c_1, ..., c_bound
        if sorted(counts, reverse=True) != counts:
            continue
        if sum((2 * level + 1) * c for level, c in enumerate(counts)) != norm:
            continue
        magnitudes = [sum(rank < c for c in counts) for rank in range(n)]
        gain = sum(m * abs(mapped[j]) for m, j in zip(magnitudes, order, strict=True))
        if best is None or gain > best[0]:
            best = (gain, magnitudes)
    assert best is not None
    template = [0] * n
    for magnitude, j in zip(best[1], order, strict=True):
        template[j] = -magnitude if mapped[j] < 0 else magnitude
    return template
