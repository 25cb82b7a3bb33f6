"""The nine witness exchanges of litewitness, by the status codes of the specification.

They are from 2025. Since then an unknown origin is 404 (they say 403), and a strict reader answers the
non-canonical base64 of the second with 400 before it looks at the signature (they say 403).
"""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import pytest
from public_vectors import public_vectors

from crypto.note import Ed25519Verifier, parse_note, witness_signers
from crypto.signing import VerifyKey
from node.witness_client import read_cosignatures, read_size
from node.witness_store import WitnessDirectory, create_witness
from protocol.witness import SIZE_TYPE, parse_request, process

TEXT = (public_vectors() / "litewitness.txt").read_text()
LOG_KEY = bytes.fromhex("ffdc2d4d98e4124d3feaf788c0c2f9abfd796083d1f0495437f302ec79cf100f")
ORIGIN = f"sigsum.org/v1/tree/{hashlib.sha256(LOG_KEY).hexdigest()}"
EXCHANGES = re.findall(r"^```\n(.*?)^```\nHTTP (\d+)\n\[Asserts\]\n(.*?)\n", TEXT, re.M | re.S)
STATUSES = [200, 400, 404, 422, 422, 200, 409, 200, 409]
THEIRS = [200, 403, 403, 422, 422, 200, 409, 200, 409]
NAME, SEED, NOW = "example.com/witness", bytes(range(32)), 1_800_000_000


def test_all_nine_are_there_and_differ_from_the_specification_in_two() -> None:
    assert [int(status) for _, status, _ in EXCHANGES] == THEIRS
    assert sum(ours != theirs for ours, theirs in zip(STATUSES, THEIRS, strict=True)) == 2


def test_the_exchanges(tmp_path: Path) -> None:
    create_witness(tmp_path / "w", NAME, SEED)
    with WitnessDirectory.open(tmp_path / "w") as witness:
        witness.add_logs([Ed25519Verifier(ORIGIN, VerifyKey(LOG_KEY))])
        for (body, _, asserted), wanted in zip(EXCHANGES, STATUSES, strict=True):
            reply = process(witness, body.encode(), witness.signers(NOW))
            assert reply.status == wanted, body
            if wanted == 200:
                text = parse_note(parse_request(body.encode()).note).text
                good = read_cosignatures(
                    text, reply.body, [s.verifier for s in witness_signers(NAME, SEED, 0)]
                )
                assert len(good) == 2
                assert reply.body.startswith(f"— {NAME} ".encode())
            elif wanted == 409:
                assert asserted == f'body == "{read_size(reply.body)}\\n"'
                assert reply.media_type == SIZE_TYPE
        record = witness.latest(ORIGIN)
        assert record is not None
        assert parse_note(record).text.split(b"\n")[1] == b"5"
        assert len(parse_note(record).signatures) == 3


def test_the_second_fails_by_its_signature_too(tmp_path: Path) -> None:
    """With its base64 made canonical, what is left is what litewitness meant: 403."""
    create_witness(tmp_path / "w", NAME, SEED)
    head, _, line = EXCHANGES[1][0].rstrip("\n").rpartition(" ")
    line = base64.b64encode(base64.b64decode(line)).decode()
    with WitnessDirectory.open(tmp_path / "w") as witness:
        witness.add_logs([Ed25519Verifier(ORIGIN, VerifyKey(LOG_KEY))])
        assert process(witness, EXCHANGES[0][0].encode(), witness.signers(NOW)).status == 200
        assert process(witness, f"{head} {line}\n".encode(), witness.signers(NOW)).status == 403


@pytest.mark.parametrize("size", [1, 3, 5])
def test_their_origin_is_the_hash_of_their_key(size: int) -> None:
    assert any(f"{ORIGIN}\n{size}\n" in body for body, _, _ in EXCHANGES)
