"""What the operator accepts of a peer, on the ledger before it counts.

Source: specs/agreements.md.
"""

from __future__ import annotations

from node.core import NodeCore
from node.journal import Recorded
from node.state import PeerRow
from protocol import statements
from protocol.agreement import Agreement
from protocol.descriptor import Descriptor
from protocol.errors import BadDescriptor
from protocol.statement_parts import Operated


def accept_peer(core: NodeCore, descriptor: Descriptor, operator: str) -> Recorded:
    """Take a descriptor into the roster, logged; the operator has confirmed its fingerprint.

    Raises:
        BadDescriptor: The roster does not allow it.
    """
    roster = core.roster.accept(descriptor)
    exchange_id = core.own_exchange("peer.accepted", descriptor.digest)
    held = core.state.peer(descriptor.country)
    if held is not None and held.descriptor == descriptor.note:
        known = core.journal.find(exchange_id, "peer.accepted")
        if known is not None:
            return known
    known_past = held is not None and (held.seen_size or core.witnessing.state.has_succeeded(held.country))
    if known_past and _ledger_changed(core, descriptor):
        raise BadDescriptor(f"{descriptor.country} comes with another ledger than the one seen so far")
    recorded = core.record(
        statements.PeerAccepted(
            exchange_id=exchange_id,
            country=core.country,
            peer=descriptor.country,
            descriptor=descriptor.digest,
        ),
        Operated(operator=operator),
    )
    seen = (held.seen_size, held.seen_root, held.seen_checkpoint) if held else (0, bytes(32), b"")
    core.state.put_peer(PeerRow(descriptor.country, descriptor.note, core.clock(), *seen))
    core.roster = roster
    return recorded


def accept_agreement(core: NodeCore, agreement: Agreement, note: bytes, operator: str) -> Recorded:
    """Put an agreement in force on this node, logged.

    Raises:
        BadAgreement: Not signed by both, or not between this node and an accepted peer as they are now.
        UnknownPeer: The other party is not in the roster.
    """
    peer = next(country for country in agreement.countries if country != core.country)
    agreement.require_parties(core.descriptor, core.roster.peer(peer))
    exchange_id = core.own_exchange("agreement.accepted", agreement.digest)
    if agreement.digest in core.agreements.digests:
        known = core.journal.find(exchange_id, "agreement.accepted")
        if known is not None:
            return known
    recorded = core.record(
        statements.AgreementAccepted(
            exchange_id=exchange_id,
            country=core.country,
            peer=peer,
            agreement=agreement.digest,
        ),
        Operated(operator=operator),
    )
    core.agreements.put(agreement, peer, note)
    return recorded


def _ledger_changed(core: NodeCore, descriptor: Descriptor) -> bool:
    held = core.roster.peer(descriptor.country).fields.ledger_vkey
    return descriptor.fields.ledger_vkey != held
