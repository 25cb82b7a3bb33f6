"""The offers of evaluation keys that peers make to this node, at rest and on the ledger. For the core's thread.

Every step is stored before anybody is told of it, and may be taken again after a crash: the challenge of an offer is
drawn and signed once, and entries are found again by their exchange.

Source: specs/wire.md, section "Registration of keys".
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from crypto.hitsearch.parameters import plan_for
from crypto.profiles import SearchProfile
from node.bodies import Kind
from node.core import NodeCore
from node.errors import BadConfig
from node.key_state import ANSWERING, KeysRow, KeyState, RegistrationRow, Target
from node.logging import log
from node.state import FoundConflict, SeenHead
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
    UnknownExchange,
)
from protocol.evidence import VerifiedEntry
from protocol.exchange.parties import Parties
from protocol.exchange.registrations import admit_offer, admit_opening
from protocol.key_evidence import KeyEvidence, KeyRule
from protocol.messages import EnvelopeBytes, Progress, message_hash, open_signed, sign
from protocol.model import Count, Model
from protocol.registration import (
    KeyChallenge,
    KeyDecision,
    KeyOffer,
    KeySubmission,
    RefusedFor,
    RegistrationStatus,
    challenged,
    read_challenge,
    read_decision,
    read_offer,
    refused,
    registered,
)
from protocol.seen_by import UnseenCheckpoint
from protocol.statements import Statement

CHALLENGED, OPENED, DECIDING = "challenged", "opened", "deciding"


class TakenRecord(Model):
    """An offer of a peer at rest."""

    LIMIT: ClassVar[int] = limits.MAX_REGISTRATION

    offer: EnvelopeBytes
    challenge: EnvelopeBytes
    opening: EnvelopeBytes | None = None
    decision: EnvelopeBytes | None = None
    compute_ms: Count = 0


class Taken:
    """All offers of peers to one node."""

    def __init__(self, core: NodeCore) -> None:
        self.core = core
        self.keys = KeyState(core.state)

    # What peers send

    def record(self, row: RegistrationRow) -> TakenRecord:
        """What is stored of a registration, opened."""
        return TakenRecord.from_bytes(self.core.open_sealed(_place(row.exchange_id), row.record))

    def _row(self, peer: str, name: bytes) -> tuple[RegistrationRow, TakenRecord]:
        row = self.keys.registration(ANSWERING, name)
        if row is None or row.target.peer != peer:
            raise UnknownExchange("no such registration of yours")
        return row, self.record(row)

    def _put(
        self,
        row: RegistrationRow,
        record: TakenRecord,
        state: str,
        heads: list[SeenHead] | None = None,
        found: list[FoundConflict] | None = None,
        keys: KeysRow | None = None,
        *,
        is_open: bool = True,
    ) -> RegistrationRow:
        sealed = self.core.seal(_place(row.exchange_id), record.to_bytes())
        row = replace(row, state=state, is_open=is_open, record=sealed)
        self.keys.put(row, heads or (), found or (), keys)
        return row

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
        if known is not None and (known.target.peer, self.record(known).offer) == (peer, envelope):
            self._log_challenge(self.record(known))
            return name
        if known is not None or core.journal.has(name):
            raise Replayed("this exchange id is on the ledger already")
        agreements = core.agreements.with_peer(peer)
        offer, envelope, entry = self._judged(
            peer, lambda: admit_offer(body, parties, core.seen(peer), agreements, now_ms)
        )
        self.search(offer.profile, offer.plan)
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
        self._put(row, record, CHALLENGED, [_head(peer, entry, now_ms)])
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
        if known is None and self._waiting(peer, name) is None:
            return False
        return self.core.bodies.path(Kind.KEYS, name).exists()

    def _log_challenge(self, record: TakenRecord) -> int:
        time_ms = read_challenge(record.challenge).challenged_ms
        return self.core.append(challenged(record.offer, record.challenge), time_ms).index

    def open(self, peer: str, name: bytes, body: bytes) -> None:
        """Check an opening but for its sets and store it; a repeated one changes nothing."""
        row, record = self._row(peer, name)
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
        self._put(row, record, OPENED, [_head(peer, entry, now_ms)])

    def covering(self, peer: str, name: bytes) -> int:
        """The size of a checkpoint that covers every entry of a registration."""
        row, record = self._row(peer, name)
        indexes = [self._log_challenge(record)]
        if not row.is_open and record.decision is not None:
            indexes.append(self._log_decision(record))
        return max(indexes) + 1

    def status(self, peer: str, name: bytes, seen_size: int, progress: Progress | None) -> bytes:
        """The bytes of the ``RegistrationStatus``; a decision is told once it is logged."""
        row, record = self._row(peer, name)
        decided = None if row.is_open else record.decision
        evidence = None
        if decided is not None:
            evidence = self.core.evidence(self._log_decision(record), seen_size, peer)
        return RegistrationStatus(
            challenge=record.challenge,
            challenge_evidence=self.core.evidence(self._log_challenge(record), seen_size, peer),
            progress=progress,
            decision=decided,
            decision_evidence=evidence,
            witnessed=self.core.witnessing.returned(peer),
        ).to_bytes()

    def search(self, profile: bytes, plan: bytes) -> SearchProfile:
        """The search of a profile that this node has, under this plan."""
        try:
            search = self.core.profiles.named(profile).search
        except BadConfig:
            raise OfferRefused("this node does not have the profile") from None
        if plan_for(search).identifier != plan:
            raise OfferRefused("this node searches under another plan")
        return search

    def _waiting(self, peer: str, name: bytes) -> TakenRecord | None:
        """The open registration of a peer that keeps this set."""
        for row in self.keys.registrations(ANSWERING, only_open=True):
            if row.target.peer == peer:
                record = self.record(row)
                if read_offer(record.offer).sets[read_challenge(record.challenge).kept] == name:
                    return record
        return None

    def search_waiting(self, peer: str, name: bytes, plan: str) -> SearchProfile:
        """The search that keys are wanted for; raises ``OfferRefused`` if nobody waits for them."""
        record, known = self._waiting(peer, name), self.keys.keys(ANSWERING, name, peer)
        if record is None and (known is None or known.is_gone):
            raise OfferRefused("nobody waits for these keys: offer them first")
        if record is not None:
            offer = read_offer(record.offer)
            search = self.search(offer.profile, offer.plan)
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
                    return self.search(grant.profile_digest, plan)
                except OfferRefused:
                    continue
        raise OfferRefused("no agreement with you uses this plan")

    def accept_keys(self, name: bytes, part: Path) -> None:
        """Give checked bytes their name."""
        self.core.bodies.accept(Kind.KEYS, name, part)

    # The decision

    def store_decision(
        self, row: RegistrationRow, record: TakenRecord, reason: RefusedFor | None, index: int
    ) -> None:
        """Sign and store the decision, with what accuses the peer, in one transaction; nobody is told yet."""
        core, now_ms, peer = self.core, self.core.clock(), row.target.peer
        if reason is None and self._has_another(row, record):
            reason = "keys-registered"
        decision = KeyDecision(
            exchange_id=row.exchange_id,
            requester=peer,
            responder=core.country,
            offer_hash=message_hash(record.offer),
            opening_hash=None if record.opening is None else message_hash(record.opening),
            outcome="registered" if reason is None else "refused",
            reason=reason,
            decided_ms=now_ms,
        )
        found = []
        if record.opening is not None and reason in ("set-differs", "opening-incomplete"):
            evidence = self._evidence(core.parties(peer), record, record.opening, reason, index)
            found = [FoundConflict(peer, evidence.digest, reason, evidence.to_bytes(), now_ms)]
        record = record.model_copy(update={"decision": sign(decision, core.keys.identity)})
        self._put(row, record, DECIDING, found=found)

    def _has_another(self, row: RegistrationRow, record: TakenRecord) -> bool:
        """Whether a set for this plan and epoch came into use, or is about to, while this one was open."""
        sets = len(read_offer(record.offer).sets)
        if self.keys.keys_for(ANSWERING, row.target, sets) is not None:
            return True
        for other in self.keys.registrations(ANSWERING, only_open=True):
            if other.target != row.target or other.exchange_id == row.exchange_id:
                continue
            known = self.record(other)
            decided = None if known.decision is None else read_decision(known.decision)
            if decided and decided.outcome == "registered" and len(read_offer(known.offer).sets) >= sets:
                return True
        return False

    def _evidence(
        self, parties: Parties, record: TakenRecord, opening: bytes, reason: RefusedFor, index: int
    ) -> KeyEvidence:
        offer = read_offer(record.offer)
        rule: KeyRule = "set-differs" if reason == "set-differs" else "opening-incomplete"
        search = self.search(offer.profile, offer.plan) if rule == "set-differs" else None
        peer = parties.peer
        return KeyEvidence.of(rule, peer.country, peer.identity, record.offer, opening, index, search)

    def _log_decision(self, record: TakenRecord) -> int:
        assert record.decision is not None
        decision = read_decision(record.decision)
        statement: Statement
        if decision.outcome == "registered":
            assert record.opening is not None
            statement = registered(record.offer, record.opening, record.compute_ms)
        else:
            statement = refused(record.offer, decision.opening_hash, str(decision.reason))
        return self.core.append(statement, decision.decided_ms).index

    def finish(self, name: bytes) -> None:
        """Log the decision; only then the keys are in use, and the peer may be told."""
        row = self.keys.registration(ANSWERING, name)
        assert row is not None
        record = self.record(row)
        assert record.decision is not None
        self._log_decision(record)
        offer, decision, now_ms = read_offer(record.offer), read_decision(record.decision), self.core.clock()
        kept = offer.sets[read_challenge(record.challenge).kept]
        keys = None
        if decision.outcome == "registered":
            keys = KeysRow(ANSWERING, kept, row.target, len(offer.sets), now_ms)
        self._put(row, record, decision.outcome, keys=keys, is_open=False)
        if keys is None and self.keys.keys(ANSWERING, kept, row.target.peer) is None:
            self.core.bodies.remove(Kind.KEYS, kept)
        log("keys decided", exchange=name, peer=row.target.peer, state=decision.outcome, code=decision.reason)
        settle_conflicts(self.core)

    def sweep(self) -> None:
        """Refuse what was not opened or uploaded in time; delete the bytes of epochs that are over."""
        now_ms = self.core.clock()
        for row in self.keys.registrations(ANSWERING, only_open=True):
            record = self.record(row)
            over = now_ms > min(row.created_ms + limits.REGISTRATION_PERIOD, row.target.end_ms)
            if record.decision is None and over:
                self.store_decision(row, record, "overdue", 0)
                self.finish(row.exchange_id)
        for keys in self.keys.all_keys(ANSWERING):
            # What was accepted on the last day still has its hour.
            if now_ms > keys.target.end_ms + limits.ANSWER_PERIOD + 2 * limits.CLOCK_SKEW:
                self.core.bodies.remove(Kind.KEYS, keys.hash)
                self.keys.forget_keys(keys)
                log("keys expired", peer=keys.target.peer)


def _place(name: bytes) -> bytes:
    return b"registration/r/" + name


def _head(peer: str, entry: VerifiedEntry[Any], now_ms: int) -> SeenHead:
    return SeenHead(peer, entry.head.size, entry.head.root, entry.checkpoint, now_ms)
