"""The journal: statements in, durable ledger entries out, and the evidence that goes to the peer.

``record`` is idempotent by exchange and statement type: after a crash the caller records again and gets
the entry that is already there. A second, different statement of one type in one exchange is refused.

Source: specs/ledger.md, sections "Statements" and "Evidence".
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from crypto.errors import ConcordatError, LocalFault
from node.files import Files
from node.ledger_store import SCRATCH, LedgerDamaged, LedgerRolledBack, LedgerStore
from node.payloads import PayloadStore
from node.prefix_index import PrefixIndex
from protocol.checkpoint import TreeHead
from protocol.evidence import LogEvidence
from protocol.leaf import Leaf, exchange_in_leaf
from protocol.opening import Opening
from protocol.payload import OpenedPayload, PayloadBox, make_entry, open_as_node
from protocol.statements import Statement

_STRIPES: Final = 64


class AlreadyRecorded(LocalFault):
    """This exchange has an entry of this type already, and it says something else."""

    code = "already-recorded"


@dataclass(frozen=True)
class Recorded:
    """An entry that is durable.

    Attributes:
        index: Its position in the ledger.
        leaf: The entry.
        opening: Reveals its shared part.
    """

    index: int
    leaf: Leaf
    opening: Opening


class Journal:
    """Writes statements to one ledger. Methods may be called from several threads."""

    def __init__(
        self,
        ledger: LedgerStore,
        storage_key: bytes,
        auditors: Sequence[bytes] = (),
        files: Files | None = None,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Open the journal of a ledger and sweep what a crash left behind.

        Args:
            ledger: The open ledger.
            storage_key: 32 secret bytes that open this node's payloads.
            auditors: X25519 public keys that every payload is sealed to as well.
            files: The file seam.
            random: Source of salts, keys and nonces.
        """
        self._ledger = ledger
        self._storage_key = storage_key
        self._auditors = tuple(auditors)
        self._random = random
        self._payloads = PayloadStore(ledger.directory, files or Files(), ledger.directory / SCRATCH)
        self._mutex = threading.Lock()
        self._exchanges = PrefixIndex()
        # One writer an exchange, so that writers of different ones can share a commit of the ledger.
        self._stripes = [threading.Lock() for _ in range(_STRIPES)]
        self._refresh()
        self._payloads.sweep(ledger.may_hold)

    @property
    def ledger(self) -> LedgerStore:
        """The ledger underneath."""
        return self._ledger

    def record(self, statement: Statement, time_ms: int) -> Recorded:
        """Log one statement; its payload and its entry are durable on return.

        Args:
            statement: Both parts; the shared part names the exchange.
            time_ms: Milliseconds since 1970. Ignored if the statement is already there.

        Raises:
            AlreadyRecorded: The exchange has another statement of this type.
            LedgerUnavailable: The disk refused; nothing was acknowledged, the call may be repeated.
            LedgerDamaged: The ledger is not what it was.
        """
        shared = statement.shared
        with self._stripe(shared.exchange_id):
            self._refresh()
            earlier = self._find(shared.exchange_id, shared.key)
            if earlier is not None:
                index, payload = earlier
                if payload.statement != statement:
                    raise AlreadyRecorded(f"another {shared.key} is already logged for this exchange")
                # It may be durable and yet lack its checkpoint, if an earlier call failed half-way.
                self._ledger.publish(index + 1)
                return Recorded(index, self._leaf(index), payload.opening)
            leaf, box, opening = make_entry(
                statement, time_ms, self._storage_key, self._auditors, self._random
            )
            self._payloads.put(leaf.leaf_hash, box)
            index = self._ledger.append(leaf.to_bytes())
            return Recorded(index, leaf, opening)

    def has(self, exchange_id: bytes) -> bool:
        """Whether any entry is of this exchange."""
        return bool(self.entries_of(exchange_id))

    def entries_of(self, exchange_id: bytes) -> list[int]:
        """The indices of all entries of this exchange, in order."""
        self._refresh()
        hashed = exchange_in_leaf(exchange_id)
        with self._mutex:
            candidates = self._exchanges.candidates(hashed)
        return sorted(index for index in candidates if self._leaf(index).exchange == hashed)

    def find(self, exchange_id: bytes, key: str) -> Recorded | None:
        """The statement with this key (its type, e.g. ``"query.intent"``, but for claims) in this exchange."""
        self._refresh()
        found = self._find(exchange_id, key)
        return found and Recorded(found[0], self._leaf(found[0]), found[1].opening)

    def open(self, index: int) -> OpenedPayload | None:
        """Both parts of the statement of an entry; None if its payload was erased."""
        leaf = self._leaf(index)
        box = self._payloads.get(leaf.leaf_hash)
        if box is None:
            return None
        try:
            return open_as_node(leaf, box, self._storage_key)
        except ConcordatError as error:
            raise LedgerDamaged(f"the payload of entry {index}: {error}") from None

    def leaf(self, index: int) -> Leaf:
        """The entry at a position; ``LedgerDamaged`` if it is none."""
        return self._leaf(index)

    def sealed(self, index: int) -> PayloadBox | None:
        """The payload of an entry as it lies there; None if it was erased."""
        return self._payloads.get(self._leaf(index).leaf_hash)

    def erase(self, leaf_hash: bytes) -> bool:
        """Remove a payload for good; whether it was there. What was erased has to be on the ledger before."""
        return self._payloads.remove(leaf_hash)

    def evidence(self, index: int, old_size: int, under: tuple[TreeHead, bytes] | None = None) -> LogEvidence:
        """What the peer needs to check entry ``index``, under the newest checkpoint.

        Args:
            index: Of a recorded entry.
            old_size: The size of this ledger that the peer holds; 0 if it holds none.
            under: Another published checkpoint that covers the entry: its head and its note.

        Raises:
            LedgerRolledBack: The peer holds more than we have.
            LedgerDamaged: The entry has no payload, so it cannot be opened to anyone.
        """
        payload = self.open(index)
        if payload is None:
            raise LedgerDamaged(f"entry {index} has no payload")
        self._ledger.publish(index + 1)
        head, note = under or self._ledger.published()
        if old_size > head.size:
            raise LedgerRolledBack(f"the peer holds size {old_size}, we have {head.size}", old_size)
        return LogEvidence(
            leaf=self._ledger.entry(index),
            opening=payload.opening,
            index=index,
            inclusion=self._ledger.inclusion(index, head.size),
            checkpoint=note,
            old_size=old_size,
            consistency=self._ledger.consistency(old_size, head.size),
        )

    def _leaf(self, index: int) -> Leaf:
        try:
            return Leaf.from_bytes(self._ledger.entry(index))
        except ConcordatError as error:
            raise LedgerDamaged(f"entry {index}: {error}") from None

    def _stripe(self, exchange_id: bytes) -> threading.Lock:
        return self._stripes[exchange_in_leaf(exchange_id)[0] % _STRIPES]

    def _find(self, exchange_id: bytes, key: str) -> tuple[int, OpenedPayload] | None:
        hashed = exchange_in_leaf(exchange_id)
        with self._mutex:
            candidates = self._exchanges.candidates(hashed)
        for index in candidates:
            if self._leaf(index).exchange != hashed:
                continue
            payload = self.open(index)
            if payload is not None and payload.shared.key == key:
                return index, payload
        return None

    def _refresh(self) -> None:
        """Take up entries that are new since the last look, also those a crash left behind."""
        with self._mutex:
            for index in range(len(self._exchanges), self._ledger.size):
                self._exchanges.add(self._leaf(index).exchange)
