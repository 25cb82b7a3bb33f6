"""The offers of peers at rest. For the core's thread."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from node.core import NodeCore
from node.key_state import ANSWERING, KeysRow, KeyState, RegistrationRow
from node.state import FoundConflict, SeenHead
from protocol import limits
from protocol.errors import UnknownExchange
from protocol.messages import EnvelopeBytes
from protocol.model import Count, Model
from protocol.registration import read_challenge, read_offer


class TakenRecord(Model):
    """An offer of a peer at rest."""

    LIMIT: ClassVar[int] = limits.MAX_REGISTRATION

    offer: EnvelopeBytes
    challenge: EnvelopeBytes
    opening: EnvelopeBytes | None = None
    decision: EnvelopeBytes | None = None
    compute_ms: Count = 0


class TakenRecords:
    """All of one node."""

    def __init__(self, core: NodeCore) -> None:
        self._core = core
        self.keys = KeyState(core.state)

    def record(self, row: RegistrationRow) -> TakenRecord:
        """What is stored of a registration, opened."""
        return TakenRecord.from_bytes(self._core.open_sealed(_place(row.exchange_id), row.record))

    def of(self, peer: str, name: bytes) -> tuple[RegistrationRow, TakenRecord]:
        """A registration of a peer; raises ``UnknownExchange``."""
        row = self.keys.registration(ANSWERING, name)
        if row is None or row.target.peer != peer:
            raise UnknownExchange("no such registration of yours")
        return row, self.record(row)

    def put(
        self,
        row: RegistrationRow,
        record: TakenRecord,
        state: str,
        heads: list[SeenHead] | None = None,
        found: list[FoundConflict] | None = None,
        keys: KeysRow | None = None,
        *,
        is_open: bool = True,
    ) -> RegistrationRow:
        """Store what is known now, with what was found on the way, in one transaction."""
        sealed = self._core.seal(_place(row.exchange_id), record.to_bytes())
        row = replace(row, state=state, is_open=is_open, record=sealed)
        self.keys.put(row, heads or (), found or (), keys)
        return row

    def waiting(self, peer: str, name: bytes) -> TakenRecord | None:
        """The open registration of a peer that keeps this set."""
        for row in self.keys.registrations(ANSWERING, only_open=True):
            if row.target.peer == peer:
                record = self.record(row)
                if read_offer(record.offer).sets[read_challenge(record.challenge).kept] == name:
                    return record
        return None


def _place(name: bytes) -> bytes:
    return b"registration/r/" + name
