"""Irises and fingerprints between two nodes: a person who is held is a hit, another one is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from nodes import World, ask

from crypto.hitsearch.parameters import plan_for
from node.profiles import builtin
from node.synthetic import images, people, write_features
from node.synthetic_codes import eyes, iris_images, write_codes

HELD = 60


def write_irises(root: Path) -> None:
    """Two images of each eye: one enrolled, one to ask with; the last eye is a stranger's."""
    codes, masks = iris_images(eyes(HELD + 1, 3), 2, 4)
    names = [str(number) for number in range(HELD)]
    write_codes(root / "gallery.npz", codes[: 2 * HELD : 2], masks[: 2 * HELD : 2], records=names)
    write_codes(root / "known.npz", codes[1 : 2 * HELD : 2], masks[1 : 2 * HELD : 2])
    write_codes(root / "stranger.npz", codes[-1:], masks[-1:])


def write_fingers(root: Path) -> None:
    profile = builtin("finger-1024")
    shots = images(people(HELD + 1, 5, profile.d), 2, 6)
    names = [str(number) for number in range(HELD)]
    write_features(root / "gallery.npz", shots[:HELD, 0], records=names)
    write_features(root / "known.npz", shots[:HELD, 1])
    write_features(root / "stranger.npz", shots[HELD:, 1])


@pytest.mark.parametrize(
    ("modality", "name", "write"),
    [("iris", "iris-512", write_irises), ("fingerprint", "finger-1024", write_fingers)],
)
async def test_a_known_one_hits_and_a_stranger_does_not(
    tmp_path: Path, modality: str, name: str, write: object
) -> None:
    profile = builtin(name)
    world = World(tmp_path, profile=profile, modality=modality, write=write)  # type: ignore[arg-type]
    async with world.daemon("US"), world.daemon("CL") as cl:
        known = [await ask(cl, world.arguments(f"known.npz:{number}")) for number in range(6)]
        stranger = await ask(cl, world.arguments("stranger.npz"))
    probes = len(profile.code.steps) if profile.code else 1
    assert {one["query_bytes"] for one in known} == {probes * plan_for(profile.search).query_bytes}
    assert np.mean([one["outcome"] == "hit" for one in known]) > 0.6
    assert stranger["outcome"] == "no-hit"
