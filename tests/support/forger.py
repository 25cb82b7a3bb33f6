"""A requester that speaks to a running node by hand, and may lie in any field: Chile without Chile's rules."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nodes import KEY_SETS

from crypto.contexts import Context, hash_fields
from crypto.errors import ConcordatError
from crypto.hitsearch.parameters import plan_for
from crypto.hitsearch.plain import PlainRequester
from crypto.signing import SigningKey
from node.core import NodeCore
from node.peer import PeerClient, Reply
from node.profiles import builtin
from node.query_requests import frame_query
from protocol.checkpoint import open_checkpoint
from protocol.messages import (
    Decision,
    ErrorReply,
    ExchangeStatus,
    Query,
    QuerySubmission,
    Signed,
    message_hash,
    sign,
)
from protocol.registration import (
    KeyDecision,
    KeyOffer,
    KeyOpening,
    KeySubmission,
    RegistrationStatus,
    epoch_at,
    offered,
    opened,
    read_challenge,
    read_decision,
    read_offer,
)
from protocol.statement_parts import NoPrivatePart
from protocol.statements import QueryIntent, Requested

PROFILE = builtin("embedding-128")
PLAN = plan_for(PROFILE.search)


@dataclass(frozen=True)
class Verdict:
    """What the node said: an HTTP status, and a decision's outcome and reason or an error's code."""

    status: int
    said: str
    envelope: bytes = b""


def hash_of(one: PlainRequester) -> bytes:
    return hash_fields(Context.EVALUATION_KEYS, one.evaluation_keys())


def verdict(reply: Reply) -> Verdict:
    try:
        return Verdict(reply.status, ErrorReply.from_bytes(reply.body).code)
    except ConcordatError:
        status = ExchangeStatus.from_bytes(reply.body)
    decision = Decision.from_bytes(Signed.from_bytes(status.decision).message)
    said = decision.outcome if decision.reason is None else f"{decision.outcome}: {decision.reason.value}"
    return Verdict(reply.status, said, status.decision)


class Forger:
    """Chile's node directory, opened in this process, without a daemon."""

    def __init__(self, directory: Path, to: str = "US") -> None:
        self.core = NodeCore.open(directory)
        keys, own = self.core.keys, self.core.descriptor
        self.client = PeerClient(keys.tls_key, own.fields.tls_certificate, 10)
        self.peer = self.core.address(to)
        self.sets = [PlainRequester.generate(PLAN) for _ in range(KEY_SETS)]
        self.keys, self.keys_hash = b"", bytes(32)
        self.offered = self.challenge = b""
        self.told = self.core.witnessing.told(to)
        self.ciphertext = bytes(PLAN.query_bytes)

    async def close(self) -> None:
        await self.client.close()
        self.core.close()

    async def send(self, method: str, path: str, body: bytes | None = None) -> Reply:
        return await self.client.send(self.peer, method, path, body)

    # Registration of keys

    async def register(self) -> int:
        """Register keys as everybody does; the status of their upload."""
        await self.offer()
        assert (await self.open()).status == 200
        status = await self.upload()
        end = time.monotonic() + 20
        while status == 201 and (await self.registration()).decision is None:
            assert time.monotonic() < end
            await asyncio.sleep(0.05)
        return status

    def offer_message(self, **changes: Any) -> KeyOffer:
        now, fields = self.core.clock(), self.core.agreements.current("US").fields
        values: dict[str, Any] = {
            "exchange_id": os.urandom(16),
            "requester": "CL",
            "responder": "US",
            "agreement": self.core.agreements.current("US").digest,
            "profile": PROFILE.digest,
            "plan": PLAN.identifier,
            "epoch_days": fields.key_epoch_days,
            "epoch": epoch_at(now, fields.key_epoch_days),
            "sets": [hash_of(one) for one in self.sets],
            "created_ms": now,
        }
        return KeyOffer(**{**values, **changes})

    async def offer(self, message: KeyOffer | None = None, *, key: SigningKey | None = None) -> Verdict:
        """Offer the sets, or what a test wants to be offered, and keep the challenge."""
        message = message or self.offer_message()
        self.offered = sign(message, key or self.core.keys.identity)
        index = self.core.record(offered(self.offered).shared, NoPrivatePart()).index
        said = await self._post("/v1/registrations", index, self.offered)
        if said.status == 200:
            self.challenge = said.envelope
            kept = read_challenge(self.challenge).kept
            self.keys = self.sets[kept].evaluation_keys()
            self.keys_hash = message.sets[kept]
        return said

    def opening_message(self, **changes: Any) -> KeyOpening:
        offer, kept = read_offer(self.offered), read_challenge(self.challenge).kept
        values: dict[str, Any] = {
            "exchange_id": offer.exchange_id,
            "requester": "CL",
            "responder": "US",
            "offer_hash": message_hash(self.offered),
            "challenge_hash": message_hash(self.challenge),
            "kept": kept,
            "secrets": [one.secret() for index, one in enumerate(self.sets) if index != kept],
            "opened_ms": self.core.clock(),
        }
        return KeyOpening(**{**values, **changes})

    async def open(self, message: KeyOpening | None = None) -> Verdict:
        """Open all sets but the kept one, or what a test wants to be opened."""
        opening = sign(message or self.opening_message(), self.core.keys.identity)
        entry = self.core.record(opened(self.offered, self.challenge, opening).shared, NoPrivatePart())
        return await self._post(f"/v1/registrations/{self.name}/opening", entry.index, opening)

    @property
    def name(self) -> str:
        return read_offer(self.offered).exchange_id.hex()

    async def registration(self) -> RegistrationStatus:
        return RegistrationStatus.from_bytes((await self.send("GET", f"/v1/registrations/{self.name}")).body)

    async def decided(self) -> KeyDecision:
        """The decision, once it is there."""
        async with asyncio.timeout(20):
            while True:
                decision = (await self.registration()).decision
                if decision is not None:
                    return read_decision(decision)
                await asyncio.sleep(0.05)

    async def upload(self) -> int:
        path = f"/v1/keys/{self.keys_hash.hex()}?plan={PLAN.identifier.hex()}"
        return (await self.send("PUT", path, self.keys)).status

    async def _post(self, path: str, index: int, message: bytes) -> Verdict:
        evidence = self.core.evidence(index, self.told)
        body = KeySubmission(message=message, evidence=evidence, seen_size=0, witnessed=None).to_bytes()
        reply = await self.send("POST", path, body)
        if reply.status == 409 and verdict(reply).said == "stale-checkpoint":
            self.told = ErrorReply.from_bytes(reply.body).stored_size or 0
            return await self._post(path, index, message)
        if reply.status != 200:
            return verdict(reply)
        status = RegistrationStatus.from_bytes(reply.body)
        self._take_told(status.witnessed)
        return Verdict(reply.status, "", status.challenge)

    def _take_told(self, witnessed: bytes | None) -> None:
        """The node says which checkpoint of ours it holds: our next evidence starts there."""
        if witnessed is not None:
            log = self.core.journal.ledger.verifier
            self.told = open_checkpoint(witnessed, log).checkpoint.size

    def query(self, **changes: Any) -> Query:
        now = self.core.clock()
        values: dict[str, Any] = {
            "exchange_id": os.urandom(16),
            "requester": "CL",
            "responder": "US",
            "agreement": self.core.agreements.current("US").digest,
            "profile": PROFILE.digest,
            "plan": PLAN.identifier,
            "modality": "face",
            "purpose": "organised-crime",
            "offence": "trafficking",
            "person_category": "suspect",
            "legal_basis": "statement-of-intent",
            "authority": "Police of CL",
            "evaluation_keys": self.keys_hash,
            "ciphertext_hash": hash_fields(Context.CIPHERTEXT, self.ciphertext),
            "ciphertext_bytes": len(self.ciphertext),
            "created_ms": now,
            "expires_ms": now + 600_000,
        }
        return Query(**{**values, **changes})

    def body(
        self,
        query: Query,
        *,
        key: SigningKey | None = None,
        intent: Query | None = None,
        told: int | None = None,
    ) -> bytes:
        """The body of a submission, with an intent on our ledger that says what ``intent`` says."""
        envelope = sign(query, key or self.core.keys.identity)
        logged = intent or query
        names = set(QueryIntent.model_fields) & set(Query.model_fields) - {"type"}
        shared = QueryIntent(
            query_hash=message_hash(envelope if intent is None else sign(intent, self.core.keys.identity)),
            gallery="face/embedding-128",
            **{name: getattr(logged, name) for name in names},
        )
        private = Requested(officer="o", approver="a", case_reference="c")
        recorded = self.core.record(shared, private)
        evidence = self.core.evidence(recorded.index, self.told if told is None else told)
        return frame_query(
            QuerySubmission(query=envelope, evidence=evidence, seen_size=0, witnessed=None).to_bytes(),
            self.ciphertext,
        )

    async def post(self, body: bytes) -> Verdict:
        reply = await self.send("POST", "/v1/queries", body)
        if reply.status == 200:
            self._take_told(ExchangeStatus.from_bytes(reply.body).witnessed)
        return verdict(reply)
