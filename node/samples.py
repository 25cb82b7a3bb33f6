"""Feature files of every modality: vectors, or binary codes with masks; for galleries, probes, fits and measurements.

Source: specs/matching.md, section 1.6.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from crypto.codes import Codes, code_vectors, turned_vectors
from crypto.profiles import Profile
from crypto.templates import Template, make_templates
from node.errors import BadFeatureFile
from node.features import Members, named_row, one_row, opened, read_features

_LABELS: Final = ("finger", "eye", "subject")
_AXES: Final = 4

FloatRows = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Samples:
    """Labelled rows of a file: vectors or codes, never both.

    Attributes:
        embeddings: Float, shape ``(m, d)``; None for codes.
        codes: Packed bits, shape ``(m, bits / 8)``; None for vectors. So ``masks``.
        shape: Dimensions of a code; None for vectors.
        labels: Which finger, eye or person each row shows, as numbers from 0; None when not in the file.
        people: Whose it is, where the file says so beside a finger or an eye; else as labels.
        names: The label of each row as the file has it.
        fit: Which rows the file sets apart for fitting; None when it does not say.
    """

    embeddings: FloatRows | None
    codes: Codes | None
    masks: Codes | None
    shape: tuple[int, int, int, int] | None
    labels: NDArray[np.int64] | None
    people: NDArray[np.int64] | None
    names: tuple[str, ...] | None
    fit: NDArray[np.bool_] | None

    def __len__(self) -> int:
        return len(self.codes) if self.embeddings is None and self.codes is not None else len(self._vectors())

    def _vectors(self) -> FloatRows:
        if self.embeddings is None:
            raise BadFeatureFile("holds no vectors")
        return self.embeddings


def read_samples(path: Path) -> Samples:
    """Read rows and what is said of them; other members are not opened.

    Raises:
        BadFeatureFile: As `read_features`; or codes whose masks, shape or length do not fit.
    """
    with opened(path) as members:
        if "codes" in members and "embeddings" in members:
            raise BadFeatureFile("holds 'embeddings' and 'codes'; one of them is needed")
        embeddings = codes = masks = shape = None
        if "codes" in members:
            codes, masks, shape = _codes(members)
            count = len(codes)
        else:
            embeddings = members.array("embeddings")
            count = len(embeddings)
        found = [names for label in _LABELS if (names := members.names(label, count)) is not None]
        fit = members.array("fit") if "fit" in members else None
        if fit is not None and len(fit) != count:
            raise BadFeatureFile("'fit' must have one entry for each row")
    labels = _numbers(found[0]) if found else None
    people = _numbers(found[-1]) if found else None
    if labels is not None and people is not None:
        _check_owners(labels, people)
    return Samples(embeddings, codes, masks, shape, labels, people, found[-1] if found else None, fit)


def gallery_vectors(path: Path, profile: Profile) -> tuple[FloatRows, tuple[str, ...] | None]:
    """What a gallery file holds, as feature vectors of the profile, and the records it names.

    Raises:
        BadFeatureFile: As `read_samples`, or not what the profile wants.
        BadFeatures: A code with too few usable bits, by row.
    """
    if profile.code is None:
        features = read_features(path, profile.d)
        return features.embeddings, features.records
    with opened(path) as members:
        codes, masks, _ = _codes(members, profile.code.shape)
        records = members.records(len(codes))
    return code_vectors(codes, masks, profile.code), records


def probe_vectors(text: str, profile: Profile) -> FloatRows:
    """The probe that ``FILE.npz`` or ``FILE.npz:INDEX`` names: one row, or for codes one a rotation.

    Raises:
        BadFeatureFile: As `gallery_vectors`; no such row; or several rows and no index.
    """
    path, index = named_row(text)
    if profile.code is None:
        rows = read_features(path).embeddings
        at = one_row(path, index, len(rows))
        return rows[at : at + 1].copy()
    with opened(path) as members:
        codes, masks, _ = _codes(members, profile.code.shape)
    at = one_row(path, index, len(codes))
    return turned_vectors(codes[at], masks[at], profile.code)


def probe_templates(text: str, profile: Profile) -> Template:
    """The templates to ask with, int8, shape ``(k, n)``: a hit of any of them is a hit.

    Raises:
        BadFeatureFile: As `probe_vectors`.
        BadFeatures: A vector or code that cannot become a template.
    """
    return make_templates(probe_vectors(text, profile), profile)


def _codes(
    members: Members, wanted: tuple[int, ...] | None = None
) -> tuple[Codes, Codes, tuple[int, int, int, int]]:
    shape = tuple(members.array("shape").tolist())
    if len(shape) != _AXES or not all(type(size) is int and 1 <= size <= 2**16 for size in shape):
        raise BadFeatureFile("'shape' must be wavelets, radial and angular positions, and parts")
    if wanted is not None and shape != wanted:
        raise BadFeatureFile(f"codes have the shape {shape}, but the profile wants {wanted}")
    codes, masks = members.array("codes"), members.array("masks")
    if codes.shape != masks.shape:
        raise BadFeatureFile("'codes' and 'masks' must have one shape")
    if 8 * codes.shape[1] != int(np.prod(shape, dtype=object)):
        raise BadFeatureFile(f"codes of shape {shape} do not have {codes.shape[1]} bytes")
    wavelets, radial, angular, parts = shape
    return np.ascontiguousarray(codes), np.ascontiguousarray(masks), (wavelets, radial, angular, parts)


def _numbers(names: tuple[str, ...]) -> NDArray[np.int64]:
    numbers: NDArray[np.int64] = np.unique(np.array(names), return_inverse=True)[1].astype(np.int64)
    return numbers


def _check_owners(labels: NDArray[np.int64], people: NDArray[np.int64]) -> None:
    """Refuse a finger or an eye of two people."""
    owner = np.zeros(int(labels.max()) + 1, np.int64)
    owner[labels] = people
    if np.any(owner[labels] != people):
        raise BadFeatureFile("a finger or an eye is labelled with two subjects")
