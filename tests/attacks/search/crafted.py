"""Attacks by a responder: answers that are crafted to learn the requester's key from how they are taken."""

from __future__ import annotations

import numpy as np
from adversary import Adversary
from scene import Attack, Outcome, Scene
from undefended_answers import NoWindow, claims

from crypto.hitsearch import Requester
from crypto.hitsearch.keyset import pack_answer

COEFFICIENTS = 12


def answer_about(forger: Adversary, place: int, sign: int) -> bytes:
    """An answer of hits alone, unless this coefficient of the secret key is ``sign``: then one coefficient wraps.

    With c1 = t B X^-j, each coefficient of the key moves one coefficient of the phase by t B. The first of them, which
    the key's j-th moves, begins just below half of the modulus.
    """
    plan = forger.plan
    q, t = plan.data_primes[0], plan.plain_modulus
    push = q // (4 * t) * t
    second = [0] * plan.degree
    # X^-j is -X^(N-j)
    second[(plan.degree - place) % plan.degree] = sign * (push if place == 0 else -push)
    first = [(q // 2 - push // 2) // t * t] + [0] * (plan.degree - 1)
    words = np.concatenate([forger.words_at(first, 0), forger.words_at(second, 0)])
    return pack_answer(words, words, plan)


def key_from_claims(scene: Scene, victim: Requester) -> Outcome:
    """Read coefficients of the key from which answers are claimed."""
    forger = Adversary(scene.plan, bytes([7] * 32))  # the responder knows the plan, and a key of its own
    right = 0
    for place in range(COEFFICIENTS):
        wrapped = [sign for sign in (1, -1) if not claims(victim, answer_about(forger, place, sign))]
        said = wrapped[0] if len(wrapped) == 1 else 0 if not wrapped else None
        right += said == int(victim._maker._coefficients[place])
    return Outcome(right == COEFFICIENTS, f"{right} of {COEFFICIENTS} coefficients of the key")


ATTACKS = [Attack("answers that wrap for one coefficient of the key", "responder", NoWindow, key_from_claims)]
