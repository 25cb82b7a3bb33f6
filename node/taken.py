"""The offers of evaluation keys that peers make to this node, at rest and on the ledger. For the core's thread.

Every step is stored before anybody is told of it, and may be taken again after a crash: the challenge of an offer is
drawn and signed once, and entries are found again by their exchange.

Source: specs/wire.md, section "Registration of keys".
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crypto.hitsearch.parameters import plan_for
from crypto.profiles import SearchProfile
from node.bodies import Kind
from node.core import NodeCore
from node.key_decisions import KeyDecisions, search_under
from node.key_state import ANSWERING, RegistrationRow, Target
from node.logging import log
from node.state import FoundConflict, SeenHead
from node.taken_records import TakenRecord, TakenRecords
from node.trust import settle_conflicts
from protocol import limits
from protocol.conflict import read_conflict
from protocol.errors import (
    EvidenceRejected,
    KeysRegistered,
    OfferRefused,
    OutOfOrder,
    Replayed,
    TooManyOffers,
)
from protocol.evidence import VerifiedEntry
from protocol.exchange.registrations import admit_offer, admit_opening
from protocol.messages import Progress, message_hash, open_signed, sign
from protocol.registration import (
    KeyChallenge,
    KeyOffer,
    KeySubmission,
    RegistrationStatus,
    challenged,
    read_challenge,
    read_offer,
)
from protocol.seen_by import UnseenCheckpoint

CHALLENGED, OPENED = "challenged", "opened"


class Taken:
    """All offers of peers to one node."""

    def __init__(self, core: NodeCore, records: TakenRecords, decisions: KeyDecisions) -> None:
        self.core = core
        self.keys = records.keys
        self._records = records
        self._decisions = decisions

    def take_witnessed(self, peer: str, body: bytes) -> int:
        """Take our checkpoint that comes with a submission; the size from which the peer wants evidence."""
        submission = KeySubmission.from_bytes(body)
        self.core.witnessing.take(peer, submission.witnessed, submission.seen_size)
        return submission.seen_size

    def admit(self, peer: str, body: bytes) -> bytes:
        """Check an offer and draw its challenge; both are durable, and the challenge logged, on return."""
        core, now_ms = self.core, self.core.clock()
        parties = core.parties(peer)
        envelope = KeySubmission.from_bytes(body).message
        name = open_signed(KeyOffer, envelope, parties.peer.identity).exchange_id
        known = self.keys.registration(ANSWERING, name)
        if known is not None and (known.target.peer, self._records.record(known).offer) == (peer, envelope):
            self._log_challenge(self._records.record(known))
            return name
        if known is not None or core.journal.has(name):
            raise Replayed("this exchange id is on the ledger already")
        agreements = core.agreements.with_peer(peer)
        offer, envelope, entry = self._judged(
            peer, lambda: admit_offer(body, parties, core.seen(peer), agreements, now_ms)
        )
        search_under(self.core, offer.profile, offer.plan)
        target = Target(peer, offer.plan, offer.epoch_days, offer.epoch)
        if self.keys.keys_for(ANSWERING, target, len(offer.sets)) is not None:
            raise KeysRegistered("keys for this plan and epoch are registered; there is one set of them")
        if self.keys.count(ANSWERING, target) >= limits.MAX_KEY_OFFERS:
            raise TooManyOffers(f"{limits.MAX_KEY_OFFERS} offers for this plan and epoch were made already")
        challenge = KeyChallenge(
            exchange_id=name,
            requester=peer,
            responder=core.country,
            offer_hash=message_hash(envelope),
            kept=self.draw(len(offer.sets)),
            challenged_ms=now_ms,
        )
        record = TakenRecord(offer=envelope, challenge=sign(challenge, core.keys.identity))
        row = RegistrationRow(ANSWERING, name, target, now_ms, True, CHALLENGED, b"")
        self._records.put(row, record, CHALLENGED, [_head(peer, entry, now_ms)])
        log("keys challenged", exchange=name, peer=peer, kept=challenge.kept, total=len(offer.sets))
        self._log_challenge(record)
        return name

    def draw(self, sets: int) -> int:
        """The set that is kept: uniform, from the operating system; the peer cannot have known it."""
        return secrets.randbelow(sets)

    def _judged(self, peer: str, check: Callable[[], Any]) -> Any:
        """Check, and keep what a wrong or unseen entry of the peer's ledger proves."""
        now_ms = self.core.clock()
        try:
            return check()
        except EvidenceRejected as error:
            if error.conflict is not None:
                conflict = read_conflict(error.conflict)
                found = FoundConflict(peer, conflict.digest, conflict.rule, error.conflict, now_ms)
                self.core.witnessing.state.put_conflict(found)
                settle_conflicts(self.core)
            raise
        except UnseenCheckpoint as error:
            self.core.witnessing.state.put_head(_head(peer, error.entry, now_ms))
            raise

    def has_keys(self, peer: str, name: bytes) -> bool:
        """Whether the bytes of these keys of this peer are here."""
        known = self.keys.keys(ANSWERING, name, peer)
        if known is None and self._records.waiting(peer, name) is None:
            return False
        return self.core.bodies.path(Kind.KEYS, name).exists()

    def _log_challenge(self, record: TakenRecord) -> int:
        time_ms = read_challenge(record.challenge).challenged_ms
        return self.core.append(challenged(record.offer, record.challenge), time_ms).index

    def open(self, peer: str, name: bytes, body: bytes) -> None:
        """Check an opening but for its sets and store it; a repeated one changes nothing."""
        row, record = self._records.of(peer, name)
        envelope = KeySubmission.from_bytes(body).message
        if record.opening is not None or record.decision is not None:
            if record.opening != envelope:
                raise OutOfOrder("the offer was opened or decided already")
            return
        core, now_ms = self.core, self.core.clock()
        parties = core.parties(peer)
        opening, entry = self._judged(
            peer,
            lambda: admit_opening(body, parties, core.seen(peer), record.offer, record.challenge, now_ms),
        )
        record = record.model_copy(update={"opening": opening})
        self._records.put(row, record, OPENED, [_head(peer, entry, now_ms)])

    def covering(self, peer: str, name: bytes) -> int:
        """The size of a checkpoint that covers every entry of a registration."""
        row, record = self._records.of(peer, name)
        indexes = [self._log_challenge(record)]
        if not row.is_open and record.decision is not None:
            indexes.append(self._decisions.entry_of(record))
        return max(indexes) + 1

    def status(self, peer: str, name: bytes, seen_size: int, progress: Progress | None) -> bytes:
        """The bytes of the ``RegistrationStatus``; a decision is told once it is logged."""
        row, record = self._records.of(peer, name)
        decided = None if row.is_open else record.decision
        evidence = None
        if decided is not None:
            evidence = self.core.evidence(self._decisions.entry_of(record), seen_size, peer)
        return RegistrationStatus(
            challenge=record.challenge,
            challenge_evidence=self.core.evidence(self._log_challenge(record), seen_size, peer),
            progress=progress,
            decision=decided,
            decision_evidence=evidence,
            witnessed=self.core.witnessing.returned(peer),
        ).to_bytes()

    def search_waiting(self, peer: str, name: bytes, plan: str) -> SearchProfile:
        """The search that keys are wanted for; raises ``OfferRefused`` if nobody waits for them."""
        record, known = self._records.waiting(peer, name), self.keys.keys(ANSWERING, name, peer)
        if record is None and (known is None or known.is_gone):
            raise OfferRefused("nobody waits for these keys: offer them first")
        if record is not None:
            offer = read_offer(record.offer)
            search = search_under(self.core, offer.profile, offer.plan)
        else:
            assert known is not None
            search = self._search_of_plan(peer, known.target.plan)
        if plan_for(search).identifier.hex() != plan:
            raise OfferRefused("the keys are of another plan")
        return search

    def _search_of_plan(self, peer: str, plan: bytes) -> SearchProfile:
        for agreement in self.core.agreements.with_peer(peer):
            for grant in agreement.fields.grants:
                try:
                    return search_under(self.core, grant.profile_digest, plan)
                except OfferRefused:
                    continue
        raise OfferRefused("no agreement with you uses this plan")

    def accept_keys(self, name: bytes, part: Path) -> None:
        """Give checked bytes their name."""
        self.core.bodies.accept(Kind.KEYS, name, part)


def _head(peer: str, entry: VerifiedEntry[Any], now_ms: int) -> SeenHead:
    return SeenHead(peer, entry.head.size, entry.head.root, entry.checkpoint, now_ms)
