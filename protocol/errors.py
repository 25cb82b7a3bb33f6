"""Errors of the protocol, typed by who is to blame. Codes are listed in specs/wire.md, "Error codes"."""

from __future__ import annotations

from enum import StrEnum

from crypto.errors import ConcordatError, InputError, LocalFault, PeerFault


class RefusalReason(StrEnum):
    """Why a query is refused; the value is what the wire and the ledger carry."""

    OUTSIDE_TIME_WINDOW = "outside-time-window"
    BAD_EVIDENCE = "bad-evidence"
    UNSEEN_CHECKPOINT = "unseen-checkpoint"
    AGREEMENT_UNKNOWN = "agreement-unknown"
    AGREEMENT_EXPIRED = "agreement-expired"
    DIRECTION_NOT_COVERED = "direction-not-covered"
    MODALITY_NOT_COVERED = "modality-not-covered"
    PROFILE_MISMATCH = "profile-mismatch"
    PURPOSE_NOT_COVERED = "purpose-not-covered"
    OFFENCE_NOT_COVERED = "offence-not-covered"
    PERSON_CATEGORY_NOT_COVERED = "person-category-not-covered"
    LEGAL_BASIS_NOT_COVERED = "legal-basis-not-covered"
    QUOTA_EXCEEDED = "quota-exceeded"
    KEYS_UNKNOWN = "keys-unknown"
    KEYS_EXPIRED = "keys-expired"
    BAD_CIPHERTEXT_LENGTH = "bad-ciphertext-length"
    CIPHERTEXT_MISMATCH = "ciphertext-mismatch"
    BAD_CIPHERTEXT = "bad-ciphertext"
    PEER_SUSPENDED = "peer-suspended"
    BUSY = "busy"
    INTERNAL = "internal"


class FailureReason(StrEnum):
    """Why a query ended without an answer or a refusal, as the requester records it."""

    PEER_UNREACHABLE = "peer-unreachable"
    EXPIRED = "expired"
    ANSWER_OVERDUE = "answer-overdue"
    PEER_FAILED = "peer-failed"
    ERROR_REPLY = "error-reply"
    BAD_REPLY = "bad-reply"
    BAD_EVIDENCE = "bad-evidence"
    UNSEEN_CHECKPOINT = "unseen-checkpoint"
    STALE_EVIDENCE = "stale-evidence"
    BAD_ANSWER = "bad-answer"
    TOO_MANY_HITS = "too-many-hits"
    PROBE_LOST = "probe-lost"
    INTERNAL = "internal"
    CANCELLED = "cancelled"


class Refused(ConcordatError):
    """A query that the agreement or a rule of the protocol does not allow.

    Attributes:
        reason: The enumerated reason.
    """

    code = "refused"

    def __init__(self, reason: RefusalReason, message: str) -> None:
        super().__init__(f"{reason.value}: {message}")
        self.reason = reason


class BadMessage(PeerFault):
    """Canonical bytes that are not the expected message: a missing, foreign or impossible field."""

    code = "bad-message"


class WrongMessage(PeerFault):
    """A well-formed message that belongs to another exchange, query or party."""

    code = "wrong-message"


class EvidenceRejected(PeerFault):
    """Evidence of a ledger entry that does not hold, or is of an entry that says something else.

    Attributes:
        cause: The code of the rule that failed, such as ``forked-ledger``.
        conflict: The conflict file, where the peer's log has signed what contradicts itself.
    """

    code = "bad-evidence"

    def __init__(self, message: str, cause: str, conflict: bytes | None = None) -> None:
        super().__init__(f"{cause}: {message}")
        self.cause = cause
        self.conflict = conflict


class OutOfOrder(PeerFault):
    """A message of the peer that the state of the exchange does not allow."""

    code = "out-of-order"


class TryLater(PeerFault):
    """Not wrong, only too early: the node is still writing what has to be written first."""

    code = "try-later"


class Replayed(PeerFault):
    """Another query under an exchange id that is on the ledger already."""

    code = "replayed"


class OfferRefused(PeerFault):
    """An offer of evaluation keys that is not taken, or a step of its registration that does not belong there."""

    code = "offer-refused"


class TooManyOffers(PeerFault):
    """As many offers of evaluation keys for one plan and epoch as a peer may make."""

    code = "too-many-offers"


class KeysRegistered(PeerFault):
    """The peer has registered evaluation keys for this plan and epoch; there is one set of them."""

    code = "keys-registered"


class UnknownExchange(PeerFault):
    """The peer asks about an exchange that it never opened here."""

    code = "unknown-exchange"


class EventNotAllowed(LocalFault):
    """This node reported what cannot happen in this state: a defect of ours; nothing was changed."""

    code = "event-not-allowed"


class BadSnapshot(LocalFault):
    """A stored session that cannot be read: damaged, or of an unknown version."""

    code = "bad-snapshot"


class UnknownPeer(InputError):
    """A country or a certificate that no accepted descriptor names."""

    code = "unknown-peer"


class BadDescriptor(InputError):
    """A node descriptor that is malformed, not signed by its own identity key, or not the accepted one."""

    code = "bad-descriptor"


class BadAgreement(InputError):
    """An agreement that is malformed, not signed by both parties, or between others."""

    code = "bad-agreement"
