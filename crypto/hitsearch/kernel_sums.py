"""Gallery blocks in the kernel: diagonals in transformed form, and their sums of products with a probe's rotations.

Source: specs/kernel.md, sections 1 and 2.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crypto.hitsearch.kernel import GaloisKey, Kernel, scratch, slot_places
from crypto.hitsearch.kernel_library import LANE, Encoding, address, aligned, library
from crypto.hitsearch.packing import Words

Rotations = Words


class BlockSums:
    """The sums of a plan's search.

    Args:
        kernel: At all primes of the plan.
    """

    def __init__(self, kernel: Kernel) -> None:
        plan = kernel.plan
        self._kernel, self.plan = kernel, plan
        self.degree, self.level = plan.degree, plan.search_level
        self._slot_places = slot_places(self.degree)
        babies, giants, lines = plan.baby_steps, plan.giant_steps, self.degree // LANE
        self.block_shape = (self.level, lines, giants, babies, LANE)
        self._rotations_shape = (self.level, lines, 2, babies, LANE)
        self._partials_shape = (giants, 2, self.level, self.degree)

    def rotations(self, probe: Words, key: GaloisKey | None) -> Rotations:
        """The probe rotated by 0, 1, 2, ...: the words of all, as the sums read them."""
        plan, result = self.plan, aligned(self._rotations_shape)
        current = np.ascontiguousarray(probe).reshape(2, self.level, self.degree)
        encoding, _ = self._encoding()
        for baby in range(plan.baby_steps):
            if baby and key is not None:
                current = self._kernel.rotate(current, key)
            source = address(current, (2, self.level, self.degree), np.uint64)
            library().concordat_place(ctypes.byref(encoding), source, baby, result.ctypes.data)
        return result

    def encode(self, templates: NDArray[np.int8], out: Words | None = None) -> Words:
        """The diagonals of a block, transformed, in the order in which the sums read them."""
        block = aligned(self.block_shape) if out is None else out
        place = address(block, self.block_shape, np.uint64, written=True)
        encoding, _spare = self._encoding()
        entries = self._templates(templates)
        library().concordat_encode(ctypes.byref(encoding), entries.ctypes.data, place)
        return block

    def sums(self, rotations: list[Rotations], block: Words) -> list[Words]:
        """For each probe and giant step the sum of products with the diagonals; the block is read once."""
        encoding, _spare = self._encoding()
        place = address(block, self.block_shape, np.uint64)
        partials, sources, targets = self._many(rotations)
        library().concordat_sums(ctypes.byref(encoding), place, len(rotations), sources, targets)
        return partials

    def sums_once(self, rotations: list[Rotations], templates: NDArray[np.int8]) -> list[Words]:
        """The same for a block that is not kept encoded."""
        encoding, _spare = self._encoding()
        entries = self._templates(templates)
        partials, sources, targets = self._many(rotations)
        one_prime = aligned(self.block_shape[1:])
        library().concordat_sums_once(
            ctypes.byref(encoding),
            entries.ctypes.data,
            one_prime.ctypes.data,
            len(rotations),
            sources,
            targets,
        )
        return partials

    def total(self, partials: Words, key: GaloisKey | None) -> Words:
        """The sum of the partial sums, each rotated to its place, one prime dropped."""
        total = partials[-1]
        for partial in partials[-2::-1]:
            assert key is not None
            total = self._kernel.rotate(total, key, partial)
        return self._kernel.drop(total)

    def _many(self, rotations: list[Rotations]) -> tuple[list[Words], Any, Any]:
        partials = [aligned(self._partials_shape) for _ in rotations]
        pointers = ctypes.c_void_p * len(rotations)
        sources = pointers(*(address(one, self._rotations_shape, np.uint64) for one in rotations))
        targets = pointers(*(one.ctypes.data for one in partials))
        return partials, sources, targets

    def _templates(self, templates: NDArray[np.int8]) -> NDArray[np.int8]:
        entries = np.ascontiguousarray(templates)
        address(entries, (self.degree, self.plan.profile.n), np.int8)
        return entries

    def _encoding(self) -> tuple[Encoding, Any]:
        """What C wants to know of the plan, and the memory that it points to."""
        plan = self.plan
        coefficients = aligned((plan.profile.n, self.degree), np.int32)
        spare = scratch(self.degree, plan.baby_steps)
        parts = Encoding(
            self._kernel.rows.ctypes.data,
            self._kernel.plain.ctypes.data,
            self.level,
            plan.profile.n,
            plan.centring.scale,
            plan.baby_steps,
            plan.giant_steps,
            self._slot_places.ctypes.data,
            coefficients.ctypes.data,
            spare.ctypes.data,
        )
        return parts, (coefficients, spare)
