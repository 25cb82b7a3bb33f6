"""Every parser of bytes that somebody else wrote, with a good example: for hypothesis and for the coverage-guided run.

A parser gives a value whose one byte form is the input, or a typed error. Anything else is a defect.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import parties
from ledgers import (
    ANSWER,
    AUDITOR,
    COMPUTED,
    REQUESTED,
    START_MS,
    accepted,
    answered,
    claimed,
    counter_random,
    exchange_id,
    intent,
    reply,
    result,
)

from crypto.errors import ConcordatError
from crypto.note import CosignatureSigner, add_signatures, log_signers, parse_note, parse_vkey, sign_note
from crypto.sealing import public_key
from crypto.signing import SigningKey
from node.auditor_routes import split_payloads
from node.setup import new_auditor_tls
from protocol import statements as s
from protocol import statements_records as r
from protocol import tiles
from protocol.agreement import read_text
from protocol.audit.keys import format_private, format_public, parse_private, parse_public_file, parse_tls
from protocol.audit.proof import TlogProof, parse_proof
from protocol.audit.reader import MemoryReader
from protocol.audit.verify import Seen, verify_ledger
from protocol.checkpoint import Checkpoint, parse_checkpoint_text
from protocol.claims import Claim, ClaimSubmission
from protocol.conflict import Conflict, read_conflict
from protocol.descriptor import read_descriptor
from protocol.evidence import LogEvidence
from protocol.leaf import Leaf
from protocol.log_policy import parse_policy
from protocol.messages import sign
from protocol.payload import PayloadBox, make_entry
from protocol.statements_claims import ClaimSent
from protocol.witness import parse_request

KEY = SigningKey.from_seed(bytes(32))
LOGS = log_signers("us.example/ledger", bytes(32))
TEXT = Checkpoint("us.example/ledger", 7, bytes(32)).to_text()
NOTE = add_signatures(sign_note(TEXT, LOGS), [CosignatureSigner("w.example", KEY, 5)])
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
POLICY = f"log {LOGS[0].verifier.vkey}\nwitness w {CosignatureSigner('w', KEY, 1).verifier.vkey}\nquorum w\n"
ERASED = r.PayloadsErased(
    exchange_id=exchange_id(1), country="US", leaves=[bytes(32)], legal_basis="article-4", retention_days=365
)
CLAIMED = ClaimSent(
    **reply(1), answer_hash=ANSWER, block=0, slot=16383, token=65535, claim_hash=bytes([1]) * 32
)
STATEMENTS = (intent(1), accepted(1, bytes(32)), answered(1), result(1), claimed(1), ERASED, CLAIMED)
CLAIM = Claim(
    **{name: value for name, value in reply(1).items() if name != "agreement"},
    answer_hash=ANSWER,
    block=0,
    slot=1,
    token=2,
    claimed_ms=START_MS,
)
SUBMISSION = ClaimSubmission(
    claim=sign(CLAIM, KEY), evidence=EVIDENCE.to_bytes(), seen_size=0, witnessed=None
)


@dataclass(frozen=True)
class Parser:
    """One parser: its name, good examples, and a function that parses and gives the value's own bytes back.

    ``render`` gives None where the value has no byte form of its own.
    """

    name: str
    good: tuple[bytes, ...]
    render: Callable[[bytes], bytes | None]

    def check(self, data: bytes) -> bool:
        """Parse; whether it was taken. Fails if what was taken has another byte form than the input."""
        try:
            rendered = self.render(data)
        except ConcordatError:
            return False
        assert rendered is None or rendered == data, f"{self.name}: two byte forms"
        return True


def _text(parse: Callable[[str], object]) -> Callable[[bytes], None]:
    def render(data: bytes) -> None:
        parse(data.decode("utf-8", "replace"))

    return render


def _path(data: bytes) -> bytes:
    return tiles.parse_path(data.decode("latin-1")).path.encode("latin-1")


def _request(data: bytes) -> None:
    parse_request(data)


def _audit(data: bytes) -> None:
    """A ledger whose every file is a piece of these bytes: findings, never a failure."""
    names = ("checkpoint", "tile/0/000.p/7", "tile/entries/000.p/7", "tile/1/000.p/1", "tile/0/000", "vkey")
    size = len(data) // len(names) + 1
    files = {name: data[i * size : (i + 1) * size] for i, name in enumerate(names)}
    for given in (files, {**files, "checkpoint": NOTE}):
        assert not verify_ledger(MemoryReader(given), POLICY.encode(), AUDITOR, [Seen("CL", data)]).ok


CONFLICT = Conflict("fork", LOGS[0].verifier.vkey, "US", 1, 2, NOTE, NOTE, (bytes(32),), 3, LEAF.to_bytes())
TLS, CERTIFICATE = new_auditor_tls(START_MS)

PARSERS: tuple[Parser, ...] = (
    Parser("note", (NOTE,), lambda data: parse_note(data).to_bytes()),
    Parser("checkpoint", (TEXT,), lambda data: parse_checkpoint_text(data).to_text()),
    Parser("policy", (POLICY.encode(),), lambda data: parse_policy(data) and None),
    Parser(
        "proof", (TlogProof(3, (bytes(32),), NOTE).to_bytes(),), lambda data: parse_proof(data).to_bytes()
    ),
    Parser("leaf", (LEAF.to_bytes(),), lambda data: Leaf.from_bytes(data).to_bytes()),
    Parser(
        "entry", tuple(one.to_bytes() for one in STATEMENTS), lambda data: s.parse_shared(data).to_bytes()
    ),
    Parser(
        "private",
        (REQUESTED.to_bytes(), COMPUTED.to_bytes()),
        lambda data: s.parse_private(data, intent(1)).to_bytes(),
    ),
    Parser("claim", (CLAIM.to_bytes(),), lambda data: Claim.from_bytes(data).to_bytes()),
    Parser(
        "claim-submission",
        (SUBMISSION.to_bytes(),),
        lambda data: ClaimSubmission.from_bytes(data).to_bytes(),
    ),
    Parser("payload", (BOX.to_bytes(),), lambda data: PayloadBox.from_bytes(data).to_bytes()),
    Parser("evidence", (EVIDENCE.to_bytes(),), lambda data: LogEvidence.from_bytes(data).to_bytes()),
    Parser(
        "bundle",
        (tiles.encode_bundle([b"a", b"bc"]),),
        lambda data: tiles.encode_bundle(tiles.parse_bundle(data, 2)),
    ),
    Parser("tile-path", (b"tile/0/x001/x234/067", b"tile/entries/000.p/7"), _path),
    Parser("verifier-key", tuple(one.verifier.vkey.encode() for one in LOGS), _text(parse_vkey)),
    Parser("witness-request", (b"old 0\n\n" + NOTE,), _request),
    Parser("auditor-private", (format_private(AUDITOR).encode(),), _text(parse_private)),
    Parser("auditor-public", (format_public(AUDITOR).encode() + CERTIFICATE,), _text(parse_public_file)),
    Parser("auditor-tls", (TLS,), _text(parse_tls)),
    Parser("payload-reply", (bytes(8), b"\0\0\0\1x\0\0\0\0"), lambda data: split_payloads(data, 2) and None),
    Parser("descriptor", (parties.descriptor("US").note,), lambda data: read_descriptor(data) and None),
    Parser("agreement", (parties.agreement().text,), lambda data: read_text(data) and None),
    Parser("conflict", (CONFLICT.to_bytes(),), lambda data: read_conflict(data).to_bytes()),
    Parser("ledger", (NOTE * 2,), _audit),
)
