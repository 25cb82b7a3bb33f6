"""Synthetic people: feature vectors with the spread of real ones, of nobody who exists.

The made-up extractor has a common mean (as real ones do) and directions of unequal strength. Two images of
one person, centred, have a cosine of about 0.6 to 0.95; images of two people about 0 with a standard
deviation of about 0.1. Measured rates are in specs/matching.md, section 1. Every seed is explicit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_EXTRACTOR_SEED: Final = 20_251_121
_MEAN_LENGTH: Final = 0.8  # against identities of length about 1: uncentred strangers then look alike
_STRENGTH_DECAY: Final = 0.7
_NOISE_MEDIAN: Final = 0.24  # variance of an image against that of the identity: cosine about 0.8
_NOISE_SPREAD: Final = 0.5
_NOISE_RANGE: Final = (0.05, 0.66)  # cosines of about 0.95 and 0.6
GOOD_IMAGES: Final = (0.05, 0.25)  # a noise range without the poor images

FloatRows = NDArray[np.float64]


def _extractor(d: int) -> tuple[FloatRows, FloatRows]:
    """Common mean and strength of each direction; the same for every population of dimension d."""
    random = np.random.default_rng([_EXTRACTOR_SEED, d])
    mean = random.normal(size=d)
    mean *= _MEAN_LENGTH / np.sqrt(np.sum(mean**2))
    strength = (1 + np.arange(d) / (d / 4)) ** -_STRENGTH_DECAY
    strength /= np.sqrt(np.sum(strength**2))
    return mean, random.permutation(strength)


def people(count: int, seed: int, d: int = 128) -> FloatRows:
    """Identities, shape ``(count, d)``, length about 1, without the extractor's mean.

    Another seed gives other people; the same seed the same people.
    """
    return np.random.default_rng([seed, d, 0]).normal(size=(count, d)) * _extractor(d)[1]


def images(
    identities: FloatRows, each: int, seed: int, noise_range: tuple[float, float] = _NOISE_RANGE
) -> NDArray[np.float32]:
    """Feature vectors of images of these people, shape ``(count, each, d)``, unit length.

    Args:
        identities: From `people`.
        each: Images of each person.
        seed: Another seed gives other images of the same people.
        noise_range: Lowest and highest variance of an image against its identity; narrow it from above for
            good images only.
    """
    count, d = identities.shape
    mean, strength = _extractor(d)
    random = np.random.default_rng([seed, d, 1])
    share = np.exp(np.log(_NOISE_MEDIAN) + _NOISE_SPREAD * random.normal(size=(count, each, 1)))
    noise = np.sqrt(np.clip(share, *noise_range)) * random.normal(size=(count, each, d)) * strength
    vectors = mean + identities[:, None, :] + noise
    unit: NDArray[np.float32] = (vectors / np.sqrt(np.sum(vectors**2, axis=2, keepdims=True))).astype(
        np.float32
    )
    return unit


def write_features(
    path: Path,
    embeddings: NDArray[Any],
    records: list[str] | None = None,
    subjects: list[str] | None = None,
) -> None:
    """Write feature vectors, shape ``(m, d)``, as the npz that imports, probes and fits read."""
    arrays: dict[str, NDArray[Any]] = {"embeddings": np.ascontiguousarray(embeddings)}
    if records is not None:
        arrays["record"] = np.array(records, dtype=np.str_)
    if subjects is not None:
        arrays["subject"] = np.array(subjects, dtype=np.str_)
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
