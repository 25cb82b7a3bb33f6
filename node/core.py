"""A node without sockets: its keys, ledger, state, galleries and trust, opened by one process under a lock.

All methods are synchronous and are called from one thread at a time: the daemon gives them a thread of their
own, so that its event loop never waits for a disk.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self

from crypto.contexts import Context, hash_fields
from crypto.errors import LocalFault
from crypto.sealing import open_sealed, seal
from node.agreements import Agreements
from node.bodies import Bodies
from node.config import NodeConfig, NodePaths
from node.errors import BelowQuorum
from node.files import Files
from node.gallery import GalleryStore
from node.home_lock import locked_home
from node.journal import Journal, Recorded
from node.kept_queries import KeptQueries
from node.keys import NodeKeys, load_keys
from node.known_profiles import KnownProfiles
from node.ledger_store import LedgerStore
from node.logging import log
from node.own_descriptor import current_descriptor
from node.peer import Address
from node.state import State, open_engine
from node.witnessing import Witnessing
from protocol import statements, statements_witness
from protocol.clock import ClockStep, ClockWatch
from protocol.descriptor import Descriptor, read_descriptor
from protocol.exchange.parties import Parties, Peer, Seen
from protocol.leaf import Leaf
from protocol.roster import Roster
from protocol.statement_parts import PrivatePart, SharedPart
from protocol.statements import Statement

SOFTWARE: Final = "concordat 0.1.0"
Clock = Callable[[], int]


def wall_clock() -> int:
    """Milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000


class NodeCore:
    """One node, open. Use ``NodeCore.open``; close it, or use it as a context manager.

    Attributes:
        enforces_own_policy: True in every real node. Tests and the demo play a dishonest requester with
            False, in process; no configuration, option or variable reaches it.
    """

    def __init__(
        self,
        paths: NodePaths,
        config: NodeConfig,
        keys: NodeKeys,
        descriptor: Descriptor,
        state: State,
        journal: Journal,
        clock: Clock,
        *,
        enforce_own_policy: bool,
        files: Files,
    ) -> None:
        self.paths = paths
        self.config = config
        self.keys = keys
        self.descriptor = descriptor
        self.state = state
        self.journal = journal
        self.watch = ClockWatch(_newest_time(journal))
        self._clock = clock
        self.files = files
        self.enforces_own_policy = enforce_own_policy
        self.bodies = Bodies(paths.exchange)
        self.kept = KeptQueries(state, self.bodies, config.keep_queries_days, config.keep_queries_mib * 2**20)
        self.galleries = GalleryStore(
            state.engine, paths.gallery, keys.storage, padded=config.gallery.padding == "classes"
        )
        self.roster = Roster.of(config.country, (read_descriptor(row.descriptor) for row in state.peers()))
        self.agreements = Agreements(state, self.clock)
        self.profiles = KnownProfiles(state)
        self.witnessing = Witnessing(state, journal, self.parties, self.clock)
        self._stack = contextlib.ExitStack()

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        files: Files | None = None,
        clock: Clock = wall_clock,
        enforce_own_policy: bool = True,
    ) -> Self:
        """Open a node's directory for this process alone.

        Raises:
            NoSuchNode, BadConfig: Nothing usable is there.
            NodeBusy: Another process has it open.
            StateDamaged, LedgerDamaged, StorageFailed: It cannot be trusted or written.
        """
        from node import records, trust  # they work on an open core

        # SQLite, galleries and logs make files as well: whatever this process makes is its owner's alone.
        os.umask(0o077)
        files = files or Files()
        paths = NodePaths(directory)
        config = paths.read_config()
        with contextlib.ExitStack() as stack:
            stack.enter_context(locked_home(paths, files))
            keys = load_keys(paths.keys, paths.root / config.unlock_file)
            descriptor = current_descriptor(paths, config, keys, files, clock())
            ledger = stack.enter_context(
                LedgerStore.open(paths.ledger, config.origin, keys.ledger.seed, files)
            )
            state = State(open_engine(paths.state))
            stack.callback(state.close)
            journal = Journal(ledger, keys.storage, config.auditor_keys, files)
            core = cls(
                paths,
                config,
                keys,
                descriptor,
                state,
                journal,
                clock,
                enforce_own_policy=enforce_own_policy,
                files=files,
            )
            core.galleries.settle(lambda version: journal.find(version, "gallery.imported") is not None)
            core.galleries.sweep()
            core.witnessing.state.begin_ledger(config.origin, core.clock())
            core.witnessing.check_own()
            if core.witnessing.halted is None:
                core._record_origin()
                records.finish_erasures(core)
                trust.settle_conflicts(core)
            core._stack = stack.pop_all()
            return core

    def close(self) -> None:
        """Give everything back, the lock last."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def clock(self) -> int:
        """Milliseconds since 1970, UTC; steps backward are noticed and logged with the next entry."""
        now = self._clock()
        self.watch.observe(now)
        return now

    @property
    def country(self) -> str:
        """This node's country."""
        return self.config.country

    # The ledger

    def _record_origin(self) -> None:
        if self.journal.ledger.size == 0:
            self.record(
                statements.NodeInitialised(
                    exchange_id=self.own_exchange("node.initialised", self.config.origin.encode()),
                    country=self.country,
                    identity_key=self.keys.identity.verify_key.public,
                    origin=self.config.origin,
                ),
                statements.Installed(authority=self.config.authority, software=SOFTWARE),
            )

    def own_exchange(self, kind: str, subject: bytes) -> bytes:
        """The exchange id of an entry that belongs to no exchange; the same for the same subject, random to others."""
        return hash_fields(Context.OWN_EXCHANGE, self.keys.storage, kind.encode(), subject)[:16]

    def record(self, shared: SharedPart, private: PrivatePart) -> Recorded:
        """Log one statement, now; durable on return."""
        return self.append(Statement(shared, private), self.clock())

    def append(self, statement: Statement, time_ms: int) -> Recorded:
        """Log one statement of a given time; durable on return.

        Raises:
            OwnLedgerContradicted: The ledger is not the one that this node signed; nothing is added to it.
            LocalFault: As ``Journal.record``.
        """
        self.witnessing.require_sound()
        step = self.watch.take_step()
        if step is not None:
            self._record_step(step)
        return self.journal.record(statement, time_ms)

    def _record_step(self, step: ClockStep) -> None:
        log("the clock went back", level="error", seconds=(step.before_ms - step.after_ms) / 1000)
        shared = statements_witness.ClockStepped(
            exchange_id=os.urandom(16), country=self.country, before_ms=step.before_ms, after_ms=step.after_ms
        )
        try:
            self.journal.record(
                Statement(shared, statements_witness.Noticed(software=SOFTWARE)), self._clock()
            )
        except LocalFault:
            self.watch.put_back(step)
            raise

    def evidence(self, index: int, old_size: int, peer: str = "") -> bytes:
        """The bytes of the evidence for one entry, consistent from the size that the peer has seen."""
        self.witnessing.require_sound()
        size, demands = max(index + 1, old_size), self.agreements.demands(peer)
        under = self.witnessing.under_quorum(size, demands)
        if under is None and demands:
            under = self.witnessing.under_quorum(size, demands, ours=False)
            if under is None:
                raise BelowQuorum("no checkpoint that covers this entry has the witnesses of the agreement")
            if self.witnessing.asks_for_quorum and self.config.below_quorum == "refuse":
                under = None
        if under is None and self.witnessing.asks_for_quorum and self.config.below_quorum == "refuse":
            raise BelowQuorum("no checkpoint that covers this entry has its quorum of witnesses")
        return self.journal.evidence(index, old_size, under).to_bytes()

    def seen(self, country: str) -> Seen | None:
        """The newest checkpoint of a peer's ledger that was verified and stored here."""
        row = self.state.peer(country)
        if row is None or row.seen_size == 0:
            return None
        stored_ms = self.witnessing.state.standing(country).stored_ms
        return Seen(row.seen_size, row.seen_root, row.seen_checkpoint, stored_ms)

    def suspension(self, country: str) -> str:
        """Why exchanges with a peer are stopped; empty while they are not."""
        return self.witnessing.state.standing(country).suspended_for

    # Peers

    def parties(self, country: str) -> Parties:
        """Both sides of an exchange with a peer; raises ``UnknownPeer``."""
        peer = self.roster.peer(country)
        known = Peer(country, peer.identity, peer.ledger, self.agreements.demands(country))
        return Parties(self.country, self.keys.identity, known)

    def address(self, country: str) -> Address:
        """Where a peer is reached; raises ``UnknownPeer``."""
        fields = self.roster.peer(country).fields
        return Address(country, fields.endpoint, fields.tls_certificate)

    # Sealed small things

    def seal(self, place: bytes, plaintext: bytes) -> bytes:
        """Seal a small secret of the state (a session, a query key) to its place."""
        return seal(self.keys.query, Context.STORAGE, place, plaintext, os.urandom(12))

    def open_sealed(self, place: bytes, sealed: bytes) -> bytes:
        """Open what ``seal`` made; raises ``SealBroken``."""
        return open_sealed(self.keys.query, Context.STORAGE, place, sealed)


def _newest_time(journal: Journal) -> int:
    """The latest time among the last entries; entries of parallel exchanges need not be in its order."""
    size = journal.ledger.size
    leaves = (Leaf.from_bytes(journal.ledger.entry(index)) for index in range(max(0, size - 16), size))
    return max((leaf.time_ms for leaf in leaves), default=0)
