"""A served node with the plain twin that kills itself, once, at each of the named points of its exchanges.

Usage: ``python mortal_node.py DIR MARKS PREFIX...``. A point is named like ``q:after:EntryAppended:query.intent``
(role; before or after the step is stored; event; entry). It is deadly once: a mark in MARKS says that it was
passed. Only points that begin with one of the prefixes kill. The stored steps of registrations and claims are points
too, passed when the step is done: ``keys:q:begin``, ``claim:r:_decide``.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nodes import PLAIN

from node.claim_records import ClaimRecords
from node.claims_taken import ClaimsTaken
from node.daemon import open_daemon
from node.driver import Driver
from node.key_decisions import KeyDecisions
from node.offers import Offers
from node.sessions import SessionStore
from node.taken import Taken

STEPS: tuple[tuple[str, type, tuple[str, ...]], ...] = (
    ("keys:q", Offers, ("begin", "log_offer", "take", "log_opening", "mark_delivered", "finish")),
    ("keys:r", Taken, ("admit", "open", "accept_keys")),
    ("keys:r", KeyDecisions, ("store", "finish")),
    ("claim:q", ClaimRecords, ("_make", "log_sent", "take", "finish")),
    ("claim:r", ClaimsTaken, ("_decide", "_finish")),
)


class Points:
    def __init__(self, marks: Path, prefixes: tuple[str, ...]) -> None:
        self._marks = marks
        self._prefixes = prefixes

    def reach(self, name: str) -> None:
        mark = self._marks / name
        if name.startswith(self._prefixes) and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def mortal_step(points: Points, point: str, step: Callable[..., Any]) -> Callable[..., Any]:
    def mortal(*arguments: Any, **named: Any) -> Any:
        done = step(*arguments, **named)
        points.reach(point)
        return done

    return mortal


def haunt(points: Points) -> None:
    advance, append = SessionStore.advance, Driver._append

    def mortal_advance(self: Any, key: bytes, event: Any) -> Any:
        kind = type(event).__name__
        if hasattr(event, "kind"):
            kind += f":{event.kind}"
        points.reach(f"{self._role}:before:{kind}")
        step = advance(self, key, event)
        points.reach(f"{self._role}:after:{kind}")
        return step

    def mortal_append(self: Any, command: Any) -> Any:
        event = append(self, command)
        points.reach(f"{self.store._role}:logged:{command.kind}")
        return event

    for prefix, owner, names in STEPS:
        for name in names:
            setattr(owner, name, mortal_step(points, f"{prefix}:{name}", getattr(owner, name)))
    SessionStore.advance = mortal_advance  # type: ignore[method-assign]
    Driver._append = mortal_append  # type: ignore[method-assign]


async def main(directory: Path) -> None:
    await open_daemon(directory, scheme=PLAIN)
    await asyncio.Event().wait()


if __name__ == "__main__":
    haunt(Points(Path(sys.argv[2]), tuple(sys.argv[3:])))
    asyncio.run(main(Path(sys.argv[1])))
