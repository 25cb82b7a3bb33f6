"""Both countries have narrowed an agreement; a dishonest requester goes on under the earlier edition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from forger import Forger
from nodes import World, new_edition, statements

from node.core import NodeCore
from protocol.agreement import Agreement
from protocol.limits import DAY


def edition(us: NodeCore, cl: NodeCore, **changes: Any) -> Agreement:
    """Another agreement of the same two, accepted by both."""
    grants = us.agreements.current("CL").fields.grants
    narrow = [one.model_copy(update={"purposes": ["border-control"]}) for one in grants]
    return new_edition(us, cl, **{"grants": narrow, **changes})


async def test_a_query_under_the_earlier_edition_is_refused(tmp_path: Path) -> None:
    world = World.copied(tmp_path, registered=False)
    async with world.daemon("US") as us:
        forger = Forger(world.directories["CL"])
        try:
            await forger.register()
            earlier = forger.core.agreements.current("US").digest
            await us.thread(edition, us.core, forger.core)
            query = forger.query(agreement=earlier)
            assert (await forger.post(forger.body(query))).said == "refused: agreement-unknown"
        finally:
            await forger.close()
        assert "query.accepted" not in statements(us.core)


@pytest.mark.parametrize(
    ("changes", "stays"),
    [
        ({}, False),
        ({"serial": 1}, True),
        ({"name": "Another agreement"}, True),
        ({"not_before_ms": "tomorrow"}, True),
        ({"not_after_ms": "an hour ago"}, False),
    ],
)
def test_what_a_later_edition_replaces(tmp_path: Path, changes: dict[str, Any], stays: bool) -> None:
    world = World.copied(tmp_path)
    with NodeCore.open(world.directories["US"]) as us, NodeCore.open(world.directories["CL"]) as cl:
        first = us.agreements.current("CL")
        now = us.clock() // 1000 * 1000
        times = {"tomorrow": now + DAY // 2, "an hour ago": now - DAY // 24}
        edition(us, cl, **{name: times.get(value, value) for name, value in changes.items()})
        assert (us.agreements.named(first.digest, "CL") is not None) is stays
