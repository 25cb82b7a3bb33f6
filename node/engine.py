"""The search engine: a pool of worker processes on this machine.

SEAL holds the interpreter's lock, so work runs in processes, and the event loop always answers. Each worker
is a pool of its own: a block goes to the same worker every time (its caches stay warm and the pool's memory
budget is not spent twice), and a crash takes down one worker, whose lost piece of work is tried once more.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, TypeVar, cast

from crypto.errors import InputError, PeerFault
from crypto.profiles import SearchProfile
from node import engine_worker as worker
from node.blocks import BlockRef
from node.engine_worker import Scheme
from node.errors import WorkerLost
from node.logging import log

T = TypeVar("T")
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class SearchJob:
    """One accepted query as the engine sees it.

    Attributes:
        keys_path: File of the requester's evaluation keys.
        keys_hash: Their name, ``hash_fields(Context.EVALUATION_KEYS, file)``.
        query: The encrypted probe.
        seed: 32 fresh random bytes; every mask of the answer comes from them.
        blocks: In the order in which the answer lists them.
    """

    search: SearchProfile
    keys_path: Path
    keys_hash: bytes
    query: bytes
    exchange_id: bytes
    seed: bytes
    blocks: tuple[BlockRef, ...]


class _Slot:
    """One worker process and the pipe to it, started again after a crash.

    The pool of the standard library is not used: when a worker dies while a large piece of work is on its way,
    the thread that writes it waits for ever. Here each end of the pipe is held by one process alone, so a dead
    worker is an end of file.
    """

    def __init__(self, number: int, scheme: Scheme, seal_key: bytes, memory_bytes: int) -> None:
        self._number = number
        self._arguments = (scheme, seal_key, memory_bytes, os.getpid())
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


class Engine:
    """Runs pieces of work in worker processes.

    Args:
        scheme: The encrypted search. A served node always passes the real one.
        seal_key: Storage key of the gallery's blocks.
        workers: Number of processes.
        memory_bytes: For keys and encoded blocks, all workers together.
    """

    def __init__(self, scheme: Scheme, seal_key: bytes, workers: int, memory_bytes: int) -> None:
        self._slots = [_Slot(i, scheme, seal_key, memory_bytes // workers) for i in range(workers)]
        self._turn = 0

    @property
    def worker_pids(self) -> list[int]:
        """Processes that are up."""
        return [slot.pid for slot in self._slots if slot.pid is not None]

    async def start(self) -> None:
        """Start all workers now, so that the first query does not wait for them."""
        await asyncio.gather(*(slot.call(worker.ping) for slot in self._slots))

    async def close(self) -> None:
        """Stop all workers."""
        await asyncio.gather(*(slot.close() for slot in self._slots))

    def _next(self) -> _Slot:
        self._turn = (self._turn + 1) % len(self._slots)
        return self._slots[self._turn]

    async def _twice(self, slot: _Slot, function: Callable[..., T], *arguments: Any) -> T:
        try:
            return await slot.call(function, *arguments)
        except WorkerLost:
            return await slot.call(function, *arguments)

    async def check_keys(self, search: SearchProfile, keys_path: Path, keys_hash: bytes) -> None:
        """Load uploaded evaluation keys in a worker; raises ``BadKeys``."""
        await self._twice(self._next(), worker.check_keys, search, keys_path, keys_hash)

    async def warm(self, search: SearchProfile, keys_path: Path, keys_hash: bytes, block: BlockRef) -> None:
        """Load the keys and encode the block in the worker that will search it, within its memory budget."""
        slot = self._slots[block.index % len(self._slots)]
        await slot.call(worker.warm_block, search, keys_path, keys_hash, block)

    async def make_sets(
        self, search: SearchProfile, secrets: Sequence[bytes | None], progress: Progress
    ) -> list[tuple[bytes, bytes] | None]:
        """Make the key sets of these secrets, of fresh ones for None; secret and hash of each, in order.

        Each worker has one set to make at a time, so that queries come in between. A secret that makes no keys
        gives None.
        """
        made: list[tuple[bytes, bytes] | None] = [None] * len(secrets)
        left = iter(enumerate(secrets))
        done = 0

        async def work(slot: _Slot) -> None:
            nonlocal done
            for index, secret in left:
                # A peer's secret may be anything; what is wrong with it is the caller's to say.
                with contextlib.suppress(PeerFault, InputError):
                    made[index] = await self._twice(slot, worker.make_set, search, secret)
                done += 1
                progress(done, len(secrets))

        tasks = [asyncio.create_task(work(slot)) for slot in self._slots]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        return made

    async def write_set(self, search: SearchProfile, secret: bytes, path: Path) -> int:
        """Make the evaluation keys of a secret again, in a file; their length."""
        return await self._next().call(worker.write_set, search, secret, path)

    async def encrypt(self, search: SearchProfile, secret: bytes, template: Any) -> bytes:
        """Encrypt one template."""
        return await self._twice(self._next(), worker.encrypt, search, secret, template)

    async def open_answer(
        self, search: SearchProfile, secret: bytes, blocks: list[bytes]
    ) -> list[list[tuple[int, int]]]:
        """Slot and token of the hits, block by block."""
        return await self._twice(self._next(), worker.open_answer, search, secret, blocks)

    async def search(
        self, job: SearchJob, progress: Progress, retried: Callable[[int], None] = lambda _: None
    ) -> list[bytes]:
        """Answer all blocks of a job, in its order; calls ``progress(done, all)`` after each.

        Args:
            job: What is searched.
            progress: Called with the number of blocks done, and of all.
            retried: Called with the index of each block that a lost worker costs a second attempt.

        Raises:
            BadKeys, BadCiphertext: The requester's input does not load.
            WorkerLost: A worker died twice at the same block.
        """
        done = 0

        async def one(block: BlockRef) -> bytes:
            nonlocal done
            slot = self._slots[block.index % len(self._slots)]
            fixed = (job.search, job.keys_path, job.keys_hash, job.query, block, job.seed, job.exchange_id)
            try:
                answer = await slot.call(worker.search_block, *fixed, 0)
            except WorkerLost:
                retried(block.index)
                # Another attempt number: the masks of a lost attempt are never used again.
                answer = await slot.call(worker.search_block, *fixed, 1)
            done += 1
            progress(done, len(job.blocks))
            return answer

        tasks = [asyncio.create_task(one(block)) for block in job.blocks]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
