"""Fit the built-in profiles again: ``python -m node.profiles.build``. A new fit is a new version.

Another linear algebra library may round a few entries differently, so the files are the source of truth and
their digests are pinned in this package.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from crypto.fitting import FAMILIES, fit_profile
from crypto.profiles import Profile
from node.synthetic import images, people

PEOPLE: Final = 2000
IMAGES_EACH: Final = 5
SEED: Final = 1_000_003  # no population of the demo, the examples or the tests uses it


def build(family: str) -> Profile:
    """Fit one family on synthetic people whose vectors are as long as its templates."""
    d = FAMILIES[family].search.n
    vectors = images(people(PEOPLE, SEED, d), IMAGES_EACH, SEED).reshape(-1, d)
    labels = np.repeat(np.arange(PEOPLE), IMAGES_EACH)
    whom = f"{PEOPLE} synthetic people, {IMAGES_EACH} images each, generator seed {SEED}"
    return fit_profile(vectors, labels, family, name=family, fitted_on=whom)


def main() -> None:
    for family in FAMILIES:
        profile = build(family)
        Path(__file__).with_name(f"{family}.json").write_bytes(profile.to_bytes())
        print(f'    "{family}": "{profile.digest.hex()}",')


if __name__ == "__main__":
    main()
