"""Witnessing at work: what we return cosigned, what others return to us, and what follows from a contradiction.

Synchronous, for the core's thread, in which steps are taken one after the other: between the look at the stored
checkpoint of a peer and the step that replaces it nothing else happens.

Source: specs/ledger.md, section "Witnesses".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from crypto import merkle
from crypto.errors import BadProof, ConcordatError, LocalFault
from crypto.note import Note, open_note
from node.journal import Journal
from node.logging import log
from node.state import FoundConflict, PeerRow, SeenHead, State
from node.witness_state import OwnCheckpoint, WitnessState
from protocol.checkpoint import TreeHead, open_checkpoint
from protocol.claims import ClaimReply
from protocol.conflict import Conflict, Rule, accused
from protocol.errors import BadMessage, EvidenceRejected
from protocol.evidence import ForkedLedger, NotConsistent, StaleCheckpoint, UnneededProof, verify_continues
from protocol.exchange.parties import Parties
from protocol.log_policy import LogPolicy
from protocol.messages import ErrorReply, ExchangeStatus, ReceiptReply
from protocol.seen_by import unseen
from protocol.witness import AddCheckpoint
from protocol.witnessing import OwnLedgerContradicted, cosign, merge, open_witnessed, witness_signer

OK: Final = 200


class Witnessing:
    """The witness side of one node, in both directions."""

    def __init__(
        self, state: State, journal: Journal, parties: Callable[[str], Parties], clock: Callable[[], int]
    ) -> None:
        self.state = WitnessState(state)
        self._peers = state
        self._journal = journal
        self._parties = parties
        self._clock = clock
        self.halted: OwnLedgerContradicted | None = None
        self.policy: LogPolicy | None = None
        self.owed: dict[str, tuple[str, bytes]] = {}
        """Peers who owe a proof that a checkpoint of theirs is of one history with ours: who told us, and the note."""

    @property
    def origin(self) -> str:
        """The name of our ledger."""
        return self._journal.ledger.verifier.name

    def require_sound(self) -> None:
        """Raise ``OwnLedgerContradicted`` when our ledger is known not to be the one that was signed."""
        if self.halted is not None:
            raise self.halted

    # As a witness of peers

    def returned(self, country: str) -> bytes | None:
        """The newest checkpoint held of a peer's ledger, cosigned now; None if none is held."""
        return self.held(country)[1]

    def held(self, country: str) -> tuple[int, bytes | None]:
        """Size and cosigned note of the newest checkpoint held of a peer's ledger, of one and the same look."""
        row = self._row(country)
        if row is None or row.seen_size == 0:
            return 0, None
        parties = self._parties(country)
        signer = witness_signer(parties.country, parties.identity, self._clock())
        return row.seen_size, cosign(row.seen_checkpoint, parties.peer.ledger, signer)

    def _row(self, country: str) -> PeerRow | None:
        return next((row for row in self._peers.peers() if row.country == country), None)

    # As a log with witnesses

    def take(self, country: str, note: bytes | None, said_size: int) -> None:
        """Take what a peer returns as our own checkpoint; durable on return.

        Args:
            country: The peer.
            note: Our checkpoint, cosigned; None if the peer holds none.
            said_size: The size from which the peer wants proof.

        Raises:
            BadCosignature, BadMessage: It is not what it says; nothing was stored.
            OwnLedgerContradicted: It is a checkpoint of ours that our ledger does not have. The proof is stored, and
                nothing is written to the ledger any more.
        """
        if note is None:
            if said_size:
                raise BadMessage("a size of this node's ledger without the checkpoint that proves it")
            return
        parties = self._parties(country)
        ledger = self._journal.ledger
        try:
            log, *more = ledger.verifiers
            witness = parties.peer.witness
            found = open_witnessed(note, log, witness, self.root_at, self._clock(), tuple(more))
        except OwnLedgerContradicted as error:
            self._contradicted(error)
            raise
        if found.head.size != said_size:
            raise BadMessage("a size of this node's ledger and the checkpoint of another")
        own = OwnCheckpoint(self.origin, found.head.size, found.witness, found.head.root, found.note)
        self._keep(own)

    def _keep(self, own: OwnCheckpoint) -> None:
        """Keep a cosigned checkpoint of our own, also beside the ledger, where auditors and copies find it."""
        self.state.put_own(own, self._clock())
        # The file holds what all witnesses of this checkpoint gave: a quorum is seldom met by one of them.
        known = self.state.own_checkpoints(own.origin)
        others = [one.note for one in known if (one.size, one.root) == (own.size, own.root)]
        try:
            self._journal.ledger.cosign(merge([own.note, *others]))
        except LocalFault as error:
            # The state holds it; the next one brings the file up to date.
            log("a cosignature is not beside the ledger", level="warning", code=error.code)

    def take_reply(
        self, country: str, reply: ExchangeStatus | ReceiptReply | ClaimReply | ErrorReply
    ) -> None:
        """Take the witnessed checkpoint of a reply; errors as ``take``."""
        if isinstance(reply, ErrorReply):
            if reply.stored_size is not None:
                self.take(country, reply.witnessed, reply.stored_size)
        elif reply.witnessed is not None:
            self.take(country, reply.witnessed, self._size_of(reply.witnessed))

    def _size_of(self, note: bytes) -> int:
        try:
            return open_checkpoint(note, self._journal.ledger.verifier).checkpoint.size
        except ConcordatError:
            return 0  # ``take`` says what is wrong with it

    def told(self, country: str) -> int:
        """The size of our ledger that a peer is known to hold: evidence to it starts there."""
        return self.state.own_size(self.origin, self._parties(country).peer.witness.name)

    def root_at(self, size: int) -> bytes | None:
        """The root of our ledger at a size; None beyond its end."""
        ledger = self._journal.ledger
        if size > ledger.size:
            return None
        if size == 0:
            return merkle.EMPTY_ROOT
        root = merkle.leaf_hash(ledger.entry(size - 1))
        for left in ledger.inclusion(size - 1, size):
            root = merkle.node_hash(left, root)  # beside the last leaf of a tree all siblings are on the left
        return root

    @property
    def asks_for_quorum(self) -> bool:
        """Whether the policy wants witnesses for what is sent; None was read before the node is served."""
        return self.policy is not None and self.policy.quorum is not None

    def under_quorum(
        self, size: int, demands: Sequence[LogPolicy] = (), *, ours: bool = True
    ) -> tuple[TreeHead, bytes] | None:
        """The newest checkpoint of at least ``size`` entries that the policy's quorum cosigned; None without one.

        ``demands`` are those of the agreements with the one it is shown to; they have to be met as well, or, if not
        ``ours``, alone.
        """
        policy = self.policy if ours else None
        if (policy is None or policy.quorum is None) and not demands:
            return None
        by_size: dict[int, list[OwnCheckpoint]] = {}
        for own in self.state.own_checkpoints(self.origin):
            if own.size >= size:
                by_size.setdefault(own.size, []).append(own)
        for found, owns in by_size.items():
            note = merge([own.note for own in owns])
            short = policy is not None and policy.missing(open_note(note, policy.verifiers)) is not None
            if not short and unseen(demands, note) is None:
                return TreeHead(found, owns[0].root), note
        return None

    def take_cosigned(self, policy: LogPolicy, note: bytes) -> None:
        """Keep the cosignatures of third parties on a checkpoint of ours; they have been verified."""
        signed = open_checkpoint(note, self._journal.ledger.verifier, policy.verifiers)
        head = signed.checkpoint.head
        if self.root_at(head.size) != head.root:
            return
        own = tuple(line for line in signed.note.signatures if line.name == self.origin)
        for line in signed.note.verified:
            if line.name != self.origin:
                kept = Note(signed.note.text, (*own, line)).to_bytes()
                name = f"{line.name}+{line.key_id.hex()}"
                self._keep(OwnCheckpoint(self.origin, head.size, name, head.root, kept))

    def take_checkpoint_reply(self, country: str, status: int, body: bytes) -> None:
        """Take what a peer says to a checkpoint of ours: its cosigned view; errors as ``take``."""
        if status == OK:
            self.take(country, body, self._size_of(body))
        else:
            self.take_reply(country, ErrorReply.from_bytes(body))

    def observe(self, country: str, request: AddCheckpoint) -> bytes:
        """Take a peer's newest checkpoint as its witness; the cosigned view of it, after it is durable.

        Raises:
            BadSignature, BadEncoding: Not a checkpoint of that peer's ledger.
            StaleCheckpoint: Not proven from what is held here.
            EvidenceRejected: It contradicts what is held here; kept, and the peer is suspended.
        """
        parties, row = self._parties(country), self._row(country)
        log_key = parties.peer.ledger
        signed = open_checkpoint(request.note, log_key)
        held = (row.seen_size, row.seen_root) if row is not None and row.seen_size else None
        head, now_ms = signed.checkpoint.head, self._clock()
        try:
            verify_continues(signed, request.old_size, list(request.proof), held)
        except UnneededProof as error:
            raise EvidenceRejected(str(error), error.code) from None
        except (ForkedLedger, NotConsistent) as error:
            rule: Rule = "fork" if isinstance(error, ForkedLedger) else "inconsistent"
            seen = row.seen_checkpoint if row is not None else b""
            since = self.state.standing(country).stored_ms
            conflict = Conflict(
                rule=rule,
                log=accused(log_key)[0],
                mldsa=accused(log_key)[1],
                holder=parties.country,
                seen_ms=since,
                shown_ms=now_ms,
                seen=seen,
                shown=request.note,
                proof=request.proof,
            )
            self.state.put_conflict(
                FoundConflict(country, conflict.digest, rule, conflict.to_bytes(), now_ms)
            )
            raise EvidenceRejected(str(error), error.code, conflict.to_bytes()) from None
        self.state.put_head(SeenHead(country, head.size, head.root, request.note, now_ms))
        return self.returned(country) or b""

    # What peers tell of others

    def take_told(self, country: str, note: bytes) -> None:
        """Take a checkpoint of our own that a peer holds; errors as ``take``."""
        self.take(country, note, self._size_of(note))

    def between(self, country: str, note: bytes) -> tuple[int, int] | None:
        """The two sizes between which a peer has to prove that what another was shown is of our history too.

        None if nothing is left to prove. A checkpoint of a ledger of which nothing is held becomes the one held.

        Raises:
            BadSignature, BadEncoding: Not a checkpoint of that peer's ledger.
            EvidenceRejected: It contradicts what is held here; kept, and the peer is suspended.
        """
        head = open_checkpoint(note, self._parties(country).peer.ledger).checkpoint.head
        row = self._row(country)
        seen = row.seen_size if row is not None else 0
        if 0 in (head.size, seen) or head.size == seen:
            if head.size:
                self.observe(country, AddCheckpoint(seen, (), note))
            return None
        return min(head.size, seen), max(head.size, seen)

    def settle_told(self, country: str, note: bytes, sizes: tuple[int, int], proof: list[bytes]) -> None:
        """Take the proof between what is held and what another was shown; errors as ``between``.

        Raises:
            StaleCheckpoint: What is held has moved on meanwhile; ask again.
        """
        parties, row = self._parties(country), self._row(country)
        head = open_checkpoint(note, parties.peer.ledger).checkpoint.head
        if row is None or {row.seen_size, head.size} != set(sizes):
            raise StaleCheckpoint("what is held has moved on", row.seen_size if row is not None else 0)
        if head.size > row.seen_size:
            self.observe(country, AddCheckpoint(row.seen_size, tuple(proof), note))
            return
        try:
            merkle.verify_consistency(head.size, head.root, row.seen_size, row.seen_root, proof)
        except BadProof as error:
            now_ms, shown = self._clock(), row.seen_checkpoint
            conflict = Conflict(
                rule="inconsistent",
                log=accused(parties.peer.ledger)[0],
                mldsa=accused(parties.peer.ledger)[1],
                holder=parties.country,
                seen_ms=0,
                shown_ms=now_ms,
                seen=note,
                shown=shown,
                proof=tuple(proof),
            )
            found = FoundConflict(country, conflict.digest, conflict.rule, conflict.to_bytes(), now_ms)
            self.state.put_conflict(found)
            raise EvidenceRejected(str(error), NotConsistent.code, conflict.to_bytes()) from None

    def check_own(self) -> None:
        """At the start: our ledger must hold every checkpoint of it that others have cosigned, or it is an older copy.

        What is found stops the ledger, not the node: the operator still has to see it.
        """
        for size, note in self.state.contradictions(self.origin):
            self.halted = OwnLedgerContradicted(f"this node signed a ledger of size {size}", size, note)
            return
        for own in self.state.own_checkpoints(self.origin):
            if self.root_at(own.size) != own.root:
                words = f"this node signed, and {own.witness} cosigned, a ledger of size {own.size}"
                self._contradicted(OwnLedgerContradicted(words, own.size, own.note))
                return

    def _contradicted(self, error: OwnLedgerContradicted) -> None:
        """Fail closed: a ledger that is not the one that was signed gets no further entry."""
        log("the ledger was rolled back", level="error", code=error.code, size=error.seen_size)
        self.halted = error
        self.state.put_contradiction(self.origin, error.seen_size, error.note, self._clock())
