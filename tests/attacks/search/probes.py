"""Attacks with a probe that is no template: what the validity check is for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scene import Attack, Outcome, Run, Scene
from undefended import EqualRanges, NoNorm, NoRange, NoRepetition, NoValidity, WindowSum

from crypto.hitsearch.packing import Slots

Craft = Callable[[Scene], Slots]


def probing(craft: Craft) -> Run:
    """Ask a gallery around one legal template with crafted slots."""

    def run(scene: Scene, responder: object) -> Outcome:
        return scene.search_with(responder, craft(scene), scene.gallery(scene.legal()[0]))  # type: ignore[arg-type]

    return run


def one_coordinate(scene: Scene) -> Slots:
    """Hits are the candidates whose first entry is 1, in every slot."""
    unit = np.zeros(scene.plan.profile.n, dtype=np.int64)
    unit[0] = scene.plan.profile.threshold
    return scene.spread(unit)


def one_coordinate_of_each_slot(scene: Scene) -> Slots:
    """One slot in every period carries the entry, another in each: candidates are asked about different entries."""
    plan = scene.plan
    slots = np.zeros((plan.degree // plan.profile.n, plan.profile.n), dtype=np.int64)
    rows = np.arange(len(slots))
    slots[rows, rows % plan.profile.n] = plan.profile.threshold
    return slots.reshape(-1)


def twice_a_template(scene: Scene) -> Slots:
    """Hits are scores from half the threshold on: near misses."""
    return scene.spread(2 * scene.legal()[0].astype(np.int64))


def legal_entries(scene: Scene) -> Slots:
    return scene.legal()[0].astype(np.int64)


def one_less(scene: Scene) -> Slots:
    """One entry of 1 is left out: who no longer hits has it."""
    values = legal_entries(scene)
    values[np.flatnonzero(np.abs(values) == 1)[0]] = 0
    return scene.spread(values)


def one_more(scene: Scene) -> Slots:
    """One entry of 1 is added: who hits now has it, or hit before."""
    values = legal_entries(scene)
    values[np.flatnonzero(values == 0)[0]] = 1
    return scene.spread(values)


def foreign_coordinate(scene: Scene) -> Slots:
    """One entry is a + 1, paid for by others, so that the norm is right."""
    profile = scene.plan.profile
    values = legal_entries(scene)
    place = int(np.argmax(np.abs(values)))
    values[place] = profile.bound + 1
    surplus = int(values @ values) - profile.norm
    for i in range(profile.n):
        if i != place and abs(values[i]) == 1 and surplus > 0:
            values[i], surplus = 0, surplus - 1
    assert surplus == 0
    return scene.spread(values)


def cancelling_coordinates(scene: Scene) -> Slots:
    """Two foreign entries, a + 1 and -(a + 1): what the range polynomial says of them sums to zero."""
    profile = scene.plan.profile
    values = legal_entries(scene)
    places = np.argsort(-np.abs(values))[:2]
    values[places] = [profile.bound + 1, -profile.bound - 1]
    surplus = int(values @ values) - profile.norm
    for i in range(profile.n):
        if i not in places and abs(values[i]) == 1 and surplus > 0:
            values[i], surplus = 0, surplus - 1
    assert surplus == 0
    return scene.spread(values)


def vanishing_norm(scene: Scene) -> Slots:
    """Two huge entries whose squares sum to S modulo t only: hits have 1 at one place and 0 at another."""
    profile, t = scene.plan.profile, scene.plan.plain_modulus
    roots = {x * x % t: x for x in range(1, t // 2)}
    for large in range(profile.threshold, profile.norm + 1):
        rest = (profile.norm - large * large) % t
        if rest in roots:
            values = np.zeros(profile.n, dtype=np.int64)
            values[:2] = large, roots[rest]
            return scene.spread(values)
    raise AssertionError("no such pair")


def two_rows(scene: Scene) -> Slots:
    """Two people in one query: one for each half of the candidates."""
    first, second = scene.legal(2)
    slots = scene.spread(first)
    slots[len(slots) // 2 :] = scene.spread(second)[len(slots) // 2 :]
    return slots


def last_period(scene: Scene) -> Slots:
    """A second template in the last period: right wherever else one looks."""
    first, second = scene.legal(2)
    slots = scene.spread(first)
    slots[-scene.plan.profile.n :] = second
    return slots


def people_side_by_side(scene: Scene) -> Slots:
    """Two people in one query, each in half of the periods of both rows."""
    first, second = scene.legal(2)
    slots = scene.spread(first).reshape(2, -1)
    half = slots.shape[1] // 2
    slots[:, half:] = np.tile(second.astype(np.int64), half // len(second))
    return slots.reshape(-1)


def several_people(craft: Craft) -> Run:
    """Ask with two people's templates and look for hits of the second, whom no query was allowed for."""

    def run(scene: Scene, responder: object) -> Outcome:
        first, second = scene.legal(2)
        block = scene.gallery(first)
        rng = np.random.default_rng(3)
        enrolled = rng.permutation(scene.plan.degree)[: scene.plan.degree // 2]
        block[enrolled] = second
        return scene.search_with(responder, craft(scene), block)  # type: ignore[arg-type]

    return run


ATTACKS = [
    Attack(
        "one entry, as large as the threshold, reads a coordinate",
        "requester",
        NoValidity,
        probing(one_coordinate),
    ),
    Attack(
        "another entry in each period reads another coordinate of each candidate",
        "requester",
        NoValidity,
        probing(one_coordinate_of_each_slot),
    ),
    Attack("a template times two finds near misses", "requester", NoValidity, probing(twice_a_template)),
    Attack("one foreign entry under the right norm", "requester", NoRange, probing(foreign_coordinate)),
    Attack(
        "two foreign entries that cancel in the check",
        "requester",
        EqualRanges,
        probing(cancelling_coordinates),
    ),
    Attack("huge entries whose squares sum to S modulo t", "requester", NoRange, probing(vanishing_norm)),
    Attack("a norm of S - 1", "requester", NoNorm, probing(one_less)),
    Attack("a norm of S + 1", "requester", NoNorm, probing(one_more)),
    Attack("another person in the second row", "requester", NoRepetition, several_people(two_rows)),
    Attack("another person in the last period", "requester", NoRepetition, several_people(last_period)),
    Attack("two people side by side in one row", "requester", WindowSum, several_people(people_side_by_side)),
]
