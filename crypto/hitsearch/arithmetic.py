"""What the responder asks of ciphertexts: by the kernel where it is built, else by SEAL, to the same words.

Source: specs/kernel.md, section 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from crypto.hitsearch.kernel import Kernel
from crypto.hitsearch.kernel_library import usable
from crypto.hitsearch.packing import Slots, Words
from crypto.hitsearch.parameters import Plan
from crypto.hitsearch.seal import Bgv
from crypto.hitsearch.word_arithmetic import WordArithmetic

Ciphertext = Any
Plaintext = Any


class Arithmetic(Protocol):
    """Ciphertexts of one kind, at the first data primes of a plan; only ``add_into`` changes its first argument.

    A *level* is how many primes a ciphertext has. What is *ready for products* is for one level alone.
    """

    plan: Plan

    def load_full(self, words: Words, level: int) -> Ciphertext:
        """A ciphertext from the words of c0, then c1, prime by prime."""

    def words_of(self, ciphertext: Ciphertext, level: int) -> Words:
        """The same words again."""

    def load_relin_keys(self, digits: list[Words]) -> Any:
        """The relinearisation key, from the words of its digits."""

    def load_galois_keys(self, by_element: dict[int, list[Words]]) -> Any:
        """Keys of rotations and of the exchange of rows, by Galois element."""

    def constant(self, value: int) -> Plaintext:
        """The same value in every slot, for sums."""

    def encode(self, values: Slots) -> Plaintext:
        """One value per slot, for sums."""

    def constant_ntt(self, value: int, level: int) -> Plaintext:
        """The same value in every slot, ready for products."""

    def encode_ntt(self, values: Slots, level: int) -> Plaintext:
        """One value per slot, ready for products."""

    def uniform_ntt(self, values: Words, level: int) -> Plaintext:
        """A polynomial of coefficients below t, ready for products."""

    def small_ntt(self, values: Slots, level: int) -> Plaintext:
        """A polynomial of small signed coefficients, ready for products."""

    def number_ntt(self, number: int, level: int) -> Plaintext:
        """An integer of any size, ready for products."""

    def constant_pair(self, first: int, second: int, level: int) -> Ciphertext:
        """The public ciphertext ``(first, second)``."""

    def add(self, left: Ciphertext, right: Ciphertext) -> Ciphertext:
        """left + right."""

    def add_into(self, total: Ciphertext, term: Ciphertext) -> Ciphertext:
        """Add a term into a sum that nobody else holds; returns the sum."""

    def plus_plain(self, left: Ciphertext, right: Plaintext) -> Ciphertext:
        """left plus a plaintext."""

    def plus_polynomials(self, left: Ciphertext, polynomials: Sequence[Words]) -> Ciphertext:
        """left plus the sum of polynomials of coefficients below t, each centred; the sum is not reduced modulo t."""

    def times_plain(self, left: Ciphertext, right: Plaintext) -> Ciphertext:
        """left times what is ready for products at its level."""

    def product(self, left: Ciphertext, right: Ciphertext, key: Any, *, drop: bool = True) -> Ciphertext:
        """left * right, relinearised, one prime dropped unless told otherwise."""

    def rotate(self, value: Ciphertext, steps: int, keys: Any) -> Ciphertext:
        """Both rows rotated to the left."""

    def exchange_rows(self, value: Ciphertext, keys: Any) -> Ciphertext:
        """The two rows exchanged."""

    def drop_to(self, value: Ciphertext, level: int) -> Ciphertext:
        """Switched down to a level."""


def arithmetic_for(plan: Plan, levels: int, *, use_kernel: bool) -> Bgv | WordArithmetic:
    """The kernel's arithmetic if it is built and wanted, and SEAL's otherwise.

    Args:
        plan: Of the search.
        levels: How many of its data primes there are; keys are for so many.
        use_kernel: False for SEAL in any case.
    """
    return WordArithmetic(Kernel(plan, levels)) if use_kernel and usable(plan) else Bgv(plan, levels)
