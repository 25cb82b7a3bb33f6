"""Templates and parameters for tests of the search.

``InsecurePlan`` is the only way to run the scheme below 128-bit security; it exists in tests alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from crypto.hitsearch import MaskStream, Plan, Requester, Responder
from crypto.hitsearch.guard_stages import plan_guards
from crypto.hitsearch.parameters import baby_steps_for
from crypto.hitsearch.primes import choose_primes
from crypto.hitsearch.stages import plan_stages
from crypto.profiles import SearchProfile

Templates = NDArray[np.int8]

EMBEDDING_128 = SearchProfile(128, 2, 127, 65)
TERNARY_128 = SearchProfile(128, 1, 64, 31)
EVEN_WIDTH = SearchProfile(32, 2, 40, 20)
SHORT = SearchProfile(16, 2, 17, 14)
ALMOST_EQUAL = SearchProfile(16, 3, 40, 39)


@dataclass(frozen=True)
class InsecurePlan(Plan):
    """The same search at a small degree: fast, and without any security."""

    @property
    def secure(self) -> bool:
        return False


@lru_cache
def insecure_plan(profile: SearchProfile, degree: int = 1024) -> InsecurePlan:
    """Plan a profile at a degree that protects nothing."""
    baby = baby_steps_for(profile.n)
    stages, sizes = plan_stages(profile, degree, baby)
    data, special = choose_primes(sizes, degree)
    bits = tuple(q.bit_length() for q in data)
    guards = plan_guards(profile, degree, bits)
    return InsecurePlan(profile, degree, data, special, baby, stages, guards)


@lru_cache
def parties(plan: Plan) -> tuple[Requester, Responder]:
    """One key set and its responder, shared by the tests of a run."""
    requester = Requester.generate(plan)
    return requester, Responder(plan, requester.evaluation_keys())


def random_templates(rng: np.random.Generator, profile: SearchProfile, count: int) -> Templates:
    """Well-formed templates without structure."""
    return np.stack([_random_template(rng, profile) for _ in range(count)])


def _random_template(rng: np.random.Generator, profile: SearchProfile) -> Templates:
    values = np.zeros(profile.n, dtype=np.int64)
    left = profile.norm
    while left:
        i = int(rng.integers(profile.n))
        cost = 2 * abs(int(values[i])) + 1
        if abs(values[i]) < profile.bound and cost <= left:
            values[i] += 1 if values[i] > 0 or (values[i] == 0 and rng.integers(2)) else -1
            left -= cost
        elif left < cost and not (np.abs(values) == 0).any():
            values[:], left = 0, profile.norm
    return values.astype(np.int8)


def at_score(
    rng: np.random.Generator, probe: Templates, profile: SearchProfile, wanted: int
) -> Templates | None:
    """A template whose score against the probe is exactly that, if a short search finds one.

    Signs of the probe's entries are turned, and zeros are traded for entries, so the sum of squares stays.
    """
    for _ in range(200):
        other = probe.astype(np.int64).copy()
        for i in rng.permutation(profile.n):
            gap = int(other @ probe) - wanted
            if gap == 0:
                return other.astype(np.int8)
            if 2 * int(probe[i]) ** 2 <= gap:
                other[i] = -other[i]
            elif gap == 1 and probe[i] and abs(probe[i]) == 1:
                spare = np.flatnonzero(other == 0)
                if len(spare):
                    other[spare[0]], other[i] = other[i], 0
        if int(other @ probe) == wanted:
            return other.astype(np.int8)
    return None


def empty_slots(plan: Plan) -> Templates:
    """A block in which nobody is enrolled: one entry of 1 per row."""
    block = np.zeros((plan.block_size, plan.profile.n), dtype=np.int8)
    rows = np.arange(plan.block_size)
    block[rows, rows % plan.profile.n] = 1
    return block


def stream(number: int = 0, block: int | None = 0, attempt: int = 1) -> MaskStream:
    """A fixed stream, of a block or (None) of a query: tests that look at statistics must repeat."""
    return MaskStream(number.to_bytes(32, "big"), b"exchange-of-test", block, attempt)


def decrypted(requester: Requester, responder: Responder, ciphertext: Any, level: int) -> NDArray[np.int64]:
    """The slots of a responder's own ciphertext, of whatever arithmetic."""
    bgv = requester._bgv
    words = responder._bgv.words_of(ciphertext, level)
    return bgv.decrypt(requester._secret, bgv.load_full(words, level))


def search(responder: Any, query: bytes, block: Templates, number: int = 0) -> bytes:
    """The answer of one block, with the randomness of that number."""
    prepared = responder.prepare(query, stream(number, None))
    return cast(bytes, responder.answer_once(prepared, block, stream(number)))


def scores(probe: Templates, block: Templates) -> NDArray[np.int64]:
    """The plain scores of a block."""
    return block.astype(np.int64) @ probe.astype(np.int64)
