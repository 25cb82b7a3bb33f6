"""The requester's side of claims: shows the responder the token of a hit, and keeps its signed verdict.

A claim is stored before it is logged, logged before it is sent, and its end is stored before it is logged; each of
these may be done again after a crash. A claim that was begun is sent until there is a verdict, or its time is over.

Source: specs/wire.md, section "Claims".
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from crypto.errors import ConcordatError, PeerFault
from node.admin import Report
from node.claim_records import Begun, ClaimRecords
from node.core import NodeCore
from node.driver import CoreThread
from node.errors import BadConfig, BelowQuorum, PeerMisbehaved, PeerUnavailable, UnknownCertificate
from node.logging import log
from node.operations import text
from node.peer import PeerClient, Reply
from node.quorum import Quorum
from node.record_operations import exchange_of
from protocol import limits
from protocol.claims import FailedFor
from protocol.evidence import StaleCheckpoint
from protocol.exchange.session import backoff
from protocol.messages import ErrorReply
from protocol.seen_by import UnseenCheckpoint

WAIT_S: Final = 30.0
"""How long the officer's call waits for the verdict; the claim goes on without."""

RETRYABLE: Final = frozenset({"try-later", "unavailable", "unseen-checkpoint", "peer-suspended"})
"""Error codes after which the same claim is sent again; every other code ends it."""


class Claiming:
    """All claims of hits that this node makes."""

    def __init__(self, core: NodeCore, thread: CoreThread, client: PeerClient, quorum: Quorum) -> None:
        self.core = core
        self.records = ClaimRecords(core)
        self._thread = thread
        self._client = client
        self._quorum = quorum
        self._tasks: dict[bytes, asyncio.Task[None]] = {}

    async def start(self) -> None:
        """Take up what a stop or a crash left open."""
        for begun in await self._thread(self.records.resume):
            self._run(begun)

    async def close(self) -> None:
        """Stop sending; what is open is taken up at the next start."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def run(self, arguments: dict[str, Any], report: Report) -> dict[str, Any]:
        """The officer's call.

        Args:
            arguments: ``exchange``, ``officer``, and ``hit`` (from 1) or ``list``.
            report: Progress.

        Returns:
            ``ok`` (everything that was claimed now is confirmed) and ``claims``, as of ``ClaimRecords.shown``.

        Raises:
            InputError: There is no such hit, or it cannot be claimed (any more); nothing was sent.
            PeerSuspended: Exchanges with that peer are stopped.
        """
        exchange_id = exchange_of(text(arguments, "exchange"))
        if arguments.get("list") is True:
            return {"ok": True, **await self._thread(self.records.shown, exchange_id)}
        number = arguments.get("hit")
        if number is not None and not isinstance(number, int):
            raise BadConfig("hit: a number is expected")
        officer = text(arguments, "officer")
        begun = await self._thread(self.records.begin, exchange_id, number, officer)
        report({"step": "claim sent"})
        task = self._run(begun)
        await asyncio.wait({task}, timeout=WAIT_S)
        shown = await self._thread(self.records.shown, exchange_id)
        one = next(one for one in shown["hits"] if one["hit"] == begun.number)
        return {**shown, "ok": one["state"] == "confirmed", "hits": [one]}

    def _run(self, begun: Begun) -> asyncio.Task[None]:
        task = self._tasks.get(begun.name)
        if task is None:
            task = asyncio.create_task(self._pursue(begun))
            self._tasks[begun.name] = task
            task.add_done_callback(lambda _: self._tasks.pop(begun.name, None))
        return task

    async def _pursue(self, begun: Begun) -> None:
        """Send until there is an end, and log it."""
        attempts = 0
        while True:
            try:
                if begun.is_settled or await self._sent(begun):
                    begun = await self._thread(self.records.finish, begun)
                    return
            except (PeerUnavailable, PeerMisbehaved, UnknownCertificate, BelowQuorum) as error:
                log("a claim was not delivered", level="warning", exchange=begun.exchange_id, code=error.code)
            except ConcordatError as error:
                log("a claim waits", level="error", exchange=begun.exchange_id, code=error.code)
            begun = await self._thread(self.records.reread, begun)
            attempts += 1
            await asyncio.sleep(backoff(attempts) / 1000)

    async def _sent(self, begun: Begun) -> bool:
        """Send once; whether the claim has come to its end, which is then stored."""
        if await self._thread(self.records.is_over, begun):
            await self._thread(self.records.settle, begun, None, "overdue")
            return True
        if await self._thread(self.core.suspension, begun.peer):
            return False
        reply = await self._asked(begun, await self._thread(self.core.witnessing.told, begun.peer))
        for _ in range(limits.MAX_STALE_RETRIES):
            error = _error_of(reply)
            if error is None or error.code != "stale-checkpoint" or error.stored_size is None:
                break
            take = self.core.witnessing.take_checkpoint_reply
            await self._thread(take, begun.peer, reply.status, reply.body)
            reply = await self._asked(begun, error.stored_size)
        if reply.status != 200:
            return await self._refused(begun, reply)
        return await self._thread(self._taken, begun, reply.body)

    async def _asked(self, begun: Begun, old_size: int) -> Reply:
        index = await self._thread(self.records.log_sent, begun)
        await self._quorum.require(max(index + 1, old_size), begun.peer)
        body = await self._thread(self.records.submission, begun, index, old_size)
        address = await self._thread(self.core.address, begun.peer)
        return await self._client.send(address, "POST", f"/v1/queries/{begun.exchange_id.hex()}/claims", body)

    async def _refused(self, begun: Begun, reply: Reply) -> bool:
        error = _error_of(reply)
        if error is None:
            raise PeerMisbehaved("an error without its form")
        if error.code in RETRYABLE:
            raise PeerUnavailable(f"the peer says {error.code}")
        log("a claim was not taken", level="warning", exchange=begun.exchange_id, code=error.code)
        await self._thread(self.records.settle, begun, None, "error-reply")
        return True

    def _taken(self, begun: Begun, body: bytes) -> bool:
        """Understand the verdict; a bad one ends the claim too, and is kept."""
        try:
            self.records.take(begun, body)
        except StaleCheckpoint:
            return False  # overtaken by another exchange with the same peer: it proves anew from there
        except UnseenCheckpoint as error:
            raise PeerUnavailable(str(error)) from None
        except PeerFault as error:
            log("a verdict was not believed", level="warning", exchange=begun.exchange_id, code=error.code)
            reason: FailedFor = "bad-reply"
            self.records.settle(begun, None, reason)
        return True


def _error_of(reply: Reply) -> ErrorReply | None:
    if reply.status == 200:
        return None
    try:
        return ErrorReply.from_bytes(reply.body)
    except PeerFault:
        return None
