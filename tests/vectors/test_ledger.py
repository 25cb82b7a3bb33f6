"""Our own vectors, read from the file as another implementation would, and made again from their seeds."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from crypto import merkle
from crypto.contexts import Context
from crypto.errors import BadEncoding, BadSignature, ConcordatError
from crypto.note import NoteVerifier, open_note, parse_context_vkey, parse_note, parse_vkey
from protocol import statements as s
from protocol import tiles
from protocol.audit.proof import parse_proof, verify_proof
from protocol.checkpoint import parse_checkpoint_text
from protocol.evidence import LogEvidence, verify_evidence
from protocol.leaf import Leaf
from protocol.log_policy import BadPolicy, parse_policy
from protocol.opening import Opening, verify_opening
from protocol.payload import PayloadBox, open_as_auditor, open_as_node
from protocol.statement_parts import SharedPart

FILE = Path(__file__).resolve().parents[2] / "specs" / "vectors" / "ledger.json"
VECTORS: dict[str, Any] = json.loads(FILE.read_text())
_hex = bytes.fromhex


def test_the_file_is_what_its_generator_makes() -> None:
    spec = importlib.util.spec_from_file_location("build_ledger", Path(__file__).with_name("build_ledger.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.render() == FILE.read_text()


def test_roots_and_proofs() -> None:
    cases = VECTORS["merkle"]
    leaves = [merkle.leaf_hash(b"%d" % n) for n in range(513)]
    roots = {int(size): _hex(root) for size, root in cases["roots"].items()}
    for size, root in roots.items():
        assert merkle.root(leaves[:size]) == root
    for case in cases["inclusion"]:
        path = [_hex(item) for item in case["path"]]
        merkle.verify_inclusion(leaves[case["index"]], case["index"], case["size"], path, roots[case["size"]])
    for case in cases["consistency"]:
        path = [_hex(item) for item in case["path"]]
        merkle.verify_consistency(case["old"], roots[case["old"]], case["new"], roots[case["new"]], path)


def _verifiers() -> dict[str, NoteVerifier]:
    keys = VECTORS["notes"]["vkeys"]
    return {
        "log": parse_vkey(keys["log"]),
        "witness": parse_vkey(keys["witness"]),
        "agreement": parse_context_vkey(keys["agreement"], Context.AGREEMENT),
    }


def test_notes() -> None:
    keys = list(_verifiers().values())
    for name, text in VECTORS["notes"]["good"].items():
        assert len(open_note(text.encode(), keys).verified) == 1 + name.count(" and ")
    for text in VECTORS["notes"]["malformed"].values():
        with pytest.raises(BadEncoding):
            parse_note(text.encode())
    for text in VECTORS["notes"]["rejected"].values():
        parse_note(text.encode())
        with pytest.raises(BadSignature):
            open_note(text.encode(), keys)


def test_checkpoints() -> None:
    good = VECTORS["checkpoints"]["good"]
    checkpoint = parse_checkpoint_text(good["text"].encode())
    assert (checkpoint.origin, checkpoint.size) == (good["origin"], good["size"])
    assert checkpoint.root == _hex(good["root"])
    for text in VECTORS["checkpoints"]["malformed"].values():
        with pytest.raises(BadEncoding):
            parse_checkpoint_text(text.encode())


def test_policies() -> None:
    cases = VECTORS["policies"]
    both = VECTORS["notes"]["good"]["log and witness"].encode()
    alone = VECTORS["notes"]["good"]["log"].encode()
    strict = parse_policy(cases["met by log and witness"].encode())
    assert strict.missing(open_note(both, strict.verifiers)) is None
    assert strict.missing(open_note(alone, strict.verifiers)) is not None
    loose = parse_policy(cases["met by log alone"].encode())
    assert loose.missing(open_note(alone, loose.verifiers)) is None
    for text in cases["malformed"]:
        with pytest.raises(BadPolicy):
            parse_policy(text.encode())


def test_tiles() -> None:
    cases = VECTORS["tiles"]
    for path, (level, index, width) in cases["paths"].items():
        assert tiles.parse_path(path) == tiles.TileRef(level, index, width)
    for path in cases["malformed paths"]:
        with pytest.raises(BadEncoding):
            tiles.parse_path(path)
    entries = [_hex(entry) for entry in cases["bundle"]["entries"]]
    assert tiles.encode_bundle(entries) == _hex(cases["bundle"]["bytes"])
    for data in cases["malformed bundles of 3"]:
        with pytest.raises(BadEncoding):
            tiles.parse_bundle(_hex(data), 3)


def test_there_is_an_example_of_every_statement() -> None:
    assert set(VECTORS["statements"]["examples"]) == set(s.STATEMENTS)


@pytest.mark.parametrize("kind", sorted(s.STATEMENTS))
def test_statements(kind: str) -> None:
    common, case = VECTORS["statements"], VECTORS["statements"]["examples"][kind]
    leaf = Leaf.from_bytes(_hex(case["leaf"]))
    assert leaf.time_ms == common["time_ms"]
    opening = Opening(
        shared=_hex(case["shared"]),
        salt=_hex(case["shared_salt"]),
        private_digest=_hex(case["private_digest"]),
    )
    shared = verify_opening(leaf, opening)
    assert (shared.type, shared.exchange_id) == (kind, _hex(common["exchange_id"]))
    box = PayloadBox.from_bytes(_hex(case["payload"]))
    as_node = open_as_node(leaf, box, _hex(common["storage_key"]))
    as_auditor = open_as_auditor(leaf, box, _hex(common["auditor_private_key"]))
    assert as_node == as_auditor
    assert as_node.opening == opening
    assert as_node.private.to_bytes() == _hex(case["private"])


@pytest.mark.parametrize("case", VECTORS["evidence"]["cases"], ids=lambda case: case["name"])
def test_evidence(case: dict[str, Any]) -> None:
    log = parse_vkey(VECTORS["evidence"]["vkey"])
    held = case["last_seen"]
    last_seen = held and (held["size"], _hex(held["root"]))
    evidence = LogEvidence.from_bytes(_hex(case["evidence"]))
    if case["error"] is None:
        verify_evidence(evidence, log, last_seen, s.QueryIntent)
        return
    with pytest.raises(ConcordatError) as caught:
        verify_evidence(evidence, log, last_seen, SharedPart)
    assert caught.value.code == case["error"]


def test_the_proof_file() -> None:
    case = VECTORS["evidence"]["proof_file"]
    proof = parse_proof(case["text"].encode())
    verify_proof(proof, _hex(case["entry"]), parse_vkey(VECTORS["evidence"]["vkey"]))
