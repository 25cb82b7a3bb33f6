"""Evaluation keys as words: what crosses the wire, and how the responder reads it.

Source: specs/matching.md, section 6 (byte forms).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from crypto.contexts import Context, hash_fields
from crypto.errors import BadCiphertext, BadEncoding, BadKeys
from crypto.hitsearch.packing import Words, pack_words, packed_length, unpack_words
from crypto.hitsearch.parameters import SEED_BYTES, Plan
from crypto.hitsearch.sampling import uniform_polynomial

PUBLIC = b"public"


@dataclass(frozen=True)
class KeyPart:
    """One polynomial pair of a key set: its label, and the primes at which its words exist."""

    label: bytes
    digit: int
    primes: tuple[int, ...]


@dataclass(frozen=True)
class KeyName:
    """One key: what it switches from, and where it works.

    Attributes:
        element: The automorphism's Galois element; 0 for the relinearisation key.
        levels: Data primes at which the key works; its digits are as many.
    """

    element: int
    levels: int

    def parts(self, plan: Plan) -> list[KeyPart]:
        """Its digits, in the order of the primes."""
        primes = (*plan.data_primes[: self.levels], plan.special_prime)
        return [KeyPart(b"%d/%d" % (self.element, digit), digit, primes) for digit in range(self.levels)]


def rotation_element(steps: int, degree: int) -> int:
    """The Galois element of a rotation of both rows to the left."""
    return pow(3, steps, 2 * degree)


def exchange_element(degree: int) -> int:
    """The Galois element that exchanges the rows."""
    return 2 * degree - 1


def key_names(plan: Plan) -> list[KeyName]:
    """All keys in the order of the byte form: relinearisation, rotations, those of the slot sum, exchange of rows."""
    rotations = [KeyName(rotation_element(s, plan.degree), plan.levels) for s in plan.rotation_steps]
    sums = [KeyName(rotation_element(s, plan.degree), plan.guard_level) for s in plan.guard_steps]
    exchange = KeyName(exchange_element(plan.degree), plan.guard_level)
    return [KeyName(0, plan.levels), *rotations, *sums, exchange]


def uniform_half(seed: bytes, part: KeyPart, degree: int) -> Words:
    """The second half of a part, which nobody chooses: it expands from the seed of the set and the part's label."""
    return uniform_polynomial(hash_fields(Context.UNIFORM_HALF, seed, part.label), part.primes, degree)


def public_part(plan: Plan) -> KeyPart:
    """The public key: an encryption of zero at the data primes."""
    return KeyPart(PUBLIC, 0, plan.data_primes)


@dataclass(frozen=True)
class KeySet:
    """First halves of all parts, and the seed of the second halves.

    Attributes:
        seed: 32 public bytes.
        public: Words of the public key's first half, at the data primes.
        switching: For each key in the order of ``key_names``, the words of its digits' first halves.
    """

    seed: bytes
    public: Words
    switching: list[list[Words]]

    def to_bytes(self, plan: Plan) -> bytes:
        """The exact form, ``plan.keys_bytes`` long."""
        packed = [self.seed, pack_polynomial(self.public, plan.data_primes, plan.degree)]
        for name, digits in zip(key_names(plan), self.switching, strict=True):
            for part, words in zip(name.parts(plan), digits, strict=True):
                packed.append(pack_polynomial(words, part.primes, plan.degree))
        return b"".join(packed)

    @classmethod
    def from_bytes(cls, data: bytes, plan: Plan) -> KeySet:
        """Read keys of exactly the plan's length.

        Raises:
            BadKeys: Wrong length, or a word that is not below its prime.
        """
        if len(data) != plan.keys_bytes:
            raise BadKeys(f"evaluation keys of this profile have {plan.keys_bytes} bytes, not {len(data)}")
        view = memoryview(data)
        offset = SEED_BYTES

        def read(primes: tuple[int, ...]) -> Words:
            nonlocal offset
            length = sum(packed_length(plan.degree, q.bit_length()) for q in primes)
            offset += length
            return unpack_polynomial(bytes(view[offset - length : offset]), primes, plan.degree)

        try:
            public = read(plan.data_primes)
            switching = [[read(part.primes) for part in name.parts(plan)] for name in key_names(plan)]
        except BadEncoding as problem:
            raise BadKeys(f"evaluation keys: {problem}") from None
        return cls(bytes(view[:SEED_BYTES]), public, switching)

    def pairs(self, plan: Plan) -> Iterator[tuple[KeyName, list[Words]]]:
        """Each key with the words of both halves of its digits."""
        for name, digits in zip(key_names(plan), self.switching, strict=True):
            parts = name.parts(plan)
            yield (
                name,
                [
                    np.concatenate([words, uniform_half(self.seed, part, plan.degree)])
                    for part, words in zip(parts, digits, strict=True)
                ],
            )


def restrict(digits: list[Words], plan: Plan, levels: int) -> list[Words]:
    """The digits of a key of the top level, cut to what works at fewer primes."""
    kept = [*range(levels), plan.levels]
    places = np.concatenate([np.arange(plan.degree) + i * plan.degree for i in kept])
    half = (plan.levels + 1) * plan.degree
    return [words[np.concatenate([places, places + half])] for words in digits[:levels]]


def pack_polynomial(words: Words, primes: tuple[int, ...], degree: int) -> bytes:
    """Words of each prime at that prime's width."""
    rows = words.reshape(len(primes), degree)
    return b"".join(pack_words(row, q.bit_length()) for row, q in zip(rows, primes, strict=True))


def unpack_polynomial(data: bytes, primes: tuple[int, ...], degree: int) -> Words:
    """Words of one polynomial, prime by prime.

    Raises:
        BadEncoding: Wrong length or a word out of range.
    """
    words = []
    offset = 0
    for prime in primes:
        end = offset + packed_length(degree, prime.bit_length())
        words.append(unpack_words(data[offset:end], degree, prime.bit_length(), prime))
        offset = end
    if offset != len(data):
        raise BadEncoding(f"{len(data) - offset} bytes too many")
    return np.concatenate(words)


def query_part(plan: Plan) -> KeyPart:
    """An encrypted probe has the form of a public key."""
    return KeyPart(b"query", 0, plan.data_primes)


def unpack_query(data: bytes, plan: Plan) -> Words:
    """Read an encrypted probe of exactly the plan's length: the words of both halves.

    Raises:
        BadCiphertext: Wrong length, or a word that is not below its prime.
    """
    if len(data) != plan.query_bytes:
        raise BadCiphertext(
            f"an encrypted probe of this profile has {plan.query_bytes} bytes, not {len(data)}"
        )
    try:
        first = unpack_polynomial(data[SEED_BYTES:], plan.data_primes, plan.degree)
    except BadEncoding as problem:
        raise BadCiphertext(f"encrypted probe: {problem}") from None
    return np.concatenate([first, uniform_half(data[:SEED_BYTES], query_part(plan), plan.degree)])


def unpack_answer(data: bytes, plan: Plan) -> tuple[Words, Words]:
    """Read the answer for one block: c0 and c1 at the last prime, of the hits and of the tokens.

    Raises:
        BadCiphertext: Wrong length, or a word that is not below the prime.
    """
    if len(data) != plan.answer_block_bytes:
        raise BadCiphertext(
            f"an answer block of this profile has {plan.answer_block_bytes} bytes, not {len(data)}"
        )
    primes = (plan.data_primes[0], plan.data_primes[0])
    half = plan.answer_ciphertext_bytes
    try:
        hits, tokens = (unpack_polynomial(data[at : at + half], primes, plan.degree) for at in (0, half))
    except BadEncoding as problem:
        raise BadCiphertext(f"answer block: {problem}") from None
    return hits, tokens


def pack_answer(hits: Words, tokens: Words, plan: Plan) -> bytes:
    """The exact form of the answer for one block."""
    bits = plan.data_primes[0].bit_length()
    return pack_words(hits, bits) + pack_words(tokens, bits)
