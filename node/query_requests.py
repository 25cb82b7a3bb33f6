"""The requests of one exchange to the peer that is asked, and the event that each leads to.

Source: specs/wire.md, section "Endpoints".
"""

from __future__ import annotations

from typing import Any, Final

from crypto.errors import ConcordatError, PeerFault
from node.bodies import Kind
from node.core import NodeCore
from node.driver import CoreThread
from node.errors import BelowQuorum, BodyMismatch, PeerMisbehaved, PeerUnavailable, UnknownCertificate
from node.logging import log
from node.peer import Address, PeerClient, Reply
from node.quorum import Quorum
from node.registering import Registering
from node.sessions import SessionStore
from protocol.exchange import commands, events
from protocol.exchange.requester import RequesterSession
from protocol.messages import ErrorReply, ExchangeStatus, QuerySubmission, ReceiptReply, ReportSubmission

LENGTH_BYTES: Final = 4


def frame_query(submission: bytes, ciphertext: bytes) -> bytes:
    """The body of ``POST /v1/queries``: u32 length, submission, ciphertext (specs/wire.md, "Bodies")."""
    return len(submission).to_bytes(LENGTH_BYTES, "big") + submission + ciphertext


class QueryRequests:
    """What a requester sends and fetches."""

    def __init__(
        self,
        core: NodeCore,
        thread: CoreThread,
        store: SessionStore[RequesterSession],
        client: PeerClient,
        quorum: Quorum,
        registering: Registering,
    ) -> None:
        self._core = core
        self._thread = thread
        self._store = store
        self._client = client
        self._quorum = quorum
        self._registering = registering

    async def send_query(self, command: commands.SendQuery) -> Any:
        """The query, once the peer holds its keys and our ledger has its quorum."""
        return await self._asked(self._send_query(command))

    async def fetch_status(self, command: commands.FetchStatus) -> Any:
        """What the peer decided, and how far it is."""
        return await self._asked(self._fetch_status(command))

    async def send_report(self, command: commands.SendReport) -> Any:
        """What became of the answer."""
        return await self._asked(self._send_report(command))

    async def _asked(self, request: Any) -> Any:
        """The event of one request: whatever goes wrong on the line is a peer that was not reached."""
        try:
            return await request
        except (PeerUnavailable, PeerMisbehaved, UnknownCertificate, BelowQuorum) as error:
            log("a peer was not reached", level="warning", code=error.code, reason=str(error))
            return events.PeerUnreachable()

    async def _send_query(self, command: commands.SendQuery) -> Any:
        address = await self._thread(self._core.address, command.peer)
        await self._bring_keys(address, command)
        await self._quorum.require(await self._thread(self._covering, command), command.peer)
        submission = await self._thread(self._submission, command)
        ciphertext = await self._thread(self._core.bodies.read, Kind.CIPHERTEXT, command.ciphertext_hash)
        body = frame_query(submission, ciphertext)
        reply = await self._client.send(address, "POST", "/v1/queries", body)
        return await self._thread(self._understood, command.peer, reply)

    async def _bring_keys(self, address: Address, command: commands.SendQuery) -> None:
        """The peer has the registered keys, unless it has lost them: then it gets them again.

        Raises:
            PeerUnavailable: It does not take them now.
        """
        session = await self._thread(self._store.get, command.exchange_id)
        profile = await self._thread(self._core.profiles.named, session.record.request.profile)
        secret_of = self._registering.own_keys.secret_of
        secret = await self._thread(secret_of, command.evaluation_keys, command.peer)
        await self._registering.upload(address, profile.search, command.evaluation_keys, secret)

    def _submission(self, command: commands.SendQuery) -> bytes:
        seen_size, witnessed = self._core.witnessing.held(command.peer)
        return QuerySubmission(
            query=command.query,
            evidence=self._evidence(command.peer, command.entry_index, command.evidence_from),
            seen_size=seen_size,
            witnessed=witnessed,
        ).to_bytes()

    def _evidence(self, peer: str, index: int, evidence_from: int | None) -> bytes:
        """Evidence of our entry, from the size that the peer says it holds, or that we know it does."""
        return self._core.evidence(index, self._prove_from(peer, evidence_from), peer)

    def _prove_from(self, peer: str, evidence_from: int | None) -> int:
        return evidence_from if evidence_from is not None else self._core.witnessing.told(peer)

    def _covering(self, command: commands.SendQuery | commands.SendReport) -> int:
        """The size of a checkpoint that covers the entry and continues what the peer has seen."""
        return max(command.entry_index + 1, self._prove_from(command.peer, command.evidence_from))

    def _seen_size(self, peer: str) -> int:
        seen = self._core.seen(peer)
        return 0 if seen is None else seen.size

    async def _fetch_status(self, command: commands.FetchStatus) -> Any:
        address = await self._thread(self._core.address, command.peer)
        seen = await self._thread(self._seen_size, command.peer)
        path = f"/v1/queries/{command.exchange_id.hex()}?seen={seen}"
        reply = await self._client.send(address, "GET", path)
        return await self._thread(self._understood, command.peer, reply)

    async def _send_report(self, command: commands.SendReport) -> Any:
        address = await self._thread(self._core.address, command.peer)
        await self._quorum.require(await self._thread(self._covering, command), command.peer)
        body = await self._thread(self._report, command)
        path = f"/v1/queries/{command.exchange_id.hex()}/result"
        reply = await self._client.send(address, "POST", path, body)
        if reply.status == 200:
            fault = await self._thread(self._witnessed, command.peer, ReceiptReply, reply.body)
            return events.ReceiptReceived(reply.body, None, fault)
        return await self._thread(self._refused, command.peer, reply.body)

    def _report(self, command: commands.SendReport) -> bytes:
        seen_size, witnessed = self._core.witnessing.held(command.peer)
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
            self._core.witnessing.take_reply(peer, reply)
        except PeerFault as fault:
            return fault
        return None

    async def fetch_answer(self, command: commands.FetchAnswer) -> Any:
        """The bytes of the answer, kept under their hash."""
        if self._core.bodies.has(Kind.ANSWER, command.answer_hash, command.answer_bytes):
            return events.AnswerFetched(command.answer_hash, command.answer_bytes)
        address = await self._thread(self._core.address, command.peer)
        path = f"/v1/queries/{command.exchange_id.hex()}/answer"
        try:
            async with self._client.download(address, path) as (reply, chunks):
                if reply.status != 200:
                    return events.ErrorReceived(reply.body)
                await self._core.bodies.receive(
                    Kind.ANSWER, command.answer_hash, command.answer_bytes, chunks()
                )
        except BodyMismatch:
            return events.AnswerFetched(bytes(32), command.answer_bytes)
        except ConcordatError as error:
            log("an answer was not fetched", level="warning", peer=command.peer, code=error.code)
            return events.PeerUnreachable()
        return events.AnswerFetched(command.answer_hash, command.answer_bytes)
