"""Evidence about a registration of evaluation keys: two messages that one side signed and no honest one can have.

    set-differs         an offer, and an opening whose secret at ``index`` does not make the set that was offered there
    opening-incomplete  an offer, and an opening that does not open all sets but one
    second-challenge    two challenges of one offer that keep different sets

One file holds everything, with a copy of the accused's identity key: whose key that is, the descriptor says.

Source: specs/ledger.md, section "Evidence about keys".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field

from crypto.contexts import Context, hash_fields
from crypto.errors import ConcordatError, PeerFault
from crypto.profiles import SearchProfile
from crypto.signing import VerifyKey
from protocol import limits
from protocol.messages import VERSION, EnvelopeBytes, message_hash, open_signed
from protocol.model import Country, Hash, Model
from protocol.registration import KeyChallenge, KeyOffer, KeyOpening, opened_sets
from protocol.statements_keys import Kept

KeyRule = Literal["set-differs", "opening-incomplete", "second-challenge"]
KeysHash = Callable[[SearchProfile, bytes], bytes]
"""Makes the evaluation keys of a secret and hashes them: takes about a second with the real scheme."""

PlanIdentifier = Callable[[SearchProfile], bytes]
Dimension = Annotated[int, Field(ge=1, lt=2**16)]


class BadKeyEvidence(PeerFault):
    """A file of evidence about keys that is malformed, or whose messages do not convict."""

    code = "bad-key-evidence"


class Searched(Model):
    """The search of a plan: dimension, bound, norm, threshold and fuller gallery (0: none) of its profile."""

    n: Dimension
    bound: Dimension
    norm: Dimension
    threshold: Dimension
    gallery: Annotated[int, Field(ge=0, lt=2**16)] = 0

    @property
    def profile(self) -> SearchProfile:
        """As the search knows it."""
        return SearchProfile(self.n, self.bound, self.norm, self.threshold, self.gallery)


class KeyEvidence(Model):
    """What one side of a registration is accused of, with everything needed to check it.

    Attributes:
        rule: See the module.
        accused: The country that signed both messages.
        identity: Its identity key.
        first: The offer, or the first challenge, as an envelope.
        second: The opening, or the second challenge.
        index: For ``set-differs``, which set; else 0.
        search: For ``set-differs``, what the plan of the offer follows from; else None.
    """

    LIMIT: ClassVar[int] = limits.MAX_KEY_EVIDENCE

    version: Literal[1] = VERSION
    type: Literal["key-evidence"] = "key-evidence"
    rule: KeyRule
    accused: Country
    identity: Hash
    first: EnvelopeBytes
    second: EnvelopeBytes
    index: Kept
    search: Searched | None

    @classmethod
    def of(
        cls,
        rule: KeyRule,
        accused: str,
        identity: VerifyKey,
        first: bytes,
        second: bytes,
        index: int = 0,
        search: SearchProfile | None = None,
    ) -> Self:
        """Evidence from what is at hand when it is found."""
        searched = None
        if search is not None:
            searched = Searched(
                n=search.n,
                bound=search.bound,
                norm=search.norm,
                threshold=search.threshold,
                gallery=search.gallery,
            )
        return cls(
            rule=rule,
            accused=accused,
            identity=identity.public,
            first=first,
            second=second,
            index=index,
            search=searched,
        )

    @property
    def digest(self) -> bytes:
        """The name of the file in the holder's ledger; 32 bytes."""
        return hash_fields(Context.KEY_EVIDENCE, self.to_bytes())


def verify_key_evidence(
    evidence: KeyEvidence, keys_hash: KeysHash | None, plan_identifier: PlanIdentifier | None = None
) -> str:
    """Check that evidence convicts the accused; what is proven, in words.

    Args:
        evidence: As read.
        keys_hash: Makes a set again. None leaves that to somebody else: then only the messages are checked.
        plan_identifier: Of a search; goes with ``keys_hash``.

    Raises:
        BadKeyEvidence: The messages are not the accused's, do not belong together, or do not contradict the rule.
    """
    try:
        identity = VerifyKey(evidence.identity)
        if evidence.rule == "second-challenge":
            return _second_challenge(evidence, identity)
        return _opening(evidence, identity, keys_hash, plan_identifier)
    except BadKeyEvidence:
        raise
    except ConcordatError as error:
        raise BadKeyEvidence(f"a message in the file: {error}") from None


def _second_challenge(evidence: KeyEvidence, identity: VerifyKey) -> str:
    one = open_signed(KeyChallenge, evidence.first, identity)
    other = open_signed(KeyChallenge, evidence.second, identity)
    if one.responder != evidence.accused or other.responder != evidence.accused:
        raise BadKeyEvidence("the challenges are not of the accused")
    if one.offer_hash != other.offer_hash or one.kept == other.kept:
        raise BadKeyEvidence("the challenges are of two offers, or keep the same set")
    return f"two challenges of one offer: one keeps set {one.kept}, the other set {other.kept}"


def _opening(
    evidence: KeyEvidence,
    identity: VerifyKey,
    keys_hash: KeysHash | None,
    plan_identifier: PlanIdentifier | None,
) -> str:
    offer = open_signed(KeyOffer, evidence.first, identity)
    opening = open_signed(KeyOpening, evidence.second, identity)
    if offer.requester != evidence.accused or opening.offer_hash != message_hash(evidence.first):
        raise BadKeyEvidence("not an offer of the accused, or not the opening of it")
    sets = dict(opened_sets(offer, opening))
    if evidence.rule == "opening-incomplete":
        if sets:
            raise BadKeyEvidence("the opening opens all sets but one")
        return f"{len(opening.secrets)} secrets opened of {len(offer.sets)} sets, set {opening.kept} kept"
    secret = sets.get(evidence.index)
    if secret is None or evidence.search is None:
        raise BadKeyEvidence("the set was not opened, or its plan is not named")
    search = evidence.search.profile
    if keys_hash is None or plan_identifier is None:
        return f"set {evidence.index} is said not to be what its secret makes; it was not made again here"
    if plan_identifier(search) != offer.plan:
        raise BadKeyEvidence("the search named is not that of the offer's plan")
    if made_from(keys_hash, search, secret) == offer.sets[evidence.index]:
        raise BadKeyEvidence(f"set {evidence.index} is what its secret makes")
    return f"the secret of set {evidence.index} does not make the set that was offered"


def made_from(keys_hash: KeysHash, search: SearchProfile, secret: bytes) -> bytes | None:
    """Hash of the set that a secret makes; None if it makes none."""
    try:
        return keys_hash(search, secret)
    except ConcordatError:
        return None
