"""Backward steps of a clock, noticed without a second clock: time as seen here never decreases by itself.

Source: specs/ledger.md, section "Time".
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final

TOLERANCE_MS: Final = 2_000
"""Smaller steps are the ordinary work of a time service, and no entry's order depends on them."""


@dataclass(frozen=True)
class ClockStep:
    """The clock showed ``before_ms`` and later ``after_ms``, which is less."""

    before_ms: int
    after_ms: int


class ClockWatch:
    """Remembers the latest time seen. May be used from several threads.

    Args:
        newest_ms: The latest time known from before, e.g. of the last entries of the ledger.
    """

    def __init__(self, newest_ms: int = 0) -> None:
        self._newest = newest_ms
        self._step: ClockStep | None = None
        self._mutex = threading.Lock()

    def observe(self, now_ms: int) -> None:
        """Take note of the time."""
        with self._mutex:
            if now_ms < self._newest - TOLERANCE_MS:
                before = self._step.before_ms if self._step is not None else self._newest
                self._step = ClockStep(max(before, self._newest), now_ms)
                self._newest = now_ms  # from here on time runs from the new reading
            else:
                self._newest = max(self._newest, now_ms)

    def take_step(self) -> ClockStep | None:
        """The step noticed since the last call, the whole of it if there were several."""
        with self._mutex:
            step, self._step = self._step, None
            return step

    def put_back(self, step: ClockStep) -> None:
        """The step could not be logged; the next ``take_step`` gives it again."""
        with self._mutex:
            self._step = self._step or step
