"""The published checkpoint of a ledger, as an audit reads it: its form, its signatures, its witnesses.

Source: specs/ledger.md, sections "Checkpoints" and "Audit".
"""

from __future__ import annotations

from typing import Final

from crypto.errors import BadEncoding, BadSignature
from crypto.note import MAX_NOTE_BYTES, Note, NoteVerifier, open_note, parse_note
from protocol.audit.reader import LedgerReader, read_file
from protocol.audit.report import Findings, Rule
from protocol.checkpoint import Checkpoint, parse_checkpoint_text
from protocol.log_policy import LogPolicy

CHECKPOINT: Final = "checkpoint"


def read_head(reader: LedgerReader, policy: LogPolicy, findings: Findings) -> tuple[Checkpoint | None, bool]:
    """The checkpoint, if it can be parsed at all, and whether a log of the policy signed it."""
    data = read_file(reader, CHECKPOINT, MAX_NOTE_BYTES, findings, "there is no checkpoint")
    if data is None:
        return None, False
    try:
        checkpoint = parse_checkpoint_text(parse_note(data).text)
    except BadEncoding as error:
        findings.add(Rule.CHECKPOINT_FORM, str(error), CHECKPOINT)
        return None, False
    opened, bad = _verify_note(data, policy)
    if opened is None:
        # A changed text breaks every signature at once: that is one finding.
        what = "; ".join(bad) or "no key of the policy signed the checkpoint"
        findings.add(Rule.CHECKPOINT_SIGNATURE, what, CHECKPOINT)
        return checkpoint, False
    for what in bad:
        findings.add(Rule.CHECKPOINT_SIGNATURE, what, CHECKPOINT)
    logs = [log for log in policy.logs if opened.is_signed_by(log)]
    if not logs:
        findings.add(Rule.CHECKPOINT_SIGNATURE, "no log of the policy signed the checkpoint", CHECKPOINT)
        return checkpoint, False
    if checkpoint.origin not in {log.name for log in logs}:
        what = "the origin is not the name of the log that signed"
        findings.add(Rule.CHECKPOINT_SIGNATURE, what, CHECKPOINT)
        return checkpoint, False
    unsigned = policy.unsigned(opened, checkpoint.origin)
    if unsigned is not None and not bad:
        findings.add(Rule.CHECKPOINT_SIGNATURE, unsigned, CHECKPOINT)
    short = policy.missing(opened)
    if short is not None:
        findings.add(Rule.CHECKPOINT_QUORUM, short, CHECKPOINT)
    return checkpoint, True


def _verify_note(data: bytes, policy: LogPolicy) -> tuple[Note | None, list[str]]:
    """The note with every good signature, if there is one, and what is wrong with the bad ones of known keys."""
    good: list[NoteVerifier] = []
    bad: list[str] = []
    signatures = {(one.name, one.key_id) for one in parse_note(data).signatures}
    for verifier in policy.verifiers:
        if (verifier.name, verifier.key_id) in signatures:
            try:
                open_note(data, [verifier])
            except BadSignature as error:
                bad.append(str(error))
            else:
                good.append(verifier)
    return (open_note(data, good) if good else None), bad
