"""Verification of one ledger, from its files alone.

Source: specs/ledger.md, section "Audit".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from crypto.errors import ConcordatError
from protocol.audit.answers import check_answers
from protocol.audit.cadence import cadence_notices
from protocol.audit.claims import check_claims
from protocol.audit.entries import Entry, check_order, country_of, open_payloads, read_leaves
from protocol.audit.predecessor import keys_before
from protocol.audit.reader import LedgerReader, read_file
from protocol.audit.registrations import check_keys_of_queries, check_registrations
from protocol.audit.report import AuditReport, Findings, Rule
from protocol.audit.retention import check_retention
from protocol.audit.tree import Tree, check_seen, verify_tree
from protocol.audit.trust import check_trust
from protocol.audit.witnesses import check_conflicts, notices
from protocol.checkpoint import Checkpoint, open_checkpoint
from protocol.log_policy import BadPolicy, LogPolicy, parse_policy
from protocol.witnessing import PREFIX

_VKEY: Final = "vkey"
_EMPTY_POLICY: Final = LogPolicy((), {}, {}, None)


@dataclass(frozen=True)
class Seen:
    """A checkpoint of this log that somebody else holds.

    Attributes:
        holder: Who, for the findings.
        note: The signed checkpoint.
    """

    holder: str
    note: bytes


@dataclass(frozen=True)
class LedgerInput:
    """One ledger to be audited.

    Attributes:
        reader: Its files.
        policy: The auditor's own policy file; one taken from the ledger proves nothing about whose it is.
        auditor_key: X25519 private key, if payloads are to be opened.
        seen: Checkpoints that others hold.
        statements: False for a log whose entries are not Concordat's.
    """

    reader: LedgerReader
    policy: bytes
    auditor_key: bytes | None = None
    seen: Sequence[Seen] = ()
    statements: bool = True


@dataclass(frozen=True)
class AuditedLedger:
    """A report with what reconciliation needs beside it.

    Attributes:
        report: The verdict.
        entries: Those that could be read and are the ones that were logged.
        whole: All of them, so an absence means something.
        leaves: The leaf hashes, as ``Tree.leaves``.
    """

    report: AuditReport
    entries: tuple[Entry, ...]
    whole: bool = True
    leaves: Sequence[bytes] = ()


def verify_ledger(
    reader: LedgerReader,
    policy: bytes,
    auditor_key: bytes | None = None,
    seen: Sequence[Seen] = (),
    statements: bool = True,
) -> AuditReport:
    """Check every byte of a ledger. Damage becomes findings, never an exception.

    Args:
        reader: The ledger's files.
        policy: A C2SP tlog-policy file: whose ledger it must be, and which witnesses count.
        auditor_key: X25519 private key; with it payloads are opened and the order rules checked.
        seen: Checkpoints of this log that others hold.
        statements: False for a log whose entries are not Concordat's.
    """
    return audit_ledger(LedgerInput(reader, policy, auditor_key, seen, statements)).report


def audit_ledger(given: LedgerInput) -> AuditedLedger:
    """As ``verify_ledger``, keeping the entries."""
    findings = Findings()
    policy = _policy(given.policy, findings)
    _check_vkey(given.reader, policy, findings)
    tree = verify_tree(given.reader, policy, findings)
    entries = _entries(given, tree, findings)
    before = keys_before(entries, tree, policy)
    held = [] if tree.cosigned is None else [("the ledger's own file cosigned", tree.cosigned)]
    seen, of_before = _seen(given.seen, policy, before, findings)
    check_seen(tree, [*held, *seen], findings)
    if given.statements:
        check_conflicts(given.reader, entries, findings)
        check_trust(given.reader, entries, tree, policy, of_before, findings)
    after = None if tree.quorum_size is None else max(0, tree.size - tree.quorum_size)
    counts = Counter(entry.shared.type for entry in entries if entry.shared is not None)
    report = AuditReport(
        ok=not findings.kept,
        origin=tree.checkpoint.origin if tree.checkpoint else None,
        size=tree.size,
        root=tree.root,
        findings=tuple(findings.kept),
        dropped=findings.dropped,
        unchecked=tuple(findings.unchecked),
        statements=dict(counts),
        notices=(
            *_behind(policy, tree.quorum_size, after),
            *notices(entries),
            *cadence_notices(entries),
        ),
        after_quorum=after,
    )
    return AuditedLedger(report, tuple(entries), tree.whole, tree.leaves)


def _entries(given: LedgerInput, tree: Tree, findings: Findings) -> list[Entry]:
    if not given.statements:
        findings.note("What the entries say was not looked at.")
        return []
    entries = read_leaves(tree, findings)
    if given.auditor_key is None:
        findings.note("Payloads were not opened (no auditor's key): what was logged, and in which order.")
        return entries
    entries = open_payloads(given.reader, entries, given.auditor_key, findings)
    check_retention(entries, findings)
    check_order(entries, findings, tree.whole)
    check_answers(entries, findings)
    check_registrations(entries, country_of(entries), findings)
    check_keys_of_queries(entries, country_of(entries), findings, tree.whole)
    check_claims(entries, country_of(entries), findings, tree.whole)
    return entries


def _policy(data: bytes, findings: Findings) -> LogPolicy:
    try:
        policy = parse_policy(data)
    except BadPolicy as error:
        findings.add(Rule.POLICY, str(error), where="policy")
        return _EMPTY_POLICY
    if not policy.logs:
        findings.add(Rule.POLICY, "the policy names no log", where="policy")
    if policy.quorum is None:
        findings.note("The policy asks for no witness: nobody outside vouches that this is the only history.")
    for name, key in sorted(policy.witnesses.items()):
        # A node's cosigning key: in its own exchanges with the ledger's node it is one of the pair.
        if policy.quorum is not None and key.name.startswith(PREFIX) and policy.met_by({key.key_bytes}):
            findings.note(
                f"{name} alone meets the quorum: in exchanges between the two nobody outside the pair vouches "
                "that this is the only history."
            )
    return policy


def _check_vkey(reader: LedgerReader, policy: LogPolicy, findings: Findings) -> None:
    """The ledger's own key line is a convenience; where it is there, it must be a key of the policy."""
    data = read_file(reader, _VKEY, 4096, findings)
    if data is not None and policy.logs and data not in [f"{log.vkey}\n".encode() for log in policy.logs]:
        findings.add(Rule.VKEY, "not the key line of a log of the policy", _VKEY)


def _behind(policy: LogPolicy, size: int | None, after: int | None) -> list[str]:
    if not after:
        return []
    return [f"the quorum {policy.quorum} cosigned {size} entries; {after} come after them"]


def _seen(
    seen: Sequence[Seen], policy: LogPolicy, before: LogPolicy | None, findings: Findings
) -> tuple[list[tuple[str, Checkpoint]], list[tuple[str, Checkpoint]]]:
    """Those of this log, and those of the log that it succeeds.

    Only what a log signed counts: anybody can write down a size and a root. Of each type of key that the policy
    lists: a checkpoint without the post-quantum line is nobody's word.
    """
    checked: list[tuple[str, Checkpoint]] = []
    of_before: list[tuple[str, Checkpoint]] = []
    logs = LogPolicy(policy.logs, {}, {}, None)
    for item in seen:
        if before is not None and (old := _opened(item.note, before)) is not None:
            of_before.append((item.holder, old))
        elif (own := _opened(item.note, logs)) is not None:
            checked.append((item.holder, own))
        else:
            findings.note(f"The checkpoint held by {item.holder} is not signed by this log; it was ignored.")
    return checked, of_before


def _opened(note: bytes, logs: LogPolicy) -> Checkpoint | None:
    for log in logs.logs:
        try:
            opened = open_checkpoint(note, log).checkpoint
        except ConcordatError:
            continue
        return opened if logs.shortfall(note) is None else None
    return None
