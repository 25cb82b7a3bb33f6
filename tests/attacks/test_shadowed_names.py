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
from node.key_state import KeysRow, KeyState, RegistrationRow, Target
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
            core.profiles.add(OTHER)
        with pytest.raises(BadConfig, match="embedding-128"):
            find_profile(core, str(file))
        core.state.put_profile(OTHER.digest, OTHER.name, OTHER.to_bytes())
        core.profiles.add(OURS)
        assert find_profile(core, OURS.name).digest == OURS.digest


async def test_a_grant_with_an_unknown_profile_does_not_keep_other_keys_out(tmp_path: Path) -> None:
    world = World.copied(tmp_path, registered=False)
    async with world.daemon("US") as us:
        forger = Forger(world.directories["CL"])
        try:
            known = us.core.agreements.current("CL").fields.grants
            grants = [one.model_copy(update={"profile_digest": os.urandom(32)}) for one in known] + known
            await us.thread(lambda: new_edition(us.core, forger.core, grants=grants))
            assert await forger.register() == 201
        finally:
            await forger.close()


def test_keys_that_two_peers_registered_belong_to_both(tmp_path: Path) -> None:
    state, keys, plan = State(open_engine(tmp_path / "state.sqlite")), bytes([1]) * 32, bytes([2]) * 32
    other, known = bytes([3]) * 32, KeyState(state)
    try:
        for peer, key_hash, when in (("CL", keys, 1), ("CO", other, 2), ("CO", keys, 3), ("CL", keys, 4)):
            target = Target(peer, plan, 30, 600)
            row = RegistrationRow("r", bytes([when]) * 16, target, when, False, "registered", b"")
            known.put(row, keys=KeysRow("r", key_hash, target, 32, when))
        assert known.keys("r", keys, "CL") is not None
        assert known.keys("r", keys, "CO") is not None
        assert known.keys("r", other, "CL") is None
        assert [one.hash for one in known.all_keys("r")] == [keys, keys, other]
    finally:
        state.close()
