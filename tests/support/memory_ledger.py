"""A ledger in memory with the interface that the sessions rely on: repeatable appends, evidence from any size."""

from __future__ import annotations

from crypto import merkle
from crypto.contexts import Context, hash_fields
from crypto.note import CosignatureSigner, Ed25519Signer, sign_note
from crypto.signing import SigningKey
from protocol.checkpoint import Checkpoint
from protocol.evidence import LogEvidence
from protocol.leaf import Leaf, commit, exchange_in_leaf, private_digest, shared_digest
from protocol.opening import Opening
from protocol.statements import Statement
from protocol.witnessing import cosign, witness_signer


class MemoryLedger:
    """Entries in order, each with its statement and opening."""

    def __init__(self, signer: Ed25519Signer) -> None:
        self.signer = signer
        self.witnesses: list[CosignatureSigner] = []
        self.leaves: list[Leaf] = []
        self.statements: list[Statement] = []
        self.openings: list[Opening] = []

    def append(self, statement: Statement, time_ms: int) -> int:
        """The index of the statement; an equal one of the same exchange is not appended again."""
        shared = statement.shared
        for index, known in enumerate(self.statements):
            if (known.shared.exchange_id, known.shared.key) == (shared.exchange_id, shared.key):
                assert known == statement, "two statements of one kind in one exchange"
                return index
        salt = hash_fields(Context.PLAN, b"salt", len(self.leaves).to_bytes(4, "big"))
        private = private_digest(salt[::-1], statement.private.to_bytes())
        digest = shared_digest(salt, shared.to_bytes())
        self.leaves.append(
            Leaf(
                exchange=exchange_in_leaf(shared.exchange_id),
                time_ms=time_ms,
                commitment=commit(digest, private),
            )
        )
        self.statements.append(statement)
        self.openings.append(Opening(shared=shared.to_bytes(), salt=salt, private_digest=private))
        return len(self.leaves) - 1

    @property
    def hashes(self) -> list[bytes]:
        return [leaf.leaf_hash for leaf in self.leaves]

    def root(self, size: int) -> bytes:
        return merkle.root(self.hashes[:size])

    def checkpoint(self, size: int) -> bytes:
        return sign_note(
            Checkpoint(self.signer.name, size, self.root(size)).to_text(), [self.signer, *self.witnesses]
        )

    def evidence(self, index: int, old_size: int, size: int | None = None) -> bytes:
        """``LogEvidence`` bytes of an entry under the tree of ``size`` (default: now)."""
        size = len(self.leaves) if size is None else size
        reader = merkle.list_reader(self.hashes)
        return LogEvidence(
            leaf=self.leaves[index].to_bytes(),
            opening=self.openings[index],
            index=index,
            inclusion=merkle.inclusion_proof(size, index, reader),
            checkpoint=self.checkpoint(size),
            old_size=old_size,
            consistency=merkle.consistency_proof(old_size, size, reader) if old_size < size else [],
        ).to_bytes()

    def witnessed(self, country: str, identity: SigningKey, now_ms: int, size: int | None = None) -> bytes:
        """The checkpoint of ``size`` (default: now) as the node of ``country`` returns it, cosigned."""
        size = len(self.leaves) if size is None else size
        return cosign(self.checkpoint(size), self.signer.verifier, witness_signer(country, identity, now_ms))

    def kinds(self, exchange_id: bytes) -> list[str]:
        """The statement types of one exchange, in order."""
        shared = [item.shared for item in self.statements]
        return [item.type for item in shared if item.exchange_id == exchange_id]
