"""Parameters of one search, planned from the profile: primes, levels, noise bounds and exact byte lengths.

Noise is tracked as the standard deviation, in bits, of the coefficients of ``m + t*e`` (the value that must stay
below half of the modulus). The rules are the average-case heuristics of BGV, each step rounded up; where a bound
must hold, ``TAIL_BITS`` standard deviations are taken. Source: specs/parameters.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import log2
from typing import Final

from crypto.contexts import Context, hash_fields
from crypto.errors import ImpossibleProfile
from crypto.hitsearch.packing import packed_length
from crypto.hitsearch.threshold import Centring, ThresholdPolynomial, centre, polynomial
from crypto.profiles import PLAINTEXT_MODULUS, SearchProfile

DEGREE: Final = 16384
SEED_BYTES: Final = 32
MAX_MODULUS_BITS: Final = 430  # 128-bit security at degree 16384 by the newer tables; SEAL itself allows 438
SPECIAL_BITS: Final = 60
MAX_DATA_BITS: Final = (
    56  # four bits below the special prime keep key-switching noise near the rounding noise
)
LAST_BITS: Final = 34  # the answer's only prime: the smallest friendly one
ERROR_STD: Final = 3.24  # SEAL's centred binomial distribution of 21 + 21 bits
GUARDED_LEVEL: Final = (
    3  # the answer's prime, the one that flooding fills, and the one that the guards' noise goes with
)
TAIL_BITS: Final = 3.2  # 9.2 standard deviations: 2^-40 for 2 * 16384 coefficients of 1,024 answers
FLOOD_UNIFORMS: Final = 4
FLOOD_DIGITS: Final = 3
MIN_FLOOD_BITS: Final = 36
SETTLED_BITS: Final = 1.0  # noise further above the floor is worth one more switch before flooding
# A probe may carry this many bits more noise than an honest one before the canary has spoiled every slot; all that the
# plan promises about the gallery holds up to there.
TOLERANCE_BITS: Final = 10.0
CANARY_BITS: Final = 7.0  # an honest probe's canary stays this far below the modulus (standard deviation)
SUM_RADIX: Final = 4  # rotations of one key that a step of the slot sum takes: 3 of them, for two doublings
# Both factors of a product carry the secret key, and SEAL's rounding has a mean, so the noise of one factor is a
# random walk over the key's coefficients: four standard deviations of that walk are two bits.
PRODUCT_MARGIN_BITS: Final = 2.0


def _sum_bits(*bits: float) -> float:
    """Standard deviation, in bits, of a sum of independent terms."""
    return 0.5 * log2(sum(4.0**b for b in bits))


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
        largest = _sum_bits(flood, canary) - log2(self.data_primes[1]) + log2(3.1)
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


def noise_floor_bits(degree: int) -> float:
    """Noise of a modulus switch or of a key switch: rounding of c0 and c1, the latter times a ternary secret.

    SEAL rounds to 0..t-1, not to a centred range: the mean square is t^2 / 3, and the means of several roundings add
    up linearly, which the stages below allow for wherever sums are taken.
    """
    return log2(PLAINTEXT_MODULUS) + 0.5 * log2((1 + 2 * degree / 3) / 3)


def uniform_plain_bits(degree: int) -> float:
    """Growth of noise by a product with a plaintext whose coefficients are uniform modulo t."""
    return log2(PLAINTEXT_MODULUS) - 0.5 * log2(12) + 0.5 * log2(degree)


def honest_probe_bits(degree: int) -> float:
    """Noise of an honest probe after re-randomisation: its own error, and a fresh encryption of zero."""
    error = log2(PLAINTEXT_MODULUS) + log2(ERROR_STD)
    return _sum_bits(error, error + 0.5 * log2(4 * degree / 3 + 1))


def _rotation_bits(degree: int) -> float:
    """Noise that one key switch adds."""
    # q_max / P costs MAX_DATA_BITS - SPECIAL_BITS bits; the digits of at most a dozen primes add up
    growth = 0.5 * log2(degree) + 0.5 * log2(12 / 3) + MAX_DATA_BITS - SPECIAL_BITS
    return _sum_bits(noise_floor_bits(degree), log2(PLAINTEXT_MODULUS) + log2(ERROR_STD) + growth)


def _product_bits(left: float, right: float, degree: int) -> float:
    """Noise of a relinearised product, before its switch."""
    return _sum_bits(left + right + 0.5 * log2(degree) + PRODUCT_MARGIN_BITS, _rotation_bits(degree))


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
    rotated = _sum_bits(query, _rotation_bits(degree) + log2(baby_steps))

    def product(a: float, b: float) -> float:
        return _product_bits(a, b, degree)

    left = floor
    stages: list[tuple[str, float, int, float]] = []

    def step(name: str, noise: float, *, drop: bool = True) -> float:
        if not drop:
            stages.append((name, noise, 0, noise))
            return noise
        need = noise - floor
        bits = int(min(max(need + 2, LAST_BITS + 3), MAX_DATA_BITS))
        after = _sum_bits(
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
    flood = _sum_bits(flood, LAST_BITS + second - 1 - CANARY_BITS)
    stages.append(("flooding", flood, second, _sum_bits(flood - (second - 1), floor)))
    drops = [bits for _, _, bits, _ in stages if bits]
    sizes = (LAST_BITS, *reversed(drops))
    level = len(sizes)
    # a short search leaves too few levels for the guards: they get theirs above it
    sizes += (LAST_BITS + 3,) * max(0, GUARDED_LEVEL + guard_depth(profile) - level)
    placed = []
    for name, noise, bits, after in stages:
        placed.append(Stage(name, level, noise, bits, after))
        level -= 1 if bits else 0
    _check_room(placed, sizes)
    return tuple(placed), sizes


def guard_depth(profile: SearchProfile) -> int:
    """Levels that the validity check takes: products of a probe's entries up to degree 2a + 1, and one to settle."""
    return 2 if profile.bound == 1 else 3 + profile.bound // 2


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
        after = _sum_bits(noise - (bits - 1), floor)
        stages.append(Stage(f"validity: {name}", at, noise, bits, after))
        return after

    squares = step("squares", _product_bits(probe, probe, degree), level)
    weighted = step("weights", probe + uniform_plain, level)
    linear = _sum_bits(squares + uniform_plain, probe - (sizes[level - 1] - 1) + uniform_plain)
    linear = step("repetition and norm", linear, level - 1)
    depth = 1
    if profile.bound % 2:
        weighted = step("first factor", _product_bits(weighted, squares, degree), level - 1)
        depth = 2
    if profile.bound >= 2:
        quadratic = step("fourth powers", _product_bits(squares, squares, degree), level - 1)
        quadratic = _sum_bits(quadratic, squares + log2(2 * profile.bound**2))
        depth = 2
        for number in range(1, profile.bound // 2):
            quadratic = step(
                f"factor {number + 1}", _product_bits(quadratic, quadratic, degree), level - depth
            )
            depth += 1
        weighted = step("range", _product_bits(weighted, quadratic, degree), level - depth)
        depth += 1
    passed = sum(sizes[guard_level : level - depth]) - (level - depth - guard_level)
    settled = _sum_bits(max(weighted, linear) - passed, floor)
    summed = settled + log2(degree) + 1  # roundings have a mean, so the sum's add linearly
    stages.append(Stage("validity: sum", guard_level, summed, 0, summed))
    step("randomised", summed + uniform_plain + 0.5, guard_level)
    _check_room(stages, sizes)
    return tuple(stages)


def _weight_bits(leaf: tuple[int, ...]) -> float:
    """Sum of the absolute values of a leaf's scalars, in bits; the constant term costs no noise."""
    return log2(1 + sum(min(c, PLAINTEXT_MODULUS - c) for c in leaf[1:]))


def _check_room(stages: list[Stage], sizes: tuple[int, ...]) -> None:
    for stage in stages:
        room = sum(sizes[: stage.level]) - stage.level - 1
        if stage.noise_bits + TAIL_BITS > room:
            raise ImpossibleProfile(
                f"after '{stage.name}' the noise may take {stage.noise_bits + TAIL_BITS:.1f} bits of {room}: "
                f"lower the norm, raise the threshold, or use fewer entries"
            )


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
        ImpossibleProfile: A size is not to be had, or the whole modulus is too large for 128-bit security.
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
    total = (special * _product(data)).bit_length()
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
    """The divisor of n near its square root, a power of two: 16 for n = 128 and n = 256."""
    return 1 << ((n.bit_length()) // 2)


def _product(values: tuple[int, ...]) -> int:
    result = 1
    for value in values:
        result *= value
    return result
