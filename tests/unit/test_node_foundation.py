"""Configuration, pinned TLS, the admin socket, bodies on disk and the log: what needs no other part."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from crypto.contexts import Context, hash_fields
from node import admin, bodies, config, tls
from node import logging as node_logging
from node.errors import BadConfig, BadUpload, NodeNotServed, NoSuchNode
from protocol.errors import UnknownPeer

ADDRESS = "https://127.0.0.1:8443"
GOOD = {"country": "CL", "authority": "PDI", "endpoint": ADDRESS, "listen": ADDRESS, "origin": "a.b:1/ledger"}


class TestConfig:
    def test_reads_back_what_it_writes(self) -> None:
        made = config.NodeConfig(**GOOD)
        assert config.parse_config(made.to_toml()) == made

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("country", "cl"),
            ("country", "CHL"),
            ("country", "C\n"),
            ("authority", ""),
            ("authority", "a\x1b[2J"),
            ("endpoint", "http://127.0.0.1:8443"),
            ("endpoint", "https://127.0.0.1"),
            ("endpoint", "https://127.0.0.1:0"),
            ("endpoint", "https://127.0.0.1:65536"),
            ("endpoint", "https://127.0.0.1:08443"),
            ("endpoint", "https://user@host:1/"),
            ("workers", 0),
            ("workers", "2"),
            ("auditors", [{"name": "x", "key": "zz"}]),
            ("auditors", [{"name": "x", "key": "00" * 32}, {"name": "y", "key": "00" * 32}]),
            ("origin", "a b"),
            ("origin", "a+b"),
            ("no_such_setting", 1),
        ],
    )
    def test_a_bad_setting_is_named(self, field: str, value: Any) -> None:
        import tomli_w

        with pytest.raises(BadConfig, match=field):
            config.parse_config(tomli_w.dumps({**GOOD, field: value}).encode())

    @pytest.mark.parametrize("data", [b"\xff", b"a = ", b"x" * 70_000, b""])
    def test_what_is_no_configuration(self, data: bytes) -> None:
        with pytest.raises(BadConfig):
            config.parse_config(data)

    def test_a_missing_directory(self, tmp_path: Path) -> None:
        with pytest.raises(NoSuchNode):
            config.NodePaths(tmp_path / "no").read_config()


class Certified:
    def __init__(self, serial: int) -> None:
        self.key = tls.new_tls_key()
        self.certificate = tls.self_signed(self.key, "CL", "127.0.0.1", int(time.time() * 1000), serial)


async def _ask(port: int, who: Certified, expected: bytes) -> str:
    context = tls.client_context(who.key, who.certificate, expected)
    connector = aiohttp.TCPConnector(ssl=context)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get(f"https://127.0.0.1:{port}/") as response,
    ):
        return await response.text()


async def test_tls_lets_in_pinned_certificates_and_nobody_else() -> None:
    server, peer, stranger = Certified(1), Certified(2), Certified(3)
    context = tls.server_context(server.key, server.certificate, [peer.certificate])

    async def hello(request: web.Request) -> web.Response:
        assert request.transport is not None
        shown = request.transport.get_extra_info("ssl_object")
        return web.Response(text=f"{shown.version()} {shown.getpeercert(True) == peer.certificate}")

    app = web.Application()
    app.router.add_get("/", hello)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    port = runner.addresses[0][1]
    try:
        assert await _ask(port, peer, server.certificate) == "TLSv1.3 True"
        with pytest.raises(aiohttp.ClientError):
            await _ask(port, stranger, server.certificate)
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await _ask(port, peer, stranger.certificate)
        tls.trust(context, stranger.certificate)
        assert await _ask(port, stranger, server.certificate) == "TLSv1.3 False"
    finally:
        await runner.cleanup()


class TestAdmin:
    async def served(self, path: Path, operations: dict[str, admin.Operation]) -> admin.AdminServer:
        server = admin.AdminServer(path, operations)
        await server.start()
        return server

    @pytest.mark.parametrize("depth", [1, 30])
    async def test_calls_with_progress_even_under_a_long_path(self, tmp_path: Path, depth: int) -> None:
        directory = tmp_path
        for number in range(depth):
            directory = directory / f"directory-{number}"
        directory.mkdir(parents=True)
        path = directory / "admin.sock"

        async def twice(arguments: dict[str, Any], report: admin.Report) -> dict[str, Any]:
            for done in range(3):
                report({"step": "counting", "done": done})
                await asyncio.sleep(0)
            return {"value": 2 * arguments["value"]}

        server = await self.served(path, {"twice": twice})
        seen: list[dict[str, Any]] = []
        try:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert await asyncio.to_thread(admin.is_served, path)
            result = await asyncio.to_thread(admin.call, path, "twice", {"value": 21}, seen.append)
        finally:
            await server.close()
        assert result == {"value": 42}
        assert [one["done"] for one in seen] == [0, 1, 2]
        assert not path.exists()
        assert not admin.is_served(path)

    async def test_errors_keep_their_code_and_defects_show_only_their_type(self, tmp_path: Path) -> None:
        async def typed(_: dict[str, Any], __: admin.Report) -> dict[str, Any]:
            raise UnknownPeer("no peer XX")

        async def broken(_: dict[str, Any], __: admin.Report) -> dict[str, Any]:
            raise RuntimeError("template [1, 2, 3]")

        path = tmp_path / "admin.sock"
        server = await self.served(path, {"typed": typed, "broken": broken})
        try:
            with pytest.raises(admin.RemoteError, match="no peer XX") as first:
                await asyncio.to_thread(admin.call, path, "typed", {})
            with pytest.raises(admin.RemoteError) as second:
                await asyncio.to_thread(admin.call, path, "broken", {})
            with pytest.raises(NodeNotServed):
                await asyncio.to_thread(admin.call, path, "missing", {})
        finally:
            await server.close()
        assert (first.value.remote_code, first.value.family) == ("unknown-peer", "input")
        assert "template" not in str(second.value)
        with pytest.raises(NodeNotServed):
            admin.call(path, "typed", {})


async def _chunks(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def files_in(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


class TestBodies:
    data = os.urandom(12_345)
    name = hash_fields(Context.ANSWER, data)

    async def test_a_whole_body_is_stored_under_its_hash(self, tmp_path: Path) -> None:
        store = bodies.Bodies(tmp_path)
        await store.receive(bodies.Kind.ANSWER, self.name, len(self.data), _chunks(self.data))
        assert store.read(bodies.Kind.ANSWER, self.name) == self.data
        assert store.put(bodies.Kind.ANSWER, self.data) == self.name
        assert stat.S_IMODE(store.path(bodies.Kind.ANSWER, self.name).stat().st_mode) == 0o600

    @pytest.mark.parametrize("sent", [data[:-1], data + b"x", data[:-1] + b"x", b""])
    async def test_any_other_body_leaves_nothing(self, tmp_path: Path, sent: bytes) -> None:
        store = bodies.Bodies(tmp_path)
        with pytest.raises(BadUpload):
            await store.receive(bodies.Kind.ANSWER, self.name, len(self.data), _chunks(sent))
        assert files_in(tmp_path) == []

    async def test_a_sender_that_stops_half_way_leaves_nothing(self, tmp_path: Path) -> None:
        async def broken() -> AsyncIterator[bytes]:
            yield self.data[:100]
            raise ConnectionResetError

        store = bodies.Bodies(tmp_path)
        with pytest.raises(BadUpload, match="half-way"):
            await store.receive(bodies.Kind.KEYS, self.name, len(self.data), broken())
        assert files_in(tmp_path) == []

    def test_leftovers_of_a_crash_go_at_the_next_start(self, tmp_path: Path) -> None:
        store = bodies.Bodies(tmp_path)
        store.part(bodies.Kind.KEYS).write_bytes(b"half")
        bodies.Bodies(tmp_path)
        assert files_in(tmp_path) == []


def test_the_log_writes_known_fields_only(tmp_path: Path) -> None:
    target = tmp_path / "log"
    node_logging.configure("info", str(target))
    node_logging.log("query accepted", exchange=b"\x01" * 32, probe="secret", block=3)
    for handler in logging.getLogger("concordat").handlers:
        handler.close()
    logging.getLogger("concordat").handlers.clear()
    line = json.loads(target.read_text())
    assert line["exchange"] == "01" * 16
    assert line["block"] == 3
    assert line["dropped_fields"] == 1
    assert "secret" not in target.read_text()
