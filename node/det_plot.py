"""A detection error trade-off curve as SVG, without a plotting library: axes on the scale of the normal quantile."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_WIDTH: Final = 640
_HEIGHT: Final = 640
_MARGIN: Final = 70
_TICKS: Final = (1e-5, 1e-4, 1e-3, 1e-2, 0.05, 0.2, 0.4)
_COLOURS: Final = ("#1b6ca8", "#c1440e")
_LOW: Final = 1e-5
_HIGH: Final = 0.5
_NORMAL: Final = NormalDist()
_MOST_POINTS: Final = 1000

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]


def det_svg(curves: dict[str, Curve], title: str) -> str:
    """One picture of curves, each of false match and false non-match rates from 0 to 1.

    Args:
        curves: By name; at most two are told apart by colour.
        title: Plain text above the picture.
    """
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        _text(_WIDTH / 2, 30, title, 'text-anchor="middle" font-size="15"'),
    ]
    for rate in _TICKS:
        x, y = _x(rate), _y(rate)
        parts.append(_line([(x, _y(_LOW)), (x, _y(_HIGH))], "#dddddd", 1))
        parts.append(_line([(_x(_LOW), y), (_x(_HIGH), y)], "#dddddd", 1))
        parts.append(_text(x, _HEIGHT - _MARGIN + 18, _percent(rate), 'text-anchor="middle"'))
        parts.append(_text(_MARGIN - 8, y + 4, _percent(rate), 'text-anchor="end"'))
    parts.append(_text(_WIDTH / 2, _HEIGHT - 18, "false match rate", 'text-anchor="middle"'))
    side = f'text-anchor="middle" transform="rotate(-90 18 {_HEIGHT / 2})"'
    parts.append(_text(18, _HEIGHT / 2, "false non-match rate", side))
    for number, (name, (fmr, fnmr)) in enumerate(curves.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        points = [(_x(a), _y(b)) for a, b in _thinned(fmr, fnmr)]
        parts.append(_line(points, colour, 2))
        parts.append(
            _text(
                _WIDTH - _MARGIN - 10, _MARGIN + 20 + 18 * number, name, f'text-anchor="end" fill="{colour}"'
            )
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _thinned(fmr: NDArray[np.float64], fnmr: NDArray[np.float64]) -> list[tuple[float, float]]:
    inside = np.flatnonzero(fmr > 0)
    at = inside[np.linspace(0, len(inside) - 1, min(len(inside), _MOST_POINTS)).astype(int)]
    return [(float(fmr[i]), float(fnmr[i])) for i in at]


def _x(rate: float) -> float:
    return _MARGIN + (_WIDTH - 2 * _MARGIN) * _place(rate)


def _y(rate: float) -> float:
    return _HEIGHT - _MARGIN - (_HEIGHT - 2 * _MARGIN) * _place(rate)


def _place(rate: float) -> float:
    low, high = _NORMAL.inv_cdf(_LOW), _NORMAL.inv_cdf(_HIGH)
    return (_NORMAL.inv_cdf(min(max(rate, _LOW), _HIGH)) - low) / (high - low)


def _percent(rate: float) -> str:
    return f"{100 * rate:g} %"


def _line(points: list[tuple[float, float]], colour: str, width: int) -> str:
    where = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{where}" fill="none" stroke="{colour}" stroke-width="{width}"/>'


def _text(x: float, y: float, text: Any, more: str) -> str:
    plain = str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{plain}</text>'
