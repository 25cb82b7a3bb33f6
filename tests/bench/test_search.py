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


MORE = {
    "fixed_core_s": "fixed, core-s a query",
    "marginal_core_us_per_candidate": "marginal, warm, core-us a further candidate (65,536 to 262,144)",
    "pass_core_us_per_candidate_cold": "all probes in one pass, cold, core-us a candidate",
    "pass_core_us_per_candidate": "all probes in one pass, warm, core-us a candidate",
    "pass_gain_cold": "one pass against as many passes, cold, times",
    "worker_gain": "two workers against one, warm, wall time, times",
    "worker_gain_core": "the same by core time: where each worker has a core to itself",
    "machine_gain": "two processes that only compute and share nothing, against one, times",
    "wall_s_one_worker": "one worker, s",
    "wall_s_workers": "two workers, s",
    "tenseal_mm_us_per_candidate": "TenSEAL CKKS mm, N=8192, [60, 40, 40, 60], core-us a candidate",
    "numpy_us_per_candidate": "plain numpy, core-us a candidate",
}


@pytest.mark.bench
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("profile", "gallery", "options"),
    [
        ("embedding-128", 262_144, ["--probes", "8", "--slope", "65536:262144", "--baseline"]),
        ("embedding-256", 65_536, ["--slope", "65536:262144", "--baseline"]),
        ("iris-512", 65_536, ["--probes", "9"]),
        ("embedding-128", 786_432, ["--workers", "2"]),
    ],
)
def test_galleries_of_several_blocks(book: Any, profile: str, gallery: int, options: list[str]) -> None:
    command = [sys.executable, "-m", "node.cli.main", "bench", "search", "--gallery", str(gallery)]
    command += ["--profile", profile, *options, "--json"]
    run = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    result = json.loads(run.stdout)
    figures = {label: result[key] for key, label in MORE.items() if key in result}
    if "tenseal_mm_us_per_candidate" in result:
        figures["TenSEAL against marginal, times"] = (
            result["tenseal_mm_us_per_candidate"] / result["marginal_core_us_per_candidate"]
        )
    book.write(f"search of {gallery:,} candidates, {profile}, {' '.join(options)}", figures)
    assert result["exact"]
