"""The quorum: before evidence leaves, its checkpoint is cosigned by the witnesses that the ledger's policy asks for.

Witnesses are peers (over the authenticated connection, ``POST /v1/checkpoint``) and third parties (C2SP
tlog-witness, by their URL). Below the quorum the node sends nothing, or sends all the same and says so, as configured.

Source: specs/ledger.md, section "Quorum".
"""

from __future__ import annotations

import asyncio
from typing import Final

from crypto.errors import ConcordatError
from node.core import NodeCore
from node.driver import CoreThread
from node.errors import BelowQuorum
from node.ledger_store import POLICY
from node.logging import log
from node.peer import PeerClient
from node.unfinished import MissedQuorum
from node.witness_client import WitnessClient
from protocol.checkpoint import TreeHead
from protocol.log_policy import MAX_POLICY_BYTES, LogPolicy, parse_policy
from protocol.seen_by import joined
from protocol.witness import AddCheckpoint

TIMEOUT_S: Final = 10
ROUNDS: Final = 3
"""Rounds of asking before the quorum counts as missed."""


class Quorum:
    """Collects cosignatures for one served node. One collection runs at a time; it serves all who wait."""

    def __init__(self, core: NodeCore, thread: CoreThread, client: PeerClient) -> None:
        self._core = core
        self._thread = thread
        self._client = client
        self._turn = asyncio.Lock()
        self._said = MissedQuorum(core)

    async def require(self, size: int, peer: str) -> None:
        """Return once evidence under a checkpoint of at least ``size`` entries may be sent to a peer.

        Raises:
            BelowQuorum: Not now; the node is configured to refuse.
        """
        if await self._thread(self._ready, size, peer):
            await self._thread(self._met)
            return
        async with self._turn:
            for _ in range(ROUNDS):
                if await self._thread(self._ready, size, peer):
                    await self._thread(self._met)
                    return
                await self._collect(peer)
            if await self._thread(self._ready, size, peer):
                await self._thread(self._met)
                return
            await self._thread(self._met if await self._thread(self._ready, size, "") else self._fall_short)
            await self._thread(self._require_demands, size, peer)

    def _policy(self) -> LogPolicy:
        data = self._core.files.read(self._core.paths.ledger / POLICY, MAX_POLICY_BYTES)
        return parse_policy(data or b"quorum none\n")

    def _ready(self, size: int, peer: str) -> bool:
        policy, demands = self._policy(), self._core.agreements.demands(peer)
        self._core.witnessing.policy = policy
        if policy.quorum is None and not demands:
            return True
        return self._core.witnessing.under_quorum(size, demands) is not None

    def _require_demands(self, size: int, peer: str) -> None:
        """What an agreement demands cannot be done without: the peer would refuse it."""
        demands = self._core.agreements.demands(peer)
        if demands and self._core.witnessing.under_quorum(size, demands, ours=False) is None:
            log("below what the agreement demands", level="error", peer=peer, size=size)
            raise BelowQuorum(f"the witnesses of the agreement with {peer} do not cosign; nothing is sent")

    async def _collect(self, peer: str) -> None:
        """Ask every witness of the policy, and of the agreements with a peer, to cosign our newest checkpoint."""
        policy, head, note = await self._thread(self._newest, peer)
        keys = {key.key_bytes for key in policy.witnesses.values()}
        peers = [
            country
            for country, peer in self._core.roster.peers.items()
            if peer.fields.identity_key in keys and not await self._thread(self._core.suspension, country)
        ]
        await asyncio.gather(
            *(self._ask_peer(country, head, note) for country in peers), self._ask_others(policy, note)
        )

    def _newest(self, peer: str) -> tuple[LogPolicy, TreeHead, bytes]:
        head, note = self._core.journal.ledger.published()
        return joined([self._policy(), *self._core.agreements.demands(peer)]), head, note

    async def _ask_peer(self, country: str, head: TreeHead, note: bytes) -> None:
        def body() -> bytes:
            old = min(self._core.witnessing.told(country), head.size)
            proof = self._core.journal.ledger.consistency(old, head.size)
            return AddCheckpoint(old, tuple(proof), note).to_bytes()

        try:
            address = self._core.address(country)
            request = await self._thread(body)
            async with asyncio.timeout(TIMEOUT_S):
                reply = await self._client.send(address, "POST", "/v1/checkpoint", request)
            await self._thread(self._core.witnessing.take_checkpoint_reply, country, reply.status, reply.body)
        except (ConcordatError, TimeoutError) as error:
            code = error.code if isinstance(error, ConcordatError) else "timeout"
            log("a witness did not cosign", level="warning", peer=country, code=code)

    async def _ask_others(self, policy: LogPolicy, note: bytes) -> None:
        if not policy.urls:
            return
        client = WitnessClient(TIMEOUT_S)
        try:
            cosigned, errors = await client.collect(policy, note, self._core.journal.ledger.consistency)
        finally:
            await client.close()
        await self._thread(self._core.witnessing.take_cosigned, policy, cosigned)
        for url, error in errors.items():
            log("a witness did not cosign", level="warning", endpoint=url, code=error.code)

    # What is said of it

    def _met(self) -> None:
        quorum = self._policy().quorum
        if quorum is not None and self._said.met(quorum):
            log("the quorum is met again", level="warning", size=self._core.journal.ledger.size)

    def _fall_short(self) -> None:
        size, quorum = self._core.journal.ledger.size, self._policy().quorum or "none"
        log("below the quorum of witnesses", level="error", size=size, reason=quorum)
        if self._core.config.below_quorum == "refuse":
            raise BelowQuorum(f"the quorum {quorum} of witnesses does not cosign; nothing is sent")
        self._said.missed(quorum)
