"""``make tamper``: every case of the matrix, one line each that fails, and the count at the end.

Usage: ``python tests/tamper/run.py [--list]``. Exit 0 only if every case is found and named, and no control is.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
for folder in (ROOT, ROOT / "tests" / "support", ROOT / "tests" / "tamper"):
    sys.path.insert(0, str(folder))

from all_cases import all_cases  # noqa: E402


def main(arguments: list[str]) -> int:
    """Judge all cases."""
    cases = list(all_cases())
    found = named = quiet = 0
    tampered = [case for case in cases if case.expected]
    controls = [case for case in cases if not case.expected]
    for case in cases:
        is_found, is_named, what = case.judge()
        if case.expected:
            found += is_found
            named += is_named
        else:
            quiet += not is_found
        if "--list" in arguments:
            wanted = "; ".join(" ".join(str(p) for p in one.key if p is not None) for one in case.expected)
            print(f"{case.name} [{case.inputs}] -> {wanted or 'no finding'}")
        if not is_named:
            print(f"WRONG  {case.name} [{case.inputs}]\n  expected {[n.key for n in case.expected][:6]}")
            print(f"  found    {what[:6]}")
    print(f"controls: {len(controls)} ledgers that nobody tampered with, {quiet} without findings")
    print(f"{len(tampered)} cases, {found} found, {named} named")
    return 0 if found == named == len(tampered) and quiet == len(controls) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
