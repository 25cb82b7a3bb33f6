"""The offers of evaluation keys that this node makes, at rest and on the ledger. For the core's thread.

The secrets of all offered sets are stored, sealed, before the first message leaves. Once the keys are in use only the
secret of the kept set is, and it lies in the ledger as well, for the auditors; the others were opened.

Source: specs/wire.md, section "Registration of keys".
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar

from pydantic import Field

from crypto.hitsearch.parameters import plan_for
from crypto.profiles import SearchProfile
from node.core import NodeCore
from node.errors import BadConfig
from node.key_state import ASKING, KeysRow, KeyState, RegistrationRow, Target
from node.logging import log
from node.state import FoundConflict, SeenHead
from node.trust import settle_conflicts
from protocol import limits
from protocol.agreement import Agreement
from protocol.conflict import read_conflict
from protocol.errors import EvidenceRejected
from protocol.exchange.registrations import SecondChallenge, Told, verify_told
from protocol.messages import EnvelopeBytes, message_hash, sign
from protocol.model import Model
from protocol.registration import (
    KeyOffer,
    KeyOpening,
    KeySubmission,
    RegistrationStatus,
    accepted,
    epoch_at,
    failed,
    offered,
    open_epochs,
    opened,
    read_challenge,
    read_decision,
    read_offer,
    read_opening,
)
from protocol.seen_by import UnseenCheckpoint
from protocol.statements_keys import Secret

OFFERING, OPENING, FAILED, REGISTERED = "offering", "opening", "failed", "registered"
SECRETS_KEPT_MS = limits.ANSWER_PERIOD + limits.FETCH_PERIOD + limits.REPORT_PERIOD
"""After the epoch an answer may still have to be opened."""


class OfferRecord(Model):
    """An offer of ours at rest, sealed. The secrets are those of all sets; none once it is over."""

    LIMIT: ClassVar[int] = limits.MAX_REGISTRATION

    offer: EnvelopeBytes
    secrets: Annotated[list[Secret], Field(max_length=limits.MAX_KEY_SETS)] = Field(repr=False)
    challenge: EnvelopeBytes | None = None
    opening: EnvelopeBytes | None = None
    decision: EnvelopeBytes | None = None
    delivered: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """Keys that are wanted, and under which agreement and profile they are offered."""

    target: Target
    agreement: bytes
    profile: bytes
    search: SearchProfile
    sets: int


@dataclass(frozen=True, slots=True)
class Open:
    """A registration that is not over."""

    row: RegistrationRow
    record: OfferRecord = field(repr=False)
    progress: tuple[int, int] = (0, 0)

    @property
    def name(self) -> bytes:
        """Its exchange id."""
        return self.row.exchange_id

    @property
    def delivered(self) -> bool:
        """The peer has the opening and the bytes of the kept set."""
        return self.record.delivered

    @property
    def _kept(self) -> int:
        assert self.record.challenge is not None
        return read_challenge(self.record.challenge).kept

    @property
    def kept_hash(self) -> bytes:
        """Hash of the set that stays closed."""
        return read_offer(self.record.offer).sets[self._kept]

    @property
    def kept_secret(self) -> bytes:
        """Secret of the set that stays closed."""
        return self.record.secrets[self._kept]


class Offers:
    """All offers of one node."""

    def __init__(self, core: NodeCore) -> None:
        self._core = core
        self.keys = KeyState(core.state)

    # What is wanted

    def target_of(self, agreement: Agreement, profile: bytes, epoch: int | None = None) -> Wanted:
        """The keys that a query under an agreement and profile needs now, or in another epoch."""
        fields = agreement.fields
        peer = next(country for country in agreement.countries if country != self._core.country)
        search = self._core.profiles.named(profile).search
        days = fields.key_epoch_days
        if epoch is None:
            epoch = epoch_at(self._core.clock(), days)
        target = Target(peer, plan_for(search).identifier, days, epoch)
        return Wanted(target, agreement.digest, profile, search, fields.key_sets)

    def wanted(self) -> list[Wanted]:
        """What queries may need now and shortly, and what is not registered."""
        core, now_ms = self._core, self._core.clock()
        found: dict[Target, Wanted] = {}
        for peer in sorted(core.roster.peers):
            if core.suspension(peer):
                continue
            for agreement in core.agreements.with_peer(peer):
                fields = agreement.fields
                if not fields.not_before_ms <= now_ms < fields.not_after_ms:
                    continue
                for grant in fields.grants:
                    if grant.requester != core.country:
                        continue
                    for epoch in open_epochs(now_ms, fields.key_epoch_days):
                        try:
                            one = self.target_of(agreement, grant.profile_digest, epoch)
                        except BadConfig:
                            continue  # a profile that this node does not know yet: nobody can ask under it
                        if one.target.end_ms - fields.not_after_ms < one.target.epoch_days * limits.DAY:
                            found.setdefault(one.target, one)
        return [one for one in found.values() if self.in_use(one) is None and self._may(one)]

    def _may(self, wanted: Wanted) -> bool:
        return self.current(wanted) is not None or self.may_offer(wanted)

    def may_offer(self, wanted: Wanted) -> bool:
        """Whether the peer would still take an offer for this plan and epoch."""
        return self.keys.count(ASKING, wanted.target) < limits.MAX_KEY_OFFERS

    def in_use(self, wanted: Wanted) -> KeysRow | None:
        """The keys in use, if they were one of as many sets as the agreement asks for."""
        return self.keys.keys_for(ASKING, wanted.target, wanted.sets)

    def secret_of(self, key_hash: bytes, peer: str) -> bytes | None:
        """The secret of keys of ours; None if they are unknown or their epoch is long over."""
        row = self.keys.keys(ASKING, key_hash, peer)
        if row is None or not row.sealed_secret:
            return None
        return self._core.open_sealed(_secret_place(key_hash), row.sealed_secret)

    def forget(self) -> None:
        """Delete the secrets of epochs that are over and of which no answer is awaited any more."""
        now_ms = self._core.clock()
        for row in self.keys.all_keys(ASKING):
            if now_ms > row.target.end_ms + SECRETS_KEPT_MS:
                self.keys.forget_keys(row)

    # Registrations under way

    def open_targets(self) -> list[Wanted]:
        """What was begun and is not over."""
        found = []
        for row in self.keys.registrations(ASKING, only_open=True):
            offer = read_offer(self._record(row).offer)
            try:
                search = self._core.profiles.named(offer.profile).search
            except BadConfig:
                continue
            found.append(Wanted(row.target, offer.agreement, offer.profile, search, len(offer.sets)))
        return found

    def current(self, wanted: Wanted) -> Open | None:
        """The open registration for what is wanted."""
        for row in self.keys.registrations(ASKING, only_open=True):
            if row.target == wanted.target:
                return Open(row, self._record(row))
        return None

    def begin(self, wanted: Wanted, made: list[tuple[bytes, bytes]]) -> Open:
        """Sign an offer of these sets (secret and hash of each) and store it; durable on return."""
        core, target = self._core, wanted.target
        offer = KeyOffer(
            exchange_id=os.urandom(16),
            requester=core.country,
            responder=target.peer,
            agreement=wanted.agreement,
            profile=wanted.profile,
            plan=target.plan,
            epoch_days=target.epoch_days,
            epoch=target.epoch,
            sets=[name for _, name in made],
            created_ms=core.clock(),
        )
        record = OfferRecord(offer=sign(offer, core.keys.identity), secrets=[secret for secret, _ in made])
        row = RegistrationRow(ASKING, offer.exchange_id, target, offer.created_ms, True, OFFERING, b"")
        return self._put(Open(row, record), OFFERING)

    def is_over(self, at: Open) -> bool:
        """Whether the epoch is over, or the responder waits no longer."""
        now_ms = self._core.clock()
        late = at.record.challenge is not None and now_ms > at.row.created_ms + 2 * limits.REGISTRATION_PERIOD
        return at.record.decision is None and (late or now_ms >= at.row.target.end_ms)

    def log_offer(self, at: Open) -> int:
        """The entry of an offer, made or found."""
        time_ms = read_offer(at.record.offer).created_ms
        return self._core.append(offered(at.record.offer), time_ms).index

    def log_opening(self, at: Open) -> int:
        """The entry of an opening, made or found; it must stand before the opening leaves."""
        record = at.record
        assert record.challenge is not None
        assert record.opening is not None
        statement = opened(record.offer, record.challenge, record.opening)
        return self._core.append(statement, read_opening(record.opening).opened_ms).index

    def submission(self, peer: str, index: int, message: bytes) -> bytes:
        """The body that carries a message of ours, with the evidence of its entry."""
        seen_size, witnessed = self._core.witnessing.held(peer)
        evidence = self._core.evidence(index, self._core.witnessing.told(peer), peer)
        return KeySubmission(
            message=message, evidence=evidence, seen_size=seen_size, witnessed=witnessed
        ).to_bytes()

    def seen_size(self, peer: str) -> int:
        """From where the peer's evidence has to start."""
        seen = self._core.seen(peer)
        return 0 if seen is None else seen.size

    def take(self, at: Open, body: bytes) -> Open:
        """Take what the responder says. The first challenge is stored, with our opening, and never another one.

        Raises:
            SecondChallenge, EvidenceRejected: What convicts the responder is stored, and it is suspended.
            PeerFault: It does not hold.
        """
        core, peer, record = self._core, at.row.target.peer, at.record
        status = RegistrationStatus.from_bytes(body)
        if status.witnessed is not None:
            core.witnessing.take_checkpoint_reply(peer, 200, status.witnessed)
        now_ms = core.clock()
        try:
            told = verify_told(
                body,
                core.parties(peer),
                core.seen(peer),
                record.offer,
                record.challenge,
                record.opening,
                now_ms,
            )
        except SecondChallenge as error:
            evidence = error.evidence
            self._accuse(FoundConflict(peer, evidence.digest, evidence.rule, evidence.to_bytes(), now_ms))
            raise
        except EvidenceRejected as error:
            if error.conflict is not None:
                conflict = read_conflict(error.conflict)
                self._accuse(FoundConflict(peer, conflict.digest, conflict.rule, error.conflict, now_ms))
            raise
        except UnseenCheckpoint as error:
            core.witnessing.state.put_head(_head(peer, error.entry, now_ms))
            raise
        heads = [_head(peer, told.challenge_entry, now_ms)]
        if told.decision_entry is not None:
            heads.append(_head(peer, told.decision_entry, now_ms))
        changes = self._answered(record, told, now_ms)
        progress = (0, 0) if status.progress is None else (status.progress.done, status.progress.total)
        at = Open(at.row, record.model_copy(update=changes), progress)
        return self._put(at, OPENING, heads)

    def _answered(self, record: OfferRecord, told: Told, now_ms: int) -> dict[str, Any]:
        changes: dict[str, Any] = {}
        if record.challenge is None:
            offer = read_offer(record.offer)
            kept = read_challenge(told.challenge).kept
            opening = KeyOpening(
                exchange_id=offer.exchange_id,
                requester=offer.requester,
                responder=offer.responder,
                offer_hash=message_hash(record.offer),
                challenge_hash=message_hash(told.challenge),
                kept=kept,
                secrets=[secret for index, secret in enumerate(record.secrets) if index != kept],
                opened_ms=now_ms,
            )
            changes = {"challenge": told.challenge, "opening": sign(opening, self._core.keys.identity)}
        if told.decision is not None:
            changes["decision"] = told.decision_envelope
        return changes

    def _accuse(self, found: FoundConflict) -> None:
        self._core.witnessing.state.put_conflict(found)
        settle_conflicts(self._core)

    def mark_delivered(self, at: Open) -> None:
        """The peer has everything; after a restart nothing is sent again."""
        self._put(replace(at, record=at.record.model_copy(update={"delivered": True})), OPENING)

    def finish(self, at: Open) -> str | None:
        """Log the end; the reason of a refusal, or None once the keys are in use.

        The secret is on the ledger, for the auditors, before any query is asked under it.
        """
        record, core = at.record, self._core
        assert record.decision is not None
        decision = read_decision(record.decision)
        if decision.outcome == "refused":
            reason = str(decision.reason)
            self._end(at, reason)
            return reason
        assert record.opening is not None
        now_ms, offer = core.clock(), read_offer(record.offer)
        core.append(accepted(record.offer, record.opening, at.kept_secret), now_ms)
        sealed = core.seal(_secret_place(at.kept_hash), at.kept_secret)
        keys = KeysRow(ASKING, at.kept_hash, at.row.target, len(offer.sets), now_ms, sealed)
        self._put(at, REGISTERED, keys=keys)
        return None

    def fail(self, at: Open, reason: str) -> None:
        """Give a registration up, on the ledger. Its sets are never offered again."""
        self._end(at, reason)
        log("a registration of keys was given up", level="warning", exchange=at.name, code=reason)

    def _end(self, at: Open, reason: str) -> None:
        self.log_offer(at)
        self._core.append(failed(at.record.offer, reason), self._core.clock())
        self._put(at, FAILED)

    # At rest

    def _record(self, row: RegistrationRow) -> OfferRecord:
        return OfferRecord.from_bytes(self._core.open_sealed(_place(row.exchange_id), row.record))

    def _put(
        self, at: Open, state: str, heads: list[SeenHead] | None = None, keys: KeysRow | None = None
    ) -> Open:
        record = at.record
        if state in (FAILED, REGISTERED):
            record = record.model_copy(update={"secrets": []})
        sealed = self._core.seal(_place(at.name), record.to_bytes())
        is_open = state not in (FAILED, REGISTERED)
        row = replace(at.row, state=state, is_open=is_open, record=sealed)
        self.keys.put(row, heads or (), (), keys)
        return Open(row, record, at.progress)


def _place(name: bytes) -> bytes:
    return b"registration/q/" + name


def _secret_place(key_hash: bytes) -> bytes:
    return b"query-key/" + key_hash


def _head(peer: str, entry: Any, now_ms: int) -> SeenHead:
    return SeenHead(peer, entry.head.size, entry.head.root, entry.checkpoint, now_ms)
