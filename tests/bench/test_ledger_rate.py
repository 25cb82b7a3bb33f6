"""How fast a ledger takes entries: each one durable, sealed and under a signed checkpoint before the next."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from nodes import World

from node.core import NodeCore, wall_clock
from node.ledger_store import LedgerStore
from protocol.leaf import Leaf
from protocol.statements import GalleryImported, ImportedGallery

ENTRIES = 300
BATCH = 256


def milliseconds(work: Callable[[], object], times: int) -> list[float]:
    spent = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        spent.append((time.perf_counter() - start) * 1000)
    return spent


@pytest.mark.bench
@pytest.mark.timeout(300)
def test_the_append_rate(tmp_path: Path, book: Any) -> None:
    (tmp_path / "world").mkdir()
    world = World(tmp_path / "world", records=5)
    with NodeCore.open(world.directories["US"]) as core:

        def record() -> None:
            core.record(
                GalleryImported(
                    exchange_id=os.urandom(16), country=core.country, gallery_commitment=os.urandom(32)
                ),
                ImportedGallery(modality="face", profile=bytes(32), records=5, blocks=1, operator="operator"),
            )

        entries = milliseconds(record, ENTRIES)

    def leaf() -> bytes:
        random = os.urandom(32)
        return Leaf(exchange=random, time_ms=wall_clock(), commitment=random).to_bytes()

    with LedgerStore.open(tmp_path / "ledger", "example.org/bench", os.urandom(32)) as ledger:
        bare = milliseconds(lambda: ledger.append(leaf()), ENTRIES)
        batches = milliseconds(lambda: ledger.append_many([leaf() for _ in range(BATCH)]), 8)
    book.write(
        "ledger, every call durable on return (synced to this machine's temporary directory)",
        {
            "entries with payload, one by one, per second": 1000 * ENTRIES / sum(entries),
            "  median of one, ms": median(entries),
            "bare leaves, one by one, per second": 1000 * ENTRIES / sum(bare),
            f"bare leaves, {BATCH} under one checkpoint, per second": 1000 * BATCH * 8 / sum(batches),
        },
    )
