"""Templates under random profiles and random or extreme vectors: always valid, always the slow rule's."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from slow_templates import slow_template, small_profile

from crypto.profiles import Profile, load_profile
from crypto.templates import make_template, score, validate

SHAPES = [(4, 1, 3, 2), (8, 2, 7, 5), (8, 2, 9, 4), (8, 3, 13, 6), (4, 4, 19, 7)]

profiles = st.builds(
    lambda d, shape, seed: small_profile(d, *shape, seed=seed),
    st.integers(2, 9),
    st.sampled_from(SHAPES),
    st.integers(0, 2**32),
)
numbers = st.one_of(
    st.floats(-1e3, 1e3, width=32),
    st.floats(allow_nan=False, allow_infinity=False, min_value=-1e308, max_value=1e308),
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 5e-324, 2.0**-1022]),
)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Profile, np.ndarray]:
    profile = draw(profiles)
    vector = np.array(draw(st.lists(numbers, min_size=profile.d, max_size=profile.d)))
    assume(vector.min() < vector.max())
    return profile, vector


@given(cases())
def test_any_vector_gives_a_valid_template(case: tuple[Profile, np.ndarray]) -> None:
    profile, vector = case
    template = make_template(vector, profile)
    validate(template, profile)
    assert score(template, template) == profile.search.norm


@given(cases())
def test_any_vector_gives_the_template_of_the_slow_rule(case: tuple[Profile, np.ndarray]) -> None:
    profile, vector = case
    assert make_template(vector, profile).tolist() == slow_template(vector.tolist(), profile)


@given(profiles, st.integers(0, 2**32))
def test_scores_obey_cauchy_and_schwarz(profile: Profile, seed: int) -> None:
    left, right = np.random.default_rng(seed).normal(size=(2, profile.d))
    value = score(make_template(left, profile), make_template(right, profile))
    assert -profile.search.norm <= value <= profile.search.norm


@given(profiles)
def test_a_profile_survives_its_file(profile: Profile) -> None:
    assert load_profile(profile.to_bytes(), profile.digest).to_bytes() == profile.to_bytes()
