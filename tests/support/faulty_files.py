"""File systems that fail, die, or forget what was not yet brought to the disk."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from node.files import Files

Operation = tuple[str, Path]
Site = tuple[tuple[str, int], ...]
MODES = ("synced", "newest", "names", "torn")


class Killed(BaseException):
    """The process is gone; nothing of ours may run after it."""


class HookedFiles(Files):
    """Real files; ``hook(number, name, path)`` runs before each primitive."""

    def __init__(self, hook: Callable[[int, str, Path], None]) -> None:
        super().__init__()
        self._hook = hook
        self.calls = 0

    def _before(self, name: str, path: Path) -> None:
        self.calls += 1
        self._hook(self.calls - 1, name, path)

    def create(self, path: Path, data: bytes) -> None:
        self._before("create", path)
        super().create(path, data)

    def extend(self, path: Path, data: bytes) -> None:
        self._before("extend", path)
        super().extend(path, data)

    def sync(self, path: Path) -> None:
        self._before("sync", path)

    def sync_directory(self, path: Path) -> None:
        self._before("sync_directory", path)

    def rename(self, source: Path, target: Path) -> None:
        self._before("rename", target)
        super().rename(source, target)

    def make_directory(self, path: Path) -> None:
        self._before("make_directory", path)
        super().make_directory(path)

    def remove(self, path: Path) -> None:
        self._before("remove", path)
        super().remove(path)


def failing_at(numbers: Callable[[int], bool], code: int = errno.ENOSPC) -> HookedFiles:
    """Files whose calls with these numbers fail."""

    def hook(number: int, name: str, path: Path) -> None:
        if numbers(number):
            raise OSError(code, f"{name} of {path.name} was made to fail")

    return HookedFiles(hook)


def killed_at(last: int) -> HookedFiles:
    """Files of a process that dies before its call number ``last``."""

    def hook(number: int, name: str, path: Path) -> None:
        if number >= last:
            raise Killed(f"{name} {path.name}")

    return HookedFiles(hook)


class QuickFiles(Files):
    """Real files that never wait for the disk, for tests that cut no power."""

    def sync(self, path: Path) -> None:
        pass


def _site() -> Site:
    """The lines of the program that ask for this sync: in the file seam, and the first outside of it."""
    lines: list[tuple[str, int]] = []
    frame = sys._getframe(3)
    while True:
        name = Path(frame.f_code.co_filename).name
        lines.append((name, frame.f_lineno))
        if name != "files.py" or frame.f_back is None:
            return tuple(lines)
        frame = frame.f_back


@dataclass
class _Node:
    data: bytes = b""
    durable: bytes = b""
    names: dict[str, _Node] | None = None
    durable_names: dict[str, _Node] = field(default_factory=dict)


class VolatileFiles(Files):
    """Files in a model of a disk with a cache, beside the real ones.

    ``power_cut`` gives what a disk may hold afterwards, by mode:

    - ``"synced"``: only names that were synced, only bytes that were synced;
    - ``"newest"``: as before, and of all other changes of names only the last: disks reorder them;
    - ``"names"``: all names, only bytes that were synced;
    - ``"torn"``: all names, and half of the bytes that were not synced.

    Args:
        root: The directory that the model covers; durable from the start, empty.
        forget: Numbers of the sync calls that are silently lost.
    """

    def __init__(self, root: Path, forget: int | None = None) -> None:
        super().__init__()
        self._root = root
        self._top = _Node(names={})
        self._forget = forget
        self._newest: tuple[_Node, str] | None = None
        self.syncs: list[Operation] = []
        self.sites: list[Site] = []
        self.on_step: Callable[[], None] = lambda: None

    def _find(self, path: Path) -> _Node:
        node = self._top
        for part in path.relative_to(self._root).parts:
            assert node.names is not None
            node = node.names[part]
        return node

    def _names(self, path: Path) -> dict[str, _Node]:
        names = self._find(path).names
        assert names is not None
        return names

    def _lost(self, name: str, path: Path) -> bool:
        self.syncs.append((name, path))
        self.sites.append(_site())
        return len(self.syncs) - 1 == self._forget

    def create(self, path: Path, data: bytes) -> None:
        super().create(path, data)
        self._names(path.parent)[path.name] = _Node(data)
        self._newest = self._find(path.parent), path.name
        self.on_step()

    def extend(self, path: Path, data: bytes) -> None:
        super().extend(path, data)
        self._find(path).data += data
        self.on_step()

    def sync(self, path: Path) -> None:
        if not self._lost("sync", path):
            node = self._find(path)
            node.durable = node.data
        self.on_step()

    def sync_directory(self, path: Path) -> None:
        if not self._lost("sync_directory", path) and path.is_relative_to(self._root):
            node = self._find(path)
            node.durable_names = dict(node.names or {})
        self.on_step()

    def rename(self, source: Path, target: Path) -> None:
        super().rename(source, target)
        self._names(target.parent)[target.name] = self._names(source.parent).pop(source.name)
        self._newest = self._find(target.parent), target.name
        self.on_step()

    def make_directory(self, path: Path) -> None:
        super().make_directory(path)
        self._names(path.parent)[path.name] = _Node(names={})
        self._newest = self._find(path.parent), path.name
        self.on_step()

    def remove(self, path: Path) -> None:
        super().remove(path)
        self._names(path.parent).pop(path.name, None)
        self.on_step()

    def power_cut(self, mode: str) -> dict[str, bytes]:
        """Every file that the disk may hold if the power went now, by path below the root."""
        left: dict[str, bytes] = {}
        self._collect(self._top, "", mode, left)
        return left

    def _collect(self, node: _Node, path: str, mode: str, left: dict[str, bytes]) -> None:
        if node.names is None:
            kept = len(node.durable)
            if mode == "torn":
                kept += (len(node.data) - kept) // 2
            # A file is only ever begun anew or extended, so its durable bytes are the beginning of it.
            assert node.data.startswith(node.durable)
            left[path] = node.data[:kept]
            return
        names = dict(node.names if mode in ("names", "torn") else node.durable_names)
        if mode == "newest" and self._newest and self._newest[0] is node and self._newest[1] in node.names:
            names[self._newest[1]] = node.names[self._newest[1]]
        for name, child in names.items():
            self._collect(child, f"{path}/{name}" if path else name, mode, left)
