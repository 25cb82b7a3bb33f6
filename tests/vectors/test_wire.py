"""The published vectors of the wire, read from the file as another implementation would."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from parties import request

import protocol.messages
from crypto import merkle
from crypto.contexts import Context, hash_fields
from crypto.errors import ConcordatError
from crypto.note import parse_vkey
from crypto.signing import SigningKey, VerifyKey
from protocol import wire
from protocol.agreement import read_agreement
from protocol.checkpoint import open_checkpoint
from protocol.claims import Claim, ClaimVerdict, decided, read_claim, read_verdict, sent, settled
from protocol.conflict import BadConflict, conflict_log, read_conflict, verify_conflict
from protocol.descriptor import read_descriptor
from protocol.errors import BadAgreement, BadDescriptor, Refused
from protocol.evidence import LogEvidence
from protocol.exchange.admission import check_message
from protocol.exchange.checks import own_query, verify_status
from protocol.exchange.claims import Reported, admit_claim, judge_claim, verify_verdict
from protocol.exchange.parties import Parties, Peer
from protocol.messages import (
    ErrorReply,
    Query,
    QuerySubmission,
    SignedMessage,
    message_hash,
    open_signed,
    sign,
)
from protocol.policy import Quota, allow, check
from protocol.witnessing import open_witnessed, witness_verifier

FILE = Path(__file__).resolve().parents[2] / "specs" / "vectors" / "wire.json"
VECTORS: dict[str, Any] = json.loads(FILE.read_text())
_hex = bytes.fromhex
KINDS: dict[str, type[SignedMessage]] = {
    name: getattr(protocol.messages, name)
    for name in ("Query", "Decision", "AnswerHeader", "ResultReport", "Receipt")
} | {"Claim": Claim, "ClaimVerdict": ClaimVerdict}
CLAIMS: dict[str, Any] = VECTORS["claims"]


def value_of(plain: Any) -> Any:
    if isinstance(plain, str):
        return _hex(plain[4:]) if plain.startswith("hex:") else plain
    if isinstance(plain, dict):
        return {key: value_of(item) for key, item in plain.items()}
    return [value_of(item) for item in plain] if isinstance(plain, list) else plain


def test_the_file_is_what_its_generator_makes() -> None:
    spec = importlib.util.spec_from_file_location("build_wire", Path(__file__).with_name("build_wire.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.render() == FILE.read_text()


def test_canonical_values() -> None:
    for case in VECTORS["canonical"]["good"]:
        assert wire.decode(_hex(case["bytes"]), 1000) == value_of(case["value"])
        assert wire.encode(value_of(case["value"])).hex() == case["bytes"]


@pytest.mark.parametrize("case", VECTORS["canonical"]["bad"], ids=lambda case: case["what"])
def test_bad_canonical_values(case: dict[str, Any]) -> None:
    with pytest.raises(ConcordatError) as caught:
        wire.decode(_hex(case["bytes"]), 1000)
    assert caught.value.code == case["code"]


@pytest.mark.parametrize("case", VECTORS["messages"], ids=lambda case: case["type"])
def test_messages(case: dict[str, Any]) -> None:
    keys, kind = VECTORS["keys"][case["signer"]], KINDS[case["type"]]
    message = open_signed(kind, _hex(case["envelope"]), VerifyKey(_hex(keys["public"])))
    assert message.to_bytes().hex() == case["message"]
    assert wire.decode(_hex(case["message"]), 10_000) == value_of(case["fields"])
    assert sign(message, SigningKey.from_seed(_hex(keys["seed"]))).hex() == case["envelope"]
    assert message_hash(_hex(case["envelope"])).hex() == case["hash"]
    assert case["context"] == message.CONTEXT.value


@pytest.mark.parametrize("case", VECTORS["bad_messages"], ids=lambda case: case["what"])
def test_bad_messages(case: dict[str, Any]) -> None:
    key = VerifyKey(_hex(VECTORS["keys"][case["signer"]]["public"]))
    with pytest.raises(ConcordatError) as caught:
        open_signed(KINDS[case["type"]], _hex(case["envelope"]), key)
    assert caught.value.code == case["code"]


def test_unsigned_messages_and_bodies() -> None:
    for case in VECTORS["unsigned"]:
        assert ErrorReply.from_bytes(_hex(case["bytes"])).stored_size == 7
    for case in VECTORS["bodies"]:
        assert hash_fields(Context(case["context"]), _hex(case["body"])).hex() == case["hash"]
    assert QuerySubmission.from_bytes(_hex(VECTORS["evidence"]["submission"])).seen_size == 0


def test_time_windows() -> None:
    now = VECTORS["now_ms"]
    fields = value_of(next(case["fields"] for case in VECTORS["messages"] if case["type"] == "Query"))
    for case in VECTORS["time_windows"]:
        times = {"created_ms": now + case["created"], "expires_ms": now + case["expires"]}
        query = Query.model_validate({**fields, **times})
        if case["inside"]:
            check_message(query, now)
        else:
            with pytest.raises(Refused, match="outside-time-window"):
                check_message(query, now)


@pytest.mark.parametrize("case", VECTORS["evidence"]["statuses"], ids=lambda case: case["what"])
def test_statuses_with_evidence(case: dict[str, Any]) -> None:
    keys = VECTORS["keys"]
    chile = Peer("CL", VerifyKey(_hex(keys["CL identity"]["public"])), parse_vkey(VECTORS["ledgers"]["CL"]))
    both = Parties("US", SigningKey.from_seed(_hex(keys["US identity"]["seed"])), chile)
    query = QuerySubmission.from_bytes(_hex(VECTORS["evidence"]["submission"])).query
    arguments = (both, query, _hex(VECTORS["evidence"]["intent_leaf"]), None, VECTORS["now_ms"])
    if case["code"] is None:
        verify_status(_hex(case["status"]), *arguments)
    else:
        with pytest.raises(ConcordatError) as caught:
            verify_status(_hex(case["status"]), *arguments)
        assert caught.value.code == case["code"]


@pytest.mark.parametrize("case", VECTORS["evidence"]["witnessed"], ids=lambda case: case["what"])
def test_witnessed_checkpoints(case: dict[str, Any]) -> None:
    evidence = LogEvidence.from_bytes(
        QuerySubmission.from_bytes(_hex(VECTORS["evidence"]["submission"])).evidence
    )
    log = parse_vkey(VECTORS["ledgers"]["US"])
    root = open_checkpoint(evidence.checkpoint, log).checkpoint.root
    witness = witness_verifier("CL", VerifyKey(_hex(VECTORS["keys"]["CL identity"]["public"])))
    roots = {0: merkle.EMPTY_ROOT, 1: root}
    arguments = (case["note"].encode(), log, witness, roots.get, VECTORS["now_ms"])
    if case["code"] is None:
        assert open_witnessed(*arguments).head == (1, root)
    else:
        with pytest.raises(ConcordatError) as caught:
            open_witnessed(*arguments)
        assert caught.value.code == case["code"]


@pytest.mark.parametrize("case", VECTORS["evidence"]["conflicts"], ids=lambda case: case["what"])
def test_conflict_files(case: dict[str, Any]) -> None:
    conflict = read_conflict(_hex(case["file"]))
    assert conflict.to_bytes() == _hex(case["file"])
    log = parse_vkey(VECTORS["ledgers"]["CL"])
    assert conflict_log(conflict).ed25519 == log
    if case["convicts"]:
        assert verify_conflict(conflict, log)
    else:
        with pytest.raises(BadConflict):
            verify_conflict(conflict, log)


def pair(own: str, peer: str) -> Parties:
    keys = VECTORS["keys"]
    key = VerifyKey(_hex(keys[f"{peer} identity"]["public"]))
    seed = _hex(keys[f"{own} identity"]["seed"])
    return Parties(own, SigningKey.from_seed(seed), Peer(peer, key, parse_vkey(VECTORS["ledgers"][peer])))


def reported() -> Reported:
    told = CLAIMS["reported"]
    return Reported(_hex(told["answer_hash"]), told["blocks"], told["hits"], told["answered_ms"])


def judged(case: dict[str, Any], check: Callable[[], object]) -> None:
    """The check passes, or is refused under the code that the case names."""
    if case["code"] is None:
        check()
    else:
        with pytest.raises(ConcordatError) as caught:
            check()
        assert caught.value.code == case["code"]


@pytest.mark.parametrize("case", CLAIMS["submissions"], ids=lambda case: case["what"])
def test_claims_as_they_arrive(case: dict[str, Any]) -> None:
    query = _hex(CLAIMS["query"])
    body, now_ms = _hex(case["body"]), CLAIMS["now_ms"]
    judged(case, lambda: admit_claim(body, pair("CL", "US"), query, reported(), None, now_ms))


@pytest.mark.parametrize("case", CLAIMS["replies"], ids=lambda case: case["what"])
def test_verdicts_as_they_arrive(case: dict[str, Any]) -> None:
    query, claim = own_query(_hex(CLAIMS["query"])), _hex(CLAIMS["claim"])
    body, now_ms = _hex(case["body"]), CLAIMS["now_ms"]
    judged(case, lambda: verify_verdict(body, pair("US", "CL"), query, claim, None, now_ms))


@pytest.mark.parametrize("case", CLAIMS["judgements"], ids=lambda case: case["what"])
def test_verdicts_on_claims(case: dict[str, Any]) -> None:
    claim = read_claim(_hex(CLAIMS["claim"])).model_copy(update={"block": case["block"]})
    now_ms = CLAIMS["reported"]["answered_ms"] + case["after_ms"]
    reason = judge_claim(claim, reported(), case["given"], case["claimed"], now_ms, is_first=case["is_first"])
    assert reason == case["reason"]


def test_statements_follow_from_claim_and_verdict() -> None:
    query, claim = own_query(_hex(CLAIMS["query"])), _hex(CLAIMS["claim"])
    accepted, refused = (_hex(CLAIMS["verdicts"][name]) for name in ("accepted", "refused"))
    made = [
        sent(query, claim, "another officer"),
        decided(query, claim, None),
        decided(query, claim, read_verdict(refused).reason),
        settled(query, claim, accepted, None),
        settled(query, claim, refused, "refused"),
    ]
    assert {one.shared.type: one.shared.to_bytes().hex() for one in made} == CLAIMS["statements"]


def test_descriptors_and_agreements() -> None:
    texts = VECTORS["texts"]
    read = read_descriptor(texts["descriptor"]["note"].encode())
    assert read.digest.hex() == texts["descriptor"]["digest"]
    assert read.fingerprint == texts["descriptor"]["fingerprint"]
    for case in texts["descriptor"]["bad"]:
        with pytest.raises(BadDescriptor):
            read_descriptor(case["note"].encode())
    agreement = read_agreement(texts["agreement"]["note"].encode())
    assert agreement.in_force
    assert agreement.digest.hex() == texts["agreement"]["digest"]
    for case in texts["agreement"]["bad"]:
        with pytest.raises(BadAgreement):
            read_agreement(case["note"].encode())


def test_policy() -> None:
    agreement = read_agreement(VECTORS["texts"]["agreement"]["note"].encode())
    for case in VECTORS["texts"]["policy"]:
        asked = request(agreement.digest, **value_of(case["changes"]))
        if case["reason"] is None:
            check(agreement, asked, VECTORS["now_ms"])
        else:
            with pytest.raises(Refused) as caught:
                check(agreement, asked, VECTORS["now_ms"])
            assert caught.value.reason == case["reason"]


def test_quota() -> None:
    agreement = read_agreement(VECTORS["texts"]["quota"]["note"].encode())
    for case in VECTORS["texts"]["quota"]["cases"]:
        asked = request(agreement.digest, **value_of(case["changes"]))
        spent = case["spent"]
        if case["reason"] is None:
            counts = Quota(agreement.digest, *case["counts"]) if case["counts"] else None
            assert allow(agreement, asked, VECTORS["now_ms"], lambda _, spent=spent: spent) == counts
        else:
            with pytest.raises(Refused) as caught:
                allow(agreement, asked, VECTORS["now_ms"], lambda _, spent=spent: spent)
            assert caught.value.reason == case["reason"]
