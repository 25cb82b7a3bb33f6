"""Two nodes over a network in memory, with a clock of its own, lost and repeated messages, and kills.

A node keeps on its "disk" what a real one keeps (ledger, snapshots, newest heads, bodies) and loses all else when
it is killed. A kill happens at a numbered *point*: before and after every durable write, and before every
command and reply. After a pause the node restores its sessions and feeds them ``Restarted``.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from memory_ledger import MemoryLedger
from parties import KEYS, PLAN, PROFILE, in_use, ledger_signer, parties

from crypto.contexts import Context, hash_fields
from crypto.errors import PeerFault
from protocol import limits
from protocol.agreement import Agreement
from protocol.errors import TryLater, UnknownExchange
from protocol.evidence import StaleCheckpoint
from protocol.exchange import commands, events
from protocol.exchange.admission import Arrival, StoredQuery, Surroundings, admit
from protocol.exchange.parties import Seen
from protocol.exchange.request import QueryRequest
from protocol.exchange.requester import RequesterSession
from protocol.exchange.responder import ResponderSession
from protocol.exchange.session import Step
from protocol.messages import (
    ErrorReply,
    ExchangeStatus,
    QuerySubmission,
    ReceiptReply,
    ReportSubmission,
    message_hash,
)
from protocol.policy import Quota
from protocol.witnessing import cosign, open_witnessed, witness_signer

TIMEOUT = 2_000
RESTART = 1_500
Reply = Callable[[str, bytes], None]


class Killed(Exception):
    """The process is gone; only its disk remains."""


@dataclass
class Faults:
    """How the network misbehaves: probabilities, drawn from the world's random numbers."""

    drop: float = 0.0
    duplicate: float = 0.0
    delay: int = 5


@dataclass
class Disk:
    """What survives a kill."""

    ledger: MemoryLedger
    sessions: dict[bytes, bytes] = field(default_factory=dict)
    stored: dict[bytes, list[StoredQuery]] = field(default_factory=dict)
    seen: Seen | None = None
    cosigned: dict[int, bytes] = field(default_factory=dict)
    conflicts: list[bytes] = field(default_factory=list)
    bodies: set[bytes] = field(default_factory=set)
    spent: dict[tuple[str, bytes], Quota] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)


class World:
    """The clock, the network, and the kill switch."""

    def __init__(self, seed: int = 0, faults: Faults | None = None) -> None:
        self.random = random.Random(seed)
        self.faults = faults or Faults()
        self.now = 1_800_000_000_000
        self.queue: list[tuple[int, int, Callable[[], None]]] = []
        self.order = itertools.count()
        self.points = 0
        self.kill_at: set[int] = set()
        self.killed: list[str] = []

    def at(self, time_ms: int, action: Callable[[], None]) -> None:
        heapq.heappush(self.queue, (time_ms, next(self.order), action))

    def run(self, until: Callable[[], bool], limit_ms: int = 3 * limits.DAY) -> None:
        end = self.now + limit_ms
        while self.queue and not until():
            time_ms, _, action = heapq.heappop(self.queue)
            assert time_ms <= end, "the exchange did not come to an end"
            self.now = max(self.now, time_ms)
            action()

    def point(self, node: Node) -> None:
        self.points += 1
        if self.points in self.kill_at:
            self.killed.append(node.country)
            node.die()
            raise Killed

    def deliver(self, action: Callable[[], None]) -> None:
        """Carry one message: perhaps not at all, perhaps twice, after a random delay."""
        copies = 2 if self.random.random() < self.faults.duplicate else 1
        for _ in range(copies):
            if self.random.random() >= self.faults.drop:
                self.at(self.now + 1 + self.random.randrange(self.faults.delay), action)


class Node:
    """One node, both roles."""

    def __init__(self, world: World, country: str, peer: str, agreement: Agreement) -> None:
        self.world, self.country, self.agreement = world, country, agreement
        self.parties = parties(country, peer)
        self.disk = Disk(MemoryLedger(ledger_signer(country)))
        self.disk.bodies.add(KEYS)
        self.peer: Node | None = None
        self.life = 0
        self.up = True
        self.busy = 0
        self.append_fails = 0
        self.live: dict[bytes, RequesterSession | ResponderSession] = {}
        self.served: list[bytes] = []
        self.hits = 0
        self.searches: list[bytes] = []
        self.refused_evidence: list[str] = []

    # Life

    def die(self) -> None:
        self.life += 1
        self.up = False
        self.live = {}
        self.world.at(self.world.now + RESTART, self.rise)

    def rise(self) -> None:
        self.up = True
        for key, data in list(self.disk.sessions.items()):
            kind = RequesterSession if data[:1] == b"q" else ResponderSession
            session = kind.restore(data[1:], self.parties)
            assert session.snapshot() == data[1:]
            self.live[key] = session
        for key, session in list(self.live.items()):
            if not session.finished:
                self.guarded(lambda key=key: self.feed(key, events.Restarted()))

    def guarded(self, action: Callable[[], None]) -> None:
        """Do something in this life; a kill inside ends it quietly."""
        life = self.life
        if not self.up:
            return
        try:
            action()
        except Killed:
            assert self.life == life + 1

    def later(self, time_ms: int, action: Callable[[], None]) -> None:
        life = self.life

        def run() -> None:
            if self.life == life:
                self.guarded(action)

        self.world.at(time_ms, run)

    # Sessions

    def ask(self, request: QueryRequest, agreement: Agreement | None = None, enforce: bool = True) -> None:
        session, step = RequesterSession.start(
            request,
            agreement or self.agreement,
            self.parties,
            self.world.now,
            lambda quota: self.spent("q", quota),
            enforce_own_policy=enforce,
        )
        self.guarded(lambda: self.commit(request.exchange_id, session, step))

    def feed(self, key: bytes, event: object) -> Step:
        session = self.live[key]
        step = session.handle(event, self.world.now)
        self.commit(key, session, step)
        return step

    def commit(self, key: bytes, session: RequesterSession | ResponderSession, step: Step) -> None:
        self.world.point(self)
        mark = b"q" if isinstance(session, RequesterSession) else b"r"
        self.disk.sessions[key] = mark + session.snapshot()
        if key not in self.live and isinstance(session, ResponderSession):
            stored = StoredQuery(self.parties.peer.country, session.query_hash)
            self.disk.stored.setdefault(session.record.exchange_id, []).append(stored)
        self.live[key] = session
        for command in step.commands:
            if isinstance(command, commands.RememberCheckpoint):
                if self.disk.seen is None or command.size > self.disk.seen.size:
                    self.disk.seen = Seen(command.size, command.root, command.note, self.world.now)
            elif isinstance(command, commands.KeepEvidence):
                self.disk.kept.append(command.code)
            elif isinstance(command, commands.SpendQuota):
                self.disk.spent[mark.decode(), key] = command.quota
            elif isinstance(command, commands.ReturnQuota):
                self.disk.spent.pop((mark.decode(), key), None)
            elif isinstance(command, commands.SuspendPeer):
                self.disk.conflicts.append(command.conflict)
        self.world.point(self)
        for command in step.commands:
            self.perform(key, command)
        deadline = session.deadline_ms
        if deadline is not None:
            self.later(deadline, lambda: self.on_deadline(key))

    def spent(self, role: str, quota: Quota) -> int:
        return sum(place[0] == role and one == quota for place, one in self.disk.spent.items())

    def on_deadline(self, key: bytes) -> None:
        self.feed(key, events.DeadlinePassed())

    def perform(self, key: bytes, command: commands.Command) -> None:
        now = self.world.now
        when = getattr(command, "not_before_ms", now)
        if when > now:
            self.later(when, lambda: self.perform_now(key, command))
        else:
            self.perform_now(key, command)

    def perform_now(self, key: bytes, command: commands.Command) -> None:
        self.world.point(self)
        match command:
            case commands.AppendEntry():
                self.append(key, command)
            case commands.EncryptProbe():
                body = hash_fields(Context.CIPHERTEXT, key)
                self.disk.bodies.add(body)
                self.later(self.world.now + 20, lambda: self.fed(key, events.ProbeEncrypted(body, 1000)))
            case commands.SendQuery():
                assert "query.intent" in self.disk.ledger.kinds(key), "log before query"
                self.send_query(key, command)
            case commands.FetchStatus():
                seen = self.disk.seen.size if self.disk.seen else 0
                self.call(key, lambda peer, reply: peer.get_status(command.exchange_id, seen, reply))
            case commands.FetchAnswer():
                self.call(key, lambda peer, reply: peer.get_answer(command.exchange_id, reply))
            case commands.OpenAnswer():
                self.later(self.world.now + 10, lambda: self.fed(key, events.AnswerOpened(self.hits)))
            case commands.SendReport():
                self.send_report(key, command)
            case commands.StartSearch():
                assert "query.accepted" in self.disk.ledger.kinds(command.exchange_id), "log before work"
                self.searches.append(command.query_hash)
                self.search(key, command)
            case _:
                pass

    def fed(self, key: bytes, event: object) -> None:
        self.feed(key, event)

    def append(self, key: bytes, command: commands.AppendEntry) -> None:
        if self.append_fails:
            self.append_fails -= 1
            self.feed(key, events.AppendFailed(command.kind))
            return
        index = self.disk.ledger.append(command.statement, command.time_ms)
        self.world.point(self)
        leaf_hash = self.disk.ledger.hashes[index]
        self.feed(key, events.EntryAppended(command.kind, index, leaf_hash))

    def search(self, key: bytes, command: commands.StartSearch) -> None:
        fresh = hash_fields(Context.ANSWER, key, self.world.random.randbytes(16))
        escrow = (bytes(32), (), bytes(32))
        found = events.SearchFinished(command.attempt, fresh, 2, bytes(32), bytes(32), 30_000, 60, *escrow)

        def done() -> None:
            self.disk.bodies.add(fresh)
            self.world.point(self)
            self.feed(key, found)

        self.later(self.world.now + 30, lambda: self.fed(key, events.SearchProgressed(1, 2)))
        self.later(self.world.now + 60, done)

    # Requests

    def call(self, key: bytes, request: Callable[[Node, Reply], None]) -> None:
        """Send a request; feed what comes back, or that nothing came in time."""
        world, done = self.world, [False]

        def arrived(kind: str, body: bytes) -> None:
            def take() -> None:
                if not done[0]:
                    done[0] = True
                    self.feed(key, self.as_event(kind, body))

            life = self.life
            world.deliver(lambda: self.guarded(take) if self.life == life else None)

        peer = self.peer
        assert peer is not None
        world.deliver(lambda: peer.guarded(lambda: request(peer, arrived)))

        def timeout() -> None:
            if not done[0]:
                done[0] = True
                self.feed(key, events.PeerUnreachable())

        self.later(world.now + TIMEOUT, timeout)

    def as_event(self, kind: str, body: bytes) -> object:
        match kind:
            case "status":
                fault = self.take(ExchangeStatus.from_bytes(body).witnessed)
                return events.StatusReceived(body, self.disk.seen, fault)
            case "receipt":
                fault = self.take(ReceiptReply.from_bytes(body).witnessed)
                return events.ReceiptReceived(body, self.disk.seen, fault)
            case "answer":
                return events.AnswerFetched(body, 2 * PLAN.answer_block_bytes)
            case _:
                return events.ErrorReceived(body, self.take(ErrorReply.from_bytes(body).witnessed))

    # Witnessing

    def returned(self) -> bytes | None:
        """The newest checkpoint held of the peer's ledger, cosigned."""
        if self.disk.seen is None:
            return None
        signer = witness_signer(self.country, self.parties.identity, self.world.now)
        return cosign(self.disk.seen.note, self.parties.peer.ledger, signer)

    def take(self, note: bytes | None) -> PeerFault | None:
        """Take our own checkpoint, come back cosigned."""
        if note is None:
            return None
        ledger = self.disk.ledger

        def root_at(size: int) -> bytes | None:
            return ledger.root(size) if size <= len(ledger.leaves) else None

        try:
            found = open_witnessed(
                note, ledger.signer.verifier, self.parties.peer.witness, root_at, self.world.now
            )
        except PeerFault as fault:
            return fault
        self.disk.cosigned[found.head.size] = found.note
        return None

    def send_query(self, key: bytes, command: commands.SendQuery) -> None:
        old = max(self.disk.cosigned, default=0) if command.evidence_from is None else command.evidence_from
        evidence = self.disk.ledger.evidence(command.entry_index, old)
        seen = self.disk.seen.size if self.disk.seen else 0
        body = QuerySubmission(
            query=command.query, evidence=evidence, seen_size=seen, witnessed=self.returned()
        ).to_bytes()
        arrival = Arrival(body, command.ciphertext_hash, PLAN.query_bytes)
        self.call(key, lambda peer, reply: peer.post_query(arrival, reply))

    def send_report(self, key: bytes, command: commands.SendReport) -> None:
        old = max(self.disk.cosigned, default=0) if command.evidence_from is None else command.evidence_from
        evidence = self.disk.ledger.evidence(command.entry_index, old)
        seen = self.disk.seen.size if self.disk.seen else 0
        body = ReportSubmission(
            report=command.report, evidence=evidence, seen_size=seen, witnessed=self.returned()
        ).to_bytes()
        self.call(key, lambda peer, reply: peer.post_report(command.exchange_id, body, reply))

    # Serving

    def surroundings(self) -> Surroundings:
        agreement = self.agreement
        return Surroundings(
            seen=self.disk.seen,
            stored=lambda exchange_id: self.disk.stored.get(exchange_id, []),
            agreement=lambda digest: agreement if digest == agreement.digest else None,
            spent=lambda quota: self.spent("r", quota),
            keys=lambda digest: in_use(agreement, self.world.now) if digest in self.disk.bodies else None,
            plan=lambda digest: PLAN if digest == PROFILE else None,
            busy=self.busy,
        )

    def post_query(self, arrival: Arrival, reply: Reply) -> None:
        submission = QuerySubmission.from_bytes(arrival.submission)
        seen = submission.seen_size
        assert self.take(submission.witnessed) is None
        admission = admit(arrival, self.surroundings(), self.parties, self.world.now)
        if admission.fault is not None:
            stored = admission.fault.stored_size if isinstance(admission.fault, StaleCheckpoint) else None
            self.refuse(admission.fault.code, stored, reply)
            return
        if admission.session is not None:
            self.commit(admission.session.query_hash, admission.session, admission.step)
            self.reply_status(admission.session.query_hash, seen, reply)
        elif admission.known is not None:
            self.reply_status(admission.known, seen, reply)

    def reply_status(self, key: bytes, seen: int, reply: Reply) -> None:
        session = self.live[key]
        assert isinstance(session, ResponderSession)
        parts = session.status()
        if parts is None:
            self.refuse(TryLater.code, None, reply)
            return
        body = parts.to_bytes(lambda index: self.disk.ledger.evidence(index, seen), self.returned())
        self.world.point(self)
        reply("status", body)

    def find(self, exchange_id: bytes) -> ResponderSession | None:
        for stored in self.disk.stored.get(exchange_id, []):
            session = self.live.get(stored.query_hash)
            if isinstance(session, ResponderSession):
                return session
        return None

    def get_status(self, exchange_id: bytes, seen: int, reply: Reply) -> None:
        session = self.find(exchange_id)
        if session is None:
            self.refuse(UnknownExchange.code, None, reply)
        else:
            self.reply_status(session.query_hash, seen, reply)

    def get_answer(self, exchange_id: bytes, reply: Reply) -> None:
        session = self.find(exchange_id)
        servable = session.servable() if session is not None else None
        if session is None or servable is None:
            self.refuse(UnknownExchange.code, None, reply)
            return
        assert "query.answered" in self.disk.ledger.kinds(exchange_id), "log before answer"
        assert servable[0] in self.disk.bodies
        self.world.point(self)
        self.served.append(servable[0])
        reply("answer", servable[0])
        self.feed(session.query_hash, events.AnswerServed())

    def post_report(self, exchange_id: bytes, body: bytes, reply: Reply) -> None:
        session = self.find(exchange_id)
        if session is None:
            self.refuse(UnknownExchange.code, None, reply)
            return
        submission = ReportSubmission.from_bytes(body)
        seen = submission.seen_size
        assert self.take(submission.witnessed) is None
        step = self.feed(session.query_hash, events.ReportReceived(body, self.disk.seen))
        parts = session.receipt()
        if step.fault is not None:
            stored = step.fault.stored_size if isinstance(step.fault, StaleCheckpoint) else None
            self.refuse(step.fault.code, stored, reply)
        elif parts is None:
            self.refuse(TryLater.code, None, reply)
        else:
            witnessed = self.returned()
            assert witnessed is not None
            receipt = parts.to_bytes(lambda index: self.disk.ledger.evidence(index, seen), witnessed)
            self.world.point(self)
            reply("receipt", receipt)

    def refuse(self, code: str, stored_size: int | None, reply: Reply) -> None:
        self.refused_evidence.append(code)
        witnessed = self.returned() if stored_size is not None else None
        body = ErrorReply(code=code, message="not now", stored_size=stored_size, witnessed=witnessed)
        reply("error", body.to_bytes())


def pair(world: World, agreement: Agreement) -> tuple[Node, Node]:
    """The United States asking, Chile answering."""
    one, other = Node(world, "US", "CL", agreement), Node(world, "CL", "US", agreement)
    one.peer, other.peer = other, one
    return one, other


__all__ = ["ExchangeStatus", "Faults", "Node", "ReceiptReply", "World", "message_hash", "pair"]
