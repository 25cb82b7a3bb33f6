"""From the officer's command to the answer: two served processes, one full block, keys registered."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from nodes import ASKED, World

from node import admin
from node.blocks import BLOCK_SLOTS
from node.profiles import builtin
from node.synthetic import GOOD_IMAGES, images, people, write_features

TIMES = 5
LIMIT_S = 4.0
CONCORDAT = [sys.executable, "-m", "node.cli.main"]
STAGES = (
    ("command starts, node takes the question", "query opened"),
    ("probe encrypted, intent on the asker's ledger", "query.intent"),
    ("sent, checked, acceptance on the other ledger", "query.accepted"),
    ("encrypted search", "searched"),
    ("answer on the other ledger", "query.answered"),
    ("noticed, fetched, opened, result on the asker's ledger", "query.result"),
    ("reported, receipt, command ends", "end"),
)


@contextlib.contextmanager
def served(directory: Path) -> Iterator[None]:
    """A node as a process of its own, logging to ``DIR.log``."""
    command = [*CONCORDAT, "node", "serve", str(directory), "--log-file", str(directory.with_suffix(".log"))]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        while not admin.is_served(directory / "admin.sock"):
            assert process.poll() is None, "the node did not start"
            time.sleep(0.05)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def command_line(world: World, probe: str) -> list[str]:
    words = {
        "--modality": "modality",
        "--purpose": "purpose",
        "--offence": "offence",
        "--person": "person_category",
        "--legal-basis": "legal_basis",
        "--case": "case_reference",
        "--officer": "officer",
        "--approver": "approver",
    }
    given = [part for option, name in words.items() for part in (option, ASKED[name])]
    where = [str(world.directories["CL"]), "--to", "US", "--probe", str(world.root / probe), "--json"]
    return [*CONCORDAT, "query", *where, *given]


def log_times(world: World) -> dict[str, float]:
    """When each step of the newest exchange was logged, by either node, in seconds since 1970."""
    lines: list[dict[str, Any]] = []
    for directory in world.directories.values():
        lines += [json.loads(line) for line in directory.with_suffix(".log").read_text().splitlines()]
    lines.sort(key=lambda line: line["time"])
    newest = [line["exchange"] for line in lines if line["event"] == "query opened"][-1]
    return {
        line["step"] if line["event"] == "logged" else line["event"]: datetime.fromisoformat(
            line["time"]
        ).timestamp()
        for line in lines
        if line.get("exchange") == newest
    }


def ask_once(world: World, probe: str, outcome: str) -> tuple[float, list[float]]:
    """Seconds of the whole command, and of each stage."""
    started, wall = time.perf_counter(), time.time()
    run = subprocess.run(command_line(world, probe), capture_output=True, check=False)
    seconds = time.perf_counter() - started
    (result,) = json.loads(run.stdout)["results"]
    assert (run.returncode, result["outcome"]) == (0, outcome), result.get("reason")
    times = {**log_times(world), "end": wall + seconds}
    marks = [wall] + [times[event] for _, event in STAGES]
    return seconds, [after - before for before, after in pairwise(marks)]


@pytest.mark.bench
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["embedding-128", "embedding-256"])
def test_a_query_to_an_idle_node(tmp_path: Path, book: Any, name: str) -> None:
    profile = builtin(name)
    shots = images(people(BLOCK_SLOTS, 5, profile.d), 2, 6, GOOD_IMAGES)
    workers = len(os.sched_getaffinity(0))
    world = World(tmp_path, profile=profile, enrolled=shots[:, 0], workers=workers, memory_mib=2048)
    write_features(tmp_path / "known.npz", shots[:TIMES, 1])
    write_features(tmp_path / "stranger.npz", images(people(1, 99, profile.d), 1, 98, GOOD_IMAGES)[:, 0])
    with served(world.directories["CL"]):
        with served(world.directories["US"]):
            first, _ = ask_once(world, "stranger.npz", "no-hit")
        with served(world.directories["US"]):
            cold, _ = ask_once(world, "stranger.npz", "no-hit")
            warm = [ask_once(world, f"known.npz:{index}", "hit") for index in range(TIMES)]
    seconds = median(total for total, _ in warm)
    stages = {f"  {label}": median(one[index] for _, one in warm) for index, (label, _) in enumerate(STAGES)}
    book.write(
        f"latency of a query, {name}, one block of {BLOCK_SLOTS}, both nodes on this machine (s)",
        {
            "first query ever (keys made and registered)": first,
            "responder just started (keys known, gallery not encoded)": cold,
            f"idle responder, median of {TIMES}": seconds,
            f"idle responder, slowest of {TIMES}": max(total for total, _ in warm),
            **stages,
        },
    )
    assert seconds <= LIMIT_S
