"""A requester that speaks to a running node by hand, and may lie in any field: Chile without Chile's rules."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crypto.contexts import Context, hash_fields
from crypto.errors import ConcordatError
from crypto.hitsearch.parameters import plan_for
from crypto.hitsearch.plain import PlainRequester
from crypto.signing import SigningKey
from node.asking import frame_query
from node.core import NodeCore
from node.peer import PeerClient, Reply
from node.profiles import builtin
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
from protocol.statements import QueryIntent, Requested

PROFILE = builtin("embedding-128")
PLAN = plan_for(PROFILE.search)


@dataclass(frozen=True)
class Verdict:
    """What the node said: an HTTP status, and a decision's outcome and reason or an error's code."""

    status: int
    said: str
    envelope: bytes = b""


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
        self.requester = PlainRequester.generate(PLAN)
        self.keys = self.requester.evaluation_keys()
        self.keys_hash = hash_fields(Context.EVALUATION_KEYS, self.keys)
        self.ciphertext = bytes(PLAN.query_bytes)

    async def close(self) -> None:
        await self.client.close()
        self.core.close()

    async def send(self, method: str, path: str, body: bytes | None = None) -> Reply:
        return await self.client.send(self.peer, method, path, body)

    async def register(self) -> int:
        path = f"/v1/keys/{self.keys_hash.hex()}?plan={PLAN.identifier.hex()}"
        return (await self.send("PUT", path, self.keys)).status

    def query(self, **changes: Any) -> Query:
        now = self.core.clock()
        values: dict[str, Any] = {
            "exchange_id": os.urandom(16),
            "requester": "CL",
            "responder": "US",
            "agreement": self.core.current_agreement("US").digest,
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
        self, query: Query, *, key: SigningKey | None = None, intent: Query | None = None, told: int = 0
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
        evidence = self.core.evidence(recorded.index, told)
        return frame_query(
            QuerySubmission(query=envelope, evidence=evidence, seen_size=0, witnessed=None).to_bytes(),
            self.ciphertext,
        )

    async def post(self, body: bytes) -> Verdict:
        return verdict(await self.send("POST", "/v1/queries", body))
