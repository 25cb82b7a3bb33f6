"""A million candidates, from the officer's command to the answer: two served processes on this machine, with memory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commanded import ask_once, served
from nodes import World

from node.config import NodePaths
from node.profiles import builtin
from node.synthetic import GOOD_IMAGES, images, people, write_features

CANDIDATES = 1 << 20
MEMORY_MIB = 8192
LIMIT_S, LIMIT_GIB = 60.0, 20.0


def memory_gib(directory: Path) -> float:
    """Of a node with its workers; what they share counts once."""
    holder = str(NodePaths(directory).root).encode()
    total, found = 0, set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if holder in (folder / "cmdline").read_bytes().split(b"\0"):
                found.add(int(folder.name))
            elif parent not in found:
                continue
            lines = (folder / "smaps_rollup").read_text().splitlines()
        except (OSError, ValueError):
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 2**20


@pytest.mark.bench
@pytest.mark.timeout(1800)
def test_a_million_candidates(tmp_path: Path, book: Any) -> None:
    profile = builtin("embedding-128")
    pieces = [images(people(1 << 17, seed, profile.d), 1, 6, GOOD_IMAGES)[:, 0] for seed in range(8)]
    workers = len(os.sched_getaffinity(0))
    world = World(
        tmp_path, profile=profile, enrolled=np.concatenate(pieces), workers=workers, memory_mib=MEMORY_MIB
    )
    known = images(people(1 << 17, 3, profile.d)[:3], 1, 7, GOOD_IMAGES)[:, 0]
    write_features(tmp_path / "known.npz", known)
    with served(world.directories["CL"]), served(world.directories["US"]):
        first, _ = ask_once(world, "known.npz:0", "hit")
        second, _ = ask_once(world, "known.npz:1", "hit")
        third, _ = ask_once(world, "known.npz:2", "hit")
        used = memory_gib(world.directories["US"])
    book.write(
        f"{CANDIDATES:,} candidates end to end, embedding-128, {workers} workers, {MEMORY_MIB} MiB",
        {
            "first query (keys made and registered, nothing encoded), s": first,
            "second, s": second,
            "third, s": third,
            "limit, s": LIMIT_S,
            "memory of the asked node with its workers, GiB": used,
        },
    )
    assert min(second, third) < LIMIT_S
    assert used < LIMIT_GIB
