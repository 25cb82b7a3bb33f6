"""Nodes that are processes of their own, asked by the command, and when each step of a query was logged."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from nodes import ASKED, World

from node import admin

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
