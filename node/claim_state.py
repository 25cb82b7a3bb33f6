"""What the state holds of claims: ours and those of peers, and how many of them did not hold.

Source: specs/wire.md, section "Claims".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, delete, func, insert, select, update

from node.state import SeenHead, State, set_standing, swap_head
from node.tables import claims, doubted_claims, peer_standing

ASKING, ANSWERING = "q", "r"

SUSPENDED_FOR: Final = {ASKING: "claims-failed", ANSWERING: "claims-refused"}
"""Why exchanges with a peer are stopped, by the role in which this node has counted."""


@dataclass(frozen=True, slots=True)
class ClaimRow:
    """One claim; ``record`` is sealed. ``key`` is that of the exchange: see ``node.tables.exchanges``."""

    role: str
    key: bytes
    block: int
    slot: int
    peer: str
    created_ms: int
    is_open: bool
    record: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Doubt:
    """A claim did not hold: count it against the peer, and at ``limit`` stop exchanges with it."""

    limit: int
    now_ms: int


class ClaimState:
    """The tables of claims of one state; each write is one durable transaction."""

    def __init__(self, state: State) -> None:
        self._state = state

    def put(self, row: ClaimRow, heads: Sequence[SeenHead] = (), doubt: Doubt | None = None) -> None:
        """Store one step of a claim as a whole: newer heads of the peer, and what is counted against it.

        Args:
            row: Inserted or replaced.
            heads: Each replaces the stored head of its peer if it is larger.
            doubt: None if nothing is held against the peer.
        """
        values: dict[str, Any] = {"is_open": int(row.is_open), "record": row.record}
        with self._state.writing() as connection:
            if connection.execute(update(claims).where(*_same(row)).values(**values)).rowcount == 0:
                names = ("role", "key", "block", "slot", "peer", "created_ms")
                fixed = {name: getattr(row, name) for name in names}
                connection.execute(insert(claims).values(**values, **fixed))
            for head in heads:
                swap_head(connection, head)
            if doubt is not None:
                _count(connection, row.role, row.peer, doubt)

    def doubt(self, role: str, peer: str, doubt: Doubt) -> None:
        """Count what is no claim but as bad as one that does not hold."""
        with self._state.writing() as connection:
            _count(connection, role, peer, doubt)

    def claim(self, role: str, key: bytes, block: int, slot: int) -> ClaimRow | None:
        """The claim of one hit."""
        return next(
            (row for row in self.of_exchange(role, key) if (row.block, row.slot) == (block, slot)), None
        )

    def of_exchange(self, role: str, key: bytes) -> list[ClaimRow]:
        """All claims of an exchange, oldest first."""
        query = select(claims).where((claims.c.role == role) & (claims.c.key == key))
        return self._rows(query)

    def open_claims(self, role: str) -> list[ClaimRow]:
        """Claims that have not come to their end, oldest first."""
        return self._rows(select(claims).where((claims.c.role == role) & (claims.c.is_open == 1)))

    def _rows(self, query: Any) -> list[ClaimRow]:
        with self._state.reading() as connection:
            rows = connection.execute(
                query.order_by(claims.c.created_ms, claims.c.block, claims.c.slot)
            ).all()
        return [
            ClaimRow(
                row.role,
                row.key,
                row.block,
                row.slot,
                row.peer,
                row.created_ms,
                bool(row.is_open),
                row.record,
            )
            for row in rows
        ]

    def doubted(self, role: str, peer: str) -> int:
        """What is counted against a peer since its operator's counterpart here last resumed it."""
        query = select(func.max(doubted_claims.c.number)).where(*_of(role, peer))
        with self._state.reading() as connection:
            return int(connection.execute(query).scalar() or 0)

    def forget_doubts(self, peer: str) -> None:
        """The operator takes the peer up again: count anew."""
        with self._state.writing() as connection:
            connection.execute(delete(doubted_claims).where(doubted_claims.c.peer == peer))


def _count(connection: Connection, role: str, peer: str, doubt: Doubt) -> None:
    counted = connection.execute(
        update(doubted_claims).where(*_of(role, peer)).values(number=doubted_claims.c.number + 1)
    )
    if counted.rowcount == 0:
        connection.execute(insert(doubted_claims).values(role=role, peer=peer, number=1))
    query = select(doubted_claims.c.number).where(*_of(role, peer))
    number = int(connection.execute(query).scalar_one())
    standing = select(peer_standing.c.suspended_for).where(peer_standing.c.country == peer)
    if number >= doubt.limit and not connection.execute(standing).scalar():
        set_standing(connection, peer, suspended_ms=doubt.now_ms, suspended_for=SUSPENDED_FOR[role])


def _same(row: ClaimRow) -> tuple[Any, ...]:
    return (
        claims.c.role == row.role,
        claims.c.key == row.key,
        claims.c.block == row.block,
        claims.c.slot == row.slot,
    )


def _of(role: str, peer: str) -> tuple[Any, ...]:
    return doubted_claims.c.role == role, doubted_claims.c.peer == peer
