"""Templates of real irises and fingerprints stay near the plain comparators, for people on whom nothing was fitted.

One split of irises and one rotation here, for time; the means of twenty are in ``report.py``.
"""

from __future__ import annotations

import other_modalities
import pytest


@pytest.mark.timeout(600)
def test_irises_lose_less_than_two_points() -> None:
    plain, template, at_fnmr, at_fmr = other_modalities.irises("iris-512", 1001)
    assert template - plain <= 0.02, f"{100 * (template - plain):.2f} points at FMR 1e-3"
    assert at_fnmr <= 0.03
    assert at_fmr <= 2e-3


def test_fingerprints_lose_less_than_four_points() -> None:
    plain, template, at_fnmr, at_fmr = other_modalities.fingers(None)
    assert template - plain <= 0.04, f"{100 * (template - plain):.2f} points at FMR 1e-3"
    assert at_fnmr <= 0.12
    assert at_fmr <= 1.5e-3
