"""Who is next: pieces of work for the workers, fair between those who wait.

A *lane* is what one peer waits for, in its order. The lane that has had least so far goes first, piece by piece, so a
large search of one peer does not keep another waiting, and a peer that waits long has no claim to more later. Short
work that somebody waits for (encrypting, opening) comes before all lanes; what nobody waits for comes after them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar

FIRST: Final = "first"
IDLE: Final = "idle"


class Piece(Protocol):
    """One piece of work.

    Attributes:
        lane: ``FIRST``, ``IDLE``, or whoever waits for it.
        job: What it is part of, begun with ``Lanes.begin``; None if it is by itself.
        cost: What it takes of the lane's share.
    """

    lane: Hashable
    job: Hashable | None
    cost: int

    @property
    def is_dropped(self) -> bool:
        """Whether nobody waits for it any more."""


P = TypeVar("P", bound=Piece)


@dataclass(slots=True)
class _Lane(Generic[P]):
    had: int = 0
    pieces: deque[P] = field(default_factory=deque)


class Lanes(Generic[P]):
    """The queue.

    Args:
        room: Memory for jobs that have started: more of them wait, in their turn, until one ends, but one always runs.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._lanes: dict[Hashable, _Lane[P]] = {}
        self._now = 0
        self._size: dict[Hashable, int] = {}
        self._started: set[Hashable] = set()

    def begin(self, job: Hashable, size: int) -> None:
        """A job of several pieces, which takes so much memory from its first piece to its end."""
        self._size[job] = size

    def end(self, job: Hashable) -> None:
        """The job is over: nobody waits for what is left of it, and nothing of it stays here."""
        self._size.pop(job, None)
        self._started.discard(job)
        for lane in self._lanes.values():
            if any(piece.is_dropped for piece in lane.pieces):
                lane.pieces = deque(piece for piece in lane.pieces if not piece.is_dropped)

    def add(self, piece: P) -> None:
        """Put a piece at the end of its lane."""
        lane = self._lanes.setdefault(piece.lane, _Lane())
        if not lane.pieces:
            lane.had = max(lane.had, self._now)
        lane.pieces.append(piece)

    def take(self) -> P | None:
        """The next piece; None if there is none that may start."""
        for lane in self._lanes.values():
            while lane.pieces and lane.pieces[0].is_dropped:
                lane.pieces.popleft()
        waiting = {name: lane for name, lane in self._lanes.items() if lane.pieces}
        # Who waits for room is passed by what has started, but not by a new job of somebody who has had more.
        first = min((lane.had for lane in waiting.values() if not self._has_room(lane)), default=None)
        ready = {
            name: lane
            for name, lane in waiting.items()
            if self._goes_on(lane) or (self._has_room(lane) and (first is None or lane.had <= first))
        }
        if not ready:
            return None
        fair = [name for name in ready if name not in (FIRST, IDLE)]
        if FIRST in ready:
            chosen = ready[FIRST]
        elif fair:
            chosen = ready[min(fair, key=lambda name: ready[name].had)]
            self._now = chosen.had
        else:
            chosen = ready[IDLE]
        piece = chosen.pieces.popleft()
        chosen.had += piece.cost
        if piece.job is not None:
            self._started.add(piece.job)
        return piece

    def _goes_on(self, lane: _Lane[P]) -> bool:
        """Whether the lane's next piece begins no job."""
        job = lane.pieces[0].job
        return job is None or job in self._started

    def _has_room(self, lane: _Lane[P]) -> bool:
        job = lane.pieces[0].job
        if self._goes_on(lane) or not self._started:
            return True
        return sum(self._size[one] for one in (*self._started, job)) <= self._room

    def clear(self) -> list[P]:
        """Empty all lanes; what was in them."""
        left = [piece for lane in self._lanes.values() for piece in lane.pieces]
        self._lanes.clear()
        return left
