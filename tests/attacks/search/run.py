"""``make attacks``: every attack against a party without the one defence, and against the real one.

One line each: the attack, who attacks, the result without the defence, the result with it. At the parameters that
nodes use.

Usage: ``python tests/attacks/search/run.py [WORDS]``, with words only the attacks whose name contains them. Exit 0
only if every attack works without its defence and fails with it.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
for folder in (ROOT, ROOT / "tests" / "support", Path(__file__).parent):
    sys.path.insert(0, str(folder))

from all_attacks import ATTACKS  # noqa: E402
from scene import Outcome, Scene, honest  # noqa: E402

from crypto.hitsearch import plan_for  # noqa: E402
from crypto.profiles import SearchProfile  # noqa: E402


@lru_cache
def scene_of(profile: SearchProfile) -> Scene:
    """One set of keys a profile."""
    return Scene(plan_for(profile))


def told(outcome: Outcome) -> str:
    """In words."""
    return f"{'works' if outcome.worked else 'fails'} ({outcome.seen})"


def main(arguments: list[str]) -> int:
    """Run the attacks."""
    chosen = [attack for attack in ATTACKS if " ".join(arguments) in attack.name]
    for profile in dict.fromkeys(attack.profile for attack in chosen):
        if not honest(scene_of(profile)).worked:
            print(f"an honest query finds nothing under {profile}", file=sys.stderr)
            return 2
    undefended = defended = 0
    for attack in chosen:
        scene = scene_of(attack.profile)
        without, real = attack.undefended(scene), attack.defended(scene)
        undefended += without.worked
        defended += not real.worked
        print(f"{attack.name} | {attack.by} | without: {told(without)} | with: {told(real)}", flush=True)
    print(f"{len(chosen)} attacks, {undefended} work undefended, {defended} fail defended")
    return 0 if undefended == defended == len(chosen) > 0 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
