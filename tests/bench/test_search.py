"""``concordat bench search``, with its baselines, for both built-in profiles."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from node.blocks import BLOCK_SLOTS

COLD_LIMIT_US = 120.0
SHOWN = {
    "core_us_per_candidate_cold": "cold, core-us a candidate",
    "core_us_per_candidate": "warm (gallery encoded), core-us a candidate",
    "tenseal_mm_us_per_candidate": "TenSEAL CKKS mm (reveals every score), core-us a candidate",
    "numpy_us_per_candidate": "plain numpy (no privacy), core-us a candidate",
    "wall_s": "wall, cold, s",
    "wall_s_warm": "wall, warm, s",
    "query_bytes": "query, bytes",
    "answer_bytes_per_candidate": "answer, bytes a candidate",
    "evaluation_key_bytes": "evaluation keys (once), bytes",
}


@pytest.mark.bench
@pytest.mark.timeout(600)
@pytest.mark.parametrize("profile", ["embedding-128", "embedding-256"])
def test_the_search_alone(book: Any, profile: str) -> None:
    command = [sys.executable, "-m", "node.cli.main", "bench", "search", "--gallery", str(BLOCK_SLOTS)]
    command += ["--profile", profile, "--baseline", "--json"]
    run = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    result = json.loads(run.stdout)
    stages = {f"  {name}, core-s": seconds for name, seconds in result["stages"].items()}
    figures = {label: result[key] for key, label in SHOWN.items()} | stages
    if profile == "embedding-128":
        figures["limit: cold, core-us a candidate"] = COLD_LIMIT_US
    book.write(f"search of one block of {BLOCK_SLOTS} on one core, {profile}", figures)
    assert result["exact"]
    assert result["core_us_per_candidate_cold"] < result["tenseal_mm_us_per_candidate"]
