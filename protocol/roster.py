"""The roster: the peers whose descriptors the operator accepted, one edition of each.

A value: adding gives a new roster. What may replace what is decided here, not by who calls.

Source: specs/agreements.md, section "Roster".
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from protocol.descriptor import Descriptor
from protocol.errors import BadDescriptor, UnknownPeer


@dataclass(frozen=True)
class Roster:
    """The accepted peers of the node of country ``own``."""

    own: str
    peers: dict[str, Descriptor] = field(default_factory=dict)

    @classmethod
    def of(cls, own: str, descriptors: Iterable[Descriptor]) -> Roster:
        """A roster of descriptors that were accepted before."""
        roster = cls(own)
        for descriptor in descriptors:
            roster = roster.accept(descriptor)
        return roster

    def accept(self, descriptor: Descriptor, *, new_identity: bool = False) -> Roster:
        """The roster with this descriptor in it.

        Args:
            descriptor: Read and verified.
            new_identity: The operator confirmed, over another channel, that the peer has a new identity key.

        Raises:
            BadDescriptor: It is our own, older than the accepted edition, another text under the same serial,
                under a new identity key that was not confirmed, or shares a key or certificate with another
                peer.
        """
        country = descriptor.country
        if country == self.own:
            raise BadDescriptor("a node is not its own peer")
        held = self.peers.get(country)
        if held is not None:
            if descriptor.fields.identity_key != held.fields.identity_key and not new_identity:
                raise BadDescriptor(f"{country} comes with another identity key than the accepted one")
            if descriptor.fields.serial < held.fields.serial:
                raise BadDescriptor(f"a newer descriptor of {country} has been accepted")
            if descriptor.fields.serial == held.fields.serial and descriptor.digest != held.digest:
                raise BadDescriptor(f"{country} made two descriptors with one serial")
            before, now = held.ledger, descriptor.ledger
            if now.ed25519 == before.ed25519 and before.mldsa not in (None, now.mldsa):
                raise BadDescriptor(f"{country} takes back the post-quantum key of its ledger")
        for other in self.peers.values():
            if other.country != country and _shares(other, descriptor):
                raise BadDescriptor(f"{country} and {other.country} share a key or a certificate")
        return Roster(self.own, {**self.peers, country: descriptor})

    def peer(self, country: str) -> Descriptor:
        """The accepted descriptor of a country; raises ``UnknownPeer``."""
        if country not in self.peers:
            raise UnknownPeer(f"no descriptor of {country} has been accepted here")
        return self.peers[country]

    def by_certificate(self, certificate: bytes) -> Descriptor:
        """The peer that this DER certificate belongs to, byte for byte; raises ``UnknownPeer``."""
        pin = hashlib.sha256(certificate).digest()
        for descriptor in self.peers.values():
            if hashlib.sha256(descriptor.fields.tls_certificate).digest() == pin:
                return descriptor
        raise UnknownPeer("the certificate belongs to no accepted peer")


def _shares(one: Descriptor, other: Descriptor) -> bool:
    a, b = one.fields, other.fields
    return (
        a.identity_key == b.identity_key
        or a.tls_certificate == b.tls_certificate
        or one.ledger.key == other.ledger.key
        or one.ledger.name == other.ledger.name
    )
