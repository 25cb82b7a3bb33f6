"""The witness endpoint over HTTP: ``POST /add-checkpoint`` and ``GET /<origin hash>/checkpoint``.

Anybody may ask; what counts is the signature of a known log. One request is worked on at a time, and what strangers
may take of the process is bounded: ``PLACES`` connections, of which each has to send a request soon.

Source: C2SP tlog-witness; specs/ledger.md, section "The witness endpoint".
"""

from __future__ import annotations

import asyncio
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from aiohttp import web

from crypto.errors import ConcordatError
from node.logging import log
from node.witness_store import WitnessDirectory
from protocol.witness import MAX_REQUEST_BYTES, TEXT_TYPE, Reply, process

BODY_TIMEOUT_S: Final = 30
MAX_WAITING: Final = 64
PLACES: Final = 128
IDLE_S: Final = 10.0
"""For the whole head of a request, the first and every later one of a connection."""
_HASH: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


class WitnessServer:
    """Serves one witness directory."""

    def __init__(self, store: WitnessDirectory, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._runner: web.AppRunner | None = None
        self._socket: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port (chosen by the system for 0)."""
        app = web.Application(client_max_size=MAX_REQUEST_BYTES)
        app.router.add_post("/add-checkpoint", self._add_checkpoint)
        app.router.add_get("/{hash}/checkpoint", self._checkpoint)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            shutdown_timeout=2,
            keepalive_timeout=IDLE_S,
            lingering_time=IDLE_S,
            auto_decompress=False,
        )
        await self._runner.setup()
        assert self._runner.server is not None
        server = self._runner.server

        def protocol() -> asyncio.BaseProtocol:
            return server() if len(server.connections) < PLACES else _TurnedAway()

        self._socket = await asyncio.get_running_loop().create_server(protocol, host, port, backlog=64)
        chosen: int = self._socket.sockets[0].getsockname()[1]
        return chosen

    async def close(self) -> None:
        """Stop listening."""
        if self._socket is not None:
            self._socket.close()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _add_checkpoint(self, request: web.Request) -> web.Response:
        if self._waiting >= MAX_WAITING:
            return _response(Reply(503, b"too busy\n"))
        self._waiting += 1
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                body = await request.read()
            async with self._turn:
                reply = await asyncio.to_thread(self._process, body)
        except TimeoutError:
            reply = Reply(408, b"the body did not come in time\n")
        except web.HTTPRequestEntityTooLarge:
            reply = Reply(413, b"the body is too large\n")
        finally:
            self._waiting -= 1
        return _response(reply)

    def _process(self, body: bytes) -> Reply:
        try:
            reply = process(self._store, body, self._store.signers(int(self._clock())))
        except (OSError, ConcordatError) as error:
            log("witness-failed", level="error", error=type(error).__name__)
            return Reply(500, b"this witness cannot do it now\n")
        log("add-checkpoint", status=reply.status)
        return reply

    async def _checkpoint(self, request: web.Request) -> web.Response:
        name = request.match_info["hash"]
        note = None
        if _HASH.fullmatch(name):
            note = await asyncio.to_thread(self._store.by_hash, name)
        if note is None:
            return _response(Reply(404, b"no checkpoint of that log\n"))
        return _response(Reply(200, note))


class _TurnedAway(asyncio.Protocol):
    """There is no place for this connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


def _response(reply: Reply) -> web.Response:
    headers = {"Content-Type": reply.media_type or TEXT_TYPE, "X-Content-Type-Options": "nosniff"}
    return web.Response(status=reply.status, body=reply.body, headers=headers)


def run(directory: Path, host: str, port: int, say: Callable[[str], None]) -> None:
    """Serve a witness until SIGINT or SIGTERM; says where it listens."""

    async def serve(store: WitnessDirectory) -> None:
        stop = asyncio.Event()
        for signal_number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(signal_number, stop.set)
        server = WitnessServer(store)
        chosen = await server.start(host, port)
        say(f"witness {store.name} listens on {host}:{chosen}")
        await stop.wait()
        await server.close()

    with WitnessDirectory.open(directory) as store:
        asyncio.run(serve(store))
