"""The scripts in ``examples/`` run from end to end, each with two real nodes, and leave nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.agreement import read_text

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPTS = ("us-chile", "us-colombia")
SECONDS = 280


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[int, str, Path]]]:
    """Exit status, output and scratch directory of each script; they run side by side."""
    running: dict[str, tuple[subprocess.Popen[str], Path]] = {}
    for name in SCRIPTS:
        scratch = tmp_path_factory.mktemp(name)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "TMPDIR": str(scratch)}
        command = ["bash", str(EXAMPLES / name / "run.sh")]
        running[name] = (
            subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            ),
            scratch,
        )
    try:
        results = {}
        for name, (process, scratch) in running.items():
            output = process.communicate(timeout=SECONDS)[0]
            results[name] = (process.returncode, output, scratch)
        yield results
    finally:
        for process, _ in running.values():
            process.terminate()


@pytest.mark.timeout(2 * SECONDS)
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("us-chile", ["US: HIT (1)", "CL: NO-HIT", "together: holds"]),
        (
            "us-colombia",
            [
                "US: NO-HIT",
                "US: REFUSED, purpose-not-covered",
                "CO: REFUSED, direction-not-covered",
                "together: holds",
            ],
        ),
    ],
)
def test_an_example_does_what_it_says(
    outputs: dict[str, tuple[int, str, Path]], name: str, expected: list[str]
) -> None:
    status, output, scratch = outputs[name]
    assert status == 0, output
    for words in expected:
        assert words in output
    assert "Traceback" not in output
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "directions"),
    [("us-chile", {("CL", "US"), ("US", "CL")}), ("us-colombia", {("CO", "US")})],
)
def test_the_shown_agreement_is_one(name: str, directions: set[tuple[str, str]]) -> None:
    agreement = read_text((EXAMPLES / name / "agreement.toml").read_bytes())
    assert {(grant.requester, grant.responder) for grant in agreement.fields.grants} == directions
