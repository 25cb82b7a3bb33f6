"""One worker process of the engine, and the pipe to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from multiprocessing.reduction import send_handle
from typing import Any, TypeVar, cast

from node import engine_worker as worker
from node.engine_worker import Memory, Scheme
from node.errors import WorkerLost
from node.logging import log

T = TypeVar("T")


class Slot:
    """One worker process and the pipe to it, started again after a crash.

    The pool of the standard library is not used: when a worker dies while a large piece of work is on its way,
    the thread that writes it waits for ever. Here each end of the pipe is held by one process alone, so a dead
    worker is an end of file.
    """

    def __init__(
        self, number: int, scheme: Scheme, seal_key: bytes, memory: Memory, encoded: tuple[int, int]
    ) -> None:
        self._number = number
        self._arguments = (scheme, seal_key, memory, os.getpid())
        self._encoded = encoded
        # One thread: calls of one worker wait for each other here, in their order.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"worker-{number}")
        self._process: SpawnProcess | None = None
        self._pipe: Connection | None = None
        self._closed = False

    @property
    def pid(self) -> int | None:
        process = self._process
        return None if process is None else process.pid

    async def call(self, function: Callable[..., T], *arguments: Any) -> T:
        if self._closed:
            raise WorkerLost("the engine has stopped")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._call, function, arguments)

    def _call(self, function: Callable[..., T], arguments: tuple[Any, ...]) -> T:
        try:
            pipe = self._pipe or self._start()
            pipe.send((function, arguments))
            good, value = pipe.recv()
        except (EOFError, OSError):
            if not self._closed:
                log("worker lost", level="warning", worker=self._number)
            self._drop()
            raise WorkerLost(f"worker {self._number} died") from None
        if not good:
            raise value
        return cast(T, value)

    def _start(self) -> Connection:
        if self._closed:
            raise EOFError
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=worker.main, args=(theirs, *self._arguments), daemon=True)
        process.start()
        theirs.close()
        self._process, self._pipe = process, ours
        descriptor, length = self._encoded
        send_handle(ours, descriptor, process.pid)
        ours.send(length)
        return ours

    def _drop(self) -> None:
        process, pipe = self._process, self._pipe
        self._process = self._pipe = None
        if pipe is not None:
            pipe.close()
        if process is not None:
            process.kill()
            process.join()
            process.close()

    async def close(self) -> None:
        """Stop at once: a block half done is worth nothing."""
        self._closed = True
        process = self._process
        if process is not None:
            with contextlib.suppress(ValueError, OSError):
                process.kill()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._drop)
        self._thread.shutdown()
