"""The responder's side of the search: compute on an encrypted probe, reveal hits only.

Source: specs/matching.md, sections 3 to 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crypto.errors import BadTemplate
from crypto.hitsearch.arithmetic import Ciphertext, arithmetic_for
from crypto.hitsearch.flooding import Flood, FreshZeros
from crypto.hitsearch.guards import GuardKeys, Guards, Validity, canary, spoilers
from crypto.hitsearch.kernel_library import usable
from crypto.hitsearch.keyset import (
    KeySet,
    pack_answer,
    public_part,
    restrict,
    rotation_element,
    uniform_half,
    unpack_query,
)
from crypto.hitsearch.masks import MaskStream
from crypto.hitsearch.packing import Slots, Words
from crypto.hitsearch.parameters import Plan
from crypto.hitsearch.scoring import EncodedBlock, Observer, Templates, engine_for
from crypto.hitsearch.seal import keep_large_allocations


def _ignore(_: str) -> None:
    return None


@dataclass(frozen=True)
class PreparedQuery:
    """A probe after re-randomisation and baby steps.

    Attributes:
        probe: At the level of the search.
        rotations: The same in all its small rotations, in the form of the engine that computes scores.
        guards: What guards the answer.
    """

    probe: Ciphertext
    rotations: Any
    guards: Guards


class Responder:
    """Holds a requester's evaluation keys and searches blocks for that requester's probes.

    Args:
        plan: Parameters, from ``plan_for``.
        evaluation_keys: Exactly ``plan.keys_bytes``.
        observe: Called with the name of each stage when it begins, for benchmarks.
        use_kernel: False to compute through SEAL alone where the kernel is built, too: slower, and the same bytes.

    Raises:
        BadKeys: The keys are not in the exact form of the plan.
    """

    def __init__(
        self, plan: Plan, evaluation_keys: bytes, observe: Observer = _ignore, *, use_kernel: bool = True
    ) -> None:
        keep_large_allocations()
        keys = KeySet.from_bytes(evaluation_keys, plan)
        self.plan = plan
        self._bgv = arithmetic_for(plan, plan.levels, use_kernel=use_kernel)
        guard = arithmetic_for(plan, plan.guard_level, use_kernel=use_kernel)
        whole: dict[int, list[Words]] = {}
        last: dict[int, list[Words]] = {}
        for name, digits in keys.pairs(plan):
            if name.levels == plan.levels:
                whole[name.element] = digits
            else:
                last[name.element] = digits
        self._relin = self._bgv.load_relin_keys(whole.pop(0))
        self._engine = engine_for(self._bgv, self._bgv.load_galois_keys(whole))
        for step in set(plan.sum_steps) & set(plan.rotation_steps):
            element = rotation_element(step, plan.degree)
            last[element] = restrict(whole[element], plan, plan.guard_level)
        self._validity = Validity(self._bgv, self._relin, GuardKeys(guard, guard.load_galois_keys(last)))
        uniform = uniform_half(keys.seed, public_part(plan), plan.degree)
        self._zeros = FreshZeros(self._bgv, keys.public, uniform)
        self._flood = Flood(self._bgv)
        self._observe = observe
        self._constants = self._threshold_constants()

    def _threshold_constants(self) -> list[list[Any]]:
        """Scalars of the unmasked leaves: the constant term for sums, the others for products."""
        level = self.plan.stage("leaves").level
        return [
            [self._bgv.constant(leaf[0]), *(self._bgv.constant_ntt(c, level) for c in leaf[1:])]
            for leaf in self.plan.polynomial.leaves
        ]

    def prepare(self, query: bytes, stream: MaskStream) -> PreparedQuery:
        """Rebuild the probe from its words, re-randomise it, compute the guards, and rotate it once for all blocks.

        Args:
            query: Exactly ``plan.query_bytes``.
            stream: Fresh randomness of this exchange and attempt, for the steps before any block.

        Raises:
            BadCiphertext: The probe is not in the exact form of the plan.
        """
        self._observe("rebuild and re-randomise")
        probe = self._rerandomise(self._rebuild(query), stream)
        guards = self._guard(probe, stream)
        self._observe("baby steps")
        low = self._bgv.drop_to(probe, self.plan.search_level)
        return PreparedQuery(low, self._engine.rotations(low), guards)

    def _rebuild(self, query: bytes) -> Ciphertext:
        return self._bgv.load_full(unpack_query(query, self.plan), self.plan.levels)

    def _rerandomise(self, probe: Ciphertext, stream: MaskStream) -> Ciphertext:
        """A probe whose words the requester did not choose."""
        return self._bgv.add(probe, self._zeros.fresh(stream, b"probe", self.plan.levels))

    def _guard(self, probe: Ciphertext, stream: MaskStream) -> Guards:
        self._observe("validity")
        validity = self._validity.check(probe, stream)
        self._observe("canary")
        return Guards(validity, canary(self._bgv, probe, stream))

    @property
    def arithmetic(self) -> str:
        """What computes the scores, in a few words."""
        return self._engine.name

    @property
    def encoded_shape(self) -> tuple[int, ...] | None:
        """The shape of an encoded block as one array of 64-bit words; None if this responder has no such form."""
        return self._engine.encoded_shape

    @property
    def encoded_bytes(self) -> int:
        """Memory of one encoded block: one diagonal per entry, in NTT form at every prime."""
        return self.plan.search_level * 8 * self.plan.profile.n * self.plan.degree

    @staticmethod
    def keeps_words(plan: Plan) -> bool:
        """Whether responders of this plan encode blocks as one array of words, on this machine."""
        return usable(plan)

    def encoded(self, words: Words) -> EncodedBlock:
        """A block that ``encode`` has put into such an array, here or in another process."""
        return EncodedBlock(words)

    def encode(self, templates: Templates, out: Words | None = None) -> EncodedBlock:
        """Encode one block for many queries.

        Args:
            templates: Shape ``(block_size, n)``; every row is a template or an empty slot.
            out: An array of shape ``encoded_shape`` that takes the block, such as a mapped file; new memory if None.
        """
        check_block(templates, self.plan)
        return self._engine.encode(templates, out)

    def answer(self, prepared: PreparedQuery, block: EncodedBlock, stream: MaskStream) -> bytes:
        """Search one block; exactly ``plan.answer_block_bytes``, whatever the block holds.

        Args:
            prepared: From ``prepare``, under the same keys.
            block: From ``encode``.
            stream: Fresh randomness of this exchange, attempt and block.
        """
        return self._answer(prepared, self._scores(prepared, block), stream)

    def answer_once(self, prepared: PreparedQuery, templates: Templates, stream: MaskStream) -> bytes:
        """Search a block that is not kept encoded: the same bytes of work, a fraction of the memory."""
        check_block(templates, self.plan)
        return self._answer(prepared, self._scores(prepared, templates), stream)

    def answer_many(
        self,
        prepared: Sequence[PreparedQuery],
        block: EncodedBlock | Templates,
        streams: Sequence[MaskStream],
    ) -> list[bytes]:
        """Search one block for several probes in one pass over it: the same bytes as one after the other.

        Args:
            prepared: From ``prepare``, under the same keys.
            block: From ``encode``, or templates: then they are encoded once for all probes, and not kept.
            streams: Fresh randomness for each probe, of its exchange, attempt and block.
        """
        if not isinstance(block, EncodedBlock):
            check_block(block, self.plan)
        scores = self._engine.scores([one.rotations for one in prepared], block, self._observe)
        return [
            self._answer(one, score, stream)
            for one, score, stream in zip(prepared, scores, streams, strict=True)
        ]

    def _answer(self, prepared: PreparedQuery, scores: Ciphertext, stream: MaskStream) -> bytes:
        self._observe("threshold polynomial")
        powers, factors = self._factors(scores)
        hits = self._masked_product(powers, factors, stream, b"hits")
        hit_words = self._finish(hits, prepared.guards, stream, b"hits")
        self._observe("tokens")
        tokens = self._masked_product(powers, factors, stream, b"tokens")
        tokens = self._bgv.plus_plain(tokens, self._bgv.encode(stream.tokens(self.plan.degree)))
        token_words = self._finish(tokens, prepared.guards, stream, b"tokens")
        self._observe("pack")
        return pack_answer(hit_words, token_words, self.plan)

    def _finish(self, masked: Ciphertext, guards: Guards, stream: MaskStream, label: bytes) -> Words:
        """From a masked value at the guard level to the words of the answer."""
        bgv, level = self._bgv, self.plan.stage("flooding").level
        self._observe("guards")
        guarded = self._spoil(masked, guards, stream, label)
        self._observe("flooding and last switch")
        flooded = self._hide_noise(bgv.drop_to(guarded, level), stream, label)
        return bgv.words_of(bgv.drop_to(flooded, 1), 1)

    def _spoil(self, masked: Ciphertext, guards: Guards, stream: MaskStream, label: bytes) -> Ciphertext:
        """Add the guards: nothing for an honest probe, uniform values in every slot for another."""
        return self._bgv.add(masked, spoilers(self._bgv, guards, stream, label))

    def _hide_noise(self, value: Ciphertext, stream: MaskStream, label: bytes) -> Ciphertext:
        """A fresh encryption of zero, and uniform noise far above the plan's bound."""
        fresh = self._zeros.fresh(stream, b"answer/" + label, self.plan.stage("flooding").level)
        return self._flood.add_to(self._bgv.add(value, fresh), stream, label)

    def _scores(self, prepared: PreparedQuery, block: EncodedBlock | Templates) -> Ciphertext:
        """Scale times the score of every slot's candidate, one prime dropped."""
        return self._engine.scores([prepared.rotations], block, self._observe)[0]

    def _factors(self, scores: Ciphertext) -> tuple[list[Ciphertext], list[Ciphertext]]:
        """Powers of w, and what the masked leaf is multiplied by, in turn: the product of all is P(w)."""
        bgv, plan = self._bgv, self.plan
        u = bgv.plus_plain(scores, bgv.constant(-plan.centring.offset))
        powers = self._powers(bgv.product(u, u, self._relin))
        nodes = [self._leaf(powers, index) for index in range(1, len(plan.polynomial.leaves))]
        factors = []
        while nodes:
            factors.append(nodes[0])
            pairs = zip(nodes[1::2], nodes[2::2], strict=True)
            nodes = [bgv.product(left, right, self._relin) for left, right in pairs]
        return powers, factors

    def _masked_product(
        self, powers: list[Ciphertext], factors: list[Ciphertext], stream: MaskStream, label: bytes
    ) -> Ciphertext:
        """r * P(w) at the guard level, with a fresh non-zero r per slot: zero on hits only."""
        value = self._masked_leaf(powers, self._mask(stream, label))
        for number, factor in enumerate(factors, 1):
            value = self._bgv.product(value, factor, self._relin, drop=number < len(factors))
        return self._bgv.drop_to(value, self.plan.guard_level)

    def _mask(self, stream: MaskStream, label: bytes) -> Slots:
        return stream.masks(label, self.plan.degree, self.plan.plain_modulus)

    def _powers(self, w: Ciphertext) -> list[Ciphertext]:
        """w, w^2, ... up to the highest power a leaf needs, all at the level of the leaves."""
        bgv = self._bgv
        degree = max(len(leaf) for leaf in self.plan.polynomial.leaves)
        level = self.plan.stage("leaves").level
        powers = [w]
        if degree >= 2:
            square = bgv.product(w, w, self._relin)
            powers.append(square)
            low = bgv.drop_to(w, self.plan.stage("powers to w^2").level - 1)
            if degree >= 3:
                powers.append(bgv.product(square, low, self._relin))
            if degree >= 4:
                powers.append(bgv.product(square, square, self._relin))
        return [bgv.drop_to(power, level) for power in powers]

    def _leaf(self, powers: list[Ciphertext], index: int) -> Ciphertext:
        bgv = self._bgv
        constant, *scalars = self._constants[index]
        degree = len(scalars) + 1
        total = bgv.plus_plain(powers[degree - 1], constant)
        for scalar, power in zip(scalars, powers[: degree - 1], strict=True):
            total = bgv.add_into(total, bgv.times_plain(power, scalar))
        return total

    def _masked_leaf(self, powers: list[Ciphertext], mask: Slots) -> Ciphertext:
        """The first leaf times the mask: folding it in here spends its noise where a switch recovers it."""
        bgv, t = self._bgv, self.plan.plain_modulus
        level = self.plan.stage("leaves").level
        coefficients = self.plan.polynomial.leaves[0]
        degree = len(coefficients)
        total = bgv.times_plain(powers[degree - 1], bgv.encode_ntt(mask, level))
        for coefficient, power in zip(coefficients[1:], powers[: degree - 1], strict=True):
            if coefficient:
                scaled = bgv.encode_ntt(mask * coefficient % t, level)
                total = bgv.add_into(total, bgv.times_plain(power, scaled))
        return bgv.plus_plain(total, bgv.encode(mask * coefficients[0] % t))


def check_block(templates: Templates, plan: Plan) -> None:
    """Raise ``BadTemplate`` unless the block has the plan's shape and no row can wrap a score."""
    shape = (plan.block_size, plan.profile.n)
    if templates.shape != shape or templates.dtype != np.int8:
        raise BadTemplate(f"a block is int8 of shape {shape}")
    wide = templates.astype(np.int32)
    norms = np.einsum("ij,ij->i", wide, wide)
    profile = plan.profile
    full = norms == profile.gallery_norm
    # With bound 1 a score is at most S whatever the gallery holds; with step 2 no entry of a template is zero.
    fits = full | (norms == 1) if profile.gallery else norms <= profile.norm
    if not fits.all() or int(norms.min()) < 1 or (profile.gallery and int(np.abs(wide).max()) > 1):
        raise BadTemplate("a row of the block is neither a template nor an empty slot")
