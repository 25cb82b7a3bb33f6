"""The noise of the validity check after each of its steps.

Source: specs/parameters.md, section 3.
"""

from __future__ import annotations

from math import log2

from crypto.hitsearch.noise import (
    honest_probe_bits,
    noise_floor_bits,
    product_bits,
    sum_bits,
    uniform_plain_bits,
)
from crypto.hitsearch.stages import GUARDED_LEVEL, TOLERANCE_BITS, Stage, check_room
from crypto.profiles import SearchProfile


def plan_guards(profile: SearchProfile, degree: int, sizes: tuple[int, ...]) -> tuple[Stage, ...]:
    """Simulate the noise of the validity check, for the noisiest probe that passes the canary.

    Args:
        profile: Whose bound fixes the polynomial.
        degree: N.
        sizes: Bits of the data primes, the last kept first.

    Raises:
        ImpossibleProfile: The noise leaves no room.
    """
    floor = noise_floor_bits(degree)
    uniform_plain = uniform_plain_bits(degree)
    probe = honest_probe_bits(degree) + TOLERANCE_BITS
    level, guard_level = len(sizes), GUARDED_LEVEL
    stages: list[Stage] = []

    def step(name: str, noise: float, at: int) -> float:
        bits = sizes[at - 1]
        after = sum_bits(noise - (bits - 1), floor)
        stages.append(Stage(f"validity: {name}", at, noise, bits, after))
        return after

    squares = step("squares", product_bits(probe, probe, degree), level)
    weighted = step("weights", probe + uniform_plain, level)
    linear = sum_bits(squares + uniform_plain, probe - (sizes[level - 1] - 1) + uniform_plain)
    linear = step("repetition and norm", linear, level - 1)
    depth = 1
    if profile.bound % 2:
        weighted = step("first factor", product_bits(weighted, squares, degree), level - 1)
        depth = 2
    if profile.bound >= 2:
        quadratic = step("fourth powers", product_bits(squares, squares, degree), level - 1)
        quadratic = sum_bits(quadratic, squares + log2(2 * profile.bound**2))
        depth = 2
        for number in range(1, profile.bound // 2):
            quadratic = step(
                f"factor {number + 1}", product_bits(quadratic, quadratic, degree), level - depth
            )
            depth += 1
        weighted = step("range", product_bits(weighted, quadratic, degree), level - depth)
        depth += 1
    passed = sum(sizes[guard_level : level - depth]) - (level - depth - guard_level)
    settled = sum_bits(max(weighted, linear) - passed, floor)
    summed = settled + log2(degree) + 1  # roundings have a mean, so the sum's add linearly
    stages.append(Stage("validity: sum", guard_level, summed, 0, summed))
    step("randomised", summed + uniform_plain + 0.5, guard_level)
    check_room(stages, sizes)
    return tuple(stages)
