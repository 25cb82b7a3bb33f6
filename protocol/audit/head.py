"""The checkpoints of a ledger, as an audit reads them: their form, their signatures, their witnesses.

Source: specs/ledger.md, sections "Checkpoints" and "Audit".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from crypto.errors import BadEncoding, BadSignature
from crypto.note import MAX_NOTE_BYTES, Note, NoteVerifier, open_note, parse_note
from protocol.audit.reader import LedgerReader, read_file
from protocol.audit.report import Findings, Rule
from protocol.checkpoint import Checkpoint, parse_checkpoint_text
from protocol.log_policy import LogPolicy

CHECKPOINT: Final = "checkpoint"
COSIGNED: Final = "cosigned"
"""The newest checkpoint that came back cosigned; entries are added faster than witnesses cosign."""


@dataclass(frozen=True)
class Head:
    """What a ledger's checkpoint files say.

    Attributes:
        checkpoint: The published checkpoint, if it can be parsed at all.
        trusted: A log of the policy signed it.
        cosigned: The last cosigned checkpoint, if there is one and a log of the policy signed it.
        quorum_size: Size of the newest checkpoint that the policy's quorum cosigned; None without one.
    """

    checkpoint: Checkpoint | None = None
    trusted: bool = False
    cosigned: Checkpoint | None = None
    quorum_size: int | None = None


def read_head(reader: LedgerReader, policy: LogPolicy, findings: Findings) -> Head:
    """Both checkpoint files, each with its findings, and how far the policy's quorum reaches."""
    # The older one first: of a ledger that is being written to, the published one is then never behind it.
    cosigned, cosigned_note = _read(reader, COSIGNED, policy, findings, None)
    checkpoint, note = _read(reader, CHECKPOINT, policy, findings, "there is no checkpoint")
    if cosigned_note is None:
        cosigned = None
    if checkpoint is None or note is None:
        return Head(checkpoint, cosigned=cosigned)
    if cosigned is not None and cosigned.origin != checkpoint.origin:
        findings.add(Rule.CHECKPOINT_SIGNATURE, "not of the log of the checkpoint", COSIGNED)
        cosigned = None
    short = policy.missing(note)
    if short is None:
        return Head(checkpoint, True, cosigned, None if policy.quorum is None else checkpoint.size)
    if cosigned is not None and cosigned_note is not None:
        lacking = policy.unsigned(cosigned_note, cosigned.origin) or policy.missing(cosigned_note)
        if lacking is None:
            return Head(checkpoint, True, cosigned, cosigned.size)
    findings.add(Rule.CHECKPOINT_QUORUM, short, CHECKPOINT)
    return Head(checkpoint, True, cosigned)


def _read(
    reader: LedgerReader, path: str, policy: LogPolicy, findings: Findings, missing: str | None
) -> tuple[Checkpoint | None, Note | None]:
    """A checkpoint, and its note with the good signatures if a log of the policy signed it."""
    data = read_file(reader, path, MAX_NOTE_BYTES, findings, missing)
    if data is None:
        return None, None
    try:
        checkpoint = parse_checkpoint_text(parse_note(data).text)
    except BadEncoding as error:
        findings.add(Rule.CHECKPOINT_FORM, str(error), path)
        return None, None
    opened, bad = _verify_note(data, policy)
    if opened is None:
        # A changed text breaks every signature at once: that is one finding.
        what = "; ".join(bad) or "no key of the policy signed the checkpoint"
        findings.add(Rule.CHECKPOINT_SIGNATURE, what, path)
        return checkpoint, None
    for what in bad:
        findings.add(Rule.CHECKPOINT_SIGNATURE, what, path)
    logs = [log for log in policy.logs if opened.is_signed_by(log)]
    if not logs:
        findings.add(Rule.CHECKPOINT_SIGNATURE, "no log of the policy signed the checkpoint", path)
        return checkpoint, None
    if checkpoint.origin not in {log.name for log in logs}:
        what = "the origin is not the name of the log that signed"
        findings.add(Rule.CHECKPOINT_SIGNATURE, what, path)
        return checkpoint, None
    unsigned = policy.unsigned(opened, checkpoint.origin)
    if unsigned is not None and not bad:
        findings.add(Rule.CHECKPOINT_SIGNATURE, unsigned, path)
    return checkpoint, opened


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
