"""Encrypted probes of answered queries, kept for a while so that an audit can compute the answers again.

What is kept is what arrived: the probe under the requester's key, which this node cannot open. How long is the
operator's choice (``keep_queries_days``, ``keep_queries_mib``); at the latest it goes with the payloads of its
exchange. A legal hold on the exchange keeps it.

Source: specs/ledger.md, section "Recomputing an answer".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, insert, select

from node.bodies import Bodies, Kind
from node.state import State
from node.tables import held_exchanges, kept_queries
from protocol import limits
from protocol.leaf import exchange_in_leaf


@dataclass(frozen=True, slots=True)
class KeptQuery:
    """What is kept of one answered query.

    Attributes:
        query_hash: Of the signed query.
        size: Bytes of the encrypted probe.
        block_hashes: ``answer_block_hash`` of each block of the answer, in its order.
    """

    query_hash: bytes
    exchange_id: bytes
    ciphertext_hash: bytes
    size: int
    kept_ms: int
    block_hashes: tuple[bytes, ...]


class KeptQueries:
    """The kept queries of one node. For the core's thread.

    Args:
        state: Where the rows live.
        bodies: Where the encrypted probes live.
        days: How long each is kept; 0 keeps none.
        max_bytes: For all together; the oldest go first.
    """

    def __init__(self, state: State, bodies: Bodies, days: int, max_bytes: int) -> None:
        self._state = state
        self._bodies = bodies
        self._days = days
        self._max_bytes = max_bytes

    def keep(self, query: KeptQuery) -> bool:
        """Keep the probe of a query, durable on return; False if the settings forbid it."""
        if not self._days or query.size > self._max_bytes:
            return False
        table = kept_queries
        with self._state.writing() as connection:
            connection.execute(delete(table).where(table.c.query_hash == query.query_hash))
            connection.execute(
                insert(table).values(
                    query_hash=query.query_hash,
                    exchange_id=query.exchange_id,
                    ciphertext_hash=query.ciphertext_hash,
                    size=query.size,
                    kept_ms=query.kept_ms,
                    block_hashes=b"".join(query.block_hashes),
                )
            )
        self.prune(query.kept_ms)
        return True

    def find(self, query_hash: bytes) -> KeptQuery | None:
        """What is kept of a query."""
        return next((one for one in self.all() if one.query_hash == query_hash), None)

    def all(self) -> list[KeptQuery]:
        """Everything that is kept, the oldest first."""
        query = select(kept_queries).order_by(kept_queries.c.kept_ms, kept_queries.c.query_hash)
        with self._state.reading() as connection:
            return [_kept(row) for row in connection.execute(query)]

    def bodies(self) -> set[tuple[Kind, bytes]]:
        """The bodies that must stay."""
        return {(Kind.CIPHERTEXT, one.ciphertext_hash) for one in self.all()}

    def discard(self, ciphertext_hash: bytes) -> None:
        """An exchange needs this probe no longer: it goes, unless it is kept."""
        if (Kind.CIPHERTEXT, ciphertext_hash) not in self.bodies():
            self._bodies.remove(Kind.CIPHERTEXT, ciphertext_hash)

    def prune(self, now_ms: int) -> int:
        """Drop what is too old, and the oldest beyond the bytes; how many. What is under a hold stays."""
        kept, held = self.all(), self._held()
        used = sum(one.size for one in kept)
        gone = []
        for one in kept:
            is_due = one.kept_ms + self._days * limits.DAY <= now_ms or used > self._max_bytes
            if is_due and exchange_in_leaf(one.exchange_id) not in held:
                gone.append(one)
                used -= one.size
        return self._drop(gone)

    def forget(self, is_erased: Callable[[bytes], bool]) -> int:
        """Drop what belongs to exchanges whose payloads are erased; how many."""
        return self._drop([one for one in self.all() if is_erased(one.exchange_id)])

    def hold(self, exchange: bytes) -> None:
        """From now on nothing of this exchange (as in leaves) is dropped for its age or the room it takes."""
        with self._state.writing() as connection:
            connection.execute(delete(held_exchanges).where(held_exchanges.c.exchange == exchange))
            connection.execute(insert(held_exchanges).values(exchange=exchange))

    def release(self, exchange: bytes) -> None:
        """End that."""
        with self._state.writing() as connection:
            connection.execute(delete(held_exchanges).where(held_exchanges.c.exchange == exchange))

    def _held(self) -> set[bytes]:
        with self._state.reading() as connection:
            return {bytes(row.exchange) for row in connection.execute(select(held_exchanges))}

    def _drop(self, gone: list[KeptQuery]) -> int:
        if gone:
            names = [one.query_hash for one in gone]
            with self._state.writing() as connection:
                for name in names:
                    connection.execute(delete(kept_queries).where(kept_queries.c.query_hash == name))
            for one in gone:
                self.discard(one.ciphertext_hash)
        return len(gone)


def _kept(row: Any) -> KeptQuery:
    hashes = bytes(row.block_hashes)
    split = tuple(hashes[at : at + 32] for at in range(0, len(hashes), 32))
    names = bytes(row.query_hash), bytes(row.exchange_id), bytes(row.ciphertext_hash)
    return KeptQuery(*names, row.size, row.kept_ms, split)
