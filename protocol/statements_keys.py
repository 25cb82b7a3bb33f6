"""Statements about evaluation keys: offered, challenged, opened, and in use or not.

Both ledgers have an exchange of their own for each registration. The secrets of the sets that were opened are in the
messages; the secret of the set in use is in the private part of the requester's last entry alone, for its auditors.

Source: specs/ledger.md, section "Statements"; specs/wire.md, section "Registration of keys".
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from protocol import limits
from protocol.model import Count, Country, Hash, Term
from protocol.statement_parts import NoPrivatePart, PrivatePart, SharedPart

MAX_SECRET_BYTES: Final = 64
KEYS_BASIS: Final = "evaluation-keys"
"""Under this name the operator says how long payloads of registrations, and so secrets in escrow, are kept."""

Kept = Annotated[int, Field(ge=0, lt=limits.MAX_KEY_SETS)]
Sets = Annotated[list[Hash], Field(min_length=limits.MIN_KEY_SETS, max_length=limits.MAX_KEY_SETS)]
Secret = Annotated[bytes, Field(min_length=16, max_length=MAX_SECRET_BYTES)]


class Registration(SharedPart):
    """What all statements about one registration have in common.

    Attributes:
        plan: Identifier of the search plan that the keys are of.
        epoch_days: Length of the epoch, by the agreement.
        epoch: Number of the epoch in which they are used: whole epochs since 1970.
        offer_hash: Hash of the requester's signed offer.
    """

    requester: Country
    responder: Country
    agreement: Hash
    plan: Hash
    epoch_days: Annotated[int, Field(ge=1, le=limits.MAX_KEY_EPOCH_DAYS)]
    epoch: Count
    offer_hash: Hash


class KeysOffered(Registration):
    """A is about to offer these sets, all but one of which it will open. ``sets`` are their hashes."""

    type: Literal["keys.offered"] = "keys.offered"
    profile: Hash
    sets: Sets


class KeysChallenged(Registration):
    """B keeps set ``kept`` closed and demands the secrets of all others."""

    type: Literal["keys.challenged"] = "keys.challenged"
    kept: Kept
    challenge_hash: Hash


class KeysOpened(Registration):
    """A is about to open all sets but ``kept``; it answers no other challenge of this offer."""

    type: Literal["keys.opened"] = "keys.opened"
    kept: Kept
    challenge_hash: Hash
    opening_hash: Hash


class KeysRegistered(Registration):
    """B has made every opened set again and found it as offered: ``evaluation_keys`` are in use."""

    type: Literal["keys.registered"] = "keys.registered"
    opening_hash: Hash
    evaluation_keys: Hash
    sets: Annotated[int, Field(ge=limits.MIN_KEY_SETS, le=limits.MAX_KEY_SETS)]


class Checked(PrivatePart):
    """What it cost to make the sets again."""

    compute_ms: Count


class KeysRefused(Registration):
    """B does not use what was offered; ``opening_hash`` is None if nothing was opened."""

    type: Literal["keys.refused"] = "keys.refused"
    opening_hash: Hash | None
    reason: Term


class KeysAccepted(Registration):
    """A has B's word that ``evaluation_keys`` are registered, and asks under them from now on."""

    type: Literal["keys.accepted"] = "keys.accepted"
    opening_hash: Hash
    evaluation_keys: Hash


class Escrowed(PrivatePart):
    """The secret of the keys in use: with it A's auditors can make them again, and open what was asked under them."""

    HIDDEN: ClassVar[frozenset[str]] = frozenset({"secret"})

    secret: Secret


class KeysFailed(Registration):
    """A gives this registration up."""

    type: Literal["keys.failed"] = "keys.failed"
    reason: Term


KEY_STATEMENTS: Final[dict[str, tuple[type[SharedPart], type[PrivatePart]]]] = {
    "keys.offered": (KeysOffered, NoPrivatePart),
    "keys.challenged": (KeysChallenged, NoPrivatePart),
    "keys.opened": (KeysOpened, NoPrivatePart),
    "keys.registered": (KeysRegistered, Checked),
    "keys.refused": (KeysRefused, NoPrivatePart),
    "keys.accepted": (KeysAccepted, Escrowed),
    "keys.failed": (KeysFailed, NoPrivatePart),
}
"""The shared and private model of every statement type in this file."""
