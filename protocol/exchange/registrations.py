"""What each side checks of a registration of evaluation keys, as pure functions.

An entry of the peer must say exactly what follows from the messages: the expected statement is made and compared.

Source: specs/wire.md, section "Registration of keys".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from crypto.errors import PeerFault
from protocol import limits
from protocol.agreement import Agreement
from protocol.errors import EvidenceRejected, OfferRefused, WrongMessage
from protocol.evidence import VerifiedEntry
from protocol.exchange.checks import verify_entry
from protocol.exchange.parties import Parties, Seen
from protocol.key_evidence import KeyEvidence
from protocol.messages import SignedMessage, message_hash, open_signed
from protocol.registration import (
    KeyChallenge,
    KeyDecision,
    KeyOffer,
    KeyOpening,
    KeySubmission,
    RegistrationStatus,
    challenged,
    fits,
    offered,
    open_epochs,
    opened,
    read_challenge,
    read_offer,
    refused,
    registered,
)
from protocol.statement_parts import SharedPart
from protocol.statements_keys import (
    KeysChallenged,
    KeysOffered,
    KeysOpened,
    KeysRefused,
    KeysRegistered,
)

S = TypeVar("S", bound=SignedMessage)
T = TypeVar("T", bound=SharedPart)


class SecondChallenge(PeerFault):
    """The responder has signed two challenges of one offer: answering both would open every set.

    Attributes:
        evidence: Both, as a file that convicts it.
    """

    code = "second-challenge"

    def __init__(self, evidence: KeyEvidence) -> None:
        super().__init__("another challenge of the same offer; the first one alone is answered")
        self.evidence = evidence


@dataclass(frozen=True)
class Told:
    """A responder's status of which everything holds; the decision is None until there is one."""

    challenge: bytes
    challenge_entry: VerifiedEntry[KeysChallenged]
    decision: KeyDecision | None = None
    decision_envelope: bytes = b""
    decision_entry: VerifiedEntry[SharedPart] | None = None


# At the responder


def admit_offer(
    body: bytes, parties: Parties, seen: Seen | None, agreements: Iterable[Agreement], now_ms: int
) -> tuple[KeyOffer, bytes, VerifiedEntry[KeysOffered]]:
    """Check an offer: who it is from, under which agreement, for which epoch, and that it is on A's ledger.

    Returns:
        The offer, its envelope, and A's entry.

    Raises:
        BadEncoding, BadMessage, BadSignature, WrongMessage: Not an offer of the sender to this node.
        OfferRefused: No agreement in force lets the sender ask under this profile, or it wants other sets or epochs.
        StaleCheckpoint, EvidenceRejected, UnseenCheckpoint: As ``verify_entry``.
    """
    submission = KeySubmission.from_bytes(body)
    offer = open_signed(KeyOffer, submission.message, parties.peer.identity)
    if (offer.requester, offer.responder) != (parties.peer.country, parties.country):
        raise WrongMessage("the offer is not from its sender to this node")
    agreement = next((one for one in agreements if one.digest == offer.agreement), None)
    fields = agreement.fields if agreement is not None else None
    if fields is None or not fields.not_before_ms <= now_ms < fields.not_after_ms:
        raise OfferRefused("no such agreement is in force here")
    if not any(
        (grant.requester, grant.profile_digest) == (offer.requester, offer.profile) for grant in fields.grants
    ):
        raise OfferRefused("the agreement lets the sender ask nothing under this profile")
    if not fits(offer, fields):
        raise OfferRefused(
            f"the agreement asks for {fields.key_sets} sets and epochs of {fields.key_epoch_days} days"
        )
    if offer.epoch not in open_epochs(now_ms, offer.epoch_days):
        raise OfferRefused(
            "keys are registered for the epoch of this day, and shortly before its end for the next"
        )
    if offer.created_ms > now_ms + limits.CLOCK_SKEW:
        raise OfferRefused("the offer comes from the future")
    entry = verify_entry(submission.evidence, parties, seen, KeysOffered, now_ms)
    _says(entry, offered(submission.message).shared)
    return offer, submission.message, entry


def admit_opening(
    body: bytes, parties: Parties, seen: Seen | None, offer: bytes, challenge: bytes, now_ms: int
) -> tuple[bytes, VerifiedEntry[KeysOpened]]:
    """Check an opening but for its secrets: of this challenge, and on A's ledger. Its envelope and A's entry.

    Raises:
        PeerFault: As ``admit_offer``.
    """
    submission = KeySubmission.from_bytes(body)
    said = read_offer(offer)
    opening = _open(KeyOpening, submission.message, parties, said, message_hash(offer))
    if opening.challenge_hash != message_hash(challenge) or opening.kept != read_challenge(challenge).kept:
        raise WrongMessage("an opening of another challenge")
    entry = verify_entry(submission.evidence, parties, seen, KeysOpened, now_ms)
    _says(entry, opened(offer, challenge, submission.message).shared)
    return submission.message, entry


# At the requester


def verify_told(
    body: bytes,
    parties: Parties,
    seen: Seen | None,
    offer: bytes,
    challenge: bytes | None,
    opening: bytes | None,
    now_ms: int,
) -> Told:
    """Check all that a responder says about our offer.

    Args:
        body: A ``RegistrationStatus``.
        parties: We and the responder.
        seen: Of its ledger.
        offer: Our envelope.
        challenge: The envelope that we hold of it, once we do; no other is ever answered.
        opening: Our envelope, once there is one.
        now_ms: The time.

    Raises:
        SecondChallenge: Another challenge than the one we hold, signed as well.
        BadEncoding, BadMessage, BadSignature, WrongMessage: The messages are wrong.
        StaleCheckpoint, EvidenceRejected, UnseenCheckpoint: As ``verify_entry``.
    """
    status = RegistrationStatus.from_bytes(body)
    said, name = read_offer(offer), message_hash(offer)
    new = _open(KeyChallenge, status.challenge, parties, said, name)
    if challenge is not None and new.kept != read_challenge(challenge).kept:
        peer = parties.peer
        raise SecondChallenge(
            KeyEvidence.of("second-challenge", peer.country, peer.identity, challenge, status.challenge)
        )
    if challenge is not None and status.challenge != challenge:
        raise WrongMessage("the challenge is worded anew")
    if new.kept >= len(said.sets):
        raise WrongMessage("a challenge that keeps a set which was not offered")
    if new.challenged_ms > now_ms + limits.CLOCK_SKEW:
        raise WrongMessage("a challenge from the future")
    entry = verify_entry(status.challenge_evidence, parties, seen, KeysChallenged, now_ms)
    _says(entry, challenged(offer, status.challenge).shared)
    if status.decision is None or status.decision_evidence is None:
        return Told(status.challenge, entry)
    decision = _open(KeyDecision, status.decision, parties, said, name)
    if decision.opening_hash != (message_hash(opening) if opening is not None else None) and not (
        decision.opening_hash is None and decision.outcome == "refused"
    ):
        raise WrongMessage("a decision on another opening")
    kind: type[SharedPart] = KeysRegistered if decision.outcome == "registered" else KeysRefused
    decided = verify_entry(status.decision_evidence, parties, seen, kind, now_ms)
    if decision.outcome == "registered":
        assert opening is not None
        _says(decided, registered(offer, opening, 0).shared)
    else:
        _says(decided, refused(offer, decision.opening_hash, str(decision.reason)).shared)
    return Told(status.challenge, entry, decision, status.decision, decided)


def _open(kind: type[S], envelope: bytes, parties: Parties, offer: KeyOffer, offer_hash: bytes) -> S:
    message = open_signed(kind, envelope, parties.peer.identity)
    for name in ("exchange_id", "requester", "responder"):
        if getattr(message, name) != getattr(offer, name):
            raise WrongMessage(f"a {kind.__name__} of another registration: {name} differs")
    if getattr(message, "offer_hash", None) != offer_hash:
        raise WrongMessage(f"a {kind.__name__} of another offer")
    return message


def _says(entry: VerifiedEntry[T], expected: SharedPart) -> None:
    if entry.shared != expected:
        raise EvidenceRejected("the entry and the message differ", "entry-differs")
