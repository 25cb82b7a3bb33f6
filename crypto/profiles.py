"""Profiles: the named, frozen and hash-pinned rules that turn a feature vector into a template.

Source: specs/matching.md, section 1.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from crypto.codes import MAX_CODE_FEATURES, CodeForm
from crypto.contexts import Context, hash_fields
from crypto.errors import BadProfile, ImpossibleProfile

PLAINTEXT_MODULUS: Final = 65537
ROW_SLOTS: Final = 8192

FORMAT: Final = "concordat-profile-v1"
FORMAT_2: Final = "concordat-profile-v2"  # codes with masks, or galleries fuller than probes
MODALITIES: Final = ("face", "iris", "fingerprint")
MAX_FEATURES: Final = 2048  # the largest published extractors; keeps exact sums below 2^53
MAX_LENGTH: Final = 1024  # beyond it one query costs more than a national node will spend
MAX_BOUND: Final = 4  # the table of level counts grows with its power
MAX_WAYS: Final = 2**14  # to spend the norm: each is tried for every row; the families have at most 249
MAX_MEAN: Final = 1e6
MAX_VERSION: Final = 2**31 - 1
MAX_PROFILE_BYTES: Final = 12 * 2**20  # the largest matrix, 4096 x 1024 x 2 bytes, in base64

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])?")
_WORDS: Final = re.compile(r"[ -~]{1,200}")


@dataclass(frozen=True, slots=True)
class SearchProfile:
    """The four integers of a profile that the encrypted search depends on.

    Attributes:
        n: Length of a template; a power of two that divides a row of slots.
        bound: Largest absolute value of an entry (a).
        norm: Exact sum of squares of every template (S); also the highest score.
        threshold: Lowest score that is a hit (tau).
        gallery: Non-zeros of a gallery's templates when there are more of them than in a probe (G); else 0.

    Raises:
        ImpossibleProfile: The integers contradict each other or would wrap in the plaintext ring.
    """

    n: int
    bound: int
    norm: int
    threshold: int
    gallery: int = 0

    def __post_init__(self) -> None:
        for name in ("n", "bound", "norm", "threshold", "gallery"):
            if type(getattr(self, name)) is not int:
                raise ImpossibleProfile(f"{name} must be an integer")
        half = PLAINTEXT_MODULUS / 2
        if not 2 <= self.n <= ROW_SLOTS or self.n & (self.n - 1):
            raise ImpossibleProfile(f"n must be a power of two from 2 to {ROW_SLOTS}, not {self.n}")
        if self.bound < 1:
            raise ImpossibleProfile(f"bound must be at least 1, not {self.bound}")
        if not 2 <= self.norm <= self.n * self.bound**2:
            raise ImpossibleProfile(f"norm must lie in 2..n*bound^2, not {self.norm}")
        if self.n * self.bound**2 >= half or 2 * self.norm >= half:
            raise ImpossibleProfile(f"n*bound^2 and 2*norm must stay below {half}: scores would wrap")
        if not 1 <= self.threshold <= self.norm:
            raise ImpossibleProfile(f"threshold must lie in 1..norm, not {self.threshold}")
        if self.threshold <= self.bound:
            raise ImpossibleProfile("threshold must exceed bound, or an empty slot could hit")
        if self.gallery and (self.bound != 1 or not self.norm < self.gallery <= self.n):
            # With entries of 1, sum |p_i| = S bounds the score whatever the gallery holds.
            raise ImpossibleProfile("gallery must be 0, or with bound 1 lie in norm+1..n")
        if self.step == 2 and (self.norm - self.threshold) % 2:
            raise ImpossibleProfile("norm - threshold must be even when a gallery's templates have no zeros")

    @property
    def step(self) -> int:
        """Distance of possible scores: 2 when no entry of the gallery is zero, because each is then S mod 2."""
        return 2 if self.gallery == self.n else 1

    @property
    def roots(self) -> int:
        """Degree of the threshold polynomial in w = (score - centre)^2: m + 1 distinct accepted squares."""
        return (self.norm - self.threshold) // (2 * self.step) + 1

    @property
    def gallery_norm(self) -> int:
        """Sum of squares of every template of a gallery."""
        return self.gallery or self.norm


@lru_cache(maxsize=64)
def level_counts(n: int, bound: int, norm: int) -> NDArray[np.int64]:
    """Every way to spend the norm: rows ``(c_1, ..., c_bound)``, where c_l entries have magnitude l or more.

    ``c_1 >= c_2 >= ...``, ``c_1 <= n`` and ``sum (2 l - 1) c_l == norm``, so the squares sum to the norm.
    Rows are sorted by ``(c_bound, ..., c_2)``; shape ``(ways, bound)``, no rows when no template exists.

    Raises:
        ImpossibleProfile: More ways than ``MAX_WAYS``; no more than these are looked at.
    """
    ways: list[tuple[int, ...]] = []

    def spend(level: int, rest: int, higher: tuple[int, ...]) -> None:
        least = higher[0] if higher else 0
        if level == 1:
            if least <= rest <= n:
                ways.append((rest, *higher))
            if len(ways) > MAX_WAYS:
                raise ImpossibleProfile(f"norm {norm} can be spent in more than {MAX_WAYS} ways; lower it")
            return
        # All levels from here down take at least count each, those below this one at most n each.
        width = 2 * level - 1
        fewest = max(least, -(-(rest - n * (level - 1) ** 2) // width))
        for count in range(fewest, min(n, rest // level**2) + 1):
            spend(level - 1, rest - width * count, (count, *higher))

    spend(bound, norm, ())
    table = np.array(ways, dtype=np.int64).reshape(-1, bound)
    table.setflags(write=False)
    return table


@dataclass(frozen=True, eq=False)
class Profile:
    """One extractor's rules, complete: two nodes with equal digests make bit-identical templates.

    Attributes:
        name: Lower-case words joined by hyphens, such as ``embedding-128``.
        version: Grows when anything else changes under the same name.
        modality: ``face``, ``iris`` or ``fingerprint``.
        fitted_on: Who the mean and the matrix were fitted on, in plain words; never the people searched.
        search: Length, bound, norm and threshold of the templates.
        mean: float32, shape ``(d,)``, subtracted from every feature vector.
        matrix: int16, shape ``(d, n)``, in units of 2^-15.
        code: When features are binary codes with masks, how they become vectors; else None.

    Raises:
        BadProfile: A field out of its range.
    """

    name: str
    version: int
    modality: str
    fitted_on: str
    search: SearchProfile
    mean: NDArray[np.float32]
    matrix: NDArray[np.int16]
    code: CodeForm | None = None

    def __post_init__(self) -> None:
        if type(self.name) is not str or not _NAME.fullmatch(self.name):
            raise BadProfile("name must be 1 to 48 characters of a-z, 0-9 and inner hyphens")
        if type(self.version) is not int or not 1 <= self.version <= MAX_VERSION:
            raise BadProfile(f"version must lie in 1..{MAX_VERSION}")
        if self.modality not in MODALITIES:
            raise BadProfile(f"modality must be one of {', '.join(MODALITIES)}")
        if type(self.fitted_on) is not str or not _WORDS.fullmatch(self.fitted_on):
            raise BadProfile("fitted_on must be 1 to 200 printable ASCII characters")
        if self.search.n > MAX_LENGTH or self.search.bound > MAX_BOUND:
            raise BadProfile(f"n must be at most {MAX_LENGTH} and bound at most {MAX_BOUND}")
        if not len(level_counts(self.search.n, self.search.bound, self.search.norm)):
            raise BadProfile("no template of this length and bound has this norm")
        most = MAX_FEATURES if self.code is None else MAX_CODE_FEATURES
        if self.mean.dtype != np.float32 or self.mean.ndim != 1 or not 2 <= len(self.mean) <= most:
            raise BadProfile(f"mean must be a float32 vector of 2 to {most} entries")
        if self.code is not None and self.code.d != len(self.mean):
            raise BadProfile(f"the code has {self.code.d} pooled entries, and the mean {len(self.mean)}")
        if not np.all(np.abs(self.mean) <= MAX_MEAN):  # false for NaN too
            raise BadProfile(f"mean must be finite and at most {MAX_MEAN:g} in size")
        if self.matrix.dtype != np.int16 or self.matrix.shape != (len(self.mean), self.search.n):
            raise BadProfile("matrix must be int16 of shape (d, n)")
        if not self.matrix.any():
            raise BadProfile("matrix must not be zero")
        for field in ("mean", "matrix"):
            frozen = np.array(getattr(self, field), order="C")
            frozen.setflags(write=False)
            object.__setattr__(self, field, frozen)

    @property
    def d(self) -> int:
        """Dimension of a feature vector."""
        return len(self.mean)

    @property
    def n(self) -> int:
        """Length of a template."""
        return self.search.n

    @cached_property
    def digest(self) -> bytes:
        """The 32 bytes that pin this profile in agreements and messages."""
        return hash_fields(Context.PROFILE, self.to_bytes())

    def to_bytes(self) -> bytes:
        """The one file form: canonical JSON (sorted keys, no spaces), arrays as base64, little-endian."""
        more: dict[str, str | int | list[int]] = {}
        if self.code is not None or self.search.gallery:
            more = {
                "code_min_valid": self.code.min_valid if self.code else 0,
                "code_pool": list(self.code.pool) if self.code else [],
                "code_shape": list(self.code.shape) if self.code else [],
                "code_steps": list(self.code.steps) if self.code else [],
                "gallery": self.search.gallery,
            }
        return _canonical(
            {
                "bound": self.search.bound,
                "d": self.d,
                "fitted_on": self.fitted_on,
                "format": FORMAT_2 if more else FORMAT,
                "matrix": _pack(self.matrix.astype("<i2", copy=False)),
                "mean": _pack(self.mean.astype("<f4", copy=False)),
                "modality": self.modality,
                "n": self.search.n,
                "name": self.name,
                "norm": self.search.norm,
                "threshold": self.search.threshold,
                "version": self.version,
                **more,
            }
        )


def load_profile(data: bytes, digest: bytes | None = None) -> Profile:
    """Parse a profile file; accept its canonical form only.

    Args:
        data: The whole file.
        digest: When given, the 32-byte digest that the profile must have.

    Raises:
        BadProfile: Not the canonical form, a field out of range, or another digest.
        ImpossibleProfile: The search integers contradict each other.
    """
    if len(data) > MAX_PROFILE_BYTES:
        raise BadProfile(f"a profile file has at most {MAX_PROFILE_BYTES} bytes, not {len(data)}")
    try:
        fields = json.loads(data.decode("ascii"), parse_float=_refuse, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise BadProfile("a profile file must be ASCII JSON without fractions") from error
    if type(fields) is not dict:
        raise BadProfile("a profile file must hold one JSON object")
    form = fields.get("format")
    if form != FORMAT and form != FORMAT_2:
        raise BadProfile(f"format must be {FORMAT} or {FORMAT_2}")
    wanted = _FIELDS if form == FORMAT else _FIELDS | _FIELDS_2
    if fields.keys() != wanted.keys():
        raise BadProfile(f"a {form} file must hold exactly these fields: {', '.join(sorted(wanted))}")
    for field, kind in wanted.items():
        if type(fields[field]) is not kind:
            raise BadProfile(f"{field} must be {_KINDS[kind]}")
    search = SearchProfile(
        fields["n"], fields["bound"], fields["norm"], fields["threshold"], fields.get("gallery", 0)
    )
    code = _code(fields) if fields.get("code_shape") else None
    d = fields["d"]
    if not 2 <= d <= MAX_CODE_FEATURES or search.n > MAX_LENGTH:
        raise BadProfile(f"d must lie in 2..{MAX_CODE_FEATURES} and n be at most {MAX_LENGTH}")
    profile = Profile(
        name=fields["name"],
        version=fields["version"],
        modality=fields["modality"],
        fitted_on=fields["fitted_on"],
        search=search,
        mean=np.frombuffer(_unpack("mean", fields["mean"], 4 * d), "<f4").astype(np.float32),
        matrix=np.frombuffer(_unpack("matrix", fields["matrix"], 2 * d * search.n), "<i2")
        .astype(np.int16)
        .reshape(d, search.n),
        code=code,
    )
    if profile.to_bytes() != data:
        raise BadProfile("a profile file must be in canonical form: sorted keys, no spaces, no line end")
    if digest is not None and profile.digest != digest:
        raise BadProfile("the profile has another digest than the one that was agreed")
    return profile


def _code(fields: dict[str, Any]) -> CodeForm:
    return CodeForm(
        shape=tuple(fields["code_shape"]),
        pool=tuple(fields["code_pool"]),
        steps=tuple(fields["code_steps"]),
        min_valid=fields["code_min_valid"],
    )


def _canonical(fields: dict[str, str | int | list[int]]) -> bytes:
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def _pack(array: NDArray[np.int16] | NDArray[np.float32]) -> str:
    return base64.b64encode(array.tobytes()).decode("ascii")


def _unpack(field: str, text: str, size: int) -> bytes:
    if len(text) != 4 * ((size + 2) // 3):
        raise BadProfile(f"{field} must hold exactly {size} bytes as base64")
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise BadProfile(f"{field} is not base64") from error
    if len(raw) != size:
        raise BadProfile(f"{field} must hold exactly {size} bytes, not {len(raw)}")
    return raw


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"no fractions or constants: {text[:20]}")


_FIELDS: Final[dict[str, type]] = {
    "bound": int,
    "d": int,
    "fitted_on": str,
    "format": str,
    "matrix": str,
    "mean": str,
    "modality": str,
    "n": int,
    "name": str,
    "norm": int,
    "threshold": int,
    "version": int,
}
_FIELDS_2: Final[dict[str, type]] = {
    "code_min_valid": int,
    "code_pool": list,
    "code_shape": list,
    "code_steps": list,
    "gallery": int,
}
_KINDS: Final[dict[type, str]] = {str: "text", int: "an integer", list: "a list"}
