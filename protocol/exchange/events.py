"""What happened: the inputs of both sessions, in the past tense.

Source: specs/wire.md, section "Sessions".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from crypto.errors import PeerFault
from protocol.errors import FailureReason, RefusalReason
from protocol.exchange.parties import Seen


@dataclass(frozen=True)
class EntryAppended:
    """The ledger holds the entry of an ``AppendEntry``, durable and under a published checkpoint."""

    kind: str
    index: int
    leaf_hash: bytes


@dataclass(frozen=True)
class AppendFailed:
    """The ledger could not take the entry (a full disk, a lost lock); it may be on the disk."""

    kind: str


@dataclass(frozen=True)
class Restarted:
    """The node started anew and restored the session: whatever was under way has to be done again."""


@dataclass(frozen=True)
class DeadlinePassed:
    """The time ``session.deadline_ms`` has come. Too early is harmless: nothing happens."""


# Requester


@dataclass(frozen=True)
class ProbeEncrypted:
    """The encrypted probe is stored durably under its hash (``Context.CIPHERTEXT``), ready to be sent."""

    ciphertext_hash: bytes
    ciphertext_bytes: int


@dataclass(frozen=True)
class ProbeFailed:
    """The probe could not be encrypted, or was lost in a restart before it was."""


@dataclass(frozen=True)
class StatusReceived:
    """The peer answered a ``SendQuery`` or ``FetchStatus`` with an ``ExchangeStatus`` (its raw bytes).

    ``fault`` is what the node found wrong with the witnessed checkpoint in it, which is held against our own ledger.
    """

    body: bytes = field(repr=False)
    seen: Seen | None
    fault: PeerFault | None = None


@dataclass(frozen=True)
class ErrorReceived:
    """The peer answered with an ``ErrorReply`` (its raw bytes, or empty when there was no readable body).

    ``fault`` as in ``StatusReceived``: above all a size of our ledger that we never signed.
    """

    body: bytes = field(repr=False)
    fault: PeerFault | None = None


@dataclass(frozen=True)
class PeerUnreachable:
    """A request got no reply: no connection, a timeout, a reply that broke off."""


@dataclass(frozen=True)
class AnswerFetched:
    """The answer is stored durably; hash (``Context.ANSWER``) and length as this node computed them."""

    answer_hash: bytes
    answer_bytes: int


@dataclass(frozen=True)
class AnswerOpened:
    """All blocks were decrypted; ``hits`` slots are zero, and ``found`` are they (``protocol.claims.pack_hits``)."""

    hits: int
    found: bytes = field(repr=False, default=b"")


@dataclass(frozen=True)
class AnswerUnusable:
    """The answer is not what an honest search leaves, by its form, noise or number of hits; or it was not opened."""

    reason: Literal[FailureReason.BAD_ANSWER, FailureReason.TOO_MANY_HITS, FailureReason.INTERNAL] = (
        FailureReason.BAD_ANSWER
    )


@dataclass(frozen=True)
class ReceiptReceived:
    """The peer answered a ``SendReport`` with a ``ReceiptReply`` (its raw bytes); ``fault`` as above."""

    body: bytes = field(repr=False)
    seen: Seen | None
    fault: PeerFault | None = None


@dataclass(frozen=True)
class Cancelled:
    """The officer gave the query up."""


# Responder


@dataclass(frozen=True)
class SearchProgressed:
    """So many blocks of the search are done."""

    done: int
    total: int


@dataclass(frozen=True)
class SearchFinished:
    """The answer is stored durably under its hash; ``attempt`` is its ``StartSearch``'s.

    Seed, retried blocks and the digest of the blocks are what an audit needs to compute it again.
    """

    attempt: int
    answer_hash: bytes
    blocks: int
    gallery_commitment: bytes
    seed_commitment: bytes
    records: int
    compute_ms: int
    seed: bytes = field(repr=False)
    retried: tuple[int, ...]
    answer_blocks: bytes


@dataclass(frozen=True)
class SearchFailed:
    """The search ended without an answer: the ciphertext is unusable, or this node cannot do it."""

    attempt: int
    reason: Literal[
        RefusalReason.PEER_SUSPENDED,
        RefusalReason.BAD_CIPHERTEXT,
        RefusalReason.KEYS_UNKNOWN,
        RefusalReason.INTERNAL,
    ]


@dataclass(frozen=True)
class AnswerServed:
    """The last byte of the answer went out to the requester."""


@dataclass(frozen=True)
class ReportReceived:
    """The requester sent a ``ReportSubmission`` (its raw bytes)."""

    body: bytes = field(repr=False)
    seen: Seen | None


RequesterEvent = (
    EntryAppended
    | AppendFailed
    | Restarted
    | DeadlinePassed
    | ProbeEncrypted
    | ProbeFailed
    | StatusReceived
    | ErrorReceived
    | PeerUnreachable
    | AnswerFetched
    | AnswerOpened
    | AnswerUnusable
    | ReceiptReceived
    | Cancelled
)

ResponderEvent = (
    EntryAppended
    | AppendFailed
    | Restarted
    | DeadlinePassed
    | SearchProgressed
    | SearchFinished
    | SearchFailed
    | AnswerServed
    | ReportReceived
)
