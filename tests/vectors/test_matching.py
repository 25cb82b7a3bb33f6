"""Test vectors of specs/matching.md, sections 3 to 6, failures included."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crypto.contexts import Context, hash_fields
from crypto.errors import ConcordatError, ImpossibleProfile
from crypto.hitsearch import MaskStream, Requester, plan_for
from crypto.hitsearch.packing import pack_words, unpack_words
from crypto.hitsearch.plain import answer_values
from crypto.hitsearch.sampling import small_errors, ternary, uniform_polynomial
from crypto.profiles import SearchProfile
from node.profiles import builtin

VECTORS = json.loads((Path(__file__).parents[2] / "specs" / "vectors" / "matching.json").read_text())


def by_comment(name: str) -> Any:
    return pytest.mark.parametrize("case", VECTORS[name], ids=lambda case: case["comment"])


@by_comment("searches")
def test_searches(case: dict[str, Any]) -> None:
    plan = plan_for(SearchProfile(**case["profile"]))
    assert {
        "identifier": plan.identifier.hex(),
        "data_primes": list(plan.data_primes),
        "special_prime": plan.special_prime,
        "baby_steps": plan.baby_steps,
        "query_bytes": plan.query_bytes,
        "keys_bytes": plan.keys_bytes,
        "answer_block_bytes": plan.answer_block_bytes,
    } == case["plan"]
    slots = case["slots"]
    block = np.zeros((plan.block_size, plan.profile.n), dtype=np.int64)
    block[:, 0] = 1
    block[: len(slots)] = [slot["template"] for slot in slots]
    probe = np.array(case["probe"])
    binding = bytes.fromhex(case["seed"]), bytes.fromhex(case["exchange_id"]), case["block"], case["attempt"]
    opened = answer_values(probe, block, plan, MaskStream(*binding))
    values, tokens = opened.values, MaskStream(*binding).tokens(plan.degree)
    assert opened.tokens[: len(slots)].tolist() == [slot["token_value"] for slot in slots]
    assert tokens[: len(slots)].tolist() == [slot["token"] for slot in slots]
    assert values[: len(slots)].tolist() == [slot["value"] for slot in slots]
    assert (block[: len(slots)] @ probe).tolist() == [slot["score"] for slot in slots]
    assert (values[: len(slots)] == 0).tolist() == [slot["hit"] for slot in slots]
    assert MaskStream(*binding).masks(b"hits", len(slots), 65537).tolist() == [slot["mask"] for slot in slots]


@by_comment("impossible")
def test_impossible_profiles(case: dict[str, Any]) -> None:
    with pytest.raises(ImpossibleProfile):
        plan_for(SearchProfile(*case["profile"]))


def test_digits() -> None:
    case = VECTORS["digits"]
    binding = bytes.fromhex(case["seed"]), bytes.fromhex(case["exchange_id"]), case["block"], case["attempt"]
    drawn = MaskStream(*binding).digits(case["label"].encode(), len(case["values"]), 65537)
    assert drawn.tolist() == case["values"]


def test_streams_of_further_probes() -> None:
    case = VECTORS["probe_streams"]
    binding = bytes.fromhex(case["seed"]), bytes.fromhex(case["exchange_id"]), case["block"], case["attempt"]
    for one in case["probes"]:
        drawn = MaskStream(*binding, one["probe"])
        assert drawn.masks(b"hits", len(one["masks"]), 65537).tolist() == one["masks"]
        assert drawn.tokens(len(one["tokens"])).tolist() == one["tokens"]


def test_polynomials_from_seeds() -> None:
    case = VECTORS["expansions"]
    part = hash_fields(Context.UNIFORM_HALF, bytes.fromhex(case["seed"]), case["label"].encode())
    for uniform in case["uniform"]:
        words = uniform_polynomial(part, (uniform["prime"],), 16384)
        assert words[:16].tolist() == uniform["words"]
    for name, draw in (("ternary", ternary), ("errors", small_errors)):
        wanted = case[name]["coefficients"]
        assert draw(bytes.fromhex(case[name]["key"]), 16384)[: len(wanted)].tolist() == wanted


@pytest.mark.parametrize(
    "case", VECTORS["expansions"]["evaluation_keys"], ids=lambda case: case["secret"][:8]
)
def test_one_secret_has_one_key_set(case: dict[str, Any]) -> None:
    plan = plan_for(builtin(case["profile"]).search)
    keys = Requester.load(plan, bytes.fromhex(case["secret"])).evaluation_keys()
    assert hashlib.sha256(keys).hexdigest() == case["sha256"]


@by_comment("words")
def test_words(case: dict[str, Any]) -> None:
    packed, bits = bytes.fromhex(case["packed"]), case["bits"]
    if "error" in case:
        with pytest.raises(ConcordatError) as caught:
            unpack_words(packed, case["count"], bits, case["modulus"])
        assert caught.value.code == case["error"]
        return
    words = unpack_words(packed, case["count"], bits, case["modulus"])
    assert words.tolist() == case["words"]
    assert pack_words(words, bits) == packed
