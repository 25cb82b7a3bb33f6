"""Loads what the next query will need into the workers: accepted keys, and the gallery's encoded blocks.

A node that has just started answers its first query as fast as its tenth. Nothing waits for this work, and
nothing depends on it: what does not fit or does not load is met again, with its reason, by a real query.
"""

from __future__ import annotations

import asyncio

from crypto.errors import ConcordatError
from crypto.hitsearch.parameters import plan_for
from crypto.profiles import SearchProfile
from node.blocks import BlockRef
from node.bodies import Kind
from node.core import NodeCore
from node.driver import CoreThread
from node.engine import Engine
from node.key_state import ANSWERING, KeyState
from node.logging import log


class Warmer:
    """Warms the engine of one node; calls may overlap, and repeat at little cost."""

    def __init__(self, core: NodeCore, thread: CoreThread, engine: Engine) -> None:
        self._core = core
        self._thread = thread
        self._engine = engine
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self) -> None:
        """Warm in the background."""
        task = asyncio.create_task(self.run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Stop what is under way."""
        for task in (tasks := list(self._tasks)):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def run(self) -> None:
        """Load every accepted key set and every block that it can be asked about."""
        try:
            known = await self._thread(self._known)
        except ConcordatError as error:
            log("workers are not warm", level="warning", code=error.code)
            return
        for search, keys_hash, blocks in known:
            path = self._core.bodies.path(Kind.KEYS, keys_hash)
            try:
                for block in blocks:
                    await self._engine.warm(search, path, keys_hash, block)
            except ConcordatError as error:
                log("workers are not warm", level="warning", code=error.code)

    def _known(self) -> list[tuple[SearchProfile, bytes, list[BlockRef]]]:
        core = self._core
        found = []
        for gallery in core.galleries.partitions():
            search = core.profiles.named(gallery.profile_digest).search
            blocks = core.galleries.blocks(gallery.modality, gallery.profile_digest)
            plan = plan_for(search).identifier
            hashes = [one.hash for one in KeyState(core.state).all_keys(ANSWERING) if one.target.plan == plan]
            for keys_hash in dict.fromkeys(hashes):
                found.append((search, keys_hash, blocks))
        return found
