"""Statements about claims of hits: sent, accepted or refused, confirmed or failed.

They are in the exchange of their query. An exchange has at most one of each type for each claim.

Source: specs/ledger.md, sections "Statements" and "Claims".
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from protocol import limits
from protocol.model import Country, Hash, Term, Text
from protocol.statement_parts import NoPrivatePart, PrivatePart, SharedPart

BlockNumber = Annotated[int, Field(ge=0, lt=limits.MAX_BLOCKS)]
SlotNumber = Annotated[int, Field(ge=0, lt=limits.SLOTS_PER_BLOCK)]
Token = Annotated[int, Field(ge=0, lt=limits.TOKENS)]


def claim_key(kind: str, block: int, slot: int, claim_hash: bytes) -> str:
    """What names a statement of this type about one claim within its exchange."""
    return f"{kind}/{block}/{slot}/{claim_hash.hex()}"


class HitClaim(SharedPart):
    """What all statements about one claim have in common.

    Attributes:
        block: Position in the answer, from 0.
        slot: Position in the block.
        token: What the requester read there; only a hit shows it.
        claim_hash: Hash of the requester's signed claim.
    """

    requester: Country
    responder: Country
    agreement: Hash
    query_hash: Hash
    answer_hash: Hash
    block: BlockNumber
    slot: SlotNumber
    token: Token
    claim_hash: Hash

    @property
    def hit(self) -> tuple[int, int]:
        """Which hit of the exchange."""
        return self.block, self.slot

    @property
    def key(self) -> str:
        return claim_key(self.type, self.block, self.slot, self.claim_hash)


class ClaimSent(HitClaim):
    """A is about to claim this hit."""

    type: Literal["claim.sent"] = "claim.sent"


class Claimant(PrivatePart):
    """On whose word."""

    officer: Text


class ClaimAccepted(HitClaim):
    """B gave this token: the hit is one."""

    type: Literal["claim.accepted"] = "claim.accepted"


class ClaimRefused(HitClaim):
    """B does not believe the claim; ``reason`` is the stable code that A is told."""

    type: Literal["claim.refused"] = "claim.refused"
    reason: Term


class ClaimConfirmed(HitClaim):
    """A holds B's signed word that the hit is one."""

    type: Literal["claim.confirmed"] = "claim.confirmed"
    verdict_hash: Hash


class ClaimFailed(HitClaim):
    """The hit was not confirmed; ``verdict_hash`` names B's refusal, None if there is none."""

    type: Literal["claim.failed"] = "claim.failed"
    reason: Term
    verdict_hash: Hash | None


CLAIM_STATEMENTS: Final[dict[str, tuple[type[SharedPart], type[PrivatePart]]]] = {
    "claim.sent": (ClaimSent, Claimant),
    "claim.accepted": (ClaimAccepted, NoPrivatePart),
    "claim.refused": (ClaimRefused, NoPrivatePart),
    "claim.confirmed": (ClaimConfirmed, NoPrivatePart),
    "claim.failed": (ClaimFailed, NoPrivatePart),
}
"""The shared and private model of every statement type in this file."""
