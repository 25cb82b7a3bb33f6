"""Galleries that are fuller than probes: the same polynomial, half of it when no entry is zero; rows are checked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from crypto.errors import BadTemplate
from crypto.fitting import FAMILIES
from crypto.hitsearch.parameters import plan_for
from crypto.hitsearch.responder import check_block
from crypto.hitsearch.threshold import centre
from crypto.profiles import PLAINTEXT_MODULUS, SearchProfile
from crypto.templates import empty_slot

SIGNS = SearchProfile(512, 1, 209, 85, gallery=512)
FULLER = SearchProfile(512, 1, 140, 78, gallery=300)


@pytest.mark.parametrize("threshold", [85, 87, 89])
def test_with_all_signs_exactly_the_possible_scores_from_the_threshold_on_are_roots(threshold: int) -> None:
    centring = centre(replace(SIGNS, threshold=threshold))
    assert len(centring.roots) == replace(SIGNS, threshold=threshold).roots
    for score in range(-209, 210, 2):
        w = (centring.scale * score - centring.offset) ** 2 % PLAINTEXT_MODULUS
        assert (w in centring.roots) == (score >= threshold)
    for score in (-1, 0, 1):  # an empty slot
        assert (score - centring.offset) ** 2 % PLAINTEXT_MODULUS not in centring.roots


def test_every_family_has_a_plan() -> None:
    for family in FAMILIES.values():
        assert len(plan_for(family.search).centring.roots) == 32


def test_the_fuller_gallery_is_part_of_the_plans_name() -> None:
    plain = SearchProfile(512, 1, 140, 78)
    assert plan_for(FULLER).identifier != plan_for(plain).identifier
    assert plan_for(FULLER).identifier != plan_for(replace(FULLER, gallery=301)).identifier


@pytest.mark.parametrize("search", [SIGNS, FULLER])
def test_rows_are_gallery_templates_or_empty_slots(search: SearchProfile) -> None:
    plan = plan_for(search)
    block = np.stack([empty_slot(512, i) for i in range(plan.block_size)])
    block[7] = 0
    block[7, : search.gallery] = -1
    check_block(block, plan)
    for row in (np.r_[np.ones(search.norm), np.zeros(512 - search.norm)], np.zeros(512)):
        wrong = block.copy()
        wrong[9] = row
        with pytest.raises(BadTemplate):
            check_block(wrong, plan)
    wrong = block.copy()
    wrong[7, :4] = 0, 0, 0, 2  # the same sum of squares
    with pytest.raises(BadTemplate):
        check_block(wrong, plan)
