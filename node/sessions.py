"""Sessions on disk: every step of an exchange is stored as a whole before any command of it is performed.

Synchronous, for the core's thread, in which steps are taken one after the other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from enum import StrEnum
from typing import Any, Generic, TypeVar

from crypto.errors import SealBroken
from node.core import NodeCore
from node.errors import StateDamaged
from node.state import ExchangeRow, FoundConflict, SeenHead
from protocol.conflict import read_conflict
from protocol.errors import UnknownExchange
from protocol.exchange.commands import KeepEvidence, RememberCheckpoint, ReturnQuota, SpendQuota, SuspendPeer
from protocol.exchange.parties import Parties
from protocol.exchange.requester import RequesterSession
from protocol.exchange.responder import ResponderSession
from protocol.exchange.session import Session, Step
from protocol.policy import Quota

S = TypeVar("S", bound=Session[Any])


def place(role: str, key: bytes) -> bytes:
    """What a stored session is sealed to."""
    return b"exchange/" + role.encode() + b"/" + key


def describe_exchanges(core: NodeCore) -> list[dict[str, Any]]:
    """All exchanges of a node in plain values, oldest first: what became of a query whose caller left."""
    shown = []
    for row in core.state.all_exchanges():
        kind = RequesterSession if row.role == "q" else ResponderSession
        record = kind.read_record(core.open_sealed(place(row.role, row.key), row.snapshot))
        shown.append(
            {
                "exchange": row.exchange_id.hex(),
                "role": "asked" if row.role == "q" else "served",
                "peer": row.peer,
                "state": record.state.value,
                "open": row.is_open,
                "outcome": getattr(record, "outcome", None),
                "hits": getattr(record, "hits", 0) if row.role == "q" else None,
                "reason": str(record.reason) if record.reason is not None else None,
                "created_ms": row.created_ms,
            }
        )
    return shown


class SessionStore(Generic[S]):
    """All sessions of one role (``q``: we ask, ``r``: we answer) of one node."""

    def __init__(self, core: NodeCore, role: str, restore: Callable[[bytes, Parties], S]) -> None:
        self._core = core
        self._role = role
        self._restore = restore
        self._live: dict[bytes, tuple[S, ExchangeRow]] = {}

    def add(self, key: bytes, exchange_id: bytes, peer: str, session: S, step: Step) -> None:
        """Store a new session with its first step."""
        row = ExchangeRow(key, self._role, peer, exchange_id, self._core.clock(), True, b"")
        self._store(session, row, step)

    def advance(self, key: bytes, event: Any) -> Step:
        """Feed one event and store what came of it; the step's commands may then be performed.

        An event that carries what we have seen of the peer's ledger gets it from the state, in the same breath.

        Raises:
            UnknownExchange: No such session.
            EventNotAllowed: A defect; nothing has changed.
            StorageFailed: The disk refused; the session is what it was before.
        """
        session, row = self._load(key)
        if hasattr(event, "seen"):
            event = dataclasses.replace(event, seen=self._core.seen(row.peer))
        step = session.handle(event, self._core.clock())
        self._store(session, row, step)
        return step

    def get(self, key: bytes) -> S:
        """The session of a key; raises ``UnknownExchange``."""
        return self._load(key)[0]

    def peer_of(self, key: bytes) -> str:
        """The other side of an exchange; raises ``UnknownExchange``."""
        return self._load(key)[1].peer

    def spent(self, quota: Quota) -> int:
        """How many sessions count against a quota."""
        return self._core.state.spent(self._role, quota)

    def open_keys(self) -> list[bytes]:
        """Keys of all sessions that are not finished, oldest first."""
        return self._core.state.open_exchanges(self._role)

    def count_open(self, states: Collection[StrEnum]) -> int:
        """How many sessions that are not finished are in one of these states."""
        return sum(self.get(key).state in states for key in self.open_keys())

    def _place(self, key: bytes) -> bytes:
        return place(self._role, key)

    def _load(self, key: bytes) -> tuple[S, ExchangeRow]:
        live = self._live.get(key)
        if live is not None:
            return live
        row = self._core.state.exchange(key, self._role)
        if row is None:
            raise UnknownExchange("no such exchange")
        try:
            snapshot = self._core.open_sealed(self._place(key), row.snapshot)
        except SealBroken as error:
            raise StateDamaged(f"a stored exchange does not open: {error}") from None
        return self._restore(snapshot, self._core.parties(row.peer)), row

    def _store(self, session: S, row: ExchangeRow, step: Step) -> None:
        now_ms = self._core.clock()
        heads = [
            SeenHead(one.peer, one.size, one.root, one.note, now_ms)
            for one in step.commands
            if isinstance(one, RememberCheckpoint)
        ]
        found = [
            FoundConflict(one.peer, conflict.digest, conflict.rule, one.conflict, now_ms)
            for one in step.commands
            if isinstance(one, SuspendPeer)
            for conflict in [read_conflict(one.conflict)]
        ]
        evidence = [(one.peer, one.code, one.body) for one in step.commands if isinstance(one, KeepEvidence)]
        spent = [
            one.quota if isinstance(one, SpendQuota) else None
            for one in step.commands
            if isinstance(one, SpendQuota | ReturnQuota)
        ]
        sealed = self._core.seal(self._place(row.key), session.snapshot())
        row = dataclasses.replace(row, is_open=not session.finished, snapshot=sealed)
        # What is in memory must never be ahead of the disk: if the disk refuses, it is read again.
        self._live.pop(row.key, None)
        self._core.state.commit_step(row, heads, evidence, found, spent)
        if row.is_open:
            self._live[row.key] = (session, row)
