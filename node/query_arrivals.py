"""The admission of the queries that peers send. For the core's thread.

Source: specs/wire.md, section "Checks".
"""

from __future__ import annotations

import math
from typing import Final

from crypto.contexts import Context, hash_fields
from node.bodies import Kind
from node.core import NodeCore
from node.engine import Engine
from node.key_state import ANSWERING, KeyState
from node.known_profiles import plan_sizes
from node.logging import log
from node.sessions import SessionStore
from protocol import limits
from protocol.exchange.admission import Admission, Arrival, StoredQuery, Surroundings, admit
from protocol.exchange.parties import PlanSizes
from protocol.exchange.responder import ResponderSession, ResponderState
from protocol.messages import QuerySubmission
from protocol.registration import InUse

UNANSWERED: Final = frozenset(
    {ResponderState.LOGGING_ACCEPTANCE, ResponderState.WORKING, ResponderState.LOGGING_ANSWER}
)
"""Accepted, with work to be done: what ``max_waiting_queries`` is about."""


class QueryArrivals:
    """Takes in, or turns away, by what the node knows."""

    def __init__(self, core: NodeCore, engine: Engine, store: SessionStore[ResponderSession]) -> None:
        self._core = core
        self._engine = engine
        self._store = store
        self._keys = KeyState(core.state)

    def admit(self, peer: str, submission: bytes, ciphertext: bytes) -> tuple[Admission, bytes]:
        """Check a query and store what is begun with it; the key of its exchange, empty if there is none."""
        known = self._core.bodies
        name = hash_fields(Context.CIPHERTEXT, ciphertext)
        present = known.has(Kind.CIPHERTEXT, name, len(ciphertext))
        if not present:
            known.put(Kind.CIPHERTEXT, ciphertext)
        kept = False
        try:
            admission = admit(
                Arrival(submission, name, len(ciphertext)),
                self._surroundings(peer),
                self._core.parties(peer),
                self._core.clock(),
            )
            session = admission.session
            if session is not None:
                key = session.query_hash
                exchange_id = session.query.exchange_id
                self._store.add(key, exchange_id, peer, session, admission.step)
                kept = session.state is not ResponderState.LOGGING_REFUSAL
                log("query received", exchange=session.query.exchange_id, peer=peer, state=session.state)
            elif admission.known is not None:
                key = admission.known
            else:
                key = b""
                _say(peer, admission)
        finally:
            if not kept and not present:
                known.remove(Kind.CIPHERTEXT, name)
        return admission, key

    def take_witnessed(self, peer: str, submission: bytes) -> int:
        """Take our checkpoint that comes with a query; the size from which the peer wants evidence."""
        query = QuerySubmission.from_bytes(submission)
        self._core.witnessing.take(peer, query.witnessed, query.seen_size)
        return query.seen_size

    def _stored(self, exchange_id: bytes) -> list[StoredQuery]:
        """The queries under an exchange id; our own statements under it count as one that nobody can repeat."""
        found = [StoredQuery(*one) for one in self._core.state.asked_under(exchange_id)]
        if not found and self._core.journal.has(exchange_id):
            found.append(StoredQuery(self._core.country, b""))
        return found

    def _surroundings(self, peer: str) -> Surroundings:
        core = self._core
        plans = {one.profile_digest for one in core.galleries.partitions()}

        def plan(digest: bytes) -> PlanSizes | None:
            return plan_sizes(core.profiles.named(digest)) if digest in plans else None

        return Surroundings(
            seen=core.seen(peer),
            stored=self._stored,
            agreement=lambda digest: core.agreements.named(digest, peer),
            spent=self._store.spent,
            keys=lambda name: self._in_use(name, peer),
            plan=plan,
            busy=self._busy_s(peer),
            suspended=bool(core.suspension(peer)),
        )

    def _busy_s(self, peer: str) -> int:
        """Seconds until there is room for a query of this peer; 0 if there is. Nobody takes more than half of it."""
        store, places = self._store, self._core.config.max_waiting_queries
        peers = [store.peer_of(key) for key in store.open_keys() if store.get(key).state in UNANSWERED]
        if len(peers) < places and peers.count(peer) < -(-places // 2):
            return 0
        return min(max(1, math.ceil(self._engine.waiting_s())), limits.MAX_RETRY_AFTER_S)

    def _in_use(self, name: bytes, peer: str) -> InUse | None:
        row = self._keys.keys(ANSWERING, name, peer)
        if row is None or (not row.is_gone and not self._core.bodies.path(Kind.KEYS, name).exists()):
            return None
        target = row.target
        return InUse(target.plan, target.epoch_days, target.epoch, row.sets)


def _say(peer: str, admission: Admission) -> None:
    code = admission.fault.code if admission.fault is not None else ""
    log("a submission was not taken", level="warning", peer=peer, code=code)
