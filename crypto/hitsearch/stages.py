"""The noise of a search after each of its steps, and the primes that its modulus switches drop.

Source: specs/parameters.md, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log2
from typing import Final

from crypto.errors import ImpossibleProfile
from crypto.hitsearch.noise import (
    MAX_DATA_BITS,
    TAIL_BITS,
    honest_probe_bits,
    noise_floor_bits,
    product_bits,
    rotation_bits,
    sum_bits,
    uniform_plain_bits,
)
from crypto.hitsearch.threshold import centre, polynomial
from crypto.profiles import PLAINTEXT_MODULUS, SearchProfile

LAST_BITS: Final = 34  # the answer's only prime: the smallest friendly one
# The answer's prime, the one that flooding fills, and the one that the guards' noise goes with.
GUARDED_LEVEL: Final = 3
FLOOD_UNIFORMS: Final = 4
FLOOD_DIGITS: Final = 3
SETTLED_BITS: Final = 1.0  # noise further above the floor is worth one more switch before flooding
# A probe may carry this many bits more noise than an honest one before the canary has spoiled every slot; all that the
# plan promises about the gallery holds up to there.
TOLERANCE_BITS: Final = 10.0
CANARY_BITS: Final = 7.0  # an honest probe's canary stays this far below the modulus (standard deviation)


@dataclass(frozen=True)
class Stage:
    """One step of the search: the noise after it, and the prime that is dropped then (0: none).

    Attributes:
        name: As in the benchmark's table and in specs/parameters.md.
        level: Number of data primes while the step runs.
        noise_bits: Standard deviation after the step, before the drop.
        dropped_bits: Size of the prime that the following modulus switch divides by.
        left_bits: Standard deviation after the switch.
    """

    name: str
    level: int
    noise_bits: float
    dropped_bits: int
    left_bits: float


def plan_stages(
    profile: SearchProfile, degree: int, baby_steps: int
) -> tuple[tuple[Stage, ...], tuple[int, ...]]:
    """Simulate the noise of every step; choose the prime that each modulus switch drops.

    Returns:
        The stages in order, and the bit sizes of the data primes from the last (kept) to the first (dropped).

    Raises:
        ImpossibleProfile: Even the largest primes leave too much noise for the last steps.
    """
    t_bits = log2(PLAINTEXT_MODULUS)
    floor = noise_floor_bits(degree)
    leaves = polynomial(centre(profile).roots, PLAINTEXT_MODULUS).leaves
    tree = len(leaves).bit_length() - 1
    uniform_plain = uniform_plain_bits(degree)
    query = honest_probe_bits(degree) + TOLERANCE_BITS
    rotated = sum_bits(query, rotation_bits(degree) + log2(baby_steps))

    def product(a: float, b: float) -> float:
        return product_bits(a, b, degree)

    left = floor
    stages: list[tuple[str, float, int, float]] = []

    def step(name: str, noise: float, *, drop: bool = True) -> float:
        if not drop:
            stages.append((name, noise, 0, noise))
            return noise
        need = noise - floor
        bits = int(min(max(need + 2, LAST_BITS + 3), MAX_DATA_BITS))
        after = sum_bits(
            noise - (bits - 1), floor
        )  # the smallest prime of that size is just above 2^(bits - 1)
        stages.append((name, noise, bits, after))
        return after

    left = step("scores", rotated + uniform_plain + 0.5 * log2(profile.n))
    left = step("square", product(left, left))
    powers = left
    highest = max(len(leaf) for leaf in leaves)
    if highest >= 2:
        powers = step("powers to w^2", product(powers, powers))
    if highest >= 3:
        powers = step("powers to w^4", product(powers, powers))
    plain_leaf = powers + max(_weight_bits(leaf) for leaf in leaves)
    masked_leaf = powers + uniform_plain + 0.5 * log2(highest)
    left = step("leaves", max(plain_leaf, masked_leaf), drop=tree == 0)
    for depth in range(tree):
        noise = product(masked_leaf, plain_leaf) if depth == 0 else product(left, left)
        left = step(f"tree {depth + 1}", noise)
    if left > floor + SETTLED_BITS:
        left = step("settle", left)
    flooded = 1 + max(left, floor)
    stages.append(("before flooding", flooded, 0, flooded))
    flood = (FLOOD_DIGITS + 1) * t_bits + 0.5 * log2(FLOOD_UNIFORMS / 12)
    second = int(flood + TAIL_BITS) + 4 - LAST_BITS
    # an honest probe's canary, relative to the modulus of that level, is part of the answer's noise
    flood = sum_bits(flood, LAST_BITS + second - 1 - CANARY_BITS)
    stages.append(("flooding", flood, second, sum_bits(flood - (second - 1), floor)))
    drops = [bits for _, _, bits, _ in stages if bits]
    sizes = (LAST_BITS, *reversed(drops))
    level = len(sizes)
    # a short search leaves too few levels for the guards: they get theirs above it
    sizes += (LAST_BITS + 3,) * max(0, GUARDED_LEVEL + guard_depth(profile) - level)
    placed = []
    for name, noise, bits, after in stages:
        placed.append(Stage(name, level, noise, bits, after))
        level -= 1 if bits else 0
    check_room(placed, sizes)
    return tuple(placed), sizes


def guard_depth(profile: SearchProfile) -> int:
    """Levels that the validity check takes: products of a probe's entries up to degree 2a + 1, and one to settle."""
    return 2 if profile.bound == 1 else 3 + profile.bound // 2


def _weight_bits(leaf: tuple[int, ...]) -> float:
    """Sum of the absolute values of a leaf's scalars, in bits; the constant term costs no noise."""
    return log2(1 + sum(min(c, PLAINTEXT_MODULUS - c) for c in leaf[1:]))


def check_room(stages: list[Stage], sizes: tuple[int, ...]) -> None:
    for stage in stages:
        room = sum(sizes[: stage.level]) - stage.level - 1
        if stage.noise_bits + TAIL_BITS > room:
            raise ImpossibleProfile(
                f"after '{stage.name}' the noise may take {stage.noise_bits + TAIL_BITS:.1f} bits of {room}: "
                f"lower the norm, raise the threshold, or use fewer entries"
            )
