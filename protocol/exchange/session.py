"""What both sessions have in common: a record, a table of what each event does in each state, and steps.

A session does nothing by itself. ``handle`` takes an event and the time, and returns a step: the commands
that the node has to perform (see ``commands``), and a fault when the peer has to be told what it did wrong.
The record changes as a whole or not at all.

Source: specs/wire.md, section "Sessions".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any, ClassVar, Final, Generic, TypeVar

from crypto.errors import BadEncoding, PeerFault
from protocol import limits
from protocol.errors import BadMessage, BadSnapshot, EventNotAllowed, EvidenceRejected, OutOfOrder, TryLater
from protocol.evidence import VerifiedEntry
from protocol.exchange.commands import AppendEntry, Command, KeepEvidence, RememberCheckpoint, SuspendPeer
from protocol.exchange.parties import Parties
from protocol.model import ExchangeId, Millis, Model
from protocol.statements import Statement

SNAPSHOT_VERSION: Final = 1


class Rule(Enum):
    """What to do with an event that changes nothing."""

    IGNORE = "a late echo of something that is already done"
    NOT_ALLOWED = "a defect of this node"
    OUT_OF_ORDER = "the peer may not say this now"
    TRY_LATER = "the peer says this a little too early"


@dataclass(frozen=True)
class Step:
    """What follows from an event.

    Attributes:
        commands: To be performed in the order that ``commands`` describes.
        fault: What the peer did wrong, to be told to it; the session has not moved.
    """

    commands: tuple[Command, ...] = ()
    fault: PeerFault | None = None


class Record(Model):
    """A session at rest. It names officers and cases: seal it."""

    LIMIT: ClassVar[int] = limits.MAX_SNAPSHOT

    exchange_id: ExchangeId
    deadline_ms: Millis | None
    retry_ms: Millis
    entry_ms: Millis
    kept: bool = False


R = TypeVar("R", bound=Record)


class Session(Generic[R]):
    """One side of one exchange. Subclasses bring the record, the table and its transitions."""

    TABLE: ClassVar[Mapping[tuple[StrEnum, type], str | Rule]]
    FINISHED: ClassVar[frozenset[StrEnum]]
    RECORD: ClassVar[type[Record]]

    def __init__(self, record: R, parties: Parties) -> None:
        self._record = record
        self._parties = parties

    @property
    def record(self) -> R:
        """All that the session knows; for display and tests."""
        return self._record

    @property
    def state(self) -> StrEnum:
        """Where the exchange stands."""
        raise NotImplementedError

    @property
    def finished(self) -> bool:
        """Nothing is outstanding any more; a late message of the peer may still be answered."""
        return self.state in self.FINISHED

    @property
    def deadline_ms(self) -> int | None:
        """When to send ``DeadlinePassed``; None when nothing is waited for."""
        return self._record.deadline_ms

    def snapshot(self) -> bytes:
        """The session as canonical bytes, version first."""
        return bytes([SNAPSHOT_VERSION]) + self._record.to_bytes()

    @classmethod
    def read_record(cls, data: bytes) -> Any:
        """The record of a snapshot. Raises ``BadSnapshot``."""
        if data[:1] != bytes([SNAPSHOT_VERSION]):
            raise BadSnapshot("a stored session of an unknown version")
        try:
            return cls.RECORD.from_bytes(data[1:])
        except (BadEncoding, BadMessage) as error:
            raise BadSnapshot(f"a stored session cannot be read: {error}") from None

    def handle(self, event: Any, now_ms: int) -> Step:
        """Take an event.

        Args:
            event: One of the session's events.
            now_ms: Milliseconds since 1970, UTC, by this node's clock.

        Returns:
            The step. When ``fault`` is set, the state is what it was.

        Raises:
            EventNotAllowed: This node reported what cannot be; nothing was changed.
        """
        entry = self.TABLE.get((self.state, type(event)))
        if entry is None or entry is Rule.NOT_ALLOWED:
            raise EventNotAllowed(f"{type(event).__name__} cannot happen in state {self.state.value}")
        if entry is Rule.IGNORE:
            return Step()
        if entry is Rule.OUT_OF_ORDER:
            return Step(fault=OutOfOrder(f"this message is not allowed in state {self.state.value}"))
        if entry is Rule.TRY_LATER:
            return Step(fault=TryLater("the exchange is not ready for this message yet"))
        before = self._record
        try:
            step: Step = getattr(self, str(entry))(event, now_ms)
        except BaseException:
            self._record = before
            raise
        return step

    def _outstanding(self) -> tuple[Command, ...]:
        """The commands that the present state waits for; every one may be repeated."""
        raise NotImplementedError

    def _update(self, **changes: Any) -> None:
        """Replace the record by a changed and revalidated one."""
        values = {name: getattr(self._record, name) for name in type(self._record).model_fields}
        self._record = type(self._record).model_validate({**values, **changes})

    def _remember(self, *entries: VerifiedEntry[Any]) -> tuple[RememberCheckpoint, ...]:
        """Store the newest of the heads that were just verified against the same stored one."""
        newest = max(entries, key=lambda entry: entry.head.size)
        peer = self._parties.peer.country
        return (RememberCheckpoint(peer, newest.head.size, newest.head.root, newest.checkpoint),)

    def _keep(self, error: PeerFault, body: bytes) -> tuple[Command, ...]:
        """Keep the first proof of a session; a peer that repeats itself must not fill the disk."""
        if self._record.kept:
            return ()
        self._update(kept=True)
        return keep_evidence(error, self._parties.peer.country, body)


def append_entry(record: Record, statement: Statement) -> AppendEntry:
    """Log a statement of a session, at the time that its record gives."""
    return AppendEntry(
        kind=statement.shared.type,
        statement=statement,
        exchange_id=record.exchange_id,
        time_ms=record.entry_ms,
        not_before_ms=record.retry_ms,
    )


def keep_evidence(error: PeerFault, peer: str, body: bytes) -> tuple[Command, ...]:
    """Keep what a peer sent; suspend it if its log contradicts itself."""
    if not isinstance(error, EvidenceRejected):
        return (KeepEvidence(peer, error.code, body),)
    kept = KeepEvidence(peer, error.cause, body)
    return (kept,) if error.conflict is None else (kept, SuspendPeer(peer, error.conflict))


def backoff(attempts: int) -> int:
    """Wait before retry number ``attempts`` (from 1), in milliseconds: doubled each time, bounded."""
    return min(limits.FIRST_RETRY << min(attempts - 1, 16), limits.LAST_RETRY)


def build_table(
    states: type[StrEnum], events: tuple[type, ...], rows: Mapping[tuple[StrEnum, type], str | Rule]
) -> dict[tuple[StrEnum, type], str | Rule]:
    """Complete a table: what is not listed is not allowed. Every (state, event) pair gets an entry."""
    table: dict[tuple[StrEnum, type], str | Rule] = {
        (state, event): Rule.NOT_ALLOWED for state in states for event in events
    }
    unknown = set(rows) - set(table)
    if unknown:
        raise ValueError(f"rows outside the table: {unknown}")
    return {**table, **rows}
