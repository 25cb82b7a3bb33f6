"""The local admin socket: HTTP with JSON over a Unix socket inside the node's directory.

Who can open the directory (0700) is the operator; nothing else is asked. A call is one JSON object in; the
reply is a stream of JSON lines, any number of ``{"progress": ...}`` and at the end ``{"result": ...}`` or
``{"error": {"code", "message", "family"}}``.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from crypto.errors import ConcordatError, InputError, LocalFault, PeerFault
from node.errors import BadConfig, NodeNotServed
from node.logging import log

if TYPE_CHECKING:
    from aiohttp import web

MAX_SOCKET_PATH: Final = 107
"""Bytes of ``sun_path`` without its final zero."""
MAX_CALL_BYTES: Final = 1024 * 1024

Report = Callable[[dict[str, Any]], None]
Operation = Callable[[dict[str, Any], Report], Awaitable[dict[str, Any]]]


class RemoteError(ConcordatError):
    """A typed error that the node reported; carries the original code and family."""

    def __init__(self, code: str, message: str, family: str) -> None:
        super().__init__(message)
        self.remote_code = code
        self.family = family


def describe(error: ConcordatError) -> dict[str, str]:
    """Code, message and family of an error, for JSON."""
    if isinstance(error, RemoteError):
        return {"code": error.remote_code, "message": str(error), "family": error.family}
    family = "other"
    for name, kind in (("input", InputError), ("peer", PeerFault), ("local", LocalFault)):
        if isinstance(error, kind):
            family = name
    return {"code": error.code, "message": str(error), "family": family}


@contextlib.contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """An address for a socket path of any length.

    A Unix socket address holds 107 bytes. A longer path goes through an open descriptor of its directory,
    which Linux shows under ``/proc/self/fd``; a link in a shared directory could be prepared by others.
    """
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH:
        yield str(path)
        return
    if not Path("/proc/self/fd").is_dir():
        raise BadConfig(f"the node's path is too long for a Unix socket ({MAX_SOCKET_PATH} bytes): {path}")
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


class AdminServer:
    """Serves named operations on the admin socket."""

    def __init__(self, path: Path, operations: dict[str, Operation]) -> None:
        self._path = path
        self._operations = operations
        self._runner: web.AppRunner | None = None
        self._running: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Bind the socket (0600); the node's lock is held, so a socket that exists is a leftover."""
        from aiohttp import web  # only here: it takes a third of the time in which a command starts

        app = web.Application(client_max_size=MAX_CALL_BYTES)
        app.router.add_post("/{operation}", self._call)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with socket_address(self._path) as address:
            before = os.umask(0o177)
            try:
                listener.bind(address)
            finally:
                os.umask(before)
        await web.SockSite(self._runner, listener).start()

    async def close(self) -> None:
        """Stop serving and remove the socket."""
        if self._runner is not None:
            await self._runner.cleanup()
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()

    async def _call(self, request: web.Request) -> web.StreamResponse:
        from aiohttp import web

        operation = self._operations.get(request.match_info["operation"])
        try:
            arguments = json.loads(await request.read())
        except (ValueError, RecursionError):
            arguments = None
        if operation is None or not isinstance(arguments, dict):
            return web.json_response({"error": {"code": "bad-call"}}, status=400)
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        work = asyncio.create_task(self._perform(operation, arguments, lines))
        self._running.add(work)
        work.add_done_callback(self._running.discard)
        # A caller that goes away ends the reply, not the work: an exchange is on the ledger already.
        with contextlib.suppress(ConnectionError):
            while (line := await lines.get()) is not None:
                await response.write(line)
            await response.write_eof()
        return response

    @staticmethod
    async def _perform(
        operation: Operation, arguments: dict[str, Any], lines: asyncio.Queue[bytes | None]
    ) -> None:
        def report(progress: dict[str, Any]) -> None:
            lines.put_nowait(_line({"progress": progress}))

        try:
            last: dict[str, Any] = {"result": await operation(arguments, report)}
        except ConcordatError as error:
            last = {"error": describe(error)}
        except Exception as error:  # noqa: BLE001 - the operator sees a typed error, never a traceback
            log("admin call failed", level="error", reason=type(error).__name__)
            last = {"error": {"code": "internal", "message": type(error).__name__, "family": "local"}}
        lines.put_nowait(_line(last))
        lines.put_nowait(None)


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float | None) -> None:
        super().__init__("node", timeout=timeout)
        self._socket_path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        with socket_address(self._socket_path) as address:
            self.sock.connect(address)


def is_served(path: Path) -> bool:
    """Whether a node answers on this socket."""
    try:
        with socket_address(path) as address, socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(2)
            probe.connect(address)
    except (OSError, BadConfig):
        return False
    return True


def call(
    path: Path,
    operation: str,
    arguments: dict[str, Any],
    report: Report | None = None,
    timeout: float | None = None,
) -> dict[str, Any]:
    """Call one operation of a served node and wait for its end.

    Raises:
        NodeNotServed: Nobody answers, or the node stopped half-way.
        RemoteError: The operation ended with a typed error.
    """
    connection = _UnixConnection(path, timeout)
    try:
        connection.request("POST", f"/{operation}", json.dumps(arguments).encode())
        response = connection.getresponse()
        if response.status != 200:
            raise NodeNotServed(f"the node does not know the call {operation!r}: is it of this version?")
        while line := response.readline():
            message = json.loads(line)
            if "progress" in message:
                if report is not None:
                    report(message["progress"])
            elif "error" in message:
                error = message["error"]
                raise RemoteError(error["code"], error["message"], error["family"])
            else:
                result: dict[str, Any] = message["result"]
                return result
    except (OSError, http.client.HTTPException, ValueError):
        raise NodeNotServed(f"no node answers at {path}: start it with concordat node serve") from None
    finally:
        connection.close()
    raise NodeNotServed("the node stopped before the call ended")
