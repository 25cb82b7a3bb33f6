"""Calibration: rates from all pairs, intervals over people, the tail, and its command."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from crypto.profiles import SearchProfile, load_profile
from node.calibration import Calibration, Tail
from node.cli.main import app
from node.errors import BadFeatureFile
from node.measuring import Pairs, fit_rows
from node.samples import gallery_vectors, probe_templates, probe_vectors, read_samples
from node.synthetic import images, people, write_features
from node.synthetic_codes import eyes, iris_images, write_codes

SEARCH = SearchProfile(128, 2, 127, 65)


def made_pairs(seed: int = 1, count: int = 60, each: int = 4) -> Pairs:
    random = np.random.default_rng(seed)
    person = np.repeat(np.arange(count), each)
    left, right = np.triu_indices(len(person), 1)
    mated = person[left] == person[right]
    score = np.where(mated, 85.0, 20.0) + 12 * random.normal(size=len(left))
    whole = np.rint(score).astype(np.int32)
    return Pairs(score.astype(np.float32), whole, mated, person[left], person[right])


def slow_fnmr(scores: np.ndarray, mated: np.ndarray, fmr: float, floor: int = -999) -> float:
    strangers = scores[~mated]
    for threshold in sorted({float(floor), *scores.tolist()}):
        if threshold >= floor and (strangers >= threshold).sum() <= fmr * len(strangers):
            return float((scores[mated] < threshold).mean())
    return 1.0


def test_rates_are_those_of_counting() -> None:
    pairs = made_pairs(count=25)
    found = Calibration(pairs, SEARCH, resamples=20).rates()
    for name in ("1e-2", "1e-3", "1e-4"):
        assert found["plain"][name] == pytest.approx(slow_fnmr(pairs.plain, pairs.mated, float(name)))
        assert found["template"][name] == pytest.approx(
            slow_fnmr(pairs.template, pairs.mated, float(name), 64)
        )
    assert (found["n_mated"], found["n_nonmated"]) == (150, 4800)


def test_a_template_threshold_never_lies_below_what_the_roots_allow() -> None:
    assert Calibration(made_pairs(), SEARCH, 1).lowest_threshold == 64
    signs = SearchProfile(512, 1, 209, 85, gallery=512)
    low = Calibration(made_pairs(), signs, 1).lowest_threshold
    assert low == 83
    assert SearchProfile(512, 1, 209, low, gallery=512).roots == 32
    assert Calibration(made_pairs(), SearchProfile(256, 2, 191, 85), 1).lowest_threshold == 84


def test_the_profiles_own_threshold_is_a_hit_when_met() -> None:
    pairs = made_pairs(count=20)
    at = Calibration(pairs, SEARCH, 5).at(65)
    assert at["fnmr"] == pytest.approx((pairs.template[pairs.mated] < 65).mean())
    assert at["fmr"] == pytest.approx((pairs.template[~pairs.mated] >= 65).mean())


def test_intervals_hold_the_rate_and_are_the_same_every_time() -> None:
    one, two = (Calibration(made_pairs(), SEARCH).rates() for _ in range(2))
    assert one == two
    for which in ("plain", "template"):
        low, high = one[f"{which}_interval"]["1e-3"]
        assert low < one[which]["1e-3"] < high


def test_people_are_drawn_not_pairs() -> None:
    """Many images of few people: the interval must not shrink with the images alone."""
    random = np.random.default_rng(5)
    widths = []
    for each in (4, 16):
        person = np.repeat(np.arange(12), each)
        left, right = np.triu_indices(len(person), 1)
        mated = person[left] == person[right]
        hard = np.where(person < 3, 25.0, 90.0)[left]  # three people are always missed
        score = np.where(mated, hard, 20.0) + 3 * random.normal(size=len(left))
        pairs = Pairs(
            score.astype(np.float32), np.rint(score).astype(np.int32), mated, person[left], person[right]
        )
        low, high = Calibration(pairs, SEARCH).rates()["plain_interval"]["1e-2"]
        widths.append(high - low)
    assert widths[1] > 0.6 * widths[0]
    assert widths[1] > 0.2


@pytest.mark.parametrize(("draw", "shape"), [("exponential", 0.0), ("pareto", 0.25)])
def test_a_known_tail_is_found_again(draw: str, shape: float) -> None:
    random = np.random.default_rng(4)
    total = 2_000_000
    uniform = random.uniform(size=total)
    excess = -np.log(uniform) if shape == 0 else (uniform**-shape - 1) / shape
    scores = np.sort(np.floor(10 * excess))[::-1]
    tail = Tail.fit(scores[: total // 20], total, 1)
    assert tail.shape == pytest.approx(shape, abs=0.12)
    for share in (1e-4, 1e-6):
        exact = -10 * np.log(share) if shape == 0 else 10 * (share**-shape - 1) / shape
        assert tail.fmr(int(np.ceil(exact))) == pytest.approx(share, rel=0.7)


def test_a_tail_that_ends_is_taken_for_an_exponential_one() -> None:
    scores = np.sort(np.random.default_rng(5).normal(0, 10, 400_000).round())[::-1]
    tail = Tail.fit(scores[:20_000], 400_000, 1)
    assert tail.shape == 0
    assert tail.fmr(50) > 2.9e-7, "never below the truth, five deviations out"
    assert tail.fpir(50, 1000) == pytest.approx(1000 * tail.fmr(50), rel=0.01)
    best = tail.threshold_for(0.01, 16384, SEARCH, 20)
    assert best is not None
    assert tail.fpir(best, 16384) <= 0.01 < tail.fpir(best - 1, 16384)
    assert tail.threshold_for(1e-300, 16384, SEARCH, 20) is None


def run(*arguments: Any) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    return result.exit_code, json.loads(result.stdout)


def faces(path: Path, count: int = 40) -> Path:
    vectors = images(people(count, 51), 3, 52).reshape(-1, 128)
    write_features(path, vectors, subjects=[f"p{i // 3}" for i in range(3 * count)])
    return path


def test_the_command_measures_vectors_and_draws(tmp_path: Path) -> None:
    file = faces(tmp_path / "faces.npz")
    drawing = tmp_path / "det.svg"
    code, found = run("calibrate", file, "--profile", "embedding-128", "--fpir", "0.01", "--det", drawing)
    assert code == 0
    assert (found["n_mated"], found["n_nonmated"]) == (120, 7020)
    assert set(found["plain"]) == set(found["template"]) == {"1e-2", "1e-3", "1e-4"}
    assert found["chosen"]["fpir"] <= 0.01
    assert ElementTree.fromstring(drawing.read_text()).tag.endswith("svg")
    text = CliRunner().invoke(app, ["calibrate", str(file), "--profile", "embedding-128"])
    assert "expected" in text.stdout
    assert text.exit_code == 0


def test_a_laxer_profile_is_warned_of(tmp_path: Path) -> None:
    file = faces(tmp_path / "faces.npz")
    lax = tmp_path / "lax.json"
    fit = [
        "profile",
        "fit",
        file,
        "--name",
        "lax",
        "-o",
        lax,
        "--family",
        "embedding-128",
        "--threshold",
        "40",
    ]
    assert run(*fit)[0] == 0
    assert load_profile(lax.read_bytes()).search.threshold == 40
    _, found = run("calibrate", file, "--profile", lax, "--gallery", 10**6)
    assert found["expected_false_hits"] > 1
    assert any("above 0.1" in line for line in found["warnings"])


def test_half_of_the_people_are_fitted_on_and_not_measured(tmp_path: Path) -> None:
    file = faces(tmp_path / "faces.npz")
    samples = read_samples(file)
    rows = fit_rows(samples)
    assert 0.2 < rows.mean() < 0.8
    assert samples.people is not None
    assert not set(samples.people[rows]) & set(samples.people[~rows])
    code, found = run("calibrate", file, "--profile", "embedding-128", "--fit")
    assert code == 0
    assert found["rows"] == int((~rows).sum())
    assert found["fitted"]


def test_the_files_own_halves_are_used_and_fingers_are_not_people(tmp_path: Path) -> None:
    vectors = images(people(24, 61), 3, 62).reshape(-1, 128)
    finger = np.repeat(np.arange(24), 3)
    subject = finger // 2
    path = tmp_path / "fingers.npz"
    np.savez(path, embeddings=vectors, finger=finger, subject=subject, fit=subject < 6)
    code, found = run("calibrate", path, "--profile", "embedding-256", "--fit")
    assert code == 0
    assert found["rows"] == 36
    assert found["n_mated"] == 36, "two fingers of one person are strangers"
    np.savez(path, embeddings=vectors, finger=finger, subject=subject, fit=finger < 11)
    assert (
        run("calibrate", path, "--profile", "embedding-256", "--fit")[1]["error"]["code"]
        == "bad-feature-file"
    )


def test_codes_are_fitted_measured_imported_and_asked_with(tmp_path: Path) -> None:
    codes, masks = iris_images(eyes(16, 71), 3, 72)
    masks[5] = 0
    path, out = tmp_path / "iris.npz", tmp_path / "own.json"
    write_codes(
        path, codes, masks, records=[f"r{i}" for i in range(48)], eyes=[f"e{i // 3}" for i in range(48)]
    )
    assert run("profile", "fit", path, "--name", "own", "-o", out)[0] == 0
    profile = load_profile(out.read_bytes())
    assert profile.modality == "iris"
    code, found = run("calibrate", path, "--profile", out)
    assert code == 0
    assert found["rows_left_out"] == 1
    assert found["plain"]["1e-2"] <= found["template"]["1e-2"] + 0.05
    assert probe_vectors(f"{path}:3", profile).shape == (9, 4096 // 4)
    assert probe_templates(f"{path}:3", profile).shape == (9, 1024)
    good = tmp_path / "good.npz"
    write_codes(good, codes[:3], masks[:3], records=["a", "b", "c"])
    vectors, records = gallery_vectors(good, profile)
    assert (len(vectors), records) == (3, ("a", "b", "c"))


WRONG: dict[str, dict[str, np.ndarray]] = {
    "no labels": {"embeddings": np.eye(4)},
    "both kinds": {"embeddings": np.eye(4), "codes": np.zeros((4, 512), np.uint8)},
    "neither": {"subject": np.arange(4)},
    "no masks": {"codes": np.zeros((4, 512), np.uint8), "shape": np.array([1, 8, 256, 2])},
    "no shape": {"codes": np.zeros((4, 512), np.uint8), "masks": np.zeros((4, 512), np.uint8)},
    "another size": {
        "codes": np.zeros((4, 511), np.uint8),
        "masks": np.zeros((4, 511), np.uint8),
        "shape": np.array([1, 8, 256, 2]),
    },
    "fewer masks": {
        "codes": np.zeros((4, 512), np.uint8),
        "masks": np.zeros((3, 512), np.uint8),
        "shape": np.array([1, 8, 256, 2]),
    },
    "a huge shape": {
        "codes": np.zeros((4, 512), np.uint8),
        "masks": np.zeros((4, 512), np.uint8),
        "shape": np.array([2**40, 8, 256, 2]),
    },
    "bits as numbers": {
        "codes": np.zeros((4, 512), np.int64),
        "masks": np.zeros((4, 512), np.uint8),
        "shape": np.array([1, 8, 256, 2]),
    },
    "fit is not logical": {"embeddings": np.eye(4), "subject": np.arange(4), "fit": np.arange(4)},
    "fit too short": {"embeddings": np.eye(4), "subject": np.arange(4), "fit": np.ones(3, bool)},
    "one finger of two people": {
        "embeddings": np.eye(4),
        "finger": np.array([1, 1, 2, 2]),
        "subject": np.array([1, 2, 3, 3]),
    },
    "nobody twice": {"embeddings": np.random.default_rng(1).normal(size=(4, 128)), "subject": np.arange(4)},
    "too many rows": {"embeddings": np.ones((4001, 128)), "subject": np.arange(4001) // 2},
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files_are_refused(case: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **WRONG[case])
    code, found = run("calibrate", tmp_path / "a.npz", "--profile", "embedding-128")
    assert code == 2
    assert found["error"]["code"] in ("bad-feature-file", "bad-features")


def test_codes_under_a_profile_of_vectors_and_the_reverse_are_refused(tmp_path: Path) -> None:
    codes, masks = iris_images(eyes(3, 81), 2, 82)
    write_codes(tmp_path / "i.npz", codes, masks, eyes=list("aabbcc"))
    assert run("calibrate", tmp_path / "i.npz", "--profile", "embedding-128")[0] == 2
    assert run("calibrate", faces(tmp_path / "f.npz", 3), "--profile", "iris-512")[0] == 2
    assert run("calibrate", tmp_path / "f.npz", "--profile", "nothing")[0] == 2
    with pytest.raises(BadFeatureFile):
        fit_rows(read_samples(faces(tmp_path / "one.npz", 1)))
