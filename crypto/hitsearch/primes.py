"""Primes for a BGV modulus over this plaintext modulus.

Source: specs/parameters.md, sections 1 and 3.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from crypto.errors import ImpossibleProfile
from crypto.profiles import PLAINTEXT_MODULUS

SPECIAL_BITS: Final = 60


@lru_cache(maxsize=64)
def friendly_primes(bits: int, degree: int) -> tuple[int, ...]:
    """The smallest primes of that size that are 1 modulo ``2 * degree * t``; at most sixteen.

    With such primes the correction factor of every BGV modulus switch stays 1.
    """
    step = 2 * degree * PLAINTEXT_MODULUS
    found: list[int] = []
    candidate = ((1 << (bits - 1)) // step + 1) * step + 1
    while candidate.bit_length() == bits and len(found) < 16:
        if is_prime(candidate):
            found.append(candidate)
        candidate += step
    return tuple(found)


def is_prime(n: int) -> bool:
    """Miller-Rabin with the twelve bases that are exact below 3.3e24."""
    bases = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)
    if any(n % p == 0 for p in bases):
        return n in bases
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in bases:
        x = pow(base, odd, n)
        if x in (1, n - 1):
            continue
        for _ in range(twos - 1):
            x = x * x % n
            if x == n - 1:
                break
        else:
            return False
    return True


def choose_primes(sizes: tuple[int, ...], degree: int) -> tuple[tuple[int, ...], int]:
    """Distinct friendly primes of at least the wanted sizes, and the special prime.

    Raises:
        ImpossibleProfile: A size is not to be had.
    """
    taken: list[int] = []
    for wanted in sizes:
        taken.append(_smallest_free(wanted, degree, taken))
    special = _smallest_free(SPECIAL_BITS, degree, taken)
    return tuple(taken), special


def _smallest_free(wanted: int, degree: int, taken: list[int]) -> int:
    for bits in range(wanted, SPECIAL_BITS + 1):
        for prime in friendly_primes(bits, degree):
            if prime not in taken:
                return prime
    raise ImpossibleProfile(f"no friendly prime of {wanted} bits or a little more is left")
