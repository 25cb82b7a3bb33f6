"""What other users of the machine, and readers of logs, see of an exchange: no key, no probe, no seed, no officer.

Two nodes with the plain twin in processes of their own register keys, ask, claim and fail; meanwhile the command line
and the environment of every process of theirs is read, workers included, and in the end all that they wrote and said.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from nodes import World

from crypto.errors import ConcordatError
from crypto.templates import make_template
from node import admin
from node.config import NodePaths
from node.core import NodeCore
from node.keys import load_keys
from protocol.statements_keys import KeysAccepted

SCRIPT = Path(__file__).parents[1] / "support" / "watched_node.py"
OFFICER, APPROVER, CASE = "officer-Quillota-88", "approver-Ovalle-31", "CASE-Coquimbo-5540"
LEAST = 12
"""Shorter byte strings are found by chance."""


def spellings(secret: bytes) -> dict[str, bytes]:
    """How a secret of bytes could be written down; the first 24 bytes are enough to know it again."""
    some = secret[:24]
    base = base64.b64encode(some[: len(some) // 3 * 3])
    return {
        "raw": some,
        "hex": some.hex().encode(),
        "upper hex": some.hex().upper().encode(),
        "base64": base,
        "url base64": base.replace(b"+", b"-").replace(b"/", b"_"),
        "python": repr(some)[2:-1].encode(),
        "json": json.dumps(some.decode("latin-1"))[1:-1].encode(),
        "list": ", ".join(str(one) for one in some).encode(),
    }


class Secrets:
    """What must not be seen, by name, in every spelling."""

    def __init__(self) -> None:
        self.known: dict[str, bytes] = {}

    def add(self, name: str, secret: bytes) -> None:
        assert len(secret) >= LEAST, name
        self.known |= {f"{name}, {how}": form for how, form in spellings(secret).items()}

    def add_text(self, name: str, text: str) -> None:
        self.known[name] = text.encode()

    def seen_in(self, data: bytes) -> list[str]:
        """The names of all that is in some bytes."""
        return [name for name, form in self.known.items() if form in data]


class Watch:
    """Reads the command line and the environment of processes and all of their descendants, all the time."""

    def __init__(self, *roots: int) -> None:
        self._roots = set(roots)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.seen: dict[int, set[bytes]] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.is_set():
            self.look()
            time.sleep(0.01)

    def look(self) -> None:
        for pid in self._family():
            for name in ("cmdline", "environ", "comm"):
                with contextlib.suppress(OSError):
                    self.seen.setdefault(pid, set()).add(Path(f"/proc/{pid}/{name}").read_bytes())

    def _family(self) -> set[int]:
        parents: dict[int, int] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                with contextlib.suppress(OSError, IndexError, ValueError):
                    after = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                    parents[int(entry.name)] = int(after[1])
        family = set(self._roots)
        while more := {pid for pid, parent in parents.items() if parent in family} - family:
            family |= more
        return family

    @property
    def everything(self) -> bytes:
        return b"\n".join(data for one in self.seen.values() for data in one)


@contextlib.contextmanager
def served(directory: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A node in a process of its own, until the end of the block."""
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{SCRIPT.parents[2]}:{SCRIPT.parent}"}
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(directory)], env=environment, stdout=file, stderr=file
        )
        try:
            end = time.monotonic() + 60
            while not admin.is_served(directory / "admin.sock"):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < end
                time.sleep(0.05)
            yield process
        finally:
            process.terminate()
            assert process.wait(60) == 0


def call(directory: Path, operation: str, said: list[str], **arguments: Any) -> dict[str, Any]:
    """One call of the operator or the officer; its progress, its result or its error are what is said."""
    try:
        result = admin.call(
            directory / "admin.sock", operation, arguments, lambda step: said.append(repr(step))
        )
    except ConcordatError as error:
        said.append(f"{error.code}: {error!r} {error} {vars(error)}")
        return {}
    said.append(repr(result))
    return result


def collect(world: World, secrets: Secrets, probe: Any) -> None:
    """All that the two nodes keep secret, after the exchange."""
    for country, directory in world.directories.items():
        paths = NodePaths(directory)
        unlock = paths.root / paths.read_config().unlock_file
        secrets.add(f"{country} unlock file", unlock.read_bytes().strip())
        keys = load_keys(paths.keys, unlock)
        for name in ("identity", "ledger"):
            secrets.add(f"{country} {name} key", getattr(keys, name).seed)
        secrets.add(f"{country} TLS key", keys.tls_key[36:68])
        for name in ("storage", "query"):
            secrets.add(f"{country} {name} key", getattr(keys, name))
        found = 0
        with NodeCore.open(directory) as core:
            for index in range(core.journal.ledger.size):
                opened = core.journal.open(index)
                assert opened is not None
                if isinstance(opened.shared, KeysAccepted) or opened.shared.type == "query.answered":
                    private: Any = opened.private
                    secrets.add(f"secret of entry {index}", getattr(private, "secret", None) or private.seed)
                    found += 1
        assert found, "an escrowed secret is among what is looked for"
    secrets.add("auditor's key", base64.b64decode((world.root / "auditor").read_text().split(":")[1]))
    template = make_template(probe, world.profile)
    secrets.add("probe", np.asarray(probe, np.float32).tobytes())
    secrets.add("probe, doubles", np.asarray(probe, np.float64).tobytes())
    secrets.add_text("probe, numbers", ", ".join(repr(float(one)) for one in probe[:3]))
    secrets.add("template", np.asarray(template).astype(np.int8).tobytes()[: len(template)])
    secrets.add_text("template, numbers", ", ".join(str(int(one)) for one in np.asarray(template)[:40]))
    for name, text in (("officer", OFFICER), ("approver", APPROVER), ("case", CASE)):
        secrets.add_text(name, text)


def test_nothing_secret_is_in_sight_of_others_or_in_what_nodes_write_and_say(tmp_path: Path) -> None:
    world = World.copied(tmp_path, registered=False)
    us, cl = world.directories["US"], world.directories["CL"]
    logs = {one: tmp_path / f"{one}.log" for one in ("US", "CL")}
    legal = {"officer": OFFICER, "approver": APPROVER, "case_reference": CASE}
    said: list[str] = []
    with (
        served(us, logs["US"]) as first,
        served(cl, logs["CL"]) as second,
        Watch(first.pid, second.pid) as watch,
    ):
        workers = {pid for one in (us, cl) for pid in call(one, "status", said)["workers"] if pid}
        (asked,) = call(cl, "query", said, **world.arguments("known.npz:3", **legal))["results"]
        assert (asked["outcome"], asked["reported"]) == ("hit", True)
        (one,) = call(cl, "claim", said, exchange=asked["exchange"], officer=OFFICER)["hits"]
        assert one["state"] == "confirmed"
        # What fails says why, and no more.
        call(cl, "query", said, **world.arguments("known.npz:3", purpose="curiosity", **legal))
        call(cl, "query", said, **world.arguments("known.npz:3", **(legal | {"officer": OFFICER + "\n"})))
        call(cl, "query", said, **world.arguments("known.npz:99999", **legal))
        call(cl, "query", said, **world.arguments("auditor", **legal))
        call(cl, "claim", said, exchange=asked["exchange"], officer=OFFICER, hit=7)
        call(cl, "claim", said, exchange="00" * 16, officer=OFFICER)
        for pid in {one for node in (us, cl) for one in call(node, "status", said)["workers"] if one}:
            workers.add(pid)
            os.kill(pid, 9)
        (asked,) = call(cl, "query", said, **world.arguments("known.npz:4", **legal))["results"]
        assert asked["outcome"] == "hit"
        for operation in ("exchanges", "status"):
            call(cl, operation, said)
        watch.look()
    assert sum(len(one) for one in logs.values() for one in [one.read_bytes()]) > 1000
    assert workers <= set(watch.seen), "the workers were seen"
    secrets = Secrets()
    with np.load(tmp_path / "known.npz") as file:
        probe = file["embeddings"][3]
    collect(world, secrets, probe)
    assert len(secrets.known) > 100
    assert b"watched_node.py" in watch.everything
    assert secrets.seen_in(watch.everything) == []
    for log in logs.values():
        assert secrets.seen_in(log.read_bytes()) == []
    assert secrets.seen_in("\n".join(said).encode()) == []


@pytest.mark.parametrize("how", sorted(spellings(b"")))
def test_the_search_finds_what_is_planted_in_a_process_of_a_process(how: str) -> None:
    secret = bytes(range(129, 161))
    secrets = Secrets()
    secrets.add("planted", secret)
    form = spellings(secret)[how]
    sleeper = "import time; time.sleep(60)"
    for planted in ("argument", "variable"):
        child = [sys.executable, "-c", sleeper, *([os.fsdecode(form)] if planted == "argument" else [])]
        environment = {b"SECRET": form} if planted == "variable" else {}
        script = f"import subprocess; subprocess.run({child!r}, env={environment!r})"
        parent = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
        try:
            with Watch(parent.pid) as watch:
                end = time.monotonic() + 20
                while len(watch.seen) < 2 or b"sleep" not in watch.everything:
                    assert time.monotonic() < end
                    time.sleep(0.02)
                time.sleep(0.1)
                grandchild = max(watch.seen)
            assert f"planted, {how}" in secrets.seen_in(b"\n".join(watch.seen[grandchild]))
        finally:
            os.killpg(parent.pid, 9)
            parent.wait()
