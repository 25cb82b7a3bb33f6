"""Names that somebody else uses as well: of profiles, of evaluation keys."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from forger import Forger
from nodes import World, new_edition

from node.core import NodeCore
from node.errors import BadConfig
from node.operations import find_profile
from node.profiles import builtin
from node.state import State, open_engine

OURS = builtin("embedding-128")
OTHER = replace(OURS, fitted_on="Somebody else's people")


def test_a_stored_profile_does_not_shadow_a_built_in_one(tmp_path: Path) -> None:
    world = World.copied(tmp_path)
    file = tmp_path / "other.json"
    file.write_bytes(OTHER.to_bytes())
    with NodeCore.open(world.directories["CL"]) as core:
        with pytest.raises(BadConfig, match="embedding-128"):
            core.add_profile(OTHER)
        with pytest.raises(BadConfig, match="embedding-128"):
            find_profile(core, str(file))
        core.state.put_profile(OTHER.digest, OTHER.name, OTHER.to_bytes())
        core.add_profile(OURS)
        assert find_profile(core, OURS.name).digest == OURS.digest


async def test_a_grant_with_an_unknown_profile_does_not_keep_other_keys_out(tmp_path: Path) -> None:
    world = World.copied(tmp_path)
    async with world.daemon("US") as us:
        forger = Forger(world.directories["CL"])
        try:
            known = us.core.current_agreement("CL").fields.grants
            grants = [one.model_copy(update={"profile_digest": os.urandom(32)}) for one in known] + known
            await us.thread(lambda: new_edition(us.core, forger.core, grants=grants))
            assert await forger.register() == 201
        finally:
            await forger.close()


def test_keys_that_two_peers_registered_belong_to_both(tmp_path: Path) -> None:
    state, keys, plan = State(open_engine(tmp_path / "state.sqlite")), bytes([1]) * 32, bytes([2]) * 32
    other = bytes([3]) * 32
    try:
        for peer, key_hash, when in (("CL", keys, 1), ("CO", other, 2), ("CO", keys, 3), ("CL", keys, 4)):
            state.put_peer_keys(key_hash, peer, plan, when)
        assert state.has_peer_keys(keys, "CL", plan)
        assert state.has_peer_keys(keys, "CO", plan)
        assert not state.has_peer_keys(other, "CL")
        assert state.peer_keys_of(plan) == [keys, other]
    finally:
        state.close()
