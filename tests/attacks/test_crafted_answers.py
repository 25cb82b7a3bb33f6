"""A responder that crafts answers and listens to what comes of them: it hears of few, however many are under way."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from nodes import World, ask, statements, until

from crypto.errors import BadCiphertext

AT_ONCE = 6


async def test_answers_with_bad_noise_end_the_asking_after_a_few(tmp_path: Path) -> None:
    world = World.copied(tmp_path)
    async with world.daemon("US") as us, world.daemon("CL") as cl:
        opening, all_there = 0, asyncio.Event()

        async def opened(*_: Any) -> Any:
            nonlocal opening
            opening += 1
            if opening == AT_ONCE:
                all_there.set()
            await all_there.wait()
            raise BadCiphertext("the noise is not what an honest answer leaves")

        cl.asking._engine.open_answer = opened  # type: ignore[method-assign]
        asked = [asyncio.create_task(ask(cl, world.arguments(f"known.npz:{n}"))) for n in range(AT_ONCE)]
        await until(lambda: statements(cl.core).count("query.result") == AT_ONCE, 60)
        await until(lambda: "peer.suspended" in statements(cl.core))
        await asyncio.sleep(0.5)
        limit = cl.core.config.max_failed_claims
        assert cl.core.suspension("US") == "claims-failed"
        assert statements(us.core).count("query.claimed") < limit, "the one that is too many is not reported"
        result = await ask(cl, world.arguments("known.npz:1"))
        assert result["reason"] == "peer-suspended"
        assert statements(cl.core).count("query.intent") == AT_ONCE
        for one in asked:
            one.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
