"""The responder's side at work: admit, search, hand over, take the requester's report."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import time
from dataclasses import dataclass
from typing import Any, Final

from crypto.contexts import Context, hash_fields
from crypto.errors import BadCiphertext, BadKeys, ConcordatError
from crypto.hitsearch.masks import MaskStream
from crypto.hitsearch.parameters import plan_for
from crypto.hitsearch.passes import probes_of
from node.bodies import Kind
from node.core import NodeCore
from node.driver import CoreThread, Driver
from node.engine import Engine, SearchJob
from node.errors import NoSuchGallery, TooBusy, WorkerLost
from node.kept_queries import KeptQuery
from node.key_state import ANSWERING, KeyState
from node.known_profiles import plan_sizes
from node.logging import log
from node.quorum import Quorum
from node.sessions import SessionStore
from protocol import limits
from protocol.errors import RefusalReason, UnknownExchange
from protocol.exchange import commands, events
from protocol.exchange.admission import Admission, Arrival, StoredQuery, Surroundings, admit
from protocol.exchange.parties import PlanSizes
from protocol.exchange.responder import ResponderSession, ResponderState
from protocol.messages import QuerySubmission, ReportSubmission
from protocol.registration import InUse
from protocol.statements import answer_block_hash, answer_blocks_digest

ROLE: Final = "r"
UNANSWERED: Final = frozenset(
    {ResponderState.LOGGING_ACCEPTANCE, ResponderState.WORKING, ResponderState.LOGGING_ANSWER}
)
"""Accepted, with work to be done: what ``max_waiting_queries`` is about."""
PRUNE_EVERY_S: Final = 3600.0
DECISION_WAIT_S: Final = 20.0
"""How long a request waits for an entry to be logged before the peer is told to try later."""


@dataclass(frozen=True, slots=True)
class _Search:
    """What one attempt at an answer is made of."""

    job: SearchJob
    commitment: bytes
    records: int


class Answering(Driver[ResponderSession]):
    """All queries that this node is asked."""

    def __init__(self, core: NodeCore, thread: CoreThread, engine: Engine, quorum: Quorum) -> None:
        super().__init__(core, thread, SessionStore(core, ROLE, ResponderSession.restore))
        self._engine = engine
        self._quorum = quorum
        self._keys = KeyState(core.state)
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
        seen_size = await self.thread(self._take_witnessed, peer, submission)
        admission, step_key = await self.thread(self._admit, peer, submission, ciphertext)
        if admission.fault is not None:
            raise admission.fault
        if admission.session is not None:
            await self.dispatch(step_key, admission.step)
        return await self.status(step_key, seen_size, DECISION_WAIT_S)

    def _admit(self, peer: str, submission: bytes, ciphertext: bytes) -> tuple[Admission, bytes]:
        known = self.core.bodies
        name = hash_fields(Context.CIPHERTEXT, ciphertext)
        present = known.has(Kind.CIPHERTEXT, name, len(ciphertext))
        if not present:
            known.put(Kind.CIPHERTEXT, ciphertext)
        kept = False
        try:
            admission = admit(
                Arrival(submission, name, len(ciphertext)),
                self._surroundings(peer),
                self.core.parties(peer),
                self.core.clock(),
            )
            session = admission.session
            if session is not None:
                key = session.query_hash
                exchange_id = session.query.exchange_id
                self.store.add(key, exchange_id, peer, session, admission.step)
                kept = session.state is not ResponderState.LOGGING_REFUSAL
                log("query received", exchange=session.query.exchange_id, peer=peer, state=session.state)
            elif admission.known is not None:
                key = admission.known
            else:
                key = b""
                self._keep(peer, admission)
        finally:
            if not kept and not present:
                known.remove(Kind.CIPHERTEXT, name)
        return admission, key

    def _keep(self, peer: str, admission: Admission) -> None:
        code = admission.fault.code if admission.fault is not None else ""
        log("a submission was not taken", level="warning", peer=peer, code=code)

    def _take_witnessed(self, peer: str, submission: bytes) -> int:
        """Take our checkpoint that comes with a query; the size from which the peer wants evidence."""
        query = QuerySubmission.from_bytes(submission)
        self.core.witnessing.take(peer, query.witnessed, query.seen_size)
        return query.seen_size

    def _stored(self, exchange_id: bytes) -> list[StoredQuery]:
        """The queries under an exchange id; our own statements under it count as one that nobody can repeat."""
        found = [StoredQuery(*one) for one in self.core.state.asked_under(exchange_id)]
        if not found and self.core.journal.has(exchange_id):
            found.append(StoredQuery(self.core.country, b""))
        return found

    def _surroundings(self, peer: str) -> Surroundings:
        core = self.core
        plans = {one.profile_digest for one in core.galleries.partitions()}

        def plan(digest: bytes) -> PlanSizes | None:
            return plan_sizes(core.profiles.named(digest)) if digest in plans else None

        return Surroundings(
            seen=core.seen(peer),
            stored=self._stored,
            agreement=lambda digest: core.agreements.named(digest, peer),
            spent=self.store.spent,
            keys=lambda name: self._in_use(name, peer),
            plan=plan,
            busy=self._busy_s(peer),
            suspended=bool(core.suspension(peer)),
        )

    def _busy_s(self, peer: str) -> int:
        """Seconds until there is room for a query of this peer; 0 if there is. Nobody takes more than half of it."""
        store, places = self.store, self.core.config.max_waiting_queries
        peers = [store.peer_of(key) for key in store.open_keys() if store.get(key).state in UNANSWERED]
        if len(peers) < places and peers.count(peer) < -(-places // 2):
            return 0
        return min(max(1, math.ceil(self._engine.waiting_s())), limits.MAX_RETRY_AFTER_S)

    def _in_use(self, name: bytes, peer: str) -> InUse | None:
        row = self._keys.keys(ANSWERING, name, peer)
        if row is None or (not row.is_gone and not self.core.bodies.path(Kind.KEYS, name).exists()):
            return None
        target = row.target
        return InUse(target.plan, target.epoch_days, target.epoch, row.sets)

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
            work = await self.thread(self._plan_search, key, command)
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

    def _plan_search(self, key: bytes, command: commands.StartSearch) -> _Search:
        core = self.core
        profile = core.profiles.named(command.profile)
        if plan_for(profile.search).identifier != command.plan:
            raise BadCiphertext("encrypted under another plan")
        gallery = next(
            (
                one
                for one in core.galleries.partitions()
                if (one.modality, one.profile_digest) == (command.modality, command.profile)
            ),
            None,
        )
        if gallery is None:
            raise NoSuchGallery("the gallery is gone")
        blocks = core.galleries.blocks(command.modality, command.profile)
        seed = os.urandom(32)
        # From the seed like all else that is random in an answer, so that an audit can repeat it.
        order = MaskStream(seed, command.exchange_id, None, 0).order(len(blocks))
        blocks = [blocks[position] for position in order]
        core.state.put_seed(key, command.attempt, core.seal(b"seed/" + key, seed))
        job = SearchJob(
            search=profile.search,
            keys_path=core.bodies.path(Kind.KEYS, command.evaluation_keys),
            keys_hash=command.evaluation_keys,
            query=core.bodies.read(Kind.CIPHERTEXT, command.ciphertext_hash),
            exchange_id=command.exchange_id,
            seed=seed,
            blocks=tuple(blocks),
            peer=self.store.peer_of(key),
            probes=probes_of(profile),
        )
        return _Search(job, gallery.commitment, gallery.records)

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
