"""A logged answer is computed again, byte by byte, and every doctored one is named by the step where it differs."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from recomputing import (
    EXCHANGE,
    HITS,
    PLAN,
    REAL,
    REPLY,
    SECRET,
    SEED,
    TWIN,
    Exchange,
    computed_answer,
    gallery_blocks,
    held,
    made_keys,
    opened,
    without,
)
from searching import Templates, empty_slots

from crypto.errors import BadEncoding
from crypto.hitsearch import MaskStream
from node.recompute import Inputs, Recomputed, Side, recompute
from protocol import wire
from protocol.audit.search import plain, visible_part
from protocol.errors import BadMessage
from protocol.messages import message_hash
from protocol.statements import (
    Computation,
    Computed,
    QueryAccepted,
    QueryAnswered,
    QueryResult,
    Statement,
    parse_private,
)
from protocol.statements_claims import ClaimAccepted, Claimant, ClaimRefused, ClaimSent, HitClaim
from protocol.statements_keys import KeysAccepted

ALL = ["query", "seed", "gallery", "keys", "ciphertext", "answer", "result", "claims"]
OTHER = bytes([99]) * 32
BLOCK = 1
"""Its place in the answer follows from the seed."""


def verdicts(found: Recomputed) -> dict[str, str]:
    return {step.name: step.verdict.value for step in found.steps}


def first(found: Recomputed) -> tuple[str, str | None]:
    assert found.differs is not None
    return found.differs.name, found.differs.blame


def swapped(number: int, block: bytes) -> list[bytes]:
    answer = list(computed_answer(TWIN, gallery_blocks(), SEED))
    answer[number] = block
    return answer


def other_masks(seed: bytes, exchange_id: bytes, block: int | None, *binding: int) -> MaskStream:
    return MaskStream(OTHER if block == BLOCK else seed, exchange_id, block, *binding)


@pytest.mark.parametrize("scheme", [TWIN, REAL], ids=["twin", "real"])
def test_an_honest_answer_is_reproduced_to_the_byte(scheme: Any) -> None:
    exchange = Exchange(scheme=scheme)
    kept: list[bytes] = []
    seen: list[tuple[str, int, int]] = []
    found = recompute(exchange.inputs(), scheme, lambda *step: seen.append(step), kept.append)
    assert verdicts(found) == dict.fromkeys(ALL, "holds")
    assert (found.verdict, found.blocks, found.differs) == ("reproduced", 3, None)
    assert kept == exchange.answer_blocks()
    assert ("answer", 1, 3) in seen
    assert f"{HITS} hit(s)" in found.steps[ALL.index("result")].what
    shown = json.dumps(found.to_json())
    assert '"ok": true' in shown
    assert SEED.hex() not in shown


def test_the_real_scheme_tells_one_block_under_other_masks() -> None:
    """One block, so that what a key, a probe and an answer cost is paid once."""
    blocks = gallery_blocks()[:1]
    forged = computed_answer(REAL, blocks, SEED, stream=lambda s, e, b, a: MaskStream(s, e, b, a + 1))
    found = recompute(Exchange(scheme=REAL, blocks=blocks, answer=forged, hits=1).inputs(), REAL)
    assert first(found) == ("answer", "CL")
    assert verdicts(found)["result"] == "unchecked"


def doctored() -> dict[str, tuple[Exchange, str, str | None]]:
    """By name: an exchange in which one side did not do what it says, where that shows, and whose word it is."""
    blocks = gallery_blocks()
    fewer = computed_answer(TWIN, blocks, SEED)[:-1]
    masked = computed_answer(TWIN, blocks, SEED, stream=other_masks)
    empty = [*blocks[:2], empty_slots(PLAN)]
    return {
        "another seed than was committed to": (Exchange(logged={"seed": OTHER}), "seed", "CL"),
        "an answer from another seed": (
            Exchange(answer=computed_answer(TWIN, blocks, OTHER)),
            "answer",
            "CL",
        ),
        "one block under other masks": (Exchange(answer=masked), "answer", "CL"),
        "a block left out": (Exchange(answer=fewer), "answer", "CL"),
        "a block left out and hidden": (Exchange(answer=fewer, logged={"blocks": 3}), "answer", "CL"),
        "an answer from an emptier gallery": (
            Exchange(answer=computed_answer(TWIN, empty, SEED)),
            "answer",
            "CL",
        ),
        "a block that was said to be retried": (Exchange(logged={"retried": [BLOCK]}), "answer", "CL"),
        "another answer is logged": (Exchange(logged={"answer_hash": OTHER}), "query", None),
        "keys that are not of the secret": (Exchange(secret=OTHER), "keys", "US"),
        "a hit too many": (Exchange(hits=HITS + 1), "result", "US"),
        "no hit where there are some": (Exchange(hits=0, claimed=0), "result", "US"),
        "another count for the responder": (Exchange(claimed=HITS + 1), "result", "US"),
        "an answer that was called unusable": (
            Exchange(hits=0, outcome={"outcome": "failed", "reason": "bad-answer", "answer_hash": None}),
            "result",
            "US",
        ),
    }


@pytest.mark.parametrize("name", sorted(doctored()))
def test_a_doctored_exchange_is_named_by_its_step(name: str) -> None:
    exchange, step, blame = doctored()[name]
    found = recompute(exchange.inputs(), TWIN)
    assert (found.verdict, *first(found)) == ("differs", step, blame)
    assert not found.to_json()["ok"]
    before = ALL[: ALL.index(step)]
    assert {verdicts(found)[one] for one in before} <= {"holds"}, "nothing before it differs"


def test_the_block_that_differs_is_named() -> None:
    blocks = gallery_blocks()
    place = MaskStream(SEED, EXCHANGE, None, 0).order(3).index(BLOCK)
    exchange = Exchange(answer=computed_answer(TWIN, blocks, SEED, stream=other_masks))
    differs = recompute(exchange.inputs(), TWIN).differs
    assert differs is not None
    assert f"block {place} of the answer" in differs.what
    assert f"gallery block {BLOCK}" in differs.what
    # hashes of blocks that the entry does not name accuse no block; the answer as a whole still differs
    forged = replace(exchange.inputs(), block_hashes=[OTHER] * 3)
    differs = recompute(forged, TWIN).differs
    assert differs is not None
    assert (differs.name, "block 0" in differs.what) == ("answer", False)


def test_hashes_of_blocks_cannot_hide_what_the_whole_hash_shows() -> None:
    """The blocks that are kept are honest, the answer that was logged and sent on is not."""
    inputs = Exchange(logged={"answer_hash": OTHER}).inputs()
    assert inputs.requester is not None
    alone = replace(inputs, requester=None)
    assert first(recompute(alone, TWIN)) == ("answer", "CL")


def test_a_retried_block_is_answered_by_the_second_attempt() -> None:
    answer = computed_answer(TWIN, gallery_blocks(), SEED, retried=[BLOCK])
    assert (
        recompute(Exchange(answer=answer, logged={"retried": [BLOCK]}).inputs(), TWIN).verdict == "reproduced"
    )
    assert first(recompute(Exchange(answer=answer).inputs(), TWIN)) == ("answer", "CL")


def test_a_changed_gallery_is_told_from_one_that_is_gone() -> None:
    inputs = Exchange().inputs()
    assert inputs.gallery is not None

    def damaged(number: int) -> Templates:
        if number == BLOCK:
            raise BadEncoding("not the one that was imported")
        return gallery_blocks()[number]

    changed = recompute(replace(inputs, gallery=replace(inputs.gallery, load=damaged)), TWIN)
    assert first(changed) == ("gallery", "CL")
    for gone in (held(gallery_blocks()[:2]), None):
        found = recompute(replace(inputs, gallery=gone), TWIN)
        assert found.verdict == "incomplete"
        assert verdicts(found)["gallery"] == "missing"
        assert "gallery state no longer held" in found.to_json()["missing"][0]
        assert verdicts(found)["answer"] == "unchecked"


@pytest.mark.parametrize(
    ("name", "step", "rest"),
    [
        ("ciphertext", "ciphertext", "unchecked"),
        ("query", "query", "unchecked"),
        ("profile", "keys", "unchecked"),
    ],
)
def test_what_is_missing_is_said_and_nothing_is_concluded(name: str, step: str, rest: str) -> None:
    found = recompute(without(Exchange().inputs(), name), TWIN)
    assert (found.verdict, found.differs) == ("incomplete", None)
    assert verdicts(found)[step] == "missing"
    assert verdicts(found)["answer"] == rest


def test_other_bytes_than_were_asked_with_are_told() -> None:
    inputs = Exchange().inputs()
    assert inputs.ciphertext is not None
    changed = bytes([inputs.ciphertext[0] ^ 1]) + inputs.ciphertext[1:]
    assert first(recompute(replace(inputs, ciphertext=changed), TWIN)) == ("ciphertext", "CL")
    other = replace(without(inputs, "requester"), evaluation_keys=made_keys(TWIN, OTHER)[1])
    assert first(recompute(other, TWIN)) == ("keys", "CL")


def test_without_the_requester_the_answer_is_reproduced_and_not_opened() -> None:
    found = recompute(without(Exchange(hits=HITS + 1).inputs(), "requester"), TWIN)
    assert found.verdict == "reproduced"
    assert verdicts(found) == dict.fromkeys(ALL, "holds") | {"result": "unchecked"}
    found = recompute(without(Exchange().inputs(), "requester", "evaluation_keys"), TWIN)
    assert verdicts(found)["keys"] == "missing"


def test_the_escrow_makes_keys_that_the_responder_holds_no_longer() -> None:
    assert recompute(without(Exchange().inputs(), "evaluation_keys"), TWIN).verdict == "reproduced"
    inputs = Exchange().inputs()
    assert inputs.requester is not None
    closed = [one for one in inputs.requester.opened if not isinstance(one.shared, KeysAccepted)]
    sealed_away = replace(inputs, requester=Side("US", closed, 1))
    found = recompute(sealed_away, TWIN)
    assert (found.verdict, verdicts(found)["result"]) == ("reproduced", "unchecked")
    assert verdicts(recompute(without(sealed_away, "evaluation_keys"), TWIN))["keys"] == "missing"


def test_an_answer_of_an_earlier_version_has_no_seed() -> None:
    inputs = Exchange().inputs()
    assert inputs.responder is not None
    older = [
        opened(one.shared, Computed(records=1, compute_ms=1))
        if isinstance(one.shared, QueryAnswered)
        else one
        for one in inputs.responder.opened
    ]
    found = recompute(replace(inputs, responder=Side("CL", older)), TWIN)
    assert (found.verdict, verdicts(found)["seed"]) == ("incomplete", "missing")


def test_a_query_that_was_given_up_accuses_nobody() -> None:
    for reason in ("expired", "too-many-hits"):
        outcome = {"outcome": "failed", "reason": reason, "answer_hash": None}
        found = recompute(Exchange(hits=0, outcome=outcome).inputs(), TWIN)
        assert (found.verdict, verdicts(found)["result"]) == ("reproduced", "unchecked")


def test_one_hit_is_not_too_many() -> None:
    outcome = {"outcome": "failed", "reason": "too-many-hits", "answer_hash": None}
    found = recompute(Exchange(blocks=gallery_blocks()[:1], hits=0, outcome=outcome).inputs(), TWIN)
    assert first(found) == ("result", "US")


def test_the_two_halves_can_be_done_in_two_places() -> None:
    """The responder's auditor computes the answer, the requester's opens it: no place has both escrows."""
    written: list[bytes] = []
    whole = Exchange().inputs()
    assert recompute(without(whole, "requester"), TWIN, keep=written.append).verdict == "reproduced"

    def given(blocks: list[bytes], exchange: Exchange) -> Recomputed:
        inputs = without(exchange.inputs(), "responder", "gallery", "ciphertext", "evaluation_keys")
        return recompute(replace(inputs, answer=lambda _: iter(blocks)), TWIN)

    found = given(written, Exchange())
    assert verdicts(found) == dict.fromkeys(("query", "keys", "answer", "result", "claims"), "holds")
    assert first(given(written, Exchange(hits=HITS - 1))) == ("result", "US")
    assert first(given(written[:-1], Exchange())) == ("answer", None)
    assert first(given(written, Exchange(secret=OTHER))) == ("keys", "US")


def test_a_ledger_that_names_another_query_is_told() -> None:
    inputs = Exchange().inputs()
    assert inputs.requester is not None
    changed = [
        replace(
            one, statement=replace(one.statement, shared=one.shared.model_copy(update={"query_hash": OTHER}))
        )
        if isinstance(one.shared, QueryResult)
        else one
        for one in inputs.requester.opened
    ]
    found = recompute(replace(inputs, requester=Side("US", changed)), TWIN)
    assert first(found) == ("query", "US")
    assert verdicts(found)["answer"] == "unchecked"


def hits_of(exchange: Exchange) -> list[tuple[int, int, int]]:
    """Block of the answer, slot and token of each hit."""
    requester = made_keys(TWIN, SECRET)[0]
    return [
        (number, slot, token)
        for number, block in enumerate(exchange.answer_blocks())
        for slot, token in requester.open_block(block).hits()
    ]


def claimed(inputs: Inputs, kind: type[HitClaim], hit: tuple[int, int, int], **changes: Any) -> Inputs:
    """The same exchange with a statement about a claim, on the ledger where it belongs."""
    block, slot, token = hit
    fields = {**REPLY, "query_hash": bytes(32), "answer_hash": bytes(32), "claim_hash": bytes(32), **changes}
    assert inputs.query is not None
    fields["query_hash"] = message_hash(inputs.query)
    said = opened(
        kind(**fields, block=block, slot=slot, token=token),
        Claimant(officer="o") if kind is ClaimSent else None,
    )
    side = inputs.requester if kind is ClaimSent else inputs.responder
    assert side is not None
    changed = Side(side.country, [*side.opened, said])
    return replace(inputs, **{"requester" if kind is ClaimSent else "responder": changed})


def test_claims_are_judged_by_the_tokens_of_the_seed() -> None:
    exchange = Exchange()
    inputs, hits = exchange.inputs(), hits_of(exchange)
    block, slot, token = hits[-1]
    wrong = (block, slot, token ^ 1)
    for kind, hit, changes, country in (
        (ClaimAccepted, hits[0], {}, None),
        (ClaimAccepted, wrong, {}, "CL"),
        (ClaimAccepted, (block, 0, token), {}, "CL"),
        (ClaimAccepted, (3, slot, token), {}, "CL"),
        (ClaimRefused, wrong, {"reason": "token-mismatch"}, None),
        (ClaimRefused, hits[-1], {"reason": "token-mismatch"}, "CL"),
        (ClaimRefused, hits[-1], {"reason": "too-late"}, None),
        (ClaimSent, hits[0], {}, None),
        (ClaimSent, (block, 0, token), {}, "US"),
    ):
        found = recompute(claimed(inputs, kind, hit, **changes), TWIN)
        assert verdicts(found)["result"] == "holds"
        assert (None if found.differs is None else first(found)) == (country and ("claims", country)), (
            kind,
            hit,
        )
    retried = Exchange(answer=computed_answer(TWIN, gallery_blocks(), SEED, [2]), logged={"retried": [2]})
    for hit in hits_of(retried):
        assert recompute(claimed(retried.inputs(), ClaimAccepted, hit), TWIN).verdict == "reproduced"


def test_no_command_shows_a_seed() -> None:
    how = Computation(records=1, compute_ms=1, seed=SEED, retried=[], answer_blocks=OTHER)
    shown = visible_part(how)
    assert shown["answer_blocks"] == OTHER
    assert SEED not in shown.values()
    assert SEED.hex() not in json.dumps(plain(shown))


def test_answers_of_both_versions_are_read() -> None:
    inputs = Exchange().inputs()
    assert inputs.responder is not None
    said = inputs.responder.said(QueryAnswered)
    assert said is not None
    older = Computed(records=1, compute_ms=2)
    newer = Computation(**older.model_dump(), seed=SEED, retried=[3], answer_blocks=OTHER)
    for private in (older, newer):
        assert parse_private(Statement(said, private).private.to_bytes(), said) == private
    accepted = inputs.responder.said(QueryAccepted)
    assert accepted is not None
    with pytest.raises(TypeError):
        Statement(accepted, newer)
    with pytest.raises(BadMessage):
        parse_private(wire.encode({"records": 1, "compute_ms": 2, "seed": SEED}), said)
