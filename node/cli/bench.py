"""``concordat bench``: figures of this machine, side by side in one run."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from node.blocks import BLOCK_SLOTS
from node.cli.common import Json, emit, errors, say, typed

app = typer.Typer(help="Measure this machine.", no_args_is_help=True)


@app.callback()
def bench() -> None:
    """Measure this machine."""


@app.command()
def search(
    gallery: Annotated[
        int, typer.Option(min=1, max=1 << 21, help="Candidates in the synthetic gallery.")
    ] = 16384,
    profile: Annotated[str, typer.Option(help="A built-in profile.")] = "embedding-128",
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes.")] = 1,
    memory: Annotated[int, typer.Option(min=1, help="GiB for encoded blocks in the warm run.")] = 8,
    baseline: Annotated[
        bool, typer.Option(help="Also TenSEAL's CKKS product (leaks scores) and numpy.")
    ] = False,
    probes: Annotated[
        int, typer.Option(min=1, max=32, help="Also so many probes in one pass, and in as many passes.")
    ] = 1,
    slope: Annotated[
        str,
        typer.Option(metavar="SMALL:LARGE", help="Also what a candidate adds between two galleries, warm."),
    ] = "",
    json: Json = False,
) -> None:
    """Time per stage, processor microseconds a candidate, bytes up and down.

    With several workers also the time of one against theirs, all reading one encoded gallery.
    """
    with typed(json):
        from node import bench_passes
        from node.bench_search import measure_search
        from node.profiles import builtin

        def report(line: str) -> None:
            errors.print(f"… {line}")

        chosen, sizes = builtin(profile), _two_sizes(slope) if slope else None
        result = measure_search(chosen, gallery, workers, memory << 30, baseline, report)
        if sizes is not None:
            result |= bench_passes.measure_slope(chosen, *sizes, report)
        if probes > 1:
            result |= bench_passes.measure_probes(chosen, gallery, probes, report)
        if workers > 1:
            result |= bench_passes.measure_workers(chosen, gallery, workers, report)
        result["machine"] = f"{platform.machine()}, {os.cpu_count()} cores, {_processor()}"
        result["date"] = datetime.now(UTC).date().isoformat()
        emit(json, result, _show)
        if not result["exact"]:
            raise typer.Exit(1)


@app.command()
def ledger(
    entries: Annotated[
        int, typer.Option(min=1, max=10_000_000, help="Entries of the ledger that is verified.")
    ] = 1_000_000,
    seconds: Annotated[float, typer.Option(min=1, max=600, help="Length of each measurement.")] = 10,
    writers: Annotated[int, typer.Option(min=1, max=512, help="Threads that write at the same time.")] = 64,
    directory: Annotated[
        Path | None,
        typer.Option("--dir", help="Where to write; must exist. A temporary directory by default."),
    ] = None,
    json: Json = False,
) -> None:
    """Durable entries a second, latency beside a plain fsync loop, and the audit of a large ledger."""
    with typed(json):
        from node.bench_ledger import measure_ledger

        result = measure_ledger(entries, seconds, writers, directory, lambda line: errors.print(f"… {line}"))
        result["machine"] = f"{platform.machine()}, {os.cpu_count()} cores, {_processor()}"
        result["load"] = [round(value, 1) for value in os.getloadavg()]
        result["date"] = datetime.now(UTC).date().isoformat()
        emit(json, result, _show_ledger)
        if not result["verified"]:
            raise typer.Exit(1)


def _show_ledger(result: dict[str, Any]) -> None:
    for label, key, unit in (
        ("durable entries", "entries_per_s", "a second"),
        ("latency at 1000 a second", "p99_ms", "ms, p99"),
        ("  with a checkpoint each", "published_p99_ms", "ms, p99"),
        ("plain fsync loop", "fsync_p99_ms", "ms, p99"),
        ("verification", "verify_entries_per_s", "entries a second"),
        ("verification, memory", "verify_rss_mb", "MB"),
        ("storage", "bytes_per_entry", "bytes an entry, without payload"),
    ):
        say(f"  {label:28} {result[key]:12,.2f} {unit}")


def _two_sizes(text: str) -> tuple[int, int]:
    from node.errors import BadConfig

    small, _, large = text.partition(":")
    if not (small.isascii() and small.isdigit() and large.isascii() and large.isdigit()):
        raise BadConfig("slope: two numbers of candidates are expected, such as 65536:262144")
    if not 0 < -(-int(small) // BLOCK_SLOTS) < -(-int(large) // BLOCK_SLOTS) <= 128:
        raise BadConfig("slope: the second gallery must have more blocks than the first, and at most 128")
    return int(small), int(large)


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 - a device of the kernel
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        return "unknown processor"
    return names[0] if names else "unknown processor"


def _show(result: dict[str, Any]) -> None:
    say(
        f"{result['profile']}, {result['gallery']} candidates, {result['workers']} process(es), {result['machine']}"
    )
    for name, seconds in result["stages"].items():
        say(f"  {name:28} {seconds:8.3f} s of one core")
    for label, key, unit in (
        ("cold", "core_us_per_candidate_cold", "core-us a candidate"),
        ("warm (gallery encoded)", "core_us_per_candidate", "core-us a candidate"),
        ("marginal, warm", "marginal_core_us_per_candidate", "core-us a further candidate"),
        ("fixed, a query", "fixed_core_s", "core-s"),
        ("all probes, one pass, cold", "pass_core_us_per_candidate_cold", "core-us a candidate"),
        ("all probes, one pass, warm", "pass_core_us_per_candidate", "core-us a candidate"),
        ("one pass against several", "pass_gain_cold", "times faster, cold"),
        ("one pass against several", "pass_gain_warm", "times faster, warm"),
        ("these workers against one", "worker_gain", "times faster, warm, wall time"),
        ("the same, each with its core", "worker_gain_core", "times, by core time"),
        ("processes that share nothing", "machine_gain", "times faster than one, on this machine now"),
        ("wall time, cold", "wall_s", "s"),
        ("answer", "answer_bytes_per_candidate", "bytes a candidate"),
        ("query", "query_bytes", "bytes"),
        ("evaluation keys, once", "evaluation_key_bytes", "bytes"),
        (
            "TenSEAL CKKS mm, N=8192",
            "tenseal_mm_us_per_candidate",
            "core-us a candidate; reveals every score",
        ),
        ("plain numpy", "numpy_us_per_candidate", "core-us a candidate; no privacy"),
    ):
        value = result.get(key)
        if value is not None:
            say(f"  {label:28} {value:12,.2f} {unit}")
    say(f"  hits {result['hits']}, expected {result['hits_expected']}")
