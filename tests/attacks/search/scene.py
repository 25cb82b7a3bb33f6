"""What an attack is, and what it finds when it begins: two parties, a gallery, and a way to ask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from adversary import Adversary, accepted, scores_of
from numpy.typing import NDArray
from searching import EMBEDDING_128, Templates, at_score, random_templates, search
from undefended import Undefended

from crypto.hitsearch import Plan, Responder
from crypto.hitsearch.packing import Slots, spread_probe
from crypto.profiles import SearchProfile


@dataclass(frozen=True)
class Outcome:
    """Whether the attack got what it wanted, and what it saw."""

    worked: bool
    seen: str


@dataclass(frozen=True)
class Scene:
    """One plan, the attacker's keys, and the responder that holds them."""

    plan: Plan

    @cached_property
    def adversary(self) -> Adversary:
        return Adversary.of(self.plan)

    @cached_property
    def keys(self) -> bytes:
        return self.adversary.evaluation_keys()

    @cached_property
    def responder(self) -> Responder:
        """The real one."""
        return Responder(self.plan, self.keys)

    def random(self) -> np.random.Generator:
        """The same for every run of an attack."""
        return np.random.default_rng(1)

    def legal(self, count: int = 1) -> Templates:
        """Well-formed templates."""
        return random_templates(self.random(), self.plan.profile, count)

    def gallery(self, probe: Templates) -> Templates:
        """A block of strangers, of hits, and of people whose scores lie around the threshold and below it."""
        rng, profile = np.random.default_rng(2), self.plan.profile
        wanted = [
            *range(profile.threshold - 2, profile.threshold + 3),
            *range(profile.threshold // 2, profile.threshold),
        ]
        near = [at_score(rng, probe, profile, min(score, profile.norm)) for score in wanted for _ in range(2)]
        bank = np.stack([*random_templates(rng, profile, 64), *(one for one in near if one is not None)])
        return bank[rng.integers(0, len(bank), self.plan.block_size)]

    def spread(self, template: NDArray[Any]) -> Slots:
        """Repeated over all slots."""
        return spread_probe(template, self.plan.degree)

    def ask(
        self, responder: Responder, query: bytes, block: Templates, number: int = 0
    ) -> tuple[Slots, Slots]:
        """Values and tokens as the attacker decrypts them."""
        return self.adversary.read(search(responder, query, block, number))

    def search_with(
        self, responder: Responder, slots: Slots, block: Templates, query: bytes | None = None
    ) -> Outcome:
        """Ask with any slots, and see whether hits can be read off the answer.

        What an answer without defences would show is known here from the gallery. A spoiled answer shows one zero in
        65537 slots, whoever they belong to.
        """
        values, _ = self.ask(responder, query or self.adversary.encrypt_slots(slots, bytes(32)), block)
        return reading(values == 0, accepted(scores_of(slots, block, self.plan), self.plan), "hits")


def reading(said: NDArray[np.bool_], true: NDArray[np.bool_], what: str) -> Outcome:
    """Judge what the attacker says of each slot: it must be right at least three times, and nine times in ten."""
    right, wrong = int((said & true).sum()), int((said & ~true).sum())
    return Outcome(right >= 3 and right >= 9 * wrong, f"{right} of {int(true.sum())} {what}, {wrong} wrong")


def honest(scene: Scene) -> Outcome:
    """What the real responder answers a legal probe: attacks must not fail because nothing works."""
    probe = scene.legal()[0]
    return scene.search_with(scene.responder, scene.spread(probe), scene.gallery(probe))


Run = Callable[[Scene, Any], Outcome]


@dataclass(frozen=True)
class Attack:
    """One attack, and the defence that it meets.

    Attributes:
        name: What the attacker does.
        by: ``requester`` or ``responder``.
        without: The victim's class without the defence; a class of ``Undefended`` shares the real one's keys.
        run: The attack on a victim.
        profile: Of the search.
    """

    name: str
    by: str
    without: Any
    run: Run
    profile: SearchProfile = EMBEDDING_128

    def undefended(self, scene: Scene) -> Outcome:
        """Against a victim without the one defence."""
        if issubclass(self.without, Undefended):
            return self.run(scene, self.without.of(scene.responder))
        return self.run(scene, self.without.load(scene.plan, scene.adversary.secret()))

    def defended(self, scene: Scene) -> Outcome:
        """Against the real one."""
        if issubclass(self.without, Undefended):
            return self.run(scene, scene.responder)
        return self.run(scene, self.without.__base__.load(scene.plan, scene.adversary.secret()))
