"""Other people's vectors: proofs, a whole tiled log, a fixed cosignature. Read where they are, never copied."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from public_vectors import public_vectors

from crypto import merkle
from crypto.errors import BadProof, BadSignature, ConcordatError
from crypto.note import cosignature_time, open_note, parse_note, parse_vkey
from node.audit_files import DirectoryReader, prove
from protocol import tiles
from protocol.audit.proof import verify_proof
from protocol.audit.reader import MemoryReader
from protocol.audit.report import Findings, Rule
from protocol.audit.tree import verify_tree
from protocol.audit.verify import verify_ledger
from protocol.checkpoint import open_checkpoint, parse_checkpoint_text
from protocol.log_policy import parse_policy

VECTORS = public_vectors()
LOG = VECTORS / "tessera-log"
PROOFS = sorted((VECTORS / "merkle").rglob("*.json"))


def _bytes(text: str | None) -> bytes:
    return base64.b64decode(text or "")


def test_all_the_proofs_are_there() -> None:
    assert len(PROOFS) == 196


@pytest.mark.parametrize("path", PROOFS, ids=lambda p: str(p.relative_to(VECTORS / "merkle")))
def test_merkle_proofs(path: Path) -> None:
    case: dict[str, Any] = json.loads(path.read_text())
    proof = [_bytes(item) for item in case["proof"] or []]

    def check() -> None:
        if "leafIdx" in case:
            merkle.verify_inclusion(
                _bytes(case["leafHash"]), case["leafIdx"], case["treeSize"], proof, _bytes(case["root"])
            )
        else:
            merkle.verify_consistency(
                case["size1"], _bytes(case["root1"]), case["size2"], _bytes(case["root2"]), proof
            )

    if case["wantErr"]:
        with pytest.raises(BadProof):
            check()
    else:
        check()


def _tessera() -> dict[str, bytes]:
    return {
        str(path.relative_to(LOG)): path.read_bytes()
        for path in LOG.rglob("*")
        if path.is_file() and ".state" not in path.parts
    }


def test_the_tiled_log_at_every_checkpoint() -> None:
    files = _tessera()
    entries = tiles.parse_bundle(files["tile/entries/000.p/15"], 15)
    hashes = [merkle.leaf_hash(entry) for entry in entries]
    reader = merkle.list_reader(hashes)
    final = parse_checkpoint_text(parse_note(files["checkpoint"]).text)
    for size in range(16):
        checkpoint = parse_checkpoint_text(parse_note(files[f"checkpoint.{size}"]).text)
        assert (checkpoint.size, checkpoint.root) == (size, merkle.root(hashes[:size]))
        merkle.verify_consistency(
            size, checkpoint.root, 15, final.root, merkle.consistency_proof(size, 15, reader)
        )
        for index in range(size):
            proof = merkle.inclusion_proof(size, index, reader)
            merkle.verify_inclusion(hashes[index], index, size, proof, checkpoint.root)
        if size:
            assert b"".join(hashes[:size]) == files[f"tile/0/000.p/{size}"]
            assert tiles.encode_bundle(entries[:size]) == files[f"tile/entries/000.p/{size}"]


def test_the_audit_finds_nothing_wrong_with_the_log_but_its_unknown_key() -> None:
    """The log's public key is not among the vectors, so its signatures stay unknown."""
    for size in range(16):
        files = _tessera()
        files["checkpoint"] = files[f"checkpoint.{size}"]
        findings = Findings()
        tree = verify_tree(MemoryReader(files), parse_policy(b"quorum none\n"), findings)
        assert [finding.rule for finding in findings.kept] == [Rule.CHECKPOINT_SIGNATURE]
        assert tree.checkpoint is not None
        assert tree.root == tree.checkpoint.root


def test_every_flipped_byte_of_the_log_is_found() -> None:
    files = _tessera()
    policy = b"quorum none\n"
    for path in ("tile/0/000.p/15", "tile/entries/000.p/15", "tile/0/000.p/3", "tile/entries/000.p/9"):
        for position in range(len(files[path])):
            changed = bytearray(files[path])
            changed[position] ^= 1
            report = verify_ledger(MemoryReader(files | {path: bytes(changed)}), policy, statements=False)
            assert path in {finding.file for finding in report.findings}


def test_proof_files_from_the_log(tmp_path: Path) -> None:
    shutil.copytree(LOG, tmp_path / "log")
    reader = DirectoryReader(tmp_path / "log")
    entries = tiles.parse_bundle(_tessera()["tile/entries/000.p/15"], 15)
    vkey = parse_vkey(SUNLIGHT_WITNESS)
    for index, entry in enumerate(entries):
        proof = prove(reader, index)
        checkpoint = parse_checkpoint_text(parse_note(proof.checkpoint).text)
        merkle.verify_inclusion(
            merkle.leaf_hash(entry), proof.index, checkpoint.size, proof.path, checkpoint.root
        )
        with pytest.raises(BadSignature):
            verify_proof(proof, entry, vkey)


WITNESS_DATA = VECTORS / "sunlight" / "cmd" / "skylight" / "testdata" / "witness"
SUNLIGHT_WITNESS = json.loads((WITNESS_DATA / "witness.v0.json").read_text())["verifier_keys"][0]
MIRROR = json.loads((WITNESS_DATA / "mirror" / "mirror.v0.json").read_text())["verifier_keys"][0]


@pytest.mark.parametrize(
    ("base", "vkey"), [(WITNESS_DATA, SUNLIGHT_WITNESS), (WITNESS_DATA / "mirror", MIRROR)]
)
def test_the_fixed_cosignatures(base: Path, vkey: str) -> None:
    (path,) = (p for p in base.glob("*/checkpoint") if len(p.parent.name) == 64)
    data = path.read_bytes()
    verifier = parse_vkey(vkey)
    assert verifier.vkey == vkey
    note = open_note(data, [verifier])
    assert parse_note(data).to_bytes() == data
    assert cosignature_time(note.verified[0].payload) == 1_767_139_200
    assert parse_checkpoint_text(note.text).size == 300
    for position in range(len(note.text)):
        changed = bytearray(data)
        changed[position] ^= 1
        with pytest.raises(ConcordatError):
            open_note(bytes(changed), [verifier])
    with pytest.raises(BadSignature):
        open_checkpoint(data, verifier)


def test_the_mirrored_log_has_the_cosigned_root() -> None:
    (base,) = (p for p in (WITNESS_DATA / "mirror").iterdir() if p.is_dir())
    checkpoint = parse_checkpoint_text(
        open_note((base / "checkpoint").read_bytes(), [parse_vkey(MIRROR)]).text
    )
    hashes = tiles.parse_tile((base / "tile/0/000").read_bytes(), 256)
    hashes += tiles.parse_tile((base / "tile/0/001.p/44").read_bytes(), 44)
    assert (base / "tile/1/000.p/1").read_bytes() == tiles.subtree(hashes[:256])
    assert merkle.root(hashes) == checkpoint.root
