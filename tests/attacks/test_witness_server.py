"""Strangers that want a witness's descriptors or memory instead of a cosignature."""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from node import witness_server
from node.witness_server import WitnessServer
from protocol.witness import MAX_REQUEST_BYTES

GET = b"GET /%s/checkpoint HTTP/1.1\r\nHost: w\r\n\r\n" % (b"0" * 64)


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    monkeypatch.setattr(witness_server, "PLACES", 8)
    monkeypatch.setattr(witness_server, "IDLE_S", 0.5)
    store: Any = SimpleNamespace(by_hash=lambda _: None, signers=lambda _: None)
    server = WitnessServer(store)
    yield await server.start("127.0.0.1", 0)
    await server.close()


async def until_closed(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(5):
        with contextlib.suppress(ConnectionError):
            return await reader.read()
        return b""


async def status(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        with contextlib.suppress(ConnectionError):
            writer.write(request)
            await writer.drain()
        async with asyncio.timeout(5):
            return (await reader.readline())[9:12]
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_silent_strangers_take_few_places_and_not_for_long(port: int) -> None:
    strangers = [await asyncio.open_connection("127.0.0.1", port) for _ in range(40)]
    for place, (_, writer) in enumerate(strangers):
        with contextlib.suppress(ConnectionError):
            writer.write(GET[: place % 30])
    await asyncio.sleep(0.1)
    held = sum(not reader.at_eof() and reader.exception() is None for reader, _ in strangers)
    assert held <= 8
    assert held > 0
    for reader, writer in strangers:
        assert await until_closed(reader) == b""
        writer.close()
    assert await status(port, GET) == b"404"


async def test_an_idle_connection_is_given_back_soon(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(GET)
    assert (await until_closed(reader))[9:12] == b"404"
    writer.close()


async def test_a_body_that_swells_is_not_unpacked(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []

    def process(_store: Any, body: bytes, _signers: Any) -> Any:
        seen.append(body)
        return witness_server.Reply(400, b"")

    monkeypatch.setattr(witness_server, "process", process)
    packed = zlib.compress(bytes(10_000_000))
    head = b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\n"
    head += b"Content-Encoding: deflate\r\nContent-Length: %d\r\n\r\n" % len(packed)
    assert await status(port, head + packed) == b"400"
    assert seen == [packed]


async def test_a_body_beyond_the_limit_is_refused(port: int) -> None:
    size = MAX_REQUEST_BYTES + 1
    head = b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: %d\r\n\r\n" % size
    assert await status(port, head + bytes(size)) == b"413"
