"""What the peer checks before it goes on: every way in which evidence can be wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from ledgers import (
    CIPHERTEXT,
    COMPUTED,
    QUERY,
    REQUESTED,
    Country,
    accepted,
    answered,
    exchange_id,
    filler,
    intent,
    open_country,
)

from crypto.errors import BadEncoding, BadSignature
from node.journal import AlreadyRecorded
from node.ledger_store import LedgerDamaged, LedgerRolledBack
from protocol import statements as s
from protocol.errors import BadMessage
from protocol.evidence import (
    ForkedLedger,
    LogEvidence,
    NotConsistent,
    NotIncluded,
    StaleCheckpoint,
    WrongStatement,
    verify_evidence,
)
from protocol.leaf import Leaf, commit, exchange_in_leaf, private_digest, shared_digest
from protocol.opening import BadOpening, Opening, verify_opening
from protocol.payload import payload_path
from protocol.statement_parts import SharedPart


@pytest.fixture
def us(tmp_path: Path) -> Country:
    return open_country(tmp_path / "us", "US")


def _evidence(us: Country, number: int = 1, old_size: int = 0) -> LogEvidence:
    return us.journal.evidence(us.record(intent(number), REQUESTED).index, old_size)


def _changed(evidence: LogEvidence, **changes: object) -> LogEvidence:
    return evidence.model_copy(update=changes)


def test_good_evidence_reveals_the_shared_part_and_only_that(us: Country) -> None:
    evidence = LogEvidence.from_bytes(_evidence(us).to_bytes())
    entry = verify_evidence(evidence, us.ledger.verifier, None, s.QueryIntent)
    assert entry.shared == intent(1)
    assert (entry.shared.query_hash, entry.shared.ciphertext_hash) == (QUERY, CIPHERTEXT)
    assert entry.head == us.ledger.head
    assert entry.index == 1
    for secret in ("officer-7", "judge-3", "case-2025-11"):
        assert secret.encode() not in evidence.to_bytes()


def test_a_chain_of_evidence_continues_the_last_seen_head(us: Country) -> None:
    seen = None
    for number in range(1, 6):
        evidence = _evidence(us, number, seen[0] if seen else 0)
        seen = verify_evidence(evidence, us.ledger.verifier, seen, s.QueryIntent).head
        again = us.journal.evidence(evidence.index, seen.size)
        assert verify_evidence(again, us.ledger.verifier, seen, s.QueryIntent).head == seen


def test_an_older_checkpoint_is_stale_and_carries_our_size(us: Country) -> None:
    first = _evidence(us, 1)
    second = _evidence(us, 2)
    seen = verify_evidence(second, us.ledger.verifier, None, s.QueryIntent).head
    with pytest.raises(StaleCheckpoint) as caught:
        verify_evidence(first, us.ledger.verifier, seen, s.QueryIntent)
    assert caught.value.stored_size == 3
    with pytest.raises(StaleCheckpoint):
        verify_evidence(_changed(first, old_size=3), us.ledger.verifier, seen, s.QueryIntent)
    with pytest.raises(StaleCheckpoint) as caught:
        verify_evidence(_evidence(us, 3, 2), us.ledger.verifier, seen, s.QueryIntent)
    assert caught.value.stored_size == 3
    with pytest.raises(StaleCheckpoint) as caught:
        verify_evidence(_evidence(us, 4, 2), us.ledger.verifier, None, s.QueryIntent)
    assert caught.value.stored_size == 0


def test_a_fork_is_told_from_a_bad_proof(us: Country, tmp_path: Path) -> None:
    seen = verify_evidence(_evidence(us), us.ledger.verifier, None, s.QueryIntent).head
    twin = open_country(tmp_path / "twin", "US")
    twin.ledger.append(filler(1))
    twin_evidence = twin.journal.evidence(0, seen.size)
    with pytest.raises(ForkedLedger) as caught:
        verify_evidence(twin_evidence, us.ledger.verifier, seen, s.NodeInitialised)
    assert caught.value.seen == seen
    assert caught.value.note == twin.files()["checkpoint"]
    twin.ledger.append(filler(2))
    with pytest.raises(NotConsistent):
        verify_evidence(twin.journal.evidence(0, seen.size), us.ledger.verifier, seen, s.NodeInitialised)


def test_every_part_of_the_evidence_counts(us: Country, tmp_path: Path) -> None:
    cl = open_country(tmp_path / "cl", "CL")
    us.ledger.append_many([filler(n) for n in range(5)])
    good, other = _evidence(us, 1, 0), _evidence(us, 2, 0)
    good = us.journal.evidence(good.index, 0)
    verifier = us.ledger.verifier
    foreign = cl.files()["checkpoint"]
    cases: list[tuple[dict[str, object], type[Exception]]] = [
        ({"checkpoint": foreign}, BadSignature),
        ({"checkpoint": b"no note"}, BadEncoding),
        ({"checkpoint": good.checkpoint.replace(b"\n8\n", b"\n9\n")}, BadSignature),
        ({"leaf": other.leaf}, NotIncluded),
        ({"index": good.index + 1}, NotIncluded),
        ({"index": 2**62}, NotIncluded),
        ({"inclusion": good.inclusion[:-1]}, NotIncluded),
        ({"inclusion": [*good.inclusion, bytes(32)]}, NotIncluded),
        ({"consistency": [bytes(32)]}, NotConsistent),
        ({"opening": other.opening}, BadOpening),
        ({"opening": good.opening.model_copy(update={"salt": bytes(32)})}, BadOpening),
        ({"opening": good.opening.model_copy(update={"private_digest": bytes(32)})}, BadOpening),
        ({"opening": good.opening.model_copy(update={"shared": intent(2).to_bytes()})}, BadOpening),
    ]
    for changes, error in cases:
        with pytest.raises(error):
            verify_evidence(_changed(good, **changes), verifier, None, s.QueryIntent)
    assert verify_evidence(good, verifier, None, s.QueryIntent)


def test_the_statement_must_be_the_expected_one(us: Country) -> None:
    with pytest.raises(WrongStatement):
        verify_evidence(_evidence(us), us.ledger.verifier, None, s.QueryAnswered)


def test_a_leaf_that_hides_another_exchange_is_found() -> None:
    shared = intent(1).to_bytes()
    hidden = private_digest(bytes(32), b"")
    leaf = Leaf(
        exchange=exchange_in_leaf(exchange_id(2)),
        time_ms=1,
        commitment=commit(shared_digest(bytes(32), shared), hidden),
    )
    with pytest.raises(BadOpening, match="another exchange"):
        verify_opening(leaf, Opening(shared=shared, salt=bytes(32), private_digest=hidden))


def test_recording_again_gives_the_entry_that_is_there(us: Country) -> None:
    first = us.record(intent(1), REQUESTED)
    assert us.record(intent(1), REQUESTED) == first
    assert us.journal.find(exchange_id(1), "query.intent") == first
    assert us.journal.find(exchange_id(1), "query.result") is None
    assert us.ledger.size == 2
    with pytest.raises(AlreadyRecorded):
        us.record(intent(1, purpose="tourism"), REQUESTED)
    us.ledger.close()
    again = open_country(us.directory, "US")
    assert again.record(intent(1), REQUESTED) == first
    assert again.ledger.size == 2
    opened = again.journal.open(1)
    assert opened is not None
    assert opened.private == REQUESTED


def test_a_peer_that_holds_more_than_we_have_shows_our_rollback(us: Country) -> None:
    us.record(intent(1), REQUESTED)
    with pytest.raises(LedgerRolledBack) as caught:
        us.journal.evidence(1, 3)
    assert caught.value.seen_size == 3


def test_an_erased_payload_leaves_the_entry(us: Country) -> None:
    recorded = us.record(intent(1), REQUESTED)
    (us.directory / payload_path(recorded.leaf.leaf_hash)).unlink()
    assert us.journal.open(recorded.index) is None
    with pytest.raises(LedgerDamaged):
        us.journal.evidence(recorded.index, 0)


def test_a_payload_of_no_entry_is_swept_when_the_journal_opens(us: Country) -> None:
    orphan = us.directory / payload_path(bytes(32))
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(b"left over")
    us.ledger.close()
    open_country(us.directory, "US").ledger.close()
    assert not orphan.exists()


def test_parts_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(TypeError):
        s.Statement(intent(1), COMPUTED)
    with pytest.raises(TypeError):
        s.Statement(SharedPart(type="query.intent", exchange_id=bytes(16)), REQUESTED)


def test_shared_parts_are_strict() -> None:
    for shared in (intent(1), accepted(1, bytes(32)), answered(1)):
        assert s.parse_shared(shared.to_bytes()) == shared
    with pytest.raises(BadMessage, match="no known statement"):
        s.parse_shared(b"\x80")
    for mandatory in ("purpose", "legal_basis", "offence", "person_category", "authority", "modality"):
        value = intent(1).model_dump()
        del value[mandatory]
        from protocol import wire

        with pytest.raises(BadMessage, match=mandatory):
            s.parse_shared(wire.encode(value))
        with pytest.raises(BadMessage, match=mandatory):
            s.parse_shared(wire.encode(value | {mandatory: ""}))


@pytest.mark.parametrize(
    "changes",
    [
        {"outcome": "hit", "hits": 0, "answer_hash": bytes(32), "reason": None},
        {"outcome": "no-hit", "hits": 1, "answer_hash": bytes(32), "reason": None},
        {"outcome": "no-hit", "hits": 0, "answer_hash": None, "reason": None},
        {"outcome": "failed", "hits": 0, "answer_hash": None, "reason": None},
        {"outcome": "refused", "hits": 0, "answer_hash": bytes(32), "reason": "late"},
        {"outcome": "hit", "hits": 1, "answer_hash": bytes(32), "reason": "late"},
    ],
)
def test_impossible_results_cannot_be_stated(changes: dict[str, object]) -> None:
    from ledgers import reply

    with pytest.raises(ValueError):
        s.QueryResult(**(reply(1) | changes))
