"""Real irises and fingerprints for tests: fit on some people, measure on others; rates only, no templates."""

from __future__ import annotations

from functools import cache

import numpy as np
import orl
import pytest

from crypto.profiles import Profile
from node.calibration import Calibration
from node.measuring import chosen, fit_samples, score_pairs, usable
from node.samples import Samples, read_samples

IRISES = "iris_casia1_openiris.npz"
FINGERS = "fingerprint_fcj2020_leader_mcc1024.npz"
MIN_VALID = 50


@cache
def load(name: str) -> Samples:
    """A set, irises with enough usable bits only; skips the test when it is not on this machine."""
    path = orl.data_directory() / "templates" / name
    if not path.is_file():
        pytest.skip(
            f"NO REAL DATA: {path} is missing; set CONCORDAT_REAL_DATA to the folder that holds templates/"
        )
    samples = read_samples(path)
    return chosen(samples, usable(samples, MIN_VALID))


def half(samples: Samples, seed: int) -> np.ndarray:
    """Rows of half of the people."""
    assert samples.people is not None
    order = np.random.default_rng(seed).permutation(np.unique(samples.people))
    return np.isin(samples.people, order[: len(order) // 2])


def fitted(samples: Samples, family: str) -> Profile:
    return fit_samples(
        samples, family, name="half", fitted_on="half of a research set; for tests, never stored"
    )


def measured(samples: Samples, profile: Profile) -> tuple[float, float, float, float]:
    """FNMR at FMR 1e-3, plain and template; FNMR and FMR at the profile's own threshold."""
    found = Calibration(score_pairs(samples, profile, lambda line: None), profile.search, resamples=1)
    rates, at = found.rates(), found.at(profile.search.threshold)
    return rates["plain"]["1e-3"], rates["template"]["1e-3"], at["fnmr"], at["fmr"]


def irises(family: str, seed: int) -> tuple[float, float, float, float]:
    samples = load(IRISES)
    fit = half(samples, seed)
    return measured(chosen(samples, ~fit), fitted(chosen(samples, fit), family))


@cache
def finger_profile() -> Profile:
    samples = load(FINGERS)
    assert samples.fit is not None
    return fitted(chosen(samples, samples.fit), "finger-1024")


def fingers(seed: int | None) -> tuple[float, float, float, float]:
    """Those who are not fitted on; with a seed, half of them."""
    samples = load(FINGERS)
    assert samples.fit is not None
    others = chosen(samples, ~samples.fit)
    return measured(others if seed is None else chosen(others, half(others, seed)), finger_profile())
