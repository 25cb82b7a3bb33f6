"""Scores of all pairs of labelled rows, by templates and by the plain comparator, and who is fitted on.

Source: specs/matching.md, section 1.8.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from crypto.code_fitting import fit_code_profile, usual_form
from crypto.codes import CodeForm, code_vectors, signs, valid_percent
from crypto.errors import BadFeatures, BadProfile
from crypto.fitting import FAMILIES, fit_profile
from crypto.profiles import Profile
from crypto.templates import make_templates
from node.errors import BadFeatureFile
from node.samples import Samples

MAX_VECTORS: Final = 4000  # eight million pairs
MAX_CODES: Final = 1500  # every turn of every code takes 64 KiB while it is compared
MAX_FITTED: Final = 2**27  # numbers to fit on, each of which takes 8 bytes several times
MAX_FITTED_BITS: Final = 2**29  # of codes, each of which takes a byte several times

Rows = NDArray[np.bool_]
Numbers = NDArray[np.int64]


@dataclass(frozen=True, eq=False, slots=True)
class Pairs:
    """All pairs of different rows, once each.

    Attributes:
        plain: Score of the plain comparator: cosine, or minus the smallest fractional Hamming distance.
        template: Inner product of the templates, of several probes the largest.
        mated: Whether both rows show one finger, eye or person.
        left: Whose the first row is, as a number from 0.
        right: Whose the second is.
    """

    plain: NDArray[np.float32]
    template: NDArray[np.int32]
    mated: Rows
    left: Numbers
    right: Numbers


def chosen(samples: Samples, rows: Rows) -> Samples:
    """The rows that are set."""
    return replace(
        samples,
        **{
            field: None if (value := getattr(samples, field)) is None else value[rows]
            for field in ("embeddings", "codes", "masks", "labels", "people", "fit")
        },
        names=None if samples.names is None else tuple(np.array(samples.names)[rows].tolist()),
    )


def usable(samples: Samples, min_valid: int) -> Rows:
    """Which rows have enough usable bits; all, when they are vectors."""
    if samples.masks is None:
        return np.ones(len(samples), np.bool_)
    enough: Rows = valid_percent(samples.masks) >= min_valid
    return enough


def fit_rows(samples: Samples) -> Rows:
    """Which rows to fit on: as the file says, or those of half of the people, by a hash of each one's label.

    Raises:
        BadFeatureFile: No labels, somebody on both sides, or nobody on one.
    """
    if samples.names is None or samples.people is None:
        raise BadFeatureFile("holds no array named 'subject', 'finger' or 'eye', so nobody can be held out")
    if samples.fit is not None:
        rows: Rows = samples.fit
    else:
        halves = [hashlib.sha256(name.encode()).digest()[0] % 2 == 0 for name in samples.names]
        rows = np.array(halves, np.bool_)
    if rows.all() or not rows.any():
        raise BadFeatureFile("too few people to fit on some and measure on others")
    if set(samples.people[rows].tolist()) & set(samples.people[~rows].tolist()):
        raise BadFeatureFile("'fit' sets somebody apart for fitting who is also measured")
    return rows


def family_of(profile: Profile) -> str:
    """The family whose search integers the profile has, whatever its threshold.

    Raises:
        BadProfile: It is of no family, so it cannot be fitted again.
    """
    for name, family in FAMILIES.items():
        same = replace(profile.search, threshold=family.search.threshold) == family.search
        if same and family.modality == profile.modality:
            return name
    raise BadProfile(f"{profile.name} is of no family that can be fitted: {', '.join(FAMILIES)}")


def fit_samples(
    samples: Samples,
    family: str,
    *,
    name: str,
    fitted_on: str,
    modality: str | None = None,
    form: CodeForm | None = None,
    threshold: int | None = None,
) -> Profile:
    """Fit a profile on vectors or codes, whichever the rows are.

    Args:
        samples: Rows of people who are not searched for or measured.
        family: A key of `FAMILIES`.
        name: Name of the profile.
        fitted_on: Who the rows are, in plain words.
        modality: None for the family's own.
        form: How codes become vectors; None for the usual form.
        threshold: tau; None for the family's own.

    Raises:
        BadFeatureFile: More rows than memory is spent on.
        BadFeatures: Rows that cannot be fitted on.
        BadProfile: Unknown family, one of another kind of rows, or a name out of range.
        ImpossibleProfile: A threshold that the family cannot have.
    """
    made = _fit(samples, family, name, fitted_on, modality, form)
    return made if threshold is None else replace(made, search=replace(made.search, threshold=threshold))


def _fit(
    samples: Samples, family: str, name: str, fitted_on: str, modality: str | None, form: CodeForm | None
) -> Profile:
    if samples.codes is None:
        if samples.embeddings is None:
            raise BadFeatures("nothing to fit on")
        _check_size(samples, samples.embeddings.size, MAX_FITTED, "numbers")
        if family in FAMILIES and FAMILIES[family].modality == "iris":
            raise BadProfile(f"{family} is for codes with masks, and these are vectors")
        return fit_profile(
            samples.embeddings, samples.labels, family, name=name, fitted_on=fitted_on, modality=modality
        )
    if samples.masks is None or samples.shape is None or samples.labels is None:
        raise BadFeatures("codes can be fitted on only with masks and with labels: 'eye' or 'subject'")
    _check_size(samples, 8 * samples.codes.size, MAX_FITTED_BITS, "bits")
    if modality not in (None, "iris"):
        raise BadProfile("codes with masks are of the modality iris")
    form = form or usual_form(samples.shape)
    rows = chosen(samples, usable(samples, form.min_valid))
    if rows.codes is None or rows.masks is None or rows.labels is None:
        raise BadFeatures("nothing to fit on")
    return fit_code_profile(rows.codes, rows.masks, rows.labels, family, form, name=name, fitted_on=fitted_on)


def _check_size(samples: Samples, size: int, most: int, what: str) -> None:
    if size > most:
        raise BadFeatureFile(
            f"{len(samples)} rows to fit on have {size} {what}; at most {most}: leave people out"
        )


def score_pairs(samples: Samples, profile: Profile, said: Callable[[str], None]) -> Pairs:
    """Score every pair both ways.

    Raises:
        BadFeatureFile: No labels, too many rows, no pair of one person, or none of two.
        BadFeatures: Rows that are not what the profile wants.
    """
    if samples.labels is None or samples.people is None:
        raise BadFeatureFile("holds no array named 'subject', 'finger' or 'eye', so no pair can be judged")
    most = MAX_VECTORS if samples.codes is None else MAX_CODES
    if len(samples) > most:
        raise BadFeatureFile(f"{len(samples)} rows to measure; at most {most} are: leave people out")
    both = np.triu_indices(len(samples), 1)
    mated = samples.labels[both[0]] == samples.labels[both[1]]
    if mated.all() or not mated.any():
        raise BadFeatureFile("measuring needs pairs of one person and pairs of two")
    said(f"scoring {len(mated)} pairs")
    probes, gallery, plain = (_of_vectors if samples.codes is None else _of_codes)(samples, profile)
    best = np.full((len(samples), len(samples)), -(2**15), np.float32)
    wide = make_templates(gallery, profile, gallery=True).astype(np.float32).T
    for vectors in probes:
        # Whole numbers below 2^24: exact in float32.
        np.maximum(best, make_templates(vectors, profile).astype(np.float32) @ wide, out=best)
    # Counted anew: the file may number a million people and leave ten of them to measure.
    people = np.unique(samples.people, return_inverse=True)[1].astype(np.int64)
    return Pairs(plain[both], best[both].astype(np.int32), mated, people[both[0]], people[both[1]])


_Scored = tuple[list[NDArray[Any]], NDArray[Any], NDArray[np.float32]]


def _of_vectors(samples: Samples, profile: Profile) -> _Scored:
    if samples.embeddings is None or profile.code is not None:
        raise BadFeatures("the profile is for codes with masks, and these are vectors")
    make_templates(samples.embeddings, profile)  # refuses what has no length
    wide = samples.embeddings.astype(np.float64)
    # By a power of two, so that no square leaves the range of float64; two steps, as for templates.
    shift = -np.frexp(np.abs(wide).max(axis=1, keepdims=True))[1]
    wide = np.ldexp(np.ldexp(wide, shift // 2), shift - shift // 2)
    unit = (wide / np.sqrt(np.sum(wide**2, axis=1, keepdims=True))).astype(np.float32)
    return [samples.embeddings], samples.embeddings, unit @ unit.T


def _of_codes(samples: Samples, profile: Profile) -> _Scored:
    form = profile.code
    if form is None or samples.codes is None or samples.masks is None:
        raise BadFeatures("the profile is for vectors, and these are codes with masks")
    if samples.shape != form.shape:
        raise BadFeatures(f"codes have the shape {samples.shape}, but the profile wants {form.shape}")
    codes, masks = samples.codes, samples.masks
    probes = [code_vectors(codes, masks, form, step) for step in form.steps]
    rows = signs(codes, masks, form)
    fixed = rows.reshape(len(rows), -1).astype(np.float32)
    held = np.abs(fixed)
    plain = np.full((len(rows), len(rows)), -1, np.float32)
    for step in range(form.steps[0], form.steps[-1] + 1):
        turned = np.roll(rows, step, axis=3).reshape(len(rows), -1).astype(np.float32)
        agreed = turned @ fixed.T
        common = np.maximum(np.abs(turned) @ held.T, 1)
        np.maximum(plain, 0.5 * agreed / common - 0.5, out=plain)
    return probes, probes[form.steps.index(0)], plain
