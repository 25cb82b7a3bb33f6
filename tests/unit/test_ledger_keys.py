"""Where a descriptor names an ML-DSA-44 key, a checkpoint without its signature is nobody's word."""

from __future__ import annotations

from dataclasses import replace

import pytest
from memory_ledger import MemoryLedger
from parties import NOW, descriptor, named_key, parties

from crypto.contexts import Context, hash_fields
from crypto.errors import BadSignature
from crypto.note import Ed25519Signer, MlDsaSigner, log_signers, sign_note
from protocol import statements as s
from protocol.checkpoint import Checkpoint, LogKeys, open_checkpoint
from protocol.conflict import BadConflict, Conflict, accused, conflict_log, read_conflict, verify_conflict
from protocol.descriptor import read_descriptor
from protocol.errors import BadDescriptor, EvidenceRejected
from protocol.exchange import checks
from protocol.exchange.parties import Seen
from protocol.roster import Roster
from protocol.statement_parts import Operated

ORIGIN = "us.example/ledger"
FIRST, SECOND = log_signers(ORIGIN, hash_fields(Context.PLAN, b"US ledger"))
OTHER = log_signers(ORIGIN, bytes(32))[1]
BOTH = LogKeys(FIRST.verifier, SECOND.verifier)
SIGNED = descriptor("US", ledger_vkey=FIRST.verifier.vkey, ledger_mldsa=SECOND.verifier.vkey)


def checkpoint(size: int, root: bytes, *signers: Ed25519Signer | MlDsaSigner) -> bytes:
    return sign_note(Checkpoint(ORIGIN, size, root).to_text(), signers or (FIRST, SECOND))


def test_a_descriptor_names_both_keys() -> None:
    assert read_descriptor(SIGNED.note).ledger == BOTH
    assert descriptor("US", ledger_vkey=FIRST.verifier.vkey).ledger == LogKeys(FIRST.verifier)


@pytest.mark.parametrize(
    "vkey",
    [
        "nonsense",
        FIRST.verifier.vkey,
        replace(SECOND, name="cl.example/ledger").verifier.vkey,
        SECOND.verifier.vkey + " ",
    ],
)
def test_only_an_mldsa_key_of_the_ledgers_name_will_do(vkey: str) -> None:
    with pytest.raises(ValueError, match="ledger"):
        descriptor("US", ledger_vkey=FIRST.verifier.vkey, ledger_mldsa=vkey)


def test_neither_line_may_be_taken_away() -> None:
    assert open_checkpoint(checkpoint(1, bytes(32)), BOTH).checkpoint.size == 1
    assert open_checkpoint(checkpoint(1, bytes(32), FIRST), LogKeys(FIRST.verifier)).checkpoint.size == 1
    for signers in ((FIRST,), (SECOND,), (FIRST, OTHER)):
        with pytest.raises(BadSignature):
            open_checkpoint(checkpoint(1, bytes(32), *signers), BOTH)


class Ledger(MemoryLedger):
    """A ledger whose log signs with what a test says."""

    signers: tuple[Ed25519Signer | MlDsaSigner, ...] = (FIRST, SECOND)

    def checkpoint(self, size: int) -> bytes:
        return checkpoint(size, self.root(size), *self.signers)


def shown(*signers: Ed25519Signer | MlDsaSigner) -> bytes:
    ledger = Ledger(FIRST)
    ledger.signers = signers
    shared = s.PeerAccepted(exchange_id=bytes(16), country="US", peer="CL", descriptor=bytes(32))
    return ledger.evidence(ledger.append(s.Statement(shared, Operated(operator="op")), NOW), 0)


def test_evidence_needs_both_signatures() -> None:
    plain = parties("CL", "US")
    us = replace(plain, peer=replace(plain.peer, ledger=SIGNED.ledger))
    assert checks.verify_entry(shown(FIRST, SECOND), us, None, s.PeerAccepted, NOW).head.size == 1
    with pytest.raises(EvidenceRejected) as caught:
        checks.verify_entry(shown(FIRST), us, None, s.PeerAccepted, NOW)
    assert (caught.value.cause, caught.value.conflict) == ("bad-signature", None)
    # A fork convicts by both keys, and the file says so.
    seen = Seen(1, bytes(32), checkpoint(1, bytes(32)), NOW)
    with pytest.raises(EvidenceRejected) as caught:
        checks.verify_entry(shown(FIRST, SECOND), us, seen, s.PeerAccepted, NOW)
    conflict = read_conflict(caught.value.conflict or b"")
    assert (conflict.rule, conflict.mldsa) == ("fork", SECOND.verifier.vkey)
    assert conflict_log(conflict) == BOTH
    assert verify_conflict(conflict, conflict_log(conflict))


def test_a_conflict_convicts_by_every_key_that_it_names() -> None:
    log, mldsa = accused(BOTH)
    good = checkpoint(1, bytes(32))
    for shown_note, holds in (
        (checkpoint(1, bytes([1]) * 32), True),
        (checkpoint(1, bytes([1]) * 32, FIRST), False),
    ):
        conflict = Conflict("fork", log, "CL", NOW, NOW, good, shown_note, mldsa=mldsa)
        assert read_conflict(conflict.to_bytes()) == conflict
        if holds:
            assert verify_conflict(conflict, conflict_log(conflict))
        else:
            with pytest.raises(BadConflict):
                verify_conflict(conflict, conflict_log(conflict))
    stranger = replace(SECOND, name="cl.example/ledger").verifier.vkey
    for wrong in (FIRST.verifier.vkey, stranger, "nonsense"):
        with pytest.raises(BadConflict):
            conflict_log(Conflict("fork", log, "CL", NOW, NOW, good, good, mldsa=wrong))


def test_a_key_that_was_named_is_not_taken_back() -> None:
    changes = {"serial": 2, "ledger_vkey": FIRST.verifier.vkey}
    plain = descriptor("US", ledger_vkey=FIRST.verifier.vkey)
    roster = Roster("CL").accept(plain).accept(descriptor("US", **changes, ledger_mldsa=SECOND.verifier.vkey))
    assert roster.peer("US").ledger == BOTH
    for third in (None, OTHER.verifier.vkey):
        with pytest.raises(BadDescriptor, match="post-quantum"):
            roster.accept(descriptor("US", **{**changes, "serial": 3}, ledger_mldsa=third))
    moved = Ed25519Signer("us.example/ledger/2", named_key("US ledger"))
    roster.accept(descriptor("US", serial=3, ledger_vkey=moved.verifier.vkey))
