"""Evidence that an entry is on a ledger: what one country sends and the other checks before it goes on.

The receiver checks, in this order: the signature on the checkpoint; that the checkpoint continues the last
one it saw of this log; that the leaf is in the tree; that the opening belongs to the leaf; that the
statement is of the expected type. What the statement names (query, ciphertext, agreement) is then compared
by the caller.

Source: specs/ledger.md, section "Evidence".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Generic, TypeVar

from pydantic import Field

from crypto import merkle
from crypto.errors import BadProof, BadSignature, PeerFault
from protocol import limits
from protocol.checkpoint import AnyLog, SignedCheckpoint, TreeHead, open_checkpoint
from protocol.leaf import MAX_LEAF_BYTES, Leaf
from protocol.model import Count, Hash, Model
from protocol.opening import Opening, verify_opening
from protocol.statement_parts import SharedPart

Path = Annotated[list[Hash], Field(max_length=merkle.MAX_PROOF_HASHES)]
SharedT = TypeVar("SharedT", bound=SharedPart)


class StaleCheckpoint(PeerFault):
    """An older checkpoint than the one we hold, or a consistency proof from another size than ours.

    Nobody is accused: parallel exchanges arrive out of order. The sender makes new evidence from our size.

    Attributes:
        stored_size: The size that we hold.
    """

    code = "stale-checkpoint"

    def __init__(self, message: str, stored_size: int) -> None:
        super().__init__(message)
        self.stored_size = stored_size


class ForkedLedger(PeerFault):
    """The same log signed two checkpoints of one size with different roots: proof of misbehaviour.

    Attributes:
        seen: The head we hold.
        note: The other checkpoint, signed.
    """

    code = "forked-ledger"

    def __init__(self, message: str, seen: TreeHead, note: bytes) -> None:
        super().__init__(message)
        self.seen = seen
        self.note = note


class RolledBackLedger(PeerFault):
    """A smaller tree than the one we hold, with an entry that is later: the log began again from an older copy."""

    code = "rolled-back-ledger"


class NotConsistent(BadProof):
    """A consistency proof that does not verify. Not yet proof of a fork: a proof may simply be wrong."""

    code = "not-consistent"


class UnneededProof(NotConsistent):
    """A proof where there is nothing to prove: from an empty tree, or to the very tree held. It accuses nobody."""


class NotIncluded(BadProof):
    """An inclusion proof that does not verify."""

    code = "not-included"


class WrongStatement(PeerFault):
    """The entry is on the ledger, but it is not the statement that belongs here."""

    code = "wrong-statement"


class LogEvidence(Model):
    """One entry with everything needed to check it.

    Attributes:
        leaf: The exact bytes of the entry.
        opening: Opens the shared part.
        index: Position of the entry, from 0.
        inclusion: Audit path to the checkpoint's root.
        checkpoint: The signed checkpoint note.
        old_size: The size that the consistency proof starts from; 0 if the receiver has seen nothing yet.
        consistency: Proof from ``old_size`` to the checkpoint; empty from 0 or between equal sizes.
    """

    LIMIT: ClassVar[int] = limits.MAX_EVIDENCE

    leaf: Annotated[bytes, Field(max_length=MAX_LEAF_BYTES)]
    opening: Opening
    index: Count
    inclusion: Path
    checkpoint: Annotated[bytes, Field(max_length=16 * 1024)]
    old_size: Count
    consistency: Path


@dataclass(frozen=True)
class VerifiedEntry(Generic[SharedT]):
    """What can be relied on once evidence has been verified.

    Attributes:
        shared: The statement's shared part.
        leaf: The entry.
        index: Its position.
        head: Size and root of the checkpoint; store it as the last one seen of this log.
        checkpoint: The signed checkpoint note; keep it with the head, it is the evidence if a fork shows.
    """

    shared: SharedT
    leaf: Leaf
    index: int
    head: TreeHead
    checkpoint: bytes

    @property
    def leaf_hash(self) -> bytes:
        """The RFC 6962 leaf hash of the entry."""
        return self.leaf.leaf_hash


def verify_evidence(
    evidence: LogEvidence,
    log: AnyLog,
    last_seen: tuple[int, bytes] | None,
    expected: type[SharedT],
    stored_ms: int = 0,
) -> VerifiedEntry[SharedT]:
    """Check evidence against the log's key and the last head seen of that log.

    Args:
        evidence: As received.
        log: The verifier of the peer's ledger key (its name is the ledger's origin).
        last_seen: Size and root of the newest checkpoint stored for this log; None if there is none yet.
        expected: The model of the statement that belongs here, e.g. ``QueryIntent``.
        stored_ms: When ``last_seen`` was stored here; 0 if that is not known.

    Raises:
        BadEncoding, BadMessage: Something is not in its one byte form.
        BadSignature: The checkpoint is not signed by this log.
        StaleCheckpoint: Older than, or not proven from, what we hold; carries our size.
        ForkedLedger: Same size, different root.
        RolledBackLedger: Smaller than what we hold, yet with an entry that came later.
        NotConsistent: The consistency proof does not verify.
        UnneededProof: There is one, and nothing to prove.
        NotIncluded: The inclusion proof does not verify.
        BadOpening: The opening does not belong to the leaf.
        WrongStatement: Another type than expected.
    """
    signed = open_checkpoint(evidence.checkpoint, log)
    if last_seen is not None and stored_ms and signed.checkpoint.size < last_seen[0]:
        # A stale checkpoint is harmless only if the entry could already have been in it.
        late = _included(evidence, signed).time_ms - stored_ms
        if late > limits.CLOCK_SKEW:
            raise RolledBackLedger(f"an entry {late} ms later than the {last_seen[0]} entries that we hold")
    verify_continues(signed, evidence.old_size, evidence.consistency, last_seen)
    head = signed.checkpoint.head
    leaf = _included(evidence, signed)
    shared = verify_opening(leaf, evidence.opening)
    if not isinstance(shared, expected):
        raise WrongStatement(f"{expected.__name__} was expected, the entry is a {shared.type}")
    return VerifiedEntry(shared, leaf, evidence.index, head, evidence.checkpoint)


def _included(evidence: LogEvidence, signed: SignedCheckpoint) -> Leaf:
    head = signed.checkpoint.head
    try:
        merkle.verify_inclusion(
            merkle.leaf_hash(evidence.leaf), evidence.index, head.size, evidence.inclusion, head.root
        )
    except BadProof as error:
        raise NotIncluded(str(error)) from None
    return Leaf.from_bytes(evidence.leaf)


def verify_continues(
    signed: SignedCheckpoint, old_size: int, proof: list[bytes], last_seen: tuple[int, bytes] | None
) -> None:
    """Check that a verified checkpoint continues the last head seen of its log; errors as above."""
    head = signed.checkpoint.head
    seen = TreeHead(*last_seen) if last_seen is not None else TreeHead(0, merkle.EMPTY_ROOT)
    if head.size < seen.size:
        raise StaleCheckpoint(f"a checkpoint of size {head.size}, we hold {seen.size}", seen.size)
    if head.size == seen.size and head.root != seen.root:
        raise ForkedLedger(f"two roots for size {head.size}", seen, signed.note.to_bytes())
    if old_size != seen.size:
        raise StaleCheckpoint(f"a proof from size {old_size}, we hold {seen.size}", seen.size)
    try:
        merkle.verify_consistency(seen.size, seen.root, head.size, head.root, proof)
    except BadProof as error:
        if seen.size in (0, head.size):
            raise UnneededProof(str(error)) from None
        raise NotConsistent(str(error)) from None


__all__ = [
    "BadSignature",
    "ForkedLedger",
    "LogEvidence",
    "NotConsistent",
    "NotIncluded",
    "RolledBackLedger",
    "StaleCheckpoint",
    "UnneededProof",
    "VerifiedEntry",
    "WrongStatement",
    "verify_continues",
    "verify_evidence",
]
