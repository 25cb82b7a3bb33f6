"""Gossip at work: ask every peer what it holds of others, compare it with what is held here, and settle what differs.

A peer whose log signed something that it has not yet proven to be of one history with what is held here *owes* a
proof. Until it has given it, exchanges with it wait. A contradiction is a conflict like any other.

Source: specs/ledger.md, section "Gossip".
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from crypto.checkpoint_text import split_checkpoint
from crypto.errors import ConcordatError
from crypto.note import parse_note
from node.core import NodeCore
from node.driver import CoreThread
from node.errors import PeerMisbehaved, StorageFailed
from node.ledger_store import SCRATCH
from node.logging import log
from node.peer import PeerClient
from node.trust import settle_conflicts
from protocol.audit.beside import SEEN
from protocol.errors import EvidenceRejected
from protocol.evidence import StaleCheckpoint
from protocol.gossip import MAX_HELD, ConsistencyReply, HeldCheckpoints

TIMEOUT_S: Final = 10
FIRST_S: Final = 60
TRIES: Final = 3
"""While what is held moves on with every exchange."""
OWED_S: Final = 5
"""How soon a peer that owes a proof is asked again."""


def held_checkpoints(core: NodeCore) -> bytes:
    """The reply to a peer: what we hold of all peers, in the order of their countries; in turns beyond the limit."""
    notes = [core.witnessing.returned(country) for country in sorted(core.roster.peers)]
    known = [note for note in notes if note is not None]
    first = core.clock() // 60_000 * MAX_HELD % max(1, len(known)) if len(known) > MAX_HELD else 0
    return HeldCheckpoints(notes=(known[first:] + known[:first])[:MAX_HELD]).to_bytes()


def consistency(core: NodeCore, old: int, new: int) -> bytes:
    """The reply to a peer that compares two checkpoints of ours; both sizes are of our ledger."""
    core.witnessing.require_sound()
    proof = core.journal.ledger.consistency(old, new)
    return ConsistencyReply(old_size=old, new_size=new, proof=list(proof)).to_bytes()


class Gossip:
    """The background task of a served node."""

    def __init__(self, core: NodeCore, thread: CoreThread, client: PeerClient) -> None:
        self._core = core
        self._thread = thread
        self._client = client
        self._task: asyncio.Task[None] | None = None
        self._settled: dict[tuple[str, str], bytes] = {}

    async def start(self) -> None:
        """Begin, unless it is switched off."""
        if self._core.config.gossip_seconds:
            self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + min(FIRST_S, self._core.config.gossip_seconds)
        while True:
            try:
                if loop.time() >= due:
                    due = loop.time() + self._core.config.gossip_seconds
                    await self.round()
                else:
                    await self.settle_owed()
            except Exception as error:  # noqa: BLE001 - what goes wrong in one round must not end all later ones
                log("gossip failed", level="error", reason=type(error).__name__)
            owed = bool(self._core.witnessing.owed)
            await asyncio.sleep(min(max(0.0, due - loop.time()), OWED_S if owed else float("inf")))

    async def round(self) -> None:
        """Ask every peer once, and keep what is held here beside the ledger, for the auditors."""
        await self._thread(self._keep_beside)
        await self.settle_owed()
        for country in sorted(self._core.roster.peers):
            if await self._thread(self._core.suspension, country):
                continue
            try:
                body = await self._get(country, "/v1/checkpoints", HeldCheckpoints.LIMIT)
                notes = HeldCheckpoints.from_bytes(body).notes
            except (ConcordatError, TimeoutError) as error:
                code = error.code if isinstance(error, ConcordatError) else "timeout"
                log("a peer does not say what it holds", level="warning", peer=country, code=code)
                continue
            for note in notes:
                await self.take(country, note)

    async def _get(self, country: str, path: str, limit: int) -> bytes:
        address = self._core.address(country)
        async with asyncio.timeout(TIMEOUT_S):
            reply = await self._client.send(address, "GET", path, limit=limit)
        if reply.status != 200:
            raise PeerMisbehaved(f"{country} answers with status {reply.status}")
        return reply.body

    async def take(self, teller: str, note: bytes) -> None:
        """Compare one checkpoint that a peer holds of somebody with what is held here."""
        try:
            of = await self._thread(self._signer_of, note)
            if of == self._core.country:
                await self._thread(self._core.witnessing.take_told, teller, note)
            elif of and not await self._thread(self._core.suspension, of):
                await self._compare(of, teller, note)
        except (ConcordatError, TimeoutError) as error:
            code = error.code if isinstance(error, ConcordatError) else "timeout"
            log("a checkpoint of gossip was not settled", level="warning", peer=teller, code=code)

    def _signer_of(self, note: bytes) -> str:
        """The country whose ledger it is; empty if no accepted descriptor names it."""
        origin = split_checkpoint(parse_note(note).text).origin
        if origin == self._core.witnessing.origin:
            return self._core.country
        peers = self._core.roster.peers.items()
        return next((country for country, peer in peers if peer.ledger.name == origin), "")

    async def _compare(self, country: str, teller: str, note: bytes) -> None:
        witnessing = self._core.witnessing
        text = parse_note(note).text
        try:
            for _ in range(TRIES):
                sizes = await self._thread(witnessing.between, country, note)
                if sizes is None or self._settled.get((teller, country)) == text:
                    break
                try:
                    path = f"/v1/consistency?old={sizes[0]}&new={sizes[1]}"
                    reply = ConsistencyReply.from_bytes(
                        await self._get(country, path, ConsistencyReply.LIMIT)
                    )
                    if (reply.old_size, reply.new_size) != sizes:
                        raise PeerMisbehaved(f"{country} proves something else than it was asked for")
                    await self._thread(witnessing.settle_told, country, note, sizes, reply.proof)
                    break
                except StaleCheckpoint:
                    continue
                except EvidenceRejected:
                    raise
                except (ConcordatError, TimeoutError):
                    # That the peer's log has signed it is a fact by now.
                    self._owes(country, teller, note)
                    raise
            else:
                self._owes(country, teller, note)
                return
        except EvidenceRejected:
            witnessing.owed.pop(country, None)
            await self._thread(settle_conflicts, self._core)
            raise
        self._settled[teller, country] = text
        if witnessing.owed.get(country, ("", b""))[1] == note:
            witnessing.owed.pop(country)

    def _owes(self, country: str, teller: str, note: bytes) -> None:
        # The first stays until it is proven: a later one could be of the other history.
        self._core.witnessing.owed.setdefault(country, (teller, note))
        log("a peer owes a proof of one history", level="error", peer=country, reason=f"shown to {teller}")

    async def settle_owed(self) -> None:
        """Ask again whoever owes a proof."""
        for country, (teller, note) in list(self._core.witnessing.owed.items()):
            of = await self._thread(self._signer_of, note)
            suspended = bool(await self._thread(self._core.suspension, country))
            if of != country or suspended:
                # It has a successor ledger by now, or the operators talk.
                self._core.witnessing.owed.pop(country, None)
            else:
                await self.take(teller, note)

    def _keep_beside(self) -> None:
        root = self._core.paths.ledger
        try:
            for country in sorted(self._core.roster.peers):
                note = self._core.witnessing.returned(country)
                if note is not None:
                    self._core.files.ensure_directory(root / SEEN, root)
                    self._core.files.write_atomic(root / SEEN / country, note, root / SCRATCH)
        except OSError as error:
            raise StorageFailed(f"a checkpoint could not be kept: {error.strerror}") from None
