"""Parameters of one search, planned from the profile; all that both sides must agree on.

Source: specs/parameters.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import log2, prod
from typing import Final

from crypto.contexts import Context, hash_fields
from crypto.errors import ImpossibleProfile
from crypto.hitsearch.guard_stages import plan_guards
from crypto.hitsearch.noise import TAIL_BITS, honest_probe_bits, sum_bits, uniform_plain_bits
from crypto.hitsearch.packing import packed_length
from crypto.hitsearch.primes import choose_primes
from crypto.hitsearch.stages import (
    CANARY_BITS,
    FLOOD_DIGITS,
    FLOOD_UNIFORMS,
    GUARDED_LEVEL,
    TOLERANCE_BITS,
    Stage,
    plan_stages,
)
from crypto.hitsearch.threshold import Centring, ThresholdPolynomial, centre, polynomial
from crypto.profiles import PLAINTEXT_MODULUS, SearchProfile

DEGREE: Final = 16384
SEED_BYTES: Final = 32
MAX_MODULUS_BITS: Final = 430  # 128-bit security at degree 16384 by the newer tables; SEAL itself allows 438
MIN_FLOOD_BITS: Final = 36
SUM_RADIX: Final = 4  # rotations of one key that a step of the slot sum takes: 3 of them, for two doublings


@dataclass(frozen=True)
class Plan:
    """Everything both sides must agree on before a ciphertext makes sense.

    Build one with ``plan_for``; its ``identifier`` is part of every query.
    """

    profile: SearchProfile
    degree: int
    data_primes: tuple[int, ...]
    special_prime: int
    baby_steps: int
    stages: tuple[Stage, ...]
    guard_stages: tuple[Stage, ...]

    @property
    def secure(self) -> bool:
        """Always true here: SEAL is told to enforce 128-bit security."""
        return True

    @property
    def plain_modulus(self) -> int:
        """t, the modulus of a slot."""
        return PLAINTEXT_MODULUS

    @property
    def block_size(self) -> int:
        """Candidates in a block: one per slot."""
        return self.degree

    @property
    def levels(self) -> int:
        """Number of data primes at the top."""
        return len(self.data_primes)

    @property
    def giant_steps(self) -> int:
        """Partial sums of one block."""
        return self.profile.n // self.baby_steps

    @property
    def rotation_steps(self) -> tuple[int, ...]:
        """Row rotations at every level, for which the requester makes keys."""
        return tuple(sorted({1, self.baby_steps} - {self.profile.n}))

    @property
    def sum_steps(self) -> tuple[int, ...]:
        """Row rotations by which a value is summed over a whole row, ascending powers of ``SUM_RADIX``."""
        steps = [1]
        while steps[-1] * SUM_RADIX < self.degree // 2:
            steps.append(steps[-1] * SUM_RADIX)
        return tuple(steps)

    @property
    def guard_steps(self) -> tuple[int, ...]:
        """Row rotations that the slot sum needs beyond ``rotation_steps``; their keys work at ``guard_level``."""
        return tuple(step for step in self.sum_steps if step not in self.rotation_steps)

    @property
    def guard_level(self) -> int:
        """Data primes left where validity and canary join the answer: one above the flooding."""
        return GUARDED_LEVEL

    @property
    def search_level(self) -> int:
        """Data primes at which the scores are computed: the top, unless only the guards need it."""
        return self.stage("scores").level

    @property
    def canary_scale_bits(self) -> int:
        """log2 of the canary's secret scalar M0, rounded down."""
        modulus = sum(log2(q) for q in self.data_primes)
        spread = 2 * uniform_plain_bits(self.degree)
        return int(modulus - CANARY_BITS - log2(self.plain_modulus) - honest_probe_bits(self.degree) - spread)

    @cached_property
    def centring(self) -> Centring:
        """The affine map of scores."""
        return centre(self.profile)

    @cached_property
    def polynomial(self) -> ThresholdPolynomial:
        """The threshold polynomial in w."""
        return polynomial(self.centring.roots, self.plain_modulus)

    @property
    def query_bytes(self) -> int:
        """Exact length of an encrypted probe: c0 at the top level, and the seed of c1."""
        return self._words_bytes(self.data_primes) + SEED_BYTES

    @property
    def keys_bytes(self) -> int:
        """Exact length of a set of evaluation keys: a seed, and the first halves of all keys."""
        whole = self._words_bytes((*self.data_primes, self.special_prime))
        guard = self._words_bytes((*self.data_primes[: self.guard_level], self.special_prime))
        return (
            SEED_BYTES
            + self._words_bytes(self.data_primes)
            + whole * self.levels * (1 + len(self.rotation_steps))
            + guard * self.guard_level * (len(self.guard_steps) + 1)
        )

    @property
    def answer_block_bytes(self) -> int:
        """Exact length of the answer for one block: two ciphertexts, hits and tokens, at the last prime."""
        return 2 * self.answer_ciphertext_bytes

    @property
    def answer_ciphertext_bytes(self) -> int:
        """Exact length of one ciphertext of an answer: c0 and c1 at the last prime."""
        return 2 * self._words_bytes(self.data_primes[:1])

    @property
    def flood_range_bits(self) -> float:
        """log2 of the range of one of the four uniform flooding terms, times t."""
        return (FLOOD_DIGITS + 1) * log2(self.plain_modulus)

    @property
    def flood_ratio_bits(self) -> float:
        """log2 of flooding range over the bound of the noise that it hides."""
        return self.flood_range_bits - (self.stage("before flooding").left_bits + TAIL_BITS)

    @property
    def answer_budgets(self) -> range:
        """Noise budgets, in whole bits, that an honest answer can have when it is opened.

        Flooding and canary are by far the largest part of its noise, and the greatest of so many sums is always near
        three standard deviations; one bit is allowed on both sides. SEAL counts whole bits of modulus and of noise.
        """
        flood = (FLOOD_DIGITS + 1) * log2(self.plain_modulus) + 0.5 * log2(FLOOD_UNIFORMS / 12)
        canary = log2(self.data_primes[0]) + log2(self.data_primes[1]) - CANARY_BITS
        largest = sum_bits(flood, canary) - log2(self.data_primes[1]) + log2(3.1)
        expected = self.data_primes[0].bit_length() - (int(largest) + 1) - 1
        return range(max(1, expected - 1), expected + 2)

    def hiding_bits(self, answers: int) -> float:
        """-log2 of the statistical distance for a requester who receives that many block answers.

        The bound is ``sqrt(answers * degree) * noise / range``: average case, with the noise bound of the plan.
        """
        return self.flood_ratio_bits - 0.5 * log2(answers * self.degree)

    def stage(self, name: str) -> Stage:
        """The stage of that name."""
        return next(s for s in self.stages if s.name == name)

    @cached_property
    def identifier(self) -> bytes:
        """32 bytes that pin every parameter."""
        p = self.profile
        fuller = (p.gallery,) if p.gallery else ()  # what galleries no fuller than probes do not say
        numbers = (
            p.n,
            p.bound,
            p.norm,
            p.threshold,
            self.degree,
            self.plain_modulus,
            self.baby_steps,
            *fuller,
        )
        primes = (*self.data_primes, self.special_prime)
        drops = tuple(s.level * 100 + s.dropped_bits for s in self.stages)
        flooding = (FLOOD_UNIFORMS, FLOOD_DIGITS, int(TOLERANCE_BITS), int(CANARY_BITS), SUM_RADIX)
        groups = (numbers, primes, drops, flooding)
        return hash_fields(Context.PLAN, *(b"".join(v.to_bytes(8, "big") for v in group) for group in groups))

    def _words_bytes(self, primes: tuple[int, ...]) -> int:
        return sum(packed_length(self.degree, q.bit_length()) for q in primes)


@lru_cache(maxsize=64)
def plan_for(profile: SearchProfile) -> Plan:
    """Plan the encrypted search of a profile, with 128-bit security and full flooding.

    Raises:
        ImpossibleProfile: No parameters keep exactness, flooding and security together; the message says why.
    """
    scale = centre(profile).scale
    if 2 * scale * profile.norm >= PLAINTEXT_MODULUS:
        raise ImpossibleProfile(f"scores of norm {profile.norm} would wrap modulo {PLAINTEXT_MODULUS}")
    if scale * profile.bound > 127:
        raise ImpossibleProfile(f"an entry of {profile.bound}, times {scale}, does not fit a signed byte")
    baby = baby_steps_for(profile.n)
    stages, sizes = plan_stages(profile, DEGREE, baby)
    data, special = choose_primes(sizes, DEGREE)
    total = (special * prod(data)).bit_length()
    if total > MAX_MODULUS_BITS:
        raise ImpossibleProfile(
            f"a threshold polynomial of degree {profile.roots} needs a modulus of {total} bits; "
            f"128-bit security at degree {DEGREE} allows {MAX_MODULUS_BITS}: raise the threshold or lower the norm"
        )
    bits = tuple(q.bit_length() for q in data)
    guards = plan_guards(profile, DEGREE, bits)
    plan = Plan(profile, DEGREE, data, special, baby, stages, guards)
    if plan.flood_ratio_bits < MIN_FLOOD_BITS:
        raise ImpossibleProfile(
            f"flooding hides the noise by {plan.flood_ratio_bits:.1f} bits only, of {MIN_FLOOD_BITS} wanted"
        )
    return plan


def baby_steps_for(n: int) -> int:
    """Rotations of a probe that are computed once a query; twice as many leave half as many to each block."""
    return min(n // 2, 32)
