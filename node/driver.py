"""The asyncio shell around the sessions: feeds events, performs commands, keeps time.

Every command may be performed twice, so a crash between storing a step and performing it does no harm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from crypto.errors import ConcordatError, LocalFault
from node.core import NodeCore
from node.errors import StorageFailed
from node.journal import AlreadyRecorded
from node.logging import log
from node.sessions import SessionStore
from node.trust import settle_conflicts
from protocol.errors import EventNotAllowed
from protocol.exchange import events
from protocol.exchange.commands import AppendEntry, KeepEvidence, Stored, SuspendPeer
from protocol.exchange.session import Session, Step
from protocol.statements import QueryAccepted, QueryAnswered

T = TypeVar("T")
S = TypeVar("S", bound=Session[Any])

RETRY_STORAGE_S = 2.0


class CoreThread:
    """The one thread in which the core is used while a node is served."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="core")

    async def __call__(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run a synchronous function of the core."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    def close(self) -> None:
        """Wait for what is under way, then stop."""
        self._pool.shutdown(wait=True)


class Driver(Generic[S]):
    """Runs all sessions of one role. Subclasses perform the commands of that role."""

    def __init__(self, core: NodeCore, thread: CoreThread, store: SessionStore[S]) -> None:
        self.core = core
        self.thread = thread
        self.store = store
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: dict[bytes, asyncio.TimerHandle] = {}
        self._changes: dict[bytes, asyncio.Event] = {}

    async def resume(self) -> int:
        """Take up every exchange that a stop or a crash left open; returns how many."""
        keys = await self.thread(self.store.open_keys)
        for key in keys:
            self._spawn(self._deliver(key, events.Restarted()))
        return len(keys)

    async def close(self) -> None:
        """Stop performing. What was stored is taken up at the next start."""
        for timer in self._timers.values():
            timer.cancel()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def feed(self, key: bytes, event: Any) -> Step:
        """Take one step; its commands are under way on return."""
        step = await self.thread(self.store.advance, key, event)
        await self.dispatch(key, step)
        return step

    async def dispatch(self, key: bytes, step: Step) -> None:
        """Perform the commands of a stored step, and set the session's clock."""
        for command in step.commands:
            if not isinstance(command, Stored):
                self._spawn(self._perform(key, command))
            if isinstance(command, KeepEvidence):
                log("evidence kept", level="warning", peer=command.peer, code=command.code)
            if isinstance(command, SuspendPeer):
                self._spawn(self._settle_conflicts())
        session = await self.thread(self.store.get, key)
        self._set_timer(key, session)
        changed = self._changes.pop(key, None)
        if changed is not None:
            changed.set()

    async def _settle_conflicts(self) -> None:
        """The peer is suspended already; its file and entry may wait for a disk, at the latest until the next start."""
        try:
            await self.thread(settle_conflicts, self.core)
        except ConcordatError as error:
            log("a conflict is not on the ledger yet", level="error", code=error.code)

    async def wait_for(self, key: bytes, ready: Callable[[S], bool], timeout_s: float) -> bool:
        """Wait until the session is as wanted; False when the time is over."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            changed = self._changes.setdefault(key, asyncio.Event())
            if ready(await self.thread(self.store.get, key)):
                return True
            left = deadline - asyncio.get_running_loop().time()
            try:
                await asyncio.wait_for(changed.wait(), left)
            except TimeoutError:
                return False

    def _set_timer(self, key: bytes, session: S) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        if session.deadline_ms is None or session.finished:
            return
        # A wait of more than a day is cut: too early a look does nothing and sets the clock again.
        delay = min(max(0, session.deadline_ms - self.core.clock()) / 1000 + 0.01, 86_400)

        def passed() -> None:
            self._spawn(self._deliver(key, events.DeadlinePassed()))

        self._timers[key] = asyncio.get_running_loop().call_later(delay, passed)

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _perform(self, key: bytes, command: Any) -> None:
        wait = getattr(command, "not_before_ms", 0) - self.core.clock()
        if wait > 0:
            await asyncio.sleep(wait / 1000)
        try:
            if isinstance(command, AppendEntry):
                event = await self.thread(self._append, command)
            else:
                event = await self.perform(key, command)
        except ConcordatError as error:
            step = type(command).__name__
            log("a command failed", level="error", exchange=key, step=step, code=error.code)
            return
        except Exception as error:  # noqa: BLE001 - a fault of ours must show in the log; its details may not
            step = type(command).__name__
            log("a command failed", level="error", exchange=key, step=step, code=type(error).__name__)
            return
        if event is not None:
            await self._deliver(key, event)

    async def perform(self, key: bytes, command: Any) -> Any:
        """Perform one command of this role; the event that came of it, if any."""
        raise NotImplementedError

    async def _deliver(self, key: bytes, event: Any) -> None:
        """Feed until it is stored: what happened must not be lost to a disk that is full for a while."""
        while True:
            try:
                await self.feed(key, event)
            except StorageFailed as error:
                log("a step could not be stored", level="error", exchange=key, reason=str(error))
                await asyncio.sleep(RETRY_STORAGE_S)
            except EventNotAllowed as error:
                log("an event came too late", level="warning", exchange=key, reason=str(error))
                return
            except ConcordatError as error:
                log("a step failed", level="error", exchange=key, code=error.code)
                return
            else:
                return

    def _append(self, command: AppendEntry) -> Any:
        shared = command.statement.shared
        if isinstance(shared, QueryAccepted | QueryAnswered) and self.core.suspension(shared.requester):
            # In the thread in which suspensions are logged: none of these stands behind one.
            log("a peer is suspended", level="warning", exchange=command.exchange_id, step=command.kind)
            return events.AppendFailed(command.kind)
        try:
            recorded = self.core.append(command.statement, command.time_ms)
        except AlreadyRecorded:
            # Only a peer that uses one exchange id for two queries gets here; it gets no second entry.
            log("an exchange id was used twice", level="warning", exchange=command.exchange_id)
            return None
        except LocalFault as error:
            log("an entry failed", level="error", exchange=command.exchange_id, code=error.code)
            return events.AppendFailed(command.kind)
        log("logged", exchange=command.exchange_id, step=command.kind, index=recorded.index)
        return events.EntryAppended(command.kind, recorded.index, recorded.leaf.leaf_hash)
