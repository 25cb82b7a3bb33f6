"""Print the accuracy table of specs/matching.md, section 1: ``python tests/real/report.py``. Rates only."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

import numpy as np  # noqa: E402
import orl  # noqa: E402
import other_modalities  # noqa: E402

from crypto.fitting import FAMILIES, Family  # noqa: E402
from crypto.profiles import SearchProfile  # noqa: E402

CHOSEN_ON = range(20)
"""Splits that were looked at when the families were chosen."""

FRESH = range(1000, 1020)
"""Other splits of the same people, first measured when nothing was changed any more."""

ALTERNATIVES = {
    "n=256 a=2 S=127 tau=65, one group": Family(SearchProfile(256, 2, 127, 65), 256),
    "n=256 a=3 S=127 tau=65, one group": Family(SearchProfile(256, 3, 127, 65), 256),
    "n=256 a=3 S=119 tau=57, groups of 16": Family(SearchProfile(256, 3, 119, 57), 16),
    "n=256 a=2 S=107 tau=45, one group": Family(SearchProfile(256, 2, 107, 45), 256),
    "n=256 a=4 S=127 tau=65, groups of 16": Family(SearchProfile(256, 4, 127, 65), 16),
    "n=256 a=2 S=191 tau=85, one group": Family(SearchProfile(256, 2, 191, 85), 256),
}


def table(families: dict[str, Family], splits: range) -> None:
    head = (
        "set",
        "profile",
        "roots",
        "cosine",
        "template",
        "points: mean, worst",
        "FNMR / FMR at tau",
        "highest FMR at tau",
    )
    print(f"| {' | '.join(head)} |")
    print("| --- " * len(head) + "|")
    for name in orl.SETS:
        for family in families:
            rates = [orl.measure(orl.split(name, family, seed)) for seed in splits]
            percent = {
                field: 100 * np.mean([getattr(r, field) for r in rates])
                for field in orl.Rates.__dataclass_fields__
            }
            worse = [100 * (r.policy_fnmr - r.cosine_fnmr) for r in rates]
            cells = (
                name,
                family,
                str(families[family].search.roots),
                f"{percent['cosine_fnmr']:.2f} %",
                f"{percent['policy_fnmr']:.2f} %",
                f"{np.mean(worse):+.2f}, {max(worse):+.2f}",
                f"{percent['fixed_fnmr']:.2f} / {percent['fixed_fmr']:.3f} %",
                f"{100 * max(r.fixed_fmr for r in rates):.3f} %",
            )
            print(f"| {' | '.join(cells)} |")


def others(splits: range) -> None:
    """Irises and fingerprints: mean over the splits, and the 95 % interval of the mean."""
    print("| set | profile | plain | template | points: mean, interval, worst | FNMR / FMR at tau |")
    print("| --- " * 6 + "|")
    cases = {("irises", family): family for family in ("iris-512", "iris-1024")}
    for (what, family), name in {**cases, ("fingerprints", "finger-1024"): None}.items():
        measured = [
            other_modalities.fingers(seed) if name is None else other_modalities.irises(name, seed)
            for seed in splits
        ]
        rates = 100 * np.array(measured)
        worse = rates[:, 1] - rates[:, 0]
        interval = 1.96 * worse.std(ddof=1) / len(worse) ** 0.5
        plain, template, fnmr, fmr = rates.mean(axis=0)
        print(
            f"| {what} | {family} | {plain:.2f} % | {template:.2f} % | "
            f"{worse.mean():+.2f} +- {interval:.2f}, {worse.max():+.2f} | {fnmr:.2f} / {fmr:.3f} % |"
        )


def main() -> None:
    every = dict(FAMILIES)
    chosen = {name: family for name, family in FAMILIES.items() if family.modality == "face"}
    for name in set(FAMILIES) - set(chosen):
        del FAMILIES[name]
    FAMILIES.update(ALTERNATIVES)
    print(f"Splits {FRESH.start}..{FRESH.stop - 1}:\n")
    table(chosen, FRESH)
    print(f"\nSplits {CHOSEN_ON.start}..{CHOSEN_ON.stop - 1}, which the choice was made on:\n")
    table(dict(FAMILIES), CHOSEN_ON)
    FAMILIES.update(every)
    print(f"\nSplits {FRESH.start}..{FRESH.stop - 1} of other modalities:\n")
    others(FRESH)


if __name__ == "__main__":
    main()
