"""A served node with the plain twin that kills itself, once, at each of the named points of its exchanges.

Usage: ``python mortal_node.py DIR MARKS PREFIX...``. A point is named like ``q:after:EntryAppended:query.intent``
(role; before or after the step is stored; event; entry). It is deadly once: a mark in MARKS says that it was
passed. Only points that begin with one of the prefixes kill.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from nodes import PLAIN

from node.daemon import open_daemon
from node.driver import Driver
from node.sessions import SessionStore


class Points:
    def __init__(self, marks: Path, prefixes: tuple[str, ...]) -> None:
        self._marks = marks
        self._prefixes = prefixes

    def reach(self, name: str) -> None:
        mark = self._marks / name
        if name.startswith(self._prefixes) and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)


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

    SessionStore.advance = mortal_advance  # type: ignore[method-assign]
    Driver._append = mortal_append  # type: ignore[method-assign]


async def main(directory: Path) -> None:
    await open_daemon(directory, scheme=PLAIN)
    await asyncio.Event().wait()


if __name__ == "__main__":
    haunt(Points(Path(sys.argv[2]), tuple(sys.argv[3:])))
    asyncio.run(main(Path(sys.argv[1])))
