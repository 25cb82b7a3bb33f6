"""Fit a profile of binary codes with masks, such as irises.

A code may stand at any angle, so every turn of it is as likely as any other. Covariances are then diagonal in the
frequencies of the angular axis, and one small matrix for each frequency is all there is to estimate: the same as
fitting on all turns of all codes, without making them.

Source: specs/matching.md, section 1.3.
"""

from __future__ import annotations

from math import gcd
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from crypto.codes import MAX_CODE_FEATURES, CodeForm, Codes, pool, signs
from crypto.errors import BadFeatures, BadProfile
from crypto.fitting import FAMILIES, spread, to_units
from crypto.profiles import Profile

_SHRINKAGE: Final = 3.0
_STEPS: Final = tuple(range(-12, 13, 3))  # for 256 angular positions
_MIN_VALID: Final = 50

Spectrum = NDArray[np.complex64]


def usual_form(shape: tuple[int, int, int, int]) -> CodeForm:
    """Neighbours are pooled by two where that fits, then more until a profile can hold it; +-12 of 256 steps.

    Raises:
        BadProfile: A shape that no profile can have.
    """
    radial, angular = gcd(shape[1], 2), gcd(shape[2], 2)
    steps = tuple(sorted({round(s * shape[2] / 256) for s in _STEPS}))
    while shape[0] * shape[1] * shape[2] * shape[3] > MAX_CODE_FEATURES * radial * angular:
        if shape[1] % (2 * radial) and shape[2] % (2 * angular):
            break
        if shape[1] % (2 * radial) == 0 and radial <= angular:
            radial *= 2
        elif shape[2] % (2 * angular) == 0:
            angular *= 2
        else:
            radial *= 2
    return CodeForm(shape, (radial, angular), steps, _MIN_VALID)


def fit_code_profile(
    codes: Codes,
    masks: Codes,
    labels: NDArray[Any],
    family: str,
    form: CodeForm,
    *,
    name: str,
    fitted_on: str,
    version: int = 1,
    seed: int = 0,
) -> Profile:
    """Fit the matrix; the mean is zero, because the constant part of a code is no direction of the map.

    Args:
        codes: Packed bits, shape ``(m, bits / 8)``.
        masks: The same for the masks.
        labels: Which eye each row is, shape ``(m,)``.
        family: A key of `FAMILIES` for irises.
        form: How codes become vectors.
        name: Name of the profile.
        fitted_on: Whose codes they are, in plain words; it becomes part of the profile.
        version: Version of the profile.
        seed: Seed of the rotation; not a secret.

    Raises:
        BadFeatures: Wrong shape or length, too few usable bits, or nobody with two codes.
        BadProfile: An unknown family, or a name or version out of range.
    """
    if family not in FAMILIES or FAMILIES[family].modality != "iris":
        raise BadProfile(f"family of codes must be one of {', '.join(codes_families())}")
    chosen = FAMILIES[family]
    rows = signs(codes, masks, form)
    if len(rows) < 2 or labels.shape != (len(rows),):
        raise BadFeatures("codes must be at least two, with one label each")
    people, person = np.unique(labels, return_inverse=True)
    if len(rows) == len(people):
        raise BadFeatures("at least one eye needs two codes")
    if form.pooled[2] < 3:
        raise BadFeatures("pooled codes need at least three angular positions")
    _align(rows, person, form)
    total, within = _spectra(rows, person, form)
    basis = _leading(total, within, form, min(chosen.directions, chosen.search.n))
    matrix = basis @ spread(basis.shape[1], chosen.search.n, seed)
    mean = np.zeros(form.d, np.float32)
    return Profile(name, version, "iris", fitted_on, chosen.search, mean, to_units(matrix), form)


def codes_families() -> list[str]:
    """Families that are for codes."""
    return [name for name, family in FAMILIES.items() if family.modality == "iris"]


def _align(rows: NDArray[np.int8], person: NDArray[np.intp], form: CodeForm) -> None:
    """Turn the codes of each person, in place, to agree best with that person's most usable code."""
    reach = range(form.steps[0], form.steps[-1] + 1)
    for one in range(int(person.max()) + 1):
        own = np.flatnonzero(person == one)
        sums = [np.abs(rows[row]).sum(dtype=np.int64) for row in own]
        fixed = rows[own[int(np.argmax(sums))]].astype(np.float32).ravel()
        held = np.abs(fixed)
        for row in own:
            agreed = []
            for step in reach:  # one at a time: of a long code there are thousands
                turned = np.roll(rows[row], step, axis=2).ravel().astype(np.float32)
                agreed.append((turned @ fixed) / max(np.abs(turned) @ held, 1))
            rows[row] = np.roll(rows[row], reach[int(np.argmax(agreed))], axis=2)


def _spectra(rows: NDArray[np.int8], person: NDArray[np.intp], form: CodeForm) -> tuple[Spectrum, Spectrum]:
    """Covariance of all codes and within persons, shape (frequencies, channels, channels)."""
    wavelets, radial, angular, parts = form.pooled
    counts = np.bincount(person)[:, None, None]
    size = (max((angular + 1) // 2 - 1, 0), wavelets * radial * parts, wavelets * radial * parts)
    total, within = np.zeros(size, np.complex64), np.zeros(size, np.complex64)
    for offset in range(form.pool[1]):
        pooled = pool(np.roll(rows, offset, axis=3), form).reshape(-1, wavelets, radial, angular, parts)
        lines = pooled.transpose(0, 3, 1, 2, 4).reshape(len(rows), angular, -1)
        waves = np.fft.rfft(lines, axis=1).astype(np.complex64)[:, 1 : (angular + 1) // 2]
        centres = np.zeros((len(counts), *waves.shape[1:]), np.complex64)
        np.add.at(centres, person, waves)
        apart = waves - (centres / counts)[person]
        total += _covariance(waves) / (len(rows) * form.pool[1])
        within += _covariance(apart) / ((len(rows) - len(counts)) * form.pool[1])
    return total, within


def _covariance(waves: Spectrum) -> Spectrum:
    product: Spectrum = waves.transpose(1, 2, 0) @ waves.conj().transpose(1, 0, 2)
    return product


def _leading(total: Spectrum, within: Spectrum, form: CodeForm, count: int) -> NDArray[np.float64]:
    """The directions in which persons differ most, against how one person's codes differ: shape (d, count)."""
    wavelets, radial, angular, parts = form.pooled
    values, vectors = np.linalg.eigh(within)
    if not values.mean() > 0:
        raise BadFeatures("all codes of each eye are equal")
    level = values.sum() / (len(values) + 1) / values.shape[1]
    scale = 1 / np.sqrt(np.maximum(values, 0) + _SHRINKAGE * level)
    whitening = (vectors * scale[:, None, :]) @ vectors.conj().transpose(0, 2, 1)
    strengths, inner = np.linalg.eigh(whitening @ total @ whitening)
    outer = whitening @ inner
    best = np.argsort(-strengths, axis=None, kind="stable")[: max(count // 2, 1)]
    frequency, channel = np.unravel_index(best, strengths.shape)
    angles = np.exp(-2j * np.pi * np.outer(frequency + 1, np.arange(angular)) / angular)
    waves = angles[:, :, None] * outer[frequency, :, channel].conj()[:, None, :]
    waves = waves.reshape(-1, angular, wavelets, radial, parts).transpose(0, 2, 3, 1, 4)
    flat = waves.reshape(len(best), form.d)
    columns: NDArray[np.float64] = np.concatenate([flat.real, flat.imag]).T.astype(np.float64)
    return columns
