"""Succession at work: begin a new ledger where the old one was last witnessed, and accept a peer's.

The switch is one atomic write of ``node.toml``: before it the node has the old ledger, after it the new one. The old
directory stays where it is, for the auditors.

Source: specs/ledger.md, section "Succession".
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from crypto.errors import ConcordatError, LocalFault
from crypto.note import log_signers
from node.config import NodeConfig, NodePaths
from node.core import NodeCore
from node.errors import BadConfig, StorageFailed
from node.files import Files
from node.home_lock import locked_home
from node.journal import Journal, Recorded
from node.keys import NodeKeys, load_keys
from node.ledger_store import SCRATCH, LedgerStore
from node.state import PeerRow, State, open_engine
from node.witness_state import WitnessState
from protocol.checkpoint import LogKeys, TreeHead, open_checkpoint
from protocol.statement_parts import Operated
from protocol.statements import Statement
from protocol.statements_witness import Decided, LedgerSucceeded, SuccessionAccepted
from protocol.succession import Succession, check_continues, sign_succession

WITNESSED: Final = "previous-checkpoint"
"""The file beside a successor ledger with the last witnessed checkpoint of the one before."""
SUCCESSIONS: Final = "successions"
_NUMBERED = re.compile(r"(?P<stem>.+)/(?P<number>[1-9][0-9]{0,5})\Z")


@dataclass(frozen=True)
class _Last:
    """The last checkpoint of the old ledger that somebody else vouches for, or its own if nobody does."""

    head: TreeHead
    note: bytes


def succeed(
    directory: Path,
    operator: str,
    reason: str,
    notes: Sequence[bytes],
    clock_ms: int,
    files: Files | None = None,
) -> dict[str, Any]:
    """Begin the successor of a node's ledger. The node must not be open elsewhere.

    Args:
        directory: The node's.
        operator: Who decides.
        reason: Why; kept for the auditors.
        notes: Checkpoints of the old ledger that peers hold, each signed by it.
        clock_ms: The time.
        files: The file seam.

    Returns:
        ``previous`` and ``ledger`` (origins), ``size`` of the last witnessed checkpoint, ``copy_size``.

    Raises:
        BadConfig: A checkpoint is not of this ledger.
        NodeBusy, StorageFailed, LocalFault: As the node says.
    """
    os.umask(0o077)
    files = files or Files()
    paths = NodePaths(directory)
    config = paths.read_config()
    with contextlib.ExitStack() as stack:
        stack.enter_context(locked_home(paths, files))
        keys = load_keys(paths.keys, paths.root / config.unlock_file)
        state = State(open_engine(paths.state))
        stack.callback(state.close)
        copy_size, last = _last_witnessed(paths, config, keys, WitnessState(state), notes, files)
        after = _next(config)
        made = paths.root / after.ledger
        shutil.rmtree(made, ignore_errors=True)  # of an attempt that was cut off before it counted
        _begin(made, after, keys, config, last, copy_size, (operator, reason), clock_ms, files)
        try:
            files.write_atomic(paths.config, after.to_toml())
        except OSError as error:
            raise StorageFailed(f"node.toml could not be written: {error.strerror}") from None
    return {
        "previous": config.origin,
        "ledger": after.origin,
        "size": last.head.size,
        "copy_size": copy_size,
        "directory": str(made),
    }


def _last_witnessed(
    paths: NodePaths,
    config: NodeConfig,
    keys: NodeKeys,
    state: WitnessState,
    notes: Sequence[bytes],
    files: Files,
) -> tuple[int, _Last]:
    """Entries of the copy at hand, and the largest checkpoint that this log is known to have signed."""
    ed25519, mldsa = log_signers(config.origin, keys.ledger.seed)
    log = LogKeys(ed25519.verifier, mldsa.verifier)
    known = [own.note for own in state.own_checkpoints(config.origin)]
    known += [note for _, note in state.contradictions(config.origin)]
    copy_size, own = 0, []
    try:
        with LedgerStore.open(paths.ledger, config.origin, keys.ledger.seed, files) as store:
            head, note = store.published()
            copy_size, own = head.size, [note]
    except LocalFault:
        pass  # a damaged copy has nothing to say; what others hold counts
    found = []
    for note in [*notes, *known, *own]:
        try:
            found.append(_Last(open_checkpoint(note, log).checkpoint.head, note))
        except ConcordatError as error:
            raise BadConfig(f"a checkpoint that is not of {config.origin}: {error}") from None
    if not found:
        raise BadConfig("no checkpoint of the ledger is left; ask a peer's operator for the one it holds")
    return copy_size, max(found, key=lambda one: one.head.size)


def _next(config: NodeConfig) -> NodeConfig:
    named = _NUMBERED.match(config.origin)
    number = int(named["number"]) + 1 if named else 2
    stem = named["stem"] if named else config.origin
    return config.model_copy(update={"origin": f"{stem}/{number}", "ledger": f"ledger-{number}"})


def _begin(
    made: Path,
    after: NodeConfig,
    keys: NodeKeys,
    before: NodeConfig,
    last: _Last,
    copy_size: int,
    decided: tuple[str, str],
    now_ms: int,
    files: Files,
) -> None:
    operator, reason = decided
    with LedgerStore.open(made, after.origin, keys.ledger.seed, files) as store:
        shared = LedgerSucceeded(
            exchange_id=os.urandom(16),
            country=after.country,
            identity_key=keys.identity.verify_key.public,
            origin=after.origin,
            previous_origin=before.origin,
            previous_key=keys.ledger.verify_key.public,
            previous_size=last.head.size,
            previous_root=last.head.root,
            copy_size=copy_size,
        )
        journal = Journal(store, keys.storage, after.auditor_keys, files)
        journal.record(Statement(shared, Decided(operator=operator, reason=reason)), now_ms)
        try:
            files.write_atomic(made / WITNESSED, last.note, made / SCRATCH)
        except OSError as error:
            raise StorageFailed(f"the last checkpoint could not be kept: {error.strerror}") from None


def export(core: NodeCore) -> bytes:
    """The signed succession of a node's present ledger; raises ``BadConfig`` if it succeeds none."""
    first = core.journal.open(0) if core.journal.ledger.size else None
    witnessed = core.files.read(core.paths.ledger / WITNESSED, 1 << 20)
    if first is None or not isinstance(first.shared, LedgerSucceeded) or witnessed is None:
        raise BadConfig("this ledger succeeds no other")
    return sign_succession(witnessed, core.evidence(0, 0), core.descriptor, core.keys.identity)


def accept(core: NodeCore, succession: Succession, operator: str) -> Recorded:
    """Go on with a peer under its successor ledger; logged, and the document kept beside the ledger.

    Raises:
        BadSuccession: It does not continue what this node has witnessed.
        BadDescriptor: The roster does not allow the new descriptor.
    """
    descriptor = succession.descriptor
    country = descriptor.country
    roster = core.roster.accept(descriptor)
    seen = core.seen(country)
    check_continues(succession, None if seen is None else TreeHead(seen.size, seen.root))
    root = core.paths.ledger
    kept = {succession.digest: succession.note}
    if seen is not None:
        # Nothing proves that the larger checkpoint of the document continues this one: what can refute it stays.
        kept[hashlib.sha256(seen.note).digest()] = seen.note
    try:
        core.files.ensure_directory(root / SUCCESSIONS, root)
        for digest, note in kept.items():
            core.files.write_atomic(root / SUCCESSIONS / f"{country}-{digest.hex()}", note, root / SCRATCH)
    except OSError as error:
        raise StorageFailed(f"the succession could not be kept: {error.strerror}") from None
    recorded = core.record(
        SuccessionAccepted(
            exchange_id=succession.digest[:16],
            country=core.country,
            peer=country,
            previous_origin=succession.previous.name,
            previous_size=succession.last.size,
            previous_root=succession.last.root,
            origin=descriptor.ledger.name,
            succession=succession.digest,
        ),
        Operated(operator=operator),
    )
    row = PeerRow(country, descriptor.note, core.clock(), 0, bytes(32), b"")
    core.witnessing.state.put_succession(succession.digest, row, succession.note)
    core.roster = roster
    return recorded
