"""Synthetic people: the same for the same seed, and as hard to tell apart as specs/matching.md says."""

from __future__ import annotations

import numpy as np

from crypto.templates import make_templates
from node.profiles import builtin
from node.synthetic import GOOD_IMAGES, images, people


def test_seeds_decide() -> None:
    assert np.array_equal(people(3, 1), people(3, 1))
    assert not np.array_equal(people(3, 1), people(3, 2))
    assert np.array_equal(images(people(3, 1), 2, 5), images(people(3, 1), 2, 5))
    assert not np.array_equal(images(people(3, 1), 2, 5), images(people(3, 1), 2, 6))
    assert images(people(3, 1, 96), 2, 5).shape == (3, 2, 96)


def test_spread_is_like_that_of_real_embeddings() -> None:
    profile = builtin("embedding-128")
    vectors = images(people(1500, 11), 2, 12)
    assert np.allclose(np.linalg.norm(vectors, axis=2), 1, atol=1e-5)
    assert 0.25 < float((vectors[:750, 0] @ vectors[750:, 0].T).mean()) < 0.45, "the common mean is missing"
    centred = vectors - profile.mean
    centred /= np.linalg.norm(centred, axis=2, keepdims=True)
    mated = (centred[:, 0] * centred[:, 1]).sum(axis=1)
    strangers = centred[:750, 0] @ centred[750:, 0].T
    assert 0.55 < np.percentile(mated, 1) < 0.65
    assert 0.9 < np.percentile(mated, 99) < 0.95
    assert abs(strangers.mean()) < 0.01
    assert 0.09 < strangers.std() < 0.12


def test_people_hit_themselves_and_nobody_else() -> None:
    profile = builtin("embedding-128")
    someone = people(4000, 21)
    gallery = make_templates(images(someone, 1, 22)[:, 0], profile).astype(np.float32)
    hit = profile.search.threshold
    probes = make_templates(images(someone[:2000], 1, 23)[:, 0], profile).astype(np.float32)
    table = probes @ gallery.T
    mated = table[np.arange(2000), np.arange(2000)].copy()
    assert 0 < (mated < hit).mean() < 0.01, "a realistic share of images misses"
    table[np.arange(2000), np.arange(2000)] = 0
    assert (table >= hit).sum() <= 1, "eight million comparisons of strangers"
    good = make_templates(images(someone[:2000], 1, 24, GOOD_IMAGES)[:, 0], profile).astype(np.float32)
    assert ((good * gallery[:2000]).sum(axis=1) < hit).mean() < 0.002
