"""The decisions on the keys that peers offer. For the core's thread.

Source: specs/wire.md, section "Registration of keys".
"""

from __future__ import annotations

from crypto.hitsearch.parameters import plan_for
from crypto.profiles import SearchProfile
from node.bodies import Kind
from node.core import NodeCore
from node.errors import BadConfig
from node.key_state import ANSWERING, KeysRow, RegistrationRow
from node.logging import log
from node.state import FoundConflict
from node.taken_records import TakenRecord, TakenRecords
from node.trust import settle_conflicts
from protocol import limits
from protocol.errors import OfferRefused
from protocol.exchange.parties import Parties
from protocol.key_evidence import KeyEvidence, KeyRule
from protocol.messages import message_hash, sign
from protocol.registration import (
    KeyDecision,
    RefusedFor,
    read_challenge,
    read_decision,
    read_offer,
    refused,
    registered,
)
from protocol.statements import Statement

DECIDING = "deciding"


class KeyDecisions:
    """Stored before they are logged, and logged before they are told."""

    def __init__(self, core: NodeCore, records: TakenRecords) -> None:
        self._core = core
        self._records = records

    def store(self, row: RegistrationRow, record: TakenRecord, reason: RefusedFor | None, index: int) -> None:
        """Sign and store the decision, with what accuses the peer, in one transaction; nobody is told yet."""
        core, now_ms, peer = self._core, self._core.clock(), row.target.peer
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
        self._records.put(row, record, DECIDING, found=found)

    def _has_another(self, row: RegistrationRow, record: TakenRecord) -> bool:
        """Whether a set for this plan and epoch came into use, or is about to, while this one was open."""
        sets = len(read_offer(record.offer).sets)
        if self._records.keys.keys_for(ANSWERING, row.target, sets) is not None:
            return True
        for other in self._records.keys.registrations(ANSWERING, only_open=True):
            if other.target != row.target or other.exchange_id == row.exchange_id:
                continue
            known = self._records.record(other)
            decided = None if known.decision is None else read_decision(known.decision)
            if decided and decided.outcome == "registered" and len(read_offer(known.offer).sets) >= sets:
                return True
        return False

    def _evidence(
        self, parties: Parties, record: TakenRecord, opening: bytes, reason: RefusedFor, index: int
    ) -> KeyEvidence:
        offer = read_offer(record.offer)
        rule: KeyRule = "set-differs" if reason == "set-differs" else "opening-incomplete"
        search = search_under(self._core, offer.profile, offer.plan) if rule == "set-differs" else None
        peer = parties.peer
        return KeyEvidence.of(rule, peer.country, peer.identity, record.offer, opening, index, search)

    def entry_of(self, record: TakenRecord) -> int:
        """The entry of a decision, made or found."""
        assert record.decision is not None
        decision = read_decision(record.decision)
        statement: Statement
        if decision.outcome == "registered":
            assert record.opening is not None
            statement = registered(record.offer, record.opening, record.compute_ms)
        else:
            statement = refused(record.offer, decision.opening_hash, str(decision.reason))
        return self._core.append(statement, decision.decided_ms).index

    def finish(self, name: bytes) -> None:
        """Log the decision; only then the keys are in use, and the peer may be told."""
        row = self._records.keys.registration(ANSWERING, name)
        assert row is not None
        record = self._records.record(row)
        assert record.decision is not None
        self.entry_of(record)
        offer, decision, now_ms = read_offer(record.offer), read_decision(record.decision), self._core.clock()
        kept = offer.sets[read_challenge(record.challenge).kept]
        keys = None
        if decision.outcome == "registered":
            keys = KeysRow(ANSWERING, kept, row.target, len(offer.sets), now_ms)
        self._records.put(row, record, decision.outcome, keys=keys, is_open=False)
        if keys is None and self._records.keys.keys(ANSWERING, kept, row.target.peer) is None:
            self._core.bodies.remove(Kind.KEYS, kept)
        log("keys decided", exchange=name, peer=row.target.peer, state=decision.outcome, code=decision.reason)
        settle_conflicts(self._core)

    def sweep(self) -> None:
        """Refuse what was not opened or uploaded in time; delete the bytes of epochs that are over."""
        now_ms = self._core.clock()
        for row in self._records.keys.registrations(ANSWERING, only_open=True):
            record = self._records.record(row)
            over = now_ms > min(row.created_ms + limits.REGISTRATION_PERIOD, row.target.end_ms)
            if record.decision is None and over:
                self.store(row, record, "overdue", 0)
                self.finish(row.exchange_id)
        for keys in self._records.keys.all_keys(ANSWERING):
            # What was accepted on the last day still has its hour.
            if now_ms > keys.target.end_ms + limits.ANSWER_PERIOD + 2 * limits.CLOCK_SKEW:
                self._core.bodies.remove(Kind.KEYS, keys.hash)
                self._records.keys.forget_keys(keys)
                log("keys expired", peer=keys.target.peer)


def search_under(core: NodeCore, profile: bytes, plan: bytes) -> SearchProfile:
    """The search of a profile that this node has, under this plan."""
    try:
        search = core.profiles.named(profile).search
    except BadConfig:
        raise OfferRefused("this node does not have the profile") from None
    if plan_for(search).identifier != plan:
        raise OfferRefused("this node searches under another plan")
    return search
