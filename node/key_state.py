"""What the state holds of evaluation keys: registrations under way or ended, and the keys in use, epoch by epoch.

Source: specs/wire.md, section "Registration of keys".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from node.state import FoundConflict, SeenHead, State, insert_conflict, swap_head
from node.tables import epoch_keys, registrations
from protocol.registration import epoch_ms
from protocol.tomltext import time_text

ASKING, ANSWERING = "q", "r"


@dataclass(frozen=True, slots=True)
class Target:
    """What keys are registered for: a peer, a plan and an epoch."""

    peer: str
    plan: bytes
    epoch_days: int
    epoch: int

    @property
    def end_ms(self) -> int:
        """When the epoch is over."""
        return (self.epoch + 1) * epoch_ms(self.epoch_days)


@dataclass(frozen=True, slots=True)
class RegistrationRow:
    """One registration; ``record`` is sealed."""

    role: str
    exchange_id: bytes
    target: Target
    created_ms: int
    is_open: bool
    state: str
    record: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeysRow:
    """Registered keys. ``sets`` is how many were offered; ``sealed_secret`` is empty for those of a peer."""

    role: str
    hash: bytes
    target: Target
    sets: int
    registered_ms: int
    sealed_secret: bytes = field(default=b"", repr=False)
    is_gone: bool = False


class KeyState:
    """The key tables of one state; each write is one durable transaction."""

    def __init__(self, state: State) -> None:
        self._state = state

    # Registrations

    def put(
        self,
        row: RegistrationRow,
        heads: Sequence[SeenHead] = (),
        found: Sequence[FoundConflict] = (),
        keys: KeysRow | None = None,
    ) -> None:
        """Store one step of a registration as a whole: newer heads of the peer, what accuses it, keys in use.

        Args:
            row: Inserted or replaced.
            heads: Each replaces the stored head of its peer if it is larger.
            found: Each suspends its peer.
            keys: In use from now on.
        """
        table = registrations
        same = (table.c.role == row.role) & (table.c.exchange_id == row.exchange_id)
        values: dict[str, Any] = {"is_open": int(row.is_open), "state": row.state, "record": row.record}
        with self._state.writing() as connection:
            if connection.execute(update(table).where(same).values(**values)).rowcount == 0:
                fixed = {"role": row.role, "exchange_id": row.exchange_id, "created_ms": row.created_ms}
                connection.execute(insert(table).values(**values, **fixed, **_target_values(row.target)))
            for head in heads:
                swap_head(connection, head)
            for one in found:
                insert_conflict(connection, one)
            if keys is not None:
                _put_keys(connection, keys)

    def registration(self, role: str, exchange_id: bytes) -> RegistrationRow | None:
        """One registration."""
        table = registrations
        query = select(table).where((table.c.role == role) & (table.c.exchange_id == exchange_id))
        with self._state.reading() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else _registration(row)

    def registrations(self, role: str, *, only_open: bool = False) -> list[RegistrationRow]:
        """All registrations of a role, oldest first."""
        query = select(registrations).where(registrations.c.role == role)
        if only_open:
            query = query.where(registrations.c.is_open == 1)
        with self._state.reading() as connection:
            rows = connection.execute(query.order_by(registrations.c.created_ms)).all()
        return [_registration(row) for row in rows]

    def count(self, role: str, target: Target) -> int:
        """How many registrations there were for a target."""
        query = select(func.count()).where(registrations.c.role == role, *_is(registrations, target))
        with self._state.reading() as connection:
            return int(connection.execute(query).scalar_one())

    # Keys in use

    def keys(self, role: str, key_hash: bytes, peer: str) -> KeysRow | None:
        """Registered keys of, or for, a peer, by hash."""
        table = epoch_keys
        query = select(table).where(
            (table.c.role == role) & (table.c.hash == key_hash) & (table.c.peer == peer)
        )
        with self._state.reading() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else _keys(row)

    def keys_for(self, role: str, target: Target, sets: int) -> KeysRow | None:
        """The newest registered keys of a target that were one of at least so many sets."""
        table = epoch_keys
        query = select(table).where(table.c.role == role, *_is(table, target), table.c.sets >= sets)
        with self._state.reading() as connection:
            row = connection.execute(query.order_by(table.c.registered_ms.desc())).first()
        return None if row is None else _keys(row)

    def all_keys(self, role: str) -> list[KeysRow]:
        """All registered keys that are not gone, the newest first."""
        table = epoch_keys
        query = select(table).where((table.c.role == role) & (table.c.is_gone == 0))
        with self._state.reading() as connection:
            rows = connection.execute(query.order_by(table.c.registered_ms.desc())).all()
        return [_keys(row) for row in rows]

    def forget_keys(self, row: KeysRow) -> None:
        """Delete the secret of keys whose epoch is over; that they were registered stays known."""
        table = epoch_keys
        same = (table.c.role == row.role) & (table.c.hash == row.hash) & (table.c.peer == row.target.peer)
        with self._state.writing() as connection:
            connection.execute(update(table).where(same).values(is_gone=1, sealed_secret=b""))


def describe_keys(state: State) -> list[dict[str, Any]]:
    """Keys in use and registrations under way, in plain values, for ``node status``."""
    known = KeyState(state)
    shown: list[dict[str, Any]] = [
        {
            "peer": row.target.peer,
            "whose": "ours" if row.role == ASKING else "theirs",
            "state": "registered",
            "plan": row.target.plan.hex(),
            "sets": row.sets,
            "epoch": row.target.epoch,
            "until": time_text(row.target.end_ms),
        }
        for role in (ASKING, ANSWERING)
        for row in known.all_keys(role)
    ]
    shown += [
        {
            "peer": row.target.peer,
            "whose": "ours" if row.role == ASKING else "theirs",
            "state": row.state,
            "plan": row.target.plan.hex(),
            "sets": None,
            "epoch": row.target.epoch,
            "until": time_text(row.target.end_ms),
        }
        for role in (ASKING, ANSWERING)
        for row in known.registrations(role, only_open=True)
    ]
    return shown


def _put_keys(connection: Connection, row: KeysRow) -> None:
    table = epoch_keys
    same = (table.c.role == row.role) & (table.c.hash == row.hash) & (table.c.peer == row.target.peer)
    connection.execute(delete(table).where(same))
    connection.execute(
        insert(table).values(
            role=row.role,
            hash=row.hash,
            sets=row.sets,
            registered_ms=row.registered_ms,
            sealed_secret=row.sealed_secret,
            is_gone=int(row.is_gone),
            **_target_values(row.target),
        )
    )


def _target_values(target: Target) -> dict[str, Any]:
    names = ("peer", "plan", "epoch_days", "epoch")
    return {name: getattr(target, name) for name in names}


def _is(table: Any, target: Target) -> list[Any]:
    return [table.c[name] == value for name, value in _target_values(target).items()]


def _target(row: Any) -> Target:
    return Target(row.peer, bytes(row.plan), row.epoch_days, row.epoch)


def _registration(row: Any) -> RegistrationRow:
    return RegistrationRow(
        row.role,
        bytes(row.exchange_id),
        _target(row),
        row.created_ms,
        bool(row.is_open),
        row.state,
        bytes(row.record),
    )


def _keys(row: Any) -> KeysRow:
    return KeysRow(
        row.role,
        bytes(row.hash),
        _target(row),
        row.sets,
        row.registered_ms,
        bytes(row.sealed_secret),
        bool(row.is_gone),
    )
