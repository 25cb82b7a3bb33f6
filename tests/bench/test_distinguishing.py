"""Does the noise of an answer tell which of two extreme galleries was searched? The requester holds the secret key."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from crypto.hitsearch import plan_for

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "attacks" / "search"))

from inputs import TOLD_APART, told_apart
from scene import Scene
from searching import EMBEDDING_128
from undefended_answers import NoFlooding

ANSWERS = 40  # of each gallery: chance alone gives up to about 4 standard errors


@pytest.mark.bench
@pytest.mark.timeout(1800)
def test_two_galleries_by_their_noise(book: Any) -> None:
    """An honest probe, and one with as much noise as the canary lets pass."""
    scene = Scene(plan_for(EMBEDDING_128))
    measure = scene.adversary.noise_bits
    figures: dict[str, Any] = {"answers of each gallery": ANSWERS}
    without = told_apart(scene, NoFlooding(scene.plan, scene.keys), 44, measure, ANSWERS // 4)
    figures["without flooding, standard errors apart"] = without
    for name, bits in (("as much again as an honest probe", 25), ("all that is read", 27)):
        found = told_apart(scene, scene.responder, bits, measure, ANSWERS)
        figures[f"with flooding, {name}, standard errors apart"] = found
        assert found < TOLD_APART / 3
    book.write("two extreme galleries by the noise of their answers, embedding-128", figures)
    assert without > TOLD_APART
