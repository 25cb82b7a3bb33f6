"""Fit a profile: the mean and the matrix of an extractor, from people who are not the ones searched.

Run once per extractor, by hand; the result is a file with every number in it. Two machines may fit slightly
different files; they never make different templates from one file.

Source: specs/matching.md, section 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from crypto.errors import BadFeatures, BadProfile
from crypto.profiles import MAX_FEATURES, Profile, SearchProfile

_MOST: Final = 1e12  # entries: their squares are summed, and no profile has a mean beyond MAX_MEAN
_SHRINKAGE: Final = 3.0  # weight of a round spread against the measured one; small sets need much of it


@dataclass(frozen=True, slots=True)
class Family:
    """A named choice of search integers and of the way feature energy is laid over the template.

    Attributes:
        search: Length, bound, norm and threshold.
        group: Principal directions are rotated among themselves in groups of this many. With a small bound
            the energy must be spread (one group); with a larger one, leading directions may stay large.
            0: all directions are spread over all n entries, also where there are fewer of them.
        modality: What it was measured for.
        whiten: Which spread is whitened away: that within persons, or all of it.
        directions: How many principal directions are kept, at most n; of codes only.
    """

    search: SearchProfile
    group: int
    modality: str = "face"
    whiten: Literal["within", "all"] = "within"
    directions: int = MAX_FEATURES


FAMILIES: Final = {
    "embedding-128": Family(SearchProfile(n=128, bound=2, norm=127, threshold=65), group=128),
    "embedding-256": Family(SearchProfile(n=256, bound=3, norm=127, threshold=65), group=16),
    "embedding-512": Family(SearchProfile(n=512, bound=1, norm=140, threshold=78, gallery=300), group=0),
    "finger-1024": Family(SearchProfile(1024, 1, 173, 49, gallery=1024), 0, "fingerprint", "all"),
    "iris-512": Family(SearchProfile(512, 1, 211, 87, gallery=512), 0, "iris", directions=256),
    "iris-1024": Family(SearchProfile(1024, 1, 219, 95, gallery=1024), 0, "iris", directions=384),
}


def fit_profile(
    embeddings: NDArray[np.floating[Any]],
    labels: NDArray[Any] | None,
    family: str,
    *,
    name: str,
    fitted_on: str,
    modality: str | None = None,
    version: int = 1,
    seed: int = 0,
) -> Profile:
    """Fit mean and matrix.

    The mean is subtracted; with labels, the spread within persons is partly whitened away; then come the
    principal directions, at most n, rotated in groups so that no single entry carries a vector.

    Args:
        embeddings: Shape ``(m, d)``, float.
        labels: Who each row is, shape ``(m,)``; None when unknown (then nothing is whitened).
        family: A key of `FAMILIES`.
        name: Name of the profile.
        fitted_on: Who the rows are, in plain words; it becomes part of the profile.
        modality: ``face``, ``iris`` or ``fingerprint``; None for the family's own.
        version: Version of the profile.
        seed: Seed of the rotations; not a secret.

    Raises:
        BadFeatures: Wrong shape, NaN, infinite or huge, fewer than two rows, or no person with two rows.
        BadProfile: An unknown family, or a name, modality or version out of range.
    """
    if family not in FAMILIES:
        raise BadProfile(f"family must be one of {', '.join(FAMILIES)}")
    chosen = FAMILIES[family]
    rows = np.asarray(embeddings)
    if rows.dtype.kind != "f" or rows.ndim != 2 or len(rows) < 2 or not 2 <= rows.shape[1] <= MAX_FEATURES:
        raise BadFeatures(f"embeddings must be float, shape (m, d), m >= 2, d in 2..{MAX_FEATURES}")
    rows = rows.astype(np.float64)
    if not np.all(np.isfinite(rows)):
        bad = int(np.argmin(np.all(np.isfinite(rows), axis=1)))
        raise BadFeatures(f"embedding in row {bad} holds NaN or infinity")
    if np.abs(rows).max() > _MOST:
        bad = int(np.argmax(np.abs(rows).max(axis=1)))
        raise BadFeatures(f"embedding in row {bad} has an entry beyond {_MOST:g}")
    mean = rows.mean(axis=0).astype(np.float32)
    centred = rows - mean
    if chosen.whiten == "all":
        whitening = _inverse_root(centred.T @ centred / len(centred))
    elif labels is None:
        whitening = np.eye(rows.shape[1])
    else:
        whitening = _inverse_root(_within(centred, np.asarray(labels)))
    matrix = whitening @ _directions(centred @ whitening, chosen, seed)
    return Profile(
        name, version, modality or chosen.modality, fitted_on, chosen.search, mean, to_units(matrix)
    )


def to_units(matrix: NDArray[np.float64]) -> NDArray[np.int16]:
    """Scale a matrix so that its largest entry is 32767."""
    units: NDArray[np.int16] = np.rint(matrix * (32767 / np.abs(matrix).max())).astype(np.int16)
    return units


def _within(centred: NDArray[np.float64], labels: NDArray[Any]) -> NDArray[np.float64]:
    """The covariance within persons, shape (d, d)."""
    if labels.shape != (len(centred),):
        raise BadFeatures("labels must have one entry for each embedding")
    people, person = np.unique(labels, return_inverse=True)
    freedom = len(centred) - len(people)
    if freedom < 1:
        raise BadFeatures("at least one person needs two embeddings; pass no labels to fit without them")
    centres = np.zeros((len(people), centred.shape[1]))
    np.add.at(centres, person, centred)
    centres /= np.bincount(person)[:, None]
    within = centred - centres[person]
    covariance: NDArray[np.float64] = within.T @ within / freedom
    return covariance


def _inverse_root(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """(C + shrinkage * mean eigenvalue)^(-1/2), shape (d, d)."""
    values, vectors = np.linalg.eigh(covariance)
    if not values.mean() > 0:
        raise BadFeatures("all embeddings of each person are equal; pass no labels to fit without them")
    scale = 1 / np.sqrt(np.maximum(values, 0) + _SHRINKAGE * values.mean())
    whitening: NDArray[np.float64] = (vectors * scale) @ vectors.T
    return whitening


def spread(kept: int, n: int, seed: int) -> NDArray[np.float64]:
    """Orthonormal random rows, shape (kept, n): every entry of a template gets its share of every direction."""
    tall = np.random.default_rng(seed).normal(size=(n, kept))
    rows: NDArray[np.float64] = np.linalg.qr(tall)[0].T
    return rows


def _directions(whitened: NDArray[np.float64], family: Family, seed: int) -> NDArray[np.float64]:
    """Principal directions, rotated in groups, then zero columns up to n; or spread over all n; shape (d, n)."""
    d, n = whitened.shape[1], family.search.n
    kept = min(d, n)
    if not family.group:
        leading = np.linalg.eigh(whitened.T @ whitened)[1][:, ::-1][:, :kept]
        widened: NDArray[np.float64] = leading @ spread(kept, n, seed)
        return widened
    directions = np.zeros((d, n))
    directions[:, :kept] = np.linalg.eigh(whitened.T @ whitened)[1][:, ::-1][:, :kept]
    random = np.random.default_rng(seed)
    for start in range(0, kept, family.group):
        width = min(family.group, kept - start)
        rotation = np.linalg.qr(random.normal(size=(width, width)))[0]
        directions[:, start : start + width] = directions[:, start : start + width] @ rotation
    return directions
