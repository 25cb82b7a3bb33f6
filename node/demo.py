"""The demonstration: what Concordat does, shown by three real nodes on this machine within a minute or so.

Each scene checks what it claims; the whole fails when one of them did not happen.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

from crypto.errors import ConcordatError
from node.admin import Report
from node.audit_files import DirectoryReader
from node.daemon import open_daemon
from node.demo_nodes import KEY_SETS_HERE, PURPOSES, RECORDS, DemoFailed, DemoNode, DemoWorld
from node.demo_show import Narrator
from node.errors import NodeExists
from node.query import run_query
from protocol.audit.keys import parse_private
from protocol.audit.reconcile import reconcile
from protocol.audit.verify import AuditedLedger, LedgerInput, audit_ledger, verify_ledger
from protocol.limits import KEY_SETS
from protocol.tiles import bundle_at

UNCOVERED: Final = "curiosity"
ASKED: Final = {
    "modality": "face",
    "purpose": PURPOSES[0],
    "offence": "trafficking-in-persons",
    "person_category": "suspect",
    "legal_basis": "statement-of-intent-2025",
    "case_reference": "DEMO-2026-001",
    "officer": "officer-17",
    "approver": "prosecutor-4",
}


def run_demo(keep: Path | None, quiet: bool) -> bool:
    """Play all scenes; with ``quiet`` print one JSON object at the end. True if all of them happened.

    Raises:
        NodeExists: The directory to keep is not empty.
    """
    started = time.monotonic()
    with _interruptible(), _workplace(keep) as root:
        show = Demo(DemoWorld(root), Narrator(quiet))
        try:
            show.play()
        except ConcordatError as error:
            show.failed(error)
        finally:
            _taken()
            show.world.stop()
        seconds = time.monotonic() - started
        ok = show.finish(seconds, keep)
        if quiet:
            result = {
                "ok": ok,
                "seconds": round(seconds, 1),
                "people": "synthetic",
                "kept": str(keep.absolute()) if keep is not None else None,
                "scenes": show.scenes,
            }
            sys.stdout.write(json.dumps(result, ensure_ascii=False) + "\n")
            sys.stdout.flush()
        return ok


class Demo:
    """The scenes, in their order."""

    TITLES: Final = (
        ("nodes", "Three countries, three nodes"),
        ("hit", "Chile asks the United States about somebody whom the United States holds"),
        ("no-hit", "Colombia asks the United States about a stranger"),
        ("refused-at-home", "Colombia's officer asks for a purpose that the agreement does not cover"),
        ("refused-by-peer", "A dishonest Colombia asks all the same"),
        ("audit", "The auditors check all three ledgers, offline"),
        ("reconcile", "The three ledgers are held against each other"),
        ("tamper", "Somebody flips one byte of a ledger"),
    )

    def __init__(self, world: DemoWorld, narrator: Narrator) -> None:
        self.world = world
        self.tell = narrator
        self.scenes: list[dict[str, Any]] = []
        self._started = time.monotonic()

    def play(self) -> None:
        """All scenes; raises a typed error when one cannot be played."""
        self._nodes()
        known, stranger = (
            self.world.root / "people" / "known.npz",
            self.world.root / "people" / "stranger.npz",
        )
        hit = self._hit(known)
        self._no_hit(stranger, hit)
        self._refused_at_home(known)
        self._refused_by_peer(known)
        self._audits()

    def _open(self, name: str) -> None:
        number = [title[0] for title in self.TITLES].index(name)
        self.tell.scene(number + 1, self.TITLES[number][1])
        self._started = time.monotonic()

    def _close(self, ok: bool, text: str, **facts: Any) -> None:
        name = self.TITLES[len(self.scenes)][0]
        seconds = round(time.monotonic() - self._started, 2)
        self.scenes.append({"name": name, "ok": ok, "seconds": seconds, "what": text, **facts})
        self.tell.verdict(ok, text)

    def failed(self, error: ConcordatError) -> None:
        """A scene could not be played."""
        if len(self.scenes) < len(self.TITLES):
            self._close(False, f"{error.code}: {error}")

    def finish(self, seconds: float, keep: Path | None) -> bool:
        """The last words; True if every scene happened."""
        ok = len(self.scenes) == len(self.TITLES) and all(scene["ok"] for scene in self.scenes)
        self.tell.say("")
        self.tell.verdict(
            ok, f"{'everything happened' if ok else 'not everything happened'}, {seconds:.0f} s"
        )
        if keep is not None:
            self.tell.say(f"the nodes' directories are in {keep}")
        return ok

    # Scenes

    def _nodes(self) -> None:
        self._open("nodes")
        with self.tell.working("making keys, certificates, descriptors and two signed agreements"):
            self.world.make()
        self.world.start()
        with self.tell.working("starting three processes, making synthetic people"):
            self.world.write_people()
            self.world.wait_until_served()
        with self.tell.working("importing galleries"):
            records = self.world.import_galleries()
        self.tell.say(
            "all people here are synthetic: feature vectors with the spread of real ones, of nobody"
        )
        where = {country: f"https://127.0.0.1:{node.port}" for country, node in self.world.nodes.items()}
        ok = all(count == RECORDS for count in records.values())
        self._close(
            ok, f"US, CL and CO are served, {RECORDS} synthetic people in each gallery", endpoints=where
        )

    def _query(self, node: DemoNode, probe: Path, report: Report, **changes: str) -> dict[str, Any]:
        result = node.call("query", {**ASKED, **changes, "to": ["US"], "probe": str(probe)}, report)
        (one,) = result["results"]
        return dict(one)

    def _hit(self, probe: Path) -> dict[str, Any]:
        self._open("hit")
        with self.tell.working(
            f"encrypted question, encrypted answer (first, keys: one of {KEY_SETS_HERE} sets; {KEY_SETS} by default)"
        ) as report:
            found = self._query(self.world.nodes["CL"], probe, report)
        self.tell.say(f"question {_size(found['query_bytes'])}, answer {_size(found['answer_bytes'])}")
        ok = (found["outcome"], found["hits"], found["reported"]) == ("hit", 1, True)
        self._close(ok, f"outcome: {found['outcome']}, after {found['seconds']:.1f} s", **_facts(found))
        return found

    def _no_hit(self, probe: Path, hit: dict[str, Any]) -> None:
        self._open("no-hit")
        with self.tell.working("encrypted question, encrypted answer") as report:
            found = self._query(self.world.nodes["CO"], probe, report)
        sizes = ("query_bytes", "answer_bytes")
        same = [found[name] == hit[name] > 0 for name in sizes]
        self.tell.say(f"question {_size(found['query_bytes'])}, answer {_size(found['answer_bytes'])}")
        self.tell.say("to the byte as long as the hit's: " + ("yes" if all(same) else "NO"))
        ok = (found["outcome"], found["hits"], found["reported"]) == ("no-hit", 0, True) and all(same)
        self._close(ok, f"outcome: {found['outcome']}, after {found['seconds']:.1f} s", **_facts(found))

    def _refused_at_home(self, probe: Path) -> None:
        self._open("refused-at-home")
        asked = self.world.nodes["US"].size()
        found = self._query(self.world.nodes["CO"], probe, lambda _: None, purpose=UNCOVERED)
        unmoved = self.world.nodes["US"].size() == asked
        kinds = _kinds(self.world.nodes["CO"], found["exchange"])
        self.tell.say(f"purpose {UNCOVERED!r}; Colombia's ledger says: {', '.join(kinds)}")
        nothing_sent = unmoved and found["query_bytes"] == 0
        ok = found["outcome"] == "refused" and kinds == ["query.withheld"] and nothing_sent
        text = f"Colombia's own node refuses before anything is encrypted: {found['reason']}"
        self._close(ok, text, entries_at_home=kinds, **_facts(found))

    def _refused_by_peer(self, probe: Path) -> None:
        self._open("refused-by-peer")
        self.tell.say("Colombia's node is stopped and opened here with its own policy switched off;")
        self.tell.say("no option or setting of a real node can do that")
        self.world.stop("CO")
        with self.tell.working("the same question, encrypted and sent this time"):
            found = asyncio.run(_ask_dishonestly(self.world.nodes["CO"].directory, probe))
        home = _kinds(self.world.nodes["CO"], found["exchange"])
        there = _kinds(self.world.nodes["US"], found["exchange"])
        self.tell.say(f"Colombia's ledger: {', '.join(home)}")
        self.tell.say(f"United States' ledger: {', '.join(there)} (nothing was accepted, nothing computed)")
        ok = found["outcome"] == "refused" and found["answer_bytes"] == 0
        ok = ok and home == ["query.intent", "query.result"] and there == ["query.refused"]
        text = f"the United States refuse before any encrypted work, on both ledgers: {found['reason']}"
        self._close(ok, text, entries_at_home=home, entries_there=there, **_facts(found))

    def _audits(self) -> None:
        self.world.stop()
        ledgers = {country: _input(node) for country, node in self.world.nodes.items()}
        self._open("audit")
        reports = {country: audit_ledger(given).report for country, given in ledgers.items()}
        for country, report in reports.items():
            self.tell.say(f"{country}: {report.size} entries, {len(report.findings)} findings")
            for finding in report.findings:
                self.tell.say(f"   {finding.rule.value} at {finding.where}: {finding.what}")
        shown = {country: report.to_json() for country, report in reports.items()}
        ok = all(report.ok for report in reports.values())
        self._close(ok, "every byte of the three ledgers is as it must be", ledgers=shown)

        self._open("reconcile")
        together = reconcile(ledgers)
        for finding in together.findings:
            self.tell.say(f"{finding.rule.value} at {finding.where}: {finding.what}")
        states = ", ".join(f"{count} {state}" for state, count in sorted(together.exchanges.items()))
        self.tell.say(f"exchanges: {states}")
        self._close(together.ok, "both sides of every exchange say the same", exchanges=together.exchanges)
        self._tamper()

    def _tamper(self) -> None:
        self._open("tamper")
        node = self.world.nodes["US"]
        with tempfile.TemporaryDirectory(prefix="concordat-tampered-") as scratch:
            copy = Path(scratch) / "ledger"
            shutil.copytree(node.ledger, copy)
            name = bundle_at(audit_ledger(_input(node)).report.size, 0).path
            bundle = copy / name
            data = bytearray(bundle.read_bytes())
            data[len(data) // 2] ^= 0x01
            bundle.write_bytes(data)
            self.tell.say(f"in a copy of the United States' ledger: byte {len(data) // 2} of {name}")
            report = verify_ledger(DirectoryReader(copy), (node.ledger / "policy").read_bytes())
        named = [one for one in report.findings if one.file == name and one.index is not None]
        for finding in named:
            self.tell.say(f"{finding.rule.value} at {finding.where}: {finding.what}")
        ok = len(report.findings) == len(named) == 1
        entry = named[0].index if named else None
        findings = [finding.to_json() for finding in report.findings]
        self._close(
            ok, f"the audit names the file and entry {entry}, and nothing else", file=name, findings=findings
        )


async def _ask_dishonestly(directory: Path, probe: Path) -> dict[str, Any]:
    daemon = await open_daemon(directory, enforce_own_policy=False, admin=False)
    try:
        arguments = {**ASKED, "purpose": UNCOVERED, "to": ["US"], "probe": str(probe)}
        result = await run_query(daemon.core, daemon.thread, daemon.asking, arguments, lambda _: None)
    finally:
        await daemon.stop()
    return dict(result["results"][0])


def _input(node: DemoNode) -> LedgerInput:
    key = parse_private(node.auditor.read_text())
    return LedgerInput(DirectoryReader(node.ledger), (node.ledger / "policy").read_bytes(), key)


def _kinds(node: DemoNode, exchange: str) -> list[str]:
    """The statements of one exchange on a node's ledger, as its auditor reads them from the files."""
    audited: AuditedLedger = audit_ledger(_input(node))
    opened = [entry.shared for entry in audited.entries if entry.shared is not None]
    return [shared.type for shared in opened if shared.exchange_id.hex() == exchange]


def _facts(found: dict[str, Any]) -> dict[str, Any]:
    names = ("outcome", "hits", "reason", "exchange", "query_bytes", "answer_bytes")
    return {name: found[name] for name in names}


def _size(count: int) -> str:
    return f"{count:,} bytes".replace(",", " ")


@contextlib.contextmanager
def _workplace(keep: Path | None) -> Iterator[Path]:
    """The directory to work in: the kept one, or a temporary one that goes at the end."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="concordat-demo-") as name:
            yield Path(name)
        return
    keep.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(keep.iterdir()):
        raise NodeExists(f"{keep} is not empty")
    yield keep.absolute()


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C and SIGTERM end the demonstration: everything is stopped and removed on the way out.

    The interpreter drops an exception that is raised inside a finaliser, so the interrupt is raised again until
    somebody has taken it.
    """
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        raise KeyboardInterrupt

    before = [signal.signal(number, interrupt) for number in signals]
    try:
        yield
    finally:
        _taken()
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


def _taken() -> None:
    """The interrupt has arrived, or there was none."""
    signal.setitimer(signal.ITIMER_REAL, 0)


__all__ = ["DemoFailed", "run_demo"]
