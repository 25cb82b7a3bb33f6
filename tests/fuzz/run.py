"""Coverage-guided fuzzing of every parser, each in a process of its own with bounded time and memory.

Needs atheris (``pip install atheris``). Usage: ``python tests/fuzz/run.py [--seconds N] [NAME ...]``.
The last line is ``N parsers, N clean``. A crashing input is left in the working directory, named by libFuzzer.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MEMORY_MB = 1024
ONE_INPUT_S = 10
MAX_BYTES = 16 * 1024


def fuzz(name: str, corpus: str, seconds: int) -> None:
    """Fuzz one parser in this process until the time is over; libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=["crypto", "protocol", "node"]):
        from parser_table import PARSERS
    parser = next(one for one in PARSERS if one.name == name)
    for number, good in enumerate(parser.good):
        (Path(corpus) / f"good{number}").write_bytes(good)
    options = [
        f"-max_total_time={seconds}",
        f"-rss_limit_mb={MEMORY_MB}",
        f"-timeout={ONE_INPUT_S}",
        f"-max_len={MAX_BYTES}",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, corpus], parser.check)
    atheris.Fuzz()


def all_names() -> list[str]:
    """Every parser of the table."""
    from parser_table import PARSERS

    return [one.name for one in PARSERS]


def main() -> int:
    """Fuzz the named parsers, or all, one after the other."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("names", nargs="*")
    arguments.add_argument("--seconds", type=int, default=20, help="for each parser")
    arguments.add_argument("--corpus", default="", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.corpus:
        fuzz(given.names[0], given.corpus, given.seconds)
        return 0
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed: pip install atheris")
        return 2
    names = given.names or all_names()
    clean = 0
    for name in names:
        with tempfile.TemporaryDirectory(prefix="concordat-fuzz-") as corpus:
            command = [sys.executable, __file__, name, "--seconds", str(given.seconds), "--corpus", corpus]
            run = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
        executed = [
            line.split()[-1] for line in run.stderr.splitlines() if "number_of_executed_units" in line
        ]
        clean += run.returncode == 0
        print(
            f"{'clean' if run.returncode == 0 else 'CRASH':6} {name:16} {executed[0] if executed else '?'} inputs",
            flush=True,
        )
        if run.returncode:
            print(run.stderr[-3000:])
    print(f"{len(names)} parsers, {clean} clean")
    return 0 if clean == len(names) else 1


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]
    sys.exit(main())
