"""The one seam between durable state and the file system.

Everything that must survive a power cut is written through ``Files``. Its primitives are one system call
each, so that tests can fail, kill or replay at every call; what is built from them keeps one order: data is
on the disk before its name, a name is on the disk before the next file that relies on it.

Source: specs/ledger.md, section "Durability".
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Final

from crypto.errors import LocalFault

FILE_MODE: Final = 0o600
DIRECTORY_MODE: Final = 0o700


class AlreadyLocked(LocalFault):
    """Another process works on this directory."""

    code = "already-locked"


class FileTooLarge(LocalFault):
    """A file that is larger than anything this program wrote there."""

    code = "file-too-large"


class Files:
    """Primitives on real files. ``OSError`` goes through unchanged."""

    def __init__(self) -> None:
        self._durable: set[Path] = set()

    def read(self, path: Path, limit: int) -> bytes | None:
        """The bytes of a file; None if there is none; ``FileTooLarge`` above ``limit``."""
        try:
            with path.open("rb") as file:
                data = file.read(limit + 1)
        except FileNotFoundError:
            return None
        if len(data) > limit:
            raise FileTooLarge(f"{path.name}: larger than {limit} bytes")
        return data

    def exists(self, path: Path) -> bool:
        """Whether there is anything at this path."""
        return os.path.lexists(path)

    def list(self, directory: Path) -> list[str]:
        """Names in a directory, sorted; none if it does not exist."""
        try:
            return sorted(entry.name for entry in directory.iterdir())
        except FileNotFoundError:
            return []

    # Primitives: one system call that matters each.

    def create(self, path: Path, data: bytes) -> None:
        """Write a new file (or overwrite one); durable only after ``sync``."""
        with open(path, "wb", opener=_private) as file:
            file.write(data)

    def extend(self, path: Path, data: bytes) -> None:
        """Write at the end of a file that is there; durable only after ``sync``."""
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
        try:
            written = os.write(descriptor, data)
            while written < len(data):
                written += os.write(descriptor, data[written:])
        finally:
            os.close(descriptor)

    def sync(self, path: Path) -> None:
        """Bring a file's bytes to the disk."""
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """Give a file its name, replacing what had it; durable only after ``sync_directory``."""
        source.rename(target)

    def sync_directory(self, path: Path) -> None:
        """Bring the names in a directory to the disk."""
        self.sync(path)

    def make_directory(self, path: Path) -> None:
        """Make one directory in an existing one; durable only after ``sync_directory`` of the parent."""
        path.mkdir(mode=DIRECTORY_MODE)

    def remove(self, path: Path) -> None:
        """Remove a file or an empty directory; no error if it is not there."""
        with contextlib.suppress(FileNotFoundError):
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            else:
                path.unlink()

    # What is built from them.

    def ensure_directory(self, path: Path, root: Path) -> None:
        """Make ``path`` and its missing parents up to ``root``, which exists, durably."""
        if path in self._durable or path == root:
            return
        self.ensure_directory(path.parent, root)
        if not self.exists(path):
            # Another thread may make the same one at the same time.
            with contextlib.suppress(FileExistsError):
                self.make_directory(path)
        # A directory that is there may still be a name that a crash left undurable.
        self.sync_directory(path.parent)
        self._durable.add(path)

    def remove_directory(self, path: Path) -> None:
        """Remove a directory and the files in it."""
        self._durable.discard(path)
        for name in self.list(path):
            self.remove(path / name)
        self.remove(path)

    def stage(self, target: Path, data: bytes, scratch: Path) -> None:
        """Give ``target`` these bytes in one step; its name is durable only after ``sync_directory``.

        ``scratch`` is a directory on the same file system for the file under way; leftovers are garbage.
        """
        temporary = scratch / f"{target.name}.new"
        self.create(temporary, data)
        self.sync(temporary)
        self.rename(temporary, target)

    def stage_all(self, writes: Sequence[tuple[Path, bytes]], scratch: Path) -> None:
        """As ``stage`` for many files, none named before all of their bytes are on the disk.

        Written first and synced then, they share the disk's own commits.
        """
        names = [scratch / f"{number}.new" for number in range(len(writes))]
        for name, (_, data) in zip(names, writes, strict=True):
            self.create(name, data)
        for name in names:
            self.sync(name)
        for name, (target, _) in zip(names, writes, strict=True):
            self.rename(name, target)

    def write_atomic(self, target: Path, data: bytes, scratch: Path | None = None) -> None:
        """As ``stage``, and durable on return."""
        self.stage(target, data, scratch or target.parent)
        self.sync_directory(target.parent)

    @contextlib.contextmanager
    def lock(self, path: Path) -> Iterator[IO[bytes]]:
        """Hold an exclusive lock on a file; ``AlreadyLocked`` if somebody else has it. Freed when we die."""
        with open(path, "ab", opener=_private) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise AlreadyLocked(f"{path.parent.name}: another process works on it") from None
            yield file


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, FILE_MODE)
