"""Error rates of templates beside those of the plain comparator, with intervals, and what they mean in a gallery.

Source: specs/matching.md, section 1.8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from crypto.profiles import SearchProfile
from node.measuring import Pairs

FMRS: Final = {"1e-2": 1e-2, "1e-3": 1e-3, "1e-4": 1e-4}
USUAL_ROOTS: Final = 32
WARN_FPIR: Final = 0.1
RESAMPLES: Final = 200
_SEED: Final = 20_261_122
_KEPT: Final = 0.05  # of the strangers' scores: all that a false match rate of 1e-2 can ask for
_TAIL: Final = 1e-3
_TAIL_PAIRS: Final = 100
_SHAPE_MOST: Final = 0.5

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class _Scores:
    """Mated scores ascending, the highest scores of strangers descending, and whose pair each is."""

    mated: Floats
    mated_pair: NDArray[np.int64]
    strangers: Floats
    strangers_pair: NDArray[np.int64]


def _scores(values: NDArray[Any], mated: NDArray[np.bool_]) -> _Scores:
    own, others = np.flatnonzero(mated), np.flatnonzero(~mated)
    own = own[np.argsort(values[own], kind="stable")]
    kept = max(int(_KEPT * len(others)), min(1000, len(others)))
    others = others[np.argsort(-values[others], kind="stable")[:kept]]
    return _Scores(values[own].astype(np.float64), own, values[others].astype(np.float64), others)


class Calibration:
    """Rates of one set of pairs.

    Args:
        pairs: All pairs that were scored.
        search: The search integers of the profile.
        resamples: How many times people are drawn, with replacement, for the intervals.
    """

    def __init__(self, pairs: Pairs, search: SearchProfile, resamples: int = RESAMPLES) -> None:
        self.n_mated = int(pairs.mated.sum())
        self.n_nonmated = len(pairs.mated) - self.n_mated
        self.search = search
        self._pairs = pairs
        self._plain = _scores(pairs.plain, pairs.mated)
        self._template = _scores(pairs.template, pairs.mated)
        people = int(max(pairs.left.max(), pairs.right.max())) + 1
        present = np.unique(np.concatenate([pairs.left, pairs.right]))
        random = np.random.default_rng(_SEED)
        draws = random.multinomial(len(present), np.full(len(present), 1 / len(present)), size=resamples)
        self._weights = np.zeros((resamples + 1, people))
        self._weights[0] = 1
        self._weights[1:, present] = draws
        same = pairs.left == pairs.right
        self._within = np.bincount(pairs.left[same & ~pairs.mated], minlength=people).astype(np.float64)
        ends = np.bincount(pairs.left, minlength=people) + np.bincount(pairs.right, minlength=people)
        # A row is in as many pairs as there are other rows, so the pair counts give everybody's rows.
        total_rows = (1 + np.sqrt(1 + 8 * len(pairs.mated))) / 2
        self._rows = ends / (total_rows - 1)

    def rates(self) -> dict[str, Any]:
        """FNMR at each FMR, plain and template, the difference, and 95 % intervals."""
        plain, template = self._all(self._plain, None), self._all(self._template, self.lowest_threshold)
        return {
            "n_mated": self.n_mated,
            "n_nonmated": self.n_nonmated,
            "plain": _first(plain),
            "plain_interval": _intervals(plain),
            "template": _first(template),
            "template_interval": _intervals(template),
            "difference": _first(template - plain),
            "difference_interval": _intervals(template - plain),
        }

    @property
    def lowest_threshold(self) -> int:
        """The lowest tau whose polynomial has no more roots than the profile's, or than 32."""
        step, roots = self.search.step, max(USUAL_ROOTS, self.search.roots)
        width = 2 * step * roots - (1 if step == 1 else 2)
        return max(self.search.norm - width, self.search.bound + 1)

    def at(self, threshold: int) -> dict[str, Any]:
        """FNMR and FMR of templates at one threshold, with 95 % intervals."""
        drawn = np.array([self._at(row, threshold) for row in self._weights])
        return {
            "threshold": threshold,
            "fnmr": float(drawn[0, 0]),
            "fnmr_interval": _interval(drawn[:, 0]),
            "fmr": float(drawn[0, 1]),
            "fmr_interval": _interval(drawn[:, 1]),
        }

    def det(self) -> dict[str, tuple[Floats, Floats]]:
        """FMR and FNMR along all thresholds, of both comparators."""
        mated = self._pairs.mated
        return {
            "plain": _curve(self._pairs.plain, mated),
            "template": _curve(self._pairs.template, mated),
        }

    def tail(self) -> Tail | None:
        """A generalised Pareto tail of the strangers' template scores; None of fewer than 1000 pairs."""
        if self.n_nonmated < 10 * _TAIL_PAIRS:
            return None
        return Tail.fit(self._template.strangers, self.n_nonmated, self.search.step)

    def _at(self, weights: Floats, threshold: int) -> tuple[float, float]:
        own, others, total = self._weigh(self._template, weights)
        missed = own[self._template.mated < threshold].sum() / max(own.sum(), 1e-300)
        return float(missed), float(others[self._template.strangers >= threshold].sum() / total)

    def _all(self, scores: _Scores, floor: int | None) -> Floats:
        """FNMR at the three FMRs, one row for the measured people and one for each draw."""
        return np.array([self._fnmr(scores, row, floor) for row in self._weights])

    def _fnmr(self, scores: _Scores, weights: Floats, floor: int | None) -> list[float]:
        own, others, total = self._weigh(scores, weights)
        passed, missed = np.cumsum(others), np.concatenate([[0.0], np.cumsum(own)])
        found = []
        for fmr in FMRS.values():
            # Scores above this one pass; no more than the share of strangers does.
            at = min(int(np.searchsorted(passed, fmr * total, side="right")), len(passed) - 1)
            below = scores.strangers[at] if floor is None else max(scores.strangers[at], floor - 1)
            count = int(np.searchsorted(scores.mated, below, side="right"))
            found.append(float(missed[count] / max(missed[-1], 1e-300)))
        return found

    def _weigh(self, scores: _Scores, weights: Floats) -> tuple[Floats, Floats, float]:
        """Weight of each mated pair, of each kept pair of strangers, and of all pairs of strangers."""
        left, right = self._pairs.left, self._pairs.right
        own = weights[left[scores.mated_pair]]
        one, other = left[scores.strangers_pair], right[scores.strangers_pair]
        others = np.where(one == other, weights[one], weights[one] * weights[other])
        drawn = weights * self._rows
        total = (drawn.sum() ** 2 - (drawn**2).sum()) / 2 + float(weights @ self._within)
        return own, others, max(float(total), 1e-300)


@dataclass(frozen=True, slots=True)
class Tail:
    """P(score >= t) for scores of strangers, beyond what was measured.

    The highest 0.1 % of the pairs (100 at least) are fitted by probability-weighted moments. The shape is kept at
    0 or above: a tail that seems to end is taken for an exponential one, which overstates false hits.

    Attributes:
        start: Where the tail begins: a score.
        share: Share of strangers at or above it.
        scale: Mean excess of an exponential tail; the scale otherwise.
        shape: 0 for an exponential tail; above, heavier.
    """

    start: float
    share: float
    scale: float
    shape: float

    @classmethod
    def fit(cls, highest: Floats, total: int, step: int) -> Tail:
        """From the highest scores, descending, of so many pairs in all; scores lie ``step`` apart."""
        start = float(highest[min(max(int(_TAIL * total), _TAIL_PAIRS), len(highest)) - 1])
        excess = np.sort(highest[highest >= start] - start + step / 2)
        rank = np.arange(len(excess) - 1, -1, -1) / max(len(excess) - 1, 1)
        mean, weighted = float(excess.mean()), float((rank * excess).mean())
        room = mean - 2 * weighted
        shape = 2 - mean / room if room > 0 else _SHAPE_MOST
        if shape <= 0:
            return cls(start, len(excess) / total, mean, 0.0)
        shape = min(shape, _SHAPE_MOST)
        return cls(start, len(excess) / total, mean * (1 - shape), shape)

    def fmr(self, threshold: int) -> float:
        """Share of strangers with at least this score; meant for thresholds from ``start`` on."""
        beyond = max(threshold - self.start, 0.0) / self.scale
        if self.shape == 0:
            return float(self.share * np.exp(-beyond))
        return float(self.share * (1 + self.shape * beyond) ** (-1 / self.shape))

    def fpir(self, threshold: int, gallery: int) -> float:
        """Chance that a search of this many strangers shows anybody."""
        return float(-np.expm1(gallery * np.log1p(-min(self.fmr(threshold), 1 - 1e-12))))

    def threshold_for(self, wanted: float, gallery: int, search: SearchProfile, lowest: int) -> int | None:
        """The lowest threshold, from ``lowest`` on, with at most this FPIR; None when the norm is no help."""
        for threshold in range(lowest, search.norm + 1, search.step):
            if threshold >= self.start and self.fpir(threshold, gallery) <= wanted:
                return threshold
        return None


def _curve(values: NDArray[Any], mated: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    own, others = np.sort(values[mated]), np.sort(values[~mated])
    at = np.unique(np.concatenate([others[-2000:], np.quantile(others, np.linspace(0, 1, 500))]))
    fmr = 1 - np.searchsorted(others, at, side="left") / len(others)
    return fmr, np.searchsorted(own, at, side="left") / len(own)


def _first(drawn: Floats) -> dict[str, float]:
    return {name: float(value) for name, value in zip(FMRS, drawn[0], strict=True)}


def _intervals(drawn: Floats) -> dict[str, list[float]]:
    return {name: _interval(drawn[:, column]) for column, name in enumerate(FMRS)}


def _interval(drawn: Floats) -> list[float]:
    if len(drawn) < 2:
        return [float(drawn[0]), float(drawn[0])]
    low, high = np.quantile(drawn[1:], [0.025, 0.975])
    return [float(low), float(high)]
