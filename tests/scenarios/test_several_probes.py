"""A query of several probes between two nodes: one exchange, one answer, one claim, one audit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nodes import PLAIN, World, ask
from typer.testing import CliRunner

import node.daemon
import node.known_profiles
import node.query
import node.query_arrivals
import node.recompute_given
import node.search_plan
from crypto.hitsearch.parameters import plan_for
from crypto.templates import make_templates
from node.cli.main import app
from node.features import read_features
from node.known_profiles import plan_sizes

PROBES = 3


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Under a profile of three probes: the named image, and two of the stranger."""
    world = World.copied(tmp_path)
    monkeypatch.setattr(node.daemon, "real_scheme", lambda: PLAIN)
    for module in (node.known_profiles, node.search_plan, node.recompute_given):
        monkeypatch.setattr(module, "probes_of", lambda _: PROBES)

    def templates(named: str, profile: Any) -> Any:
        known = read_features(world.root / "known.npz", profile.d).embeddings[7:8]
        other = read_features(world.root / "stranger.npz", profile.d).embeddings
        last = other if named.endswith("stranger.npz") else known
        return make_templates(np.concatenate([other, other, last]), profile)

    monkeypatch.setattr(node.query, "_templates", templates)
    return world


async def test_a_hit_of_any_probe_is_a_hit_and_the_length_tells_nothing(world: World) -> None:
    async with world.daemon("US"), world.daemon("CL") as cl:
        hit = await ask(cl, world.arguments("known.npz:7"))
        asked = {"exchange": hit["exchange"], "officer": "officer-1", "hit": None}
        claimed = await cl.claiming.run(asked, lambda _: None)
        miss = await ask(cl, world.arguments("stranger.npz"))
    plan = plan_for(world.profile.search)
    assert (hit["outcome"], hit["hits"], miss["outcome"]) == ("hit", 1, "no-hit")
    assert hit["query_bytes"] == miss["query_bytes"] == PROBES * plan.query_bytes
    assert hit["answer_bytes"] == miss["answer_bytes"] == PROBES * plan.answer_block_bytes
    assert hit["blocks"] == 1
    assert claimed["ok"], "the token is the slot's, whichever probe showed it"
    command = ["audit", "recompute", hit["exchange"], "--key", str(world.root / "auditor"), "--json"]
    command += ["--responder", str(world.directories["US"]), "--requester", str(world.directories["CL"])]
    run = CliRunner().invoke(app, command)
    shown = json.loads(run.stdout)
    assert (run.exit_code, shown["verdict"]) == (0, "reproduced")
    assert {one["verdict"] for one in shown["steps"]} == {"holds"}


async def test_a_query_of_another_number_of_probes_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.daemon("US"), world.daemon("CL") as cl:

        def one_less(profile: Any) -> Any:
            sizes, plan = plan_sizes(profile), plan_for(profile.search)
            return type(sizes)(
                sizes.identifier, sizes.query_bytes - plan.query_bytes, sizes.answer_block_bytes
            )

        monkeypatch.setattr(node.query_arrivals, "plan_sizes", one_less)
        result = await ask(cl, world.arguments("known.npz:7"))
    assert (result["outcome"], result["reason"]) == ("refused", "bad-ciphertext-length")
