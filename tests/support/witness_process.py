"""A third party: ``concordat witness`` as a process of its own, started, killed and started again on one port."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from nodes import free_port

COMMAND = [sys.executable, "-m", "node.cli.main", "witness"]


class WitnessProcess:
    """A witness that knows the logs of some nodes.

    Args:
        directory: A new directory.
        name: Under which it signs.
        vkeys: Of the logs that it knows.
    """

    def __init__(self, directory: Path, name: str, vkeys: list[str]) -> None:
        self._directory = directory
        self.name = name
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._call("init", str(directory), "--name", name)
        self._call("add-log", str(directory), *vkeys)
        self.vkeys: list[str] = self._call("show", str(directory))["vkeys"]
        self._process: subprocess.Popen[str] | None = None

    def _call(self, *arguments: str) -> dict[str, Any]:
        done = subprocess.run([*COMMAND, *arguments, "--json"], capture_output=True, text=True, check=True)
        return dict(json.loads(done.stdout))

    @property
    def third(self) -> list[str]:
        """Witness lines without their first word, one for each key."""
        return [f"{self.name}#{number} {vkey} {self.url}" for number, vkey in enumerate(self.vkeys)]

    @property
    def demand(self) -> str:
        """A policy by which one of its keys has to have cosigned."""
        names = " ".join(line.split(" ")[0] for line in self.third)
        return (
            "".join(f"witness {line}\n" for line in self.third) + f"group third any {names}\nquorum third\n"
        )

    def start(self) -> None:
        """Serve; returns once it listens."""
        listen = f"127.0.0.1:{self.port}"
        self._process = subprocess.Popen(
            [*COMMAND, "serve", str(self._directory), "--listen", listen],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        assert "listens on" in self._process.stdout.readline()

    def kill(self) -> None:
        """As a power cut."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def __enter__(self) -> WitnessProcess:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


__all__ = ["WitnessProcess"]
