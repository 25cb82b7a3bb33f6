"""Domain separation: every hash and signature of ours is bound to a named purpose and a version.

Source: specs/wire.md, section "Hashes and signatures".
"""

from __future__ import annotations

import hashlib
from enum import StrEnum


class Context(StrEnum):
    """Names of all purposes. A new purpose gets a new name; a changed meaning gets a new version."""

    PROFILE = "concordat/v1/profile"
    PLAN = "concordat/v1/plan"
    EVALUATION_KEYS = "concordat/v1/evaluation-keys"
    CIPHERTEXT = "concordat/v1/ciphertext"
    ANSWER = "concordat/v1/answer"
    MASK_STREAM = "concordat/v1/mask-stream"
    UNIFORM_HALF = "concordat/v1/uniform-half"
    KEY_STREAM = "concordat/v1/key-stream"
    SEED_COMMITMENT = "concordat/v1/seed-commitment"
    ANSWER_BLOCKS = "concordat/v1/answer-blocks"
    GALLERY_BLOCK = "concordat/v1/gallery-block"
    GALLERY_STATE = "concordat/v1/gallery-state"
    EXCHANGE_ID_IN_LEAF = "concordat/v1/exchange-id-in-leaf"
    COMMITMENT = "concordat/v1/commitment"
    SHARED_PART = "concordat/v1/shared-part"
    PRIVATE_PART = "concordat/v1/private-part"
    PAYLOAD = "concordat/v1/payload"
    PAYLOAD_KEY = "concordat/v1/payload-key"
    DESCRIPTOR = "concordat/v1/descriptor"
    AGREEMENT = "concordat/v1/agreement"
    MESSAGE_HASH = "concordat/v1/message-hash"
    QUERY = "concordat/v1/query"
    DECISION = "concordat/v1/decision"
    ANSWER_HEADER = "concordat/v1/answer-header"
    RESULT_REPORT = "concordat/v1/result-report"
    RECEIPT = "concordat/v1/receipt"
    CLAIM = "concordat/v1/claim"
    CLAIM_VERDICT = "concordat/v1/claim-verdict"
    KEY_OFFER = "concordat/v1/key-offer"
    KEY_CHALLENGE = "concordat/v1/key-challenge"
    KEY_OPENING = "concordat/v1/key-opening"
    KEY_DECISION = "concordat/v1/key-decision"
    KEY_EVIDENCE = "concordat/v1/key-evidence"
    STORAGE = "concordat/v1/storage"
    UNLOCK = "concordat/v1/unlock"
    CONFLICT = "concordat/v1/ledger-conflict"
    SUCCESSION = "concordat/v1/succession"
    LEDGER_MLDSA_SEED = "concordat/v1/ledger-mldsa-seed"
    OWN_EXCHANGE = "concordat/v1/own-exchange"
    LEDGER_RECORD = "concordat/v1/ledger-record"
    WITNESS_MLDSA_SEED = "concordat/v1/witness-mldsa-seed"


def frame(context: Context, *fields: bytes) -> bytes:
    """Join fields so that no two different lists give the same bytes.

    Form: ``u16 length || context || (u64 length || field)*``, big-endian.
    """
    name = context.value.encode()
    parts = [len(name).to_bytes(2, "big"), name]
    for field in fields:
        parts += [len(field).to_bytes(8, "big"), field]
    return b"".join(parts)


def hash_fields(context: Context, *fields: bytes) -> bytes:
    """SHA-256 over the framed fields; 32 bytes."""
    return hashlib.sha256(frame(context, *fields)).digest()
