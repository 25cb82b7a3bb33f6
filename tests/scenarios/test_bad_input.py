"""What a running node does with bad input from a peer: a typed error or a logged refusal, and no half state."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from forger import PLAN, Forger, hash_of, verdict
from nodes import World, statements

from crypto.contexts import Context, hash_fields
from crypto.signing import SigningKey
from node.daemon import Daemon, real_scheme
from node.errors import PeerUnavailable
from node.peer import PeerClient
from node.tls import client_context, new_tls_key, self_signed
from protocol import limits

HOUR = 3_600_000


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.copied(tmp_path, registered=False)


@pytest.fixture
async def us(world: World) -> AsyncIterator[Daemon]:
    async with world.daemon("US") as daemon:
        yield daemon


@pytest.fixture
async def forger(world: World, us: Daemon) -> AsyncIterator[Forger]:
    forger = Forger(world.directories["CL"])
    yield forger
    await forger.close()


def queries(daemon: Daemon) -> list[str]:
    """The query statements on a node's ledger."""
    return [kind for kind in statements(daemon.core) if kind.startswith("query.")]


def stored(daemon: Daemon) -> list[str]:
    return [str(path) for path in daemon.core.paths.exchange.rglob("*") if path.is_file()]


class TestKeys:
    @pytest.mark.parametrize("length", [1, PLAN.keys_bytes - 1, PLAN.keys_bytes + 1])
    async def test_of_another_length(self, us: Daemon, forger: Forger, length: int) -> None:
        await forger.offer()
        forger.keys = bytes(length)
        assert await forger.upload() == 422
        assert stored(us) == []

    async def test_under_another_hash(self, us: Daemon, forger: Forger) -> None:
        await forger.offer()
        forger.keys = bytes(len(forger.keys))
        assert await forger.upload() == 400
        assert stored(us) == []

    async def test_that_were_never_offered(self, us: Daemon, forger: Forger) -> None:
        await forger.offer()
        (other,) = [one for one in map(hash_of, forger.sets) if one != forger.keys_hash]
        for name in (other, bytes(32)):
            path = f"/v1/keys/{name.hex()}?plan={PLAN.identifier.hex()}"
            assert verdict(await forger.send("PUT", path, forger.keys)).said == "offer-refused"
        assert stored(us) == []

    async def test_of_another_plan(self, us: Daemon, forger: Forger) -> None:
        await forger.offer()
        path = f"/v1/keys/{forger.keys_hash.hex()}?plan={'00' * 32}"
        assert verdict(await forger.send("PUT", path, forger.keys)).said == "offer-refused"
        assert stored(us) == []

    async def test_good_ones_are_taken_once_and_known(self, us: Daemon, forger: Forger) -> None:
        assert await forger.register() == 201
        path = f"/v1/keys/{forger.keys_hash.hex()}"
        assert (await forger.send("HEAD", path)).status == 200
        assert len(stored(us)) == 1

    async def test_noise_does_not_load_in_the_real_scheme(self, world: World) -> None:
        async with world.daemon("US", scheme=real_scheme()) as us:
            forger = Forger(world.directories["CL"])
            try:
                us.registrar.taken.draw = lambda sets: 0
                noise = os.urandom(PLAN.keys_bytes)
                name = hash_fields(Context.EVALUATION_KEYS, noise)
                await forger.offer(forger.offer_message(sets=[name, bytes(32)]))
                forger.keys = noise
                assert await forger.upload() == 422
            finally:
                await forger.close()
            assert stored(us) == []


class TestQueries:
    async def test_a_good_one_is_accepted_and_a_repeat_gets_the_same_decision(
        self, us: Daemon, forger: Forger
    ) -> None:
        await forger.register()
        body = forger.body(forger.query())
        first = await forger.post(body)
        again = await forger.post(body)
        assert (first.status, first.said) == (200, "accepted")
        assert again.envelope == first.envelope
        assert queries(us).count("query.accepted") == 1

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"created_ms": -HOUR, "expires_ms": 1000}, "outside-time-window"),
            ({"created_ms": HOUR, "expires_ms": HOUR + 60_000}, "outside-time-window"),
            ({"agreement": bytes(32)}, "agreement-unknown"),
            ({"profile": bytes(32)}, "profile-mismatch"),
            ({"plan": bytes(32)}, "profile-mismatch"),
            ({"modality": "iris"}, "modality-not-covered"),
            ({"purpose": "curiosity"}, "purpose-not-covered"),
            ({"evaluation_keys": bytes(32)}, "keys-unknown"),
            ({"ciphertext_bytes": 1}, "bad-ciphertext-length"),
            ({"ciphertext_hash": bytes(32)}, "ciphertext-mismatch"),
        ],
    )
    async def test_refused_with_a_reason_on_the_ledger(
        self, us: Daemon, forger: Forger, changes: dict[str, Any], reason: str
    ) -> None:
        await forger.register()
        now = forger.core.clock()
        timed = {name: now + value if name.endswith("_ms") else value for name, value in changes.items()}
        got = await forger.post(forger.body(forger.query(**timed)))
        assert (got.status, got.said) == (200, f"refused: {reason}")
        assert queries(us) == ["query.refused"]
        assert len(stored(us)) == 1, "only the keys stay"

    @pytest.mark.parametrize("length", [1, PLAN.query_bytes - 1, PLAN.query_bytes + 1])
    async def test_a_ciphertext_of_another_length(self, us: Daemon, forger: Forger, length: int) -> None:
        await forger.register()
        query = forger.query()
        forger.ciphertext = bytes(length)
        assert (await forger.post(forger.body(query))).said == "refused: bad-ciphertext-length"
        assert queries(us) == ["query.refused"]

    async def test_after_the_agreement_ended(self, world: World) -> None:
        late = time.time_ns() // 1_000_000 + 2 * limits.DAY
        async with world.daemon("US", clock=lambda: late) as us:
            forger = Forger(world.directories["CL"])
            try:
                query = forger.query(created_ms=late, expires_ms=late + 60_000)
                assert (await forger.post(forger.body(query))).said == "refused: agreement-expired"
            finally:
                await forger.close()
            assert queries(us) == ["query.refused"]

    async def test_another_query_under_a_used_exchange_id(self, us: Daemon, forger: Forger) -> None:
        await forger.register()
        query = forger.query()
        first = await forger.post(forger.body(query))
        size = forger.core.journal.ledger.size
        other = query.model_copy(update={"authority": "Somebody else"})
        envelope = forger.body(forger.query(), told=size)
        assert (first.said, (await forger.post(envelope)).said) == ("accepted", "accepted")
        # The journal of an honest node refuses a second intent, so the evidence is of another query.
        size = forger.core.journal.ledger.size
        lie = forger.body(other.model_copy(update={"exchange_id": os.urandom(16)}), told=size)
        assert (await forger.post(lie)).said == "accepted"
        assert queries(us).count("query.accepted") == 3

    async def test_signed_by_another_node(self, us: Daemon, forger: Forger) -> None:
        got = await forger.post(forger.body(forger.query(), key=SigningKey.generate()))
        assert (got.status, got.said) == (403, "bad-signature")
        assert queries(us) == []
        assert stored(us) == []

    async def test_evidence_of_another_query_is_refused_and_kept(self, us: Daemon, forger: Forger) -> None:
        await forger.register()
        query = forger.query()
        intent = query.model_copy(update={"purpose": "something else"})
        got = await forger.post(forger.body(query, intent=intent))
        assert got.said == "refused: bad-evidence"
        assert queries(us) == ["query.refused"]
        assert us.core.state.evidence_codes() == [("CL", "entry-differs")]

    async def test_stale_evidence_names_the_stored_size(self, us: Daemon, forger: Forger) -> None:
        await forger.register()
        await forger.post(forger.body(forger.query()))
        got = await forger.post(forger.body(forger.query(), told=0))
        assert (got.status, got.said) == (409, "stale-checkpoint")

    @pytest.mark.parametrize(
        "body", [b"", b"\0", b"\0\0\0\5abc", b"\xff\xff\xff\xff" + bytes(100), b"\0\0\0\1\xc1" + bytes(10)]
    )
    async def test_bodies_that_are_nothing(self, us: Daemon, forger: Forger, body: bytes) -> None:
        assert verdict(await forger.send("POST", "/v1/queries", body)).status == 400
        assert queries(us) == []
        assert stored(us) == []

    async def test_an_oversized_body_is_refused_unread(self, us: Daemon, forger: Forger) -> None:
        too_long = bytes(4 + limits.MAX_SUBMISSION + limits.MAX_QUERY_CIPHERTEXT + 1)
        try:
            got = verdict(await forger.send("POST", "/v1/queries", too_long)).status
        except PeerUnavailable:
            got = 400  # the node closed the connection while the body was still on its way
        assert got == 400
        assert stored(us) == []

    async def test_exchanges_of_nobody(self, us: Daemon, forger: Forger) -> None:
        for path in (f"/v1/queries/{'00' * 16}", "/v1/queries/xyz", f"/v1/queries/{'00' * 16}/answer"):
            got = verdict(await forger.send("GET", path))
            assert (got.status, got.said) == (404, "unknown-exchange")
        got = verdict(await forger.send("GET", f"/v1/queries/{'00' * 16}?seen=1e9"))
        assert (got.status, got.said) == (400, "bad-message")


class TestConnections:
    async def test_an_unknown_certificate_gets_nothing_and_harms_nobody(
        self, us: Daemon, forger: Forger
    ) -> None:
        key = new_tls_key()
        certificate = self_signed(key, "CL", "127.0.0.1", forger.core.clock(), 7)
        stranger = PeerClient(key, certificate, 5)
        try:
            with pytest.raises(PeerUnavailable):
                await stranger.send(forger.peer, "GET", "/v1/status")
        finally:
            await stranger.close()
        assert (await forger.send("GET", "/v1/status")).status == 200

    async def test_a_certificate_that_is_no_longer_accepted(self, us: Daemon, forger: Forger) -> None:
        us.core.roster.peers.clear()
        got = verdict(await forger.send("GET", "/v1/status"))
        assert (got.status, got.said) == (403, "unknown-certificate")

    async def test_a_peer_that_stops_half_way(self, us: Daemon, forger: Forger) -> None:
        keys, own = forger.core.keys, forger.core.descriptor.fields.tls_certificate
        context = client_context(keys.tls_key, own, forger.peer.certificate)
        host, port = forger.peer.endpoint.removeprefix("https://").split(":")
        put = f"PUT /v1/keys/{'ab' * 32}?plan={PLAN.identifier.hex()}"
        for request, length in ((put, PLAN.keys_bytes), ("POST /v1/queries", 5000)):
            _, writer = await asyncio.open_connection(host, int(port), ssl=context)
            head = f"{request} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
            writer.write(head.encode() + b"half")
            await writer.drain()
            await asyncio.sleep(0.2)
            writer.transport.abort()
        await asyncio.sleep(0.2)
        assert (await forger.send("GET", "/v1/status")).status == 200
        assert stored(us) == []
        assert queries(us) == []

    async def test_plain_text_and_older_tls_are_refused(self, us: Daemon, forger: Forger) -> None:
        host, port = forger.peer.endpoint.removeprefix("https://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"HTTP/1.1 200" not in await reader.read(1000)
        writer.close()
        keys, own = forger.core.keys, forger.core.descriptor.fields.tls_certificate
        context = client_context(keys.tls_key, own, forger.peer.certificate)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection(host, int(port), ssl=context)
