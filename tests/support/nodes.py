"""Real nodes for tests: their directories, an agreement, galleries, and daemons in this process."""

from __future__ import annotations

import asyncio
import atexit
import copy
import shutil
import socket
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from crypto.hitsearch.masks import MaskStream
from crypto.hitsearch.parameters import plan_for
from crypto.hitsearch.plain import PlainRequester, PlainResponder
from crypto.profiles import Profile
from node.acceptance import accept_agreement, accept_peer
from node.core import NodeCore
from node.daemon import Daemon, open_daemon
from node.engine_worker import Scheme
from node.key_state import KeysRow
from node.operations import OPERATIONS
from node.profiles import DIGESTS, builtin
from node.setup import create_node, new_auditor, read_auditor
from node.synthetic import GOOD_IMAGES, images, people, write_features
from protocol.agreement import (
    Agreement,
    AgreementFields,
    Grant,
    draft_agreement,
    read_agreement,
    sign_agreement,
)
from protocol.limits import DAY

PLAIN = Scheme(plan_for, PlainRequester, PlainResponder, MaskStream)
PROFILE = "embedding-128"
PURPOSE = "organised-crime"
KEY_SETS = 2
"""The fewest that there can be: one is kept, one opened."""
ASKED = {
    "modality": "face",
    "purpose": PURPOSE,
    "offence": "trafficking",
    "person_category": "suspect",
    "legal_basis": "statement-of-intent",
    "case_reference": "CASE-1",
    "officer": "officer-1",
    "approver": "approver-1",
}


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class World:
    """Two countries, CL and US, that may ask each other; US holds a small gallery.

    Args:
        root: An empty directory.
        records: Synthetic people in the gallery, when ``enrolled`` is not given.
        profile: Of the agreement and the gallery; the built-in ``PROFILE`` when not given.
        enrolled: Feature vectors of the gallery, shape ``(m, d)``; record ``i`` is named ``str(i)``.
        workers: Search processes of each node.
        memory_mib: What each node may spend on keys and encoded blocks.
        cadence_seconds: Off, since most tests count entries.
        modality: Of the agreement and the gallery.
        write: Writes ``gallery.npz``, and what is asked about, into the directory; people's faces when not given.
    """

    def __init__(
        self,
        root: Path,
        *,
        records: int = 300,
        profile: Profile | None = None,
        enrolled: NDArray[Any] | None = None,
        workers: int = 1,
        memory_mib: int = 512,
        cadence_seconds: int = 0,
        modality: str = "face",
        write: Callable[[Path], None] | None = None,
    ) -> None:
        self.root = root
        self.modality = modality
        self.profile = profile or builtin(PROFILE)
        self.enrolled: NDArray[Any]
        self._cadence_seconds = cadence_seconds
        self._machine = {"workers": workers, "memory_mib": memory_mib}
        self.directories = {"CL": root / "cl", "US": root / "us"}
        self._auditor(root)
        for country, directory in self.directories.items():
            self._make(country, directory)
        if write is None:
            self._write_people(records, enrolled)
        else:
            write(root)
        self._introduce()
        with NodeCore.open(self.directories["US"]) as core:
            arguments = {
                "file": str(root / "gallery.npz"),
                "modality": modality,
                "profile": self.profile.name,
            }
            OPERATIONS["gallery.import"](core, arguments, lambda _: None)

    def _write_people(self, records: int, enrolled: NDArray[Any] | None) -> None:
        root = self.root
        if enrolled is None:
            shots = images(people(records + 1, 5), 2, 6, GOOD_IMAGES)
            self.enrolled = shots[:records, 0]
            write_features(root / "known.npz", shots[:records, 1])
            write_features(root / "stranger.npz", shots[records:, 1])
        else:
            self.enrolled = enrolled
        names = [str(index) for index in range(len(self.enrolled))]
        write_features(root / "gallery.npz", self.enrolled, records=names)

    @classmethod
    def copied(cls, root: Path, *, registered: bool = True) -> World:
        """The standard world, made once in a test run; its keys and ports stay, everything else is fresh.

        CL's evaluation keys are registered with US, those of the plain twin, unless told otherwise.
        """
        made = _registered_world() if registered else _standard_world()
        shutil.copytree(made.root, root, dirs_exist_ok=True)
        world = copy.copy(made)
        world.root = root
        world.directories = {"CL": root / "cl", "US": root / "us"}
        return world

    def _auditor(self, root: Path) -> None:
        private, public = new_auditor()
        (root / "auditor").write_bytes(private)
        (root / "auditor.pub").write_bytes(public)

    def _make(self, country: str, directory: Path) -> None:
        endpoint = f"https://127.0.0.1:{free_port()}"
        create_node(
            directory,
            country=country,
            authority=f"Police of {country}",
            endpoint=endpoint,
            listen=endpoint,
            auditors=[read_auditor(self.root / "auditor.pub")],
            unlock_file=None,
            cadence_seconds=self._cadence_seconds,
            register_ahead=False,
            **self._machine,
        )

    def _introduce(self) -> None:
        with NodeCore.open(self.directories["CL"]) as cl, NodeCore.open(self.directories["US"]) as us:
            accept_peer(cl, us.descriptor, "operator")
            accept_peer(us, cl.descriptor, "operator")
            profile = self.profile
            if profile.digest.hex() not in DIGESTS.values():
                cl.profiles.add(profile)
                us.profiles.add(profile)
            now = cl.clock() // 1000 * 1000
            grants = [
                Grant(
                    requester=one,
                    responder=other,
                    modality=self.modality,
                    profile=profile.name,
                    profile_digest=profile.digest,
                    purposes=[PURPOSE],
                    offences=["trafficking"],
                    person_categories=["suspect"],
                    legal_bases=["statement-of-intent"],
                )
                for one, other in (("CL", "US"), ("US", "CL"))
            ]
            fields = AgreementFields(
                name="Test",
                serial=1,
                not_before_ms=now - DAY,
                not_after_ms=now + DAY,
                grants=grants,
                key_sets=KEY_SETS,
            )
            note = draft_agreement(fields, cl.descriptor, us.descriptor)
            for core in (cl, us):
                note = sign_agreement(note, core.country, core.keys.identity)
            for core in (cl, us):
                accept_agreement(core, read_agreement(note), note, "operator")

    @asynccontextmanager
    async def daemon(self, country: str, **options: Any) -> Any:
        """One served node in this process, with the plain twin unless told otherwise."""
        options = {"scheme": PLAIN, "admin": False, "warm": False, **options}
        daemon = await open_daemon(self.directories[country], **options)
        try:
            yield daemon
        finally:
            await daemon.stop()

    def arguments(self, probe: str, to: str = "US", **changes: Any) -> dict[str, Any]:
        """Arguments of a query with ``known.npz:3`` or ``stranger.npz``."""
        return {**ASKED, "to": [to], "modality": self.modality, "probe": str(self.root / probe), **changes}


@cache
def _standard_world() -> World:
    root = Path(tempfile.mkdtemp(prefix="concordat-world-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return World(root)


@cache
def _registered_world() -> World:
    root = Path(tempfile.mkdtemp(prefix="concordat-world-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    world = World.copied(root, registered=False)
    # Tests run in an event loop of their own.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, _register(world)).result()
    return world


async def _register(world: World) -> None:
    """Have CL's keys registered with US, as they are on every day but the first."""
    async with world.daemon("US"), world.daemon("CL") as cl:
        await register(cl, "US")


async def register(daemon: Daemon, peer: str) -> KeysRow:
    """Register a node's keys with a peer that is served."""
    own_keys, core = daemon.registering.own_keys, daemon.core
    agreement = core.agreements.current(peer)
    wanted = own_keys.target_of(agreement, agreement.fields.grants[0].profile_digest)
    return await daemon.registering.keys_for(wanted, lambda _: None)


def new_edition(us: NodeCore, cl: NodeCore, **changes: Any) -> Agreement:
    """A later edition of the agreement of the two, or another agreement, accepted by both."""
    fields = us.agreements.current("CL").fields
    note = draft_agreement(fields.model_copy(update={"serial": 2, **changes}), cl.descriptor, us.descriptor)
    for core in (cl, us):
        note = sign_agreement(note, core.country, core.keys.identity)
    agreement = read_agreement(note)
    for core in (cl, us):
        accept_agreement(core, agreement, note, "operator")
    return agreement


async def ask(daemon: Daemon, arguments: dict[str, Any]) -> dict[str, Any]:
    """Ask one country and give its result."""
    from node.query import run_query

    result = await run_query(daemon.core, daemon.thread, daemon.asking, arguments, lambda _: None)
    (one,) = result["results"]
    return dict(one)


def statements(core: NodeCore, *, keys: bool = False) -> list[str]:
    """The types of all entries of a node's ledger, in order; those of registrations of keys only if asked for."""
    opened = [core.journal.open(index) for index in range(core.journal.ledger.size)]
    kinds = [payload.shared.type if payload is not None else "erased" for payload in opened]
    return [kind for kind in kinds if keys or not kind.startswith("keys.")]


async def until(ready: Callable[[], bool], timeout_s: float = 30) -> None:
    """Wait for something that another task brings about; fails after ``timeout_s``."""
    async with asyncio.timeout(timeout_s):
        while not ready():  # noqa: ASYNC110 - nothing tells a test when a node has come so far
            await asyncio.sleep(0.02)
