"""What two nodes say to each other: strict models, their signatures and their hashes.

Five messages are signed (``Query``, ``Decision``, ``AnswerHeader``, ``ResultReport``, ``Receipt``): they
travel as the bytes of a ``Signed`` envelope, and whatever names one names ``message_hash`` of its envelope.
The others only carry envelopes and ledger evidence over the authenticated connection.

Source: specs/wire.md, section "Messages".
"""

from __future__ import annotations

import hashlib
from typing import Annotated, ClassVar, Final, Literal, Self, TypeVar

from pydantic import Field, model_validator

from crypto.contexts import Context, frame, hash_fields
from crypto.errors import BadSignature
from crypto.signing import SIGNATURE_BYTES, SigningKey, VerifyKey
from protocol import limits
from protocol.errors import BadMessage, FailureReason, RefusalReason
from protocol.model import Count, Country, ExchangeId, Hash, Millis, Model, PaddedModel, Term, Text

VERSION: Final = 1

Modality = Literal["face", "iris", "fingerprint"]
KeyId = Annotated[bytes, Field(min_length=8, max_length=8)]
Reason = Annotated[RefusalReason, Field(strict=False)]
Failure = Annotated[FailureReason, Field(strict=False)]
EnvelopeBytes = Annotated[bytes, Field(min_length=1, max_length=limits.MAX_ENVELOPE)]
EvidenceBytes = Annotated[bytes, Field(min_length=1, max_length=limits.MAX_EVIDENCE)]
WitnessedBytes = Annotated[bytes, Field(min_length=1, max_length=limits.MAX_WITNESSED)]
Blocks = Annotated[int, Field(ge=1, le=limits.MAX_BLOCKS)]


class SignedMessage(Model):
    """A message that its sender signs; ``CONTEXT`` keeps signatures of one type from serving as another."""

    CONTEXT: ClassVar[Context]

    version: Literal[1] = VERSION
    exchange_id: ExchangeId
    requester: Country
    responder: Country


class Query(SignedMessage):
    """One encrypted probe against one gallery, with the legal fields that make it lawful.

    Signed by the requester. Not the ciphertext is inside, but its hash and its length.
    """

    CONTEXT = Context.QUERY

    type: Literal["query"] = "query"
    agreement: Hash
    profile: Hash
    plan: Hash
    modality: Modality
    purpose: Term
    offence: Term
    person_category: Term
    legal_basis: Term
    authority: Text
    evaluation_keys: Hash
    ciphertext_hash: Hash
    ciphertext_bytes: Annotated[int, Field(ge=1, le=limits.MAX_QUERY_CIPHERTEXT)]
    created_ms: Millis
    expires_ms: Millis


class Decision(SignedMessage):
    """The responder takes the query, or does not and says why. Signed by the responder.

    An acceptance may be followed by a failure of the same query, when the work could not be done.
    """

    CONTEXT = Context.DECISION

    type: Literal["decision"] = "decision"
    query_hash: Hash
    outcome: Literal["accepted", "refused", "failed"]
    reason: Reason | None
    decided_ms: Millis
    answer_by_ms: Millis | None
    retry_after_s: Annotated[int, Field(ge=1, le=limits.MAX_RETRY_AFTER_S)] | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        accepted = self.outcome == "accepted"
        if (self.retry_after_s is not None) != ((self.outcome, self.reason) == ("refused", "busy")):
            raise ValueError("whoever has no capacity says when to ask again, and nobody else")
        if accepted == (self.reason is not None) or accepted == (self.answer_by_ms is None):
            raise ValueError("an acceptance has a deadline and no reason, all else the reverse")
        return self


class AnswerHeader(SignedMessage):
    """What the answer is, to the byte: ``blocks`` times ``block_bytes``. Signed by the responder."""

    CONTEXT = Context.ANSWER_HEADER

    type: Literal["answer-header"] = "answer-header"
    query_hash: Hash
    blocks: Blocks
    block_bytes: Annotated[int, Field(ge=1, le=limits.MAX_BLOCK_BYTES)]
    answer_hash: Hash
    answered_ms: Millis

    @property
    def answer_bytes(self) -> int:
        """Exact length of the answer."""
        return self.blocks * self.block_bytes


class ResultReport(SignedMessage):
    """What the requester says it found. Signed by the requester; the responder can only log it."""

    CONTEXT = Context.RESULT_REPORT

    type: Literal["result-report"] = "result-report"
    query_hash: Hash
    answer_hash: Hash | None
    outcome: Literal["hit", "no-hit", "failed"]
    hits: Annotated[int, Field(ge=0, le=limits.MAX_HITS)]
    reason: Failure | None
    reported_ms: Millis

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.outcome == "hit") != (self.hits > 0):
            raise ValueError("a hit has at least one hit, everything else none")
        if (self.outcome == "failed") != (self.reason is not None):
            raise ValueError("a failure has a reason, everything else none")
        if (self.outcome == "failed") != (self.answer_hash is None):
            raise ValueError("a hit or no hit names the answer it was read from, a failure none")
        return self


class Receipt(SignedMessage):
    """The responder has logged the requester's report. Signed by the responder."""

    CONTEXT = Context.RECEIPT

    type: Literal["receipt"] = "receipt"
    query_hash: Hash
    report_hash: Hash
    received_ms: Millis


class Signed(Model):
    """The envelope: exact message bytes, who signed, and the signature over ``frame(context, message)``."""

    LIMIT = limits.MAX_ENVELOPE

    message: Annotated[bytes, Field(min_length=1, max_length=limits.MAX_SIGNED_MESSAGE)]
    key_id: KeyId
    signature: Annotated[bytes, Field(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)]


S = TypeVar("S", bound=SignedMessage)


def key_id(key: VerifyKey) -> bytes:
    """The first 8 bytes of the SHA-256 of an identity key: says which key to try, proves nothing."""
    return hashlib.sha256(key.public).digest()[:8]


def sign(message: SignedMessage, key: SigningKey) -> bytes:
    """The envelope bytes of a message. The same message and key always give the same bytes (Ed25519)."""
    body = message.to_bytes()
    signature = key.sign(message.CONTEXT, body)
    return Signed(message=body, key_id=key_id(key.verify_key), signature=signature).to_bytes()


def open_signed(kind: type[S], envelope: bytes, key: VerifyKey) -> S:
    """Verify, then read: not a byte of the message is interpreted before the signature holds.

    Raises:
        BadEncoding, BadMessage: Not an envelope, or signed bytes that are not this message.
        BadSignature: Signed by another key, for another purpose, or altered.
    """
    signed = Signed.from_bytes(envelope)
    if signed.key_id != key_id(key):
        raise BadSignature(f"{kind.CONTEXT.value}: signed under another key than the accepted one")
    key.verify(kind.CONTEXT, signed.message, signed.signature)
    return kind.from_bytes(signed.message)


def message_hash(envelope: bytes) -> bytes:
    """The name of a signed message: hash of its envelope, 32 bytes."""
    return hash_fields(Context.MESSAGE_HASH, envelope)


class BodyHash:
    """The hash of a large body while it streams by: ``hash_fields(context, body)`` for a length known ahead.

    Used with ``Context.CIPHERTEXT``, ``Context.ANSWER`` and ``Context.EVALUATION_KEYS``.
    """

    def __init__(self, context: Context, length: int) -> None:
        self._left = length
        self._hash = hashlib.sha256(frame(context) + length.to_bytes(8, "big"))

    def update(self, chunk: bytes) -> None:
        """Add a chunk. Raises ``BadMessage`` as soon as the body is longer than announced."""
        self._left -= len(chunk)
        if self._left < 0:
            raise BadMessage("a body is longer than its announced length")
        self._hash.update(chunk)

    def digest(self) -> bytes:
        """The 32 bytes. Raises ``BadMessage`` when the body ended too early."""
        if self._left:
            raise BadMessage(f"a body ended {self._left} bytes before its announced length")
        return self._hash.digest()


class QuerySubmission(Model):
    """``POST /v1/queries``: followed by the ciphertext in the same body (specs/wire.md, "Bodies").

    ``witnessed`` is the newest checkpoint of the responder's ledger that the requester has verified and stored,
    with the responder's signature and the requester's cosignature; None while there is none. ``seen_size`` is its
    size, or 0: evidence in the reply starts there.
    """

    LIMIT = limits.MAX_SUBMISSION

    version: Literal[1] = VERSION
    type: Literal["query-submission"] = "query-submission"
    query: EnvelopeBytes
    evidence: EvidenceBytes
    seen_size: Count
    witnessed: WitnessedBytes | None


class Progress(Model):
    """How far the search is, in blocks."""

    done: Annotated[int, Field(ge=0, le=limits.MAX_BLOCKS)]
    total: Annotated[int, Field(ge=0, le=limits.MAX_BLOCKS)]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.done > self.total:
            raise ValueError("more blocks are done than there are")
        return self


class ExchangeStatus(Model):
    """The reply to ``POST /v1/queries`` and ``GET /v1/queries/{id}``: all there is to say so far.

    ``witnessed`` is the newest checkpoint of the requester's ledger that the responder has verified and stored, with
    the responder's cosignature.
    """

    LIMIT = limits.MAX_STATUS

    version: Literal[1] = VERSION
    type: Literal["exchange-status"] = "exchange-status"
    decision: EnvelopeBytes
    decision_evidence: EvidenceBytes
    progress: Progress | None
    answer: EnvelopeBytes | None
    answer_evidence: EvidenceBytes | None
    witnessed: WitnessedBytes | None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.answer is None) != (self.answer_evidence is None):
            raise ValueError("an answer header and its evidence come together")
        return self


class ReportSubmission(PaddedModel):
    """``POST /v1/queries/{id}/result``; ``seen_size`` and ``witnessed`` as in a ``QuerySubmission``."""

    LIMIT = limits.MAX_SUBMISSION

    version: Literal[1] = VERSION
    type: Literal["report-submission"] = "report-submission"
    report: EnvelopeBytes
    evidence: EvidenceBytes
    seen_size: Count
    witnessed: WitnessedBytes | None


class ReceiptReply(PaddedModel):
    """The reply to a report: the receipt, the evidence of ``query.claimed``, and the cosigned checkpoint."""

    LIMIT = limits.MAX_SUBMISSION

    version: Literal[1] = VERSION
    type: Literal["receipt-reply"] = "receipt-reply"
    receipt: EnvelopeBytes
    evidence: EvidenceBytes
    witnessed: WitnessedBytes


class ErrorReply(Model):
    """Every reply with a status of 400 and above that is not an ``ExchangeStatus``.

    ``stored_size`` comes with ``stale-checkpoint`` only: the size from which to prove consistency. ``witnessed`` is
    then the checkpoint of that size, signed by the reader's own log: a larger size than the reader has is a lie
    without it, and with it the proof that the reader's ledger was rolled back.
    """

    LIMIT = limits.MAX_ERROR_REPLY

    version: Literal[1] = VERSION
    type: Literal["error"] = "error"
    code: Annotated[str, Field(pattern=r"^[a-z][a-z-]{0,63}\z")]
    message: Annotated[str, Field(min_length=1, max_length=limits.MAX_ERROR_TEXT)]
    stored_size: Count | None
    witnessed: WitnessedBytes | None = None
