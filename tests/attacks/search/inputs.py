"""Attacks with forged keys, with noise, and with bytes: what re-randomising, the canary and byte forms are for."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np
import zstandard
from adversary import Adversary, Numbers, accepted, scores_of
from probes import one_coordinate
from scene import Attack, Outcome, Run, Scene, reading
from searching import Templates, search, stream
from undefended import (
    KnownCanary,
    NoCanary,
    NoRerandomising,
    SealFiles,
    Undefended,
    known_scalar,
)

from crypto.errors import BadCiphertext
from crypto.hitsearch import Responder
from crypto.hitsearch.containers import ciphertext_body, container
from crypto.hitsearch.keyset import KeySet, unpack_query
from crypto.hitsearch.modular import add, multiply
from crypto.hitsearch.packing import Slots, Words

Measure = Callable[[bytes], list[float]]


def square_of(probe: Slots, scene: Scene) -> Slots:
    """Squares that pass both checks: 1 where the probe is not zero, and what is missing at one place where it is.

    The range of an entry is p (p^2 - 1) (p^2 - 4) ...: where p is zero, its square may be anything.
    """
    profile = scene.plan.profile
    shown = np.where(probe != 0, 1, 0)
    spare = int(np.flatnonzero(probe[: profile.n] == 0)[0])
    shown[spare :: profile.n] = profile.norm - int(shown[: profile.n].sum())
    return shown


def forged_keys(adversary: Adversary, query: bytes, delta: Slots) -> bytes:
    """Keys under which the square of one query, at the top level, comes out larger by delta.

    Relinearisation multiplies the residues of c1^2 at each prime by one digit of the key. Whoever knows c1 knows
    those residues. The digit of the top prime serves products at the top level only: P delta / residues is added.
    """
    plan = adversary.plan
    keys = KeySet.from_bytes(adversary.evaluation_keys(), plan)
    top = plan.levels - 1
    second = unpack_query(query, plan).reshape(2, plan.levels, plan.degree)[1, top]
    square = multiply(second, second, plan.data_primes[top])
    residues = adversary.transforms[top].coefficients(square)
    wanted = adversary._bgv.slots_ntt_words(delta).reshape(-1, plan.degree)
    digit = keys.switching[0][top].reshape(-1, plan.degree).copy()
    for place, q in enumerate(plan.data_primes):
        scaled = multiply(wanted[place], plan.special_prime % q, q)
        known = adversary.transforms[place].words(residues % np.uint64(q))
        digit[place] = add(digit[place], multiply(scaled, inverses(known, q), q), q)
    keys.switching[0][top] = digit.reshape(-1)
    return keys.to_bytes(plan)


def inverses(words: Words, prime: int) -> Words:
    return np.array([pow(int(w), -1, prime) if w else 0 for w in words], dtype=np.uint64)


def forged_digit(scene: Scene, responder: Responder) -> Outcome:
    """A probe that reads a coordinate, and keys that make its squares look like a template's."""
    slots = one_coordinate(scene)
    t = scene.plan.plain_modulus
    query = scene.adversary.encrypt_slots(slots, bytes(32))
    delta = (square_of(slots, scene) - slots * slots) % t
    victim = Responder(scene.plan, forged_keys(scene.adversary, query, delta))
    if isinstance(responder, Undefended):
        victim = type(responder).of(victim)
    return scene.search_with(victim, slots, scene.gallery(scene.legal()[0]), query)


def dense(bits: int) -> Callable[[Scene], Numbers]:
    """Noise in every coefficient, so that t times it has that many bits."""

    def noise(scene: Scene) -> Numbers:
        drawn = scene.random().integers(-255, 256, scene.plan.degree)
        return [int(x) << (bits - 24) for x in drawn]

    return noise


def sparse(bits: int) -> Callable[[Scene], Numbers]:
    """Noise in one coefficient."""

    def noise(scene: Scene) -> Numbers:
        return [1 << (bits - 16)] + [0] * (scene.plan.degree - 1)

    return noise


def fraction(part: int, whole: int) -> Callable[[Scene], Numbers]:
    """Noise of a fraction of the modulus in one coefficient."""

    def noise(scene: Scene) -> Numbers:
        return [prod(scene.plan.data_primes) * part // (whole * scene.plan.plain_modulus)] + [0] * (
            scene.plan.degree - 1
        )

    return noise


def noisy(*noises: Callable[[Scene], Numbers]) -> Run:
    """A legal template with far too much noise: is it answered?"""

    def run(scene: Scene, responder: Responder) -> Outcome:
        probe = scene.legal()[0]
        slots, block = scene.spread(probe), scene.gallery(probe)
        best = Outcome(False, "no hits")
        for noise in noises:
            query = scene.adversary.encrypt_noisy(slots, noise(scene))
            best = scene.search_with(responder, slots, block, query)
            if best.worked:
                break
        return best

    return run


def full_circle(scene: Scene, responder: Responder) -> Outcome:
    """Noise in steps that a known factor takes around the modulus, back to nearly zero.

    Each turn leaves 1 modulo t behind: also known, and taken off what is read.
    """
    adversary, plan = scene.adversary, scene.plan
    step = plan.plain_modulus**2 * known_scalar(plan)
    turns = scene.random().integers(-1023, 1024, plan.degree)
    noise = [(2 * int(x) * prod(plan.data_primes) + step) // (2 * step) for x in turns]
    probe = scene.legal()[0]
    slots, block = scene.spread(probe), scene.gallery(probe)
    values, _ = scene.ask(responder, adversary.encrypt_noisy(slots, noise), block)
    left = (-turns % plan.plain_modulus).astype(np.uint64)
    shift = adversary._bgv.decode(adversary._bgv.coefficients(left))
    return reading(values == shift, accepted(scores_of(slots, block, plan), plan), "hits")


def twins(scene: Scene) -> tuple[Templates, Templates]:
    """Two galleries without a hit: the same stranger in every slot, and many strangers."""
    probe, *others = scene.legal(40)
    profile = scene.plan.profile
    strangers = [one for one in others if int(one.astype(int) @ probe) < profile.threshold]
    rng = np.random.default_rng(4)
    mixed = np.stack(strangers)[rng.integers(0, len(strangers), scene.plan.degree)]
    return np.tile(strangers[0], (scene.plan.degree, 1)), mixed


def separation(first: list[float], second: list[float]) -> float:
    """By how many of their own standard errors the means of two samples differ."""
    spread = (np.var(first, ddof=1) / len(first) + np.var(second, ddof=1) / len(second)) ** 0.5
    return float(abs(np.mean(first) - np.mean(second)) / (spread + 1e-6))


TOLD_APART = 15.0  # of samples of three: by chance once in ten thousand
ANSWERS = 3


def told_apart(
    scene: Scene, responder: Responder, bits: int, measure: Measure, answers: int = ANSWERS
) -> float:
    """Ask twin galleries with noise, and compare a measure of their answers, of the hits and of the tokens."""
    query = scene.adversary.encrypt_noisy(scene.spread(scene.legal()[0]), dense(bits)(scene))
    prepared = responder.prepare(query, stream(0, None))
    samples = []
    for number, block in enumerate(twins(scene)):
        streams = [stream(0, answers * number + i) for i in range(answers)]
        samples.append([measure(responder.answer_once(prepared, block, one)) for one in streams])
    first, second = samples
    return max(separation([a[i] for a in first], [b[i] for b in second]) for i in range(2))


def failing_for_one_gallery(scene: Scene, responder: Responder) -> Outcome:
    """Noise that one gallery survives and another does not: without any hit, the answer tells which it was."""
    found = 0.0
    for bits in (46, 54):
        found = max(found, told_apart(scene, responder, bits, scene.adversary.noise_bits))
        if found > TOLD_APART:
            break
    return Outcome(found > TOLD_APART, f"{found:.1f} standard errors apart")


def several_forms(scene: Scene, responder: Responder) -> Outcome:
    """One query in many byte forms: each accepted one has a hash of its own, and they grow without bound."""
    plan = scene.plan
    probe = scene.legal()[0]
    query = scene.adversary.encrypt(probe, bytes(32))
    words = unpack_query(query, plan)
    body = ciphertext_body(scene.adversary._bgv.parms_ids[plan.levels], plan.degree, plan.levels, words)
    file = container(body)
    packed = zstandard.ZstdCompressor(level=1).compress(body)
    compressed = file[:5] + b"\x02" + file[6:8] + (16 + len(packed)).to_bytes(8, "little") + packed
    forms = [query, query + bytes(1 << 20), file, file + bytes(1 << 20), compressed]
    block = scene.gallery(probe)
    truth = accepted(scores_of(scene.spread(probe), block, plan), plan)
    taken = 0
    for form in forms:
        try:
            answer = search(responder, form, block)
        except (BadCiphertext, RuntimeError):
            continue
        taken += reading(scene.adversary.read(answer)[0] == 0, truth, "hits").worked
    return Outcome(taken > 1, f"{taken} of {len(forms)} byte forms answered")


ATTACKS = [
    Attack(
        "a forged digit of the relinearisation key hides the probe",
        "requester",
        NoRerandomising,
        forged_digit,
    ),
    Attack("noise in every coefficient", "requester", NoCanary, noisy(dense(44), dense(50))),
    Attack("noise in one coefficient", "requester", NoCanary, noisy(sparse(44), sparse(50))),
    Attack(
        "noise that one gallery survives and another does not", "requester", NoCanary, failing_for_one_gallery
    ),
    Attack("noise that a canary known to all turns full circle", "requester", KnownCanary, full_circle),
    Attack("one query in several byte forms", "requester", SealFiles, several_forms),
]
