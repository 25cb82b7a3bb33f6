"""The power goes at every call, on a disk that forgets what was not synced; and every sync, left out, shows."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from faulty_files import MODES, Killed, QuickFiles, Site, VolatileFiles
from ledgers import AUDITOR, REQUESTED, filler, intent, open_country, open_ledger, snapshot

from crypto.errors import ConcordatError
from crypto.note import CosignatureSigner, add_signatures, parse_note
from crypto.signing import SigningKey
from node import entry_log
from node.ledger_store import CHECKPOINT, COSIGNED, POLICY, VKEY, LedgerStore
from protocol import tiles
from protocol.audit.reader import MemoryReader
from protocol.audit.verify import verify_ledger
from protocol.checkpoint import TreeHead, parse_checkpoint_text

WITNESS = CosignatureSigner("witness.example", SigningKey.from_seed(bytes(32)), 1_750_000_000)


def _head(note: bytes) -> TreeHead:
    return parse_checkpoint_text(parse_note(note).text).head


class _Run:
    """Three lives of a ledger on a volatile disk. After every call the power goes.

    Args:
        forget: Number of the sync that is left out; cuts begin after it, since nothing was wrong before.
    """

    def __init__(self, tmp_path: Path, forget: int | None) -> None:
        self.root = tmp_path / "volatile"
        self.after = tmp_path / "after"
        self.directory = self.root / "ledger"
        self.root.mkdir(parents=True)
        self.files = VolatileFiles(self.root, forget)
        self.files.on_step = self.step
        self.forget = forget
        self.acknowledged: list[bytes] = []
        self.handed_out: list[TreeHead] = []
        self.kept: dict[str, bytes] = {}
        self.opened: dict[int, list[bytes]] = {}

    def live(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # Begins, and dies when the name of its first checkpoint is there, but not yet on the disk.
        with pytest.raises(Killed):
            self._first_life()
        # Begins its log anew before it does anything else.
        ledger = open_ledger(self.directory, "US", self.files)
        self._add(ledger, 1)
        ledger.abandon()
        # The log has its name already when the first payload comes.
        ledger = open_ledger(self.directory, "US", self.files)
        self._add(ledger, 2)
        country = open_country(self.directory, "US", self.files, ledger)
        self._acknowledge(country.record(intent(1), REQUESTED).leaf.to_bytes())
        self._add(ledger, 5)
        self._publish(ledger)
        # Every further commit begins the log anew: only the checkpoint's own syncs keep what it covers.
        monkeypatch.setattr(entry_log, "RENEW_AT", 0)
        for number in (3, 4):
            self._add(ledger, number)
            self._publish(ledger)
        signed = add_signatures(ledger.checkpoint(), [WITNESS])
        assert ledger.cosign(signed)
        self.kept |= {COSIGNED: ledger.checkpoint(), CHECKPOINT: ledger.checkpoint()}
        self._cut()
        ledger.abandon()

    def _first_life(self) -> None:
        ledger = open_ledger(self.directory, "US", self.files)
        self.kept = {name: (self.directory / name).read_bytes() for name in (VKEY, POLICY)}
        self.handed_out.append(ledger.head)
        self._add(ledger, 0)

        def die() -> None:
            self.step()
            if _head((self.directory / CHECKPOINT).read_bytes()).size:
                raise Killed

        self.files.on_step = die
        try:
            ledger.publish()
        finally:
            self.files.on_step = self.step
            ledger.abandon()

    def _add(self, ledger: LedgerStore, number: int) -> None:
        ledger.add(filler(number))
        self._acknowledge(filler(number))

    def _publish(self, ledger: LedgerStore) -> None:
        self.handed_out.append(ledger.publish())
        self._cut()

    def _acknowledge(self, leaf: bytes) -> None:
        self.acknowledged.append(leaf)
        self._cut()

    def step(self) -> None:
        if self.forget is None or len(self.files.syncs) > self.forget:
            self._cut()

    def _cut(self) -> None:
        """The power goes: what is there is a ledger, and it opens with all that was acknowledged."""
        for mode in MODES:
            left = {path.removeprefix("ledger/"): data for path, data in self.files.power_cut(mode).items()}
            for name, data in self.kept.items():
                assert left.get(name) == data
            if CHECKPOINT not in left:
                assert not self.kept
                continue
            leaves = self._open(left)
            for leaf in self.acknowledged:
                assert leaf in leaves, "an acknowledged entry is lost"
            for head in self.handed_out[-1:]:
                assert len(leaves) >= head.size

    def _open(self, left: dict[str, bytes]) -> list[bytes]:
        """The entries of what the disk holds: it opens, and passes the full-byte check."""
        left = {path: data for path, data in left.items() if not path.startswith("scratch/")}
        key = hash(tuple(sorted(left.items())))
        if key not in self.opened:
            shutil.rmtree(self.after, ignore_errors=True)
            for path, data in left.items():
                (self.after / path).parent.mkdir(parents=True, exist_ok=True)
                (self.after / path).write_bytes(data)
            with open_ledger(self.after, "US", QuickFiles()) as store:
                self.opened[key] = [store.entry(index) for index in range(store.size)]
                for head in self.handed_out:
                    store.check_floor(head)
            self._audit()
        return self.opened[key]

    def _audit(self) -> None:
        files = snapshot(self.after)
        assert {POLICY, VKEY} <= files.keys()
        report = verify_ledger(MemoryReader(files), files[POLICY], AUDITOR)
        # The fillers have no payloads, and come before the statement of whose ledger it is.
        assert not [f for f in report.findings if f.rule not in ("payload-missing", "first-statement")]
        fillers = {index for index, leaf in enumerate(report_leaves(files)) if leaf in FILLERS}
        assert {f.index for f in report.findings if f.rule == "payload-missing"} <= fillers


FILLERS = {filler(number) for number in range(8)}


def report_leaves(files: dict[str, bytes]) -> list[bytes]:
    """The entries of a small ledger, by index."""
    size = _head(files[CHECKPOINT]).size
    return tiles.parse_bundle(files[tiles.bundle_at(size, 0).path], size) if size else []


def test_a_power_cut_at_every_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _Run(tmp_path, None).live(monkeypatch)


def test_every_fsync_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line that asks for a sync is asked at least once when leaving it out loses something."""
    counted = _Run(tmp_path / "counting", 1 << 30)
    counted.live(monkeypatch)
    monkeypatch.undo()
    unneeded: set[Site] = set(counted.files.sites)
    for number, site in enumerate(counted.files.sites):
        if site in unneeded:
            try:
                _Run(tmp_path / f"forgot-{number}", number).live(monkeypatch)
            except (ConcordatError, AssertionError, OSError):
                unneeded.remove(site)
            monkeypatch.undo()
    assert len(set(counted.files.sites)) > 12
    assert not unneeded, "\n".join(map(str, unneeded))


def test_a_log_that_was_changed_is_not_taken_for_a_torn_one(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path / "ledger", "US")
    for number in range(3):
        ledger.add(filler(number))
    ledger.abandon()
    log = tmp_path / "ledger" / entry_log.ENTRY_LOG
    whole = log.read_bytes()
    log.write_bytes(whole[:60] + bytes([whole[60] ^ 1]) + whole[61:])
    with pytest.raises(ConcordatError, match="is damaged"):
        open_ledger(tmp_path / "ledger", "US")
    log.write_bytes(whole[:-1])
    with open_ledger(tmp_path / "ledger", "US") as store:
        assert store.size == 2
