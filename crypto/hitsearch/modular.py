"""Arithmetic on arrays of words modulo a prime below 2^62, exact, in numpy alone.

A product of two such words does not fit 64 bits. The quotient is estimated in floating point, which is off by at most
two, and the remainder is then exact modulo 2^64.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from crypto.hitsearch.packing import Words

MAX_PRIME_BITS: Final = 61
_HALF: Final = 31
_DIRECT_BITS: Final = 48  # quotients below 2^49 are estimated with an error below 1


def multiply(left: Words, right: Words | int, prime: int) -> Words:
    """left * right mod prime; both reduced already.

    Args:
        left: Words below the prime, any shape.
        right: Words of the same shape, or one number below the prime.
    """
    factor = np.uint64(right) if isinstance(right, int) else right
    if prime.bit_length() <= _DIRECT_BITS:
        return _multiply_short(left, factor, prime)
    high = _multiply_short(left, factor >> np.uint64(_HALF), prime)
    low = _multiply_short(left, factor & np.uint64((1 << _HALF) - 1), prime)
    return add(_multiply_short(high, np.uint64(1 << _HALF), prime), low, prime)


def _multiply_short(left: Words, factor: Words | np.uint64, prime: int) -> Words:
    """The product when the factor has so few bits that the quotient's estimate is off by at most one."""
    q = np.uint64(prime)
    quotient = (left.astype(np.float64) * (factor.astype(np.float64) / prime)).astype(np.uint64)
    with np.errstate(over="ignore"):
        remainder = left * factor - quotient * q
    remainder = np.where(remainder >> np.uint64(63), remainder + q, remainder)  # estimated one too high
    return np.where(remainder >= q, remainder - q, remainder)


def add(left: Words, right: Words, prime: int) -> Words:
    """left + right mod prime; both reduced already."""
    total = left + right
    return np.where(total >= np.uint64(prime), total - np.uint64(prime), total)


def negate(words: Words, prime: int) -> Words:
    """-words mod prime; reduced already."""
    return np.where(words == 0, words, np.uint64(prime) - words)
