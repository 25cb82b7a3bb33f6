"""Words of small polynomials in NTT form, for keys and probes: by the kernel where it is built, by SEAL elsewhere.

Source: specs/kernel.md, section 1.
"""

from __future__ import annotations

from typing import Protocol

from crypto.hitsearch.kernel import Kernel
from crypto.hitsearch.kernel_library import usable
from crypto.hitsearch.packing import Slots, Words
from crypto.hitsearch.seal import Bgv


class Transforms(Protocol):
    """Both give words at all data primes and the special prime."""

    def ntt_words(self, values: Slots) -> Words:
        """Of a polynomial of small signed coefficients."""

    def slots_ntt_words(self, values: Slots) -> Words:
        """Of a plaintext that is given by its slots."""


class KernelTransforms:
    """Ten times as fast as through the binding, whose words come out through a compressed file."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def ntt_words(self, values: Slots) -> Words:
        return self._kernel.transform(values, len(self._kernel.primes))

    def slots_ntt_words(self, values: Slots) -> Words:
        return self._kernel.slots_transform(values, len(self._kernel.primes))


def transforms_for(bgv: Bgv, *, use_kernel: bool = True) -> Transforms:
    """The kernel's if it is built and wanted, and SEAL's otherwise: the same words.

    Args:
        bgv: A context of the whole plan.
        use_kernel: False for SEAL in any case.
    """
    return KernelTransforms(Kernel(bgv.plan)) if use_kernel and usable(bgv.plan) else bgv
