"""A disk of one node that is full for a while: what it takes then is half of the bytes, and no transaction."""

from __future__ import annotations

import errno
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from faulty_files import QuickFiles
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from node import bodies
from node.errors import StorageFailed
from node.state import State

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class FullDisk:
    """The disk under one node's directory.

    Attributes:
        refused: What it did not take, in order: ``payload``, ``log``, ``tiles`` (checkpoints too),
            ``answers`` and the other directories of bodies, ``commit`` for transactions.
    """

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.refused: list[str] = []
        self._left, self._first = 0, ""
        self.files = _FullFiles(self)
        self._patch = patch
        self._full_bodies()
        self._full_state()

    def fill(self, times: int, first: str) -> None:
        """Refuse so many writes, from the next one of that name on; then there is room again."""
        self._left, self._first = times, first

    def refuses(self, path: Path, what: str) -> bool:
        """Whether this write is refused; each refusal counts."""
        if not self._left or not path.is_relative_to(self.root) or self._first not in ("", what):
            return False
        self._first = ""
        self._left -= 1
        self.refused.append(what)
        return True

    def fill_before(
        self, owner: type, name: str, wanted: Callable[..., bool], times: int, first: str
    ) -> None:
        """Be full from the first write of a name on after a call of a method, of those calls that are wanted."""
        called, done = getattr(owner, name), False

        def full(*arguments: Any, **named: Any) -> Any:
            nonlocal done
            if not done and wanted(*arguments):
                done = True
                self.fill(times, first)
            return called(*arguments, **named)

        self._patch.setattr(owner, name, full)

    def _full_bodies(self) -> None:
        made = bodies._new

        def new(path: Path) -> Any:
            file = made(path)
            return _HalfFile(file) if self.refuses(path, path.parent.name) else file

        self._patch.setattr(bodies, "_new", new)

    def _full_state(self) -> None:
        disk, writing = self, State.writing

        @contextmanager
        def full(self: State) -> Iterator[Connection]:
            path = Path(str(self.engine.url.database))
            try:
                with writing(self) as connection:
                    yield connection
                    if disk.refuses(path, "commit"):
                        raise OperationalError(
                            "COMMIT", {}, sqlite3.OperationalError("database or disk is full")
                        )
            except SQLAlchemyError as error:
                raise StorageFailed(f"state.sqlite refused a write: {type(error).__name__}") from None

        self._patch.setattr(State, "writing", full)


class _FullFiles(QuickFiles):
    def __init__(self, disk: FullDisk) -> None:
        super().__init__()
        self._disk = disk

    def create(self, path: Path, data: bytes) -> None:
        full = self._disk.refuses(path, _what(path))
        super().create(path, data[: len(data) // 2] if full else data)
        if full:
            raise FULL

    def extend(self, path: Path, data: bytes) -> None:
        full = self._disk.refuses(path, _what(path))
        super().extend(path, data[: len(data) // 2] if full else data)
        if full:
            raise FULL

    def make_directory(self, path: Path) -> None:
        if self._disk.refuses(path, _what(path)):
            raise FULL
        super().make_directory(path)


def _what(path: Path) -> str:
    """What a write of the ledger is for; files get their names once their bytes are there."""
    if "payloads" in path.parts or re.fullmatch(r"[0-9a-f]{64}\.new", path.name):
        return "payload"
    return "log" if path.stem == "log" else "tiles"


class _HalfFile:
    """A file on which there is room for half of what is written first."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __enter__(self) -> _HalfFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, data: bytes) -> int:
        self._file.write(data[: len(data) // 2])
        self._file.flush()
        raise FULL
