"""The demonstration: every scene happens, it leaves what it promises, and Ctrl-C leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-m", "node.cli.main"]


def run(*words: str, directory: Path) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [*COMMAND, *words, "--json"], cwd=directory, capture_output=True, text=True, timeout=240, check=False
    )
    assert "Traceback" not in done.stderr
    return done.returncode, json.loads(done.stdout)


def test_every_scene_happens_and_the_ledgers_are_left(tmp_path: Path) -> None:
    code, told = run("demo", "--keep", str(tmp_path / "kept"), directory=tmp_path)
    assert (code, told["ok"]) == (0, True)
    scenes = {scene["name"]: scene for scene in told["scenes"]}
    assert list(scenes) == [
        "nodes",
        "hit",
        "no-hit",
        "refused-at-home",
        "refused-by-peer",
        "audit",
        "reconcile",
        "tamper",
    ]
    for name in ("query_bytes", "answer_bytes"):
        assert scenes["hit"][name] == scenes["no-hit"][name] > 0
    assert scenes["refused-by-peer"]["entries_there"] == ["query.refused"]
    for country in ("us", "cl", "co"):
        ledger = tmp_path / "kept" / country / "ledger"
        code, report = run(
            "audit", "verify", str(ledger), "--policy", str(ledger / "policy"), directory=tmp_path
        )
        assert (code, report["ok"], report["findings"]) == (0, True, [])
        assert len((ledger / "vkey").read_text().splitlines()) == 1
    code, told = run("demo", "--keep", str(tmp_path / "kept"), directory=tmp_path)
    assert (code, told["error"]["code"]) == (2, "node-exists")


def test_an_interrupt_stops_the_nodes_and_removes_everything(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    demo = subprocess.Popen([*COMMAND, "demo"], env=environment, stdout=subprocess.DEVNULL)
    end = time.monotonic() + 90
    while len(nodes := _nodes_below(tmp_path)) < 3:
        assert demo.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)
    demo.send_signal(signal.SIGINT)
    assert demo.wait(60) == 130
    assert list(tmp_path.iterdir()) == []
    assert not any(Path(f"/proc/{node}").exists() for node in nodes)


def _nodes_below(directory: Path) -> list[int]:
    """Processes that serve a node in this directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if b"serve" in words and os.fsencode(directory) in words:
            found.append(int(path.parent.name))
    return found
