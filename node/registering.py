"""The requester's side of registering evaluation keys: offers sets, opens all but one, and asks under that one.

Works ahead of the officers' queries: at the start, when an agreement comes into force, and shortly before an epoch
ends. A query that comes earlier waits, and sees how far it is.

Source: specs/wire.md, section "Registration of keys".
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from crypto.errors import ConcordatError, LocalFault
from crypto.hitsearch.parameters import plan_for
from crypto.profiles import SearchProfile
from node.bodies import Bodies, Kind
from node.core import NodeCore
from node.driver import CoreThread
from node.engine import Engine
from node.errors import (
    KeysNotRegistered,
    PeerMisbehaved,
    PeerSuspended,
    PeerUnavailable,
    UnknownCertificate,
)
from node.key_state import KeysRow, Target
from node.logging import log
from node.offers import Offers, Open
from node.own_keys import OwnKeys, Wanted
from node.peer import PeerClient, Reply
from node.quorum import Quorum
from protocol import limits
from protocol.errors import EvidenceRejected
from protocol.evidence import StaleCheckpoint
from protocol.exchange.registrations import SecondChallenge
from protocol.messages import ErrorReply
from protocol.seen_by import UnseenCheckpoint

LOOK_S: Final = 60.0
"""How often it looks what keys will be wanted."""
PATIENCE_S: Final = 20.0
"""How long a query waits for a peer that cannot be reached."""
SLOWLY_S: Final = 15.0
"""Wait before a peer that does not know the agreement, or the profile, is asked again."""

AT_ONCE: Final = frozenset({"try-later", "unavailable"})
LATER: Final = frozenset({"offer-refused", "peer-suspended", "unknown-certificate"})
"""What may pass: the peer's operator has not yet signed, or imported, or resumed."""

Told = Callable[[dict[str, Any]], None]


@dataclass
class Work:
    """One registration under way: how far it is, and what keeps it."""

    wanted: Wanted
    step: str = "making keys"
    done: int = 0
    total: int = 0
    problem: str = ""
    since: float = 0.0
    task: asyncio.Task[None] | None = field(default=None, repr=False)
    stale: int = 0

    def shown(self) -> dict[str, Any]:
        """For the operator and the officer."""
        return {
            "peer": self.wanted.target.peer,
            "epoch": self.wanted.target.epoch,
            "step": self.step,
            "done": self.done,
            "total": self.total,
            "unit": "set",
            "problem": self.problem or None,
        }


class _Ended(Exception):
    """The registration is over without keys; the record says why."""


class _Later(Exception):
    """Not now: somebody has to do something first."""


class _Again(Exception):
    """The peer wants the same with newer evidence."""


class Registering:
    """All registrations of this node's keys at its peers."""

    def __init__(
        self, core: NodeCore, thread: CoreThread, engine: Engine, client: PeerClient, quorum: Quorum
    ) -> None:
        self.core = core
        self._thread = thread
        self._engine = engine
        self._client = client
        self._quorum = quorum
        self.own_keys = OwnKeys(core)
        self.offers = Offers(core)
        self._works: dict[Target, Work] = {}
        self._changed = asyncio.Event()
        self._wake = asyncio.Event()
        self._ticker: asyncio.Task[None] | None = None

    @property
    def _bodies(self) -> Bodies:
        return self.core.bodies

    async def start(self) -> None:
        """Take up what a stop or a crash left open, and begin what will be wanted."""
        for wanted in await self._thread(self.offers.open_targets):
            self._ensure(wanted)
        self._ticker = asyncio.create_task(self._look_ahead())

    def begin(self) -> None:
        """Look at once: an agreement has come into force, or exchanges with a peer are taken up again."""
        self._wake.set()

    async def close(self) -> None:
        """Stop; what is open is taken up at the next start."""
        tasks = [work.task for work in self._works.values() if work.task is not None]
        tasks += [self._ticker] if self._ticker is not None else []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def under_way(self) -> list[dict[str, Any]]:
        """What is being registered now."""
        return [work.shown() for work in self._works.values()]

    async def keys_for(self, wanted: Wanted, report: Told) -> KeysRow:
        """The keys in use for a peer, plan and this epoch; waits for their registration if need be.

        Raises:
            KeysNotRegistered: The peer does not take them, or cannot be reached.
            PeerSuspended: Exchanges with it are stopped.
        """
        loop, began = asyncio.get_running_loop(), asyncio.get_running_loop().time()
        while True:
            row = await self._thread(self.own_keys.in_use, wanted)
            if row is not None:
                return row
            if await self._thread(self.core.suspension, wanted.target.peer):
                raise PeerSuspended(f"exchanges with {wanted.target.peer} are suspended")
            work = self._ensure(wanted)
            assert work.task is not None
            self._changed.clear()
            report({**work.shown(), "step": f"{work.wanted.target.peer}: registering keys, {work.step}"})
            if work.problem and loop.time() - max(began, work.since) > PATIENCE_S:
                raise KeysNotRegistered(
                    f"keys are not registered with {work.wanted.target.peer}: {work.problem}"
                )
            changed = asyncio.create_task(self._changed.wait())
            await asyncio.wait({work.task, changed}, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
            changed.cancel()
            if work.task.done() and await self._thread(self.own_keys.in_use, wanted) is None:
                raise KeysNotRegistered(
                    f"keys are not registered with {work.wanted.target.peer}: {work.problem or 'no offer is left'}"
                )

    # Work

    async def _look_ahead(self) -> None:
        while True:
            try:
                await self._thread(self.own_keys.forget)
                if self.core.config.register_ahead:
                    for wanted in await self._thread(self.own_keys.wanted):
                        self._ensure(wanted)
            except ConcordatError as error:
                log("keys are not looked after", level="error", code=error.code)
            self._wake.clear()
            try:
                await asyncio.wait_for(self._wake.wait(), LOOK_S)
            except TimeoutError:
                continue

    def _ensure(self, wanted: Wanted) -> Work:
        work = self._works.get(wanted.target)
        if work is None:
            work = Work(wanted)
            work.task = asyncio.create_task(self._run(work))
            self._works[wanted.target] = work
        return work

    def _say(self, work: Work, step: str, done: int = 0, total: int = 0, problem: str = "") -> None:
        if problem and not work.problem:
            work.since = asyncio.get_running_loop().time()
        work.step, work.done, work.total, work.problem = step, done, total, problem
        self._changed.set()

    async def _run(self, work: Work) -> None:
        target = work.wanted.target
        try:
            while not await self._try(work):
                pass
        except _Ended:
            log("keys are not registered", level="warning", peer=target.peer, code=work.problem)
        except LocalFault as error:
            work.problem = error.code
            log("keys are not registered", level="error", peer=target.peer, code=error.code)
        finally:
            self._works.pop(target, None)
            self._changed.set()

    async def _try(self, work: Work) -> bool:
        """Go on until the keys are in use; False to begin again where it stands, after a wait."""
        delay = limits.FIRST_RETRY / 1000
        while True:
            try:
                at = await self._thread(self.offers.current, work.wanted) or await self._offer(work)
                if await self._steps(work, at):
                    return True
                wait = limits.POLL / 1000
            except (PeerUnavailable, PeerMisbehaved, UnknownCertificate) as error:
                self._say(work, work.step, problem=error.code)
                wait, delay = delay, min(2 * delay, limits.LAST_RETRY / 1000)
            except LocalFault as error:
                # A full disk, a lost worker, a quorum that is missed: all may pass, and nothing is lost by waiting.
                self._say(work, work.step, problem=error.code)
                log(
                    "keys are not registered yet",
                    level="error",
                    peer=work.wanted.target.peer,
                    code=error.code,
                )
                wait, delay = delay, min(2 * delay, limits.LAST_RETRY / 1000)
            except _Again:
                wait = limits.POLL / 1000
            except _Later:
                wait = SLOWLY_S
            await asyncio.sleep(wait)

    async def _offer(self, work: Work) -> Open:
        """Make the sets, and store them with their secrets before anybody hears of them."""
        if not await self._thread(self.own_keys.may_offer, work.wanted):
            self._say(work, work.step, problem="too-many-offers")
            raise _Ended
        sets = work.wanted.sets
        self._say(work, "making keys", 0, sets)

        def progress(done: int, total: int) -> None:
            self._say(work, "making keys", done, total)

        made = await self._engine.make_sets(work.wanted.search, [None] * sets, progress)
        if None in made:
            raise LocalFault("a set of evaluation keys could not be made")
        return await self._thread(self.offers.begin, work.wanted, [one for one in made if one is not None])

    async def _steps(self, work: Work, at: Open) -> bool:
        """Everything that is due; True once the keys are in use."""
        peer = work.wanted.target.peer
        if await self._thread(self.core.suspension, peer):
            self._say(work, work.step, problem="peer-suspended")
            raise _Later
        if await self._thread(self.offers.is_over, at):
            await self._end(work, at, "overdue")
        address = await self._thread(self.core.address, peer)
        path = "/v1/registrations"
        if at.record.challenge is None:
            self._say(work, "offering", problem=work.problem)
            index = await self._thread(self.offers.log_offer, at)
            body = await self._submission(work, at, index, at.record.offer)
            at = await self._take(work, at, await self._client.send(address, "POST", path, body))
        if at.record.challenge is None:
            return False
        path += f"/{at.name.hex()}"
        if at.record.decision is None and not at.delivered:
            self._say(work, "opening", problem=work.problem)
            index = await self._thread(self.offers.log_opening, at)
            assert at.record.opening is not None
            body = await self._submission(work, at, index, at.record.opening)
            at = await self._take(work, at, await self._client.send(address, "POST", f"{path}/opening", body))
            if at.record.decision is None:
                await self.upload(address, work.wanted.search, at.kept_hash, at.kept_secret)
                await self._thread(self.offers.mark_delivered, at)
        while at.record.decision is None:
            suspended: str = await self._thread(self.core.suspension, peer)
            is_over: bool = await self._thread(self.offers.is_over, at)
            if suspended or is_over:
                return False  # what is due then is said where a round begins
            seen = await self._thread(self.offers.seen_size, peer)
            reply = await self._client.send(address, "GET", f"{path}?seen={seen}")
            at = await self._take(work, at, reply)
            if at.record.decision is None:
                await asyncio.sleep(limits.POLL / 1000)
        refused = await self._thread(self.offers.finish, at)
        if refused is not None:
            self._say(work, work.step, problem=refused)
            raise _Ended
        log("evaluation keys registered", exchange=at.name, peer=peer)
        return True

    async def upload(self, address: Any, search: SearchProfile, name: bytes, secret: bytes) -> None:
        """Have the peer hold the bytes of a set: made again from its secret, sent, and not kept here.

        Raises:
            PeerUnavailable: It does not take them now.
        """
        path = f"/v1/keys/{name.hex()}"
        if (await self._client.send(address, "HEAD", path)).status == 200:
            return
        part = self._bodies.part(Kind.KEYS)
        try:
            length = await self._engine.write_set(search, secret, part)
            plan = plan_for(search).identifier.hex()
            reply = await self._client.upload(address, f"{path}?plan={plan}", part, length)
        finally:
            part.unlink(missing_ok=True)
        if reply.status not in (200, 201):
            raise PeerUnavailable(f"evaluation keys were not taken ({reply.status})")

    async def _submission(self, work: Work, at: Open, index: int, message: bytes) -> bytes:
        peer = work.wanted.target.peer
        old = await self._thread(self.core.witnessing.told, peer)
        await self._quorum.require(max(index + 1, old), peer)
        return await self._thread(self.offers.submission, peer, index, message)

    async def _take(self, work: Work, at: Open, reply: Reply) -> Open:
        """Understand a reply; the registration after it.

        Raises:
            _Ended, _Later, PeerUnavailable: It does not go on, or not now.
        """
        if reply.status != 200:
            await self._refused(work, at, reply)
        try:
            at = await self._thread(self.offers.take, at, reply.body)
        except StaleCheckpoint:
            return at  # overtaken by another exchange with the same peer: what it says next is newer
        except UnseenCheckpoint as error:
            self._say(work, work.step, problem=error.code)
            raise _Later from None
        except (EvidenceRejected, SecondChallenge) as error:
            await self._end(work, at, error.code)
        except LocalFault:
            raise  # our own disk: nothing that the peer said
        except ConcordatError as error:
            log("a reply was not taken", level="warning", peer=work.wanted.target.peer, code=error.code)
            await self._end(work, at, "bad-reply")
        progress = at.progress
        self._say(work, "the peer checks", progress[0], progress[1])
        return at

    async def _refused(self, work: Work, at: Open, reply: Reply) -> NoReturn:
        try:
            code = ErrorReply.from_bytes(reply.body).code
        except ConcordatError:
            raise PeerMisbehaved("an error without its form") from None
        self._say(work, work.step, problem=code)
        if code == "stale-checkpoint" and work.stale < limits.MAX_STALE_RETRIES:
            work.stale += 1
            peer = work.wanted.target.peer
            await self._thread(self.core.witnessing.take_checkpoint_reply, peer, reply.status, reply.body)
            raise _Again
        if code in AT_ONCE:
            raise PeerUnavailable(f"the peer says {code}")
        if code in LATER:
            raise _Later
        await self._end(work, at, code)

    async def _end(self, work: Work, at: Open, reason: str) -> NoReturn:
        await self._thread(self.offers.fail, at, reason)
        self._say(work, work.step, problem=reason)
        raise _Ended
