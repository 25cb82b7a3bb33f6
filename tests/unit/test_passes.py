"""Several probes of one query: one pass, a part for each, one token a slot, randomness of their own otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
from searching import SHORT, empty_slots, insecure_plan, random_templates

from crypto.errors import BadCiphertext, BadTemplate
from crypto.hitsearch import MaskStream, Requester, Responder
from crypto.hitsearch.passes import answer_all, encrypt_all, open_all, prepare_all, probes_of
from crypto.hitsearch.plain import PlainRequester, PlainResponder

PLAN = insecure_plan(SHORT)
SEED, EXCHANGE = bytes([9]) * 32, b"exchange-of-test"
KINDS: list[tuple[Any, Any]] = [(PlainRequester, PlainResponder), (Requester, Responder)]


def probes() -> Any:
    return random_templates(np.random.default_rng(11), SHORT, 3)


def block() -> Any:
    """The first probe is enrolled in slot 7, the second in 7 and in 30; the third nowhere."""
    templates, asked = empty_slots(PLAN), probes()
    templates[7], templates[30], templates[8] = asked[0], asked[1], asked[0]
    return templates


def streams(number: int | None) -> Any:
    return partial(MaskStream, SEED, EXCHANGE, number, 0)


@pytest.mark.parametrize(("requester_kind", "responder_kind"), KINDS)
def test_what_any_probe_hits_is_a_hit_with_one_token(requester_kind: Any, responder_kind: Any) -> None:
    requester = requester_kind.generate(PLAN)
    responder = responder_kind(PLAN, requester.evaluation_keys())
    query = encrypt_all(requester, probes())
    assert len(query) == 3 * PLAN.query_bytes
    prepared = prepare_all(responder, query, 3, streams(None))
    answer = answer_all(responder, prepared, responder.encode(block()), streams(5))
    assert len(answer) == 3 * PLAN.answer_block_bytes
    tokens = MaskStream(SEED, EXCHANGE, 5, 0).tokens(PLAN.degree)
    scores = block().astype(np.int64) @ probes().T.astype(np.int64)
    expected = [(int(slot), int(tokens[slot])) for slot in np.flatnonzero((scores >= SHORT.threshold).any(1))]
    assert {7, 8, 30} <= {slot for slot, _ in expected}
    assert open_all(requester, answer) == expected
    size = PLAN.answer_block_bytes
    for number in range(3):
        alone = responder.prepare(
            query[number * PLAN.query_bytes : (number + 1) * PLAN.query_bytes], streams(None)(number)
        )
        part = bytes(responder.answer_once(alone, block(), streams(5)(number)))
        assert part == answer[number * size : (number + 1) * size], "an audit computes them one by one"


def test_probes_share_tokens_and_nothing_else() -> None:
    of = [MaskStream(SEED, EXCHANGE, 5, 0, probe) for probe in range(3)]
    t = PLAN.plain_modulus
    for draw in (
        lambda one: one.masks(b"hits", 64, t).tobytes(),
        lambda one: one.masks(b"tokens", 64, t).tobytes(),
        lambda one: one.digits(b"flood/hits/0/0", 64, t).tobytes(),
        lambda one: one.key(b"probe"),
        lambda one: one.number(b"canary/prime/0", 64),
    ):
        assert len({draw(one) for one in of}) == 3
    assert len({one.tokens(64).tobytes() for one in of}) == 1
    assert of[0].key(b"x") == MaskStream(SEED, EXCHANGE, 5, 0).key(b"x")


@pytest.mark.parametrize("change", [-1, 1, -PLAN.query_bytes, PLAN.query_bytes])
def test_a_query_has_exactly_as_many_probes_as_its_profile(change: int) -> None:
    requester = PlainRequester.generate(PLAN)
    responder = PlainResponder(PLAN, requester.evaluation_keys())
    query = encrypt_all(requester, probes())
    with pytest.raises(BadCiphertext):
        prepare_all(responder, (query + query)[: len(query) + change], 3, streams(None))


def test_parts_that_contradict_each_other_are_no_answer() -> None:
    requester = PlainRequester.generate(PLAN)
    responder = PlainResponder(PLAN, requester.evaluation_keys())
    prepared = prepare_all(responder, encrypt_all(requester, probes()[[0, 0]]), 2, streams(None))
    parts = [answer_all(responder, prepared[:1], block(), streams(number)) for number in (5, 6)]
    with pytest.raises(BadCiphertext, match="different tokens"):
        open_all(requester, b"".join(parts))
    for odd in (b"", parts[0][:-1], parts[0] + b"\0"):
        with pytest.raises(BadCiphertext):
            open_all(requester, odd)


def test_templates_of_a_query_are_rows() -> None:
    requester = PlainRequester.generate(PLAN)
    for odd in (probes()[0], probes()[:0]):
        with pytest.raises(BadTemplate):
            encrypt_all(requester, odd)


def test_the_profile_says_how_many() -> None:
    @dataclass
    class Code:
        steps: tuple[int, ...] = (-1, 0, 1)

    @dataclass
    class Known:
        code: Code | None

    assert probes_of(Known(None)) == 1  # type: ignore[arg-type]
    assert probes_of(Known(Code())) == 3  # type: ignore[arg-type]
