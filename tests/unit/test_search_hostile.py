"""Bytes from the other country: exact lengths, reduced words, one form; everything else is a typed error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from searching import EMBEDDING_128, EVEN_WIDTH, insecure_plan, parties, random_templates, search, stream

from crypto.errors import BadCiphertext, BadEncoding, BadKeys, BadTemplate
from crypto.hitsearch import MaskStream, Requester, Responder
from crypto.hitsearch.packing import pack_words, unpack_words
from crypto.hitsearch.parameters import SEED_BYTES
from crypto.hitsearch.primes import friendly_primes
from crypto.hitsearch.seal import Bgv

PLAN = insecure_plan(EVEN_WIDTH)
OTHER = insecure_plan(EMBEDDING_128)


def good_query() -> bytes:
    requester, _ = parties(PLAN)
    return requester.encrypt(random_templates(np.random.default_rng(0), PLAN.profile, 1)[0])


@pytest.mark.parametrize("change", [-1, 1, -64, 1 << 20], ids=str)
def test_a_query_of_another_length_is_refused(change: int) -> None:
    _, responder = parties(PLAN)
    query = good_query()
    wrong = query[:change] if change < 0 else query + bytes(change)
    with pytest.raises(BadCiphertext, match=f"{PLAN.query_bytes} bytes, not {len(wrong)}"):
        responder.prepare(wrong, stream(0, None))


def test_an_unreduced_word_is_refused_in_queries_keys_and_answers() -> None:
    requester, responder = parties(PLAN)
    query, keys = good_query(), requester.evaluation_keys()
    with pytest.raises(BadCiphertext, match="not below its prime"):
        responder.prepare(query[:SEED_BYTES] + b"\xff" * 8 + query[SEED_BYTES + 8 :], stream(0, None))
    with pytest.raises(BadKeys, match="not below its prime"):
        Responder(PLAN, keys[:SEED_BYTES] + b"\xff" * 8 + keys[SEED_BYTES + 8 :])
    with pytest.raises(BadCiphertext, match="not below its prime"):
        requester.open_block(b"\xff" * PLAN.answer_block_bytes)


def test_the_largest_and_smallest_words_are_read() -> None:
    prime = friendly_primes(34, 16384)[0]
    words = np.array([0, 1, prime - 1, prime - 2] * 2, dtype=np.uint64)
    assert unpack_words(pack_words(words, 34), 8, 34, prime).tolist() == words.tolist()
    with pytest.raises(BadEncoding):
        unpack_words(pack_words(np.full(8, prime, dtype=np.uint64), 34), 8, 34, prime)


@given(st.binary(min_size=34, max_size=34))
def test_words_have_one_form(data: bytes) -> None:
    """34 bytes are 8 words of 34 bits: what can be read is written back to the same bytes."""
    prime = friendly_primes(34, 16384)[0]
    try:
        words = unpack_words(data, 8, 34, prime)
    except BadEncoding:
        return
    assert pack_words(words, 34) == data


def test_keys_of_other_parameters_are_refused() -> None:
    requester, _ = parties(OTHER)
    with pytest.raises(BadKeys, match="bytes, not"):
        Responder(PLAN, requester.evaluation_keys())


def test_keys_of_another_requester_open_nothing() -> None:
    requester, _ = parties(PLAN)
    stranger = Responder(PLAN, Requester.generate(PLAN).evaluation_keys())
    probe = random_templates(np.random.default_rng(1), PLAN.profile, 1)[0]
    block = np.tile(probe, (PLAN.block_size, 1))
    answer = search(stranger, requester.encrypt(probe), block)
    with pytest.raises(BadCiphertext, match="noise"):
        requester.open_block(answer)


def test_noise_in_place_of_a_probe_gives_noise() -> None:
    """Any words are a ciphertext of something; the answer to garbage is garbage, and is seen to be."""
    requester, responder = parties(PLAN)
    rng = np.random.default_rng(2)
    parts = [
        pack_words(rng.integers(0, q, PLAN.degree, dtype=np.uint64), q.bit_length()) for q in PLAN.data_primes
    ]
    query = rng.bytes(SEED_BYTES) + b"".join(parts)
    block = random_templates(rng, PLAN.profile, 8)[rng.integers(0, 8, PLAN.block_size)]
    answer = search(responder, query, block)
    with pytest.raises(BadCiphertext, match="noise"):
        requester.open_block(answer)


class Unflooded(Responder):
    """A responder that leaves the flooding out, or crafts answers with little noise."""

    def _hide_noise(self, value: object, stream: MaskStream, label: bytes) -> object:
        return value


def test_an_answer_with_too_little_noise_is_not_read() -> None:
    requester, _ = parties(PLAN)
    unflooded = Unflooded(PLAN, requester.evaluation_keys())
    probe = random_templates(np.random.default_rng(6), PLAN.profile, 1)[0]
    block = np.tile(probe, (PLAN.block_size, 1))
    answer = search(unflooded, requester.encrypt(probe), block)
    with pytest.raises(BadCiphertext, match="noise"):
        requester.open_block(answer)


@pytest.mark.parametrize(
    "template",
    [
        np.zeros(32, dtype=np.int8),
        np.full(32, 3, dtype=np.int8),
        np.ones(31, dtype=np.int8),
        np.ones((1, 32), dtype=np.int8),
        np.ones(32, dtype=np.int64),
    ],
    ids=["zero", "too large", "too short", "a batch", "another type"],
)
def test_only_templates_are_encrypted(template: np.ndarray) -> None:
    requester, _ = parties(PLAN)
    with pytest.raises(BadTemplate):
        requester.encrypt(template)


@pytest.mark.parametrize("row", [np.zeros(32), np.full(32, 2)], ids=["a row of zeros", "too large a norm"])
def test_a_block_that_could_wrap_or_is_empty_is_refused(row: np.ndarray) -> None:
    _, responder = parties(PLAN)
    block = np.tile(random_templates(np.random.default_rng(3), PLAN.profile, 1)[0], (PLAN.block_size, 1))
    block[17] = row.astype(np.int8)
    with pytest.raises(BadTemplate, match="row"):
        responder.encode(block)
    with pytest.raises(BadTemplate, match="shape"):
        responder.encode(block[:-1])


def test_two_encryptions_of_one_probe_share_nothing() -> None:
    first, second = good_query(), good_query()
    assert first[:SEED_BYTES] != second[:SEED_BYTES]
    same = np.frombuffer(first, dtype=np.uint8) == np.frombuffer(second, dtype=np.uint8)
    assert same.mean() < 0.02


def test_a_stored_secret_opens_later_answers() -> None:
    requester, responder = parties(PLAN)
    again = Requester.load(PLAN, requester.secret())
    probe = random_templates(np.random.default_rng(4), PLAN.profile, 1)[0]
    block = np.tile(probe, (PLAN.block_size, 1))
    answer = search(responder, again.encrypt(probe), block)
    assert (requester.open_block(answer).values == 0).all()
    assert (again.open_block(answer).values == 0).all()


def test_secrets_do_not_show() -> None:
    requester, _ = parties(PLAN)
    assert repr(requester) == "Requester(…)"
    assert requester.secret().hex() not in str(vars(requester).get("plan"))


def test_correction_factors_stay_one() -> None:
    """Friendly primes keep SEAL's BGV correction factor at 1, without which sums would lose bits silently."""
    requester, _ = parties(PLAN)
    responder = Responder(PLAN, requester.evaluation_keys(), use_kernel=False)
    bgv = responder._bgv
    assert isinstance(bgv, Bgv)
    probe = random_templates(np.random.default_rng(5), PLAN.profile, 1)[0]
    value = responder.prepare(requester.encrypt(probe), stream(0, None)).probe
    for level in range(PLAN.levels - 1, 0, -1):
        value = bgv.drop_to(value, level)
        assert bgv.correction_factor(value) == 1
