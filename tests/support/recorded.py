"""What a query really found, slot by slot: listens to the engines of two nodes in this process."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from nodes import World, ask

from node.blocks import load_records
from node.daemon import Daemon
from node.engine import SearchJob
from node.synthetic import write_features

TIMEOUT_S = 60
"""Many times what a query takes."""


@dataclass
class Heard:
    """One query: the officer's result, and which records of the responder's gallery hit."""

    result: dict[str, Any]
    records: list[int]
    """Numbers of the enrolled vectors whose slot decrypted to zero, ascending."""
    slots: int
    """How many slots hit: more than ``records`` when an empty slot did."""


@dataclass
class Listener:
    """Keeps the last job of the responder's engine and the last slots that the requester's engine opened."""

    asking: Daemon
    answering: Daemon
    jobs: list[SearchJob] = field(default_factory=list)
    opened: list[list[list[tuple[int, int]]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        search, open_answer = self.answering.engine.search, self.asking.engine.open_answer

        async def heard_search(job: SearchJob, *callbacks: Any) -> list[bytes]:
            self.jobs.append(job)
            return await search(job, *callbacks)

        async def heard_open(*arguments: Any) -> list[list[tuple[int, int]]]:
            slots = await open_answer(*arguments)
            self.opened.append(slots)
            return slots

        self.answering.engine.search = heard_search  # type: ignore[method-assign]
        self.asking.engine.open_answer = heard_open  # type: ignore[method-assign]

    async def ask(self, world: World, embedding: Any) -> Heard:
        """One query, alone: through both nodes, then mapped by the responder's own list of records."""
        self.jobs.clear()
        self.opened.clear()
        probe = world.root / "probe.npz"
        write_features(probe, embedding[None])
        async with asyncio.timeout(TIMEOUT_S):
            result = await ask(self.asking, world.arguments(probe.name))
        if result["outcome"] not in ("hit", "no-hit"):
            return Heard(result, [], 0)
        (job,), (opened,) = self.jobs, self.opened
        assert len(opened) == len(job.blocks)
        storage = self.answering.core.keys.storage
        names = [
            load_records(block, storage)[slot]
            for block, slots in zip(job.blocks, opened, strict=True)
            for slot, _ in slots
        ]
        records = sorted(int(name) for name in names if name is not None)
        return Heard(result, records, len(names))
