"""The three nodes of the demonstration: made, introduced, agreed, served as processes, and stopped again."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from crypto.errors import LocalFault
from node import admin
from node.acceptance import accept_agreement, accept_peer
from node.admin import Report
from node.core import NodeCore
from node.profiles import builtin
from node.setup import create_node, new_auditor, read_auditor
from node.synthetic import GOOD_IMAGES, images, people, write_features
from protocol.agreement import AgreementFields, Grant, draft_agreement, read_agreement, sign_agreement
from protocol.limits import DAY

PROFILE: Final = "embedding-128"
RECORDS: Final = 3000
KEY_SETS_HERE: Final = (
    8  # a forged set passes once in so many; real agreements have 32, which take four times as long
)
COUNTRIES: Final = {
    "US": "Department of Homeland Security (demonstration)",
    "CL": "Policía de Investigaciones de Chile (demonstration)",
    "CO": "Migración Colombia (demonstration)",
}
PURPOSES: Final = ("organised-crime", "migration-management")
START_TIMEOUT_S: Final = 40.0
STOP_TIMEOUT_S: Final = 10.0


class DemoFailed(LocalFault):
    """The demonstration could not go on."""

    code = "demo-failed"


@dataclass
class DemoNode:
    """One country of the demonstration."""

    country: str
    directory: Path
    auditor: Path
    port: int
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def ledger(self) -> Path:
        """The ledger's directory."""
        return self.directory / "ledger"

    def call(self, operation: str, arguments: dict[str, Any], report: Report | None = None) -> dict[str, Any]:
        """One operation of the served node."""
        return admin.call(self.directory / "admin.sock", operation, arguments, report)

    def size(self) -> int:
        """Entries on its ledger, as the served node says."""
        return int(self.call("status", {})["ledger"]["size"])


class DemoWorld:
    """All three, under one directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.nodes = {
            country: DemoNode(country, root / country.lower(), root / "auditors" / country.lower(), port)
            for country, port in zip(COUNTRIES, _free_ports(len(COUNTRIES)), strict=True)
        }

    def make(self) -> None:
        """Directories, keys, auditors, mutual acceptance and two agreements with the United States."""
        (self.root / "auditors").mkdir(mode=0o700)
        with ThreadPoolExecutor() as pool:
            list(pool.map(self._make_one, self.nodes.values()))
        with contextlib.ExitStack() as stack:
            cores = {
                country: stack.enter_context(NodeCore.open(node.directory))
                for country, node in self.nodes.items()
            }
            for other in ("CL", "CO"):
                _agree(cores["US"], cores[other])

    def _make_one(self, node: DemoNode) -> None:
        private, public = new_auditor()
        node.auditor.touch(mode=0o600)
        node.auditor.write_bytes(private)
        public_file = node.auditor.with_suffix(".pub")
        public_file.write_bytes(public)
        endpoint = f"https://127.0.0.1:{node.port}"
        create_node(
            node.directory,
            country=node.country,
            authority=COUNTRIES[node.country],
            endpoint=endpoint,
            listen=endpoint,
            auditors=[read_auditor(public_file)],
            unlock_file=None,
            workers=2 if node.country == "US" else 1,
            memory_mib=1024,
            # The United States ask nobody here, and registration costs both sides half a minute of a core.
            register_ahead=node.country != "US",
            cadence_seconds=0,  # the ledgers of the demonstration are there to be read by people
        )

    def start(self) -> None:
        """Start one process for each country; they inherit nothing but this program."""
        for node in self.nodes.values():
            command = [sys.executable, "-m", "node.cli.main", "node", "serve", str(node.directory)]
            command += ["--log-file", str(node.directory / "log")]
            node.process = subprocess.Popen(  # noqa: S603 - our own program, fixed words
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )

    def wait_until_served(self) -> None:
        """Until every node answers; raises ``DemoFailed``."""
        deadline = time.monotonic() + START_TIMEOUT_S
        for node in self.nodes.values():
            while not admin.is_served(node.directory / "admin.sock"):
                if node.process is None or node.process.poll() is not None or time.monotonic() > deadline:
                    raise DemoFailed(f"the node of {node.country} did not start: {node.directory / 'log'}")
                time.sleep(0.05)

    def write_people(self) -> tuple[Path, Path]:
        """Synthetic feature files; gives a probe of somebody the United States holds, and of a stranger."""
        features = self.root / "people"
        features.mkdir(mode=0o700)
        for number, country in enumerate(COUNTRIES):
            population = people(RECORDS + 1, 1000 + number)
            shots = images(population, 2, 2000 + number, GOOD_IMAGES)
            write_features(features / f"{country.lower()}.npz", shots[:RECORDS, 0])
            if country == "US":
                write_features(features / "known.npz", shots[RECORDS // 2 : RECORDS // 2 + 1, 1])
                write_features(features / "stranger.npz", shots[RECORDS:, 1])
        return features / "known.npz", features / "stranger.npz"

    def import_galleries(self) -> dict[str, int]:
        """Each served node imports its gallery, all at the same time; records by country."""

        def one(node: DemoNode) -> tuple[str, int]:
            file = self.root / "people" / f"{node.country.lower()}.npz"
            arguments = {"file": str(file), "modality": "face", "profile": PROFILE}
            return node.country, int(node.call("gallery.import", arguments)["records"])

        pool = ThreadPoolExecutor()
        try:
            return dict(pool.map(one, self.nodes.values()))
        finally:
            # An interrupt does not wait for the imports: they end when their nodes are stopped.
            pool.shutdown(wait=False, cancel_futures=True)

    def stop(self, *countries: str) -> None:
        """Stop these nodes, or all: ask first, then insist."""
        stopping = [node for node in self.nodes.values() if not countries or node.country in countries]
        for node in stopping:
            if node.process is not None and node.process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(node.process.pid, signal.SIGTERM)
        for node in stopping:
            if node.process is None:
                continue
            try:
                node.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                node.process.kill()
                node.process.wait()
            node.process = None


def _agree(first: NodeCore, second: NodeCore) -> None:
    """Accept each other and put a signed agreement in force on both."""
    accept_peer(first, second.descriptor, "demonstration")
    accept_peer(second, first.descriptor, "demonstration")
    profile, now_ms = builtin(PROFILE), first.clock() // 1000 * 1000
    grants = [
        Grant(
            requester=asking.country,
            responder=asked.country,
            modality="face",
            profile=profile.name,
            profile_digest=profile.digest,
            purposes=list(PURPOSES),
            offences=["trafficking-in-persons", "drug-trafficking"],
            person_categories=["suspect", "convicted"],
            legal_bases=["statement-of-intent-2025"],
        )
        for asking, asked in ((first, second), (second, first))
    ]
    fields = AgreementFields(
        name=f"Demonstration agreement {first.country}-{second.country}",
        serial=1,
        not_before_ms=now_ms - DAY,
        not_after_ms=now_ms + 365 * DAY,
        grants=grants,
        key_sets=KEY_SETS_HERE,
    )
    note = draft_agreement(fields, first.descriptor, second.descriptor)
    for core in (first, second):
        note = sign_agreement(note, core.country, core.keys.identity)
    for core in (first, second):
        accept_agreement(core, read_agreement(note), note, "demonstration")


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on at this moment, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


__all__ = ["COUNTRIES", "PURPOSES", "DemoFailed", "DemoNode", "DemoWorld"]
