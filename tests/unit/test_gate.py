"""The gate itself: a skip must not pass for a success when ``CONCORDAT_NO_SKIPS=1``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"
SKIPPED_TEST = "import pytest\n\n@pytest.mark.skip(reason='no data')\ndef test_it():\n    pass\n"
SKIPPED_FILE = "import pytest\n\npytest.skip('no data', allow_module_level=True)\n"


def run_pytest(directory: Path, source: str, no_skips: str) -> subprocess.CompletedProcess[str]:
    (directory / "conftest.py").write_text(CONFTEST.read_text())
    (directory / "pytest.ini").write_text("[pytest]\n")
    (directory / "test_sample.py").write_text(source + "\n\ndef test_passes():\n    pass\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(directory)]
    environment = {**os.environ, "CONCORDAT_NO_SKIPS": no_skips}
    return subprocess.run(
        command, env=environment, cwd=directory, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("source", [SKIPPED_TEST, SKIPPED_FILE], ids=["test", "file"])
def test_a_skip_fails_the_gate_and_names_its_reason(tmp_path: Path, source: str) -> None:
    run = run_pytest(tmp_path, source, no_skips="1")
    assert run.returncode not in (0, 5)
    assert "forbids: Skipped: no data" in run.stdout


@pytest.mark.parametrize("source", [SKIPPED_TEST], ids=["test"])
def test_a_skip_is_allowed_elsewhere(tmp_path: Path, source: str) -> None:
    run = run_pytest(tmp_path, source, no_skips="0")
    assert run.returncode == 0
    assert "1 passed, 1 skipped" in run.stdout


def test_a_run_without_skips_passes_the_gate(tmp_path: Path) -> None:
    assert run_pytest(tmp_path, "", no_skips="1").returncode == 0
