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

from node.core import NodeCore
from node.errors import BadConfig
from node.key_state import ASKING, KeysRow, KeyState, RegistrationRow
from node.logging import log
from node.own_keys import Wanted, secret_place
from node.state import FoundConflict, SeenHead
from node.trust import settle_conflicts
from protocol import limits
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
    failed,
    offered,
    opened,
    read_challenge,
    read_decision,
    read_offer,
    read_opening,
)
from protocol.seen_by import UnseenCheckpoint
from protocol.statements_keys import Secret

OFFERING, OPENING, FAILED, REGISTERED = "offering", "opening", "failed", "registered"


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
        sealed = core.seal(secret_place(at.kept_hash), at.kept_secret)
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


def _head(peer: str, entry: Any, now_ms: int) -> SeenHead:
    return SeenHead(peer, entry.head.size, entry.head.root, entry.checkpoint, now_ms)
