"""Random polynomials from seeds: the public uniform halves, and the secret small ones.

A dishonest requester must not choose the uniform half of a key or probe, so it is expanded here from a seed by
SHAKE-128. Secrets and errors come from AES-256 in counter mode under a key that is derived from a secret seed. Both
are defined by bytes alone: the same seeds give the same polynomials on every machine.

Source: specs/matching.md, section 2.
"""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from crypto.contexts import Context, frame
from crypto.hitsearch.packing import Slots, Words

ERROR_BITS: Final = 21  # centred binomial of 21 + 21 bits: standard deviation 3.24, as in SEAL
_SPARE: Final = 1024  # words drawn beyond the degree: more than 31/32 of them are kept


def uniform_polynomial(seed: bytes, primes: tuple[int, ...], degree: int) -> Words:
    """Words of one uniform polynomial, prime by prime.

    For each prime, 64-bit little-endian words of ``SHAKE-128(frame(seed, u64 prime))`` are taken modulo the prime;
    those at or above the last full multiple of it are skipped.
    """
    return np.concatenate([_uniform_words(seed, prime, degree) for prime in primes])


def _uniform_words(seed: bytes, prime: int, degree: int) -> Words:
    expanded = hashlib.shake_128(frame(Context.UNIFORM_HALF, seed, prime.to_bytes(8, "big")))
    limit = np.uint64((1 << 64) // prime * prime)
    drawn = degree + _SPARE
    while True:
        raw = np.frombuffer(expanded.digest(8 * drawn), dtype="<u8").astype(np.uint64)
        kept = raw[raw < limit][:degree]
        if len(kept) == degree:
            return kept % np.uint64(prime)
        drawn *= 2


def keystream(key: bytes, length: int) -> bytes:
    """AES-256 in counter mode from zero, under a key that is used for this stream alone."""
    encryptor = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()
    return encryptor.update(bytes(length)) + encryptor.finalize()


def ternary(key: bytes, degree: int) -> Slots:
    """Coefficients uniform over -1, 0, 1: bytes of the stream below 255, modulo 3, minus 1."""
    drawn = degree + 256
    while True:
        raw = np.frombuffer(keystream(key, drawn), dtype=np.uint8)
        kept = raw[raw < 255][:degree]
        if len(kept) == degree:
            return kept.astype(np.int64) % 3 - 1
        drawn *= 2


def is_steady(coefficients: Slots) -> bool:
    """Whether the partial sums of a secret key are no larger, in the mean square, than they are on average.

    SEAL's roundings have a mean, so their noise is that mean times ``s * (1 + X + ... + X^(N-1))``, the same in every
    ciphertext of a key, and its square is in every product (specs/parameters.md, section 2).
    """
    sums = np.cumsum(coefficients)
    walk = 2 * sums - sums[-1]
    return 3 * int(walk @ walk) <= 2 * len(coefficients) ** 2


def small_errors(key: bytes, degree: int) -> Slots:
    """Coefficients of the centred binomial distribution: ones among 21 bits, minus ones among the next 21.

    One big-endian 64-bit word of the stream a coefficient; its lowest 42 bits are used.
    """
    raw = np.frombuffer(keystream(key, 8 * degree), dtype=">u8").astype(np.uint64)
    mask = np.uint64((1 << ERROR_BITS) - 1)
    plus: Slots = np.bitwise_count(raw & mask).astype(np.int64)
    minus: Slots = np.bitwise_count((raw >> np.uint64(ERROR_BITS)) & mask).astype(np.int64)
    return plus - minus
