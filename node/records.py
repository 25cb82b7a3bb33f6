"""What becomes of a node's records: who reads them, how long payloads are kept, and what must not be erased.

All functions work on an open node and log what they do before they do it.

Source: specs/ledger.md, sections "Reading" and "Retention".
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, get_args

from crypto.errors import InputError
from node.config import AuditorConfig
from node.core import NodeCore
from node.errors import BadConfig
from node.journal import Recorded
from node.logging import log
from node.unfinished import ERASURE, Marks
from protocol import limits
from protocol.leaf import Leaf, exchange_in_leaf
from protocol.statement_parts import LocalPart, Operated, SharedPart
from protocol.statements_keys import KEYS_BASIS, Registration
from protocol.statements_records import (
    FILLER_BASIS,
    MAX_ERASED,
    Compared,
    Held,
    HoldPlaced,
    HoldReleased,
    LedgerRead,
    LogFiller,
    PayloadsErased,
    QueryConfirmed,
    Reading,
    ReadPurpose,
    ReadScope,
)

PURPOSES: Final[tuple[str, ...]] = get_args(ReadPurpose)


class NotEntitled(InputError):
    """The key is of no auditor of this node."""

    code = "not-entitled"


class NoSuchExchange(InputError):
    """The ledger has no entry of that exchange, or no hold on it."""

    code = "no-such-exchange"


@dataclass
class _Kept:
    """One exchange whose payloads are still there."""

    newest_ms: int = 0
    legal_basis: str | None = None
    leaves: list[bytes] = field(default_factory=list)


@dataclass
class Records:
    """What the ledger says of its own records, read once from all entries.

    Attributes:
        exchanges: By hashed exchange id.
        holds: In force, by hashed exchange id: leaf hashes of the statements that placed them.
        said_erased: Leaf hashes named by erasures.
    """

    exchanges: dict[bytes, _Kept] = field(default_factory=dict)
    holds: dict[bytes, list[bytes]] = field(default_factory=dict)
    said_erased: set[bytes] = field(default_factory=set)


def read_records(core: NodeCore) -> Records:
    """Look at every entry of the ledger."""
    found = Records()
    for leaf, shared in _entries(core):
        kept = found.exchanges.setdefault(leaf.exchange, _Kept())
        kept.newest_ms = max(kept.newest_ms, leaf.time_ms)
        if shared is None:
            continue
        if not isinstance(shared, LocalPart) or isinstance(shared, LogFiller):
            # What a node says of itself has no legal basis, also where a peer has asked under the same exchange id.
            kept.leaves.append(leaf.leaf_hash)
        kept.legal_basis = getattr(shared, "legal_basis", None) or kept.legal_basis
        if isinstance(shared, HoldPlaced):
            found.holds.setdefault(shared.exchange, []).append(leaf.leaf_hash)
        elif isinstance(shared, HoldReleased) and shared.placed in found.holds.get(shared.exchange, []):
            found.holds[shared.exchange].remove(shared.placed)
        elif isinstance(shared, Registration):
            kept.legal_basis = KEYS_BASIS
        elif isinstance(shared, LogFiller):
            kept.legal_basis = FILLER_BASIS
        elif isinstance(shared, PayloadsErased):
            # An erasure itself has a legal basis and is kept for ever: without it a gap would be a finding.
            kept.legal_basis = None
            found.said_erased.update(shared.leaves)
    return found


def _entries(core: NodeCore) -> Iterator[tuple[Leaf, SharedPart | None]]:
    for index in range(core.journal.ledger.size):
        opened = core.journal.open(index)
        yield core.journal.leaf(index), None if opened is None else opened.shared


def auditor_of(core: NodeCore, key: bytes) -> AuditorConfig:
    """The auditor of this node who has this public key; raises ``NotEntitled``."""
    for auditor in core.config.auditors:
        if auditor.key == key.hex():
            return auditor
    raise NotEntitled("this node seals its payloads to no auditor with this key")


def log_reading(
    core: NodeCore, auditor: AuditorConfig, purpose: str, scope: ReadScope, first: int, count: int
) -> Recorded:
    """Write down that an auditor is about to read; raises ``BadConfig`` for a purpose the law does not know."""
    if purpose not in PURPOSES:
        raise BadConfig(f"a log is read for one of: {', '.join(PURPOSES)}")
    shared = LedgerRead(
        exchange_id=os.urandom(16), country=core.country, scope=scope, first=first, count=count
    )
    key = bytes.fromhex(auditor.key)
    return core.record(shared, Reading(reader=auditor.name, key=key, purpose=purpose))  # type: ignore[arg-type]


def hold(core: NodeCore, exchange_id: bytes, operator: str, authority: str, reference: str) -> Recorded:
    """Forbid the erasure of an exchange's payloads; raises ``NoSuchExchange``."""
    if not core.journal.has(exchange_id):
        raise NoSuchExchange("the ledger has no entry of this exchange")
    shared = HoldPlaced(
        exchange_id=os.urandom(16), country=core.country, exchange=exchange_in_leaf(exchange_id)
    )
    core.kept.hold(shared.exchange)
    return core.record(shared, Held(operator=operator, authority=authority, reference=reference))


def release(core: NodeCore, exchange_id: bytes, operator: str) -> list[Recorded]:
    """End every hold on an exchange; raises ``NoSuchExchange`` if there is none."""
    hashed = exchange_in_leaf(exchange_id)
    placed = read_records(core).holds.get(hashed, [])
    if not placed:
        raise NoSuchExchange("there is no hold on this exchange")
    ended = [
        core.record(
            HoldReleased(exchange_id=os.urandom(16), country=core.country, exchange=hashed, placed=one),
            Operated(operator=operator),
        )
        for one in placed
    ]
    core.kept.release(hashed)
    return ended


def erase(core: NodeCore, operator: str, really: bool) -> dict[str, Any]:
    """Erase the payloads of all exchanges whose legal basis lets them be kept no longer.

    An exchange goes as a whole, counted from its newest entry. What is erased is logged first; if the node dies
    in between, its next start ends it, or the next call. Without ``really`` nothing is done, only counted.

    Returns:
        ``erased`` (payloads), ``exchanges``, ``held`` (exchanges that are due but under a hold), ``entries``.
    """
    records = read_records(core)
    finished = sum(core.journal.erase(leaf) for leaf in records.said_erased) if really else 0
    now = core.clock()
    due: dict[str, list[bytes]] = {}
    erased = {
        hashed
        for hashed, kept in records.exchanges.items()
        if kept.leaves and records.said_erased.issuperset(kept.leaves)
    }
    exchanges = held = 0
    for hashed, kept in records.exchanges.items():
        days = core.config.retention.get(kept.legal_basis or "")
        leaves = [leaf for leaf in kept.leaves if leaf not in records.said_erased]
        if days is None or not leaves or kept.newest_ms + days * limits.DAY > now:
            continue
        if records.holds.get(hashed):
            held += 1
            continue
        exchanges += 1
        erased.add(hashed)
        due.setdefault(kept.legal_basis or "", []).extend(leaves)
    entries: list[int] = []
    if really:
        for legal_basis, leaves in due.items():
            for at in range(0, len(leaves), MAX_ERASED):
                entries.append(_erase(core, leaves[at : at + MAX_ERASED], legal_basis, operator))
        core.state.forget_exchanges(lambda exchange_id: exchange_in_leaf(exchange_id) in erased)
        core.kept.forget(lambda exchange_id: exchange_in_leaf(exchange_id) in erased)
        marks = Marks(core.state, ERASURE)
        for mark in marks.open():
            marks.end(mark)
    return {
        "erased": sum(map(len, due.values())),
        "exchanges": exchanges,
        "held": held,
        "finished": finished,
        "entries": entries,
        "done": really,
    }


def _erase(core: NodeCore, leaves: list[bytes], legal_basis: str, operator: str) -> int:
    shared = PayloadsErased(
        exchange_id=Marks(core.state, ERASURE).begin(),
        country=core.country,
        leaves=leaves,
        legal_basis=legal_basis,
        retention_days=core.config.retention[legal_basis],
    )
    index = core.record(shared, Operated(operator=operator)).index
    for leaf in leaves:
        core.journal.erase(leaf)
    return index


def finish_erasures(core: NodeCore) -> int:
    """End what an erasure that was cut short has left: payloads, and sessions; how many payloads were still there."""
    marks = Marks(core.state, ERASURE)
    removed, begun, exchanges = 0, marks.open(), set()
    for mark in begun:
        found = core.journal.find(mark, ERASURE)
        opened = None if found is None else core.journal.open(found.index)
        if opened is None or not isinstance(opened.shared, PayloadsErased):
            continue
        for leaf_hash in opened.shared.leaves:
            removed += core.journal.erase(leaf_hash)
            index = core.journal.ledger.find_hash(leaf_hash)
            if index is not None:
                exchanges.add(core.journal.leaf(index).exchange)
    if exchanges:
        core.state.forget_exchanges(lambda exchange_id: exchange_in_leaf(exchange_id) in exchanges)
        core.kept.forget(lambda exchange_id: exchange_in_leaf(exchange_id) in exchanges)
        log("an erasure that was cut short is finished", level="warning", size=removed)
    for mark in begun:
        marks.end(mark)
    return removed


def confirm(
    core: NodeCore,
    exchange_id: bytes,
    confirmed: bool,
    examiner: str,
    second_examiner: str,
    disclosed_to: str | None,
) -> Recorded:
    """Log what people found when they compared a hit; raises ``NoSuchExchange`` without a hit of ours."""
    found = core.journal.find(exchange_id, "query.result")
    opened = None if found is None else core.journal.open(found.index)
    shared: Any = None if opened is None else opened.shared
    if shared is None or shared.outcome != "hit":
        raise NoSuchExchange("this node has no hit in this exchange")
    if examiner == second_examiner:
        raise BadConfig("a match is verified by two persons")
    fields = {
        name: getattr(shared, name)
        for name in ("exchange_id", "requester", "responder", "agreement", "query_hash")
    }
    private = Compared(examiner=examiner, second_examiner=second_examiner, disclosed_to=disclosed_to)
    return core.record(QueryConfirmed(**fields, confirmed=confirmed), private)
