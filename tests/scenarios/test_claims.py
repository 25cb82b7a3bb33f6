"""A hit is claimed by its token: through two nodes, honest and not, with crashes between the steps."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from nodes import World, ask, statements
from typer.testing import CliRunner

from node import records, trust
from node.audit_files import DirectoryReader
from node.claim_records import NoSuchHit, NotClaimable
from node.claim_state import ANSWERING, ASKING, ClaimState
from node.cli.main import app
from node.core import NodeCore, wall_clock
from node.daemon import Daemon
from node.errors import PeerSuspended
from node.records import NoSuchExchange
from protocol import limits
from protocol.audit.keys import parse_private
from protocol.audit.reconcile import reconcile
from protocol.audit.report import Rule
from protocol.audit.verify import LedgerInput
from protocol.claims import (
    ClaimReply,
    ClaimSubmission,
    pack_hits,
    read_claim,
    sent,
    settled,
    unpack_hits,
)
from protocol.evidence import StaleCheckpoint
from protocol.exchange.checks import own_query
from protocol.exchange.claims import verify_verdict
from protocol.exchange.session import Step
from protocol.limits import DAY
from protocol.messages import sign

KNOWN = "known.npz:3"


def configure(world: World, country: str, name: str, value: int) -> None:
    """Change a setting of a node that is not served."""
    path = world.directories[country] / "node.toml"
    text, count = re.subn(rf"(?m)^{name} = .*$", f"{name} = {value}", path.read_text())
    assert count == 1
    path.write_text(text)


async def claim(daemon: Daemon, exchange: str, hit: int | None = None) -> dict[str, Any]:
    """An officer's call; what became of the hit."""
    arguments = {"exchange": exchange, "officer": "officer-1", "hit": hit}
    result = await daemon.claiming.run(arguments, lambda _: None)
    (one,) = result["hits"]
    assert result["ok"] == (one["state"] == "confirmed")
    return dict(one)


async def hit(daemon: Daemon, world: World) -> str:
    """Ask about somebody who is known; the exchange."""
    result = await ask(daemon, world.arguments(KNOWN))
    assert (result["outcome"], result["hits"]) == ("hit", 1)
    return str(result["exchange"])


def forge(daemon: Daemon, exchange: str, change: Any) -> None:
    """Have a requester remember something else than what its answer held."""
    store, key = daemon.asking.store, bytes.fromhex(exchange)
    session, row = store._load(key)
    hits = [change(one) for one in unpack_hits(session.record.found)]
    session._update(found=pack_hits(hits))
    store._store(session, row, Step())


async def test_a_claimed_hit_is_confirmed_and_both_sides_log_it(tmp_path: Path) -> None:
    world = World.copied(tmp_path)
    async with world.daemon("US") as us, world.daemon("CL") as cl:
        exchange = await hit(cl, world)
        one = await claim(cl, exchange)
        assert one == {"hit": 1, "state": "confirmed", "reason": None, "entries": one["entries"]}
        assert statements(cl.core)[-2:] == ["claim.sent", "claim.confirmed"]
        assert statements(us.core)[-2:] == ["query.claimed", "claim.accepted"]
        # The same call again only looks.
        assert await claim(cl, exchange) == one
        assert await claim(cl, exchange, 1) == one
        assert statements(us.core).count("claim.accepted") == 1
        assert ClaimState(us.core.state).doubted(ANSWERING, "CL") == 0


async def test_a_guessed_token_is_refused_and_counted_and_then_nothing_is_answered(tmp_path: Path) -> None:
    world = World.copied(tmp_path)
    configure(world, "US", "max_refused_claims", 2)
    async with world.daemon("US") as us, world.daemon("CL") as cl:
        for number in range(1, 3):
            exchange = await hit(cl, world)
            forge(cl, exchange, lambda one: one._replace(token=one.token ^ 1))
            # The requester's own guard would stop first: it is a dishonest one.
            ClaimState(cl.core.state).forget_doubts("US")
            one = await claim(cl, exchange)
            assert (one["state"], one["reason"]) == ("failed", "token-mismatch")
            assert statements(cl.core)[-1] == "claim.failed"
            assert ClaimState(us.core.state).doubted(ANSWERING, "CL") == number
        assert statements(us.core)[-2:] == ["claim.refused", "peer.suspended"]
        assert us.core.suspension("CL") == "claims-refused"
        refused = await ask(cl, world.arguments(KNOWN))
        assert (refused["outcome"], refused["reason"]) == ("refused", "peer-suspended")
        await us.thread(trust.resume, us.core, "CL", "operator", "talked to them")
        assert ClaimState(us.core.state).doubted(ANSWERING, "CL") == 0
        assert (await claim(cl, await hit(cl, world)))["state"] == "confirmed"


async def test_a_peer_whose_hits_are_not_confirmed_is_asked_no_more(tmp_path: Path) -> None:
    world = World.copied(tmp_path)
    configure(world, "CL", "max_failed_claims", 2)
    async with world.daemon("US") as us, world.daemon("CL") as cl:
        for _ in range(2):
            exchange = await hit(cl, world)
            # To CL a responder that crafts hits looks like this: it cannot tell its own tokens.
            forge(cl, exchange, lambda one: one._replace(token=one.token ^ 1))
            ClaimState(us.core.state).forget_doubts("CL")
            assert (await claim(cl, exchange))["state"] == "failed"
        assert cl.core.suspension("US") == "claims-failed"
        assert statements(cl.core)[-2:] == ["claim.failed", "peer.suspended"]
        assert (await ask(cl, world.arguments(KNOWN)))["reason"] == "peer-suspended"
        await cl.thread(trust.resume, cl.core, "US", "operator", "talked to them")
        assert (await claim(cl, await hit(cl, world)))["state"] == "confirmed"


async def test_a_hit_that_was_never_reported_is_not_claimed(tmp_path: Path) -> None:
    world = World.copied(tmp_path)
    async with world.daemon("US") as us, world.daemon("CL") as cl:
        exchange = await hit(cl, world)
        forge(cl, exchange, lambda one: one._replace(block=7))
        assert (await claim(cl, exchange))["reason"] == "no-such-slot"
        # A second slot of an answer with one hit, and the slot that was claimed, with another token.
        key = bytes.fromhex(exchange)
        forge(cl, exchange, lambda one: one._replace(block=0))
        assert (await claim(cl, exchange))["reason"] == "more-than-reported"
        assert (
            len(ClaimState(us.core.state).of_exchange(ANSWERING, us.core.state.asked_under(key)[0][1])) == 2
        )
        assert ClaimState(us.core.state).doubted(ANSWERING, "CL") == 2


def claim_again(us: Daemon, cl: Daemon, key: bytes, **changes: Any) -> bytes:
    """A dishonest requester logs and sends another claim of a hit that it has claimed; the body."""
    row = ClaimState(cl.core.state).of_exchange(ASKING, key)[0]
    record = cl.claiming.records._begun(row).record
    claim = sign(read_claim(record.claim).model_copy(update=changes), cl.core.keys.identity)
    entry = cl.core.append(sent(own_query(record.query), claim, "officer-9"), cl.core.clock())
    held = us.core.seen("CL")
    assert held is not None
    evidence = cl.core.evidence(entry.index, held.size, "US")
    return ClaimSubmission(claim=claim, evidence=evidence, seen_size=0, witnessed=None).to_bytes()


async def test_a_hit_is_not_claimed_twice_and_both_ledgers_show_that_it_was_tried(tmp_path: Path) -> None:
    world = World.copied(tmp_path)
    configure(world, "US", "max_refused_claims", 2)
    async with world.daemon("US") as us, world.daemon("CL") as cl:
        key = bytes.fromhex(await hit(cl, world))
        assert (await claim(cl, key.hex()))["state"] == "confirmed"
        now_ms = cl.core.clock()
        # The very same token counts for no more than a wrong one: the hit is confirmed already.
        body = await cl.thread(lambda: claim_again(us, cl, key, claimed_ms=now_ms))
        reply = await us.claims.take("CL", key, body)
        query = own_query(cl.claiming.records._session(key).query or b"")
        second = ClaimSubmission.from_bytes(body).claim
        verdict, envelope, _ = verify_verdict(
            reply, cl.core.parties("US"), query, second, None, cl.core.clock()
        )
        assert (verdict.outcome, verdict.reason) == ("refused", "claimed-before")
        assert statements(us.core)[-2:] == ["claim.accepted", "claim.refused"]
        assert ClaimState(us.core.state).doubted(ANSWERING, "CL") == 1
        # Sent again it gets the same verdict, is logged no more and counted no more.
        size = us.core.journal.ledger.size
        again = ClaimReply.from_bytes(await us.claims.take("CL", key, body))
        assert again.verdict == ClaimReply.from_bytes(reply).verdict == envelope
        assert us.core.journal.ledger.size == size
        assert ClaimState(us.core.state).doubted(ANSWERING, "CL") == 1
        shared = settled(query, second, envelope, "refused")
        await cl.thread(cl.core.append, shared, cl.core.clock())
        # Without its entry on the requester's ledger nothing is logged or counted.
        missing = sign(read_claim(second).model_copy(update={"token": 1}), cl.core.keys.identity)
        bad = ClaimSubmission.from_bytes(body).model_copy(update={"claim": missing}).to_bytes()
        with pytest.raises(StaleCheckpoint):
            await us.claims.take("CL", key, bad)
        assert us.core.journal.ledger.size == size
        body = await cl.thread(lambda: claim_again(us, cl, key, token=0, claimed_ms=now_ms))
        await us.claims.take("CL", key, body)
        assert statements(us.core)[-2:] == ["claim.refused", "peer.suspended"]
        assert us.core.suspension("CL") == "claims-refused"
        with pytest.raises(PeerSuspended):
            await us.claims.take("CL", key, body)
    given = {}
    for country in ("US", "CL"):
        ledger = world.directories[country] / "ledger"
        policy, auditor = (
            (ledger / "policy").read_bytes(),
            parse_private((world.root / "auditor").read_text()),
        )
        given[country] = LedgerInput(DirectoryReader(ledger), policy, auditor)
    report = reconcile(given)
    assert report.ledgers["US"].ok, report.ledgers["US"].findings
    assert report.findings == ()
    found = report.ledgers["CL"].findings
    assert {(one.rule, one.blame) for one in found} == {(Rule.CLAIM, "CL")}
    assert len(found) == 2


async def test_a_second_claim_waits_for_the_verdict_on_the_first(tmp_path: Path) -> None:
    world = World.copied(tmp_path)
    async with world.daemon("US") as us, world.daemon("CL") as cl:
        key = bytes.fromhex(await hit(cl, world))
        begun = await cl.thread(cl.claiming.records.begin, key, None, "officer-1")
        held = us.core.seen("CL")
        assert held is not None
        index = await cl.thread(cl.claiming.records.log_sent, begun)
        first = await cl.thread(cl.claiming.records.submission, begun, index, held.size)
        await us.thread(us.claims._decide, "CL", key, first)
        # The first verdict is stored and not logged: the refusal of the second comes after it all the same.
        body = await cl.thread(lambda: claim_again(us, cl, key, claimed_ms=cl.core.clock()))
        await us.claims.take("CL", key, body)
        assert statements(us.core)[-2:] == ["claim.accepted", "claim.refused"]


async def test_what_cannot_be_claimed_is_bad_usage(tmp_path: Path) -> None:
    world = World.copied(tmp_path)
    async with world.daemon("US"), world.daemon("CL") as cl:
        with pytest.raises(NoSuchExchange):
            await claim(cl, "00" * 16)
        missed = await ask(cl, world.arguments("stranger.npz"))
        with pytest.raises(NoSuchHit):
            await claim(cl, missed["exchange"])
        exchange = await hit(cl, world)
        for number in (2, -1):
            with pytest.raises(NoSuchHit):
                await claim(cl, exchange, number)
        forge(cl, exchange, lambda one: one)
        listed = await cl.claiming.run({"exchange": exchange, "list": True}, lambda _: None)
        assert [one["state"] for one in listed["hits"]] == ["unclaimed"]
        assert "claim.sent" not in statements(cl.core)
        await cl.thread(trust.suspend, cl.core, "US", "operator", "because")
        with pytest.raises(PeerSuspended):
            await claim(cl, exchange)


async def test_a_claim_comes_too_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World.copied(tmp_path)
    async with world.daemon("US"), world.daemon("CL") as cl:
        exchange = await hit(cl, world)
        monkeypatch.setattr(limits, "CLAIM_PERIOD", -DAY)
        with pytest.raises(NotClaimable):
            await claim(cl, exchange)


async def test_an_answer_with_too_many_hits_is_not_believed(tmp_path: Path) -> None:
    world = World.copied(tmp_path)
    configure(world, "CL", "max_hits", 1)
    configure(world, "CL", "max_failed_claims", 2)
    async with world.daemon("US") as us, world.daemon("CL") as cl:
        opened = cl.asking._engine.open_answer

        async def two(*arguments: Any) -> Any:
            return [[(1, 1), (2, 2)] for _ in await opened(*arguments)]

        cl.asking._engine.open_answer = two  # type: ignore[method-assign]
        for number in range(1, 3):
            result = await ask(cl, world.arguments(KNOWN))
            assert (result["outcome"], result["reason"], result["hits"]) == ("failed", "too-many-hits", 0)
            assert ClaimState(cl.core.state).doubted(ASKING, "US") == number
        assert cl.core.suspension("US") == "claims-failed"
        assert "peer.suspended" in statements(cl.core)
        assert us.core.suspension("CL") == ""


async def test_a_claim_survives_a_stop_at_every_step(tmp_path: Path) -> None:
    world = World.copied(tmp_path)
    async with world.daemon("US"), world.daemon("CL") as cl:
        exchange = await hit(cl, world)
    key = bytes.fromhex(exchange)
    async with world.daemon("CL") as cl:
        begun = await cl.thread(cl.claiming.records.begin, key, None, "officer-1")
    # Nobody was asked: after a restart the node goes on by itself, with the same claim.
    async with world.daemon("US") as us, world.daemon("CL") as cl:
        again = await cl.thread(cl.claiming.records.reread, begun)
        assert again.name == begun.name
        assert (await claim(cl, exchange))["state"] == "confirmed"
        row = ClaimState(us.core.state).of_exchange(ANSWERING, us.core.state.asked_under(key)[0][1])[0]
        assert statements(us.core).count("claim.accepted") == 1
    # The verdict is stored, but not yet logged.
    with NodeCore.open(world.directories["US"]) as core:
        ClaimState(core.state).put(replace(row, is_open=True))
    async with world.daemon("US") as us:
        assert ClaimState(us.core.state).open_claims(ANSWERING) == []
        assert statements(us.core).count("claim.accepted") == 1


async def test_claims_go_with_their_exchange(tmp_path: Path) -> None:
    world = World.copied(tmp_path)
    async with world.daemon("US"), world.daemon("CL") as cl:
        exchange = await hit(cl, world)
        await claim(cl, exchange)
    for country, role in (("CL", ASKING), ("US", ANSWERING)):
        config = world.directories[country] / "node.toml"
        config.write_text(config.read_text().replace("[retention]", "[retention]\nstatement-of-intent = 1"))
        with NodeCore.open(world.directories[country], clock=lambda: wall_clock() + 3 * DAY) as core:
            (row,) = core.state.all_exchanges()
            assert len(ClaimState(core.state).of_exchange(role, row.key)) == 1
            records.erase(core, "operator", True)
            assert core.state.all_exchanges() == []
            assert ClaimState(core.state).of_exchange(role, row.key) == []


async def test_the_command_says_what_became_of_a_hit(tmp_path: Path) -> None:
    world = World.copied(tmp_path)
    directory = str(world.directories["CL"])

    async def concordat(*arguments: str) -> tuple[int, str]:
        run = await asyncio.to_thread(CliRunner().invoke, app, ["claim", directory, *arguments])
        return run.exit_code, run.output

    assert (await concordat("00" * 16, "--officer", "officer-1"))[0] == 2
    async with world.daemon("US"), world.daemon("CL", admin=True) as cl:
        exchange = await hit(cl, world)
        assert (await concordat(exchange))[0] == 2
        assert (await concordat("no exchange", "--officer", "officer-1"))[0] == 2
        code, said = await concordat(exchange, "--list", "--json")
        assert (code, [one["state"] for one in json.loads(said)["hits"]]) == (0, ["unclaimed"])
        code, said = await concordat(exchange, "--officer", "officer-1", "--json")
        assert code == 0
        shown = json.loads(said)
        assert (shown["ok"], shown["to"], shown["exchange"]) == (True, "US", exchange)
        assert {**shown["hits"][0], "entries": 2} == {
            "hit": 1,
            "state": "confirmed",
            "reason": None,
            "entries": len(shown["hits"][0]["entries"]),
        }
        code, said = await concordat(exchange, "--officer", "officer-1")
        assert code == 0
        assert "US: hit 1 CONFIRMED\n" in said
        refused = await hit(cl, world)
        forge(cl, refused, lambda one: one._replace(token=one.token ^ 1))
        code, said = await concordat(refused, "--officer", "officer-1", "--hit", "1")
        assert code == 1
        assert "US: hit 1 FAILED, token-mismatch\n" in said
        assert (await concordat(refused, "--officer", "officer-1", "--hit", "2"))[0] == 2
