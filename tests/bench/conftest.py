"""Collects what the benchmarks measured: ``build/bench.json``, and one table at the end of the run."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

FILE = Path(__file__).resolve().parents[2] / "build" / "bench.json"

Figures = dict[str, str | float | int]
_sections: dict[str, Figures] = {}


def machine() -> str:
    """Processor, cores that this process may use, and memory."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{name}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB"


class Book:
    """Where a benchmark writes its figures; each section is stored at once, so that a later failure loses nothing."""

    def write(self, section: str, figures: Figures) -> None:
        _sections[section] = figures
        FILE.parent.mkdir(exist_ok=True)
        about: dict[str, Any] = {"machine": machine(), "date": datetime.now(UTC).date().isoformat()}
        FILE.write_text(json.dumps({**about, "sections": _sections}, indent=2) + "\n")


@pytest.fixture(scope="session")
def book() -> Book:
    return Book()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _sections:
        return
    write = terminalreporter.write_line
    terminalreporter.section(f"benchmarks, {datetime.now(UTC).date()}, {machine()}")
    for section, figures in _sections.items():
        write("")
        write(section)
        for name, value in figures.items():
            shown = f"{value:14,.3f}" if isinstance(value, float) else f"{value:>14}"
            write(f"  {name:58} {shown}")
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    write(f"\nload at the end: {load} (1, 5, 15 minutes); JSON in {FILE.relative_to(FILE.parents[1])}")
