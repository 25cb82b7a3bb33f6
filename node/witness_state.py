"""What the state holds of witnesses: who cosigned our ledger, whose ledger contradicts itself, who is suspended.

Source: specs/ledger.md, sections "Witnesses" and "Conflicts".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import delete, func, insert, select, update

from node.state import (
    FoundConflict,
    PeerRow,
    SeenHead,
    State,
    insert_conflict,
    set_standing,
    swap_head,
)
from node.tables import (
    claims,
    conflicts,
    contradictions,
    exchanges,
    ledgers,
    own_witnesses,
    peer_standing,
    peers,
    registrations,
    successions,
)

NOBODY: Final = "--"
"""The peer of an exchange that ended with the ledger it was on."""

KEPT_SIZES: Final = 256
"""Cosigned checkpoints of our own that are kept of each witness: the newest convicts us of every rollback."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How this node stands with a peer; ``suspended_for`` is empty while exchanges are had."""

    stored_ms: int
    suspended_ms: int
    suspended_for: str


@dataclass(frozen=True, slots=True)
class OwnCheckpoint:
    """A checkpoint of our own ledger with one cosignature."""

    origin: str
    size: int
    witness: str
    root: bytes
    note: bytes


class WitnessState:
    """The witness tables of one state; each write is one durable transaction."""

    def __init__(self, state: State) -> None:
        self._state = state

    # Peers

    def standing(self, country: str) -> Standing:
        """A peer's standing; of an unknown one that nothing is known."""
        columns = (peer_standing.c.stored_ms, peer_standing.c.suspended_ms, peer_standing.c.suspended_for)
        with self._state.reading() as connection:
            row = connection.execute(select(*columns).where(peer_standing.c.country == country)).one_or_none()
        return Standing(0, 0, "") if row is None else Standing(*row)

    def suspend(self, country: str, reason: str, now_ms: int) -> None:
        """Stop exchanges with a peer, or (empty reason) take them up again."""
        with self._state.writing() as connection:
            since = now_ms if reason else 0
            set_standing(connection, country, suspended_ms=since, suspended_for=reason)

    def put_head(self, head: SeenHead) -> None:
        """Store a peer's newer checkpoint; compare-and-swap, a greater size that is stored stays."""
        with self._state.writing() as connection:
            swap_head(connection, head)

    def put_conflict(self, found: FoundConflict) -> None:
        """Store a conflict and suspend its peer."""
        with self._state.writing() as connection:
            insert_conflict(connection, found)

    def unsettled_conflicts(self) -> list[tuple[str, bytes, bytes]]:
        """Peer, digest and file of every conflict that is not yet beside the ledger and on it."""
        query = select(conflicts.c.peer, conflicts.c.digest, conflicts.c.body).where(
            conflicts.c.is_settled == 0
        )
        with self._state.reading() as connection:
            return [tuple(row) for row in connection.execute(query.order_by(conflicts.c.found_ms))]

    def settle_conflict(self, digest: bytes) -> None:
        """The file lies beside the ledger, the entry is on it."""
        with self._state.writing() as connection:
            connection.execute(update(conflicts).where(conflicts.c.digest == digest).values(is_settled=1))

    def conflicts(self) -> list[tuple[str, int, bytes]]:
        """Peer, time and file of every conflict, oldest first."""
        query = select(conflicts.c.peer, conflicts.c.found_ms, conflicts.c.body)
        with self._state.reading() as connection:
            return [tuple(row) for row in connection.execute(query.order_by(conflicts.c.found_ms))]

    # Our own ledger

    def put_own(self, own: OwnCheckpoint, now_ms: int) -> None:
        """Keep a cosigned checkpoint of our own; the first cosignature of a witness on a size stays."""
        table = own_witnesses
        of_witness = (table.c.origin == own.origin) & (table.c.witness == own.witness)
        key = of_witness & (table.c.size == own.size)
        with self._state.writing() as connection:
            if connection.execute(select(table.c.size).where(key)).first() is not None:
                return
            named = {"origin": own.origin, "size": own.size, "witness": own.witness}
            values = {**named, "root": own.root, "note": own.note, "stored_ms": now_ms}
            connection.execute(insert(table).values(**values))
            sizes = select(table.c.size).where(of_witness)
            oldest = connection.execute(
                sizes.order_by(table.c.size.desc()).offset(KEPT_SIZES).limit(1)
            ).scalar()
            if oldest is not None:
                connection.execute(delete(table).where(of_witness & (table.c.size <= oldest)))

    def own_size(self, origin: str, witness: str) -> int:
        """The largest size of a ledger of ours that this witness has cosigned; 0 if none."""
        table = own_witnesses
        query = select(func.max(table.c.size)).where(
            (table.c.origin == origin) & (table.c.witness == witness)
        )
        with self._state.reading() as connection:
            return int(connection.execute(query).scalar() or 0)

    def own_checkpoints(self, origin: str, size: int | None = None) -> list[OwnCheckpoint]:
        """Cosigned checkpoints of a ledger of our own, of one size or of all, the largest first."""
        table = own_witnesses
        columns = (table.c.origin, table.c.size, table.c.witness, table.c.root, table.c.note)
        query = select(*columns).where(table.c.origin == origin)
        if size is not None:
            query = query.where(table.c.size == size)
        with self._state.reading() as connection:
            rows = connection.execute(query.order_by(table.c.size.desc(), table.c.witness))
            return [OwnCheckpoint(*row) for row in rows]

    def begin_ledger(self, origin: str, now_ms: int) -> bool:
        """Note which ledger is in use; True if it is another than before.

        Exchanges, claims and registrations of the one before are over: their entries are not on this one. Their ids
        stay known, so that none of them is ever taken up again. An offer may have been opened after the copy was made
        that was restored; its secrets go, so that it is not opened for a second challenge.
        """
        with self._state.writing() as connection:
            newest = select(ledgers.c.origin).order_by(ledgers.c.number.desc()).limit(1)
            known = connection.execute(newest).scalar()
            if known == origin:
                return False
            connection.execute(insert(ledgers).values(origin=origin, began_ms=now_ms))
            if known is not None:
                connection.execute(update(exchanges).values(is_open=0, peer=NOBODY))
                connection.execute(update(claims).values(is_open=0))
                is_open = registrations.c.is_open == 1
                ours = is_open & (registrations.c.role == "q")
                connection.execute(update(registrations).where(ours).values(record=b""))
                connection.execute(
                    update(registrations).where(is_open).values(is_open=0, state="earlier-ledger")
                )
            return known is not None

    # Successions of peers

    def put_succession(self, digest: bytes, row: PeerRow, body: bytes) -> None:
        """Take a peer's successor ledger into use: its descriptor, and nothing seen of the new ledger yet."""
        with self._state.writing() as connection:
            known = select(successions.c.digest).where(successions.c.digest == digest)
            if connection.execute(known).first() is None:
                values = {"digest": digest, "peer": row.country, "accepted_ms": row.accepted_ms, "body": body}
                connection.execute(insert(successions).values(**values))
            connection.execute(
                update(peers)
                .where(peers.c.country == row.country)
                .values(
                    descriptor=row.descriptor,
                    accepted_ms=row.accepted_ms,
                    seen_size=row.seen_size,
                    seen_root=row.seen_root,
                    seen_checkpoint=row.seen_checkpoint,
                )
            )

    def has_succeeded(self, country: str) -> bool:
        """Whether a successor ledger of this peer was accepted: there is a history that it must not leave."""
        query = select(successions.c.digest).where(successions.c.peer == country)
        with self._state.reading() as connection:
            return connection.execute(query).first() is not None

    def put_contradiction(self, origin: str, size: int, note: bytes, now_ms: int) -> None:
        """Keep the proof that our ledger is not the one that was signed."""
        table = contradictions
        key = (table.c.size == size) & (table.c.origin == origin)
        with self._state.writing() as connection:
            if connection.execute(select(table.c.size).where(key)).first() is None:
                values = {"size": size, "origin": origin, "note": note, "found_ms": now_ms}
                connection.execute(insert(table).values(**values))

    def contradictions(self, origin: str) -> list[tuple[int, bytes]]:
        """Size and note of every checkpoint that a ledger of ours signed and does not have, largest first."""
        table = contradictions
        query = select(table.c.size, table.c.note).where(table.c.origin == origin)
        with self._state.reading() as connection:
            return [tuple(row) for row in connection.execute(query.order_by(table.c.size.desc()))]
