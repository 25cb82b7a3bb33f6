"""Statements about trust in ledgers: peers suspended and resumed, successions, quorums missed, clock steps.

Source: specs/ledger.md, sections "Conflicts", "Succession" and "Time".
"""

from __future__ import annotations

from typing import Final, Literal

from protocol.model import Count, Country, Hash, Millis, Term, Text
from protocol.statement_parts import LocalPart, Operated, PrivatePart, SharedPart


class PeerSuspended(LocalPart):
    """No exchange with this peer until its operator's counterpart here resumes it.

    ``conflict`` is the digest of the conflict file, None when the operator did it without one.
    """

    type: Literal["peer.suspended"] = "peer.suspended"
    peer: Country
    conflict: Hash | None


class PeerResumed(LocalPart):
    """The operator takes up exchanges with a suspended peer."""

    type: Literal["peer.resumed"] = "peer.resumed"
    peer: Country


class Decided(PrivatePart):
    """Who decided, and why."""

    operator: Text
    reason: Text


class LedgerSucceeded(LocalPart):
    """The first entry of a successor ledger: what it continues, and from where.

    Attributes:
        previous_origin: Name of the ledger before.
        previous_key: Its Ed25519 public key.
        previous_size: Size of the last witnessed checkpoint of the ledger before.
        previous_root: Its root.
        copy_size: Entries that the copy at hand still had; less than ``previous_size`` after a loss.
    """

    type: Literal["ledger.succeeded"] = "ledger.succeeded"
    identity_key: Hash
    origin: Text
    previous_origin: Text
    previous_key: Hash
    previous_size: Count
    previous_root: Hash
    copy_size: Count


class SuccessionAccepted(LocalPart):
    """The operator accepts that a peer goes on under a successor ledger."""

    type: Literal["succession.accepted"] = "succession.accepted"
    peer: Country
    previous_origin: Text
    previous_size: Count
    previous_root: Hash
    origin: Text
    succession: Hash


class QuorumMissed(LocalPart):
    """From here on checkpoints are used that fewer witnesses than the policy asks for have cosigned."""

    type: Literal["quorum.missed"] = "quorum.missed"
    size: Count
    quorum: Term


class QuorumMet(LocalPart):
    """The policy's quorum has cosigned again."""

    type: Literal["quorum.met"] = "quorum.met"
    size: Count
    quorum: Term


class ClockStepped(LocalPart):
    """This node's clock went backward; times of entries around here are in doubt."""

    type: Literal["clock.stepped"] = "clock.stepped"
    before_ms: Millis
    after_ms: Millis


class Noticed(PrivatePart):
    """The software noticed it by itself."""

    software: Text


WITNESS_STATEMENTS: Final[dict[str, tuple[type[SharedPart], type[PrivatePart]]]] = {
    "peer.suspended": (PeerSuspended, Decided),
    "peer.resumed": (PeerResumed, Decided),
    "ledger.succeeded": (LedgerSucceeded, Decided),
    "succession.accepted": (SuccessionAccepted, Operated),
    "quorum.missed": (QuorumMissed, Noticed),
    "quorum.met": (QuorumMet, Noticed),
    "clock.stepped": (ClockStepped, Noticed),
}
"""The shared and private model of every statement type in this file."""
