"""Attacks by a responder: answers that are crafted to learn the requester's key from how they are taken."""

from __future__ import annotations

import numpy as np
from adversary import Adversary
from scene import Attack, Outcome, Scene
from undefended_answers import NoWindow, claims

from crypto.hitsearch import Requester
from crypto.hitsearch.keyset import pack_answer

COEFFICIENTS = 12


def answer_about(forger: Adversary, place: int, sign: int, edge: int | None = None) -> bytes:
    """An answer of hits alone, in which one coefficient goes over an edge if this one of the key is ``sign``.

    With c1 = t B X^-j, each coefficient of the key moves one coefficient of the phase by t B. The first of them, which
    the key's j-th moves, begins just below the edge: by default half of the modulus, beyond which it wraps around.
    """
    plan = forger.plan
    q, t = plan.data_primes[0], plan.plain_modulus
    edge = edge or q // 2
    push = edge // (16 * t) * t
    second = [0] * plan.degree
    # X^-j is -X^(N-j)
    second[(plan.degree - place) % plan.degree] = sign * (push if place == 0 else -push)
    first = [(edge - push // 2) // t * t] + [0] * (plan.degree - 1)
    words = np.concatenate([forger.words_at(first, 0), forger.words_at(second, 0)])
    return pack_answer(words, words, plan)


def key_from_claims(scene: Scene, victim: Requester) -> Outcome:
    """Read coefficients of the key from which answers are claimed."""
    return key_by_edge(scene, victim, None)


def key_by_edge(scene: Scene, victim: Requester, edge: int | None) -> Outcome:
    """The same with any edge, of the modulus or of what the victim takes."""
    forger = Adversary(scene.plan, bytes([7] * 32))  # the responder knows the plan, and a key of its own
    right = 0
    for place in range(COEFFICIENTS):
        wrapped = [sign for sign in (1, -1) if not claims(victim, answer_about(forger, place, sign, edge))]
        said = wrapped[0] if len(wrapped) == 1 else 0 if not wrapped else None
        right += said == int(victim._maker._coefficients[place])
    return Outcome(right == COEFFICIENTS, f"{right} of {COEFFICIENTS} coefficients of the key")


ATTACKS = [Attack("answers that wrap for one coefficient of the key", "responder", NoWindow, key_from_claims)]
