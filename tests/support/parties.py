"""Two countries with fixed keys, their descriptors and an agreement, for the tests of the protocol."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from crypto.contexts import Context, hash_fields
from crypto.note import Ed25519Signer
from crypto.signing import SigningKey
from protocol.agreement import (
    Agreement,
    AgreementFields,
    Grant,
    draft_agreement,
    read_agreement,
    sign_agreement,
)
from protocol.descriptor import Auditor, Descriptor, DescriptorFields, sign_descriptor
from protocol.exchange.parties import Parties, Peer, PlanSizes
from protocol.exchange.request import QueryRequest
from protocol.limits import DAY
from protocol.registration import InUse, epoch_at

NOW = 1_800_000_000_000
PROFILE = bytes([7]) * 32


def named_key(name: str) -> SigningKey:
    """A key that depends on its name alone."""
    return SigningKey.from_seed(hash_fields(Context.PLAN, name.encode()))


def ledger_signer(country: str) -> Ed25519Signer:
    return Ed25519Signer(f"{country.lower()}.example/ledger", named_key(f"{country} ledger"))


def certificate(country: str) -> bytes:
    body = hash_fields(Context.PLAN, b"certificate", country.encode()) * 10
    return b"\x30\x82" + len(body).to_bytes(2, "big") + body


def descriptor_fields(country: str, /, **changes: object) -> DescriptorFields:
    values: dict[str, object] = {
        "country": country,
        "authority": f"Identification service of {country}",
        "endpoint": f"https://{country.lower()}.example:8443",
        "serial": 1,
        "issued_ms": NOW - DAY,
        "identity_key": named_key(f"{country} identity").verify_key.public,
        "ledger_vkey": ledger_signer(country).verifier.vkey,
        "tls_certificate": certificate(country),
        "auditors": [Auditor(name=f"Auditor of {country}", key=bytes([9]) * 32)],
    }
    return DescriptorFields.model_validate({**values, **changes})


def descriptor(country: str, /, **changes: object) -> Descriptor:
    return sign_descriptor(descriptor_fields(country, **changes), named_key(f"{country} identity"))


def grant(**changes: object) -> Grant:
    values: dict[str, object] = {
        "requester": "US",
        "responder": "CL",
        "modality": "face",
        "profile": "embedding-128",
        "profile_digest": PROFILE,
        "purposes": ["migration-management", "organised-crime"],
        "offences": ["human-trafficking"],
        "person_categories": ["suspect"],
        "legal_bases": ["statement-of-intent-2025"],
    }
    return Grant.model_validate({**values, **changes})


def agreement_fields(*grants: Grant, **changes: object) -> AgreementFields:
    values: dict[str, object] = {
        "name": "Example agreement",
        "serial": 1,
        "not_before_ms": NOW - DAY,
        "not_after_ms": NOW + 30 * DAY,
        "grants": list(grants) or [grant()],
    }
    return AgreementFields.model_validate({**values, **changes})


def agreement(*grants: Grant, **changes: object) -> Agreement:
    text = draft_agreement(agreement_fields(*grants, **changes), descriptor("US"), descriptor("CL"))
    once = sign_agreement(text, "US", named_key("US identity"))
    return read_agreement(sign_agreement(once, "CL", named_key("CL identity")))


def parties(own: str, other: str) -> Parties:
    """What the session of ``own`` needs to talk with ``other``."""
    peer = Peer(other, named_key(f"{other} identity").verify_key, ledger_signer(other).verifier)
    return Parties(own, named_key(f"{own} identity"), peer)


PLAN = PlanSizes(identifier=bytes([8]) * 32, query_bytes=1000, answer_block_bytes=500)
KEYS = bytes([5]) * 32


def in_use(agreement: Agreement, now_ms: int, **changes: Any) -> InUse:
    """Keys as they are registered under an agreement, in use at a time."""
    fields = agreement.fields
    epoch = epoch_at(now_ms, fields.key_epoch_days)
    return replace(InUse(PLAN.identifier, fields.key_epoch_days, epoch, fields.key_sets), **changes)


def request(agreement_digest: bytes, number: int = 1, **changes: object) -> QueryRequest:
    values: dict[str, object] = {
        "exchange_id": number.to_bytes(16, "big"),
        "requester": "US",
        "responder": "CL",
        "agreement": agreement_digest,
        "profile": PROFILE,
        "plan": PLAN.identifier,
        "query_bytes": PLAN.query_bytes,
        "answer_block_bytes": PLAN.answer_block_bytes,
        "evaluation_keys": KEYS,
        "modality": "face",
        "gallery": "face/embedding-128",
        "purpose": "organised-crime",
        "offence": "human-trafficking",
        "person_category": "suspect",
        "legal_basis": "statement-of-intent-2025",
        "authority": "Identification service of US",
        "officer": "officer 17",
        "approver": "prosecutor 4",
        "case_reference": "case 2025-001",
    }
    return QueryRequest.model_validate({**values, **changes})
