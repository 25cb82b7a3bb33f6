"""What other people's tools verified or signed of our ledgers, held against our own readers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ledgers import filler

from crypto import merkle
from crypto.errors import BadEncoding, BadProof, BadSignature
from crypto.note import Note, NoteSignature, parse_note, parse_vkey
from protocol.audit.proof import parse_proof, verify_proof_by_policy
from protocol.checkpoint import parse_checkpoint_text
from protocol.log_policy import parse_policy

FILE = Path(__file__).resolve().parents[2] / "specs" / "vectors" / "interop.json"
VECTORS: dict[str, Any] = json.loads(FILE.read_text())
PROOF = VECTORS["proof"]
COSIGNED = ("cosigned", "witness")


def _keys(policy: str) -> list[str]:
    lines = [line.split(" ") for line in policy.splitlines()]
    return [words[{"log": 1, "witness": 2}[words[0]]] for words in lines if words[0] in ("log", "witness")]


@pytest.mark.parametrize("name", COSIGNED)
def test_checkpoints_cosigned_across_tools(name: str) -> None:
    case = VECTORS[name]
    note = parse_note(case["checkpoint"].encode())
    policy = parse_policy(case["policy"].encode())
    assert policy.shortfall(case["checkpoint"].encode()) is None
    assert parse_checkpoint_text(note.text).size == 709
    for vkey in _keys(case["policy"]):
        key = parse_vkey(vkey)
        (line,) = (line for line in note.signatures if (line.name, line.key_id) == (key.name, key.key_id))
        key.check(note.text, line.payload)
        # Every line counts: without it, and with a wrong one, the policy is not met.
        others = tuple(other for other in note.signatures if other != line)
        wrong = NoteSignature(line.name, line.key_id, bytes([line.payload[0] ^ 1]) + line.payload[1:])
        for lines in (others, (*others, wrong)):
            assert policy.shortfall(Note(note.text, lines).to_bytes()) is not None


def test_both_kinds_of_key_on_both_sides() -> None:
    for name in COSIGNED:
        keys = [parse_vkey(vkey) for vkey in _keys(VECTORS[name]["policy"])]
        assert {key.kind for key in keys} == {b"\x01", b"\x04", b"\x06"}


def test_the_proof_that_others_accepted() -> None:
    proof = parse_proof(PROOF["proof"].encode())
    assert proof.to_bytes() == PROOF["proof"].encode()
    policy = parse_policy(PROOF["policy"].encode())
    checkpoint = verify_proof_by_policy(proof, bytes.fromhex(PROOF["entry"]), policy)
    assert (proof.index, checkpoint.size) == (300, 709)
    assert (
        checkpoint.root
        == parse_checkpoint_text(parse_note(VECTORS["cosigned"]["checkpoint"].encode()).text).root
    )


@pytest.mark.parametrize("edit", PROOF["edits"], ids=lambda edit: edit["what"])
def test_edited_proofs(edit: dict[str, str]) -> None:
    assert PROOF["proof"].count(edit["old"]) == 1
    data = PROOF["proof"].replace(edit["old"], edit["new"]).encode()
    policy = parse_policy(PROOF["policy"].encode())
    entry = bytes.fromhex(PROOF["entry"])
    if edit["concordat"] == "accept":
        verify_proof_by_policy(parse_proof(data), entry, policy)
    else:
        with pytest.raises((BadEncoding, BadProof, BadSignature)):
            verify_proof_by_policy(parse_proof(data), entry, policy)


def test_nothing_is_accepted_that_others_refuse() -> None:
    refused = [edit for edit in PROOF["edits"] if edit["others"] == "refuse"]
    assert len(refused) == 8
    assert {edit["concordat"] for edit in refused} == {"refuse"}


def test_the_root_of_three_levels_that_others_computed() -> None:
    tree = VECTORS["tree"]
    leaves = [merkle.leaf_hash(filler(number)) for number in range(tree["size"])]
    assert merkle.root(leaves).hex() == tree["root"]
