"""The client side of the peer protocol: requests to the nodes of other countries, one pinned connection each.

Everything here either returns a whole reply within its limit or raises ``PeerUnavailable``,
``PeerMisbehaved`` or ``UnknownCertificate``. What a reply means is the session's business.

Source: specs/wire.md, section "Endpoints".
"""

from __future__ import annotations

import io
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp

from node.errors import PeerMisbehaved, PeerUnavailable, UnknownCertificate
from node.tls import client_context
from protocol import limits

MEDIA_TYPE: Final = "application/vnd.concordat"
CHUNK: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Address:
    """Where a peer is and by which certificate it is known."""

    country: str
    endpoint: str
    certificate: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply of a peer."""

    status: int
    body: bytes = field(repr=False)


class PeerClient:
    """Requests to all peers of one node."""

    def __init__(self, tls_key: bytes, certificate: bytes, timeout_s: float) -> None:
        self._own = (tls_key, certificate)
        # No limit on the whole: a large body on a slow line is fine as long as it moves.
        self._timeout = aiohttp.ClientTimeout(
            total=None, connect=timeout_s, sock_connect=timeout_s, sock_read=timeout_s
        )
        self._sessions: dict[Address, aiohttp.ClientSession] = {}

    async def close(self) -> None:
        """Close all connections."""
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()

    def _session(self, peer: Address) -> aiohttp.ClientSession:
        session = self._sessions.get(peer)
        if session is None:
            context = client_context(*self._own, peer.certificate)
            session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=context, limit=8),
                timeout=self._timeout,
                auto_decompress=False,
                headers={"Accept-Encoding": "identity"},
                cookie_jar=aiohttp.DummyCookieJar(),
            )
            self._sessions[peer] = session
        return session

    @asynccontextmanager
    async def _request(
        self,
        peer: Address,
        method: str,
        path: str,
        data: io.BytesIO | AsyncIterator[bytes] | None,
        length: int,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {"Content-Type": MEDIA_TYPE, "Content-Length": str(length)} if data is not None else {}
        url = peer.endpoint + path
        try:
            async with self._session(peer).request(
                method, url, data=data, headers=headers, allow_redirects=False
            ) as response:
                yield response
        except aiohttp.ClientConnectorCertificateError:
            raise UnknownCertificate(f"{peer.country} shows a certificate that is not pinned") from None
        except (aiohttp.ClientError, ssl.SSLError, TimeoutError, OSError) as error:
            if _is_refused(error):
                words = (
                    f"{peer.country} does not accept our certificate: its operator has to name or accept it"
                )
                raise UnknownCertificate(words) from None
            if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError) and not isinstance(
                error, aiohttp.ClientConnectorError
            ):
                words = f"{peer.country} closed the connection: it stops, or it does not know our certificate"
                raise PeerUnavailable(words) from None
            raise PeerUnavailable(f"{peer.country} does not answer ({type(error).__name__})") from None

    async def send(
        self, peer: Address, method: str, path: str, body: bytes | None = None, limit: int = limits.MAX_STATUS
    ) -> Reply:
        """One request with a small body or none, and its reply of at most ``limit`` bytes."""
        data = io.BytesIO(body) if body is not None else None
        async with self._request(peer, method, path, data, len(body or b"")) as response:
            return Reply(response.status, await _read(response, limit, peer))

    async def upload(self, peer: Address, path: str, file: Path, length: int) -> Reply:
        """``PUT`` a file."""

        async def chunks() -> AsyncIterator[bytes]:
            with file.open("rb") as source:
                while chunk := source.read(CHUNK):
                    yield chunk

        async with self._request(peer, "PUT", path, chunks(), length) as response:
            return Reply(response.status, await _read(response, limits.MAX_ERROR_REPLY, peer))

    @asynccontextmanager
    async def download(
        self, peer: Address, path: str
    ) -> AsyncIterator[tuple[Reply, Callable[[], AsyncIterator[bytes]]]]:
        """``GET`` a large body: the status (with the body of an error), and the chunks of a 200."""
        async with self._request(peer, "GET", path, None, 0) as response:
            body = b"" if response.status == 200 else await _read(response, limits.MAX_ERROR_REPLY, peer)

            async def chunks() -> AsyncIterator[bytes]:
                async for chunk in response.content.iter_chunked(CHUNK):
                    yield chunk

            yield Reply(response.status, body), chunks


def _is_refused(error: BaseException) -> bool:
    """Whether the other side ended the handshake because of our certificate; TLS 1.3 says so only afterwards."""
    seen: BaseException | None = error
    while seen is not None:
        # What the library wraps it in keeps only the words.
        if "TLSV1_ALERT_UNKNOWN_CA" in str(seen) or "ALERT_CERTIFICATE_" in str(seen):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


async def _read(response: aiohttp.ClientResponse, limit: int, peer: Address) -> bytes:
    """The whole body, refused as soon as it passes its limit, whatever it announced."""
    if response.content_length is not None and response.content_length > limit:
        raise PeerMisbehaved(f"{peer.country} announced a reply over the limit of {limit} bytes")
    data = bytearray()
    async for chunk in response.content.iter_chunked(16 * 1024):
        data += chunk
        if len(data) > limit:
            raise PeerMisbehaved(f"{peer.country} sent a reply over the limit of {limit} bytes")
    return bytes(data)
