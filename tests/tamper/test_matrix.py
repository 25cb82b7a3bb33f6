"""The tampering matrix in the gate: every case is found, and named for what it is; controls are left alone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from all_cases import all_cases
from matrix import Case

CASES = list(all_cases())


def test_the_matrix_is_large_and_says_what_it_is_about() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert sum(bool(case.expected) for case in CASES) >= 400
    kinds = {one.rule for case in CASES for one in case.expected}
    assert len(kinds) >= 30
    assert {case.inputs for case in CASES} >= {"bytes, policy", "bytes, policy, older checkpoint"}


@pytest.mark.parametrize("part", range(16))
def test_every_case_is_found_and_named(part: int) -> None:
    wrong: list[tuple[str, object]] = []
    case: Case
    for case in CASES[part::16]:
        found, named, what = case.judge()
        if not named or found != bool(case.expected):
            wrong.append((case.name, what))
    assert wrong == []
