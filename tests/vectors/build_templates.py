"""Write specs/vectors/templates.json: ``python tests/vectors/build_templates.py``.

Expected templates come from the slow rule in fractions (tests/support/slow_templates.py), not from the code
under test.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

import numpy as np  # noqa: E402
from slow_templates import slow_template, small_profile  # noqa: E402

SHAPES = {
    "a ternary profile": (5, 8, 1, 5, 3),
    "bound 2": (6, 8, 2, 7, 5),
    "bound 3, more features than entries": (12, 8, 3, 15, 7),
    "bound 4, norm above n": (3, 8, 4, 40, 20),
}


def features(d: int, mean: np.ndarray) -> dict[str, list[float]]:
    random = np.random.default_rng(d)
    return {
        "random": random.normal(size=d).tolist(),
        "random float32": [float(x) for x in random.normal(size=d).astype(np.float32)],
        "large": (1e30 * random.normal(size=d)).tolist(),
        "close to the mean": [float(m) + 2.0**-40 * (i - 1) for i, m in enumerate(mean)],
        "one entry differs from the mean": [float(m) + (i == d - 1) for i, m in enumerate(mean)],
        "subnormal": [5e-324 * (i + 1) for i in range(d)],
    }


def changed(text: str, field: str, value: object) -> str:
    return json.dumps(json.loads(text) | {field: value}, sort_keys=True, separators=(",", ":"))


def bad_profiles(text: str) -> list[dict[str, str]]:
    cases = [
        ("a line end", text + "\n", "bad-profile"),
        ("a space", text.replace(":", ": ", 1), "bad-profile"),
        ("a repeated field", text.replace('{"bound":2', '{"bound":2,"bound":2'), "bad-profile"),
        ("an unknown field", changed(text, "extra", 1), "bad-profile"),
        ("a fraction", changed(text, "norm", 7.0), "bad-profile"),
        ("another format", changed(text, "format", "concordat-profile-v2"), "bad-profile"),
        ("a name with capitals", changed(text, "name", "Small"), "bad-profile"),
        ("an unknown modality", changed(text, "modality", "gait"), "bad-profile"),
        ("d does not fit the arrays", changed(text, "d", 7), "bad-profile"),
        ("no squares reach the norm", changed(text, "norm", 31), "bad-profile"),
        ("n is no power of two", changed(text, "n", 6), "impossible-profile"),
        ("an empty slot could hit", changed(text, "threshold", 2), "impossible-profile"),
        ("threshold above norm", changed(text, "threshold", 8), "impossible-profile"),
        ("scores would wrap", changed(text, "bound", 90), "impossible-profile"),
    ]
    return [{"comment": comment, "file": file, "error": error} for comment, file, error in cases]


def build() -> dict[str, Any]:
    groups = []
    for number, (comment, (d, n, bound, norm, threshold)) in enumerate(SHAPES.items()):
        profile = small_profile(d, n, bound, norm, threshold, seed=100 + number)
        made = [
            {
                "comment": name,
                "features": [x.hex() for x in vector],
                "template": slow_template(vector, profile),
            }
            for name, vector in features(d, profile.mean).items()
        ]
        templates = [case["template"] for case in made]
        table = [[sum(a * b for a, b in zip(x, y, strict=True)) for y in templates] for x in templates]
        hits = [[value >= threshold for value in row] for row in table]
        entry = {
            "comment": comment,
            "file": profile.to_bytes().decode("ascii"),
            "digest": profile.digest.hex(),
            "templates": made,
            "scores": table,
            "hits": hits,
        }
        groups.append(entry)
    text = str(groups[1]["file"])
    mean = [float(m).hex() for m in small_profile(*SHAPES["bound 2"], seed=101).mean]
    return {
        "about": "Templates and profiles; specs/matching.md, section 1. Features are hexadecimal float64.",
        "profiles": groups,
        "bad_profiles": bad_profiles(text),
        "bad_features": [
            {"comment": "NaN", "features": ["nan"] * 6, "error": "bad-features"},
            {"comment": "infinite", "features": ["0x1p0"] * 5 + ["-inf"], "error": "bad-features"},
            {"comment": "too short", "features": ["0x1p0"] * 5, "error": "bad-features"},
            {"comment": "too long", "features": ["0x1p0"] * 7, "error": "bad-features"},
            {"comment": "the mean itself", "features": mean, "error": "bad-features"},
            {"comment": "zero", "features": ["0x0p0"] * 6, "error": "bad-features"},
            {"comment": "the same everywhere", "features": ["0x1p0"] * 6, "error": "bad-features"},
        ],
        "bad_templates": [
            {"comment": "squares sum to 6", "template": [2, 1, 1, 0, 0, 0, 0, 0], "error": "bad-template"},
            {"comment": "squares sum to 8", "template": [2, 2, 0, 0, 0, 0, 0, 0], "error": "bad-template"},
            {
                "comment": "entry beyond the bound",
                "template": [3, 0, 0, 0, 0, 0, 0, 0],
                "error": "bad-template",
            },
            {"comment": "too short", "template": [2, 1, 1, 1, 0, 0, 0], "error": "bad-template"},
            {"comment": "zero", "template": [0] * 8, "error": "bad-template"},
        ],
        "empty_slots": [
            {"n": 8, "slot": slot, "template": [sign if i == slot % 8 else 0 for i in range(8)]}
            for slot, sign in ((0, 1), (7, 1), (8, -1), (15, -1), (16, 1), (16383, -1))
        ],
    }


def main() -> None:
    target = ROOT / "specs" / "vectors" / "templates.json"
    target.write_text(json.dumps(build(), indent=1) + "\n")


if __name__ == "__main__":
    main()
