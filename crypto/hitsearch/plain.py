"""The plain twin: the same interface in numpy, the oracle of every test.

It protects nothing: probe and keys travel in the clear. Source: specs/matching.md, sections 3 to 5.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypto.contexts import Context, hash_fields
from crypto.errors import BadCiphertext, BadKeys
from crypto.hitsearch.masks import MaskStream
from crypto.hitsearch.packing import Words
from crypto.hitsearch.parameters import SEED_BYTES, Plan
from crypto.hitsearch.requester import Opened, check_template
from crypto.hitsearch.responder import check_block


@dataclass(frozen=True)
class PlainQuery:
    """A probe in the clear."""

    template: NDArray[np.int64]


@dataclass(frozen=True)
class PlainBlock:
    """A block in the clear."""

    templates: NDArray[np.int64]


def answer_values(
    probe: NDArray[np.int64], block: NDArray[np.int64], plan: Plan, stream: MaskStream
) -> Opened:
    """What an honest answer decrypts to, slot by slot: ``r * P(u^2)`` and ``r' * P(u^2) + token``, mod t."""
    t = plan.plain_modulus
    centring = plan.centring
    u = centring.scale * (block @ probe) - centring.offset
    w = u * u % t
    value = np.ones_like(w)
    for leaf in plan.polynomial.leaves:
        total = np.zeros_like(w)
        for coefficient in (1, *reversed(leaf)):
            total = (total * w + coefficient) % t
        value = value * total % t
    hits = stream.masks(b"hits", plan.degree, t) * value % t
    return Opened(hits, (stream.masks(b"tokens", plan.degree, t) * value + stream.tokens(plan.degree)) % t)


class PlainRequester:
    """Stands in for ``Requester`` where encryption is not what is tested."""

    def __init__(self, plan: Plan, seed: bytes) -> None:
        self.plan = plan
        self._seed = bytes(seed)

    @classmethod
    def generate(cls, plan: Plan) -> PlainRequester:
        """A fresh stand-in secret."""
        return cls(plan, os.urandom(SEED_BYTES))

    @classmethod
    def load(cls, plan: Plan, secret: bytes) -> PlainRequester:
        """The requester of a stored secret."""
        return cls(plan, secret)

    def secret(self) -> bytes:
        """The stand-in secret."""
        return self._seed

    def evaluation_keys(self) -> bytes:
        """A digest of the secret, padded to the exact length: the same at every call, another for another secret."""
        digest = hash_fields(Context.KEY_STREAM, self._seed, b"plain")
        return digest.ljust(self.plan.keys_bytes, b"\0")

    def encrypt(self, template: NDArray[np.int8], seed: bytes | None = None) -> bytes:
        """The template in the clear, padded to the exact length; the seed changes nothing."""
        check_template(template, self.plan.profile)
        return template.tobytes().ljust(self.plan.query_bytes, b"\0")

    def open_block(self, answer: bytes) -> Opened:
        """The values and tokens of the block."""
        if len(answer) != self.plan.answer_block_bytes:
            raise BadCiphertext(f"an answer block of this profile has {self.plan.answer_block_bytes} bytes")
        both = np.frombuffer(answer, dtype=">u4", count=2 * self.plan.degree).astype(np.int64)
        return Opened(both[: self.plan.degree], both[self.plan.degree :])


class PlainResponder:
    """Stands in for ``Responder``: the same masked values for the same stream."""

    def __init__(self, plan: Plan, evaluation_keys: bytes) -> None:
        if len(evaluation_keys) != plan.keys_bytes:
            raise BadKeys(
                f"evaluation keys of this profile have {plan.keys_bytes} bytes, not {len(evaluation_keys)}"
            )
        self.plan = plan

    def prepare(self, query: bytes, stream: MaskStream) -> PlainQuery:
        """Read the probe back; nothing here is random."""
        if len(query) != self.plan.query_bytes:
            raise BadCiphertext(f"an encrypted probe of this profile has {self.plan.query_bytes} bytes")
        values = np.frombuffer(query, dtype=np.int8, count=self.plan.profile.n).astype(np.int64)
        return PlainQuery(values)

    @staticmethod
    def keeps_words(plan: Plan) -> bool:
        """Blocks in the clear are an array as well."""
        return True

    @property
    def encoded_shape(self) -> tuple[int, ...]:
        """Of a block as 64-bit words, eight entries in each."""
        return (self.plan.block_size * self.plan.profile.n // 8,)

    def encode(self, templates: NDArray[np.int8], out: Words | None = None) -> PlainBlock:
        """Check and keep the block."""
        check_block(templates, self.plan)
        if out is not None:
            out[:] = np.ascontiguousarray(templates).reshape(-1).view(np.uint64)
        return PlainBlock(templates.astype(np.int64))

    def encoded(self, words: Words) -> PlainBlock:
        """A block that ``encode`` has put into an array."""
        shape = (self.plan.block_size, self.plan.profile.n)
        return PlainBlock(words.view(np.int8).reshape(shape).astype(np.int64))

    def answer(self, prepared: PlainQuery, block: PlainBlock, stream: MaskStream) -> bytes:
        """The masked values and tokens, padded to the exact length."""
        opened = answer_values(prepared.template, block.templates, self.plan, stream)
        both = np.concatenate([opened.values, opened.tokens])
        return both.astype(">u4").tobytes().ljust(self.plan.answer_block_bytes, b"\0")

    def answer_once(self, prepared: PlainQuery, templates: NDArray[np.int8], stream: MaskStream) -> bytes:
        """The same for a block that is not kept."""
        return self.answer(prepared, self.encode(templates), stream)

    def answer_many(
        self,
        prepared: Sequence[PlainQuery],
        block: PlainBlock | NDArray[np.int8],
        streams: Sequence[MaskStream],
    ) -> list[bytes]:
        """The same for several probes."""
        kept = block if isinstance(block, PlainBlock) else self.encode(block)
        return [self.answer(one, kept, stream) for one, stream in zip(prepared, streams, strict=True)]
