"""What peers may send and see of the registration of evaluation keys, over HTTP.

Source: specs/wire.md, sections "Endpoints" and "Registration of keys".
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from aiohttp import web

from node.core import NodeCore
from node.driver import CoreThread
from node.errors import BadUpload
from node.peer import CHUNK, MEDIA_TYPE
from node.registrar import Registrar
from protocol import limits
from protocol.errors import BadMessage, UnknownExchange

Handler = Callable[[web.Request, str], Awaitable[web.StreamResponse]]
_HEX32: Final = re.compile(r"[0-9a-f]{64}\Z")
_HEX16: Final = re.compile(r"[0-9a-f]{32}\Z")
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}\Z")


class KeyRoutes:
    """The routes of one node; ``always`` are those that a suspended peer may use as well."""

    def __init__(self, core: NodeCore, thread: CoreThread, registrar: Registrar) -> None:
        self._core = core
        self._thread = thread
        self._registrar = registrar
        # What is in use, and how a registration ended, is told to a suspended peer too: the end may be why it is.
        self.always: tuple[Handler, ...] = (self._has_keys, self._look)
        self.table: tuple[tuple[str, str, Handler], ...] = (
            ("HEAD", "/v1/keys/{name}", self._has_keys),
            ("PUT", "/v1/keys/{name}", self._put_keys),
            ("POST", "/v1/registrations", self._offer),
            ("GET", "/v1/registrations/{id}", self._look),
            ("POST", "/v1/registrations/{id}/opening", self._opening),
        )

    async def _has_keys(self, request: web.Request, peer: str) -> web.StreamResponse:
        known = await self._thread(self._registrar.taken.has_keys, peer, _hash(request))
        return web.Response(status=200 if known else 404)

    async def _put_keys(self, request: web.Request, peer: str) -> web.StreamResponse:
        """Take keys of exactly the plan's length, and let a worker load them before they count."""
        plan = request.query.get("plan", "")
        length, body = request.content_length, chunks(request)
        await self._registrar.take_keys(peer, _hash(request), plan, length, body)
        return web.Response(status=201)

    async def _offer(self, request: web.Request, peer: str) -> web.StreamResponse:
        body = await read_body(request, limits.MAX_SUBMISSION)
        return _reply(await self._registrar.offer(peer, body))

    async def _opening(self, request: web.Request, peer: str) -> web.StreamResponse:
        body = await read_body(request, limits.MAX_SUBMISSION)
        return _reply(await self._registrar.opening(peer, _name(request), body))

    async def _look(self, request: web.Request, peer: str) -> web.StreamResponse:
        size = await seen_size(self._core, self._thread, request)
        return _reply(await self._registrar.status(peer, _name(request), size))


def _reply(body: bytes) -> web.Response:
    return web.Response(body=body, content_type=MEDIA_TYPE)


def _hash(request: web.Request) -> bytes:
    name = request.match_info["name"]
    if not _HEX32.match(name):
        raise BadMessage("keys are named by 64 lower-case hexadecimal digits")
    return bytes.fromhex(name)


def _name(request: web.Request) -> bytes:
    name = request.match_info["id"]
    if not _HEX16.match(name):
        raise UnknownExchange("registrations are named by 32 lower-case hexadecimal digits")
    return bytes.fromhex(name)


async def seen_size(core: NodeCore, thread: CoreThread, request: web.Request) -> int:
    """The size of our ledger that the peer says it has seen; raises ``BadMessage``."""
    seen = request.query.get("seen", "0")
    if not _SIZE.match(seen):
        raise BadMessage("seen: a decimal number is expected")
    if int(seen) > await thread(lambda: core.journal.ledger.size):
        raise BadMessage("seen: this node's ledger has no such size")
    return int(seen)


async def chunks(request: web.Request) -> AsyncIterator[bytes]:
    """The body as it streams in."""
    async for chunk in request.content.iter_chunked(CHUNK):
        yield chunk


async def read_body(request: web.Request, limit: int) -> bytes:
    """The whole body within its limit; what is announced too large is not read at all."""
    announced = request.content_length
    if announced is None or announced > limit:
        raise BadUpload(f"a body with an announced length of at most {limit} bytes is expected")
    data = bytearray()
    async for chunk in chunks(request):
        data += chunk
        if len(data) > announced:
            raise BadUpload("the body is longer than it was announced")
    if len(data) != announced:
        raise BadUpload("the body ended before its announced length")
    return bytes(data)
