"""Print the accuracy table of specs/matching.md, section 1: ``python tests/real/report.py``. Rates only."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

import numpy as np  # noqa: E402
import orl  # noqa: E402

from crypto.fitting import FAMILIES  # noqa: E402

SPLITS = 20


def main() -> None:
    print(
        "| set | profile | cosine FNMR | FNMR, FMR <= 1e-3 | points: mean, worst split | FNMR / FMR at tau |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for name in orl.SETS:
        for family in FAMILIES:
            rates = [orl.measure(orl.split(name, family, seed)) for seed in range(SPLITS)]
            percent = {
                field: 100 * np.mean([getattr(r, field) for r in rates])
                for field in orl.Rates.__dataclass_fields__
            }
            worse = [100 * (r.policy_fnmr - r.cosine_fnmr) for r in rates]
            print(
                f"| {name} | {family} | {percent['cosine_fnmr']:.2f} % | {percent['policy_fnmr']:.2f} % "
                f"| {np.mean(worse):+.2f}, {max(worse):+.2f} "
                f"| {percent['fixed_fnmr']:.2f} % / {percent['fixed_fmr']:.3f} % |"
            )


if __name__ == "__main__":
    main()
