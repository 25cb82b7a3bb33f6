"""The requester's side at work: encrypt, ask, fetch, open, report.

The probe itself lives in memory only, until it is encrypted: a restart before that ends the query, and nothing
has left this machine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from crypto.errors import BadCiphertext, ConcordatError, InputError, PeerFault
from crypto.profiles import Profile
from crypto.templates import Template
from node.bodies import Bodies, Kind
from node.claim_limits import doubt_answer
from node.core import NodeCore
from node.driver import CoreThread, Driver
from node.engine import Engine
from node.errors import (
    BelowQuorum,
    BodyMismatch,
    PeerMisbehaved,
    PeerSuspended,
    PeerUnavailable,
    UnknownCertificate,
)
from node.logging import log
from node.peer import Address, PeerClient, Reply
from node.quorum import Quorum
from node.registering import Registering
from node.sessions import SessionStore
from protocol.agreement import Agreement
from protocol.claims import Hit, pack_hits
from protocol.errors import FailureReason, Refused
from protocol.exchange import commands, events
from protocol.exchange.request import QueryRequest
from protocol.exchange.requester import RequesterSession
from protocol.exchange.session import Step
from protocol.messages import (
    AnswerHeader,
    ErrorReply,
    ExchangeStatus,
    QuerySubmission,
    ReceiptReply,
    ReportSubmission,
    Signed,
)
from protocol.policy import allow

ROLE: Final = "q"
OPEN_AT_ONCE: Final = 20_000_000
"""Bytes of an answer in memory, or one block of it: the responder says how many blocks there are, up to many
gigabytes of them, and may make every slot of them a hit."""
OPEN_ATTEMPTS: Final = 3
LENGTH_BYTES: Final = 4


@dataclass(frozen=True, slots=True, repr=False)
class Probe:
    """What is asked for, in memory only: the templates of one person, as many as the profile asks for."""

    profile: Profile
    templates: Template


def frame_query(submission: bytes, ciphertext: bytes) -> bytes:
    """The body of ``POST /v1/queries``: u32 length, submission, ciphertext (specs/wire.md, "Bodies")."""
    return len(submission).to_bytes(LENGTH_BYTES, "big") + submission + ciphertext


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
        self._client = client
        self._quorum = quorum
        self._registering = registering
        self._probes: dict[bytes, Probe] = {}

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
            KeysNotRegistered: The peer has no keys of ours for this epoch, and does not take them.
            PeerSuspended: Exchanges with that peer are stopped.
            OwnLedgerContradicted: Our own ledger is not the one that was signed.
        """
        peer = request.responder
        await self.thread(self._require_standing, peer)
        if agreement is not None and await self.thread(self._allowed, request, agreement):
            offers = self._registering.offers
            wanted = await self.thread(offers.target_of, agreement, probe.profile.digest)
            keys = await self._registering.keys_for(wanted, report)
            request = request.model_copy(update={"evaluation_keys": keys.hash})
        key = request.exchange_id
        self._probes[key] = probe
        try:
            step = await self.thread(self._start, request, agreement)
        except BaseException:
            self._probes.pop(key, None)
            raise
        log("query opened", exchange=key, peer=peer)
        await self.dispatch(key, step)
        return key

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

    async def _secret_of(self, evaluation_keys: bytes, peer: str) -> bytes:
        secret = await self.thread(self._registering.offers.secret_of, evaluation_keys, peer)
        if secret is None:
            raise BadCiphertext("the query keys of this exchange are gone")
        return secret

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
                return await self._asked(self._send_query(command))
            case commands.FetchStatus():
                return await self._asked(self._fetch_status(command))
            case commands.SendReport():
                return await self._asked(self._send_report(command))
            case commands.FetchAnswer():
                return await self._fetch_answer(command)
            case commands.OpenAnswer():
                return await self._open_answer(key, command)
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
            secret = await self._secret_of(request.evaluation_keys, request.responder)
            ciphertext = await self._engine.encrypt(probe.profile.search, secret, probe.templates)
            name = await self.thread(self._bodies.put, Kind.CIPHERTEXT, ciphertext)
        except ConcordatError as error:
            log("the probe could not be encrypted", level="error", exchange=key, code=error.code)
            return events.ProbeFailed()
        return events.ProbeEncrypted(name, len(ciphertext))

    async def _asked(self, request: Any) -> Any:
        """The event of one request: whatever goes wrong on the line is a peer that was not reached."""
        try:
            return await request
        except (PeerUnavailable, PeerMisbehaved, UnknownCertificate, BelowQuorum) as error:
            log("a peer was not reached", level="warning", code=error.code, reason=str(error))
            return events.PeerUnreachable()

    async def _send_query(self, command: commands.SendQuery) -> Any:
        address = await self.thread(self.core.address, command.peer)
        await self._bring_keys(address, command)
        await self._quorum.require(await self.thread(self._covering, command), command.peer)
        submission = await self.thread(self._submission, command)
        ciphertext = await self.thread(self._bodies.read, Kind.CIPHERTEXT, command.ciphertext_hash)
        body = frame_query(submission, ciphertext)
        reply = await self._client.send(address, "POST", "/v1/queries", body)
        return await self.thread(self._understood, command.peer, reply)

    async def _bring_keys(self, address: Address, command: commands.SendQuery) -> None:
        """The peer has the registered keys, unless it has lost them: then it gets them again.

        Raises:
            PeerUnavailable: It does not take them now.
        """
        session = await self.thread(self.store.get, command.exchange_id)
        profile = await self.thread(self.core.profiles.named, session.record.request.profile)
        secret = await self._secret_of(command.evaluation_keys, command.peer)
        await self._registering.upload(address, profile.search, command.evaluation_keys, secret)

    def _submission(self, command: commands.SendQuery) -> bytes:
        seen_size, witnessed = self.core.witnessing.held(command.peer)
        return QuerySubmission(
            query=command.query,
            evidence=self._evidence(command.peer, command.entry_index, command.evidence_from),
            seen_size=seen_size,
            witnessed=witnessed,
        ).to_bytes()

    def _evidence(self, peer: str, index: int, evidence_from: int | None) -> bytes:
        """Evidence of our entry, from the size that the peer says it holds, or that we know it does."""
        return self.core.evidence(index, self._prove_from(peer, evidence_from), peer)

    def _prove_from(self, peer: str, evidence_from: int | None) -> int:
        return evidence_from if evidence_from is not None else self.core.witnessing.told(peer)

    def _covering(self, command: commands.SendQuery | commands.SendReport) -> int:
        """The size of a checkpoint that covers the entry and continues what the peer has seen."""
        return max(command.entry_index + 1, self._prove_from(command.peer, command.evidence_from))

    def _seen_size(self, peer: str) -> int:
        seen = self.core.seen(peer)
        return 0 if seen is None else seen.size

    async def _fetch_status(self, command: commands.FetchStatus) -> Any:
        address = await self.thread(self.core.address, command.peer)
        seen = await self.thread(self._seen_size, command.peer)
        path = f"/v1/queries/{command.exchange_id.hex()}?seen={seen}"
        reply = await self._client.send(address, "GET", path)
        return await self.thread(self._understood, command.peer, reply)

    async def _send_report(self, command: commands.SendReport) -> Any:
        address = await self.thread(self.core.address, command.peer)
        await self._quorum.require(await self.thread(self._covering, command), command.peer)
        body = await self.thread(self._report, command)
        path = f"/v1/queries/{command.exchange_id.hex()}/result"
        reply = await self._client.send(address, "POST", path, body)
        if reply.status == 200:
            fault = await self.thread(self._witnessed, command.peer, ReceiptReply, reply.body)
            return events.ReceiptReceived(reply.body, None, fault)
        return await self.thread(self._refused, command.peer, reply.body)

    def _report(self, command: commands.SendReport) -> bytes:
        seen_size, witnessed = self.core.witnessing.held(command.peer)
        return ReportSubmission(
            report=command.report,
            evidence=self._evidence(command.peer, command.entry_index, command.evidence_from),
            seen_size=seen_size,
            witnessed=witnessed,
        ).to_bytes()

    def _understood(self, peer: str, reply: Reply) -> Any:
        try:
            ErrorReply.from_bytes(reply.body)
        except ConcordatError:
            fault = self._witnessed(peer, ExchangeStatus, reply.body)
            return events.StatusReceived(reply.body, None, fault)
        return self._refused(peer, reply.body)

    def _refused(self, peer: str, body: bytes) -> events.ErrorReceived:
        return events.ErrorReceived(body, self._witnessed(peer, ErrorReply, body))

    def _witnessed(
        self, peer: str, kind: type[ExchangeStatus | ReceiptReply | ErrorReply], body: bytes
    ) -> PeerFault | None:
        """Take our checkpoint that comes with a reply; what is wrong with it, if anything.

        A proof that our own ledger was rolled back goes through: nothing of ours goes on then.
        """
        try:
            reply = kind.from_bytes(body)
        except ConcordatError:
            return None  # the session says what is wrong with an unreadable reply
        try:
            self.core.witnessing.take_reply(peer, reply)
        except PeerFault as fault:
            return fault
        return None

    # The answer

    async def _fetch_answer(self, command: commands.FetchAnswer) -> Any:
        if self._bodies.has(Kind.ANSWER, command.answer_hash, command.answer_bytes):
            return events.AnswerFetched(command.answer_hash, command.answer_bytes)
        address = await self.thread(self.core.address, command.peer)
        path = f"/v1/queries/{command.exchange_id.hex()}/answer"
        try:
            async with self._client.download(address, path) as (reply, chunks):
                if reply.status != 200:
                    return events.ErrorReceived(reply.body)
                await self._bodies.receive(Kind.ANSWER, command.answer_hash, command.answer_bytes, chunks())
        except BodyMismatch:
            return events.AnswerFetched(bytes(32), command.answer_bytes)
        except ConcordatError as error:
            log("an answer was not fetched", level="warning", peer=command.peer, code=error.code)
            return events.PeerUnreachable()
        return events.AnswerFetched(command.answer_hash, command.answer_bytes)

    async def _open_answer(self, key: bytes, command: commands.OpenAnswer) -> Any:
        request = (await self.thread(self.store.get, key)).record.request
        for attempt in range(1, OPEN_ATTEMPTS + 1):
            try:
                profile = await self.thread(self.core.profiles.named, request.profile)
                secret = await self._secret_of(request.evaluation_keys, request.responder)
                size, begin, found = request.answer_block_bytes, 0, list[Hit]()
                while True:
                    piece = (Kind.ANSWER, command.answer_hash, begin, max(1, OPEN_AT_ONCE // size) * size)
                    part = await self.thread(self._bodies.read_part, *piece)
                    if not part:
                        return events.AnswerOpened(len(found), pack_hits(found))
                    blocks = [part[start : start + size] for start in range(0, len(part), size)]
                    try:
                        opened = await self._engine.open_answer(profile.search, secret, blocks)
                    except BadCiphertext as error:
                        return await self._rejected(
                            key, request.responder, FailureReason.BAD_ANSWER, error.code
                        )
                    for block, hits in enumerate(opened, begin // size):
                        found += [Hit(block, slot, token) for slot, token in hits]
                    if len(found) > self.core.config.max_hits:
                        return await self._rejected(
                            key, request.responder, FailureReason.TOO_MANY_HITS, "too-many-hits"
                        )
                    begin += len(part)
            except ConcordatError as error:
                log("an answer was not opened", level="error", exchange=key, code=error.code)
                if attempt == OPEN_ATTEMPTS or isinstance(error, PeerFault | InputError):
                    return events.AnswerUnusable(FailureReason.INTERNAL)
        return None

    async def _rejected(
        self,
        key: bytes,
        peer: str,
        reason: Literal[FailureReason.BAD_ANSWER, FailureReason.TOO_MANY_HITS],
        code: str,
    ) -> events.AnswerUnusable:
        """An answer that is not what an honest search leaves: nothing is read from it, and the peer is doubted."""
        log("an answer is not believed", level="error", exchange=key, peer=peer, code=code)
        await self.thread(doubt_answer, self.core, peer)
        return events.AnswerUnusable(reason)

    def needed(self) -> set[tuple[Kind, bytes]]:
        """The bodies that open exchanges still need."""
        found: set[tuple[Kind, bytes]] = set()
        for key in self.store.open_keys():
            session = self.store.get(key)
            if session.record.query is not None:
                found.add((Kind.CIPHERTEXT, session.query.ciphertext_hash))
            if session.record.answer is not None:
                header = AnswerHeader.from_bytes(Signed.from_bytes(session.record.answer).message)
                found.add((Kind.ANSWER, header.answer_hash))
        return found

    def _discard(self, key: bytes) -> None:
        session = self.store.get(key)
        self._probes.pop(key, None)
        if session.record.query is not None:
            self._bodies.remove(Kind.CIPHERTEXT, session.query.ciphertext_hash)
        if session.record.answer is not None:
            header = AnswerHeader.from_bytes(Signed.from_bytes(session.record.answer).message)
            self._bodies.remove(Kind.ANSWER, header.answer_hash)
