"""Strangers and peers that want a node's descriptors or memory instead of an answer."""

from __future__ import annotations

import os
import socket
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from forger import Forger, verdict
from nodes import World

from node import answer_opening, key_routes, listening
from node.answer_opening import AnswerOpening
from node.bodies import Bodies, Kind
from node.daemon import Daemon
from node.peer import Reply
from node.query_requests import LENGTH_BYTES
from protocol.claims import unpack_hits
from protocol.exchange.commands import OpenAnswer
from protocol.exchange.events import AnswerOpened


@pytest.fixture
async def us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[World, Daemon]]:
    monkeypatch.setattr(listening, "PLACES", 8)
    monkeypatch.setattr(listening, "HANDSHAKE_S", 0.5)
    world = World.copied(tmp_path, registered=False)
    async with world.daemon("US") as daemon:
        yield world, daemon


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - the names alone


async def test_silent_strangers_take_few_descriptors_and_peers_get_through(
    us: tuple[World, Daemon],
) -> None:
    world, daemon = us
    port = int(daemon.core.config.listen.rsplit(":", 1)[1])
    forger = Forger(world.directories["CL"])
    before = descriptors()
    strangers = [socket.socket() for _ in range(60)]
    try:
        for one in strangers:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        answer = await forger.send("GET", "/v1/status")
        taken = descriptors() - before - len(strangers)
    finally:
        for one in strangers:
            one.close()
        await forger.close()
    assert answer.status == 200
    assert taken <= 8 + 4


async def test_an_answer_of_many_blocks_is_opened_piece_by_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The responder alone says how many blocks its answer has."""
    at_once, size = 4, 10
    monkeypatch.setattr(answer_opening, "OPEN_AT_ONCE", at_once * size)
    bodies, count = Bodies(tmp_path), 3 * at_once + 1
    name = bodies.put(Kind.ANSWER, bytes(size * count))
    pieces: list[int] = []

    async def thread(function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)

    async def open_answer(_search: Any, _secret: bytes, blocks: list[bytes]) -> Any:
        assert {len(block) for block in blocks} == {size}
        pieces.append(len(blocks))
        return [[(0, 7), (1, 8)] for _ in blocks]

    request: Any = SimpleNamespace(profile=b"", evaluation_keys=b"", answer_block_bytes=size, responder="US")
    core: Any = SimpleNamespace(
        profiles=SimpleNamespace(named=lambda _: SimpleNamespace(search=None)),
        config=SimpleNamespace(max_hits=2 * count),
        bodies=bodies,
    )
    engine: Any = SimpleNamespace(open_answer=open_answer)
    own_keys: Any = SimpleNamespace(secret_of=lambda *_: b"")
    opening = AnswerOpening(core, thread, engine, own_keys)  # type: ignore[arg-type]
    opened = await opening.open(OpenAnswer(bytes(16), name, count), request)
    hits = [(block, slot, slot + 7) for block in range(count) for slot in range(2)]
    assert isinstance(opened, AnswerOpened)
    assert opened.hits == 2 * count
    assert unpack_hits(opened.found) == hits
    assert pieces == [at_once] * 3 + [1]


async def test_a_body_that_swells_is_not_unpacked(
    us: tuple[World, Daemon], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, _ = us
    read = 0
    chunks = key_routes.chunks

    async def counted(request: web.Request) -> AsyncIterator[bytes]:
        nonlocal read
        async for chunk in chunks(request):
            read += len(chunk)
            yield chunk

    monkeypatch.setattr(key_routes, "chunks", counted)
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    body = packer.compress(bytes(50_000_000)) + packer.flush()
    forger = Forger(world.directories["CL"])
    try:
        session = forger.client._session(forger.peer)
        for method, path in (("POST", "/v1/queries"), ("POST", f"/v1/queries/{'00' * 16}/result")):
            headers = {"Content-Encoding": "gzip", "Content-Length": str(len(body))}
            async with session.request(
                method, forger.peer.endpoint + path, data=body, headers=headers
            ) as reply:
                got = verdict(Reply(reply.status, await reply.read()))
            assert got.status in (400, 404)
    finally:
        await forger.close()
    assert 0 < read <= 2 * len(body)


async def test_queries_that_have_no_search_yet_take_capacity(us: tuple[World, Daemon]) -> None:
    """Many posts at once: each is decided before the search of any has begun. One peer gets half of the places."""
    world, daemon = us
    daemon.core.config = daemon.core.config.model_copy(update={"max_waiting_queries": 4})
    forger = Forger(world.directories["CL"])

    def admit(body: bytes) -> Any:
        submission = body[LENGTH_BYTES : LENGTH_BYTES + int.from_bytes(body[:LENGTH_BYTES], "big")]
        return daemon.answering._arrivals.admit("CL", submission, forger.ciphertext)[0].session

    try:
        assert await forger.register() == 201
        told = forger.told
        reasons = []
        for _ in range(4):
            body = forger.body(forger.query(), told=told)
            told = forger.core.journal.ledger.size
            reasons.append((await daemon.thread(admit, body)).record.reason)
    finally:
        await forger.close()
    assert reasons == [None, None, "busy", "busy"]
