"""What each side checks of a claim, as pure functions.

An entry of the peer must say exactly what follows from the messages: the expected statement is made and compared.

Source: specs/wire.md, section "Claims".
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from protocol import limits
from protocol.claims import (
    Claim,
    ClaimReply,
    ClaimSubmission,
    ClaimVerdict,
    RefusedFor,
    decided,
    read_claim,
    sent,
)
from protocol.errors import EvidenceRejected, WrongMessage
from protocol.evidence import VerifiedEntry
from protocol.exchange.checks import own_query, verify_entry
from protocol.exchange.parties import Parties, Seen
from protocol.messages import Query, message_hash, open_signed
from protocol.statement_parts import SharedPart
from protocol.statements_claims import ClaimAccepted, ClaimRefused, ClaimSent


@dataclass(frozen=True)
class Reported:
    """What the responder knows of the answer that is claimed from, once the requester has reported a hit."""

    answer_hash: bytes
    blocks: int
    hits: int
    answered_ms: int


def open_claim(body: bytes, parties: Parties, query_envelope: bytes) -> tuple[Claim, bytes]:
    """The claim in a submission and its envelope, if its sender signed it about this query.

    Raises:
        BadEncoding, BadMessage, BadSignature, WrongMessage: It is not.
    """
    envelope = ClaimSubmission.from_bytes(body).claim
    claim = open_signed(Claim, envelope, parties.peer.identity)
    query = own_query(query_envelope)
    for name in ("exchange_id", "requester", "responder"):
        if getattr(claim, name) != getattr(query, name):
            raise WrongMessage(f"a claim of another exchange: {name} differs")
    if claim.query_hash != message_hash(query_envelope):
        raise WrongMessage("a claim of another query")
    return claim, envelope


def admit_claim(
    body: bytes, parties: Parties, query_envelope: bytes, reported: Reported, seen: Seen | None, now_ms: int
) -> VerifiedEntry[ClaimSent]:
    """Check that the claim is of the answer that was given, is of now, and is on A's ledger.

    Raises:
        WrongMessage: Of another answer, or of another time.
        StaleCheckpoint, EvidenceRejected, UnseenCheckpoint: As ``verify_entry``.
    """
    claim, envelope = open_claim(body, parties, query_envelope)
    if claim.answer_hash != reported.answer_hash:
        raise WrongMessage("a claim of another answer")
    earliest = reported.answered_ms - limits.CLOCK_SKEW
    if not earliest <= claim.claimed_ms <= now_ms + limits.CLOCK_SKEW:
        raise WrongMessage("the claim's time is before its answer, or in the future")
    entry = verify_entry(ClaimSubmission.from_bytes(body).evidence, parties, seen, ClaimSent, now_ms)
    # The officer is in the private part, which stays with A.
    _says(entry, sent(own_query(query_envelope), envelope, "-").shared)
    return entry


def judge_claim(
    claim: Claim, reported: Reported, given: int, earlier: int, now_ms: int, *, is_first: bool = True
) -> RefusedFor | None:
    """Why a claim is refused; None if it holds.

    Args:
        claim: Admitted.
        reported: What it is claimed from.
        given: The token that this node gave to that slot; anything where there is no such slot.
        earlier: Other hits of this answer that were claimed before.
        now_ms: The time.
        is_first: No other message claimed this hit before; a second one is refused, whatever token it has.
    """
    same = hmac.compare_digest(claim.token.to_bytes(2, "big"), given.to_bytes(2, "big"))
    if not is_first:
        return "claimed-before"
    if claim.block >= reported.blocks:
        return "no-such-slot"
    if earlier >= reported.hits:
        return "more-than-reported"
    if now_ms > reported.answered_ms + limits.CLAIM_PERIOD:
        return "too-late"
    return None if same else "token-mismatch"


def verify_verdict(
    body: bytes, parties: Parties, query: Query, claim_envelope: bytes, seen: Seen | None, now_ms: int
) -> tuple[ClaimVerdict, bytes, VerifiedEntry[SharedPart]]:
    """The responder's verdict on this claim, its envelope, and the entry that backs it.

    Raises:
        BadEncoding, BadMessage, BadSignature, WrongMessage: The message is wrong.
        StaleCheckpoint, EvidenceRejected, UnseenCheckpoint: As ``verify_entry``.
    """
    reply = ClaimReply.from_bytes(body)
    verdict = open_signed(ClaimVerdict, reply.verdict, parties.peer.identity)
    claim = read_claim(claim_envelope)
    for name in ("exchange_id", "requester", "responder", "query_hash"):
        if getattr(verdict, name) != getattr(claim, name):
            raise WrongMessage(f"a verdict on another claim: {name} differs")
    if verdict.claim_hash != message_hash(claim_envelope):
        raise WrongMessage("a verdict on another claim")
    if not claim.claimed_ms - limits.CLOCK_SKEW <= verdict.decided_ms <= now_ms + limits.CLOCK_SKEW:
        raise WrongMessage("the verdict's time is before its claim, or in the future")
    kinds: dict[str, type[SharedPart]] = {"accepted": ClaimAccepted, "refused": ClaimRefused}
    entry = verify_entry(reply.evidence, parties, seen, kinds[verdict.outcome], now_ms)
    _says(entry, decided(query, claim_envelope, verdict.reason).shared)
    return verdict, reply.verdict, entry


def _says(entry: VerifiedEntry[ClaimSent] | VerifiedEntry[SharedPart], expected: SharedPart) -> None:
    if entry.shared != expected:
        raise EvidenceRejected(
            f"the {expected.type} on the ledger is not about this message", "entry-differs"
        )
