"""A dishonest requester wants an honest country's ledger to look dishonest. It must still audit clean."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from forger import Forger
from nodes import World, ask, register, statements

from crypto.contexts import Context, hash_fields
from node.audit_files import DirectoryReader
from node.daemon import Daemon
from protocol.audit.keys import parse_private
from protocol.audit.verify import LedgerInput, audit_ledger


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


def findings(world: World, country: str) -> list[str]:
    ledger = world.directories[country] / "ledger"
    key = parse_private((world.root / "auditor").read_text())
    report = audit_ledger(LedgerInput(DirectoryReader(ledger), (ledger / "policy").read_bytes(), key)).report
    return [f"{one.rule.value}: {one.what}" for one in report.findings]


def queries(daemon: Daemon) -> list[str]:
    return [kind for kind in statements(daemon.core) if kind.startswith("query.")]


@pytest.mark.parametrize(
    "parties", [{"responder": "CO"}, {"requester": "CO"}, {"requester": "US", "responder": "CL"}]
)
async def test_a_signed_query_between_others(
    world: World, us: Daemon, forger: Forger, parties: dict[str, str]
) -> None:
    """An entry about it would be a statement of CO on our ledger, or an intent that CO never had."""
    got = await forger.post(forger.body(forger.query(**parties)))
    assert (got.status, got.said) == (409, "wrong-message")
    assert queries(us) == []
    assert findings(world, "US") == []


async def test_another_query_under_an_accepted_id(world: World, us: Daemon, forger: Forger) -> None:
    """An entry about it would be a refusal after the acceptance of the same exchange."""
    await forger.register()
    query = forger.query()
    assert (await forger.post(forger.body(query))).said == "accepted"
    other = query.model_copy(update={"purpose": "curiosity", "created_ms": query.created_ms - 3_600_000})
    told = forger.core.journal.ledger.size
    got = await forger.post(forger.body(other, intent=forger.query(), told=told))
    assert (got.status, got.said) == (409, "replayed")
    assert [kind for kind in queries(us) if kind in ("query.accepted", "query.refused")] == ["query.accepted"]
    assert findings(world, "US") == []


async def test_our_own_question_comes_back_as_theirs(world: World) -> None:
    """The id of a question of ours is known to whom we asked; an entry under it would turn our intent around."""
    async with world.daemon("US") as us:
        async with world.daemon("CL"):
            await register(us, "CL")
        # Nobody serves CL any more, so the question stays open.
        asking = asyncio.create_task(ask(us, world.arguments("stranger.npz", to="CL")))
        while "query.intent" not in queries(us):  # a ledger calls nobody
            assert not asking.done(), asking
            await asyncio.sleep(0.05)
        (ours,) = us.core.state.all_exchanges()
        forger = Forger(world.directories["CL"])
        try:
            await forger.register()
            query = forger.query(exchange_id=ours.exchange_id)
            got = await forger.post(forger.body(query))
        finally:
            await forger.close()
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asking
        assert (got.status, got.said) == (409, "replayed")
        assert "query.accepted" not in queries(us)
    assert findings(world, "US") == []


async def test_the_id_of_a_local_entry(world: World, us: Daemon, forger: Forger) -> None:
    """Ids of entries that belong to no exchange cannot be computed by a peer, and are refused if one came by them."""
    digest = forger.core.agreements.current("US").digest
    guessed = forger.core.own_exchange("agreement.accepted", digest)
    assert us.core.journal.find(guessed, "agreement.accepted") is None
    taken = us.core.own_exchange("agreement.accepted", digest)
    assert us.core.journal.find(taken, "agreement.accepted") is not None
    query = forger.query(exchange_id=taken, agreement=hash_fields(Context.AGREEMENT, b"another"))
    got = await forger.post(forger.body(query, intent=forger.query()))
    assert (got.status, got.said) == (409, "replayed")
    assert queries(us) == []
    assert findings(world, "US") == []
