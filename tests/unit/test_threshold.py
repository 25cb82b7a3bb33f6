"""The threshold polynomial decides every possible score."""

from __future__ import annotations

import numpy as np
import pytest

from crypto.hitsearch.threshold import LEAF_DEGREE, centre, polynomial
from crypto.profiles import SearchProfile

T = 65537


CASES = [
    (norm, width)
    for norm in (17, 40, 127, 191)
    for width in (0, 1, 2, 7, 8, 30, 31, 61, 62, 63)
    if norm - width > 2
]


@pytest.mark.parametrize(("norm", "width"), CASES)
def test_zero_exactly_on_accepted_scores(norm: int, width: int) -> None:
    profile = SearchProfile(128, 2, norm, norm - width)
    centring = centre(profile)
    p = polynomial(centring.roots, T)
    for score in range(-norm, norm + 1):
        u = centring.scale * score - centring.offset
        assert (p.evaluate(u * u % T) == 0) == (score >= profile.threshold), score


@pytest.mark.parametrize("width", range(64))
def test_degree_and_leaves(width: int) -> None:
    profile = SearchProfile(128, 2, 127, 127 - width)
    p = polynomial(centre(profile).roots, T)
    assert sum(len(leaf) for leaf in p.leaves) == profile.roots
    assert all(1 <= len(leaf) <= LEAF_DEGREE for leaf in p.leaves)
    assert len(p.leaves).bit_count() == 1


def test_random_points_agree_with_the_product_of_roots() -> None:
    roots = centre(SearchProfile(128, 2, 127, 65)).roots
    p = polynomial(roots, T)
    for w in np.random.default_rng(0).integers(0, T, 200).tolist():
        expected = 1
        for root in roots:
            expected = expected * (w - root) % T
        assert p.evaluate(w) == expected
