"""The coverage-guided run over every parser, part of ``make bench``."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.bench
@pytest.mark.timeout(3600)
@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris is not installed: pip install atheris"
)
def test_no_parser_crashes_hangs_or_fills_the_memory() -> None:
    seconds = os.environ.get("CONCORDAT_FUZZ_SECONDS", "20")
    command = [sys.executable, str(ROOT / "tests" / "fuzz" / "run.py"), "--seconds", seconds]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    print(run.stdout)
    assert run.returncode == 0, run.stdout[-4000:]
