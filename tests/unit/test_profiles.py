"""Profiles: one byte form, a pinned digest, and search integers that cannot contradict each other."""

from __future__ import annotations

import base64
import itertools
import json
import pickle
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from slow_templates import small_profile

from crypto.errors import BadFeatures, BadProfile, ConcordatError, ImpossibleProfile
from crypto.fitting import FAMILIES, fit_profile
from crypto.profiles import MAX_PROFILE_BYTES, Profile, SearchProfile, level_counts, load_profile
from crypto.templates import make_templates
from node import profiles as shipped
from node.profiles import builtin
from node.synthetic import images, people


def changed(**fields: Any) -> bytes:
    return canonical(json.loads(small_profile().to_bytes()) | fields)


def canonical(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


def without(field: str) -> bytes:
    fields = json.loads(small_profile().to_bytes())
    del fields[field]
    return canonical(fields)


def b64(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode()


def test_a_profile_survives_its_file_bit_for_bit() -> None:
    profile = small_profile()
    again = load_profile(profile.to_bytes(), profile.digest)
    assert again.to_bytes() == profile.to_bytes()
    assert again.search == profile.search
    assert np.array_equal(again.matrix, profile.matrix)
    vectors = np.random.default_rng(1).normal(size=(10, 6))
    assert np.array_equal(make_templates(vectors, again), make_templates(vectors, profile))
    assert pickle.loads(pickle.dumps(again)).digest == profile.digest


def test_another_digest_is_refused() -> None:
    with pytest.raises(BadProfile, match="digest"):
        load_profile(small_profile().to_bytes(), small_profile(seed=2).digest)


def test_every_field_changes_the_digest() -> None:
    data = json.loads(small_profile().to_bytes())
    other = {
        "version": 2,
        "name": "smell",
        "modality": "iris",
        "fitted_on": "others",
        "threshold": 6,
        "norm": 6,
        "bound": 3,
        "mean": json.loads(small_profile(seed=2).to_bytes())["mean"],
        "matrix": json.loads(small_profile(seed=2).to_bytes())["matrix"],
    }
    digests = [load_profile(canonical(data | {field: value})).digest for field, value in other.items()]
    assert len({small_profile().digest, *digests}) == len(other) + 1


WRONG: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "not JSON": lambda: b"{",
    "a list": lambda: b"[]",
    "not ASCII": lambda: small_profile().to_bytes().replace(b"nobody", "n\u00f6body".encode()),
    "deep": lambda: b"[" * 100_000,
    "a huge number": lambda: b'{"bound":' + b"9" * 5000 + b"}",
    "too long": lambda: b" " * (MAX_PROFILE_BYTES + 1),
    "a line end": lambda: small_profile().to_bytes() + b"\n",
    "a space": lambda: small_profile().to_bytes().replace(b":", b": ", 1),
    "a repeated field": lambda: small_profile().to_bytes().replace(b'{"bound":2', b'{"bound":2,"bound":2'),
    "another order": lambda: json.dumps(
        dict(reversed(json.loads(small_profile().to_bytes()).items())), separators=(",", ":")
    ).encode(),
    "an unknown field": lambda: changed(extra=1),
    "no name": lambda: without("name"),
    "no matrix": lambda: without("matrix"),
    "another format": lambda: changed(format="concordat-profile-v3"),
    "a fraction": lambda: changed(norm=7.0),
    "a truth value": lambda: changed(version=True),
    "NaN": lambda: small_profile().to_bytes().replace(b'"norm":7', b'"norm":NaN'),
    "text for a number": lambda: changed(n="8"),
    "null": lambda: changed(name=None),
    "version 0": lambda: changed(version=0),
    "a name with capitals": lambda: changed(name="Small"),
    "a name with a path": lambda: changed(name="../small"),
    "a long name": lambda: changed(name="a" * 49),
    "an empty name": lambda: changed(name=""),
    "unknown modality": lambda: changed(modality="gait"),
    "control characters": lambda: changed(fitted_on="a\u0007b"),
    "d of another size": lambda: changed(d=7),
    "d = 0": lambda: changed(d=0),
    "d negative": lambda: changed(d=-6),
    "d huge": lambda: changed(d=10**9),
    "n of another size": lambda: changed(n=16),
    "n huge": lambda: changed(n=8192),
    "bound beyond the limit": lambda: changed(bound=5, threshold=7),
    "a norm that no squares reach": lambda: changed(norm=31),
    "mean too short": lambda: changed(mean=b64(np.zeros(5, "<f4"))),
    "mean with NaN": lambda: changed(mean=b64(np.full(6, np.nan, "<f4"))),
    "mean with infinity": lambda: changed(mean=b64(np.full(6, np.inf, "<f4"))),
    "mean too large": lambda: changed(mean=b64(np.full(6, 2e6, "<f4"))),
    "mean not base64": lambda: changed(mean="!" * 32),
    "mean with a line end": lambda: changed(mean=b64(np.zeros(6, "<f4"))[:-1] + "\n"),
    "matrix zero": lambda: changed(matrix=b64(np.zeros((6, 8), "<i2"))),
    "matrix too long": lambda: changed(matrix=b64(np.ones((6, 9), "<i2"))),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files_are_refused(case: str) -> None:
    with pytest.raises(BadProfile) as caught:
        load_profile(WRONG[case]())
    assert len(str(caught.value)) < 300, "an error must not quote the file"


def test_base64_with_stray_bits_is_refused() -> None:
    text = json.loads(small_profile(d=5).to_bytes())["mean"]  # 20 bytes: two spare bits before the padding
    assert text.endswith("=")
    fields = json.loads(small_profile(d=5).to_bytes())
    stray = text[:-2] + chr(ord(text[-2]) + 1) + "="
    assert base64.b64decode(stray) == base64.b64decode(text)
    with pytest.raises(BadProfile, match="canonical"):
        load_profile(canonical(fields | {"mean": stray}))


@pytest.mark.parametrize(
    ("n", "bound", "norm", "threshold"),
    [
        (0, 1, 2, 2),
        (1, 1, 2, 2),
        (3, 1, 2, 2),
        (16384, 1, 127, 65),
        (-8, 1, 2, 2),
        (128, 0, 127, 65),
        (128, -1, 127, 65),
        (128, 2, 1, 1),
        (128, 1, 129, 65),
        (128, 2, 513, 65),
        (128, 2, 127, 0),
        (128, 2, 127, 128),
        (128, 2, 127, 2),
        (128, 2, 127, -65),
        (128, 17, 127, 65),
        (8192, 3, 16385, 200),
        (128, 2, 127.0, 65),
        (128, 2, 127, True),
        (np.int64(128), 2, 127, 65),
    ],
)
def test_contradicting_search_integers_are_refused(n: Any, bound: Any, norm: Any, threshold: Any) -> None:
    with pytest.raises(ImpossibleProfile):
        SearchProfile(n, bound, norm, threshold)


def test_the_widest_search_integers_are_accepted() -> None:
    assert SearchProfile(128, 15, 16384, 16).n == 128
    assert SearchProfile(8192, 1, 8192, 2).roots == 4096
    assert SearchProfile(2, 1, 2, 2).roots == 1


@pytest.mark.parametrize(("n", "bound", "norm"), [(4, 1, 3), (4, 2, 7), (4, 2, 15), (5, 3, 17), (3, 4, 33)])
def test_level_counts_are_all_the_ways(n: int, bound: int, norm: int) -> None:
    ways = {
        tuple(sum(x >= level for x in entries) for level in range(1, bound + 1))
        for entries in itertools.product(range(bound + 1), repeat=n)
        if sum(x * x for x in entries) == norm
    }
    table = [tuple(row) for row in level_counts(n, bound, norm).tolist()]
    assert set(table) == ways
    assert len(table) == len(ways)
    assert table == sorted(table, key=lambda row: row[::-1])


@pytest.mark.parametrize("norm", [2000, 8190, 14000])
def test_a_norm_that_can_be_spent_in_millions_of_ways_is_refused_at_once(norm: int) -> None:
    """It would take gigabytes to list them, and again for every row of a gallery."""
    wide = {
        "n": 1024,
        "bound": 4,
        "norm": norm,
        "threshold": norm - 60,
        "matrix": b64(np.ones((6, 1024), "<i2")),
    }
    started = time.process_time()
    with pytest.raises(ImpossibleProfile, match="ways"):
        load_profile(changed(**wide))
    assert time.process_time() - started < 1


def test_no_more_ways_are_looked_at_than_there_are() -> None:
    started = time.process_time()
    assert len(level_counts(1024, 4, 4 * 4096 - 7)) == 1
    assert time.process_time() - started < 0.1


@pytest.mark.parametrize("name", shipped.DIGESTS)
def test_built_in_profiles(name: str) -> None:
    profile = builtin(name)
    assert profile.digest.hex() == shipped.DIGESTS[name]
    assert profile.name == name
    assert replace(profile.search, threshold=FAMILIES[name].search.threshold) == FAMILIES[name].search
    assert profile.search.threshold >= FAMILIES[name].search.threshold
    assert profile.modality == FAMILIES[name].modality
    assert "synthetic" in profile.fitted_on


@pytest.mark.parametrize("name", FAMILIES)
def test_no_family_has_more_roots_than_five_multiplications_take(name: str) -> None:
    assert FAMILIES[name].search.roots == 32


def test_a_changed_built_in_profile_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(shipped.DIGESTS, "embedding-128", "00" * 32)
    builtin.cache_clear()
    with pytest.raises(BadProfile):
        builtin("embedding-128")
    monkeypatch.undo()
    builtin.cache_clear()
    with pytest.raises(BadProfile):
        builtin("../secrets")


def fit(family: str, embeddings: Any, labels: Any = None, **more: Any) -> Profile:
    return fit_profile(embeddings, labels, family, name="fitted", fitted_on="synthetic people", **more)


@pytest.mark.parametrize(
    ("family", "d"),
    [
        (name, d)
        for name, family in FAMILIES.items()
        for d in ((48, 128, 300) if family.search.n <= 256 else (48, 128))  # wide and long together are slow
        if family.modality != "iris"
    ],
)
@pytest.mark.parametrize("labelled", [True, False])
def test_a_fitted_profile_makes_templates_and_survives_its_file(family: str, d: int, labelled: bool) -> None:
    vectors = images(people(30, 1, d), 3, 1).reshape(-1, d)
    profile = fit(family, vectors, np.repeat(np.arange(30), 3) if labelled else None)
    assert np.allclose(profile.mean, vectors.mean(axis=0), atol=1e-6)
    assert load_profile(profile.to_bytes()).digest == profile.digest
    assert make_templates(vectors, profile).shape == (90, profile.n)


@pytest.mark.parametrize(
    ("embeddings", "labels"),
    [
        (np.ones((1, 8)), None),
        (np.ones((4, 8), int), None),
        (np.ones(8), None),
        (np.full((4, 8), np.nan), None),
        (np.ones((4, 1)), None),
        (np.ones((4, 4096)), None),
        (np.eye(8), np.arange(8)),
        (np.eye(8), np.zeros(7)),
        (np.ones((4, 8)), np.zeros(4)),
    ],
)
def test_bad_sets_are_not_fitted(embeddings: np.ndarray, labels: Any) -> None:
    with pytest.raises(BadFeatures):
        fit("embedding-128", embeddings, labels)


def test_fitting_names_what_is_wrong() -> None:
    vectors = np.random.default_rng(1).normal(size=(20, 16))
    for wrong in ({"modality": "gait"}, {"version": 0}):
        with pytest.raises(ConcordatError):
            fit("embedding-128", vectors, **wrong)
    with pytest.raises(BadProfile, match="family"):
        fit("embedding-1024", vectors)
