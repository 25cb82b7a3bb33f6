"""Real faces, all pairs, through nodes: every held-out image asks for all of them, with the real encryption.

No template, score or embedding is shown. ``CONCORDAT_BENCH_PROBES=20`` asks for the first 20 only.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import orl
import pytest
from nodes import World
from recorded import Listener

from crypto.templates import make_templates
from node.daemon import real_scheme

SPLIT = 1000
TRIALS = (("mobilefacenet192", "embedding-256"), ("dlib128", "embedding-128"))


async def ask_all(root: Path, name: str, family: str, probes: int) -> dict[str, str | float | int]:
    """One split of one set: figures of all decisions through two nodes, beside the plain twin and cosine."""
    case = orl.split(name, family, SPLIT)
    count = len(case.people)
    asked = np.arange(min(probes, count))
    templates = make_templates(case.embeddings, case.profile).astype(np.int64)
    plain = templates[asked] @ templates.T >= case.profile.search.threshold

    world = World(root, profile=case.profile, enrolled=case.embeddings, memory_mib=1024)
    decided = np.zeros((len(asked), count), dtype=bool)
    unmatched, started = 0, time.perf_counter()
    real = {"scheme": real_scheme()}
    async with world.daemon("US", **real) as us, world.daemon("CL", **real) as cl:
        listener = Listener(cl, us)
        for probe in asked:
            heard = await listener.ask(world, case.embeddings[probe])
            assert heard.result["outcome"] in ("hit", "no-hit"), heard.result["reason"]
            assert heard.result["hits"] == heard.slots
            decided[probe, heard.records] = True
            unmatched += heard.slots - len(heard.records)
    seconds = time.perf_counter() - started

    others = asked[:, None] != np.arange(count)[None]
    mated = (case.people[asked][:, None] == case.people[None]) & others
    strangers = case.people[asked][:, None] != case.people[None]
    rates, cosine = orl.measure(case), orl.cosines(case, asked, np.arange(count))
    both, same = orl.pairs(case.people)
    limit = orl.above(orl.cosines(case, np.arange(count), np.arange(count))[both], same)
    return {
        "queries": len(asked),
        "records in the gallery": count,
        "slots where decrypted answer and plain twin disagree": int((decided != plain).sum()) + unmatched,
        "mated pairs": int(mated.sum()),
        "pairs of strangers": int(strangers.sum()),
        "through nodes at the profile's tau: FNMR, %": 100 * float((~decided)[mated].mean()),
        "through nodes at the profile's tau: FMR, %": 100 * float(decided[strangers].mean()),
        "plain cosine at FMR 1e-3: FNMR, %": 100 * float((cosine <= limit)[mated].mean()),
        "plain cosine at FMR 1e-3: FMR, %": 100 * float((cosine > limit)[strangers].mean()),
        "templates at FMR 1e-3 (policy): FNMR, %": 100 * rates.policy_fnmr,
        "seconds a query, two trials at a time": seconds / len(asked),
    }


@pytest.mark.bench
@pytest.mark.timeout(3600)
async def test_all_pairs_of_the_held_out_half(tmp_path: Path, book: Any) -> None:
    probes = int(os.environ.get("CONCORDAT_BENCH_PROBES", "1000"))
    trials = (ask_all(tmp_path / name, name, family, probes) for name, family in TRIALS)
    for name, _ in TRIALS:
        (tmp_path / name).mkdir()
    for (name, family), figures in zip(TRIALS, await asyncio.gather(*trials), strict=True):
        book.write(f"real faces through nodes, {name}, {family}", figures)
        assert figures["slots where decrypted answer and plain twin disagree"] == 0
