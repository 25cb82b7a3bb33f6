"""The kernel gives SEAL's words, with the operations of this processor and with the portable ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from operator import mul
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from searching import EMBEDDING_128, EVEN_WIDTH, SHORT, insecure_plan, parties, random_templates

from crypto.hitsearch import Plan
from crypto.hitsearch import kernel_library as native
from crypto.hitsearch.kernel import Kernel, drops
from crypto.hitsearch.kernel_sums import BlockSums
from crypto.hitsearch.keyset import KeySet, rotation_element
from crypto.hitsearch.packing import Words, diagonals
from crypto.hitsearch.parameters import plan_for
from crypto.hitsearch.primes import friendly_primes
from crypto.hitsearch.seal import Bgv

pytestmark = pytest.mark.skipif(not native.built(), reason="there is no C compiler on this machine")

PLANS = [insecure_plan(EVEN_WIDTH), insecure_plan(SHORT), insecure_plan(EVEN_WIDTH, 2048)]
SMALL = PLANS[0]
NAMES = ["1024", "1024, fewer primes for the search", "2048"]


@pytest.fixture(params=[True, False], ids=["of this processor", "portable"], autouse=True)
def operations(request: pytest.FixtureRequest) -> Iterator[None]:
    native.choose(best=request.param)
    yield
    native.choose(best=True)


def uniform(rng: np.random.Generator, primes: tuple[int, ...], degree: int) -> Words:
    return np.concatenate([rng.integers(0, q, degree, dtype=np.uint64) for q in primes])


def extreme(primes: tuple[int, ...], degree: int) -> Words:
    """Words at both ends of their range."""
    ends = np.arange(degree) % 2 == 0
    return np.concatenate([np.where(ends, np.uint64(0), np.uint64(q - 1)) for q in primes])


def ciphertexts(plan: Plan, primes: tuple[int, ...]) -> list[Words]:
    rng = np.random.default_rng(5)
    return [uniform(rng, primes * 2, plan.degree), extreme(primes * 2, plan.degree)]


@pytest.mark.parametrize("plan", PLANS, ids=NAMES)
def test_transforms_are_those_of_seal(plan: Plan) -> None:
    kernel, bgv = Kernel(plan), Bgv(plan)
    rng = np.random.default_rng(1)
    half = plan.plain_modulus // 2
    for values in (rng.integers(-half, half + 1, plan.degree), np.resize([half, -half], plan.degree)):
        wanted = bgv.ntt_words(values)
        assert np.array_equal(kernel.transform(values, len(kernel.primes)), wanted)
        slots = values % plan.plain_modulus
        assert np.array_equal(kernel.slots_transform(slots, len(kernel.primes)), bgv.slots_ntt_words(slots))


def test_transforms_are_those_of_seal_at_full_size() -> None:
    plan = plan_for(EMBEDDING_128)
    values = np.random.default_rng(2).integers(-32768, 32769, plan.degree)
    assert np.array_equal(Kernel(plan).transform(values, plan.levels + 1), Bgv(plan).ntt_words(values))


@given(st.data())
def test_a_transform_evaluates_at_the_roots(data: st.DataObject) -> None:
    """By Python's integers, from the definition: word i is the value at root^(2 reverse(i) + 1)."""
    degree, bits = 64, data.draw(st.sampled_from([34, 41, 49, 50, 51, 56, 60]))
    prime = friendly_primes(bits, 16384)[0]
    word = st.one_of(st.sampled_from([0, 1, prime - 1, prime // 2]), st.integers(0, prime - 1))
    values = np.array(data.draw(st.lists(word, min_size=degree, max_size=degree)), dtype=np.uint64)
    row = native.prime_row(prime, degree)
    words = values.copy()
    native.library().concordat_forward(row.ctypes.data, words.ctypes.data)
    generator = next(g for g in range(2, 99) if pow(g, (prime - 1) // 2, prime) == prime - 1)
    some = pow(generator, (prime - 1) // (2 * degree), prime)
    root = min(pow(some, k, prime) for k in range(1, 2 * degree, 2))
    for i in (0, 1, 2, 31, degree - 1):
        x = pow(root, 2 * int(f"{i:06b}"[::-1], 2) + 1, prime)
        assert int(words[i]) == sum(int(v) * pow(x, j, prime) for j, v in enumerate(values)) % prime
    native.library().concordat_inverse(row.ctypes.data, words.ctypes.data)
    assert np.array_equal(words, values)


@pytest.mark.parametrize("plan", PLANS, ids=NAMES)
def test_encoded_diagonals_are_those_of_seal(plan: Plan) -> None:
    bgv, rng = Bgv(plan), np.random.default_rng(3)
    block = random_templates(rng, plan.profile, 20)[rng.integers(0, 20, plan.block_size)]
    encoded = BlockSums(Kernel(plan)).encode(block)
    assert encoded.nbytes == plan.search_level * 8 * plan.profile.n * plan.degree
    for giant, baby, values in diagonals(block, plan.baby_steps, plan.centring.scale):
        words = bgv.slots_ntt_words(values).reshape(-1, plan.degree)[: plan.search_level]
        assert np.array_equal(encoded[:, :, giant, baby].reshape(words.shape), words)


@pytest.mark.parametrize("plan", PLANS[:2], ids=NAMES[:2])
def test_rotations_are_those_of_seal(plan: Plan) -> None:
    """On the same key, word for word, for uniform words and for those at the ends of their ranges."""
    requester, _ = parties(plan)
    keys = dict(KeySet.from_bytes(requester.evaluation_keys(), plan).pairs(plan))
    whole = {name.element: digits for name, digits in keys.items() if name.levels == plan.levels}
    relinearisation = whole.pop(0)
    assert relinearisation
    kernel, bgv, level = Kernel(plan), Bgv(plan), plan.search_level
    galois = bgv.load_galois_keys(whole)
    for steps in plan.rotation_steps:
        element = rotation_element(steps, plan.degree)
        key = kernel.galois_key(whole[element], element)
        first, second = ciphertexts(plan, plan.data_primes[:level])
        for words, other in ((first, second), (second, first)):
            rotated = bgv.rotate(bgv.load_full(words, level), steps, galois)
            assert np.array_equal(
                kernel.rotate(shaped(words, plan), key).ravel(), bgv.words_of(rotated, level)
            )
            total = bgv.words_of(bgv.add(rotated, bgv.load_full(other, level)), level)
            assert np.array_equal(kernel.rotate(shaped(words, plan), key, shaped(other, plan)).ravel(), total)


def shaped(words: Words, plan: Plan) -> Words:
    return words.reshape(2, plan.search_level, plan.degree)


@pytest.mark.parametrize("plan", PLANS, ids=NAMES)
def test_dropped_primes_are_dropped_as_by_seal(plan: Plan) -> None:
    kernel, bgv, level = Kernel(plan), Bgv(plan), plan.search_level
    for words in ciphertexts(plan, plan.data_primes[:level]):
        dropped = bgv.drop_to(bgv.load_full(words, level), level - 1)
        assert np.array_equal(kernel.drop(shaped(words, plan)).ravel(), bgv.words_of(dropped, level - 1))


@pytest.mark.parametrize("babies", [8, 32])
def test_sums_are_exact_with_the_largest_words(babies: int) -> None:
    """By Python's integers: the largest words, those whose lower 30 bits are all ones, and random ones."""
    plan = replace(SMALL, baby_steps=babies)
    kernel = BlockSums(Kernel(plan))
    primes = np.array(plan.data_primes[: kernel.level], dtype=np.uint64)[:, None, None, None, None]
    shape = (kernel.level, plan.degree // 8, 2, babies, 8)
    largest = primes - np.uint64(1)
    ones = (largest >> np.uint64(30)) * np.uint64(1 << 30) - np.uint64(1)
    rng = np.random.default_rng(4)
    some = [rng.integers(0, primes, one, dtype=np.uint64) for one in (kernel.block_shape, shape)]
    whole = [np.broadcast_to(words, kernel.block_shape).copy() for words in (largest, ones)]
    probes = [np.broadcast_to(words, shape).copy() for words in (largest, ones)] + some[1:]
    for block in (*whole, some[0]):
        for rotations, sums in zip(probes, kernel.sums(probes, block), strict=True):
            for prime, q in enumerate(plan.data_primes[: kernel.level]):
                words, factors = block[prime, 3, -1, :, 5].tolist(), rotations[prime, 3, 1, :, 5].tolist()
                assert int(sums[-1, 1, prime, 29]) == sum(map(mul, words, factors)) % q


def test_only_exact_shapes_reach_the_kernel() -> None:
    kernel = BlockSums(Kernel(SMALL))
    block = np.zeros(kernel.block_shape, dtype=np.uint64)
    with pytest.raises(ValueError, match="shape"):
        kernel.sums([np.zeros(7, dtype=np.uint64)], block)
    with pytest.raises(ValueError, match="shape"):
        kernel.sums([], block[:-1])
    with pytest.raises(ValueError, match="shape"):
        kernel.sums([], block[:, ::-1])
    with pytest.raises(ValueError, match="shape"):
        kernel.encode(np.ones((SMALL.degree, 31), dtype=np.int8))
    words = (2, kernel.level, SMALL.degree)
    for probe in (np.zeros(words, dtype=np.uint32), np.zeros(words), np.zeros(words, dtype=">u8")):
        with pytest.raises(ValueError, match="shape"):
            kernel.rotations(probe, None)
    odd = np.frombuffer(bytearray(block.nbytes + 1), np.uint64, block.size, 1).reshape(block.shape)
    with pytest.raises(ValueError, match="aligned"):
        kernel.sums([], odd)
    block.flags.writeable = False
    with pytest.raises(ValueError, match="writes"):
        kernel.encode(np.ones((SMALL.degree, SMALL.profile.n), dtype=np.int8), block)
    with pytest.raises(ValueError, match="1 modulo t"):
        drops(97, (193,), 65537)
    with pytest.raises(ValueError, match="primes"):
        Kernel(SMALL).transform(np.zeros(SMALL.degree, dtype=np.int64), SMALL.levels + 2)


def test_a_library_of_other_sources_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert native.loaded(native.LIBRARY) is not None
    monkeypatch.setattr(native, "source_digest", lambda: "other")
    assert native.loaded(native.LIBRARY) is None
    assert native.loaded(tmp_path / "none.so") is None
