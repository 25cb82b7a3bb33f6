"""One exchange as two ledgers and a responder's disk know it, honest unless told otherwise, without any node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
from parties import named_key
from searching import SHORT, Templates, empty_slots, insecure_plan, random_templates

from crypto.contexts import Context, hash_fields
from crypto.hitsearch import MaskStream, Requester, Responder
from crypto.hitsearch.plain import PlainRequester, PlainResponder
from crypto.profiles import SearchProfile
from node.engine_worker import Scheme
from node.gallery_commitment import HeldState
from node.recompute import Gallery, Inputs, Side
from protocol.exchange.entries import accepted_entry
from protocol.messages import BodyHash, Query, message_hash, sign
from protocol.opening import Opening
from protocol.payload import OpenedPayload
from protocol.statement_parts import NoPrivatePart, PrivatePart, SharedPart
from protocol.statements import (
    Computation,
    QueryAnswered,
    QueryClaimed,
    QueryIntent,
    QueryResult,
    Requested,
    Statement,
    answer_block_hash,
    answer_blocks_digest,
)
from protocol.statements_keys import Escrowed, KeysAccepted

TWIN = Scheme(insecure_plan, PlainRequester, PlainResponder, MaskStream)
REAL = Scheme(insecure_plan, Requester, Responder, MaskStream)
PLAN = insecure_plan(SHORT)
EXCHANGE, AGREEMENT, SALT = bytes(15) + b"\1", bytes([1]) * 32, bytes([2]) * 32
SECRET, SEED = bytes([3]) * 32, bytes([4]) * 32
HITS = 3
REPLY = {"exchange_id": EXCHANGE, "requester": "US", "responder": "CL", "agreement": AGREEMENT}


@dataclass(frozen=True)
class KnownProfile:
    """As much of a profile as a recomputation looks at."""

    digest: bytes = bytes([7]) * 32
    search: SearchProfile = SHORT
    code: None = None


@cache
def gallery_blocks() -> tuple[Templates, ...]:
    """Three blocks at the small degree; the probe is enrolled in the first and twice in the last."""
    rng = np.random.default_rng(6)
    blocks = [empty_slots(PLAN) for _ in range(3)]
    for block in blocks:
        block[10:20] = random_templates(rng, SHORT, 10)
    for block, slot in ((0, 5), (2, 700), (2, 9)):
        blocks[block][slot] = probe()
    return tuple(blocks)


@cache
def probe() -> Templates:
    (template,) = random_templates(np.random.default_rng(5), SHORT, 1)
    return template


@cache
def made_keys(scheme: Scheme, secret: bytes) -> tuple[Any, bytes, bytes]:
    """A requester, its evaluation keys and the probe encrypted by it."""
    requester = scheme.requester.load(PLAN, secret)
    return requester, requester.evaluation_keys(), requester.encrypt(probe(), bytes(32))


def blocks_digest(block: Templates) -> bytes:
    return hash_fields(Context.GALLERY_BLOCK, block.tobytes())


def held(blocks: Sequence[Templates]) -> Gallery:
    """A gallery on the responder's disk."""
    hashes = tuple(blocks_digest(block) for block in blocks)
    state = HeldState("face", KnownProfile().digest, SALT, 33, hashes)
    return Gallery(state, range(len(blocks)), lambda number: blocks[number])


def computed_answer(
    scheme: Scheme,
    blocks: Sequence[Templates],
    seed: bytes,
    retried: Sequence[int] = (),
    stream: Callable[..., MaskStream] = MaskStream,
) -> list[bytes]:
    """What a responder computes, in the order of the answer."""
    _, keys, query = made_keys(scheme, SECRET)
    responder, found = scheme.responder(PLAN, keys), []
    for index in MaskStream(seed, EXCHANGE, None, 0).order(len(blocks)):
        attempt = int(index in retried)
        prepared = responder.prepare(query, stream(seed, EXCHANGE, None, attempt))
        masks = stream(seed, EXCHANGE, index, attempt)
        found.append(bytes(responder.answer_once(prepared, blocks[index], masks)))
    return found


def opened(shared: SharedPart, private: PrivatePart | None = None) -> OpenedPayload:
    opening = Opening(shared=shared.to_bytes(), salt=bytes(32), private_digest=bytes(32))
    return OpenedPayload(Statement(shared, private or NoPrivatePart()), opening)


@dataclass
class Exchange:
    """What happened and what was logged of it; each field may be another than it should be.

    Attributes:
        blocks: The gallery that the commitment names.
        answer: The blocks of the answer, in its order.
        logged: Changes to the fields of ``query.answered`` and of its private part.
        hits: What the requester says.
    """

    scheme: Scheme = TWIN
    blocks: Sequence[Templates] = field(default_factory=gallery_blocks)
    answer: Sequence[bytes] | None = None
    logged: dict[str, Any] = field(default_factory=dict)
    secret: bytes = SECRET
    hits: int = HITS
    claimed: int | None = None
    outcome: dict[str, Any] = field(default_factory=dict)

    @property
    def query(self) -> bytes:
        _, keys, ciphertext = made_keys(self.scheme, SECRET)
        fields = {**REPLY, "profile": KnownProfile().digest, "plan": PLAN.identifier, "modality": "face"}
        legal = ("purpose", "offence", "person_category", "legal_basis", "authority")
        query = Query(
            **fields,
            **dict.fromkeys(legal, "x"),
            evaluation_keys=hash_fields(Context.EVALUATION_KEYS, keys),
            ciphertext_hash=hash_fields(Context.CIPHERTEXT, ciphertext),
            ciphertext_bytes=len(ciphertext),
            created_ms=1,
            expires_ms=2,
        )
        return sign(query, named_key("US identity"))

    def answer_blocks(self) -> Sequence[bytes]:
        return self.answer if self.answer is not None else computed_answer(self.scheme, self.blocks, SEED)

    def inputs(self) -> Inputs:
        _, keys, ciphertext = made_keys(self.scheme, SECRET)
        query, answer = self.query, self.answer_blocks()
        whole = BodyHash(Context.ANSWER, sum(map(len, answer)))
        for block in answer:
            whole.update(block)
        accepted = accepted_entry(query, bytes(32)).shared
        asked = {
            name: value
            for name, value in accepted.model_dump().items()
            if name not in ("type", "intent_leaf")
        }
        intent = QueryIntent(**asked, profile=KnownProfile().digest, plan=PLAN.identifier, gallery="face")
        values = {
            "answer_hash": whole.digest(),
            "blocks": len(answer),
            "gallery_commitment": held(self.blocks).state.commitment,
            "seed_commitment": hash_fields(Context.SEED_COMMITMENT, SEED),
        }
        hashes = [answer_block_hash(block) for block in answer]
        private = {"records": 33, "compute_ms": 1, "seed": SEED, "retried": []}
        private["answer_blocks"] = answer_blocks_digest(hashes)
        for name, value in self.logged.items():
            (values if name in values else private)[name] = value
        reply = {**REPLY, "query_hash": message_hash(query)}
        result = {
            **reply,
            "answer_hash": whole.digest(),
            "outcome": "hit" if self.hits else "no-hit",
            "hits": self.hits,
            "reason": None,
            **self.outcome,
        }
        hits = self.hits if self.claimed is None else self.claimed
        claimed = {**result, "hits": hits, "report_hash": bytes(32)}
        escrow = KeysAccepted(
            **{**REPLY, "exchange_id": bytes(16), "plan": PLAN.identifier},
            epoch_days=30,
            epoch=1,
            offer_hash=bytes(32),
            opening_hash=bytes(32),
            evaluation_keys=hash_fields(Context.EVALUATION_KEYS, keys),
        )
        answered = opened(QueryAnswered(**reply, **values), Computation(**private))
        requested = Requested(officer="o", approver="a", case_reference="c")
        return Inputs(
            EXCHANGE,
            Side("CL", [opened(accepted), answered, opened(QueryClaimed(**claimed))]),
            Side(
                "US",
                [
                    opened(intent, requested),
                    opened(QueryResult(**result)),
                    opened(escrow, Escrowed(secret=self.secret)),
                ],
            ),
            profile=KnownProfile(),  # type: ignore[arg-type]
            query=query,
            ciphertext=ciphertext,
            evaluation_keys=keys,
            block_hashes=hashes,
            gallery=held(self.blocks),
        )


def without(inputs: Inputs, *names: str) -> Inputs:
    """The same, with some of it gone."""
    return replace(inputs, **dict.fromkeys(names))
