"""The node's durable state in SQLite: write-ahead log, every commit synced before it returns.

A row of an exchange holds the session's snapshot and, while a ledger entry is on its way, the exact bytes of
that entry: after a crash the same bytes are appended again, which the ledger answers with the same index.

All calls come from one thread at a time (the core's).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, delete, event, func, insert, select, text, update
from sqlalchemy.exc import SQLAlchemyError

from node.errors import StateDamaged, StorageFailed
from node.schema import require_schema
from node.tables import (
    agreements,
    claims,
    conflicts,
    exchanges,
    kept_evidence,
    metadata,
    peer_standing,
    peers,
    profiles,
    search_seeds,
    spent_quotas,
)
from protocol.policy import Quota


def open_engine(path: Path) -> Engine:
    """A SQLite engine with the durability that the recovery rules rely on."""
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 30})

    @event.listens_for(engine, "connect")
    def _pragmas(connection: sqlite3.Connection, _record: Any) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
            connection.execute(f"PRAGMA {pragma}").close()

    return engine


@dataclass(frozen=True, slots=True)
class ExchangeRow:
    """One stored exchange."""

    key: bytes
    role: str
    peer: str
    exchange_id: bytes
    created_ms: int
    is_open: bool
    snapshot: bytes


@dataclass(frozen=True, slots=True)
class PeerRow:
    """One accepted peer and the newest checkpoint of its ledger that this node has seen."""

    country: str
    descriptor: bytes
    accepted_ms: int
    seen_size: int
    seen_root: bytes
    seen_checkpoint: bytes


@dataclass(frozen=True, slots=True)
class SeenHead:
    """A verified checkpoint of a peer's ledger."""

    country: str
    size: int
    root: bytes
    checkpoint: bytes
    stored_ms: int


@dataclass(frozen=True, slots=True)
class FoundConflict:
    """A conflict file about a peer's ledger, and under which rule."""

    country: str
    digest: bytes
    rule: str
    body: bytes
    found_ms: int


class State:
    """Reads and writes of whole rows; each write is one durable transaction."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        require_schema(engine)
        with self.writing() as connection:
            metadata.create_all(connection)

    def close(self) -> None:
        """Give back the connections."""
        self.engine.dispose()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One durable transaction; raises ``StorageFailed``."""
        try:
            with self.engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            # The text of the error may hold row contents; its type is enough.
            raise StorageFailed(f"state.sqlite refused a write: {type(error).__name__}") from None

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A consistent look; raises ``StateDamaged``."""
        try:
            with self.engine.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise StateDamaged(f"state.sqlite cannot be read: {type(error).__name__}") from None

    # Exchanges

    def commit_step(
        self,
        row: ExchangeRow,
        heads: Sequence[SeenHead] = (),
        evidence: Sequence[tuple[str, str, bytes]] = (),
        found: Sequence[FoundConflict] = (),
        spent: Sequence[Quota | None] = (),
    ) -> None:
        """Store one step of an exchange as a whole: its snapshot, newer heads of peers, evidence, quotas.

        Args:
            row: Inserted or replaced.
            heads: Each replaces the stored head of its peer if it is larger.
            evidence: (peer, code, body) of what proves that a peer broke a rule.
            found: Conflicts; each suspends its peer.
            spent: What the exchange counts against from now on, the last of them; None for nothing.
        """
        values = {"peer": row.peer, "is_open": int(row.is_open), "snapshot": row.snapshot}
        key = (exchanges.c.key == row.key) & (exchanges.c.role == row.role)
        with self.writing() as connection:
            changed = connection.execute(update(exchanges).where(key).values(**values))
            if changed.rowcount == 0:
                fixed = {
                    "key": row.key,
                    "role": row.role,
                    "created_ms": row.created_ms,
                    "exchange_id": row.exchange_id,
                }
                connection.execute(insert(exchanges).values(**values, **fixed))
            for quota in spent:
                set_spent(connection, row.key, row.role, quota)
            for head in heads:
                swap_head(connection, head)
            for peer, code, body in evidence:
                kept = {"peer": peer, "code": code, "body": body, "kept_ms": row.created_ms}
                connection.execute(insert(kept_evidence).values(**kept))
            for one in found:
                insert_conflict(connection, one)

    def evidence_codes(self) -> list[tuple[str, str]]:
        """Peer and code of all kept evidence, oldest first."""
        query = select(kept_evidence.c.peer, kept_evidence.c.code).order_by(kept_evidence.c.number)
        with self.reading() as connection:
            return [(row[0], row[1]) for row in connection.execute(query)]

    def asked_under(self, exchange_id: bytes) -> list[tuple[str, bytes]]:
        """All queries we were asked under an exchange id: peer and key."""
        query = select(exchanges.c.peer, exchanges.c.key).where(
            (exchanges.c.exchange_id == exchange_id) & (exchanges.c.role == "r")
        )
        with self.reading() as connection:
            return [(row[0], bytes(row[1])) for row in connection.execute(query)]

    def opened_by(self, peer: str, exchange_id: bytes) -> bytes | None:
        """The key of the first query that a peer asked us under this exchange id."""
        query = select(exchanges.c.key).where(
            (exchanges.c.exchange_id == exchange_id) & (exchanges.c.role == "r") & (exchanges.c.peer == peer)
        )
        with self.reading() as connection:
            row = connection.execute(query.order_by(exchanges.c.created_ms, text("rowid"))).first()
        return None if row is None else bytes(row[0])

    def spent(self, role: str, quota: Quota) -> int:
        """How many exchanges of a role count against a quota."""
        same = spent_quotas.c.agreement == quota.agreement, spent_quotas.c.grant == quota.grant
        query = select(func.count()).where(
            *same, spent_quotas.c.day == quota.day, spent_quotas.c.role == role
        )
        with self.reading() as connection:
            return int(connection.execute(query).scalar_one())

    def put_seed(self, query_hash: bytes, attempt: int, sealed_seed: bytes) -> None:
        """Keep the sealed randomness of one attempt at an answer, which the ledger commits to."""
        row = {"query_hash": query_hash, "attempt": attempt, "sealed_seed": sealed_seed}
        with self.writing() as connection:
            connection.execute(insert(search_seeds).values(**row))

    def exchange(self, key: bytes, role: str) -> ExchangeRow | None:
        """One exchange."""
        query = select(exchanges).where((exchanges.c.key == key) & (exchanges.c.role == role))
        with self.reading() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else _exchange_row(row)

    def all_exchanges(self) -> list[ExchangeRow]:
        """All exchanges of both roles, oldest first."""
        with self.reading() as connection:
            rows = connection.execute(select(exchanges).order_by(exchanges.c.created_ms)).all()
        return [_exchange_row(row) for row in rows]

    def forget_exchanges(self, is_erased: Callable[[bytes], bool]) -> int:
        """Delete the sessions and seeds of ended exchanges whose payloads are erased, and their old bytes.

        Args:
            is_erased: Says so of an exchange id.

        Returns:
            How many sessions went.
        """
        gone = [row for row in self.all_exchanges() if not row.is_open and is_erased(row.exchange_id)]
        if not gone:
            return 0
        with self.writing() as connection:
            for row in gone:
                same = (exchanges.c.key == row.key) & (exchanges.c.role == row.role)
                connection.execute(delete(exchanges).where(same))
                connection.execute(delete(search_seeds).where(search_seeds.c.query_hash == row.key))
                of_row = (claims.c.key == row.key) & (claims.c.role == row.role)
                connection.execute(delete(claims).where(of_row))
        with self.engine.connect() as connection:
            # what was deleted is overwritten in the file, and must not live on in the log beside it
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        return len(gone)

    def open_exchanges(self, role: str) -> list[bytes]:
        """Keys of all exchanges of a role that have not ended, oldest first."""
        query = select(exchanges.c.key).where((exchanges.c.role == role) & (exchanges.c.is_open == 1))
        with self.reading() as connection:
            rows = connection.execute(query.order_by(exchanges.c.created_ms)).all()
        return [bytes(row.key) for row in rows]

    def count_exchanges(self) -> dict[str, int]:
        """Numbers for ``node status``: asked, answered for others, and still open."""
        columns = (exchanges.c.role, exchanges.c.is_open)
        query = select(*columns, func.count()).group_by(*columns)
        counts = {"asked": 0, "served": 0, "open": 0}
        with self.reading() as connection:
            for role, is_open, count in connection.execute(query):
                counts["asked" if role == "q" else "served"] += count
                counts["open"] += count if is_open else 0
        return counts

    # Peers

    def put_peer(self, row: PeerRow) -> None:
        """Insert or replace one peer."""
        with self.writing() as connection:
            connection.execute(delete(peers).where(peers.c.country == row.country))
            connection.execute(
                insert(peers).values(
                    country=row.country,
                    descriptor=row.descriptor,
                    accepted_ms=row.accepted_ms,
                    seen_size=row.seen_size,
                    seen_root=row.seen_root,
                    seen_checkpoint=row.seen_checkpoint,
                )
            )

    def peers(self) -> list[PeerRow]:
        """All accepted peers, by country."""
        with self.reading() as connection:
            rows = connection.execute(select(peers).order_by(peers.c.country)).all()
        return [PeerRow(*row) for row in rows]

    def peer(self, country: str) -> PeerRow | None:
        """One accepted peer."""
        return next((row for row in self.peers() if row.country == country), None)

    # Agreements, profiles

    def put_agreement(self, digest: bytes, peer: str, note: bytes, accepted_ms: int) -> None:
        """Insert one agreement; the same one twice changes nothing."""
        row = {"digest": digest, "peer": peer, "note": note, "accepted_ms": accepted_ms}
        with self.writing() as connection:
            known = select(agreements.c.digest).where(agreements.c.digest == digest)
            if connection.execute(known).first():
                return
            connection.execute(insert(agreements).values(**row))

    def agreements(self, peer: str | None = None) -> list[tuple[bytes, str, bytes]]:
        """Digest, peer and signed note of the agreements, newest first."""
        query = select(agreements.c.digest, agreements.c.peer, agreements.c.note)
        if peer is not None:
            query = query.where(agreements.c.peer == peer)
        with self.reading() as connection:
            rows = connection.execute(query.order_by(agreements.c.accepted_ms.desc())).all()
        return [(row[0], row[1], row[2]) for row in rows]

    def put_profile(self, digest: bytes, name: str, file: bytes) -> None:
        """Insert one profile; the same one twice changes nothing."""
        with self.writing() as connection:
            known = select(profiles.c.digest).where(profiles.c.digest == digest)
            if connection.execute(known).first():
                return
            connection.execute(insert(profiles).values(digest=digest, name=name, file=file))

    def profile_file(self, digest: bytes) -> bytes | None:
        """The bytes of a profile, by digest."""
        with self.reading() as connection:
            row = connection.execute(select(profiles.c.file).where(profiles.c.digest == digest)).first()
        return None if row is None else bytes(row[0])

    def profile_named(self, name: str) -> bytes | None:
        """The bytes of the one profile of that name."""
        with self.reading() as connection:
            row = connection.execute(select(profiles.c.file).where(profiles.c.name == name)).first()
        return None if row is None else bytes(row[0])


def _exchange_row(row: Any) -> ExchangeRow:
    return ExchangeRow(
        row.key, row.role, row.peer, row.exchange_id, row.created_ms, bool(row.is_open), row.snapshot
    )


def set_spent(connection: Connection, key: bytes, role: str, quota: Quota | None) -> None:
    """Have an exchange count against a quota, or against none, within a transaction."""
    connection.execute(
        delete(spent_quotas).where((spent_quotas.c.key == key) & (spent_quotas.c.role == role))
    )
    if quota is not None:
        values = {"agreement": quota.agreement, "grant": quota.grant, "day": quota.day}
        connection.execute(insert(spent_quotas).values(key=key, role=role, **values))


def set_standing(connection: Connection, country: str, **values: object) -> None:
    """Change a peer's standing within a transaction; what is not named stays."""
    changed = connection.execute(
        update(peer_standing).where(peer_standing.c.country == country).values(**values)
    )
    if changed.rowcount == 0:
        fresh = {"stored_ms": 0, "suspended_ms": 0, "suspended_for": "", **values}
        connection.execute(insert(peer_standing).values(country=country, **fresh))


def swap_head(connection: Connection, head: SeenHead) -> None:
    """Store a verified checkpoint of a peer unless one of the same or a greater size is stored."""
    grown = connection.execute(
        update(peers)
        .where((peers.c.country == head.country) & (peers.c.seen_size < head.size))
        .values(seen_size=head.size, seen_root=head.root, seen_checkpoint=head.checkpoint)
    )
    if grown.rowcount:
        set_standing(connection, head.country, stored_ms=head.stored_ms)


def insert_conflict(connection: Connection, one: FoundConflict) -> None:
    """Store a conflict once, and suspend its peer."""
    known = select(conflicts.c.digest).where(conflicts.c.digest == one.digest)
    if connection.execute(known).first() is None:
        values = {"digest": one.digest, "peer": one.country, "found_ms": one.found_ms, "body": one.body}
        connection.execute(insert(conflicts).values(**values, is_settled=0))
    set_standing(connection, one.country, suspended_ms=one.found_ms, suspended_for=one.rule)
