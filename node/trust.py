"""What follows when a peer's ledger contradicts itself, and what the operator can do about it.

A conflict is stored with the step that found it, in one transaction. Here it becomes a file beside the ledger and an
entry on it; both may be written again after a crash. Exchanges are stopped from the transaction on.

Source: specs/ledger.md, section "Conflicts".
"""

from __future__ import annotations

import os
from typing import Final

from node.claim_state import ClaimState
from node.core import NodeCore
from node.errors import BadConfig, StorageFailed
from node.journal import Recorded
from node.ledger_store import POLICY, SCRATCH
from node.logging import log
from protocol import statements_witness as statements
from protocol.accusations import accusation_words, read_accusation
from protocol.log_policy import MAX_POLICY_BYTES, parse_policy

CONFLICTS: Final = "conflicts"
BY_NODE: Final = "node"
BY_OPERATOR: Final = "operator"


def conflict_path(peer: str, digest: bytes) -> str:
    """Where a conflict file lies, below the ledger's directory."""
    return f"{CONFLICTS}/{peer}-{digest.hex()}"


def alone_with(core: NodeCore) -> list[str]:
    """Peers between whom and us nobody outside has to vouch for either ledger: two histories could be kept."""
    data = core.files.read(core.paths.ledger / POLICY, MAX_POLICY_BYTES)
    policy = parse_policy(data or b"quorum none\n")
    own = core.keys.identity.verify_key.public
    return [
        country
        for country, peer in sorted(core.roster.peers.items())
        if not core.agreements.demands(country) and policy.met_by({own, peer.fields.identity_key})
    ]


def say_who_is_alone(core: NodeCore) -> None:
    """At the start, for the operator's log."""
    for country in alone_with(core):
        log("nobody outside the pair has to cosign", level="warning", peer=country)


def settle_conflicts(core: NodeCore) -> int:
    """Write the file and the entry of every conflict that has none yet; returns how many.

    Raises:
        StorageFailed: The disk refused; the next start tries again.
        LocalFault: The ledger does not take the entry.
    """
    waiting = core.witnessing.state.unsettled_conflicts()
    for peer, digest, body in waiting:
        root = core.paths.ledger
        target = root / conflict_path(peer, digest)
        try:
            core.files.ensure_directory(target.parent, root)
            core.files.write_atomic(target, body, root / SCRATCH)
        except OSError as error:
            raise StorageFailed(f"a conflict file could not be written: {error.strerror}") from None
        accusation = read_accusation(body)
        rule = accusation.rule
        core.record(
            statements.PeerSuspended(
                exchange_id=core.own_exchange("peer.suspended", digest),
                country=core.country,
                peer=peer,
                conflict=digest,
            ),
            statements.Decided(operator=BY_NODE, reason=accusation_words(accusation)),
        )
        core.witnessing.state.settle_conflict(digest)
        log("a peer was suspended", level="error", peer=peer, reason=rule)
    return len(waiting)


def suspend(core: NodeCore, country: str, operator: str, reason: str) -> Recorded:
    """Stop exchanges with a peer, by the operator's will; logged.

    Raises:
        UnknownPeer: No such peer.
        BadConfig: Exchanges with it are stopped already.
    """
    core.roster.peer(country)
    if core.suspension(country):
        raise BadConfig(f"exchanges with {country} are suspended already")
    core.witnessing.state.suspend(country, BY_OPERATOR, core.clock())
    return core.record(
        statements.PeerSuspended(
            exchange_id=os.urandom(16), country=core.country, peer=country, conflict=None
        ),
        statements.Decided(operator=operator, reason=reason),
    )


def resume(core: NodeCore, country: str, operator: str, reason: str) -> Recorded:
    """Take up exchanges with a suspended peer; logged first, so that no exchange comes before the entry.

    Raises:
        UnknownPeer: No such peer.
        BadConfig: Exchanges with it are not suspended.
    """
    core.roster.peer(country)
    if not core.suspension(country):
        raise BadConfig(f"exchanges with {country} are not suspended")
    settle_conflicts(core)
    recorded = core.record(
        statements.PeerResumed(exchange_id=os.urandom(16), country=core.country, peer=country),
        statements.Decided(operator=operator, reason=reason),
    )
    ClaimState(core.state).forget_doubts(country)
    core.witnessing.state.suspend(country, "", core.clock())
    return recorded
