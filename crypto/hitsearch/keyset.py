"""Evaluation keys as words: what crosses the wire, and how the responder reads it.

Source: specs/matching.md, section 6 (byte forms).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crypto.errors import BadCiphertext, BadEncoding, BadKeys
from crypto.hitsearch.packing import Words, pack_words, packed_length, unpack_words
from crypto.hitsearch.parameters import SEED_BYTES, Plan

SeededWords = tuple[Words, bytes]


@dataclass(frozen=True)
class KeySet:
    """A public key, a relinearisation key and rotation keys, each half as words and half as a seed."""

    public: SeededWords
    relin: list[SeededWords]
    rotations: dict[int, list[SeededWords]]

    def to_bytes(self, plan: Plan) -> bytes:
        """The exact form: public key, relinearisation digits, then each rotation in ascending order of its step."""
        primes = (*plan.data_primes, plan.special_prime)
        parts = [self.public, *self.relin]
        for step in plan.rotation_steps:
            parts += self.rotations[step]
        return b"".join(pack_seeded(part, primes, plan.degree) for part in parts)

    @classmethod
    def from_bytes(cls, data: bytes, plan: Plan) -> KeySet:
        """Read keys of exactly the plan's length.

        Raises:
            BadKeys: Wrong length, or a word that is not below its prime.
        """
        if len(data) != plan.keys_bytes:
            raise BadKeys(f"evaluation keys of this profile have {plan.keys_bytes} bytes, not {len(data)}")
        primes = (*plan.data_primes, plan.special_prime)
        one = plan.keys_bytes // (1 + plan.levels * (1 + len(plan.rotation_steps)))
        view = memoryview(data)
        try:
            parts = [
                unpack_seeded(bytes(view[i : i + one]), primes, plan.degree) for i in range(0, len(data), one)
            ]
        except BadEncoding as problem:
            raise BadKeys(f"evaluation keys: {problem}") from None
        levels = plan.levels
        rotations = {
            step: parts[1 + levels * (i + 1) : 1 + levels * (i + 2)]
            for i, step in enumerate(plan.rotation_steps)
        }
        return cls(parts[0], parts[1 : 1 + levels], rotations)


def pack_seeded(part: SeededWords, primes: tuple[int, ...], degree: int) -> bytes:
    """Words of each prime at that prime's width, then the seed."""
    words, seed = part
    packed = [pack_words(words[i * degree : (i + 1) * degree], q.bit_length()) for i, q in enumerate(primes)]
    return b"".join(packed) + seed


def unpack_seeded(data: bytes, primes: tuple[int, ...], degree: int) -> SeededWords:
    """Reverse of ``pack_seeded``.

    Raises:
        BadEncoding: Wrong length or a word out of range.
    """
    return unpack_polynomial(data[:-SEED_BYTES], primes, degree), data[-SEED_BYTES:]


def unpack_polynomial(data: bytes, primes: tuple[int, ...], degree: int) -> Words:
    """Words of one polynomial, prime by prime."""
    words = []
    offset = 0
    for prime in primes:
        end = offset + packed_length(degree, prime.bit_length())
        words.append(unpack_words(data[offset:end], degree, prime.bit_length(), prime))
        offset = end
    if offset != len(data):
        raise BadEncoding(f"{len(data) - offset} bytes too many")
    return np.concatenate(words)


def unpack_query(data: bytes, plan: Plan) -> SeededWords:
    """Read an encrypted probe of exactly the plan's length.

    Raises:
        BadCiphertext: Wrong length, or a word that is not below its prime.
    """
    if len(data) != plan.query_bytes:
        raise BadCiphertext(
            f"an encrypted probe of this profile has {plan.query_bytes} bytes, not {len(data)}"
        )
    try:
        return unpack_seeded(data, plan.data_primes, plan.degree)
    except BadEncoding as problem:
        raise BadCiphertext(f"encrypted probe: {problem}") from None


def unpack_answer(data: bytes, plan: Plan) -> Words:
    """Read the answer for one block: c0 and c1 at the last prime.

    Raises:
        BadCiphertext: Wrong length, or a word that is not below the prime.
    """
    if len(data) != plan.answer_block_bytes:
        raise BadCiphertext(
            f"an answer block of this profile has {plan.answer_block_bytes} bytes, not {len(data)}"
        )
    primes = (plan.data_primes[0], plan.data_primes[0])
    try:
        return unpack_polynomial(data, primes, plan.degree)
    except BadEncoding as problem:
        raise BadCiphertext(f"answer block: {problem}") from None


def pack_answer(words: Words, plan: Plan) -> bytes:
    """The exact form of the answer for one block."""
    return pack_words(words, plan.data_primes[0].bit_length())
