"""Peers whose claims, or whose confirmations of ours, did not hold too often: exchanges with them are stopped, logged.

The count is kept with the claim that it is about, in one transaction; the entry follows from what is stored, so it is
written again after a crash.

Source: specs/wire.md, section "Claims".
"""

from __future__ import annotations

from typing import Final

from node.claim_state import ASKING, SUSPENDED_FOR, ClaimState, Doubt
from node.core import NodeCore
from node.logging import log
from node.trust import BY_NODE
from protocol import statements_witness as statements

WORDS: Final = {
    "claims-failed": "hits of its answers were not confirmed, or its answers were not what an honest search leaves",
    "claims-refused": "it claimed hits with tokens that were not given",
}


def doubt(core: NodeCore, role: str) -> Doubt:
    """What is to be counted now, under this node's settings."""
    limit = core.config.max_failed_claims if role == ASKING else core.config.max_refused_claims
    return Doubt(limit, core.clock())


def doubt_answer(core: NodeCore, peer: str) -> None:
    """Count an answer of a peer that the guards rejected: like a hit that is not confirmed."""
    ClaimState(core.state).doubt(ASKING, peer, doubt(core, ASKING))
    settle_suspensions(core)


def settle_suspensions(core: NodeCore) -> None:
    """Write the entry of every suspension for claims that is in force; the ones that are there are found again."""
    for country in sorted(core.roster.peers):
        standing = core.witnessing.state.standing(country)
        if standing.suspended_for not in SUSPENDED_FOR.values():
            continue
        subject = country.encode() + standing.suspended_ms.to_bytes(8, "big")
        name = core.own_exchange("peer.suspended", subject)
        if core.journal.find(name, "peer.suspended") is not None:
            continue
        core.record(
            statements.PeerSuspended(exchange_id=name, country=core.country, peer=country, conflict=None),
            statements.Decided(operator=BY_NODE, reason=WORDS[standing.suspended_for]),
        )
        log("a peer was suspended", level="error", peer=country, reason=standing.suspended_for)
