"""How noise grows: the standard deviation, in bits, after each kind of operation.

What is tracked are the coefficients of ``m + t*e``, the value that must stay below half of the modulus. The rules
are the average-case heuristics of BGV, each step rounded up; where a bound must hold, ``TAIL_BITS`` standard
deviations are taken.

Source: specs/parameters.md, section 2.
"""

from __future__ import annotations

from math import log2
from typing import Final

from crypto.hitsearch.primes import SPECIAL_BITS
from crypto.profiles import PLAINTEXT_MODULUS

# Four bits below the special prime keep key-switching noise near the rounding noise.
MAX_DATA_BITS: Final = 56
ERROR_STD: Final = 3.24  # SEAL's centred binomial distribution of 21 + 21 bits
TAIL_BITS: Final = 3.2  # 9.2 standard deviations: 2^-40 for 2 * 16384 coefficients of 1,024 answers
# Both factors of a product carry the secret key, and SEAL's rounding has a mean, so the noise of one factor is a
# random walk over the key's coefficients: four standard deviations of that walk are two bits.
PRODUCT_MARGIN_BITS: Final = 2.0


def sum_bits(*bits: float) -> float:
    """Standard deviation, in bits, of a sum of independent terms."""
    return 0.5 * log2(sum(4.0**b for b in bits))


def noise_floor_bits(degree: int) -> float:
    """Noise of a modulus switch or of a key switch: rounding of c0 and c1, the latter times a ternary secret.

    SEAL rounds to 0..t-1, not to a centred range: the mean square is t^2 / 3, and the means of several roundings add
    up linearly, which the stages allow for wherever sums are taken.
    """
    return log2(PLAINTEXT_MODULUS) + 0.5 * log2((1 + 2 * degree / 3) / 3)


def uniform_plain_bits(degree: int) -> float:
    """Growth of noise by a product with a plaintext whose coefficients are uniform modulo t."""
    return log2(PLAINTEXT_MODULUS) - 0.5 * log2(12) + 0.5 * log2(degree)


def honest_probe_bits(degree: int) -> float:
    """Noise of an honest probe after re-randomisation: its own error, and a fresh encryption of zero."""
    error = log2(PLAINTEXT_MODULUS) + log2(ERROR_STD)
    return sum_bits(error, error + 0.5 * log2(4 * degree / 3 + 1))


def rotation_bits(degree: int) -> float:
    """Noise that one key switch adds."""
    # q_max / P costs MAX_DATA_BITS - SPECIAL_BITS bits; the digits of at most a dozen primes add up
    growth = 0.5 * log2(degree) + 0.5 * log2(12 / 3) + MAX_DATA_BITS - SPECIAL_BITS
    return sum_bits(noise_floor_bits(degree), log2(PLAINTEXT_MODULUS) + log2(ERROR_STD) + growth)


def product_bits(left: float, right: float, degree: int) -> float:
    """Noise of a relinearised product, before its switch."""
    return sum_bits(left + right + 0.5 * log2(degree) + PRODUCT_MARGIN_BITS, rotation_bits(degree))
