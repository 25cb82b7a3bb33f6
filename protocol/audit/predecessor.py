"""The ledger that this one succeeds: which keys it had, and whether it ended where the first entry says.

A successor keeps the ledger key, so the auditor's policy for the present log says which keys the one before had. All
of them are demanded, as of the present log: a predecessor is no way around the post-quantum signature.

Source: specs/ledger.md, sections "Succession" and "Rules of witnessing".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from crypto.errors import BadSignature, ConcordatError
from crypto.note import MAX_NOTE_BYTES, Ed25519Verifier, LogVerifier
from crypto.signing import VerifyKey
from protocol.audit.entries import Entry
from protocol.audit.reader import LedgerReader, read_file
from protocol.audit.report import Findings, Rule
from protocol.audit.tree import Tree
from protocol.checkpoint import Checkpoint, TreeHead, open_checkpoint
from protocol.log_policy import LogPolicy
from protocol.statements_witness import LedgerSucceeded

PREVIOUS: Final = "previous-checkpoint"


def first_word(entries: Sequence[Entry]) -> LedgerSucceeded | None:
    """What the first entry says of the ledger before; None if this one succeeds none, or it was not read."""
    first = entries[0] if entries else None
    return first.shared if first and first.index == 0 and isinstance(first.shared, LedgerSucceeded) else None


def keys_before(entries: Sequence[Entry], tree: Tree, policy: LogPolicy) -> LogPolicy | None:
    """The keys of the ledger before, each of whose types has to have signed its checkpoints.

    They are those that the auditor's policy lists for the present log, under the name of the one before, and those
    that it lists under that name itself.

    Returns:
        None if this ledger succeeds none or itself, or if its first entry names a key that is not the policy's.
    """
    said = first_word(entries)
    if said is None or said.previous_origin == _origin(said, tree):
        return None
    listed = _listed(said, tree, policy)
    if not listed or _is_strange(said, listed):
        return None
    try:
        keys: dict[bytes, LogVerifier] = {
            said.previous_key: Ed25519Verifier(said.previous_origin, VerifyKey(said.previous_key))
        }
        for key in listed:
            if not isinstance(key, Ed25519Verifier):
                keys[key.key_bytes] = replace(key, name=said.previous_origin)
    except ConcordatError:
        return None
    return LogPolicy(tuple(keys.values()), {}, {}, None)


def open_before(note: bytes, keys: LogPolicy) -> Checkpoint:
    """A checkpoint of the ledger before.

    Raises:
        BadEncoding: Not a checkpoint note.
        BadSignature: Not signed by a key of each type that it had, or of another log.
    """
    checkpoint = open_checkpoint(note, keys.logs[0]).checkpoint
    short = keys.shortfall(note)
    if short is not None:
        raise BadSignature(f"checkpoint of the ledger before: {short}")
    return checkpoint


def _listed(said: LedgerSucceeded, tree: Tree, policy: LogPolicy) -> list[LogVerifier]:
    return [key for key in policy.logs if key.name in (_origin(said, tree), said.previous_origin)]


def _is_strange(said: LedgerSucceeded, listed: Sequence[LogVerifier]) -> bool:
    """The Ed25519 key that the first entry names is none that the policy lists, and it lists some."""
    known = [key.key_bytes for key in listed if isinstance(key, Ed25519Verifier)]
    return bool(known) and said.previous_key not in known


def _origin(said: LedgerSucceeded, tree: Tree) -> str:
    return tree.checkpoint.origin if tree.checkpoint is not None and tree.trusted else said.origin


def check_successor(
    reader: LedgerReader,
    entries: Sequence[Entry],
    tree: Tree,
    policy: LogPolicy,
    of_before: Sequence[tuple[str, Checkpoint]],
    country: str | None,
    findings: Findings,
) -> None:
    """Whether a succession can be so.

    Args:
        reader: The ledger's files.
        entries: In the order of the tree.
        tree: With the checkpoint.
        policy: The auditor's.
        of_before: Checkpoints of the ledger before that others hold, verified, with who holds each.
        country: Whose ledger it is.
        findings: What is broken is added here.
    """
    keys = keys_before(entries, tree, policy)
    for entry in entries:
        said = entry.shared
        if not isinstance(said, LedgerSucceeded):
            continue
        for what in _wrong(said, entry.index, tree, of_before):
            findings.add(Rule.SUCCESSION, what, index=entry.index, blame=country)
        if entry.index == 0:
            if _is_strange(said, _listed(said, tree, policy)):
                what = "names a key of the ledger before that is not of the policy: a successor keeps the key"
                findings.add(Rule.SUCCESSION, what, index=0, blame=country)
            _check_previous(reader, keys, TreeHead(said.previous_size, said.previous_root), findings)


def _wrong(
    said: LedgerSucceeded, index: int, tree: Tree, of_before: Sequence[tuple[str, Checkpoint]]
) -> list[str]:
    wrong = []
    if index:
        wrong.append("a ledger succeeds another by its first entry, and this is not the first")
    if tree.checkpoint is not None and tree.trusted and said.origin != tree.checkpoint.origin:
        wrong.append(f"names {said.origin} as its own ledger")
    if said.previous_origin == said.origin:
        wrong.append("succeeds itself")
    if said.copy_size > said.previous_size:
        wrong.append(f"goes on from {said.previous_size} entries, the copy at hand had {said.copy_size}")
    for holder, held in of_before:
        if held.size > said.previous_size:
            wrong.append(
                f"goes on from {said.previous_size} entries, {holder} holds a checkpoint of {held.size}"
            )
        elif held.size == said.previous_size and held.root != said.previous_root:
            wrong.append(f"names another root of {said.previous_size} entries than {holder} holds")
    return wrong


def _check_previous(
    reader: LedgerReader, keys: LogPolicy | None, named: TreeHead, findings: Findings
) -> None:
    data = read_file(reader, PREVIOUS, MAX_NOTE_BYTES, findings)
    if data is None:
        findings.note(
            "The last checkpoint of the ledger before is not here; the first entry's word for it counts."
        )
        return
    if keys is None:
        findings.note("The last checkpoint of the ledger before was not checked: its keys are not known.")
        return
    try:
        head = open_before(data, keys).head
    except ConcordatError as error:
        findings.add(Rule.SUCCESSION, str(error), PREVIOUS)
        return
    if head != named:
        what = f"a checkpoint of {head.size} entries, not the one of {named.size} that the first entry names"
        findings.add(Rule.SUCCESSION, what, PREVIOUS)
