"""What this node has begun to say on its ledger and not ended: kept in the state, so that a restart ends it.

A mark is stored before the entry that begins something, and goes after what ends it. A mark without its entry means
that nothing was begun.

Source: specs/ledger.md, sections "Retention" and "Quorum".
"""

from __future__ import annotations

import os
from typing import Final

from sqlalchemy import delete, insert, select

from node.core import SOFTWARE, NodeCore
from node.state import State
from node.tables import unfinished
from protocol import statements_witness as statements

ERASURE: Final = "payloads.erased"
MISSED: Final = "quorum.missed"


class Marks:
    """The marks of one kind, which is the type of the entry that begins it."""

    def __init__(self, state: State, kind: str) -> None:
        self._state = state
        self._kind = kind

    def begin(self) -> bytes:
        """A fresh exchange id for the entry, marked durably."""
        exchange_id = os.urandom(16)
        with self._state.writing() as connection:
            connection.execute(insert(unfinished).values(exchange_id=exchange_id, kind=self._kind))
        return exchange_id

    def open(self) -> list[bytes]:
        """The exchange ids that are marked."""
        query = select(unfinished.c.exchange_id).where(unfinished.c.kind == self._kind)
        with self._state.reading() as connection:
            return [bytes(row[0]) for row in connection.execute(query)]

    def end(self, exchange_id: bytes) -> None:
        """Take a mark away."""
        with self._state.writing() as connection:
            connection.execute(delete(unfinished).where(unfinished.c.exchange_id == exchange_id))


class MissedQuorum:
    """Whether the ledger says that the quorum is missed; each time it says so once, and once that it is met again."""

    def __init__(self, core: NodeCore) -> None:
        self._core = core
        self._marks = Marks(core.state, MISSED)
        self._missed: bytes | None = None
        for exchange_id in self._marks.open():
            if core.journal.find(exchange_id, MISSED) is None:
                self._marks.end(exchange_id)
            else:
                self._missed = exchange_id

    def missed(self, quorum: str) -> None:
        """The quorum is missed."""
        if self._missed is None:
            core, exchange_id = self._core, self._marks.begin()
            said = statements.QuorumMissed(
                exchange_id=exchange_id, country=core.country, size=core.journal.ledger.size, quorum=quorum
            )
            core.record(said, statements.Noticed(software=SOFTWARE))
            self._missed = exchange_id

    def met(self, quorum: str) -> bool:
        """The quorum is met; whether this is news."""
        if self._missed is None:
            return False
        core = self._core
        exchange_id = core.own_exchange("quorum.met", self._missed)
        # A crash may have come between the entry and the end of the mark.
        if core.journal.find(exchange_id, "quorum.met") is None:
            said = statements.QuorumMet(
                exchange_id=exchange_id, country=core.country, size=core.journal.ledger.size, quorum=quorum
            )
            core.record(said, statements.Noticed(software=SOFTWARE))
        self._marks.end(self._missed)
        self._missed = None
        return True
