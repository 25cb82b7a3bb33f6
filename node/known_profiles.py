"""The profiles that this node knows: the built-in ones, and the operator's own.

Source: specs/matching.md, section 1.
"""

from __future__ import annotations

from crypto.hitsearch.parameters import plan_for
from crypto.hitsearch.passes import probes_of
from crypto.profiles import Profile, load_profile
from node.errors import BadConfig
from node.profiles import DIGESTS, builtin
from node.state import State
from protocol.exchange.parties import PlanSizes


class KnownProfiles:
    """All of one node."""

    def __init__(self, state: State) -> None:
        self._state = state

    def named(self, digest: bytes) -> Profile:
        """A profile that this node knows, by digest; raises ``BadConfig``."""
        for name, known in DIGESTS.items():
            if known == digest.hex():
                return builtin(name)
        stored = self._state.profile_file(digest)
        if stored is None:
            raise BadConfig(f"no profile with digest {digest.hex()[:16]}… is known here")
        return load_profile(stored, digest)

    def add(self, profile: Profile) -> None:
        """Keep a profile of the operator's, so that agreements can name it.

        Raises:
            BadConfig: It bears the name of a built-in profile, and is another.
        """
        if DIGESTS.get(profile.name, profile.digest.hex()) != profile.digest.hex():
            raise BadConfig(
                f"{profile.name} is the name of another, built-in profile; fit this one under its own name"
            )
        self._state.put_profile(profile.digest, profile.name, profile.to_bytes())


def plan_sizes(profile: Profile) -> PlanSizes:
    """The exact lengths of the search plan of a profile, for all probes of a query."""
    plan, probes = plan_for(profile.search), probes_of(profile)
    return PlanSizes(plan.identifier, probes * plan.query_bytes, probes * plan.answer_block_bytes)
