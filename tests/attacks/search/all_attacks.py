"""All attacks on the search, by theme."""

from __future__ import annotations

import answers
import crafted
import inputs
import probes
from scene import Attack

ATTACKS: list[Attack] = [*probes.ATTACKS, *inputs.ATTACKS, *answers.ATTACKS, *crafted.ATTACKS]
