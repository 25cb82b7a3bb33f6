"""Fit the built-in profiles again: ``python -m node.profiles.build [FAMILY ...]``. A new fit is a new version.

Another linear algebra library may round a few entries differently, so the files are the source of truth and
their digests are pinned in this package.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from crypto.code_fitting import fit_code_profile
from crypto.codes import CodeForm
from crypto.fitting import FAMILIES, fit_profile
from crypto.profiles import Profile
from node.profiles import DIGESTS
from node.synthetic import images, people
from node.synthetic_codes import SHAPE, eyes, iris_images

PEOPLE: Final = 2000
IMAGES_EACH: Final = 5
SEED: Final = 1_000_003  # no population of the demo, the examples or the tests uses it
EYES: Final = 400
THRESHOLDS: Final = {"finger-1024": 119, "iris-512": 115}  # one false hit in 100 searches of 16384 strangers
DIMENSIONS: Final = {"embedding-128": 128, "embedding-256": 256, "embedding-512": 256, "finger-1024": 256}
IRIS_FORM: Final = CodeForm(SHAPE, (2, 4), tuple(range(-12, 13, 3)), 50)


def build(family: str) -> Profile:
    """Fit one family on synthetic people, whose templates are further apart than those of real ones."""
    made = _build(family)
    tau = THRESHOLDS.get(family, made.search.threshold)
    return replace(made, search=replace(made.search, threshold=tau))


def _build(family: str) -> Profile:
    if FAMILIES[family].modality == "iris":
        return _build_iris(family)
    d = DIMENSIONS[family]
    vectors = images(people(PEOPLE, SEED, d), IMAGES_EACH, SEED).reshape(-1, d)
    labels = np.repeat(np.arange(PEOPLE), IMAGES_EACH)
    whom = f"{PEOPLE} synthetic people, {IMAGES_EACH} images each, generator seed {SEED}"
    return fit_profile(vectors, labels, family, name=family, fitted_on=whom)


def _build_iris(family: str) -> Profile:
    """Fit a family of codes on synthetic eyes."""
    codes, masks = iris_images(eyes(EYES, SEED), IMAGES_EACH, SEED)
    labels = np.repeat(np.arange(EYES), IMAGES_EACH)
    whom = f"{EYES} synthetic eyes, {IMAGES_EACH} images each, generator seed {SEED}"
    return fit_code_profile(codes, masks, labels, family, IRIS_FORM, name=family, fitted_on=whom)


def main() -> None:
    for family in sys.argv[1:] or DIGESTS:
        profile = build(family)
        Path(__file__).with_name(f"{family}.json").write_bytes(profile.to_bytes())
        print(f'    "{family}": "{profile.digest.hex()}",')


if __name__ == "__main__":
    main()
