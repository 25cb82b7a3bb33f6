"""Seen by a third: what an agreement demands of the checkpoints under the evidence that its parties show each other.

Two nodes alone could keep a second history for each other. An agreement can therefore name witnesses that are neither
party, in the form of a tlog-policy without logs: evidence counts only if its checkpoint carries their cosignatures.

Source: specs/ledger.md, section "Seen by a third"; specs/agreements.md, section "Agreements".
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Final

from crypto.errors import BadEncoding, BadSignature, InputError, PeerFault
from crypto.note import Note, cosignature_time, open_note
from protocol.log_policy import LogPolicy, parse_policy

if TYPE_CHECKING:
    from protocol.evidence import VerifiedEntry

MAX_DEMAND_BYTES: Final = 64 * 1024
"""A policy of some thirty witnesses with post-quantum keys."""


class BadDemand(InputError):
    """A demand that names logs, no witness, or a witness that is one of the two parties."""

    code = "bad-demand"


class UnseenCheckpoint(PeerFault):
    """Good evidence under a checkpoint that nobody outside the pair has cosigned, as the agreement demands.

    Attributes:
        entry: What was verified; it is remembered all the same: the peer's log has signed it.
    """

    code = "unseen-checkpoint"

    def __init__(self, message: str, entry: VerifiedEntry[Any]) -> None:
        super().__init__(message)
        self.entry = entry


def read_demand(text: str) -> LogPolicy:
    """The policy in an agreement.

    Raises:
        BadDemand, BadPolicy: Too long, malformed, with a log, or without a quorum.
    """
    data = text.encode()
    if len(data) > MAX_DEMAND_BYTES:
        raise BadDemand(f"witnesses: more than {MAX_DEMAND_BYTES} bytes")
    policy = parse_policy(data)
    if policy.logs or policy.quorum is None:
        raise BadDemand("witnesses: a policy without logs and with a quorum is expected")
    return policy


def require_outside(policy: LogPolicy, names: Collection[str], keys: Collection[bytes]) -> None:
    """Raise ``BadDemand`` if a witness has a name or a key of one of the parties: none of them is a third."""
    for witness in policy.witnesses.values():
        if witness.name in names or witness.key_bytes in keys:
            raise BadDemand(f"witnesses: {witness.name} is one of the parties")


def unseen(demands: Sequence[LogPolicy], checkpoint: bytes) -> str | None:
    """Why a checkpoint is not cosigned as all the demands want; None if it is.

    A cosignature without a time counts for nothing: a witness never makes one.
    """
    for demand in demands:
        try:
            note = open_note(checkpoint, demand.verifiers)
            timed = tuple(line for line in note.verified if cosignature_time(line.payload))
        except (BadEncoding, BadSignature) as error:
            return str(error)
        missing = demand.missing(Note(note.text, note.signatures, timed))
        if missing is not None:
            return missing
    return None


def joined(policies: Sequence[LogPolicy]) -> LogPolicy:
    """All witnesses of several policies, each key once, with their addresses; for asking, not for judging."""
    witnesses, urls = {}, {}
    for policy in policies:
        for name, key in policy.witnesses.items():
            vkey = key.vkey
            witnesses[vkey] = key
            if name in policy.urls:
                urls[vkey] = policy.urls[name]
    return LogPolicy((), witnesses, {}, None, urls)
