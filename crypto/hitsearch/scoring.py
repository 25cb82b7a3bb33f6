"""The scores of a block: by the kernel where it is built, else by SEAL, to the same words.

Source: specs/matching.md, section 3; specs/kernel.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from crypto.hitsearch.kernel_library import description
from crypto.hitsearch.kernel_sums import BlockSums
from crypto.hitsearch.keyset import rotation_element
from crypto.hitsearch.packing import Words, diagonals
from crypto.hitsearch.seal import Bgv, Ciphertext, Plaintext
from crypto.hitsearch.word_arithmetic import GaloisKeys, WordArithmetic

Templates = NDArray[np.int8]
Observer = Callable[[str], None]


@dataclass(frozen=True)
class EncodedBlock:
    """One gallery block as diagonals in NTT form, in the form of the engine that encoded it.

    Attributes:
        words: With the kernel: one array of shape ``Responder.encoded_shape``, which may be a mapped file.
        rows: Without it: SEAL's plaintexts by giant and baby step; ``None`` stands for a diagonal of zeros.
    """

    words: Words | None = None
    rows: tuple[tuple[Plaintext | None, ...], ...] = ()


class ScoreEngine(Protocol):
    """What turns a probe and blocks into scores, in one kind of arithmetic.

    Attributes:
        name: In a few words.
        encoded_shape: Of a block as one array, if it has that form.
    """

    name: str
    encoded_shape: tuple[int, ...] | None

    def rotations(self, probe: Ciphertext) -> Any:
        """The baby steps: the probe, at the level of the search, in all its small rotations."""

    def encode(self, templates: Templates, out: Words | None) -> EncodedBlock:
        """A block in the form in which many queries want it."""

    def scores(
        self, probes: Sequence[Any], block: EncodedBlock | Templates, observe: Observer
    ) -> list[Ciphertext]:
        """For each probe: scale times the score of every slot's candidate, one prime dropped."""


def engine_for(arithmetic: Bgv | WordArithmetic, rotations: Any) -> ScoreEngine:
    """The engine of an arithmetic.

    Args:
        arithmetic: At all primes of a plan.
        rotations: Its keys of ``plan.rotation_steps``.
    """
    if isinstance(arithmetic, WordArithmetic):
        return KernelEngine(arithmetic, rotations)
    return SealEngine(arithmetic, rotations)


class KernelEngine:
    """Sums of products and rotations on plain arrays."""

    def __init__(self, arithmetic: WordArithmetic, rotations: GaloisKeys) -> None:
        self.name = description()
        plan = arithmetic.plan
        self._sums = BlockSums(arithmetic.kernel)
        self.encoded_shape: tuple[int, ...] | None = self._sums.block_shape
        self._baby, self._giant = (
            rotations.get(rotation_element(steps, plan.degree)) for steps in (1, plan.baby_steps)
        )

    def rotations(self, probe: Words) -> Words:
        return self._sums.rotations(probe, self._baby)

    def encode(self, templates: Templates, out: Words | None) -> EncodedBlock:
        return EncodedBlock(self._sums.encode(templates, out))

    def scores(
        self, probes: Sequence[Any], block: EncodedBlock | Templates, observe: Observer
    ) -> list[Words]:
        observe("diagonals and products")
        if isinstance(block, EncodedBlock):
            if block.words is None:
                raise ValueError("a block that SEAL encoded is not for the kernel")
            partials = self._sums.sums(list(probes), block.words)
        else:
            partials = self._sums.sums_once(list(probes), block)
        observe("giant steps")
        return [self._sums.total(one, self._giant) for one in partials]


class SealEngine:
    """The same through SEAL's binding, one plaintext a diagonal."""

    name = "SEAL"
    encoded_shape: tuple[int, ...] | None = None

    def __init__(self, bgv: Bgv, galois: Any) -> None:
        self._bgv, self._plan, self._galois = bgv, bgv.plan, galois

    def rotations(self, probe: Ciphertext) -> tuple[Ciphertext, ...]:
        rotations = [probe]
        for _ in range(self._plan.baby_steps - 1):
            rotations.append(self._bgv.rotate(rotations[-1], 1, self._galois))
        return tuple(rotations)

    def encode(self, templates: Templates, out: Words | None) -> EncodedBlock:
        if out is not None:
            raise ValueError("without the kernel a block is not one array")
        rows: list[list[Plaintext | None]] = [[] for _ in range(self._plan.giant_steps)]
        for giant, _, plain in self._encoded_diagonals(templates):
            rows[giant].append(plain)
        return EncodedBlock(rows=tuple(tuple(row) for row in rows))

    def _encoded_diagonals(self, templates: Templates) -> Iterator[tuple[int, int, Plaintext | None]]:
        plan = self._plan
        for giant, baby, values in diagonals(templates, plan.baby_steps, plan.centring.scale):
            # SEAL refuses a product with a zero plaintext, whose result would be in the clear
            yield giant, baby, self._bgv.encode_ntt(values, plan.search_level) if values.any() else None

    def _terms(self, block: EncodedBlock | Templates) -> Iterator[tuple[int, int, Plaintext | None]]:
        if not isinstance(block, EncodedBlock):
            return self._encoded_diagonals(block)
        if not block.rows:
            raise ValueError("a block that the kernel encoded is not for SEAL")
        return ((g, b, plain) for g, row in enumerate(block.rows) for b, plain in enumerate(row))

    def scores(
        self, probes: Sequence[Any], block: EncodedBlock | Templates, observe: Observer
    ) -> list[Ciphertext]:
        bgv, plan = self._bgv, self._plan
        partials: list[list[Ciphertext | None]] = [[None] * plan.giant_steps for _ in probes]
        observe("diagonals and products")
        for giant, baby, plain in self._terms(block):
            if plain is None:
                continue
            for rotations, partial in zip(probes, partials, strict=True):
                term = bgv.times_plain(rotations[baby], plain)
                sum_so_far = partial[giant]
                partial[giant] = term if sum_so_far is None else bgv.add_into(sum_so_far, term)
        observe("giant steps")
        return [self._total(partial) for partial in partials]

    def _total(self, partial: list[Ciphertext | None]) -> Ciphertext:
        bgv, plan = self._bgv, self._plan
        total: Ciphertext | None = None
        for summand in reversed(partial):
            if total is not None:
                total = bgv.rotate(total, plan.baby_steps, self._galois)
                total = total if summand is None else bgv.add_into(total, summand)
            else:
                total = summand
        return bgv.drop_to(total, plan.search_level - 1)
