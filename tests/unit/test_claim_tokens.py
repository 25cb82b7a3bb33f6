"""Which token an answer gave to a slot."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from crypto.hitsearch.masks import MaskStream
from crypto.hitsearch.parameters import plan_for
from crypto.hitsearch.plain import PlainRequester, PlainResponder
from crypto.profiles import SearchProfile
from crypto.templates import empty_slot
from node.claims_taken import given_token


def _claim(block: int, slot: int) -> Any:
    return SimpleNamespace(block=block, slot=slot)


def test_the_answer_gives_the_token_that_is_computed_again() -> None:
    """Of the block at that place of the answer, also where a lost worker made a second attempt of it."""
    profile = SearchProfile(128, 2, 127, 65)
    plan = plan_for(profile)
    probe = np.zeros(128, np.int8)
    probe[:31] = 2
    probe[31:34] = 1
    requester = PlainRequester.generate(plan)
    responder = PlainResponder(plan, requester.evaluation_keys())
    block = np.stack([empty_slot(128, slot) for slot in range(plan.block_size)])
    block[77] = probe
    seed, exchange_id, count = bytes(range(32)), bytes(16), 5
    retried = [1]
    order = MaskStream(seed, exchange_id, None, 0).order(count)
    assert [order.index(index) for index in range(count)] != order, "the inverse must be another order"
    session: Any = SimpleNamespace(seed=seed, exchange_id=exchange_id, blocks=count, retried=retried)
    for place, index in enumerate(order):
        stream = MaskStream(seed, exchange_id, index, int(index in retried))
        query = responder.prepare(requester.encrypt(probe), stream)
        ((slot, token),) = requester.open_block(
            responder.answer(query, responder.encode(block), stream)
        ).hits()
        assert slot == 77
        assert given_token(session, _claim(block=place, slot=77)) == token
        others = {given_token(session, _claim(block=other, slot=77)) for other in range(count)}
        assert len(others) == count
    assert given_token(session, _claim(block=count, slot=77)) == 0
