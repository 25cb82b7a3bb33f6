"""The requester's side at work: every query that this node asks, from its opening to its end.

The probe itself lives in memory only, until it is encrypted: a restart before that ends the query, and nothing
has left this machine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from crypto.errors import ConcordatError
from crypto.profiles import Profile
from crypto.templates import Template
from node.answer_opening import AnswerOpening
from node.bodies import Bodies, Kind
from node.core import NodeCore
from node.driver import CoreThread, Driver
from node.engine import Engine
from node.errors import CalledOff, PeerSuspended
from node.logging import log
from node.peer import PeerClient
from node.query_requests import QueryRequests
from node.quorum import Quorum
from node.registering import Registering
from node.sessions import SessionStore
from protocol.agreement import Agreement
from protocol.errors import Refused
from protocol.exchange import commands, events
from protocol.exchange.request import QueryRequest
from protocol.exchange.requester import RequesterSession
from protocol.exchange.session import Step
from protocol.policy import allow

ROLE: Final = "q"


@dataclass(frozen=True, slots=True, repr=False)
class Probe:
    """What is asked for, in memory only: the templates of one person, as many as the profile asks for."""

    profile: Profile
    templates: Template


class Asking(Driver[RequesterSession]):
    """All queries that this node asks."""

    def __init__(
        self,
        core: NodeCore,
        thread: CoreThread,
        engine: Engine,
        client: PeerClient,
        quorum: Quorum,
        registering: Registering,
    ) -> None:
        super().__init__(core, thread, SessionStore(core, ROLE, RequesterSession.restore))
        self._engine = engine
        self._registering = registering
        self._requests = QueryRequests(core, thread, self.store, client, quorum, registering)
        self._opening = AnswerOpening(core, thread, engine, registering.own_keys)
        self._probes: dict[bytes, Probe] = {}
        self._unopened: dict[bytes, bool] = {}

    @property
    def _bodies(self) -> Bodies:
        return self.core.bodies

    # Opening an exchange

    async def ask(
        self,
        request: QueryRequest,
        agreement: Agreement | None,
        probe: Probe,
        report: Callable[[dict[str, Any]], None] = lambda _: None,
    ) -> bytes:
        """Open one exchange; its id. Keys are registered only for a query that our own policy allows.

        Raises:
            CalledOff: It was called off before.
            KeysNotRegistered: The peer has no keys of ours for this epoch, and does not take them.
            PeerSuspended: Exchanges with that peer are stopped.
            OwnLedgerContradicted: Our own ledger is not the one that was signed.
        """
        key = request.exchange_id
        self._unopened[key] = False
        try:
            await self._open(request, agreement, probe, report)
            late = self._unopened[key]
        finally:
            del self._unopened[key]
        if late:
            await self.call_off(key)
        return key

    async def call_off(self, key: bytes) -> None:
        """End an exchange that has no outcome yet; raises ``UnknownExchange``."""
        if key in self._unopened:
            self._unopened[key] = True
        else:
            await self.feed(key, events.Cancelled())

    async def _open(
        self,
        request: QueryRequest,
        agreement: Agreement | None,
        probe: Probe,
        report: Callable[[dict[str, Any]], None],
    ) -> None:
        peer = request.responder
        await self.thread(self._require_standing, peer)
        if agreement is not None and await self.thread(self._allowed, request, agreement):
            target_of = self._registering.own_keys.target_of
            wanted = await self.thread(target_of, agreement, probe.profile.digest)
            keys = await self._registering.keys_for(wanted, report)
            request = request.model_copy(update={"evaluation_keys": keys.hash})
        key = request.exchange_id
        if self._unopened[key]:
            raise CalledOff("the question was called off before it was asked")
        self._probes[key] = probe
        try:
            step = await self.thread(self._start, request, agreement)
        except BaseException:
            self._probes.pop(key, None)
            raise
        log("query opened", exchange=key, peer=peer)
        await self.dispatch(key, step)

    def _require_standing(self, peer: str) -> None:
        self.core.witnessing.require_sound()
        if self.core.suspension(peer):
            raise PeerSuspended(f"exchanges with {peer} are suspended; see: concordat peer show")

    def _allowed(self, request: QueryRequest, agreement: Agreement | None) -> bool:
        if not self.core.enforces_own_policy:
            return True
        try:
            allow(agreement, request, self.core.clock(), self.store.spent)
        except Refused:
            return False
        return True

    def _start(self, request: QueryRequest, agreement: Agreement | None) -> Step:
        session, step = RequesterSession.start(
            request,
            agreement,
            self.core.parties(request.responder),
            self.core.clock(),
            self.store.spent,
            enforce_own_policy=self.core.enforces_own_policy,
        )
        self.store.add(request.exchange_id, request.exchange_id, request.responder, session, step)
        return step

    # Commands

    async def perform(self, key: bytes, command: Any) -> Any:
        peer = getattr(command, "peer", None)
        if peer in self.core.witnessing.owed:
            log("a peer first owes a proof of one history", level="warning", peer=peer)
            return events.PeerUnreachable()
        if peer is not None and bool(await self.thread(self.core.suspension, peer)):
            return events.PeerUnreachable()
        match command:
            case commands.EncryptProbe():
                return await self._encrypt(key)
            case commands.SendQuery():
                return await self._requests.send_query(command)
            case commands.FetchStatus():
                return await self._requests.fetch_status(command)
            case commands.SendReport():
                return await self._requests.send_report(command)
            case commands.FetchAnswer():
                return await self._requests.fetch_answer(command)
            case commands.OpenAnswer():
                request = (await self.thread(self.store.get, key)).record.request
                return await self._opening.open(command, request)
            case commands.DiscardBodies():
                await self.thread(self._discard, key)
                return None
        raise TypeError(f"no requester performs {type(command).__name__}")

    async def _encrypt(self, key: bytes) -> Any:
        probe = self._probes.pop(key, None)
        if probe is None:
            return events.ProbeFailed()
        try:
            request = (await self.thread(self.store.get, key)).record.request
            secret = await self.thread(
                self._registering.own_keys.secret_of, request.evaluation_keys, request.responder
            )
            ciphertext = await self._engine.encrypt(probe.profile.search, secret, probe.templates)
            name = await self.thread(self._bodies.put, Kind.CIPHERTEXT, ciphertext)
        except ConcordatError as error:
            log("the probe could not be encrypted", level="error", exchange=key, code=error.code)
            return events.ProbeFailed()
        return events.ProbeEncrypted(name, len(ciphertext))

    def needed(self) -> set[tuple[Kind, bytes]]:
        """The bodies that open exchanges still need."""
        found: set[tuple[Kind, bytes]] = set()
        for key in self.store.open_keys():
            session = self.store.get(key)
            if session.record.query is not None:
                found.add((Kind.CIPHERTEXT, session.query.ciphertext_hash))
            if session.record.answer is not None:
                found.add((Kind.ANSWER, session.record.header.answer_hash))
        return found

    def _discard(self, key: bytes) -> None:
        session = self.store.get(key)
        self._probes.pop(key, None)
        if session.record.query is not None:
            self._bodies.remove(Kind.CIPHERTEXT, session.query.ciphertext_hash)
        if session.record.answer is not None:
            self._bodies.remove(Kind.ANSWER, session.record.header.answer_hash)
