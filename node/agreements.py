"""The agreements that are in force on this node.

Source: specs/agreements.md.
"""

from __future__ import annotations

from collections.abc import Callable

from node.errors import NoAgreement
from node.state import State
from protocol.agreement import Agreement, read_agreement
from protocol.log_policy import LogPolicy


class Agreements:
    """All that were accepted here and kept in the node's state."""

    def __init__(self, state: State, clock: Callable[[], int]) -> None:
        self._state = state
        self._clock = clock
        self._held: dict[bytes, Agreement] = {}
        for digest, _, note in state.agreements():
            self._held[digest] = read_agreement(note)

    @property
    def digests(self) -> list[bytes]:
        """What names them."""
        return list(self._held)

    def put(self, agreement: Agreement, peer: str, note: bytes) -> None:
        """Keep one; durable on return."""
        self._state.put_agreement(agreement.digest, peer, note, self._clock())
        self._held[agreement.digest] = agreement

    def named(self, digest: bytes, peer: str) -> Agreement | None:
        """An agreement with this peer in force here, by digest."""
        return next((one for one in self.with_peer(peer) if one.digest == digest), None)

    def with_peer(self, peer: str) -> list[Agreement]:
        """All agreements with a peer that no later edition replaces, the highest serial first."""
        now = self._clock()
        begun = [one for one in self._held.values() if one.fields.not_before_ms <= now]
        found = [
            one
            for one in self._held.values()
            if peer in one.countries and not any(later.replaces(one) for later in begun)
        ]
        return sorted(found, key=lambda one: one.fields.serial, reverse=True)

    def usable(self, peer: str) -> list[Agreement]:
        """The agreements under which a new query to this peer can be asked, the highest serial first.

        If none is in force now, all of them: the refusal then says so, and is logged.

        Raises:
            NoAgreement: There is none with this peer.
        """
        found = self.with_peer(peer)
        if not found:
            raise NoAgreement(f"no agreement with {peer} is in force here")
        now = self._clock()
        valid = [one for one in found if one.fields.not_before_ms <= now < one.fields.not_after_ms]
        return valid or found

    def current(self, peer: str) -> Agreement:
        """The first of the usable agreements; raises ``NoAgreement``."""
        return self.usable(peer)[0]

    def demands(self, peer: str) -> tuple[LogPolicy, ...]:
        """Who outside the pair must have cosigned what a peer and we show each other, by every agreement with it.

        One that has ended still asks for it until a later edition replaces it: what is under way was begun under it.
        """
        now = self._clock()
        begun = [one for one in self.with_peer(peer) if one.fields.not_before_ms <= now]
        return tuple(one.demand for one in begun if one.demand is not None)
