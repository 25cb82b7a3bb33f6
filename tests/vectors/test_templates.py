"""Test vectors of specs/matching.md, section 1: what must come out, and what is refused with which code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crypto.errors import ConcordatError
from crypto.profiles import Profile, load_profile
from crypto.templates import empty_slot, make_template, scores, validate

VECTORS = json.loads((Path(__file__).parents[2] / "specs" / "vectors" / "templates.json").read_text())


def floats(texts: list[str]) -> np.ndarray:
    return np.array([float.fromhex(text) for text in texts])


def by_comment(name: str) -> Any:
    return pytest.mark.parametrize("case", VECTORS[name], ids=lambda case: case["comment"])


@by_comment("profiles")
def test_profiles(case: dict[str, Any]) -> None:
    profile = load_profile(case["file"].encode(), bytes.fromhex(case["digest"]))
    made = []
    for one in case["templates"]:
        template = make_template(floats(one["features"]), profile)
        assert template.tolist() == one["template"], one["comment"]
        validate(template, profile)
        made.append(template)
    table = np.stack([scores(np.stack(made), template) for template in made])
    assert table.tolist() == case["scores"]
    assert (table >= profile.search.threshold).tolist() == case["hits"]


def bound_2() -> Profile:
    return load_profile(VECTORS["profiles"][1]["file"].encode())


@by_comment("bad_profiles")
def test_bad_profiles(case: dict[str, Any]) -> None:
    with pytest.raises(ConcordatError) as caught:
        load_profile(case["file"].encode())
    assert caught.value.code == case["error"]


@by_comment("bad_features")
def test_bad_features(case: dict[str, Any]) -> None:
    with pytest.raises(ConcordatError) as caught:
        make_template(floats(case["features"]), bound_2())
    assert caught.value.code == case["error"]


@by_comment("bad_templates")
def test_bad_templates(case: dict[str, Any]) -> None:
    with pytest.raises(ConcordatError) as caught:
        validate(np.array(case["template"], np.int8), bound_2())
    assert caught.value.code == case["error"]


def test_empty_slots() -> None:
    for case in VECTORS["empty_slots"]:
        assert empty_slot(case["n"], case["slot"]).tolist() == case["template"]
