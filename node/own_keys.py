"""The evaluation keys that this node asks under. For the core's thread.

Source: specs/wire.md, section "Registration of keys".
"""

from __future__ import annotations

from dataclasses import dataclass

from crypto.errors import BadCiphertext
from crypto.hitsearch.parameters import plan_for
from crypto.profiles import SearchProfile
from node.core import NodeCore
from node.errors import BadConfig
from node.key_state import ASKING, KeysRow, KeyState, Target
from protocol import limits
from protocol.agreement import Agreement
from protocol.registration import epoch_at, open_epochs

SECRETS_KEPT_MS = limits.ANSWER_PERIOD + limits.FETCH_PERIOD + limits.REPORT_PERIOD
"""After the epoch an answer may still have to be opened."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Keys that are wanted, and under which agreement and profile they are offered."""

    target: Target
    agreement: bytes
    profile: bytes
    search: SearchProfile
    sets: int


class OwnKeys:
    """Wanted, in use, and forgotten once nothing is left to be opened with them."""

    def __init__(self, core: NodeCore) -> None:
        self._core = core
        self.state = KeyState(core.state)

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
        return self._is_open(wanted) or self.may_offer(wanted)

    def _is_open(self, wanted: Wanted) -> bool:
        rows = self.state.registrations(ASKING, only_open=True)
        return any(row.target == wanted.target for row in rows)

    def may_offer(self, wanted: Wanted) -> bool:
        """Whether the peer would still take an offer for this plan and epoch."""
        return self.state.count(ASKING, wanted.target) < limits.MAX_KEY_OFFERS

    def in_use(self, wanted: Wanted) -> KeysRow | None:
        """The keys in use, if they were one of as many sets as the agreement asks for."""
        return self.state.keys_for(ASKING, wanted.target, wanted.sets)

    def secret_of(self, key_hash: bytes, peer: str) -> bytes:
        """The secret of keys of ours; raises ``BadCiphertext`` if they are unknown or their epoch is long over."""
        row = self.state.keys(ASKING, key_hash, peer)
        if row is None or not row.sealed_secret:
            raise BadCiphertext("the query keys of this exchange are gone")
        return self._core.open_sealed(secret_place(key_hash), row.sealed_secret)

    def forget(self) -> None:
        """Delete the secrets of epochs that are over and of which no answer is awaited any more."""
        now_ms = self._core.clock()
        for row in self.state.all_keys(ASKING):
            if now_ms > row.target.end_ms + SECRETS_KEPT_MS:
                self.state.forget_keys(row)


def secret_place(key_hash: bytes) -> bytes:
    """Where the secret of a set in use is sealed to."""
    return b"query-key/" + key_hash
