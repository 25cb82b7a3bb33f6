"""The ledger grows alike whatever happens: fillers bring it to a multiple of so many entries at fixed times.

Peers see the size of this ledger in every proof. Without fillers they would see from it how much a node does with
others, and that people confirmed a hit. Between the fixed times some of the fillers come early, at random, so that a
size seen there says little as well.

Source: specs/ledger.md, section "Cadence".
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from crypto.errors import ConcordatError
from node.core import NodeCore
from node.driver import CoreThread
from node.logging import log
from node.unfinished import Marks
from protocol.statement_parts import NoPrivatePart
from protocol.statements_records import CADENCE, CadenceStated, LogFiller

TICKS: Final = 60
"""How often in a window fillers may come."""
Below = Callable[[int], int]
"""``below(n)`` is a random number from 0 to n - 1, from the operating system."""


@dataclass
class Window:
    """One window of the cadence: from one fixed time to the next.

    Half of the entries are kept for what happens, and filled up at the end; each of the others comes early or not.

    Attributes:
        target: Entries of the ledger at the window's end.
        at_once: Fillers that come at the beginning.
        spread: Fillers that come in the course of the window.
    """

    group: int
    target: int
    at_once: int
    spread: int

    @classmethod
    def begin(cls, size: int, group: int, below: Below) -> Window:
        """The window that begins with a ledger of ``size`` entries."""
        return cls(group, next_multiple(size, group), below(group // 4 + 1), below(group // 4 + 1))

    def early(self, size: int, ticks_left: int, below: Below) -> int:
        """How many fillers come now, with so many ticks left before the end, this one among them."""
        self._reach(size)
        now = sum(below(ticks_left) == 0 for _ in range(self.spread))
        self.spread -= now
        now, self.at_once = now + self.at_once, 0
        return min(now, self.target - size)

    def last(self, size: int) -> int:
        """How many fillers the window lacks at its end."""
        self._reach(size)
        return self.target - size

    def _reach(self, size: int) -> None:
        if size > self.target:
            self.target = next_multiple(size - 1, self.group)


def next_multiple(size: int, group: int) -> int:
    """The least multiple of ``group`` above ``size``."""
    return size // group * group + group


def state_cadence(core: NodeCore) -> None:
    """Say on the ledger which cadence this node keeps, unless its last word says so already."""
    marks = Marks(core.state, CADENCE)
    said = [(core.journal.find(exchange_id, CADENCE), exchange_id) for exchange_id in marks.open()]
    last = max((found.index for found, _ in said if found is not None), default=None)
    opened = None if last is None else core.journal.open(last)
    seconds, entries = core.config.cadence_seconds, core.config.cadence_entries
    held = opened.shared if opened is not None else None
    # A ledger on which nothing was ever promised promises nothing.
    before = (held.seconds, held.entries) if isinstance(held, CadenceStated) else (0, entries)
    if before == (seconds, entries) or before[0] == seconds == 0:
        return
    exchange_id = marks.begin()
    core.record(
        CadenceStated(exchange_id=exchange_id, country=core.country, seconds=seconds, entries=entries),
        NoPrivatePart(),
    )
    for _, earlier in said:
        marks.end(earlier)


class Cadence:
    """Keeps the cadence of one served node."""

    def __init__(self, core: NodeCore, thread: CoreThread, below: Below | None = None) -> None:
        self._core = core
        self._thread = thread
        self._below = below or random.SystemRandom().randrange
        self._span_ms = core.config.cadence_seconds * 1000
        self._window: Window | None = None
        self._number = -1
        self._task: asyncio.Task[None] | None = None
        self._failing = False
        self._told = False

    async def start(self) -> None:
        """Bring the ledger to a multiple, also from one: what came while the node was not served is hidden so."""
        await self._tell()
        if self._span_ms:
            await self._fill(next_multiple(self._core.journal.ledger.size, self._core.config.cadence_entries))
            self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop; the next start tops up what is left open."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            due_ms = await self._tick()
            await asyncio.sleep(due_ms / 1000)

    async def _tick(self) -> float:
        """Do what is due now; milliseconds until more may be."""
        await self._tell()
        core, tick_ms = self._core, self._span_ms / TICKS
        now_ms = await self._thread(core.clock)
        number, into_ms = divmod(now_ms, self._span_ms)
        ledger = core.journal.ledger
        if self._window is not None and number != self._number:
            await self._fill(ledger.size + self._window.last(ledger.size))
            self._window = None
        if self._window is None:
            self._window = Window.begin(ledger.size, core.config.cadence_entries, self._below)
            self._number = number
        left_ms = self._span_ms - into_ms
        ticks_left = max(1, -int(-left_ms // tick_ms))
        await self._fill(ledger.size + self._window.early(ledger.size, ticks_left, self._below))
        return min(tick_ms, left_ms)

    async def _tell(self) -> None:
        """Say on the ledger which cadence is kept, before it is."""
        if not self._told:
            try:
                await self._thread(state_cadence, self._core)
            except ConcordatError as error:
                log("the cadence could not be stated", level="warning", code=error.code)
                return
            self._told = True

    async def _fill(self, size: int) -> None:
        """Add fillers up to a size, one at a time, so that exchanges do not wait for all of them."""
        try:
            while await self._thread(self._add, size):
                pass
        except ConcordatError as error:
            if not self._failing:
                log("the ledger's cadence is not kept", level="warning", code=error.code)
            self._failing = True
            return
        self._failing = False

    def _add(self, size: int) -> bool:
        core = self._core
        if core.journal.ledger.size >= size:
            return False
        core.record(LogFiller(exchange_id=os.urandom(16), country=core.country), NoPrivatePart())
        return True
