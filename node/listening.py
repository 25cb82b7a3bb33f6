"""The node's listening socket: what strangers may take of it is bounded.

Until its handshake is over, a connection may be anybody's. Without a bound, a thousand silent connections use
up the descriptors of the process, and its ledger cannot write. Here at most ``PLACES`` handshakes are under way
at a time, each for ``HANDSHAKE_S``; more wait in the kernel. Strangers can so delay peers, and stop nothing else.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Coroutine
from typing import Any, Final

from node.logging import log

PLACES: Final = 128
HANDSHAKE_S: Final = 10.0
PAUSE_S: Final = 1.0
"""After the system refused to accept: it lacks something that will not be back at once."""
BACKLOG: Final = 64


class Listener:
    """Accepts TLS connections for a protocol.

    Args:
        protocol: Makes the protocol of one connection, as for ``loop.create_server``.
        tls: The server's context, with client certificates required.
    """

    def __init__(self, protocol: Callable[[], asyncio.BaseProtocol], tls: ssl.SSLContext) -> None:
        self._protocol = protocol
        self._tls = tls
        self._places = asyncio.Semaphore(PLACES)
        self._sockets: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> int:
        """Listen on all addresses of a host; returns the port (chosen by the system for 0)."""
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, address in dict.fromkeys((one[0], one[4]) for one in found):
            listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
            listener.setblocking(False)
            self._sockets.append(listener)
        for listener in self._sockets:
            self._spawn(self._accept(listener))
        chosen: int = self._sockets[0].getsockname()[1]
        return chosen

    async def close(self) -> None:
        """Stop accepting, and leave the handshakes that are under way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for listener in self._sockets:
            listener.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            await self._places.acquire()
            try:
                connection, _ = await asyncio.get_running_loop().sock_accept(listener)
            except OSError as error:
                self._places.release()
                log("a connection was not accepted", level="warning", reason=type(error).__name__)
                await asyncio.sleep(PAUSE_S)
            else:
                self._spawn(self._welcome(connection))

    async def _welcome(self, connection: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._protocol, connection, ssl=self._tls, ssl_handshake_timeout=HANDSHAKE_S
            )
        except OSError as error:
            # A stranger, a port scan, a peer that broke off: nobody to answer to.
            log("a handshake failed", level="debug", reason=type(error).__name__)
        finally:
            self._places.release()
