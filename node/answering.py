"""The responder's side at work: admit, search, hand over, take the requester's report."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any, Final

from crypto.contexts import Context, hash_fields
from crypto.errors import BadCiphertext, BadKeys, ConcordatError
from node.bodies import Kind
from node.core import NodeCore
from node.driver import CoreThread, Driver
from node.engine import Engine, SearchJob
from node.errors import TooBusy, WorkerLost
from node.kept_queries import KeptQuery
from node.logging import log
from node.query_arrivals import QueryArrivals
from node.quorum import Quorum
from node.search_plan import plan_search
from node.sessions import SessionStore
from protocol import limits
from protocol.errors import RefusalReason, UnknownExchange
from protocol.exchange import commands, events
from protocol.exchange.responder import ResponderSession, ResponderState
from protocol.messages import ReportSubmission
from protocol.statements import answer_block_hash, answer_blocks_digest

ROLE: Final = "r"
PRUNE_EVERY_S: Final = 3600.0
DECISION_WAIT_S: Final = 20.0
"""How long a request waits for an entry to be logged before the peer is told to try later."""


class Answering(Driver[ResponderSession]):
    """All queries that this node is asked."""

    def __init__(self, core: NodeCore, thread: CoreThread, engine: Engine, quorum: Quorum) -> None:
        super().__init__(core, thread, SessionStore(core, ROLE, ResponderSession.restore))
        self._engine = engine
        self._quorum = quorum
        self._arrivals = QueryArrivals(core, engine, self.store)
        self._searches: dict[bytes, asyncio.Task[Any]] = {}
        self._answers: dict[bytes, bytes] = {}

    # What peers ask for

    async def submit(self, peer: str, submission: bytes, ciphertext: bytes) -> bytes:
        """Take a query; the bytes of the ``ExchangeStatus`` once the decision is on the ledger.

        Raises:
            PeerFault: The submission is not acceptable at all; nothing is logged.
            TooBusy: The ledger does not take the decision now.
            StorageFailed: The disk refused; nothing was accepted.
        """
        seen_size = await self.thread(self._arrivals.take_witnessed, peer, submission)
        admission, step_key = await self.thread(self._arrivals.admit, peer, submission, ciphertext)
        if admission.fault is not None:
            raise admission.fault
        if admission.session is not None:
            await self.dispatch(step_key, admission.step)
        return await self.status(step_key, seen_size, DECISION_WAIT_S)

    async def resume(self) -> int:
        """As for every driver; and from now on kept probes go when their time has come."""
        self._spawn(self._prune())
        return await super().resume()

    async def _prune(self) -> None:
        while True:
            try:
                await self.thread(lambda: self.core.kept.prune(self.core.clock()))
            except ConcordatError as error:
                log("kept queries were not dropped", level="error", code=error.code)
            await asyncio.sleep(PRUNE_EVERY_S)

    async def find(self, peer: str, exchange_id: bytes) -> bytes:
        """The key of the exchange that this peer opened; raises ``UnknownExchange``."""
        key = await self.thread(self.core.state.opened_by, peer, exchange_id)
        if key is None:
            raise UnknownExchange("no such exchange of yours")
        return key

    async def status(self, key: bytes, seen_size: int, wait_s: float) -> bytes:
        """The bytes of the ``ExchangeStatus``, with evidence from the size that the peer has seen."""
        if not await self.wait_for(key, lambda session: session.status() is not None, wait_s):
            raise TooBusy("the decision is not on the ledger yet")
        peer = await self.thread(self.store.peer_of, key)
        await self._quorum.require(await self.thread(self._covering, key, seen_size), peer)

        def build() -> bytes:
            parts = self.store.get(key).status()
            if parts is None:
                raise TooBusy("the decision is not on the ledger yet")
            return parts.to_bytes(
                lambda index: self.core.evidence(index, seen_size, peer), self.core.witnessing.returned(peer)
            )

        return await self.thread(build)

    async def report(self, key: bytes, body: bytes) -> bytes:
        """Take the requester's report; the bytes of the ``ReceiptReply`` once its claim is on the ledger."""
        submission = ReportSubmission.from_bytes(body)
        peer, seen_size = await self.thread(self.store.peer_of, key), submission.seen_size
        await self.thread(self.core.witnessing.take, peer, submission.witnessed, seen_size)
        step = await self.feed(key, events.ReportReceived(body, None))
        if step.fault is not None:
            raise step.fault
        if not await self.wait_for(key, lambda session: session.receipt() is not None, DECISION_WAIT_S):
            raise TooBusy("the report is not on the ledger yet")
        await self._quorum.require(await self.thread(self._covering, key, seen_size), peer)

        def build() -> bytes:
            parts = self.store.get(key).receipt()
            if parts is None:
                raise TooBusy("the report is not on the ledger yet")
            witnessed = self.core.witnessing.returned(peer) or b""
            return parts.to_bytes(lambda index: self.core.evidence(index, seen_size, peer), witnessed)

        return await self.thread(build)

    def _covering(self, key: bytes, seen_size: int) -> int:
        """The size of a checkpoint that covers every entry of an exchange and continues what the peer has seen."""
        record = self.store.get(key).record
        indices = (record.decision_index, record.answer_index, record.claim_index)
        return max(seen_size, *(index + 1 for index in indices if index is not None))

    async def answer_of(self, key: bytes) -> tuple[Any, int]:
        """Path and length of the stored answer; raises ``UnknownExchange`` when there is none (any more)."""
        session = await self.thread(self.store.get, key)
        record = session.record
        if record.answer is None or record.answer_hash is None:
            raise UnknownExchange("the exchange has no answer")
        length = record.blocks * record.answer_block_bytes
        if not self.core.bodies.has(Kind.ANSWER, record.answer_hash, length):
            raise UnknownExchange("the answer has been handed over and is gone")
        return self.core.bodies.path(Kind.ANSWER, record.answer_hash), length

    async def served(self, key: bytes) -> None:
        """The last byte of the answer went out."""
        await self._deliver(key, events.AnswerServed())

    # Commands

    async def perform(self, key: bytes, command: Any) -> Any:
        match command:
            case commands.StartSearch():
                await self._run_search(key, command)
                return None
            case commands.StopSearch():
                task = self._searches.get(key)
                if task is not None:
                    task.cancel()
                return None
            case commands.DiscardBodies():
                await self.thread(self._discard, key)
                return None
        raise TypeError(f"no responder performs {type(command).__name__}")

    async def _run_search(self, key: bytes, command: commands.StartSearch) -> None:
        task = asyncio.create_task(self._search(key, command))
        self._searches[key] = task
        try:
            event = await task
        except asyncio.CancelledError:
            if not task.cancelled():
                task.cancel()  # the node stops; otherwise the search alone was stopped
                raise
            return
        finally:
            self._searches.pop(key, None)
        await self._deliver(key, event)

    async def _search(self, key: bytes, command: commands.StartSearch) -> Any:
        started = time.monotonic()
        try:
            work = await self.thread(lambda: plan_search(self.core, key, command, self.store.peer_of(key)))
            reports: set[asyncio.Task[None]] = set()

            def progress(done: int, total: int) -> None:
                event = events.SearchProgressed(done, total)
                report = asyncio.create_task(self._deliver(key, event))
                reports.add(report)
                report.add_done_callback(reports.discard)

            retried: list[int] = []
            blocks = await self._engine.search(work.job, progress, retried.append)
            if await self.thread(self._stopped, key):
                return events.SearchFailed(command.attempt, RefusalReason.PEER_SUSPENDED)
            if len(retried) > limits.MAX_RETRIED:
                raise WorkerLost("more workers died than an answer may cost")
            await asyncio.gather(*reports)
            name = await self.thread(self._store, key, blocks)
            hashes = await asyncio.to_thread(lambda: [answer_block_hash(block) for block in blocks])
            await self.thread(self._keep_query, key, work.job, hashes)
        except BadCiphertext:
            return events.SearchFailed(command.attempt, RefusalReason.BAD_CIPHERTEXT)
        except BadKeys:
            return events.SearchFailed(command.attempt, RefusalReason.KEYS_UNKNOWN)
        except ConcordatError as error:
            log("a search failed", level="error", exchange=command.exchange_id, code=error.code)
            return events.SearchFailed(command.attempt, RefusalReason.INTERNAL)
        seconds = time.monotonic() - started
        log("searched", exchange=command.exchange_id, blocks=len(blocks), seconds=round(seconds, 3))
        return events.SearchFinished(
            attempt=command.attempt,
            answer_hash=name,
            blocks=len(blocks),
            gallery_commitment=work.commitment,
            seed_commitment=hash_fields(Context.SEED_COMMITMENT, work.job.seed),
            records=work.records,
            compute_ms=int(1000 * seconds),
            seed=work.job.seed,
            retried=tuple(sorted(retried)),
            answer_blocks=answer_blocks_digest(hashes),
        )

    def _store(self, key: bytes, blocks: list[bytes]) -> bytes:
        """Store an answer, to go with its exchange even if the search is called off meanwhile; its name."""
        name = self._answers[key] = self.core.bodies.put(Kind.ANSWER, b"".join(blocks))
        return name

    def _keep_query(self, key: bytes, job: SearchJob, block_hashes: list[bytes]) -> None:
        name = hash_fields(Context.CIPHERTEXT, job.query)
        size, hashes = len(job.query), tuple(block_hashes)
        self.core.kept.keep(KeptQuery(key, job.exchange_id, name, size, self.core.clock(), hashes))

    def _stopped(self, key: bytes) -> bool:
        """Whether exchanges with the requester were suspended while its query was worked on."""
        return bool(self.core.suspension(self.store.peer_of(key)))

    def _discard(self, key: bytes) -> None:
        session = self.store.get(key)
        if session.state is not ResponderState.REFUSED:
            # What a refused query names was never kept for it, and may belong to another.
            self.core.kept.discard(session.query.ciphertext_hash)
        for name in {self._answers.pop(key, b""), session.record.answer_hash or b""} - {b""}:
            self.core.bodies.remove(Kind.ANSWER, name)

    def needed(self) -> set[tuple[Kind, bytes]]:
        """The bodies that open exchanges still need, and those that are kept for audits."""
        found = self.core.kept.bodies()
        for key in self.store.open_keys():
            session = self.store.get(key)
            record = session.record
            if session.state is ResponderState.UNREPORTED:
                continue
            found.add((Kind.CIPHERTEXT, session.query.ciphertext_hash))
            if record.answer_hash is not None:
                found.add((Kind.ANSWER, record.answer_hash))
        return found

    async def close(self) -> None:
        for task in list(self._searches.values()):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await super().close()
