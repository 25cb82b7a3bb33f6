"""Real faces for tests: fit on half of the people, measure on the other half; rates only, no templates."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from crypto.fitting import fit_profile
from crypto.profiles import Profile
from crypto.templates import make_templates

SETS = {
    "mobilefacenet192": "faces_orl_mobilefacenet192.npz",
    "dlib128": "faces_orl_dlib128.npz",
}
FMR = 1e-3


def data_directory() -> Path:
    given = os.environ.get("CONCORDAT_REAL_DATA")
    return Path(given) if given else Path(__file__).resolve().parents[3] / "shared" / "data"


@cache
def load(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings (m, d) and who they show (m,); skips the test when the set is not on this machine."""
    path = data_directory() / "templates" / SETS[name]
    if not path.is_file():
        pytest.skip(
            f"NO REAL DATA: {path} is missing; set CONCORDAT_REAL_DATA to the folder that holds templates/"
        )
    with np.load(path, allow_pickle=False) as archive:
        return archive["embeddings"], archive["subject"]


@dataclass(frozen=True)
class Split:
    """A profile fitted on half of the people, and the other half."""

    profile: Profile
    embeddings: np.ndarray
    people: np.ndarray


def split(name: str, family: str, seed: int) -> Split:
    embeddings, people = load(name)
    order = np.random.default_rng(seed).permutation(np.unique(people))
    fit = np.isin(people, order[: len(order) // 2])
    profile = fit_profile(
        embeddings[fit],
        people[fit],
        family,
        name="orl-half",
        fitted_on="half of the people of a research set; for tests, never stored",
        seed=seed,
    )
    return Split(profile, embeddings[~fit], people[~fit])


@dataclass(frozen=True)
class Rates:
    """Shares of 1. ``policy``: lowest threshold with FMR <= 1e-3, but not below the profile's.

    ``fixed``: the profile's threshold as it is. ``free``: as policy, without the profile's lower limit.
    """

    cosine_fnmr: float
    policy_fnmr: float
    policy_fmr: float
    fixed_fnmr: float
    fixed_fmr: float
    free_fnmr: float


def pairs(people: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """All pairs of images, and which of them show one person."""
    both = np.triu_indices(len(people), 1)
    return both, people[both[0]] == people[both[1]]


def above(scores: np.ndarray, mated: np.ndarray) -> float:
    """The value that a score must exceed so that at most 1 of 1000 pairs of strangers does."""
    strangers = np.sort(scores[~mated])[::-1]
    return float(strangers[int(FMR * len(strangers))])


def measure(case: Split) -> Rates:
    both, mated = pairs(case.people)
    unit = case.embeddings / np.linalg.norm(case.embeddings, axis=1, keepdims=True)
    cosine = (unit @ unit.T)[both]
    templates = make_templates(case.embeddings, case.profile).astype(np.int64)
    gallery = make_templates(case.embeddings, case.profile, gallery=True).astype(np.int64)
    scores = (templates @ gallery.T)[both]
    free, fixed = above(scores, mated), case.profile.search.threshold - 1
    policy = max(free, fixed)
    return Rates(
        cosine_fnmr=float((cosine[mated] <= above(cosine, mated)).mean()),
        policy_fnmr=float((scores[mated] <= policy).mean()),
        policy_fmr=float((scores[~mated] > policy).mean()),
        fixed_fnmr=float((scores[mated] <= fixed).mean()),
        fixed_fmr=float((scores[~mated] > fixed).mean()),
        free_fnmr=float((scores[mated] <= free).mean()),
    )


def cosines(case: Split, probes: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Plain cosine of the unfitted vectors of these rows."""
    unit = case.embeddings / np.linalg.norm(case.embeddings, axis=1, keepdims=True)
    return unit[probes] @ unit[gallery].T


def compare(
    case: Split, probes: np.ndarray, gallery: np.ndarray, decided: np.ndarray, mated: np.ndarray
) -> str:
    """Rates of decisions through nodes beside plain cosine on the same pairs, in words.

    Cosine's threshold follows the policy of ``Rates``: at most 1 of 1000 pairs of strangers of the whole held-out
    half passes. The nodes decide at the profile's own threshold.
    """
    both, same = pairs(case.people)
    all_cosines = cosines(case, np.arange(len(case.people)), np.arange(len(case.people)))
    cosine = cosines(case, probes, gallery) > above(all_cosines[both], same)

    def rates(accepted: np.ndarray) -> str:
        fnmr, fmr = (~accepted)[mated].mean(), accepted[~mated].mean()
        return f"FNMR {100 * fnmr:.2f} % of {mated.sum()}, FMR {100 * fmr:.3f} % of {(~mated).sum()}"

    return f"through nodes {rates(decided)}; plain cosine at FMR 1e-3 {rates(cosine)}"
