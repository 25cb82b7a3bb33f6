"""Codes with masks: turned, pooled, fitted; and galleries that are fuller than probes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from crypto.code_fitting import fit_code_profile, usual_form
from crypto.codes import CodeForm, code_vectors, turned_vectors
from crypto.errors import BadFeatures, BadProfile, BadTemplate, ConcordatError, ImpossibleProfile
from crypto.profiles import Profile, SearchProfile, load_profile
from crypto.templates import make_templates, validate
from node.profiles import builtin
from node.synthetic_codes import SHAPE, eyes, iris_images

FORM = CodeForm((1, 4, 16, 2), (2, 2), (-2, 0, 1), 50)
RANDOM = np.random.default_rng(7)
CODES = RANDOM.integers(0, 256, (5, 16), np.uint8)
MASKS = RANDOM.integers(0, 256, (5, 16), np.uint8) | RANDOM.integers(0, 256, (5, 16), np.uint8)


def small() -> Profile:
    matrix = np.random.default_rng(3).integers(-999, 999, (32, 16)).astype(np.int16)
    search = SearchProfile(16, 1, 8, 4, gallery=16)
    return Profile("small-iris", 1, "iris", "nobody", search, np.zeros(32, np.float32), matrix, FORM)


def slow_vector(code: np.ndarray, mask: np.ndarray, step: int) -> list[int]:
    """Position by position: +1 or -1 where usable, turned, neighbours added."""
    bit = np.unpackbits(code).reshape(FORM.shape).tolist()
    usable = np.unpackbits(mask).reshape(FORM.shape).tolist()
    sums = np.zeros((1, 2, 8, 2), int)
    for radial in range(4):
        for angle in range(16):
            for part in range(2):
                source = (angle - step) % 16
                if usable[0][radial][source][part]:
                    sums[0, radial // 2, angle // 2, part] += 2 * bit[0][radial][source][part] - 1
    return [int(x) for x in sums.ravel()]


@pytest.mark.parametrize("step", [-2, 0, 1, 7])
def test_codes_become_the_vectors_that_the_rule_gives(step: int) -> None:
    vectors = code_vectors(CODES, MASKS, FORM, step)
    assert vectors.dtype == np.float32
    assert vectors.tolist() == [slow_vector(c, m, step) for c, m in zip(CODES, MASKS, strict=True)]


def test_a_probe_is_turned_by_every_step() -> None:
    turned = turned_vectors(CODES[1], MASKS[1], FORM)
    assert turned.tolist() == [slow_vector(CODES[1], MASKS[1], step) for step in FORM.steps]


def test_codes_with_few_usable_bits_are_refused_by_row() -> None:
    masks = MASKS.copy()
    masks[3] = 1
    with pytest.raises(BadFeatures, match="row 3"):
        code_vectors(CODES, masks, FORM)
    assert len(code_vectors(CODES, masks, replace(FORM, min_valid=0))) == 5


@pytest.mark.parametrize("wrong", [CODES[:, :8], CODES.astype(np.int16), CODES[:4]])
def test_other_codes_are_refused(wrong: Any) -> None:
    with pytest.raises(BadFeatures):
        code_vectors(wrong, MASKS, FORM)


@pytest.mark.parametrize(
    "wrong",
    [
        {"shape": (1, 4, 16)},
        {"shape": (1, 4, 16, 0)},
        {"shape": (1, 5, 16, 2)},
        {"shape": (2**16, 4, 16, 2)},
        {"shape": (1, 4, 16, True)},
        {"shape": (2, 64, 256, 2), "pool": (1, 1)},
        {"pool": (3, 2)},
        {"pool": (0, 2)},
        {"steps": ()},
        {"steps": (0, 0)},
        {"steps": (1, 0)},
        {"steps": (1, 2)},
        {"steps": (-16, 0)},
        {"steps": tuple(range(33))},
        {"min_valid": 101},
        {"min_valid": -1},
    ],
)
def test_impossible_forms_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadProfile):
        replace(FORM, **wrong)


def test_a_profile_of_codes_survives_its_file() -> None:
    profile = small()
    again = load_profile(profile.to_bytes(), profile.digest)
    assert (again.code, again.search, again.to_bytes()) == (FORM, profile.search, profile.to_bytes())
    assert json.loads(profile.to_bytes())["format"] == "concordat-profile-v2"


@pytest.mark.parametrize(
    "wrong",
    [
        {"format": "concordat-profile-v1"},
        {"code_shape": []},
        {"code_shape": [1, 4, 16]},
        {"code_shape": [1, 4, 16, 2.0]},
        {"code_shape": [1, 4, 16, [2]]},
        {"code_shape": "1"},
        {"code_pool": [2, 1]},
        {"code_steps": [0, 0]},
        {"code_min_valid": "50"},
        {"gallery": 8},
        {"gallery": 17},
        {"gallery": -1},
        {"gallery": 9, "bound": 2},
        {"threshold": 5},
    ],
)
def test_wrong_files_of_codes_are_refused(wrong: dict[str, Any]) -> None:
    fields = json.loads(small().to_bytes()) | wrong
    with pytest.raises((BadProfile, ImpossibleProfile)):
        load_profile(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode())


def test_the_second_format_is_only_for_what_needs_it() -> None:
    plain = replace(small(), code=None, search=SearchProfile(16, 1, 8, 4))
    fields = json.loads(plain.to_bytes())
    assert fields["format"] == "concordat-profile-v1"
    more = {"code_min_valid": 0, "code_pool": [], "code_shape": [], "code_steps": [], "gallery": 0}
    fields |= more | {"format": "concordat-profile-v2"}
    with pytest.raises(BadProfile, match="canonical"):
        load_profile(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode())


def test_a_full_gallery_has_scores_of_one_parity_up_to_the_norm() -> None:
    profile = small()
    vectors = code_vectors(CODES, MASKS, FORM)
    probes = make_templates(vectors, profile).astype(int)
    gallery = make_templates(vectors, profile, gallery=True).astype(int)
    assert np.all(np.abs(gallery) == 1)
    assert np.all((probes @ gallery.T) % 2 == 0)
    assert np.all(np.diag(probes @ gallery.T) == profile.search.norm)
    assert np.all(np.sum(probes**2, axis=1) == 8)
    assert profile.search.step == 2
    assert profile.search.roots == 2, "scores 4, 6, 8: centred -2, 0, 2"


def test_a_fuller_gallery_has_its_own_norm() -> None:
    profile = replace(small(), search=SearchProfile(16, 1, 8, 4, gallery=12))
    made = make_templates(code_vectors(CODES, MASKS, FORM), profile, gallery=True)
    assert profile.search.step == 1
    validate(made[0], profile, gallery=True)
    with pytest.raises(BadTemplate):
        validate(made[0], profile)


def test_one_eye_turned_is_found_and_another_is_not() -> None:
    profile = builtin("iris-512")
    codes, masks = iris_images(eyes(12, 31), 2, 32)
    assert profile.code is not None
    gallery = make_templates(code_vectors(codes[::2], masks[::2], profile.code), profile, gallery=True)
    best = np.zeros((12, 12), int)
    for row in range(12):
        probes = make_templates(turned_vectors(codes[2 * row + 1], masks[2 * row + 1], profile.code), profile)
        assert len(probes) == 9
        best[row] = (gallery.astype(int) @ probes.astype(int).T).max(axis=1)
    hits = best >= profile.search.threshold
    assert np.diag(hits).sum() >= 11
    assert hits.sum() == np.diag(hits).sum()


def test_codes_are_fitted_whichever_way_they_stand() -> None:
    codes, masks = iris_images(eyes(30, 33), 3, 34)
    labels = np.repeat(np.arange(30), 3)
    form = CodeForm(SHAPE, (4, 8), (-8, 0, 8), 50)
    profile = fit_code_profile(codes, masks, labels, "iris-512", form, name="own", fitted_on="synthetic")
    assert profile.matrix.shape == (form.d, 512)
    assert not profile.mean.any()
    # The map looks at no constant part: a code of ones everywhere is in no direction of it, but for rounding.
    ones = np.ones((1, form.d)) @ profile.matrix.astype(float)
    assert np.abs(ones).max() < 0.02 * np.abs(profile.matrix.astype(float)).sum(axis=0).max()


def test_codes_that_cannot_be_fitted_are_refused() -> None:
    codes, masks = iris_images(eyes(3, 35), 1, 36)
    form = usual_form(SHAPE)
    for labels, family in (
        (np.arange(3), "iris-512"),
        (np.zeros(2), "iris-512"),
        (np.zeros(3), "finger-1024"),
    ):
        with pytest.raises(ConcordatError):
            fit_code_profile(codes, masks, labels, family, form, name="own", fitted_on="nobody")
    same = np.repeat(codes[:1], 2, axis=0), np.repeat(masks[:1], 2, axis=0)
    with pytest.raises(BadFeatures, match="equal"):
        fit_code_profile(*same, np.zeros(2), "iris-512", form, name="own", fitted_on="nobody")


def test_the_usual_form_fits_a_profile() -> None:
    assert usual_form((2, 16, 256, 2)).pool == (2, 2)
    assert usual_form((2, 16, 256, 2)).steps == tuple(range(-12, 13, 3))
    assert usual_form((1, 1, 64, 1)).d == 32
    assert usual_form((4, 32, 512, 1)).d <= 4096
    with pytest.raises(BadProfile):
        usual_form((31, 31, 8, 8))
