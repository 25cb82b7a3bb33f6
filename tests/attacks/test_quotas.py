"""A requester that asks more in a day than the agreement allows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from network import World as Network
from network import pair
from nodes import World, ask, new_edition, statements
from parties import agreement, grant, request

from node.core import NodeCore, wall_clock
from protocol.limits import DAY, MINUTE, SECOND

REFUSED = ("refused", "quota-exceeded")


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two nodes whose agreement allows one query a day in each direction."""
    world = World.copied(tmp_path)
    with NodeCore.open(world.directories["US"]) as us, NodeCore.open(world.directories["CL"]) as cl:
        grants = us.agreements.current("CL").fields.grants
        new_edition(us, cl, grants=[one.model_copy(update={"queries_per_day": 1}) for one in grants])
    return world


def outcome(result: dict[str, Any]) -> tuple[str, str | None]:
    return result["outcome"], result["reason"]


def no_midnight() -> dict[str, Any]:
    """A clock, a little ahead of the day's last minutes: no test runs over midnight."""
    late = wall_clock() % DAY > DAY - 5 * MINUTE
    return {"clock": lambda: wall_clock() + (10 * MINUTE if late else 0)}


async def test_a_dishonest_requester_is_refused_before_any_work_also_after_a_restart(world: World) -> None:
    at = no_midnight()
    async with world.daemon("CL", enforce_own_policy=False, **at) as cl:
        async with world.daemon("US", **at) as us:
            first = await ask(cl, world.arguments("known.npz:7"))
            second = await ask(cl, world.arguments("known.npz:8"))
        async with world.daemon("US", **at) as us:
            third = await ask(cl, world.arguments("known.npz:9"))
            back = await ask(us, world.arguments("known.npz:9", to="CL"))
            entries = statements(us.core)
    assert first["outcome"] == "hit"
    assert (outcome(second), outcome(third)) == (REFUSED, REFUSED)
    assert [entries.count(f"query.{one}") for one in ("accepted", "answered", "refused")] == [1, 1, 2]
    assert back["reason"] != "quota-exceeded", "each direction has its own grant"


async def test_own_policy_withholds_what_the_peer_would_refuse(world: World) -> None:
    at = no_midnight()
    async with world.daemon("US", **at) as us:
        async with world.daemon("CL", **at) as cl:
            assert (await ask(cl, world.arguments("known.npz:7")))["outcome"] == "hit"
        async with world.daemon("CL", **at) as cl:
            assert outcome(await ask(cl, world.arguments("known.npz:8"))) == REFUSED
            entries = statements(cl.core)
        assert "query.refused" not in statements(us.core)
    assert entries[-1] == "query.withheld"
    assert entries.count("query.intent") == 1


LIMITED = agreement(grant(queries_per_day=1))


def test_a_day_ends_at_midnight_and_refused_queries_do_not_count() -> None:
    network = Network()
    us, cl = pair(network, LIMITED)

    def one(number: int) -> tuple[str | None, str | None]:
        us.ask(request(LIMITED.digest, number))
        network.run(lambda: all(session.finished for node in (us, cl) for session in node.live.values()))
        record = us.live[number.to_bytes(16, "big")].record
        return record.outcome, record.reason

    cl.busy = 30
    assert one(1) == ("refused", "busy")
    cl.busy = 0
    assert one(2) == ("no-hit", None)
    assert one(3) == REFUSED
    assert cl.disk.ledger.kinds((3).to_bytes(16, "big")) == []
    midnight = (network.now // DAY + 1) * DAY
    network.now = midnight - SECOND
    assert one(4) == REFUSED
    network.now = midnight
    assert one(5) == ("no-hit", None)
