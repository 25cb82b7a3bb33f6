"""A served node: core, engine, both roles, the peer server and the admin socket, started and stopped together."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from crypto.errors import ConcordatError
from crypto.hitsearch.masks import MaskStream
from crypto.hitsearch.parameters import plan_for
from crypto.profiles import Profile
from node import operations
from node.admin import AdminServer, Report
from node.answering import Answering
from node.asking import Asking
from node.cadence import Cadence
from node.claiming import Claiming
from node.claims_taken import ClaimsTaken
from node.config import split_endpoint
from node.core import Clock, NodeCore, wall_clock
from node.driver import CoreThread
from node.engine import Engine
from node.engine_worker import Scheme
from node.errors import BadConfig, StorageFailed, WorkerLost
from node.files import Files
from node.gallery_version import Staged
from node.gossip import Gossip
from node.logging import configure, log
from node.peer import PeerClient
from node.query import cancel_query, run_query
from node.quorum import Quorum
from node.registering import Registering
from node.registrar import Registrar
from node.server import PeerServer
from node.status import status
from node.tls import trust
from node.warming import Warmer


def real_scheme() -> Scheme:
    """The encrypted search."""
    from crypto.hitsearch.requester import Requester
    from crypto.hitsearch.responder import Responder

    return Scheme(plan_for, Requester, Responder, MaskStream)


class Daemon:
    """One served node.

    Args:
        core: Open; closed by ``stop``.
        scheme: For tests in process only, the plain twin; a real node has no way to name another.
    """

    def __init__(self, core: NodeCore, scheme: Scheme | None = None) -> None:
        config = core.config
        self.core = core
        self.thread = CoreThread()
        self.engine = Engine(
            scheme or real_scheme(), core.keys.storage, config.workers, config.memory_mib * 2**20
        )
        self.client = PeerClient(
            core.keys.tls_key, core.descriptor.fields.tls_certificate, config.peer_timeout_s
        )
        self.quorum = Quorum(core, self.thread, self.client)
        self.registering = Registering(core, self.thread, self.engine, self.client, self.quorum)
        self.asking = Asking(core, self.thread, self.engine, self.client, self.quorum, self.registering)
        self.answering = Answering(core, self.thread, self.engine, self.quorum)
        self.warmer = Warmer(core, self.thread, self.engine)
        self.registrar = Registrar(core, self.thread, self.engine, self.quorum, self.warmer.begin)
        self.claiming = Claiming(core, self.thread, self.client, self.quorum)
        self.claims = ClaimsTaken(core, self.thread, self.quorum)
        self.server = PeerServer(core, self.thread, self.answering, self.registrar, self.claims)
        self.cadence = Cadence(core, self.thread)
        self.gossip = Gossip(core, self.thread, self.client)
        self.admin = AdminServer(core.paths.admin_socket, self._operations())
        self._warming: asyncio.Task[None] | None = None

    async def start(self, *, admin: bool = True, warm: bool = True) -> None:
        """Listen, take up open exchanges, and only then answer the operator."""
        host, port = split_endpoint(self.core.config.listen)
        await self.thread(self._sweep)
        await self.cadence.start()
        try:
            await self.server.start(host, port)
        except OSError as error:
            raise BadConfig(f"cannot listen on {self.core.config.listen}: {error.strerror}") from None
        if warm:
            # Workers load their libraries meanwhile; the first piece of work waits for them.
            self._warming = asyncio.create_task(self._warm_up())
        await self.registrar.start()
        await self.claims.start()
        resumed = await self.answering.resume() + await self.asking.resume()
        await self.claiming.start()
        await self.registering.start()
        await self.gossip.start()
        if admin:
            await self.admin.start()
        log(
            "node served",
            country=self.core.country,
            endpoint=self.core.config.endpoint,
            size=self.core.journal.ledger.size,
            resumed=resumed,
        )

    def _sweep(self) -> None:
        self.core.bodies.sweep(self.asking.needed() | self.answering.needed())

    async def _warm_up(self) -> None:
        try:
            await self.engine.start()
        except WorkerLost as error:
            log("workers do not start", level="error", code=error.code)
            return
        await self.warmer.run()

    async def stop(self) -> None:
        """Stop in the reverse order; what is open is taken up at the next start."""
        if self._warming is not None:
            self._warming.cancel()
            await asyncio.gather(self._warming, return_exceptions=True)
        await self.cadence.close()
        await self.gossip.close()
        await self.admin.close()
        await self.server.close()
        await self.registering.close()
        await self.claiming.close()
        await self.registrar.close()
        await self.warmer.close()
        await self.asking.close()
        await self.answering.close()
        await self.client.close()
        await self.engine.close()
        self.thread.close()
        self.core.close()
        log("node stopped", country=self.core.country)

    # The operator's calls

    def _operations(self) -> dict[str, Callable[[dict[str, Any], Report], Any]]:
        table: dict[str, Callable[[dict[str, Any], Report], Any]] = {
            name: partial(self._in_core, function) for name, function in operations.OPERATIONS.items()
        }
        return table | {
            "status": self._status,
            "peer.add": self._peer_add,
            "peer.resume": partial(self._then_register, "peer.resume"),
            "agreement.sign": partial(self._then_register, "agreement.sign"),
            "gallery.import": partial(self._gallery, operations.stage_gallery),
            "gallery.reshuffle": partial(self._gallery, operations.reshuffle_gallery),
            "query": partial(run_query, self.core, self.thread, self.asking),
            "query.cancel": partial(cancel_query, self.asking),
            "claim": self.claiming.run,
        }

    async def _in_core(
        self, function: operations.Operation, arguments: dict[str, Any], report: Report
    ) -> dict[str, Any]:
        return await self.thread(function, self.core, arguments, report)

    async def _status(self, arguments: dict[str, Any], report: Report) -> dict[str, Any]:
        shown = await self.thread(status, self.core)
        live = {"workers": self.engine.worker_pids, "registering": self.registering.under_way()}
        return {**shown, "served": True, **live}

    async def _then_register(self, name: str, arguments: dict[str, Any], report: Report) -> dict[str, Any]:
        """What lets this node ask a peer also begins the registration of keys there."""
        result = await self.thread(operations.OPERATIONS[name], self.core, arguments, report)
        self.registering.begin()
        return result

    async def _peer_add(self, arguments: dict[str, Any], report: Report) -> dict[str, Any]:
        function = operations.OPERATIONS["peer.add"]
        result = await self.thread(function, self.core, arguments, report)
        if result["accepted"] and self.server.tls is not None:
            peer = self.core.roster.peer(result["peer"]["country"])
            trust(self.server.tls, peer.fields.tls_certificate)
        return result

    async def _gallery(
        self,
        stage: Callable[[NodeCore, dict[str, Any], Profile], Staged],
        arguments: dict[str, Any],
        report: Report,
    ) -> dict[str, Any]:
        """The long half beside the core's thread, so that the ledger stays available."""
        report({"step": "sealing templates"})
        name = operations.text(arguments, "profile")
        profile = await self.thread(operations.find_profile, self.core, name)
        staged = await asyncio.to_thread(stage, self.core, arguments, profile)
        result = await self.thread(operations.finish_gallery, self.core, arguments, staged)
        self.warmer.begin()
        return result


async def open_daemon(
    directory: Path,
    *,
    scheme: Scheme | None = None,
    files: Files | None = None,
    clock: Clock = wall_clock,
    enforce_own_policy: bool = True,
    admin: bool = True,
    warm: bool = True,
) -> Daemon:
    """Open and start a node in this process; for tests and demonstrations with other than the real parts."""
    core = NodeCore.open(directory, files=files, clock=clock, enforce_own_policy=enforce_own_policy)
    daemon = Daemon(core, scheme)
    try:
        await daemon.start(admin=admin, warm=warm)
    except BaseException:
        await daemon.stop()
        raise
    return daemon


def serve(directory: Path, log_file: Path | None, level: str) -> None:
    """Serve a node until SIGINT or SIGTERM.

    Raises:
        ConcordatError: It could not be started.
    """
    os.umask(0o077)
    try:
        configure(level, str(log_file) if log_file is not None else None)
    except OSError as error:
        raise StorageFailed(f"log {log_file}: {error.strerror}") from None
    asyncio.run(_serve(directory))


async def _serve(directory: Path) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    try:
        daemon = await open_daemon(directory)
    except ConcordatError as error:
        log("node not started", level="error", code=error.code)
        raise
    try:
        await stopped.wait()
    finally:
        await daemon.stop()
