"""The responder's side of registering evaluation keys: draws the challenge, makes the opened sets again, decides.

Every step is stored before anybody is told of it, and may be taken again after a crash: the challenge of an offer is
drawn and signed once, entries are found again by their exchange, and a check that was cut off is begun anew.

Source: specs/wire.md, section "Registration of keys".
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from crypto.errors import BadKeys, ConcordatError
from crypto.hitsearch.parameters import plan_for
from node.bodies import Kind
from node.core import NodeCore
from node.driver import CoreThread
from node.engine import Engine
from node.errors import TooBusy
from node.key_decisions import KeyDecisions, search_under
from node.key_state import ANSWERING
from node.logging import log
from node.quorum import Quorum
from node.taken import Taken
from node.taken_records import TakenRecords
from protocol.messages import Progress
from protocol.registration import KeyOffer, RefusedFor, opened_sets, read_offer, read_opening

SWEEP_S: Final = 600.0


class Registrar:
    """All registrations that peers begin at this node.

    Args:
        core: Open.
        thread: Of the core.
        engine: Makes sets again.
        quorum: Of our own ledger.
        registered: Called when keys have come into use.
    """

    def __init__(
        self,
        core: NodeCore,
        thread: CoreThread,
        engine: Engine,
        quorum: Quorum,
        registered: Callable[[], None],
    ) -> None:
        self.core = core
        self._thread = thread
        self._engine = engine
        self._quorum = quorum
        self._registered = registered
        self.records = TakenRecords(core)
        self.decisions = KeyDecisions(core, self.records)
        self.taken = Taken(core, self.records, self.decisions)
        self._checks: set[asyncio.Task[None]] = set()
        self._progress: dict[bytes, Progress] = {}
        self._uploading: set[str] = set()
        # One check at a time: each of them keeps all workers busy between queries.
        self._turn = asyncio.Lock()
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take up what a stop or a crash left open, and look now and then for what is over."""
        await self._thread(self.decisions.sweep)
        await self._look_at_all()
        self._sweeper = asyncio.create_task(self._sweep_now_and_then())

    async def close(self) -> None:
        """Stop; a check that is cut off is begun anew at the next start."""
        tasks = [*self._checks] + ([self._sweeper] if self._sweeper is not None else [])
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # What peers ask for

    async def offer(self, peer: str, body: bytes) -> bytes:
        """Take an offer; the bytes of the ``RegistrationStatus`` with the challenge, which is on the ledger.

        Raises:
            PeerFault: The offer is not taken; nothing is logged.
        """
        seen_size = await self._thread(self.taken.take_witnessed, peer, body)
        name = await self._thread(self.taken.admit, peer, body)
        return await self.status(peer, name, seen_size)

    async def opening(self, peer: str, name: bytes, body: bytes) -> bytes:
        """Take the opening of an offer; the bytes of the ``RegistrationStatus``."""
        seen_size = await self._thread(self.taken.take_witnessed, peer, body)
        await self._thread(self.taken.open, peer, name, body)
        self._begin_check(name)
        return await self.status(peer, name, seen_size)

    async def status(self, peer: str, name: bytes, seen_size: int) -> bytes:
        """The bytes of the ``RegistrationStatus``, with evidence from the size that the peer has seen.

        Raises:
            UnknownExchange: No such registration of this peer.
        """
        size = await self._thread(self.taken.covering, peer, name)
        await self._quorum.require(max(size, seen_size), peer)
        return await self._thread(self.taken.status, peer, name, seen_size, self._progress.get(name))

    async def take_keys(self, peer: str, name: bytes, plan: str, length: int | None, chunks: Any) -> None:
        """Take the bytes of the set that was kept, once a worker has loaded them; not read if they are here.

        Raises:
            TooBusy: The peer is uploading already.
            OfferRefused: Nobody waits for these keys.
            BadKeys: Of another length, or they do not load.
        """
        search = await self._thread(self.taken.search_waiting, peer, name, plan)
        wanted = plan_for(search).keys_bytes
        if length != wanted:
            raise BadKeys(f"evaluation keys of this plan have {wanted} bytes")
        stream: AsyncIterator[bytes] = chunks
        if await self._thread(self.taken.has_keys, peer, name):
            return
        # Each set costs a part file and a worker's time: a peer has one under way.
        if peer in self._uploading:
            raise TooBusy("another upload of keys is under way")
        self._uploading.add(peer)
        try:
            part = await self.core.bodies.receive(Kind.KEYS, name, wanted, stream, publish=False)
            try:
                await self._engine.check_keys(search, part, name)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
            await self._thread(self.taken.accept_keys, name, part)
        finally:
            self._uploading.discard(peer)
        log("evaluation keys uploaded", peer=peer, bytes=wanted)
        await self._look_at_all()

    # The check

    async def _look_at_all(self) -> None:
        for row in await self._thread(lambda: self.records.keys.registrations(ANSWERING, only_open=True)):
            self._begin_check(row.exchange_id)

    def _begin_check(self, name: bytes) -> None:
        """Look whether everything is there to decide; looking once too often does no harm."""
        task = asyncio.create_task(self._check(name))
        self._checks.add(task)
        task.add_done_callback(self._checks.discard)

    async def _check(self, name: bytes) -> None:
        try:
            async with self._turn:
                await self._check_in_turn(name)
        except ConcordatError as error:
            log("a registration was not decided", level="error", exchange=name, code=error.code)
        finally:
            self._progress.pop(name, None)

    async def _check_in_turn(self, name: bytes) -> None:
        row = await self._thread(self.records.keys.registration, ANSWERING, name)
        if row is None or not row.is_open:
            return
        record = await self._thread(self.records.record, row)
        if record.decision is None:
            if record.opening is None:
                return
            offer, opening = read_offer(record.offer), read_opening(record.opening)
            sets = opened_sets(offer, opening)
            if not sets:
                await self._thread(self.decisions.store, row, record, "opening-incomplete", 0)
            elif await self._thread(self.taken.has_keys, row.target.peer, offer.sets[opening.kept]):
                reason, index, compute_ms = await self._make_again(name, offer, sets)
                record = record.model_copy(update={"compute_ms": compute_ms})
                await self._thread(self.decisions.store, row, record, reason, index)
            else:
                return
        await self._thread(self.decisions.finish, row.exchange_id)
        self._registered()

    async def _make_again(
        self, name: bytes, offer: KeyOffer, sets: list[tuple[int, bytes]]
    ) -> tuple[RefusedFor | None, int, int]:
        """Make every opened set from its secret; what is wrong, with which set, and how long it took."""
        started = time.monotonic()
        search = await self._thread(search_under, self.core, offer.profile, offer.plan)

        def progress(done: int, total: int) -> None:
            self._progress[name] = Progress(done=done, total=total)

        progress(0, len(sets))
        made = await self._engine.make_sets(search, [secret for _, secret in sets], progress)
        compute_ms = int(1000 * (time.monotonic() - started))
        for (index, _), found in zip(sets, made, strict=True):
            if found is None or found[1] != offer.sets[index]:
                return "set-differs", index, compute_ms
        return None, 0, compute_ms

    # What is over

    async def _sweep_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                await self._thread(self.decisions.sweep)
                await self._look_at_all()
            except ConcordatError as error:
                log("keys were not swept", level="error", code=error.code)
