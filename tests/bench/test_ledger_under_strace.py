"""A whole process, killed or failed by strace at its system calls: what it acknowledged is there afterwards."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ledgers import filler, open_ledger, snapshot

from protocol.audit.reader import MemoryReader
from protocol.audit.verify import verify_ledger

WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from ledgers import filler, open_ledger
from node.files import Files
from crypto.errors import LocalFault
for attempt in range(3):
    try:
        store = open_ledger(Path(sys.argv[1]), "US", Files())
        break
    except LocalFault:
        pass
else:
    sys.exit(3)
for number in range(300):
    try:
        (store.append if number % 4 == 0 else store.add)(filler(number))
    except LocalFault:
        continue
    print(number, flush=True)
store.abandon()
"""
CALLS = ("fsync", "rename", "mkdir")
FAULTS = ("signal=KILL", "error=EIO", "error=ENOSPC")


def _run(directory: Path, call: str, fault: str, when: str) -> list[int]:
    command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}"]
    command += ["-e", f"inject={call}:{fault}:when={when}", sys.executable, "-c", WRITER]
    support = Path(__file__).resolve().parents[1] / "support"
    run = subprocess.run(
        [*command, str(directory), str(support)], capture_output=True, text=True, timeout=120, check=False
    )
    assert "Traceback" not in run.stderr, run.stderr
    # A line may be torn by the kill.
    return [int(line) for line in run.stdout.split("\n")[:-1]]


@pytest.mark.bench
@pytest.mark.timeout(1200)
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_process_under_fault_injection(tmp_path: Path, call: str, fault: str) -> None:
    seen = 0
    places = ("1", "5") if call == "mkdir" else ("1", "3", "7", "20", "61", "150")
    for when in (*places, "2+7" if fault != "signal=KILL" else "40"):
        directory = tmp_path / when / "ledger"
        directory.parent.mkdir()
        acknowledged = _run(directory, call, fault, when)
        seen += len(acknowledged)
        if not directory.exists() or not (directory / "checkpoint").exists():
            assert not acknowledged
            continue
        with open_ledger(directory, "US") as store:
            for number in acknowledged:
                assert store.find(filler(number)) is not None
        files = snapshot(directory)
        report = verify_ledger(MemoryReader(files), files["policy"])
        assert report.ok, report.findings
    assert seen, "every run died before it acknowledged anything"
