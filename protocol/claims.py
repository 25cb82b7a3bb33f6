"""Claims of hits: the messages, what both sides log about them, and the hits that a requester keeps.

A hit shows a one-time token that nothing else shows. A claims a hit by its token; B computes the token again and
answers with a signed verdict. Two messages are signed: ``Claim`` and ``ClaimVerdict``.

Source: specs/wire.md, section "Claims".
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple, Self

from pydantic import model_validator

from crypto.contexts import Context
from protocol import limits
from protocol.messages import (
    VERSION,
    EnvelopeBytes,
    EvidenceBytes,
    Query,
    Signed,
    SignedMessage,
    WitnessedBytes,
    message_hash,
)
from protocol.model import Count, Hash, Millis, PaddedModel
from protocol.statement_parts import NoPrivatePart
from protocol.statements import Statement
from protocol.statements_claims import (
    BlockNumber,
    ClaimAccepted,
    Claimant,
    ClaimConfirmed,
    ClaimFailed,
    ClaimRefused,
    ClaimSent,
    SlotNumber,
    Token,
)

RefusedFor = Literal["claimed-before", "no-such-slot", "more-than-reported", "too-late", "token-mismatch"]
FailedFor = Literal["refused", "overdue", "error-reply", "bad-reply"]


class Hit(NamedTuple):
    """One hit of an answer: position of its block there, its slot, and the token that the slot showed."""

    block: int
    slot: int
    token: int


_HIT: Final = struct.Struct(">IHH")
HIT_BYTES: Final = _HIT.size


def pack_hits(hits: Sequence[Hit]) -> bytes:
    """Hits as they are kept, 8 bytes each: u32 block, u16 slot, u16 token."""
    return b"".join(_HIT.pack(*hit) for hit in hits)


def unpack_hits(data: bytes) -> list[Hit]:
    """What ``pack_hits`` packed."""
    return [Hit(*fields) for fields in _HIT.iter_unpack(data)]


class Claim(SignedMessage):
    """One hit of one answer, with its token. Signed by the requester."""

    CONTEXT = Context.CLAIM

    type: Literal["claim"] = "claim"
    query_hash: Hash
    answer_hash: Hash
    block: BlockNumber
    slot: SlotNumber
    token: Token
    claimed_ms: Millis


class ClaimVerdict(SignedMessage):
    """Whether the token is the one that was given. Signed by the responder, once for each claim."""

    CONTEXT = Context.CLAIM_VERDICT

    type: Literal["claim-verdict"] = "claim-verdict"
    query_hash: Hash
    claim_hash: Hash
    outcome: Literal["accepted", "refused"]
    reason: RefusedFor | None
    decided_ms: Millis

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.outcome == "refused") != (self.reason is not None):
            raise ValueError("a refusal has a reason, an acceptance none")
        return self


class ClaimSubmission(PaddedModel):
    """``POST /v1/queries/{id}/claims``; ``seen_size`` and ``witnessed`` as in a ``QuerySubmission``."""

    LIMIT = limits.MAX_SUBMISSION

    version: Literal[1] = VERSION
    type: Literal["claim-submission"] = "claim-submission"
    claim: EnvelopeBytes
    evidence: EvidenceBytes
    seen_size: Count
    witnessed: WitnessedBytes | None


class ClaimReply(PaddedModel):
    """The reply: the verdict, the evidence of its entry, and the cosigned checkpoint."""

    LIMIT = limits.MAX_SUBMISSION

    version: Literal[1] = VERSION
    type: Literal["claim-reply"] = "claim-reply"
    verdict: EnvelopeBytes
    evidence: EvidenceBytes
    witnessed: WitnessedBytes


# Messages that were verified before they were stored


def read_claim(envelope: bytes) -> Claim:
    """The claim inside an envelope."""
    return Claim.from_bytes(Signed.from_bytes(envelope).message)


def read_verdict(envelope: bytes) -> ClaimVerdict:
    """The verdict inside an envelope."""
    return ClaimVerdict.from_bytes(Signed.from_bytes(envelope).message)


# Statements: they follow from the messages, so that each side can say what the other must have logged


def _common(query: Query, claim_envelope: bytes) -> dict[str, Any]:
    claim = read_claim(claim_envelope)
    names = ("exchange_id", "requester", "responder", "query_hash", "answer_hash", "block", "slot", "token")
    return {name: getattr(claim, name) for name in names} | {
        "agreement": query.agreement,
        "claim_hash": message_hash(claim_envelope),
    }


def sent(query: Query, claim: bytes, officer: str) -> Statement:
    """A: this hit is about to be claimed."""
    return Statement(ClaimSent(**_common(query, claim)), Claimant(officer=officer))


def decided(query: Query, claim: bytes, reason: str | None) -> Statement:
    """B: accepted, or refused for a reason."""
    if reason is None:
        return Statement(ClaimAccepted(**_common(query, claim)), NoPrivatePart())
    return Statement(ClaimRefused(reason=reason, **_common(query, claim)), NoPrivatePart())


def settled(query: Query, claim: bytes, verdict: bytes | None, reason: str | None) -> Statement:
    """A: confirmed, or failed for a reason."""
    name = None if verdict is None else message_hash(verdict)
    if reason is None:
        if name is None:
            raise ValueError("what is confirmed has a verdict")
        return Statement(ClaimConfirmed(verdict_hash=name, **_common(query, claim)), NoPrivatePart())
    shared = ClaimFailed(reason=reason, verdict_hash=name, **_common(query, claim))
    return Statement(shared, NoPrivatePart())
