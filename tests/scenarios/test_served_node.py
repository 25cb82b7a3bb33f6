"""A served node as its operator sees it: real processes, the real search, the command line, no secret anywhere."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nodes import World

from node import admin
from node.config import NodePaths, split_endpoint
from node.keys import load_keys
from node.synthetic import write_features

COMMAND = [sys.executable, "-m", "node.cli.main"]
LEGAL = [
    "--modality",
    "face",
    "--purpose",
    "organised-crime",
    "--offence",
    "trafficking",
    "--person",
    "suspect",
]
LEGAL += [
    "--legal-basis",
    "statement-of-intent",
    "--case",
    "CASE-77",
    "--officer",
    "of-1",
    "--approver",
    "ap-1",
]


def run(*words: str | Path) -> tuple[int, dict[str, Any], str]:
    """Exit status, the JSON object, and everything on standard error."""
    done = subprocess.run(
        [*COMMAND, *map(str, words), "--json"], capture_output=True, text=True, timeout=120, check=False
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done.returncode, json.loads(done.stdout), done.stderr


class Served:
    def __init__(self, world: World) -> None:
        self.world = world
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        for country in world.directories:
            self.start(country)

    def start(self, country: str) -> None:
        directory = self.world.directories[country]
        command = [*COMMAND, "node", "serve", str(directory), "--log-file", str(directory / "log")]
        with (directory / "stderr").open("ab") as errors:
            self.processes[country] = subprocess.Popen([*command, "--log-level", "debug"], stderr=errors)
        end = time.monotonic() + 60
        while not admin.is_served(directory / "admin.sock"):
            assert self.processes[country].poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)

    def stop(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            assert process.wait(20) == 0


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    served = Served(World.copied(tmp_path_factory.mktemp("served"), registered=False))
    yield served
    for process in served.processes.values():
        process.kill()
        process.wait()


def ask(served: Served, probe: Path | str, *changes: str, to: str = "US") -> tuple[int, dict[str, Any], str]:
    directory = served.world.directories["CL"]
    return run("query", directory, "--to", to, "--probe", probe, *LEGAL, *changes)


def size(served: Served, country: str) -> int:
    _, status, _ = run("node", "status", served.world.directories[country])
    assert status["served"] is True
    return int(status["ledger"]["size"])


def test_a_hit_a_no_hit_and_a_refusal_by_their_exit_codes(served: Served) -> None:
    root = served.world.root
    code, hit, _ = ask(served, f"{root / 'known.npz'}:4")
    assert (code, hit["results"][0]["outcome"]) == (0, "hit")
    code, miss, _ = ask(served, root / "stranger.npz")
    assert (code, miss["results"][0]["outcome"]) == (0, "no-hit")
    assert hit["results"][0]["answer_bytes"] == miss["results"][0]["answer_bytes"]
    code, refused, _ = ask(served, root / "stranger.npz", "--purpose", "curiosity")
    assert (code, refused["results"][0]["reason"]) == (1, "purpose-not-covered")
    _, listed, _ = run("node", "exchanges", served.world.directories["CL"])
    assert [one["outcome"] for one in listed["exchanges"]] == ["hit", "no-hit", "refused"]


def _probe(root: Path, vector: Any, name: str) -> Path:
    path = root / name
    if not path.exists():
        write_features(path, np.asarray(vector, dtype=np.float32))
    return path


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("nan", "bad-features"),
        ("dimensions", "bad-features"),
        ("index", "bad-feature-file"),
        ("missing", "bad-feature-file"),
        ("noise", "bad-feature-file"),
    ],
)
def test_a_bad_probe_is_the_users_error_and_opens_no_exchange(served: Served, kind: str, code: str) -> None:
    root = served.world.root
    before = size(served, "CL")
    probes: dict[str, Path | str] = {
        "nan": _probe(root, np.full((1, 128), np.nan), "nan.npz"),
        "dimensions": _probe(root, np.ones((1, 64)), "short.npz"),
        "index": f"{root / 'known.npz'}:100000",
        "missing": root / "nowhere.npz",
        "noise": root / "auditor",
    }
    status, result, _ = ask(served, probes[kind])
    assert status == 2
    assert result["error"]["family"] == "input"
    assert result["error"]["code"] == code
    assert size(served, "CL") == before


def test_unknown_countries_and_empty_fields(served: Served) -> None:
    known = f"{served.world.root / 'known.npz'}:0"
    assert ask(served, known, to="CO")[0] == 2
    assert ask(served, known, to="US,US")[0] == 2
    status, result, _ = ask(served, known, "--officer", "")
    assert (status, result["error"]["code"]) == (2, "bad-config")


def test_a_second_process_cannot_open_a_served_node(served: Served) -> None:
    directory = served.world.directories["CL"]
    done = subprocess.run(
        [*COMMAND, "node", "serve", str(directory)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "node-busy" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_gallery_grows_while_the_node_is_served(served: Served) -> None:
    us, root = served.world.directories["US"], served.world.root
    before = size(served, "US")
    status, made, _ = run(
        "gallery", "import", us, root / "gallery.npz", "--modality", "face", "--profile", "embedding-128"
    )
    assert (status, made["records"]) == (0, 300)
    assert size(served, "US") == before + 1
    assert (
        run("gallery", "import", us, root / "nan.npz", "--modality", "face", "--profile", "embedding-128")[0]
        == 2
    )
    assert size(served, "US") == before + 1


def test_noise_on_the_line_leaves_no_traceback(served: Served) -> None:
    directory = served.world.directories["US"]
    endpoint = NodePaths(directory).read_config().endpoint
    host, port = split_endpoint(endpoint)
    for noise in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01" + bytes(40), b""):
        with socket.create_connection((host, port)) as line:
            line.sendall(noise)
            line.settimeout(1)
            with contextlib.suppress(OSError):
                line.recv(100)
    assert size(served, "US") > 0
    assert (directory / "stderr").read_bytes() == b""
    assert "Traceback" not in (directory / "log").read_text()


def test_no_secret_is_in_a_log_an_argument_or_the_environment(served: Served) -> None:
    for country, directory in served.world.directories.items():
        keys = load_keys(directory / "keys", directory / "keys" / "unlock")
        unlock = (directory / "keys" / "unlock").read_bytes().strip()
        secrets = [keys.identity.seed, keys.ledger.seed, keys.storage, keys.query, keys.tls_key, unlock]
        process = served.processes[country].pid
        places = [(directory / "log").read_bytes()]
        for pid in [process, *_children(process)]:
            places += [Path(f"/proc/{pid}/cmdline").read_bytes(), Path(f"/proc/{pid}/environ").read_bytes()]
        for secret in secrets:
            for form in (secret, secret.hex().encode(), repr(secret).encode()):
                assert not any(form in place for place in places)
        log = places[0].decode()
        for word in ("CASE-77", "of-1", "ap-1", "embeddings", "template"):
            assert word not in log


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(one) for task in tasks for one in task.read_text().split()]


def test_everything_a_node_writes_is_its_owners_alone(served: Served) -> None:
    for directory in served.world.directories.values():
        for path in [directory, *directory.rglob("*")]:
            mode = stat.S_IMODE(path.lstat().st_mode)
            assert mode & 0o077 == 0, f"{path} has mode {mode:o}"


def test_stopping_leaves_no_process_and_no_socket(served: Served) -> None:
    children = [child for process in served.processes.values() for child in _children(process.pid)]
    assert children
    served.stop()
    for directory in served.world.directories.values():
        assert not NodePaths(directory).admin_socket.exists()
    end = time.monotonic() + 5
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < end
        time.sleep(0.05)
    status, result, _ = run("query", served.world.directories["CL"], "--to", "US", "--probe", "x", *LEGAL)
    assert (status, result["error"]["code"]) == (2, "node-not-served")
    status, offline, _ = run("node", "status", served.world.directories["CL"])
    assert (status, offline["served"]) == (0, False)


def test_workers_leave_when_their_node_is_killed(tmp_path: Path) -> None:
    served = Served.__new__(Served)
    served.world, served.processes = World.copied(tmp_path, registered=False), {}
    served.start("US")
    process = served.processes["US"]
    end = time.monotonic() + 30
    while not (children := _children(process.pid)):
        assert time.monotonic() < end
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    while any(Path(f"/proc/{child}/status").exists() and not _is_zombie(child) for child in children):
        assert time.monotonic() < end
        time.sleep(0.05)


def _is_zombie(pid: int) -> bool:
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True
