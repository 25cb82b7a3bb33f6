"""Two running nodes in one process, over real TLS connections, with the plain twin as the search."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from nodes import PLAIN, World, ask, new_edition, statements

from crypto.hitsearch.plain import PlainResponder
from node.admin import call
from node.engine_worker import Scheme
from node.errors import NoAgreement
from protocol.errors import UnknownPeer

SETUP = ["node.initialised", "peer.accepted", "agreement.accepted"]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.copied(tmp_path)


async def test_a_hit_and_a_no_hit_with_answers_of_one_size(world: World) -> None:
    async with world.daemon("US") as us, world.daemon("CL") as cl:
        hit = await ask(cl, world.arguments("known.npz:7"))
        miss = await ask(cl, world.arguments("stranger.npz"))
        asked, answered = statements(cl.core), statements(us.core)
    assert (hit["outcome"], hit["hits"]) == ("hit", 1)
    assert (miss["outcome"], miss["hits"]) == ("no-hit", 0)
    assert hit["answer_bytes"] == miss["answer_bytes"] > 0
    assert hit["reported"]
    assert miss["reported"]
    assert asked == SETUP + ["query.intent", "query.result"] * 2
    assert (
        answered == [*SETUP, "gallery.imported"] + ["query.accepted", "query.answered", "query.claimed"] * 2
    )
    left = [path.name for path in (world.directories["US"] / "exchange").rglob("*") if path.is_file()]
    assert len(left) == 3, "only the evaluation keys stay, and the probes for audits"


async def test_own_policy_withholds_before_anything_is_encrypted(world: World) -> None:
    async with world.daemon("US") as us, world.daemon("CL") as cl:
        result = await ask(cl, world.arguments("known.npz:7", purpose="curiosity"))
        asked, answered = statements(cl.core), statements(us.core)
    assert (result["outcome"], result["reason"]) == ("refused", "purpose-not-covered")
    assert result["query_bytes"] == 0
    assert asked == [*SETUP, "query.withheld"]
    assert answered == [*SETUP, "gallery.imported"]
    assert list((world.directories["CL"] / "exchange").rglob("*/*")) == []


async def test_a_question_is_asked_under_the_agreement_that_covers_it(world: World) -> None:
    """A second agreement of another name and a higher serial covers another offence; the first still stands."""
    async with world.daemon("US") as us, world.daemon("CL") as cl:
        grants = us.core.agreements.current("CL").fields.grants
        others = [grant.model_copy(update={"offences": ["smuggling"]}) for grant in grants]
        second = await us.thread(
            lambda: new_edition(us.core, cl.core, name="another agreement", grants=others)
        )
        assert us.core.agreements.current("CL").digest == second.digest
        old = await ask(cl, world.arguments("known.npz:7"))
        new = await ask(cl, world.arguments("known.npz:7", offence="smuggling"))
        neither = await ask(cl, world.arguments("known.npz:7", offence="curiosity"))
        asked = [cl.core.journal.open(index) for index in range(cl.core.journal.ledger.size)]
    assert [old["outcome"], new["outcome"]] == ["hit", "hit"]
    assert (neither["outcome"], neither["reason"]) == ("refused", "offence-not-covered")
    under = [one.shared.agreement for one in asked if one is not None and one.shared.type == "query.intent"]
    assert len(set(under)) == 2
    assert under[1] == second.digest


async def test_a_dishonest_requester_is_refused_before_any_work_on_both_ledgers(world: World) -> None:
    async with world.daemon("US") as us, world.daemon("CL", enforce_own_policy=False) as cl:
        result = await ask(cl, world.arguments("known.npz:7", purpose="curiosity"))
        asked, answered = statements(cl.core), statements(us.core)
    assert (result["outcome"], result["reason"]) == ("refused", "purpose-not-covered")
    assert asked == [*SETUP, "query.intent", "query.result"]
    assert answered == [*SETUP, "gallery.imported", "query.refused"]


async def test_several_queries_at_once_each_get_their_own_answer(world: World) -> None:
    async with world.daemon("US") as us, world.daemon("CL") as cl:
        probes = [f"known.npz:{index}" for index in range(3)] + ["stranger.npz"]
        results = await asyncio.gather(*(ask(cl, world.arguments(probe)) for probe in probes))
        counts = statements(us.core)
    assert [result["outcome"] for result in results] == ["hit"] * 3 + ["no-hit"]
    assert counts.count("query.answered") == 4
    assert counts.count("query.claimed") == 4


class BusyResponder(PlainResponder):
    """Computes for two seconds without a pause."""

    def answer(self, prepared: Any, block: Any, stream: Any) -> bytes:
        end = time.monotonic() + 2
        while time.monotonic() < end:
            pass
        return super().answer(prepared, block, stream)


async def test_health_and_ledger_answer_while_a_search_runs(world: World) -> None:
    busy = Scheme(PLAIN.plan_for, PLAIN.requester, BusyResponder, PLAIN.mask_stream)
    async with world.daemon("US", scheme=busy, admin=True) as us, world.daemon("CL") as cl:
        asked = asyncio.create_task(ask(cl, world.arguments("known.npz:7")))
        while "query.accepted" not in statements(us.core):  # noqa: ASYNC110 - the ledger has no events
            await asyncio.sleep(0.05)
        slowest, looks = 0.0, 0
        while not asked.done():
            started = time.monotonic()
            checkpoint = await cl.client.send(cl.core.address("US"), "GET", "/v1/status")
            shown = await asyncio.to_thread(call, us.core.paths.admin_socket, "status", {})
            slowest, looks = max(slowest, time.monotonic() - started), looks + 1
            assert checkpoint.body.startswith(us.core.config.origin.encode())
            assert shown["ledger"]["size"] >= 5
            await asyncio.sleep(0.05)
        assert (await asked)["outcome"] == "hit"
    assert looks > 5
    assert slowest < 1.5, "the search takes two seconds in one piece"


async def test_unknown_countries_and_missing_agreements_are_the_users_error(world: World) -> None:
    async with world.daemon("CL") as cl:
        with pytest.raises(UnknownPeer):
            await ask(cl, world.arguments("known.npz:7", to="CO"))
        cl.core.agreements._held.clear()
        with pytest.raises(NoAgreement):
            await ask(cl, world.arguments("known.npz:7"))
        assert statements(cl.core) == SETUP
