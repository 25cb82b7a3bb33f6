"""The search engine: worker processes on this machine, what they share, and who is next.

SEAL holds the interpreter's lock, so work runs in processes, and the event loop always answers. A free worker takes
the next piece of work: one block of one search, or something short. Pieces are fair between peers (``Lanes``), and
encoded blocks lie in memory that all workers map (``Shelf``). A crash takes down one worker, whose lost piece of work
is tried once more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from crypto.errors import InputError, PeerFault
from crypto.profiles import SearchProfile
from node import engine_worker as worker
from node.blocks import BlockRef
from node.encoded import Place, Shelf
from node.engine_slot import Slot
from node.engine_worker import Memory, Scheme, encoded_bytes, prepared_bytes
from node.errors import WorkerLost
from node.lanes import FIRST, IDLE, Lanes

T = TypeVar("T")
Progress = Callable[[int, int], None]
OWN: Final = ""
"""The lane of this node's own long work: making sets of keys."""
FIRST_PACE_S: Final = 1.0
"""Taken for the time of one probe and block until some were measured."""


@dataclass(frozen=True, slots=True)
class SearchJob:
    """One accepted query as the engine sees it.

    Attributes:
        keys_path: File of the requester's evaluation keys.
        keys_hash: Their name, ``hash_fields(Context.EVALUATION_KEYS, file)``.
        query: The encrypted probes, one after the other.
        seed: 32 fresh random bytes; every mask of the answer comes from them.
        blocks: In the order in which the answer lists them.
        peer: Who asked: workers are shared fairly between peers.
    """

    search: SearchProfile
    keys_path: Path
    keys_hash: bytes
    query: bytes
    exchange_id: bytes
    seed: bytes
    blocks: tuple[BlockRef, ...]
    peer: str = OWN
    probes: int = 1


@dataclass(slots=True)
class _Piece:
    work: Callable[[Slot], Awaitable[Any]]
    lane: Hashable
    result: asyncio.Future[Any]
    job: Hashable | None = None
    cost: int = 1

    @property
    def is_dropped(self) -> bool:
        return self.result.done()


@dataclass(slots=True)
class _Counted:
    """Calls ``report(done, all)`` after each of so many steps."""

    total: int
    report: Progress
    done: int = field(default=0)

    def step(self) -> None:
        self.done += 1
        self.report(self.done, self.total)


class Engine:
    """Runs pieces of work in worker processes.

    Args:
        scheme: The encrypted search. A served node always passes the real one.
        seal_key: Storage key of the gallery's blocks.
        workers: Number of processes.
        memory_bytes: For encoded blocks, keys and queries that are being answered, all workers together.
    """

    def __init__(self, scheme: Scheme, seal_key: bytes, workers: int, memory_bytes: int) -> None:
        self._scheme = scheme
        self._shelf = Shelf(memory_bytes * 5 // 8)
        share = memory_bytes * 3 // 16
        memory = Memory(share // workers, share // workers)
        encoded = (self._shelf.descriptor, self._shelf.limit)
        self._slots = [Slot(i, scheme, seal_key, memory, encoded) for i in range(workers)]
        self._free = list(reversed(self._slots))
        self._lanes: Lanes[_Piece] = Lanes(share // workers)
        self._running: set[asyncio.Task[None]] = set()
        self._closed = False
        self._waiting = 0
        self._pace = FIRST_PACE_S

    @property
    def worker_pids(self) -> list[int]:
        """Processes that are up."""
        return [slot.pid for slot in self._slots if slot.pid is not None]

    def waiting_s(self) -> float:
        """About how long it takes until all searches that are there now are done."""
        return self._waiting * self._pace / len(self._slots)

    @property
    def encoded_bytes(self) -> int:
        """Memory of the encoded blocks."""
        return self._shelf.bytes_used

    async def start(self) -> None:
        """Start all workers now, so that the first query does not wait for them."""
        await asyncio.gather(*(slot.call(worker.ping) for slot in self._slots))

    async def close(self) -> None:
        """Stop all workers; who waits for one gets ``WorkerLost``."""
        if self._closed:
            return
        self._closed = True
        for piece in self._lanes.clear():
            if not piece.is_dropped:
                piece.result.set_exception(WorkerLost("the engine has stopped"))
        await asyncio.gather(*(slot.close() for slot in self._slots))
        await asyncio.gather(*self._running, return_exceptions=True)
        self._shelf.close()

    # Who is next

    async def _do(
        self, lane: Hashable, work: Callable[[Slot], Awaitable[T]], job: Hashable | None = None, cost: int = 1
    ) -> T:
        """Wait for a worker, and for what it makes of a piece of work."""
        if self._closed:
            raise WorkerLost("the engine has stopped")
        result: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._lanes.add(_Piece(work, lane, result, job, cost))
        self._give_out()
        return await result

    def _give_out(self) -> None:
        while self._free and (piece := self._lanes.take()) is not None:
            task = asyncio.create_task(self._run(self._free.pop(), piece))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _run(self, slot: Slot, piece: _Piece) -> None:
        try:
            value = await piece.work(slot)
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits for the piece
            if not piece.result.done():
                piece.result.set_exception(error)
        else:
            if not piece.result.done():
                piece.result.set_result(value)
        finally:
            self._free.append(slot)
            self._give_out()

    async def _twice(self, lane: Hashable, function: Callable[..., T], *arguments: Any) -> T:
        async def work(slot: Slot) -> T:
            try:
                return await slot.call(function, *arguments)
            except WorkerLost:
                return await slot.call(function, *arguments)

        return await self._do(lane, work)

    # What can be done

    async def check_keys(self, search: SearchProfile, keys_path: Path, keys_hash: bytes) -> None:
        """Load uploaded evaluation keys in a worker; raises ``BadKeys``."""
        await self._twice(FIRST, worker.check_keys, search, keys_path, keys_hash)

    async def warm(self, search: SearchProfile, keys_path: Path, keys_hash: bytes, block: BlockRef) -> None:
        """Load the keys in every worker; encode the block, within the memory, when there is nothing else to do."""

        async def work(slot: Slot) -> None:
            if self._shelf.has_room(_key(search, block), encoded_bytes(search, self._scheme)):
                await self._on_shelf(
                    search,
                    block,
                    lambda place: slot.call(worker.warm_block, search, keys_path, keys_hash, block, place),
                )

        await asyncio.gather(
            *(slot.call(worker.check_keys, search, keys_path, keys_hash) for slot in self._slots)
        )
        await self._do(IDLE, work)

    async def make_sets(
        self, search: SearchProfile, secrets: Sequence[bytes | None], progress: Progress
    ) -> list[tuple[bytes, bytes] | None]:
        """Make the key sets of these secrets, of fresh ones for None; secret and hash of each, in order.

        Queries of peers come in between. A secret that makes no keys gives None.
        """
        counted = _Counted(len(secrets), progress)

        async def one(secret: bytes | None) -> tuple[bytes, bytes] | None:
            made = None
            # A peer's secret may be anything; what is wrong with it is the caller's to say.
            with suppress(PeerFault, InputError):
                made = await self._twice(OWN, worker.make_set, search, secret)
            counted.step()
            return made

        return await _all([one(secret) for secret in secrets])

    async def write_set(self, search: SearchProfile, secret: bytes, path: Path) -> int:
        """Make the evaluation keys of a secret again, in a file; their length."""
        return await self._do(FIRST, lambda slot: slot.call(worker.write_set, search, secret, path))

    async def encrypt(self, search: SearchProfile, secret: bytes, templates: Any) -> bytes:
        """Encrypt the probes of a query, templates of shape ``(probes, n)``."""
        return await self._twice(FIRST, worker.encrypt, search, secret, templates)

    async def open_answer(
        self, search: SearchProfile, secret: bytes, blocks: list[bytes]
    ) -> list[list[tuple[int, int]]]:
        """Slot and token of what any probe hit, block by block."""
        return await self._twice(FIRST, worker.open_answer, search, secret, blocks)

    async def search(
        self, job: SearchJob, progress: Progress, retried: Callable[[int], None] = lambda _: None
    ) -> list[bytes]:
        """Answer all blocks of a job, in its order; calls ``progress(done, all)`` after each.

        When it is cancelled, no further block begins.

        Args:
            job: What is searched.
            progress: Called with the number of blocks done, and of all.
            retried: Called with the index of each block that a lost worker costs a second attempt.

        Raises:
            BadKeys, BadCiphertext: The requester's input does not load.
            WorkerLost: A worker died twice at the same block.
        """
        counted = _Counted(len(job.blocks), progress)
        name = object()

        async def answer(slot: Slot, block: BlockRef, attempt: int) -> bytes:
            asked = (job.search, job.keys_path, job.keys_hash, job.query, job.probes)
            random = (job.seed, job.exchange_id, attempt)
            return await self._on_shelf(
                job.search, block, lambda spot: slot.call(worker.search_block, *asked, block, *random, spot)
            )

        async def both(slot: Slot, block: BlockRef) -> bytes:
            try:
                return await answer(slot, block, 0)
            except WorkerLost:
                retried(block.index)
                # Another attempt number: the masks of a lost attempt are never used again.
                return await answer(slot, block, 1)

        async def timed(slot: Slot, block: BlockRef) -> bytes:
            start = time.monotonic()
            found = await both(slot, block)
            self._pace += ((time.monotonic() - start) / job.probes - self._pace) / 8
            return found

        async def one(block: BlockRef) -> bytes:
            self._waiting += job.probes
            try:
                found = await self._do(job.peer, lambda slot: timed(slot, block), name, job.probes)
            finally:
                self._waiting -= job.probes
            counted.step()
            return found

        self._lanes.begin(name, job.probes * prepared_bytes(job.search, self._scheme))
        try:
            return await _all([one(block) for block in job.blocks])
        finally:
            self._lanes.end(name)
            self._give_out()

    async def _on_shelf(
        self,
        search: SearchProfile,
        block: BlockRef,
        use: Callable[[worker.Spot | None], Awaitable[T]],
    ) -> T:
        """Do something with the place of an encoded block; with None if it has none now."""
        key = _key(search, block)
        gallery = (block.modality, block.profile_digest)
        place: Place | None = None
        if self._scheme.responder.keeps_words(self._scheme.plan_for(search)):
            size = encoded_bytes(search, self._scheme)
            place = self._shelf.borrow(key, gallery, block.version, size)
        if place is None:
            return await use(None)
        is_there = place.is_filled
        try:
            found = await use(worker.Spot(place.offset, is_there))
            is_there = True
            return found
        finally:
            self._shelf.give_back(key, filled=is_there)


def _key(search: SearchProfile, block: BlockRef) -> Hashable:
    return search, block.sha256


async def _all(pieces: Sequence[Awaitable[T]]) -> list[T]:
    """All results, in order; the first failure ends the rest."""
    tasks = [asyncio.ensure_future(one) for one in pieces]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
