"""Every attack on the search works without the one defence that meets it, and fails with it.

At a small degree, which protects nothing but works alike; ``make attacks`` does the same at the parameters of nodes.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from searching import EVEN_WIDTH, insecure_plan
from undefended import NoCanary, NoValidity, Undefended
from undefended_answers import NoWindow, claims

sys.path.insert(0, str(Path(__file__).parent))
from all_attacks import ATTACKS
from answers import galleries_by_noise
from crafted import answer_about, key_by_edge
from inputs import dense, fraction, noisy, sparse
from scene import Attack, Scene, honest

from crypto.hitsearch import Requester
from crypto.hitsearch.keyset import pack_answer


@lru_cache
def scene() -> Scene:
    return Scene(insecure_plan(EVEN_WIDTH))


def test_an_honest_query_is_answered() -> None:
    """With all defences on, and with each of them off: no attack fails, or works, because nothing does."""
    assert honest(scene()).worked


def test_there_are_many_attacks_with_names_of_their_own() -> None:
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS) >= 20
    assert {attack.by for attack in ATTACKS} == {"requester", "responder"}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_works_undefended_and_fails_defended(attack: Attack) -> None:
    undefended, defended = attack.undefended(scene()), attack.defended(scene())
    assert undefended.worked, undefended.seen
    assert not defended.worked, defended.seen


@pytest.mark.parametrize("bits", [38, 46, 64, 84, 104])
def test_noise_beyond_the_plan_spoils_every_slot(bits: int) -> None:
    for noise in (dense(bits), sparse(bits)):
        outcome = noisy(noise)(scene(), scene().responder)
        assert not outcome.worked
        assert outcome.seen.startswith("0 of")


@pytest.mark.parametrize(("part", "whole"), [(1, 2), (1, 3), (2, 3), (3, 8), (1, 65537)])
def test_noise_of_a_fraction_of_the_modulus_spoils_every_slot(part: int, whole: int) -> None:
    outcome = noisy(fraction(part, whole))(scene(), scene().responder)
    assert outcome.seen.startswith("0 of")


def test_the_canary_alone_tells_noise_from_an_honest_probe() -> None:
    """It need not rely on the validity check failing for the noise as well, which happens far later."""
    unchecked = NoValidity.of(scene().responder)
    assert noisy(dense(26))(scene(), unchecked).worked
    for bits in (38, 42, 46):
        assert noisy(dense(bits))(scene(), unchecked).seen.startswith("0 of")


def test_flooding_alone_hides_what_the_noise_would_tell() -> None:
    """Of two galleries, with noise that no canary stops: the same experiment as in the attack, the canary off."""
    assert not galleries_by_noise(scene(), NoCanary.of(scene().responder)).worked


def test_variants_share_the_keys_and_nothing_else() -> None:
    variants = [attack.without for attack in ATTACKS if issubclass(attack.without, Undefended)]
    whole = scene().responder
    for variant in variants:
        other = variant.of(whole)
        assert other is not whole
        assert other._validity is not whole._validity
        assert type(whole).__name__ == "Responder"


def test_a_crafted_answer_is_claimed_only_without_the_window() -> None:
    victim = scene().adversary
    answer = answer_about(victim, 1, 1)
    secret = int(victim._maker._coefficients[1])
    assert claims(NoWindow.load(victim.plan, victim.secret()), answer) == (secret != 1)
    assert not claims(Requester.load(victim.plan, victim.secret()), answer)


def test_the_edge_of_the_noise_window_is_an_edge_too() -> None:
    """What remains: a responder whose answers lie on the edge still learns a coefficient from two reactions.

    No check that depends on the key is without an edge. Only few reactions can be had: the cap on hits, claims that
    fail, and one key a peer and epoch see to that.
    """
    victim, plan = scene().adversary, scene().plan
    honest_requester = Requester.load(plan, victim.secret())
    edge = 1 << plan.data_primes[0].bit_length() - 1 - plan.answer_budgets.start
    assert key_by_edge(scene(), honest_requester, edge).worked


def test_guesses_within_the_noise_window_are_claimed() -> None:
    """What remains as well: a responder guesses slots of the key, with noise like that of an honest search.

    A right guess, one in t, is claimed. The cap on hits, claims that fail, and one key a peer and epoch bound this.
    """
    victim, plan = scene().adversary, scene().plan
    rng = np.random.default_rng(9)
    slots = victim._bgv.decode(
        victim._bgv.coefficients((victim._maker._coefficients % plan.plain_modulus).astype(np.uint64))
    )
    guess = (slots + 1) % plan.plain_modulus
    guess[5] = slots[5]
    noise = rng.integers(-(1 << 13), 1 << 13, plan.degree) * plan.plain_modulus
    first = victim.words_at(noise, 0)
    negative = victim._bgv.slots_ntt_words(-guess % plan.plain_modulus).reshape(-1, plan.degree)[0]
    first = (first + negative) % np.uint64(plan.data_primes[0])
    words = np.concatenate([first, np.ones(plan.degree, dtype=np.uint64)])
    opened = Requester.load(plan, victim.secret()).open_block(pack_answer(words, words, plan))
    assert [slot for slot, _ in opened.hits()] == [5]
