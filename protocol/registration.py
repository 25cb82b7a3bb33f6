"""Registration of evaluation keys by cut-and-choose: its messages, its epochs, and its ledger statements.

A offers the hashes of some key sets; B names the one that it will keep; A opens all others by their secrets; B makes
them again and compares. Four messages are signed: ``KeyOffer``, ``KeyChallenge``, ``KeyOpening``, ``KeyDecision``.

Source: specs/wire.md, section "Registration of keys".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, model_validator

from crypto.contexts import Context
from protocol import limits
from protocol.agreement import AgreementFields
from protocol.messages import (
    VERSION,
    EnvelopeBytes,
    EvidenceBytes,
    Progress,
    Signed,
    SignedMessage,
    WitnessedBytes,
    message_hash,
)
from protocol.model import Count, Hash, Millis, Model, Term
from protocol.statement_parts import NoPrivatePart
from protocol.statements import Statement
from protocol.statements_keys import (
    Checked,
    Escrowed,
    Kept,
    KeysAccepted,
    KeysChallenged,
    KeysFailed,
    KeysOffered,
    KeysOpened,
    KeysRefused,
    KeysRegistered,
    Secret,
    Sets,
)

LEAD_PART: Final = 10
"""A requester may register for the next epoch in the last tenth of this one."""

RefusedFor = Literal["set-differs", "opening-incomplete", "keys-registered", "overdue"]


def epoch_ms(epoch_days: int) -> int:
    """Length of an epoch in milliseconds."""
    return epoch_days * limits.DAY


def epoch_at(time_ms: int, epoch_days: int) -> int:
    """The number of the epoch of a time: whole epochs since 1970."""
    return time_ms // epoch_ms(epoch_days)


def open_epochs(now_ms: int, epoch_days: int) -> tuple[int, ...]:
    """The epochs for which keys may be registered now: this one, and shortly before its end the next."""
    length = epoch_ms(epoch_days)
    this = epoch_at(now_ms, epoch_days)
    near = (this + 1) * length - now_ms <= length // LEAD_PART
    return (this, this + 1) if near else (this,)


@dataclass(frozen=True)
class InUse:
    """Registered keys as a query is held against them: their plan and epoch, and of how many sets they were one."""

    plan: bytes
    epoch_days: int
    epoch: int
    sets: int

    def at(self, time_ms: int) -> bool:
        """Whether they are in use at a time; the clocks of both sides may differ at either end of the epoch."""
        begin = self.epoch * epoch_ms(self.epoch_days)
        end = begin + epoch_ms(self.epoch_days)
        return begin - limits.CLOCK_SKEW <= time_ms < end + limits.CLOCK_SKEW


class KeyOffer(SignedMessage):
    """The hashes of the sets, in order, for one plan and epoch. Signed by the requester."""

    CONTEXT = Context.KEY_OFFER

    type: Literal["key-offer"] = "key-offer"
    agreement: Hash
    profile: Hash
    plan: Hash
    epoch_days: Annotated[int, Field(ge=1, le=limits.MAX_KEY_EPOCH_DAYS)]
    epoch: Count
    sets: Sets
    created_ms: Millis

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if len(set(self.sets)) != len(self.sets):
            raise ValueError("a set is offered twice")
        return self


class KeyChallenge(SignedMessage):
    """The one set of an offer that stays closed. Signed by the responder, once for each offer."""

    CONTEXT = Context.KEY_CHALLENGE

    type: Literal["key-challenge"] = "key-challenge"
    offer_hash: Hash
    kept: Kept
    challenged_ms: Millis


class KeyOpening(SignedMessage):
    """The secrets of all sets but the kept one, in their order. Signed by the requester."""

    CONTEXT = Context.KEY_OPENING

    type: Literal["key-opening"] = "key-opening"
    offer_hash: Hash
    challenge_hash: Hash
    kept: Kept
    secrets: Annotated[list[Secret], Field(min_length=1, max_length=limits.MAX_KEY_SETS)]
    opened_ms: Millis


class KeyDecision(SignedMessage):
    """Whether the kept set is in use from now on. Signed by the responder."""

    CONTEXT = Context.KEY_DECISION

    type: Literal["key-decision"] = "key-decision"
    offer_hash: Hash
    opening_hash: Hash | None
    outcome: Literal["registered", "refused"]
    reason: RefusedFor | None
    decided_ms: Millis

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.outcome == "refused") != (self.reason is not None):
            raise ValueError("a refusal has a reason, a registration none")
        if self.outcome == "registered" and self.opening_hash is None:
            raise ValueError("what was not opened is not registered")
        return self


class KeySubmission(Model):
    """``POST /v1/registrations`` (an offer) and ``/v1/registrations/{id}/opening``, with the evidence of its entry.

    ``seen_size`` and ``witnessed`` as in a ``QuerySubmission``.
    """

    LIMIT = limits.MAX_SUBMISSION

    version: Literal[1] = VERSION
    type: Literal["key-submission"] = "key-submission"
    message: EnvelopeBytes
    evidence: EvidenceBytes
    seen_size: Count
    witnessed: WitnessedBytes | None


class RegistrationStatus(Model):
    """The reply to everything about one registration: the challenge, how many sets are checked, the decision."""

    LIMIT = limits.MAX_STATUS

    version: Literal[1] = VERSION
    type: Literal["registration-status"] = "registration-status"
    challenge: EnvelopeBytes
    challenge_evidence: EvidenceBytes
    progress: Progress | None
    decision: EnvelopeBytes | None
    decision_evidence: EvidenceBytes | None
    witnessed: WitnessedBytes | None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.decision is None) != (self.decision_evidence is None):
            raise ValueError("a decision and its evidence come together")
        return self


# Messages that were verified before they were stored


def read_offer(envelope: bytes) -> KeyOffer:
    """The offer inside an envelope."""
    return KeyOffer.from_bytes(Signed.from_bytes(envelope).message)


def read_challenge(envelope: bytes) -> KeyChallenge:
    """The challenge inside an envelope."""
    return KeyChallenge.from_bytes(Signed.from_bytes(envelope).message)


def read_opening(envelope: bytes) -> KeyOpening:
    """The opening inside an envelope."""
    return KeyOpening.from_bytes(Signed.from_bytes(envelope).message)


def read_decision(envelope: bytes) -> KeyDecision:
    """The decision inside an envelope."""
    return KeyDecision.from_bytes(Signed.from_bytes(envelope).message)


def opened_sets(offer: KeyOffer, opening: KeyOpening) -> list[tuple[int, bytes]]:
    """Index and secret of every opened set; empty if the opening is not of all sets but the kept one."""
    indexes = [index for index in range(len(offer.sets)) if index != opening.kept]
    if opening.kept >= len(offer.sets) or len(indexes) != len(opening.secrets):
        return []
    return list(zip(indexes, opening.secrets, strict=True))


def fits(offer: KeyOffer, fields: AgreementFields) -> bool:
    """Whether an offer has the number of sets and the epoch of an agreement."""
    return len(offer.sets) == fields.key_sets and offer.epoch_days == fields.key_epoch_days


# Statements: they follow from the messages, so that each side can say what the other must have logged


def _common(offer_envelope: bytes) -> dict[str, Any]:
    offer = read_offer(offer_envelope)
    names = ("exchange_id", "requester", "responder", "agreement", "plan", "epoch_days", "epoch")
    return {name: getattr(offer, name) for name in names} | {"offer_hash": message_hash(offer_envelope)}


def offered(offer: bytes) -> Statement:
    """A: these sets are about to be offered."""
    said = read_offer(offer)
    return Statement(KeysOffered(profile=said.profile, sets=said.sets, **_common(offer)), NoPrivatePart())


def challenged(offer: bytes, challenge: bytes) -> Statement:
    """B: this set stays closed."""
    kept, name = read_challenge(challenge).kept, message_hash(challenge)
    return Statement(KeysChallenged(kept=kept, challenge_hash=name, **_common(offer)), NoPrivatePart())


def opened(offer: bytes, challenge: bytes, opening: bytes) -> Statement:
    """A: all others are about to be opened."""
    names: dict[str, Any] = {"challenge_hash": message_hash(challenge), "opening_hash": message_hash(opening)}
    return Statement(KeysOpened(kept=read_opening(opening).kept, **names, **_common(offer)), NoPrivatePart())


def registered(offer: bytes, opening: bytes, compute_ms: int) -> Statement:
    """B: the kept set is in use."""
    said = read_offer(offer)
    shared = KeysRegistered(
        opening_hash=message_hash(opening),
        evaluation_keys=said.sets[read_opening(opening).kept],
        sets=len(said.sets),
        **_common(offer),
    )
    return Statement(shared, Checked(compute_ms=compute_ms))


def refused(offer: bytes, opening_hash: bytes | None, reason: Term) -> Statement:
    """B: nothing of this offer is used."""
    return Statement(KeysRefused(opening_hash=opening_hash, reason=reason, **_common(offer)), NoPrivatePart())


def accepted(offer: bytes, opening: bytes, secret: bytes) -> Statement:
    """A: the kept set is in use; its secret goes to the auditors."""
    shared = KeysAccepted(
        opening_hash=message_hash(opening),
        evaluation_keys=read_offer(offer).sets[read_opening(opening).kept],
        **_common(offer),
    )
    return Statement(shared, Escrowed(secret=secret))


def failed(offer: bytes, reason: Term) -> Statement:
    """A: the registration is given up."""
    return Statement(KeysFailed(reason=reason, **_common(offer)), NoPrivatePart())
