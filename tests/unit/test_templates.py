"""Templates: exact norm, the best choice, the same bits whatever the linear algebra, and typed refusals."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from slow_templates import slow_template, small_profile

from crypto.errors import BadFeatures, BadTemplate
from crypto.profiles import SearchProfile
from crypto.templates import empty_slot, make_template, make_templates, score, scores, validate
from node.profiles import DIGESTS, builtin
from node.synthetic import images, people


@pytest.mark.parametrize("name", DIGESTS)
def test_every_template_is_valid(name: str) -> None:
    profile = builtin(name)
    vectors = images(people(300, 5, profile.d), 1, 6)[:, 0]
    for template in make_templates(vectors, profile):
        validate(template, profile)


def test_a_template_is_the_best_of_all_that_are_allowed() -> None:
    profile = small_profile(d=5, n=4, bound=2, norm=7, threshold=5)
    allowed = [t for t in itertools.product(range(-2, 3), repeat=4) if sum(x * x for x in t) == 7]
    for vector in np.random.default_rng(2).normal(size=(50, 5)):
        mapped = (vector - profile.mean) @ profile.matrix.astype(float)
        best = max(allowed, key=lambda t: float(mapped @ np.array(t)))
        assert make_template(vector, profile).tolist() == list(best)


@pytest.mark.parametrize(("bound", "norm", "threshold"), [(1, 6, 3), (2, 7, 5), (3, 15, 7), (4, 31, 9)])
def test_templates_equal_the_slow_rule(bound: int, norm: int, threshold: int) -> None:
    profile = small_profile(bound=bound, norm=norm, threshold=threshold)
    random = np.random.default_rng(bound)
    for vector in random.normal(size=(20, 6)) * 10.0 ** random.integers(-3, 4, (20, 1)):
        assert make_template(vector, profile).tolist() == slow_template(vector.tolist(), profile)


def test_no_order_of_summation_changes_a_bit() -> None:
    profile = builtin("embedding-256")
    vectors = images(people(64, 9, profile.d), 1, 9)[:, 0]
    expected = make_templates(vectors, profile)
    order = np.random.default_rng(3).permutation(profile.d)
    shuffled = type(profile)(
        profile.name,
        profile.version,
        profile.modality,
        profile.fitted_on,
        profile.search,
        profile.mean[order],
        profile.matrix[order],
    )
    assert np.array_equal(make_templates(vectors[:, order], shuffled), expected)
    assert np.array_equal(np.stack([make_template(v, profile) for v in vectors]), expected)
    assert np.array_equal(make_templates(np.asfortranarray(vectors.astype(np.float64)), profile), expected)


def test_ties_go_to_the_lower_index_and_to_fewer_large_entries() -> None:
    profile = small_profile(d=2, n=8, bound=2, norm=7, threshold=5)
    level = type(profile)(
        "level",
        1,
        "face",
        "nobody",
        profile.search,
        np.zeros(2, np.float32),
        np.full((2, 8), 100, np.int16),
    )
    nearly = np.array([1.0, 1.0 + 2.0**-30])
    assert make_template(nearly, level).tolist() == [1, 1, 1, 1, 1, 1, 1, 0]
    assert make_template(-nearly, level).tolist() == [-1, -1, -1, -1, -1, -1, -1, 0]


@pytest.mark.parametrize("size", [5e-324, 1e-300, 1e300, 1.7e308])
def test_extreme_sizes_are_exact_too(size: float) -> None:
    profile = small_profile(d=2)
    centred = type(profile)(
        "zero", 1, "face", "nobody", profile.search, np.zeros(2, np.float32), profile.matrix
    )
    assert np.array_equal(
        make_template(np.array([size, -size]), centred), make_template(np.array([1.0, -1.0]), centred)
    )


def bad_vectors() -> dict[str, np.ndarray]:
    profile = small_profile()
    good = np.ones(6)
    return {
        "nan": np.where(np.arange(6) == 2, np.nan, good),
        "infinite": np.where(np.arange(6) == 5, -np.inf, good),
        "short": good[:5],
        "long": np.ones(7),
        "matrix": np.ones((1, 6)),
        "integers": np.ones(6, np.int64),
        "text": np.array(["1"] * 6),
        "objects": np.array([1.0] * 6, dtype=object),
        "complex": np.ones(6, np.complex128),
        "the mean": profile.mean,
    }


@pytest.mark.parametrize("case", bad_vectors())
def test_bad_features_are_refused(case: str) -> None:
    with pytest.raises(BadFeatures):
        make_template(bad_vectors()[case], small_profile())


@pytest.mark.parametrize("value", [0.0, -0.0, 1.0, -3.5, 1e300])
def test_what_an_extractor_gives_when_it_finds_nothing_is_no_template(value: float) -> None:
    """Less the mean, such a vector would make a template that looks like any other."""
    vectors = np.random.default_rng(1).normal(size=(3, 6))
    vectors[2] = value
    with pytest.raises(BadFeatures, match="row 2 is zero or the same everywhere"):
        make_templates(vectors, small_profile())


def test_the_bad_row_is_named_also_beyond_the_first_chunk() -> None:
    vectors = np.random.default_rng(1).normal(size=(1500, 6))
    vectors[1300, 3] = np.nan
    with pytest.raises(BadFeatures, match=r"row 1300 "):
        make_templates(vectors, small_profile())


def test_a_vector_outside_the_matrix_is_refused() -> None:
    profile = small_profile(d=2)
    matrix = profile.matrix.copy()
    matrix[1] = 0
    blind = type(profile)("blind", 1, "face", "nobody", profile.search, np.zeros(2, np.float32), matrix)
    with pytest.raises(BadFeatures, match="no direction"):
        make_template(np.array([0.0, 1.0]), blind)


@pytest.mark.parametrize(
    "template",
    [
        np.array([2, 1, 1, 1, 0, 0, 0, 0], np.int16),
        np.array([2, 1, 1, 1, 0, 0, 0], np.int8),
        np.array([[2, 1, 1, 1, 0, 0, 0, 0]], np.int8),
        np.array([2, 1, 1, 0, 0, 0, 0, 0], np.int8),
        np.array([2, 1, 1, 1, 1, 0, 0, 0], np.int8),
        np.array([3, 0, 0, 0, 0, 0, 0, 0], np.int8),
        np.array([-128, 0, 0, 0, 0, 0, 0, 0], np.int8),
        np.zeros(8, np.int8),
        [2, 1, 1, 1, 0, 0, 0, 0],
    ],
)
def test_bad_templates_are_refused(template: np.ndarray) -> None:
    with pytest.raises(BadTemplate):
        validate(template, SearchProfile(8, 2, 7, 5))


def test_an_empty_slot_never_hits() -> None:
    profile = builtin("embedding-256")
    probes = make_templates(images(people(20, 3, profile.d), 1, 3)[:, 0], profile)
    slots = np.stack([empty_slot(profile.n, i) for i in range(3 * profile.n)])
    assert (np.abs(slots.astype(int)).sum(axis=1) == 1).all()
    for probe in probes:
        assert scores(slots, probe).max() <= profile.search.bound < profile.search.threshold


def test_scores() -> None:
    left, right = np.array([2, 1, -1, 1], np.int8), np.array([1, -2, -1, 1], np.int8)
    assert score(left, right) == 2
    assert score(left, left) == 7
    assert score(left, -left) == -7
    assert scores(np.stack([left, right, -left]), left).tolist() == [7, 2, -7]
    wide = np.full(1024, 4, np.int8)
    assert score(wide, wide) == 16384, "int8 would have wrapped"


def test_features_are_rounded_before_anything_is_summed() -> None:
    """A difference below the 22 bits is no difference: the tie goes to the lower index."""
    search = SearchProfile(8, 2, 7, 5)
    matrix = np.zeros((2, 8), np.int16)
    matrix[0, 0] = matrix[1, 1] = 32767
    profile = type(small_profile())("axes", 1, "face", "nobody", search, np.zeros(2, np.float32), matrix)
    assert make_template(np.array([1.0, 1.0 + 2.0**-30]), profile).tolist() == [2, 1, 1, 1, 0, 0, 0, 0]
    assert make_template(np.array([1.0, 1.0 + 2.0**-20]), profile).tolist() == [1, 2, 1, 1, 0, 0, 0, 0]
