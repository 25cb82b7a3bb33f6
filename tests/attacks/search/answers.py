"""Attacks on what an answer shows: what masks, tokens, factors of the guards, and flooding are for."""

from __future__ import annotations

import numpy as np
from adversary import accepted, scores_of
from inputs import TOLD_APART, told_apart
from probes import one_coordinate
from scene import Attack, Outcome, Scene, reading
from searching import Templates, scores, stream
from undefended_answers import (
    MasksUsedAgain,
    MasksWithZero,
    NoFlooding,
    NoMasks,
    OneFactor,
    OneMask,
    SameFactors,
    SameMasks,
)

from crypto.hitsearch import Responder
from crypto.hitsearch.packing import Slots


def setting(scene: Scene) -> tuple[Templates, Templates, bytes]:
    probe = scene.legal()[0]
    return probe, scene.gallery(probe), scene.adversary.encrypt(probe, bytes(32))


def polynomial_of_scores(scene: Scene) -> dict[int, int]:
    """The value of every possible score, other than of hits."""
    plan = scene.plan
    scale, offset = plan.centring.scale, plan.centring.offset
    every = range(-plan.profile.norm, plan.profile.threshold)
    return {s: plan.polynomial.evaluate((scale * s - offset) ** 2) for s in every}


def scores_from_values(scene: Scene, responder: Responder) -> Outcome:
    """Look each value up in a table of all scores."""
    probe, block, query = setting(scene)
    values, _ = scene.ask(responder, query, block)
    by_value: dict[int, int] = {}
    for score, value in polynomial_of_scores(scene).items():
        by_value.setdefault(value, score)
    said = np.array([by_value.get(int(v), -9999) for v in values])
    right = int((said == scores(probe, block)).sum())
    named = int((said != -9999).sum())
    return Outcome(
        right >= 3 and 2 * right > named, f"{right} of {len(values)} scores, {named - right} wrong"
    )


def equal_scores(scene: Scene, responder: Responder) -> Outcome:
    """Equal values stand for equal scores."""
    probe, block, query = setting(scene)
    values, _ = scene.ask(responder, query, block)
    order = np.argsort(values, kind="stable")
    order = order[values[order] != 0]
    pairs = values[order[1:]] == values[order[:-1]]
    true = scores(probe, block)
    same = true[order[1:]] == true[order[:-1]]
    right, wrong = int((pairs & same).sum()), int((pairs & ~same).sum())
    return Outcome(right >= 3 and right >= 3 * wrong, f"{right} pairs of equal scores, {wrong} wrong")


def quotients(scene: Scene, responder: Responder) -> Outcome:
    """Ask again with one sign turned: where the value stays, the candidate has no entry there."""
    probe, block, query = setting(scene)
    turned = probe.copy()
    place = int(np.flatnonzero(np.abs(probe) == 1)[0])
    turned[place] = -turned[place]
    first, _ = scene.ask(responder, query, block, 0)
    second, _ = scene.ask(responder, scene.adversary.encrypt(turned, bytes([1] * 32)), block, 1)
    hits = (first == 0) | (second == 0)
    return reading((first == second) & ~hits, (block[:, place] == 0) & ~hits, "empty entries")


def false_hits(scene: Scene, responder: Responder) -> Outcome:
    """Wait for the answer in which a stranger's mask is zero."""
    probe, block, query = setting(scene)
    strangers = scores(probe, block) < scene.plan.profile.threshold
    t, count = scene.plan.plain_modulus, scene.plan.degree
    number = next(
        n for n in range(10**4) if (strangers & (stream(n).digits(b"mask/hits", count, t) == 0)).any()
    )
    values, _ = scene.ask(responder, query, block, number)
    found = int(((values == 0) & strangers).sum())
    return Outcome(found > 0, f"{found} false hits")


CLAIMS = 400


def claims_accepted(said: Slots, slots: Slots, number: int) -> int:
    """How many tokens the responder takes for those that it gave."""
    return int((stream(number).tokens(len(said))[slots] == said[slots]).sum())


def tokens_without_hits(scene: Scene, responder: Responder) -> Outcome:
    """The difference of both ciphertexts, claimed for strangers."""
    _, block, query = setting(scene)
    values, tokens = scene.ask(responder, query, block)
    strangers = np.flatnonzero(values != 0)[:CLAIMS]
    found = claims_accepted((tokens - values) % scene.plan.plain_modulus, strangers, 0)
    return Outcome(found >= 3, f"{found} of {CLAIMS} claims accepted")


def tokens_of_a_spoiled_answer(scene: Scene, responder: Responder) -> Outcome:
    """The difference again, for a probe that is no template: what spoils both is gone where it would hit."""
    slots = one_coordinate(scene)
    block = scene.gallery(scene.legal()[0])
    query = scene.adversary.encrypt_slots(slots, bytes(32))
    values, tokens = scene.ask(responder, query, block)
    found = claims_accepted((tokens - values) % scene.plan.plain_modulus, np.arange(CLAIMS), 0)
    return Outcome(found >= 3, f"{found} of {CLAIMS} claims accepted")


def most_frequent_value(scene: Scene, responder: Responder) -> Outcome:
    """A spoiled answer in which all hits were spoiled alike: they show the most frequent value."""
    slots = one_coordinate(scene)
    block = scene.gallery(scene.legal()[0])
    query = scene.adversary.encrypt_slots(slots, bytes(32))
    values, _ = scene.ask(responder, query, block)
    counts = np.bincount(values)
    said = values == int(counts.argmax())
    return reading(said, accepted(scores_of(slots, block, scene.plan), scene.plan), "hits")


def galleries_by_noise(scene: Scene, responder: Responder) -> Outcome:
    """Two galleries without a hit: compare the noise of their answers, which the secret key shows.

    Each switch rounds an honest probe's noise away, with all that the gallery has made of it, so the probe brings as
    much as the search survives.
    """
    found = 0.0
    for bits in (44, 52):
        found = max(found, told_apart(scene, responder, bits, scene.adversary.noise_bits))
        if found > TOLD_APART:
            break
    return Outcome(found > TOLD_APART, f"{found:.1f} standard errors apart")


ATTACKS = [
    Attack("values without masks are scores", "requester", NoMasks, scores_from_values),
    Attack("equal values under one mask are equal scores", "requester", OneMask, equal_scores),
    Attack("two answers under the same masks show a coordinate", "requester", MasksUsedAgain, quotients),
    Attack("a zero among the masks is a false hit", "requester", MasksWithZero, false_hits),
    Attack(
        "equal masks of hits and tokens give all tokens away", "requester", SameMasks, tokens_without_hits
    ),
    Attack(
        "equal factors of the guards give tokens to a bad probe",
        "requester",
        SameFactors,
        tokens_of_a_spoiled_answer,
    ),
    Attack(
        "one factor of the guards for all slots marks the hits", "requester", OneFactor, most_frequent_value
    ),
    Attack("the noise tells two galleries apart", "requester", NoFlooding, galleries_by_noise),
]
