"""A node without sockets: its keys, ledger, state, galleries and trust, opened by one process under a lock.

All methods are synchronous and are called from one thread at a time: the daemon gives them a thread of their
own, so that its event loop never waits for a disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Self

from crypto.contexts import Context
from crypto.errors import ConcordatError, LocalFault
from crypto.hitsearch.kernel_library import description
from crypto.hitsearch.parameters import plan_for
from crypto.hitsearch.passes import probes_of
from crypto.profiles import Profile, load_profile
from crypto.sealing import open_sealed, seal
from node.bodies import Bodies
from node.config import NodeConfig, NodePaths
from node.errors import BadConfig, BelowQuorum, NoAgreement, NodeBusy, StateDamaged, StorageFailed
from node.files import AlreadyLocked, Files
from node.gallery import GalleryStore
from node.journal import Journal, Recorded
from node.kept_queries import KeptQueries
from node.key_state import describe_keys
from node.keys import NodeKeys, load_keys
from node.ledger_store import LedgerStore
from node.logging import log
from node.peer import Address
from node.profiles import DIGESTS, builtin
from node.setup import make_descriptor
from node.state import PeerRow, State, open_engine
from node.witnessing import Witnessing
from protocol import statements, statements_witness
from protocol.agreement import Agreement, read_agreement
from protocol.clock import ClockStep, ClockWatch
from protocol.descriptor import Descriptor, read_descriptor
from protocol.errors import BadDescriptor
from protocol.exchange.parties import Parties, Peer, PlanSizes, Seen
from protocol.limits import MAX_DESCRIPTOR
from protocol.log_policy import LogPolicy
from protocol.roster import Roster
from protocol.statements import Leaf, Statement

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
        self._agreements: dict[bytes, Agreement] = {}
        for digest, _, note in state.agreements():
            self._agreements[digest] = read_agreement(note)
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
            try:
                stack.enter_context(files.lock(paths.lock))
            except AlreadyLocked:
                raise NodeBusy(f"another process has the node {paths.root} open") from None
            except OSError as error:
                raise StorageFailed(f"{paths.lock}: {error.strerror}") from None
            keys = load_keys(paths.keys, paths.root / config.unlock_file)
            descriptor = _own_descriptor(paths, config, keys, files, clock())
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
        exchange_id = local_exchange(b"node.initialised", self.keys.identity.verify_key.public)
        if self.journal.ledger.size == 0:
            self.record(
                statements.NodeInitialised(
                    exchange_id=exchange_id,
                    country=self.country,
                    identity_key=self.keys.identity.verify_key.public,
                    origin=self.config.origin,
                ),
                statements.Installed(authority=self.config.authority, software=SOFTWARE),
            )

    def record(self, shared: statements.SharedPart, private: statements.PrivatePart) -> Recorded:
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
        size, demands = max(index + 1, old_size), self.demands(peer)
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
        row = self._peer_row(country)
        if row is None or row.seen_size == 0:
            return None
        stored_ms = self.witnessing.state.standing(country).stored_ms
        return Seen(row.seen_size, row.seen_root, row.seen_checkpoint, stored_ms)

    def suspension(self, country: str) -> str:
        """Why exchanges with a peer are stopped; empty while they are not."""
        return self.witnessing.state.standing(country).suspended_for

    def _peer_row(self, country: str) -> PeerRow | None:
        return next((row for row in self.state.peers() if row.country == country), None)

    # Peers and agreements

    def accept_peer(self, descriptor: Descriptor, operator: str) -> Recorded:
        """Take a descriptor into the roster, logged; the operator has confirmed its fingerprint.

        Raises:
            BadDescriptor: The roster does not allow it.
        """
        roster = self.roster.accept(descriptor)
        exchange_id = local_exchange(b"peer.accepted", descriptor.digest)
        held = self._peer_row(descriptor.country)
        if held is not None and held.descriptor == descriptor.note:
            known = self.journal.find(exchange_id, "peer.accepted")
            if known is not None:
                return known
        known_past = held is not None and (
            held.seen_size or self.witnessing.state.has_succeeded(held.country)
        )
        if known_past and self._ledger_changed(descriptor):
            raise BadDescriptor(f"{descriptor.country} comes with another ledger than the one seen so far")
        recorded = self.record(
            statements.PeerAccepted(
                exchange_id=exchange_id,
                country=self.country,
                peer=descriptor.country,
                descriptor=descriptor.digest,
            ),
            statements.Operated(operator=operator),
        )
        seen = (held.seen_size, held.seen_root, held.seen_checkpoint) if held else (0, bytes(32), b"")
        self.state.put_peer(PeerRow(descriptor.country, descriptor.note, self.clock(), *seen))
        self.roster = roster
        return recorded

    def _ledger_changed(self, descriptor: Descriptor) -> bool:
        held = self.roster.peer(descriptor.country).fields.ledger_vkey
        return descriptor.fields.ledger_vkey != held

    def accept_agreement(self, agreement: Agreement, note: bytes, operator: str) -> Recorded:
        """Put an agreement in force on this node, logged.

        Raises:
            BadAgreement: Not signed by both, or not between this node and an accepted peer as they are now.
            UnknownPeer: The other party is not in the roster.
        """
        peer = next(country for country in agreement.countries if country != self.country)
        agreement.require_parties(self.descriptor, self.roster.peer(peer))
        exchange_id = local_exchange(b"agreement.accepted", agreement.digest)
        if agreement.digest in self._agreements:
            known = self.journal.find(exchange_id, "agreement.accepted")
            if known is not None:
                return known
        recorded = self.record(
            statements.AgreementAccepted(
                exchange_id=exchange_id,
                country=self.country,
                peer=peer,
                agreement=agreement.digest,
            ),
            statements.Operated(operator=operator),
        )
        self.state.put_agreement(agreement.digest, peer, note, self.clock())
        self._agreements[agreement.digest] = agreement
        return recorded

    def agreement(self, digest: bytes, peer: str) -> Agreement | None:
        """An agreement with this peer in force here, by digest."""
        return next((one for one in self.agreements_with(peer) if one.digest == digest), None)

    def agreements_with(self, peer: str) -> list[Agreement]:
        """All agreements with a peer that no later edition replaces, the highest serial first."""
        now = self.clock()
        begun = [one for one in self._agreements.values() if one.fields.not_before_ms <= now]
        found = [
            one
            for one in self._agreements.values()
            if peer in one.countries and not any(later.replaces(one) for later in begun)
        ]
        return sorted(found, key=lambda one: one.fields.serial, reverse=True)

    def usable_agreements(self, peer: str) -> list[Agreement]:
        """The agreements under which a new query to this peer can be asked, the highest serial first.

        If none is in force now, all of them: the refusal then says so, and is logged.

        Raises:
            NoAgreement: There is none with this peer.
        """
        found = self.agreements_with(peer)
        if not found:
            raise NoAgreement(f"no agreement with {peer} is in force here")
        now = self.clock()
        valid = [one for one in found if one.fields.not_before_ms <= now < one.fields.not_after_ms]
        return valid or found

    def current_agreement(self, peer: str) -> Agreement:
        """The first of the usable agreements; raises ``NoAgreement``."""
        return self.usable_agreements(peer)[0]

    def demands(self, peer: str) -> tuple[LogPolicy, ...]:
        """Who outside the pair must have cosigned what a peer and we show each other, by every agreement with it.

        One that has ended still asks for it until a later edition replaces it: what is under way was begun under it.
        """
        now = self.clock()
        begun = [one for one in self.agreements_with(peer) if one.fields.not_before_ms <= now]
        return tuple(one.demand for one in begun if one.demand is not None)

    def parties(self, country: str) -> Parties:
        """Both sides of an exchange with a peer; raises ``UnknownPeer``."""
        peer = self.roster.peer(country)
        known = Peer(country, peer.identity, peer.ledger, self.demands(country))
        return Parties(self.country, self.keys.identity, known)

    def address(self, country: str) -> Address:
        """Where a peer is reached; raises ``UnknownPeer``."""
        fields = self.roster.peer(country).fields
        return Address(country, fields.endpoint, fields.tls_certificate)

    # Profiles

    def profile(self, digest: bytes) -> Profile:
        """A profile that this node knows, by digest; raises ``BadConfig``."""
        for name, known in DIGESTS.items():
            if known == digest.hex():
                return builtin(name)
        stored = self.state.profile_file(digest)
        if stored is None:
            raise BadConfig(f"no profile with digest {digest.hex()[:16]}… is known here")
        return load_profile(stored, digest)

    def add_profile(self, profile: Profile) -> None:
        """Keep a profile of the operator's, so that agreements can name it.

        Raises:
            BadConfig: It bears the name of a built-in profile, and is another.
        """
        if DIGESTS.get(profile.name, profile.digest.hex()) != profile.digest.hex():
            raise BadConfig(
                f"{profile.name} is the name of another, built-in profile; fit this one under its own name"
            )
        self.state.put_profile(profile.digest, profile.name, profile.to_bytes())

    def sizes(self, profile: Profile) -> PlanSizes:
        """The exact lengths of the search plan of a profile, for all probes of a query."""
        plan, probes = plan_for(profile.search), probes_of(profile)
        return PlanSizes(plan.identifier, probes * plan.query_bytes, probes * plan.answer_block_bytes)

    # Sealed small things

    def seal(self, place: bytes, plaintext: bytes) -> bytes:
        """Seal a small secret of the state (a session, a query key) to its place."""
        return seal(self.keys.query, Context.STORAGE, place, plaintext, os.urandom(12))

    def open_sealed(self, place: bytes, sealed: bytes) -> bytes:
        """Open what ``seal`` made; raises ``SealBroken``."""
        return open_sealed(self.keys.query, Context.STORAGE, place, sealed)

    # Status

    def status(self) -> dict[str, Any]:
        """What ``node status`` shows."""
        from node import trust

        head, _ = self.journal.ledger.published()
        return {
            "country": self.country,
            "authority": self.config.authority,
            "endpoint": self.config.endpoint,
            "fingerprint": self.descriptor.fingerprint,
            "ledger": {"origin": self.config.origin, "size": head.size, "root": head.root.hex()},
            "peers": sorted(self.roster.peers),
            "agreements": [digest.hex() for digest in self._agreements],
            "suspended": {one: why for one in sorted(self.roster.peers) if (why := self.suspension(one))},
            "owes_proof": {one: teller for one, (teller, _) in sorted(self.witnessing.owed.items())},
            "alone_with": trust.alone_with(self),
            "halted": self.witnessing.halted.code if self.witnessing.halted is not None else None,
            "exchanges": self.state.count_exchanges(),
            "keys": describe_keys(self.state),
            "registering": [],
            "galleries": self.gallery_list(),
            "arithmetic": description(),
        }

    def gallery_list(self) -> list[dict[str, Any]]:
        """Galleries in counts."""
        return [
            {
                "modality": one.modality,
                "profile": one.profile_name,
                "profile_digest": one.profile_digest.hex(),
                "records": one.records,
                "blocks": one.blocks,
            }
            for one in self.galleries.partitions()
        ]


def _newest_time(journal: Journal) -> int:
    """The latest time among the last entries; entries of parallel exchanges need not be in its order."""
    size = journal.ledger.size
    leaves = (Leaf.from_bytes(journal.ledger.entry(index)) for index in range(max(0, size - 16), size))
    return max((leaf.time_ms for leaf in leaves), default=0)


def local_exchange(kind: bytes, subject: bytes) -> bytes:
    """The exchange id of an entry that belongs to no exchange: the same subject always gives the same one."""
    return hashlib.sha256(kind + b"\0" + subject).digest()[:16]


def _own_descriptor(
    paths: NodePaths, config: NodeConfig, keys: NodeKeys, files: Files, now_ms: int
) -> Descriptor:
    """The stored descriptor, or its next edition when the configuration says something else now."""
    data = files.read(paths.descriptor, MAX_DESCRIPTOR)
    if data is None:
        raise StateDamaged("the node's descriptor is missing")
    try:
        held = read_descriptor(data)
    except ConcordatError as error:
        raise StateDamaged(f"the node's descriptor: {error}") from None
    issued = max(now_ms, held.fields.issued_ms)
    made = make_descriptor(config, keys, held.fields.tls_certificate, held.fields.serial + 1, issued)
    same = made.fields.model_copy(update={"serial": held.fields.serial, "issued_ms": held.fields.issued_ms})
    if same == held.fields:
        return held
    try:
        files.write_atomic(paths.descriptor, made.note)
    except OSError as error:
        raise StorageFailed(f"the descriptor could not be written: {error.strerror}") from None
    return made
