"""Every parser of the ledger, on noise and on damaged truth: a value in its one form, or a typed error."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledgers import AUDITOR, REQUESTED, START_MS, counter_random, intent

from crypto import merkle
from crypto.contexts import Context
from crypto.errors import ConcordatError
from crypto.note import (
    CosignatureSigner,
    Ed25519Signer,
    Ed25519Verifier,
    add_signatures,
    parse_context_vkey,
    parse_note,
    parse_signature_lines,
    parse_vkey,
    sign_note,
    witness_signers,
)
from crypto.sealing import public_key
from crypto.signing import SigningKey
from protocol import statements as s
from protocol import tiles
from protocol.audit.proof import TlogProof, parse_proof
from protocol.audit.reader import MemoryReader
from protocol.audit.verify import Seen, verify_ledger
from protocol.checkpoint import Checkpoint, parse_checkpoint_text
from protocol.evidence import LogEvidence
from protocol.leaf import Leaf
from protocol.log_policy import parse_policy
from protocol.payload import PayloadBox, make_entry
from protocol.witness import AddCheckpoint, parse_request, process

KEY = SigningKey.from_seed(bytes(32))
LOG = Ed25519Signer("us.example/ledger", KEY)
TEXT = Checkpoint(LOG.name, 7, bytes(32)).to_text()
NOTE = add_signatures(sign_note(TEXT, [LOG]), [CosignatureSigner("w.example", KEY, 5)])
LEAF, BOX, OPENING = make_entry(
    s.Statement(intent(1), REQUESTED), START_MS, bytes(32), [public_key(AUDITOR)], counter_random("x")
)
EVIDENCE = LogEvidence(
    leaf=LEAF.to_bytes(),
    opening=OPENING,
    index=3,
    inclusion=[bytes(32)],
    checkpoint=NOTE,
    old_size=1,
    consistency=[],
)
POLICY = f"log {LOG.verifier.vkey}\nwitness w {CosignatureSigner('w', KEY, 1).verifier.vkey}\nquorum w\n"

PARSERS: dict[str, tuple[bytes, Callable[[bytes], object], Callable[[object], bytes] | None]] = {
    "note": (NOTE, parse_note, lambda value: value.to_bytes()),  # type: ignore[attr-defined]
    "checkpoint": (TEXT, parse_checkpoint_text, lambda value: value.to_text()),  # type: ignore[attr-defined]
    "policy": (POLICY.encode(), parse_policy, None),
    "proof": (
        TlogProof(3, (bytes(32),), NOTE).to_bytes(),
        parse_proof,
        lambda value: value.to_bytes(),  # type: ignore[attr-defined]
    ),
    "add-checkpoint": (
        AddCheckpoint(3, (bytes(32),), NOTE).to_bytes(),
        parse_request,
        lambda value: value.to_bytes(),  # type: ignore[attr-defined]
    ),
    "signature lines": (
        NOTE.partition(b"\n\n")[2],
        parse_signature_lines,
        lambda value: b"".join(line.line() for line in value),  # type: ignore[attr-defined]
    ),
    "leaf": (LEAF.to_bytes(), Leaf.from_bytes, lambda value: value.to_bytes()),  # type: ignore[attr-defined]
    "shared": (OPENING.shared, s.parse_shared, lambda value: value.to_bytes()),  # type: ignore[attr-defined]
    "payload": (BOX.to_bytes(), PayloadBox.from_bytes, lambda value: value.to_bytes()),  # type: ignore[attr-defined]
    "evidence": (
        EVIDENCE.to_bytes(),
        LogEvidence.from_bytes,
        lambda value: value.to_bytes(),  # type: ignore[attr-defined]
    ),
    "bundle": (
        tiles.encode_bundle([b"a", b"bc"]),
        lambda data: tiles.parse_bundle(data, 2),
        lambda value: tiles.encode_bundle(value),  # type: ignore[arg-type]
    ),
}


@st.composite
def damaged(draw: st.DrawFn, good: bytes) -> bytes:
    """Noise, or the good bytes with a few edits."""
    if draw(st.booleans()):
        return draw(st.binary(max_size=200))
    data = bytearray(good)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(["set", "insert", "delete", "cut", "repeat"]))
        if kind == "set" and at < len(data):
            data[at] = draw(st.integers(0, 255))
        elif kind == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=4))
        elif kind == "delete":
            del data[at : at + draw(st.integers(1, 8))]
        elif kind == "cut":
            del data[at:]
        else:
            data += data[at : at + 50]
    return bytes(data)


@pytest.mark.parametrize("name", sorted(PARSERS))
@given(data=st.data())
def test_parsers(name: str, data: st.DataObject) -> None:
    good, parse, render = PARSERS[name]
    assert render is None or render(parse(good)) == good
    given_bytes = data.draw(damaged(good))
    try:
        value = parse(given_bytes)
    except ConcordatError:
        return
    assert render is None or render(value) == given_bytes


@given(st.text(max_size=80))
def test_verifier_keys_and_paths(text: str) -> None:
    for parse in (
        parse_vkey,
        lambda value: parse_context_vkey(value, Context.AGREEMENT),
        tiles.parse_path,
    ):
        with pytest.raises(ConcordatError):
            parse(text)


@given(st.data())
def test_an_audit_of_noise_never_fails(data: st.DataObject) -> None:
    paths = st.sampled_from(
        [
            "checkpoint",
            "vkey",
            "tile/0/000",
            "tile/0/000.p/7",
            "tile/entries/000.p/7",
            "tile/1/000.p/1",
            "tile/x",
        ]
    )
    files = data.draw(st.dictionaries(paths, st.one_of(st.binary(max_size=300), damaged(NOTE)), max_size=7))
    policy = data.draw(st.one_of(st.just(POLICY.encode()), damaged(POLICY.encode())))
    note = data.draw(damaged(NOTE))
    report = verify_ledger(MemoryReader(files), policy, AUDITOR, seen=[Seen("CL", note)])
    assert not report.ok
    assert report.to_json()["findings"]


class _KnowsOneLog:
    def log_keys(self, origin: str) -> list[Ed25519Verifier]:
        return [LOG.verifier] if origin == LOG.name else []

    def latest(self, origin: str) -> bytes:
        return RECORD

    def replace(self, origin: str, expected: bytes | None, note: bytes) -> None:
        raise AssertionError("damaged requests are not cosigned")

    def keep_fork(self, origin: str, seen: bytes, shown: bytes) -> None:
        raise AssertionError("nothing here is a fork")


RECORD = sign_note(Checkpoint(LOG.name, 3, merkle.root([bytes(32)] * 3)).to_text(), [LOG])
NEXT = AddCheckpoint(
    3,
    tuple(merkle.consistency_proof(3, 7, merkle.list_reader([bytes(32)] * 7))),
    sign_note(Checkpoint(LOG.name, 7, merkle.root([bytes(32)] * 7)).to_text(), [LOG]),
).to_bytes()
WITNESS = witness_signers("w.example", bytes(32), 5)


@given(damaged(NEXT))
def test_a_damaged_request_is_refused_by_a_status_of_the_protocol(body: bytes) -> None:
    reply = process(_KnowsOneLog(), body, WITNESS) if body != NEXT else None
    assert reply is None or reply.status in (400, 403, 404, 409, 422)
