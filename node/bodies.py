"""Large bodies on disk by their hash: evaluation keys, encrypted probes, answers.

A body is written beside its place, synced, checked, and only then renamed: a file under its name is whole.
What a crash leaves behind ends in ``.part`` and is removed at the next start.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncIterator
from enum import Enum
from io import BufferedWriter
from pathlib import Path

from crypto.contexts import Context
from node.errors import BadUpload, BodyMismatch, StorageFailed
from protocol.errors import BadMessage
from protocol.messages import BodyHash


class Kind(Enum):
    """The kinds of bodies; each has a directory and a hash context of its own."""

    KEYS = ("keys", Context.EVALUATION_KEYS)
    CIPHERTEXT = ("ciphertexts", Context.CIPHERTEXT)
    ANSWER = ("answers", Context.ANSWER)

    @property
    def directory(self) -> str:
        """Name of the directory."""
        return self.value[0]

    @property
    def context(self) -> Context:
        """Context of the hash that names a body."""
        return self.value[1]


class Bodies:
    """The store of bodies under one directory (``exchange/``)."""

    def __init__(self, root: Path) -> None:
        self._root = root
        for kind in Kind:
            directory = root / kind.directory
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for leftover in directory.glob("*.part"):
                leftover.unlink(missing_ok=True)

    def path(self, kind: Kind, name: bytes) -> Path:
        """Where the body of that hash is, or would be."""
        return self._root / kind.directory / name.hex()

    def has(self, kind: Kind, name: bytes, length: int) -> bool:
        """Whether the body is here, whole."""
        try:
            return self.path(kind, name).stat().st_size == length
        except OSError:
            return False

    def read(self, kind: Kind, name: bytes) -> bytes:
        """The bytes of a body; raises ``StorageFailed`` when it is gone."""
        try:
            return self.path(kind, name).read_bytes()
        except OSError as error:
            raise StorageFailed(f"a stored {kind.name.lower()} cannot be read: {error.strerror}") from None

    def read_part(self, kind: Kind, name: bytes, start: int, length: int) -> bytes:
        """Some bytes of a body, fewer at its end and none behind it; raises ``StorageFailed``."""
        try:
            with self.path(kind, name).open("rb") as file:
                file.seek(start)
                return file.read(length)
        except OSError as error:
            raise StorageFailed(f"a stored {kind.name.lower()} cannot be read: {error.strerror}") from None

    def put(self, kind: Kind, data: bytes) -> bytes:
        """Store a body of our own; returns its hash once it is durable."""
        body_hash = BodyHash(kind.context, len(data))
        body_hash.update(data)
        name = body_hash.digest()
        part = self._part(kind, name)
        try:
            _write(part, data)
            _publish(part, self.path(kind, name))
        except OSError as error:
            part.unlink(missing_ok=True)
            raise StorageFailed(f"the disk refused a {kind.name.lower()}: {error.strerror}") from None
        return name

    async def receive(
        self, kind: Kind, name: bytes, length: int, chunks: AsyncIterator[bytes], *, publish: bool = True
    ) -> Path:
        """Store a body of the peer's as it streams in, with its exact length and hash.

        Args:
            kind: What it is.
            name: The announced hash.
            length: The announced length; one byte more is refused before it is written.
            chunks: The body.
            publish: False leaves it as a ``.part`` file for a further check; see ``accept``.

        Returns:
            The path of the stored file.

        Raises:
            BadUpload: Shorter or longer. Nothing is kept.
            BodyMismatch: Of another hash. Nothing is kept.
            StorageFailed: The disk refused. Nothing is kept.
        """
        body_hash = BodyHash(kind.context, length)
        part = self._part(kind, name)
        try:
            with _new(part) as file:
                async for chunk in chunks:
                    body_hash.update(chunk)
                    file.write(chunk)
                _check_hash(kind, body_hash.digest(), name)
                file.flush()
                await asyncio.to_thread(os.fsync, file.fileno())
            if publish:
                _publish(part, self.path(kind, name))
                return self.path(kind, name)
        except BadMessage as error:
            part.unlink(missing_ok=True)
            raise BadUpload(f"{kind.name.lower()}: {error}") from None
        except ConnectionError:
            part.unlink(missing_ok=True)
            raise BadUpload(f"{kind.name.lower()}: the sender stopped half-way") from None
        except OSError as error:
            part.unlink(missing_ok=True)
            raise StorageFailed(f"the disk refused a {kind.name.lower()}: {error.strerror}") from None
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        return part

    def accept(self, kind: Kind, name: bytes, part: Path) -> None:
        """Give a checked ``.part`` file its name."""
        try:
            _publish(part, self.path(kind, name))
        except OSError as error:
            part.unlink(missing_ok=True)
            raise StorageFailed(f"the disk refused a {kind.name.lower()}: {error.strerror}") from None

    def remove(self, kind: Kind, name: bytes) -> None:
        """Forget a body; one that is gone already is fine."""
        with contextlib.suppress(OSError):
            self.path(kind, name).unlink(missing_ok=True)

    def sweep(self, needed: set[tuple[Kind, bytes]]) -> int:
        """Remove probes and answers that no open exchange needs; returns how many. Keys stay."""
        gone = 0
        for kind in (Kind.CIPHERTEXT, Kind.ANSWER):
            keep = {name.hex() for one, name in needed if one is kind}
            for path in (self._root / kind.directory).iterdir():
                if path.name not in keep:
                    path.unlink(missing_ok=True)
                    gone += 1
        return gone

    def part(self, kind: Kind) -> Path:
        """A fresh path for a body that somebody else writes (a worker process)."""
        return self._part(kind, b"")

    def _part(self, kind: Kind, name: bytes) -> Path:
        return self._root / kind.directory / f"{name.hex()[:16]}-{secrets.token_hex(8)}.part"


def _check_hash(kind: Kind, found: bytes, expected: bytes) -> None:
    if found != expected:
        raise BodyMismatch(f"{kind.name.lower()}: the body does not have the announced hash")


def _new(path: Path) -> BufferedWriter:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    return os.fdopen(descriptor, "wb")


def _write(path: Path, data: bytes) -> None:
    with _new(path) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _publish(part: Path, final: Path) -> None:
    part.replace(final)
    descriptor = os.open(final.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
