"""The peer protocol over HTTPS: a thin layer from requests to ``Answering``, and from typed errors to statuses.

Every connection is authenticated by a pinned certificate before anything is read from it.

Source: specs/wire.md, sections "Endpoints" and "Statuses".
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from crypto.errors import ConcordatError, LocalFault, PeerFault
from node.answering import Answering
from node.auditor_routes import AuditorRoutes
from node.claim_routes import ClaimRoutes
from node.claims_taken import ClaimsTaken
from node.core import NodeCore
from node.driver import CoreThread
from node.errors import BadUpload, PeerSuspended, UnknownCertificate
from node.gossip import consistency, held_checkpoints
from node.key_routes import KeyRoutes, read_body, seen_size
from node.listening import Listener
from node.logging import log
from node.peer import CHUNK, MEDIA_TYPE
from node.query_requests import LENGTH_BYTES
from node.registrar import Registrar
from node.tls import server_context
from node.trust import say_who_is_alone, settle_conflicts
from protocol import limits
from protocol.descriptor import Descriptor
from protocol.errors import BadMessage, EvidenceRejected, TryLater, UnknownExchange, UnknownPeer
from protocol.evidence import StaleCheckpoint
from protocol.messages import Decision, ErrorReply, ExchangeStatus, Signed
from protocol.witness import parse_request

HEAD_LIMIT: Final = 16 * 1024
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}\Z")
_HEX16 = re.compile(r"[0-9a-f]{32}\Z")

STATUSES: Final[dict[str, int]] = {
    "bad-encoding": 400,
    "bad-message": 400,
    "bad-upload": 400,
    "body-mismatch": 400,
    "bad-signature": 403,
    "reading-not-announced": 403,
    "unknown-certificate": 403,
    "offer-refused": 403,
    "peer-suspended": 403,
    "unknown-exchange": 404,
    "stale-checkpoint": 409,
    "out-of-order": 409,
    "wrong-message": 409,
    "replayed": 409,
    "keys-registered": 409,
    "too-many-offers": 409,
    "unseen-checkpoint": 409,
    "bad-evidence": 422,
    "bad-cosignature": 422,
    "bad-keys": 422,
    "bad-ciphertext": 422,
    "try-later": 503,
    "too-busy": 503,
}
"""HTTP status by error code; a fault of the peer that is not listed is 422, one of this machine 503."""

_PUBLIC_LOCAL: Final = {"too-busy": "try-later"}
"""Codes of local faults that a peer may see; all others are ``unavailable``."""


def error_response(error: ConcordatError, held: tuple[int, bytes | None] | None = None) -> web.Response:
    """The documented status and ``ErrorReply`` of a typed error; of a local fault only that there is one.

    ``held`` goes with a stale checkpoint: the size that this node holds of the peer's ledger, and its proof.
    """
    code, message = error.code, str(error)
    if isinstance(error, LocalFault) or not isinstance(error, PeerFault):
        code = _PUBLIC_LOCAL.get(error.code, "try-later" if error.code == "try-later" else "unavailable")
        message = "this node cannot do it now"
    status = STATUSES.get(error.code, 422 if isinstance(error, PeerFault) else 503)
    stored, witnessed = held or (None, None)
    reply = ErrorReply(
        code=code, message=message[: limits.MAX_ERROR_TEXT], stored_size=stored, witnessed=witnessed
    )
    return web.Response(status=status, body=reply.to_bytes(), content_type=MEDIA_TYPE)


Handler = Callable[[web.Request, str], Awaitable[web.StreamResponse]]


class PeerServer:
    """Listens for peers."""

    def __init__(
        self,
        core: NodeCore,
        thread: CoreThread,
        answering: Answering,
        registrar: Registrar,
        claims: ClaimsTaken,
    ) -> None:
        self._core = core
        self._thread = thread
        self._answering = answering
        self._key_routes = KeyRoutes(core, thread, registrar)
        self._claim_routes = ClaimRoutes(claims)
        self._always = (self._status, self._submit, *self._key_routes.always)
        self._runner: web.AppRunner | None = None
        self._listener: Listener | None = None
        self.tls: ssl.SSLContext | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port (chosen by the system for 0)."""
        await self._thread(say_who_is_alone, self._core)
        auditors = AuditorRoutes(self._core, self._thread)
        pinned = [peer.fields.tls_certificate for peer in self._core.roster.peers.values()]
        pinned += auditors.certificates
        own = self._core.descriptor.fields.tls_certificate
        self.tls = server_context(self._core.keys.tls_key, own, pinned)
        app = web.Application(client_max_size=HEAD_LIMIT)
        routes = (
            ("GET", "/v1/status", self._status),
            ("POST", "/v1/checkpoint", self._checkpoint),
            *self._key_routes.table,
            *self._claim_routes.table,
            ("GET", "/v1/checkpoints", self._checkpoints),
            ("GET", "/v1/consistency", self._consistency),
            ("POST", "/v1/queries", self._submit),
            ("GET", "/v1/queries/{id}", self._look),
            ("GET", "/v1/queries/{id}/answer", self._answer),
            ("POST", "/v1/queries/{id}/result", self._result),
        )
        for method, path, handler in routes:
            app.router.add_route(method, path, self._guarded(handler))
        auditors.add_to(app, error_response)
        # Bodies are never compressed here: eight announced megabytes would be eight thousand in memory.
        self._runner = web.AppRunner(
            app, access_log=None, handle_signals=False, shutdown_timeout=2, auto_decompress=False
        )
        await self._runner.setup()
        assert self._runner.server is not None
        self._listener = Listener(self._runner.server, self.tls)
        return await self._listener.start(host, port)

    async def close(self) -> None:
        """Stop listening."""
        if self._listener is not None:
            await self._listener.close()
        if self._runner is not None:
            await self._runner.cleanup()

    def _guarded(self, handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Find out who speaks, and turn every error into a typed reply without details of ours."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            try:
                peer = self._peer(request).country
                if handler not in self._always:
                    await self._thread(self._require_standing, peer)
                return await handler(request, peer)
            except StaleCheckpoint as error:
                # What is held may have grown since the fault: the size and its proof are of one look.
                return error_response(error, await self._thread(self._core.witnessing.held, peer))
            except ConcordatError as error:
                log("request refused", level="warning", code=error.code, step=request.path)
                return error_response(error)
            except (ConnectionError, web.RequestPayloadError, TimeoutError) as error:
                # The peer stopped half-way; nobody is left to read a reply.
                log("request broken off", level="warning", reason=type(error).__name__, step=request.path)
                return error_response(BadUpload("the request was broken off"))
            except (web.HTTPException, asyncio.CancelledError):
                raise
            except Exception as error:  # noqa: BLE001 - a defect of ours must not show its details
                log("request failed", level="error", reason=type(error).__name__, step=request.path)
                return error_response(LocalFault("internal"))

        return guarded

    def _require_standing(self, peer: str) -> None:
        """A suspended peer may still ask, and gets a refusal that is on the ledger; nothing else."""
        if self._core.suspension(peer):
            raise PeerSuspended("exchanges with you are suspended; the operators have to talk")

    def _peer(self, request: web.Request) -> Descriptor:
        transport = request.transport
        shown = transport.get_extra_info("ssl_object") if transport is not None else None
        certificate = shown.getpeercert(True) if shown is not None else None
        try:
            return self._core.roster.by_certificate(certificate or b"")
        except UnknownPeer:
            raise UnknownCertificate("the certificate belongs to no accepted peer") from None

    async def _status(self, request: web.Request, peer: str) -> web.StreamResponse:
        checkpoint = await self._thread(self._core.journal.ledger.checkpoint)
        return web.Response(body=checkpoint, content_type="text/plain", charset="utf-8")

    async def _checkpoint(self, request: web.Request, peer: str) -> web.StreamResponse:
        """Witness the peer's newest checkpoint outside any exchange."""
        update = parse_request(await read_body(request, limits.MAX_SUBMISSION))
        try:
            body = await self._thread(self._core.witnessing.observe, peer, update)
        except EvidenceRejected:
            await self._thread(settle_conflicts, self._core)
            raise
        return web.Response(body=body, content_type=MEDIA_TYPE)

    async def _checkpoints(self, request: web.Request, peer: str) -> web.StreamResponse:
        """What this node holds of its peers' ledgers: the same for all who ask."""
        body = await self._thread(held_checkpoints, self._core)
        return web.Response(body=body, content_type=MEDIA_TYPE)

    async def _consistency(self, request: web.Request, peer: str) -> web.StreamResponse:
        """The proof between two sizes of this node's ledger."""
        old, new = (request.query.get(name, "") for name in ("old", "new"))
        if not _SIZE.match(old) or not _SIZE.match(new):
            raise BadMessage("old and new: decimal numbers are expected")
        size = await self._thread(lambda: self._core.journal.ledger.published()[0].size)
        if not int(old) <= int(new) <= size:
            raise BadMessage("old and new: this node's ledger has no such sizes")
        body = await self._thread(consistency, self._core, int(old), int(new))
        return web.Response(body=body, content_type=MEDIA_TYPE)

    # Queries

    async def _submit(self, request: web.Request, peer: str) -> web.StreamResponse:
        limit = LENGTH_BYTES + limits.MAX_SUBMISSION + limits.MAX_QUERY_CIPHERTEXT
        body = await read_body(request, limit)
        length = int.from_bytes(body[:LENGTH_BYTES], "big")
        if len(body) < LENGTH_BYTES or not 0 < length <= limits.MAX_SUBMISSION:
            raise BadMessage("a query is a length, a submission and a ciphertext")
        submission = body[LENGTH_BYTES : LENGTH_BYTES + length]
        ciphertext = body[LENGTH_BYTES + length :]
        if len(submission) < length or not 0 < len(ciphertext) <= limits.MAX_QUERY_CIPHERTEXT:
            raise BadMessage("a query is a length, a submission and a ciphertext")
        if peer in self._core.witnessing.owed:
            raise TryLater("first prove that your ledger has one history; see what your peers hold of it")
        return _status_reply(await self._answering.submit(peer, submission, ciphertext))

    async def _look(self, request: web.Request, peer: str) -> web.StreamResponse:
        size = await seen_size(self._core, self._thread, request)
        key = await self._answering.find(peer, _exchange(request))
        return _status_reply(await self._answering.status(key, size, 1.0))

    async def _answer(self, request: web.Request, peer: str) -> web.StreamResponse:
        key = await self._answering.find(peer, _exchange(request))
        path, length = await self._answering.answer_of(key)
        response = web.StreamResponse(headers={"Content-Type": MEDIA_TYPE, "Content-Length": str(length)})
        await response.prepare(request)
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                await response.write(chunk)
        await response.write_eof()
        await self._answering.served(key)
        return response

    async def _result(self, request: web.Request, peer: str) -> web.StreamResponse:
        body = await read_body(request, limits.MAX_SUBMISSION)
        key = await self._answering.find(peer, _exchange(request))
        reply = await self._answering.report(key, body)
        return web.Response(body=reply, content_type=MEDIA_TYPE)


def _status_reply(body: bytes) -> web.Response:
    status = ExchangeStatus.from_bytes(body)
    after = Decision.from_bytes(Signed.from_bytes(status.decision).message).retry_after_s
    if after is None:
        return web.Response(body=body, content_type=MEDIA_TYPE)
    return web.Response(body=body, status=503, content_type=MEDIA_TYPE, headers={"Retry-After": str(after)})


def _exchange(request: web.Request) -> bytes:
    name = request.match_info["id"]
    if not _HEX16.match(name):
        raise UnknownExchange("exchanges are named by 32 lower-case hexadecimal digits")
    return bytes.fromhex(name)


__all__ = ["STATUSES", "PeerServer", "error_response"]
