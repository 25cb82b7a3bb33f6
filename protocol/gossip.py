"""Gossip: nodes show each other the checkpoints that they hold of others, so that a split view does not last.

A ledger that shows two peers two histories is convicted by its own signatures as soon as the peers compare. Heads of
one size are compared at once. For two sizes the ledger itself is asked to prove that the larger tree continues the
smaller one: it signed both, so an honest one can.

Source: specs/ledger.md, section "Gossip".
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from crypto import merkle
from protocol import limits
from protocol.model import Count, Hash, Model

MAX_HELD: Final = 64
"""Checkpoints in one reply: more peers than that are told of in turns."""


class HeldCheckpoints(Model):
    """What a node holds of its peers' ledgers, each note cosigned by it; the same for whoever asks."""

    LIMIT: ClassVar[int] = MAX_HELD * (limits.MAX_WITNESSED + 8) + 1024

    version: Literal[1] = 1
    type: Literal["held-checkpoints"] = "held-checkpoints"
    notes: Annotated[
        list[Annotated[bytes, Field(min_length=1, max_length=limits.MAX_WITNESSED)]],
        Field(max_length=MAX_HELD),
    ]


class ConsistencyReply(Model):
    """The proof that a node's ledger of ``new_size`` entries continues the one of ``old_size``."""

    version: Literal[1] = 1
    type: Literal["consistency"] = "consistency"
    old_size: Count
    new_size: Count
    proof: Annotated[list[Hash], Field(max_length=merkle.MAX_PROOF_HASHES)]
