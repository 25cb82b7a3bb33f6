"""Templates: short vectors of small integers whose inner product is the score.

Every number here is exact. The centred features become integers, the matrix already is one, and their
products stay below 2^53, so a float64 matrix product gives the same integers on every machine and in any
order of summation. What follows (ranks, prefix sums, the best spending of the norm) is integer arithmetic.

Source: specs/matching.md, section 1.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from crypto.codes import MAX_CODE_FEATURES
from crypto.errors import BadFeatures, BadTemplate
from crypto.profiles import MAX_FEATURES, Profile, SearchProfile, level_counts

FEATURE_BITS: Final = 22
_MATRIX_BITS: Final = 15
_ROWS_AT_ONCE: Final = 1024  # bounds the memory of the prefix-sum table
_FLOAT64_EXACT: Final = 2**53

if max(MAX_FEATURES, MAX_CODE_FEATURES) << (FEATURE_BITS + _MATRIX_BITS) > _FLOAT64_EXACT:
    raise AssertionError("products of features and matrix would leave the exact range of float64")

Template = NDArray[np.int8]
Features = NDArray[np.floating[Any]]


def make_template(features: Features, profile: Profile) -> Template:
    """Turn one feature vector, shape ``(d,)``, into a template, int8, shape ``(n,)``.

    Raises:
        BadFeatures: Another dimension or type, NaN, infinite, all entries alike, or nothing left after centring.
    """
    if np.ndim(features) != 1:
        raise BadFeatures(f"a feature vector has one dimension, not {np.ndim(features)}")
    row: Template = make_templates(np.asarray(features)[None, :], profile)[0]
    return row


def make_templates(features: Features, profile: Profile, *, gallery: bool = False) -> Template:
    """Turn feature vectors, shape ``(m, d)``, into templates, int8, shape ``(m, n)``.

    The template is the one, among all with this bound and norm, whose inner product with the mapped
    features is largest. Ties go to the lower index, then to fewer large entries.

    Args:
        features: float16, float32 or float64, as the extractor gave them.
        profile: The extractor's profile.
        gallery: Make templates to be searched, which some profiles fill further than a probe.

    Raises:
        BadFeatures: As for one vector; the message names the first bad row.
    """
    array = np.asarray(features)
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        raise BadFeatures(f"features must be float16, float32 or float64, not {array.dtype}")
    if array.ndim != 2 or array.shape[1] != profile.d:
        raise BadFeatures(f"features of this profile have dimension {profile.d}; shape given: {array.shape}")
    matrix = profile.matrix.astype(np.float64)
    templates = np.empty((len(array), profile.n), np.int8)
    for start in range(0, len(array), _ROWS_AT_ONCE):
        mapped = _map_exactly(array[start : start + _ROWS_AT_ONCE], profile, matrix, start)
        templates[start : start + len(mapped)] = _spend_norm(mapped, profile.search, gallery)
    return templates


def _map_exactly(
    features: Features, profile: Profile, matrix: NDArray[np.float64], first_row: int
) -> NDArray[np.int64]:
    """Centre, scale each row by a power of two to 22-bit integers, and multiply by the matrix."""
    wide = features.astype(np.float64)
    _refuse_rows(np.any(~np.isfinite(wide), axis=1), first_row, "holds NaN or infinity")
    # Centred, it would look like anybody's: it must not become a template.
    blank = wide.max(axis=1) == wide.min(axis=1)
    _refuse_rows(blank, first_row, "is zero or the same everywhere: the extractor found nothing")
    centred = wide - profile.mean.astype(np.float64)  # finite: the mean is far below the largest float64
    largest = np.abs(centred).max(axis=1)
    _refuse_rows(largest == 0.0, first_row, "equals the mean of the profile, so nothing is left of it")
    exponents = np.frexp(largest)[1].astype(np.int64)  # largest < 2^exponent
    # Two steps, because one shift of a subnormal number would leave the range of float64.
    half = (FEATURE_BITS - exponents) // 2
    scaled = np.ldexp(np.ldexp(centred, half[:, None]), (FEATURE_BITS - exponents - half)[:, None])
    mapped: NDArray[np.int64] = (np.rint(scaled) @ matrix).astype(np.int64)
    _refuse_rows(
        np.max(np.abs(mapped), axis=1) == 0, first_row, "lies in no direction that the profile looks at"
    )
    return mapped


def _refuse_rows(bad: Any, first_row: int, what: str) -> None:
    if np.any(bad):
        raise BadFeatures(f"feature vector in row {first_row + int(np.argmax(bad))} {what}")


def _spend_norm(mapped: NDArray[np.int64], search: SearchProfile, gallery: bool) -> Template:
    """The template nearest in angle: larger magnitudes get larger entries, the norm is spent best."""
    magnitude = np.abs(mapped)
    order = np.argsort(-magnitude, axis=1, kind="stable")
    sums = np.zeros((len(mapped), search.n + 1), np.int64)
    np.cumsum(np.take_along_axis(magnitude, order, axis=1), axis=1, out=sums[:, 1:])
    counts = level_counts(search.n, search.bound, search.gallery_norm if gallery else search.norm)
    gain = sums[:, counts[:, 0]]
    for level in range(1, search.bound):
        gain += sums[:, counts[:, level]]
    best = counts[np.argmax(gain, axis=1)]
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.broadcast_to(np.arange(search.n), order.shape), axis=1)
    entries = np.zeros(mapped.shape, np.int8)
    for level in range(search.bound):
        entries += rank < best[:, level, None]
    return np.where(mapped < 0, -entries, entries)


def validate(template: Template, profile: Profile | SearchProfile, *, gallery: bool = False) -> None:
    """Check that a vector is a template of the profile.

    Raises:
        BadTemplate: Wrong type, length, an entry beyond the bound, or squares that do not sum to the norm.
    """
    search = profile.search if isinstance(profile, Profile) else profile
    if not isinstance(template, np.ndarray) or template.dtype != np.int8:
        raise BadTemplate("a template is an int8 array")
    if template.shape != (search.n,):
        raise BadTemplate(f"a template of this profile has shape ({search.n},), not {template.shape}")
    wide = template.astype(np.int64)
    if np.abs(wide).max() > search.bound:
        raise BadTemplate(f"an entry lies outside -{search.bound}..{search.bound}")
    norm = search.gallery_norm if gallery else search.norm
    if int(wide @ wide) != norm:
        raise BadTemplate(f"the squares do not sum to {norm}")


def empty_slot(n: int, i: int) -> Template:
    """What fills slot i of a block that holds no candidate: one entry of 1 or -1, which never hits."""
    slot = np.zeros(n, np.int8)
    slot[i % n] = -1 if (i // n) % 2 else 1
    return slot


def score(left: Template, right: Template) -> int:
    """Inner product of two templates, in -norm..norm; a hit is a score of at least the threshold."""
    return int(left.astype(np.int64) @ right.astype(np.int64))


def scores(templates: Template, probe: Template) -> NDArray[np.int64]:
    """Inner products of many templates, shape ``(m, n)``, with one probe, shape ``(n,)``."""
    products: NDArray[np.int64] = templates.astype(np.int64) @ probe.astype(np.int64)
    return products
