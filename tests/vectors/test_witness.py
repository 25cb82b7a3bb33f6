"""Our vectors of ML-DSA-44 notes, policies, witness exchanges and trees of edge sizes, read as others would."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crypto import merkle
from crypto.errors import BadProof, BadSignature
from crypto.note import (
    NoteVerifier,
    cosigned_message,
    log_signers,
    open_note,
    parse_note,
    parse_vkey,
    sign_note,
)
from node.audit_files import prove
from node.witness_client import read_cosignatures, read_size
from node.witness_store import WitnessDirectory, create_witness
from protocol import tiles
from protocol.audit.proof import parse_proof, verify_proof_by_policy
from protocol.audit.reader import MemoryReader
from protocol.audit.verify import verify_ledger
from protocol.checkpoint import Checkpoint
from protocol.log_policy import log_policy, parse_policy
from protocol.witness import parse_request, process

FILE = Path(__file__).resolve().parents[2] / "specs" / "vectors" / "witness.json"
VECTORS: dict[str, Any] = json.loads(FILE.read_text())
ROOTS = {int(size): bytes.fromhex(root) for size, root in VECTORS["edges"]["roots"].items()}
ENTRIES = [b"%d" % number for number in range(70000)]
LEAVES = [merkle.leaf_hash(entry) for entry in ENTRIES]


def test_the_file_is_what_its_generator_makes() -> None:
    spec = importlib.util.spec_from_file_location(
        "build_witness", Path(__file__).with_name("build_witness.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.render() == FILE.read_text()


def _by_definition(leaves: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, word by word."""
    if not leaves:
        return merkle.EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return merkle.node_hash(_by_definition(leaves[:split]), _by_definition(leaves[split:]))


def test_edge_roots() -> None:
    assert list(ROOTS) == [0, 1, 2, 255, 256, 257, 511, 512, 513, 65535, 65536, 65537, 66000, 70000]
    for size in (0, 1, 2, 255, 256, 257, 511, 512, 513, 65537, 70000):
        assert _by_definition(LEAVES[:size]) == ROOTS[size]


def test_edge_proofs() -> None:
    for case in VECTORS["edges"]["consistency"]:
        path = [bytes.fromhex(item) for item in case["path"]]
        old, new = case["old"], case["new"]
        merkle.verify_consistency(old, ROOTS[old], new, ROOTS[new], path)
        if old:
            with pytest.raises(BadProof):
                merkle.verify_consistency(old, ROOTS[new], new, ROOTS[new], path)
    for case in VECTORS["edges"]["inclusion of the last"]:
        path = [bytes.fromhex(item) for item in case["path"]]
        index, size = case["index"], case["size"]
        merkle.verify_inclusion(LEAVES[index], index, size, path, ROOTS[size])


def _tile_files(size: int) -> Iterator[tuple[str, bytes]]:
    row = LEAVES[:size]
    for level in tiles.levels_of(size):
        for ref in tiles.tiles_of(size, level):
            first = ref.index * tiles.TILE_WIDTH
            yield ref.path, b"".join(row[first : first + ref.width])
            if level == 0:
                entries = ENTRIES[first : first + ref.width]
                yield tiles.bundle_at(size, ref.index).path, tiles.encode_bundle(entries)
        whole = len(row) // tiles.TILE_WIDTH * tiles.TILE_WIDTH
        row = [tiles.subtree(row[at : at + 256]) for at in range(0, whole, tiles.TILE_WIDTH)]


@pytest.mark.parametrize("size", sorted(ROOTS))
def test_a_ledger_of_each_edge_size_is_verified_from_its_bytes(size: int) -> None:
    signers = log_signers("us.example/ledger", bytes(32))
    text = Checkpoint("us.example/ledger", size, ROOTS[size]).to_text()
    policy = log_policy([signer.verifier for signer in signers])
    files = dict(_tile_files(size)) | {"checkpoint": sign_note(text, signers)}
    report = verify_ledger(MemoryReader(files), policy, statements=False)
    assert report.findings == ()
    assert (report.size, report.root) == (size, ROOTS[size])
    for index in {0, size // 2, size - 1} if size else ():
        proof = prove(MemoryReader(files), index)
        verify_proof_by_policy(parse_proof(proof.to_bytes()), ENTRIES[index], parse_policy(policy))
    if size:
        last = tiles.tile_at(size, 0, (size - 1) // 256).path
        broken = bytearray(files[last])
        broken[-1] ^= 1
        report = verify_ledger(MemoryReader(files | {last: bytes(broken)}), policy, statements=False)
        assert last in {finding.file for finding in report.findings}


def _keys() -> list[NoteVerifier]:
    return [parse_vkey(vkey) for vkey in VECTORS["notes"]["vkeys"].values()]


def test_notes() -> None:
    for text, count in VECTORS["notes"]["good"].values():
        assert len(open_note(text.encode(), _keys()).verified) == count
        assert parse_note(text.encode()).to_bytes() == text.encode()


@pytest.mark.parametrize("name", VECTORS["notes"]["rejected"])
def test_rejected_notes(name: str) -> None:
    with pytest.raises(BadSignature):
        open_note(VECTORS["notes"]["rejected"][name].encode(), _keys())


def test_signed_messages() -> None:
    text = parse_note(VECTORS["notes"]["good"]["log by both"][0].encode()).text
    notes = VECTORS["notes"]
    assert cosigned_message("us.example/ledger", 0, text).hex() == notes["signed message of the log"]
    witnessed = cosigned_message("w.example", notes["time"], text)
    assert witnessed.hex() == notes["signed message of the witness"]
    assert witnessed.startswith(
        b"subtree/v1\n\0\x09w.example" + notes["time"].to_bytes(8, "big") + b"\x11us."
    )
    root = merkle.root(LEAVES[:7])
    assert witnessed.endswith(b"us.example/ledger" + bytes(8) + (7).to_bytes(8, "big") + root)


def test_policies() -> None:
    cases = VECTORS["policies"]
    policy = parse_policy(cases["policy"].encode())
    for note in cases["satisfied"].values():
        assert policy.shortfall(note.encode()) is None
    for name, note in cases["not satisfied"].items():
        assert policy.shortfall(note.encode()) is not None, name


def test_the_proof_file_under_its_policy() -> None:
    cases = VECTORS["policies"]
    policy = parse_policy(cases["policy"].encode())
    proof = parse_proof(cases["proof"]["text"].encode())
    entry = bytes.fromhex(cases["proof"]["entry"])
    assert verify_proof_by_policy(proof, entry, policy).size == 7
    with pytest.raises(BadProof):
        verify_proof_by_policy(proof, b"4", policy)
    alone = cases["not satisfied"]["no witness"].encode()
    with pytest.raises(BadSignature):
        verify_proof_by_policy(type(proof)(proof.index, proof.path, alone), entry, policy)


def test_witness_exchanges(tmp_path: Path) -> None:
    given = VECTORS["exchanges"]["witness"]
    keys = VECTORS["notes"]["vkeys"]
    create_witness(tmp_path / "w", given["name"], bytes.fromhex(given["seed"]))
    with WitnessDirectory.open(tmp_path / "w") as witness:
        logs = [parse_vkey(keys["log"]), parse_vkey(keys["log ML-DSA-44"])]
        witness.add_logs(logs)  # type: ignore[arg-type]
        verifiers = [parse_vkey(keys["witness"]), parse_vkey(keys["witness ML-DSA-44"])]
        for step in VECTORS["exchanges"]["steps"]:
            body = step["body"].encode()
            reply = process(witness, body, witness.signers(given["time"]))
            assert reply.status == step["status"], step["name"]
            if reply.status == 200:
                text = parse_note(parse_request(body).note).text
                assert len(read_cosignatures(text, reply.body, verifiers)) == 2  # type: ignore[arg-type]
            if reply.status == 409:
                assert read_size(reply.body) == step["size"]
        assert len(witness.forks()) == 1
