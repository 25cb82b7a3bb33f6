"""The responder never computes on a ciphertext that the requester chose."""

from __future__ import annotations

import numpy as np
from searching import SHORT, decrypted, insecure_plan, parties, random_templates, stream

from crypto.hitsearch.packing import spread_probe


def test_the_search_starts_from_a_fresh_encryption_of_the_same_probe() -> None:
    plan = insecure_plan(SHORT)
    requester, responder = parties(plan)
    template = random_templates(np.random.default_rng(7), SHORT, 1)[0]
    query = requester.encrypt(template)
    first, second = (responder.prepare(query, stream(n, None)).probe for n in range(2))
    bgv = responder._bgv
    words = [bgv.words_of(one, plan.search_level) for one in (first, second)]
    half = len(words[0]) // 2
    assert (words[0][:half] != words[1][:half]).mean() > 0.99
    assert (words[0][half:] != words[1][half:]).mean() > 0.99
    slots = decrypted(requester, responder, first, plan.search_level)
    assert np.array_equal(slots, spread_probe(template, plan.degree) % plan.plain_modulus)
