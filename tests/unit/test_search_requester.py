"""A requester is kept and used for many probes: nothing of one encryption may come again in the next."""

from __future__ import annotations

import numpy as np

from crypto.hitsearch.keyset import unpack_query
from crypto.hitsearch.parameters import plan_for
from crypto.hitsearch.requester import Requester
from crypto.templates import make_templates
from node.profiles import builtin
from node.synthetic import images, people

PROFILE = builtin("embedding-128")
PLAN = plan_for(PROFILE.search)


def test_one_requester_encrypts_afresh_each_time() -> None:
    requester = Requester.generate(PLAN)
    probe = make_templates(images(people(1, 41), 1, 1)[0], PROFILE)[0]
    parts = [unpack_query(requester.encrypt(probe), PLAN) for _ in range(3)]
    parts.append(unpack_query(Requester.load(PLAN, requester.secret()).encrypt(probe), PLAN))
    for index, words in enumerate(parts):
        for others in parts[:index]:
            assert np.mean(words == others) < 1e-3
