"""The ledger on disk: C2SP tiles, one writer, durable before anything is said.

An entry is durable once it is in the entry log: one fsync, shared by all who wait. Publishing then writes the
entries' bundles and tiles, brings them and their names to the disk, and signs and publishes the checkpoint that
covers them. The log fixes the order of entries before anything is signed, so that a failure at any
point, or a retry, never leads to two trees of one size.

Source: specs/ledger.md, section "Durability".
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, Self

from crypto import merkle
from crypto.errors import BadEncoding, BadSignature
from crypto.note import (
    MAX_NOTE_BYTES,
    Ed25519Signer,
    MlDsaSigner,
    Note,
    log_signers,
    parse_note,
    sign_note,
)
from node.entry_log import EntryLog, Record
from node.files import Files
from node.group_commit import GroupCommit
from node.ledger_errors import LedgerDamaged, LedgerRolledBack, LedgerUnavailable
from node.ledger_tree import Edge, load_edge
from node.ledger_view import HashedEntry, LedgerView
from protocol import log_policy, tiles
from protocol.checkpoint import Checkpoint, TreeHead, open_checkpoint

__all__ = ["LedgerDamaged", "LedgerRolledBack", "LedgerStore", "LedgerUnavailable"]

CHECKPOINT: Final = "checkpoint"
COSIGNED: Final = "cosigned"
VKEY: Final = "vkey"
POLICY: Final = "policy"
LOCK: Final = "lock"
PAYLOADS: Final = "payloads"
SCRATCH: Final = "scratch"

MAX_UNPUBLISHED: Final = 1 << 16
"""Entries in the log without a checkpoint; a caller beyond it publishes first."""
_MAX_BATCH: Final = 1 << 14
_MAX_BATCH_BYTES: Final = 1 << 24


class LedgerStore(LedgerView):
    """One ledger, open for writing. Methods may be called from several threads."""

    def __init__(
        self,
        directory: Path,
        signers: tuple[Ed25519Signer, MlDsaSigner],
        files: Files,
        stack: contextlib.ExitStack,
    ) -> None:
        super().__init__(directory, signers, files)
        self._stack = stack
        self._scratch = directory / SCRATCH
        self._log = EntryLog(directory, self._signer.name, files, self._scratch)
        self._commits = GroupCommit[Sequence[HashedEntry], list[int]](self._commit)
        # Held for the whole of a publication.
        self._publishing = threading.RLock()

    @classmethod
    def open(cls, directory: Path, origin: str, signing_seed: bytes, files: Files | None = None) -> Self:
        """Open a ledger, or begin it if the directory holds none; check all entries against the checkpoint.

        Entries that a crash left in the log without a checkpoint are published.

        Args:
            directory: Holds ``checkpoint``, ``vkey``, ``policy`` and ``tile/``; made if missing.
            origin: The name of the log, also of its key.
            signing_seed: 32 secret bytes of the ledger key.
            files: The file seam.

        Raises:
            AlreadyLocked: Another process writes to it.
            LedgerDamaged: Its files are not what its checkpoint says, or belong to another key or origin.
            LedgerRolledBack: It is older than the last checkpoint of it that somebody cosigned.
            LedgerUnavailable: It cannot be begun (full or read-only disk).
        """
        files = files or Files()
        signers = log_signers(origin, signing_seed)
        with contextlib.ExitStack() as stack:
            try:
                files.ensure_directory(directory, _existing(directory))
                stack.enter_context(files.lock(directory / LOCK))
                store = cls(directory, signers, files, stack)
                store._prepare()
                store._load()
                # A checkpoint that is there may still be a name that a crash left undurable.
                files.sync_directory(directory)
            except OSError as error:
                raise LedgerUnavailable(f"the ledger cannot be opened: {error.strerror}") from error
            except (BadEncoding, BadSignature) as error:
                raise LedgerDamaged(f"the ledger is damaged: {error}") from None
            store.publish()
            store._check_cosigned()
            store._stack = stack.pop_all()
            return store

    def close(self) -> None:
        """Publish what is durable if the disk lets us, and release the lock."""
        try:
            with contextlib.suppress(LedgerUnavailable):
                self.publish()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Release the lock and write nothing more, as if the process had died."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Writing.

    def add(self, entry: bytes) -> int:
        """Make one entry durable; see ``add_many``."""
        return self.add_many([entry])[0]

    def add_many(self, entries: Sequence[bytes]) -> list[int]:
        """Make entries durable, without waiting for a checkpoint; those that are there keep their index.

        Callers who come while a commit is under way share the next one.

        Returns:
            The index of each entry, which would survive a power cut. ``publish`` makes the checkpoint.

        Raises:
            ValueError: An entry is empty or above 65535 bytes.
            LedgerUnavailable: Nothing was acknowledged; the same call may be repeated.
            LedgerDamaged: What is on disk is no longer this ledger.
        """
        for entry in entries:
            if not 0 < len(entry) <= tiles.MAX_ENTRY_BYTES:
                raise ValueError(f"an entry of {len(entry)} bytes")
        indexes: list[int] = []
        for batch in _batches(entries):
            if len(self._pending) > MAX_UNPUBLISHED:
                self.publish()
            indexes += self._commits.submit([(merkle.leaf_hash(entry), entry) for entry in batch])
        return indexes

    def append(self, entry: bytes) -> int:
        """Append one entry; see ``append_many``."""
        return self.append_many([entry])[0]

    def append_many(self, entries: Sequence[bytes]) -> list[int]:
        """As ``add_many``, and on return the published checkpoint covers the entries."""
        indexes = self.add_many(entries)
        if indexes:
            self.publish(max(indexes) + 1)
        return indexes

    def _commit(self, requests: Sequence[Sequence[HashedEntry]]) -> list[list[int]]:
        """Write what is new of all the requests to the log as one record. Run by one thread at a time."""
        with self._mutex:
            uncovered = Record(self._edge.size, [entry for _, entry in self._pending])
            first = self.size
        fresh: dict[bytes, tuple[int, bytes]] = {}
        results = []
        for request in requests:
            indexes = []
            for key, entry in request:
                index = fresh[key][0] if key in fresh else self.find_hash(key)
                if index is None:
                    index = first + len(fresh)
                    fresh[key] = index, entry
                indexes.append(index)
            results.append(indexes)
        if not fresh:
            return results
        try:
            self._log.write(Record(first, [entry for _, entry in fresh.values()]), uncovered)
        except OSError as error:
            raise LedgerUnavailable(f"an append failed: {error.strerror}; nothing was logged") from error
        with self._mutex:
            for key, (_, entry) in fresh.items():
                self._pending.append((key, entry))
                self._index.add(key)
        return results

    def publish(self, size: int | None = None) -> TreeHead:
        """Publish a checkpoint over at least the first ``size`` entries, all that are durable by default.

        Raises:
            LedgerUnavailable: It could not be written. What is durable stays so; the call may be repeated.
        """
        with self._publishing:
            with self._mutex:
                if self._edge.size >= (self.size if size is None else size):
                    return self._head
                edge, pending = self._edge, list(self._pending)
            grown, writes = edge.grow([entry for _, entry in pending], [key for key, _ in pending])
            head = grown.head
            try:
                self._write_tiles(writes)
                note = self._sign(head)
                self._files.write_atomic(self._directory / CHECKPOINT, note, self._scratch)
            except OSError as error:
                raise LedgerUnavailable(
                    f"a checkpoint failed: {error.strerror}; it does not cover the newest entries"
                ) from error
            with self._mutex:
                self._note, self._edge, self._head = note, grown, head
                del self._pending[: len(pending)]
            self._prune(edge.size, grown.size)
            return head

    def _write_tiles(self, writes: Iterable[tuple[str, bytes]]) -> None:
        targets = [(self._directory / path, data) for path, data in writes]
        parents = dict.fromkeys(target.parent for target, _ in targets)
        for parent in parents:
            self._files.ensure_directory(parent, self._directory)
        self._files.stage_all(targets, self._scratch)
        for parent in parents:
            self._files.sync_directory(parent)

    def _sign(self, head: TreeHead) -> bytes:
        return sign_note(Checkpoint(self._signer.name, head.size, head.root).to_text(), self._signers)

    def _prune(self, old: int, new: int) -> None:
        """Remove partial tiles that a full one has replaced; a failure only costs room."""
        for level in (None, *tiles.levels_of(new)):
            shift = 8 * (level or 0)
            for index in range((old >> shift) // 256, (new >> shift) // 256):
                directory = self._directory / f"{tiles.TileRef(level, index).path}.p"
                with contextlib.suppress(OSError):
                    self._files.remove_directory(directory)

    def prune(self) -> None:
        """Remove all partial tiles that a full one has replaced, also those that a crash left."""
        with self._publishing:
            self._prune(0, self._edge.size)

    def cosign(self, note: bytes) -> bool:
        """Add the cosignatures of ``note`` to the published checkpoint, and keep it as the last cosigned one.

        Args:
            note: A checkpoint of this ledger whose cosignatures the caller has verified.

        Returns:
            False if another checkpoint has been published meanwhile; then only ``cosigned`` may change.

        Raises:
            BadEncoding, BadSignature: Not a checkpoint of this ledger.
            LedgerRolledBack: It covers more than this ledger has.
            LedgerUnavailable: It could not be written.
        """
        given = open_checkpoint(note, self._signer.verifier).checkpoint
        with self._publishing:
            self.check_floor(given.head)
            merged = _merged(self._note, note) if given.head == self._head else None
            try:
                last = self._files.read(self._directory / COSIGNED, MAX_NOTE_BYTES)
                if last is None or self._replaces(last, given.size, merged or note):
                    self._files.stage(self._directory / COSIGNED, merged or note, self._scratch)
                if merged is not None:
                    self._files.stage(self._directory / CHECKPOINT, merged, self._scratch)
                self._files.sync_directory(self._directory)
            except OSError as error:
                raise LedgerUnavailable(f"a cosignature failed: {error.strerror}") from error
            if merged is None:
                return False
            with self._mutex:
                self._note = merged
            return True

    def _replaces(self, last: bytes, size: int, note: bytes) -> bool:
        """Whether a cosigned checkpoint takes the place of the last: the quorum counts first, then the size."""
        before = open_checkpoint(last, self._signer.verifier).checkpoint.size
        try:
            policy = log_policy.parse_policy(self._read(POLICY, log_policy.MAX_POLICY_BYTES))
        except (log_policy.BadPolicy, BadEncoding):
            return before <= size
        return (policy.shortfall(last) is None, before) <= (policy.shortfall(note) is None, size)

    # Opening and recovery.

    def _prepare(self) -> None:
        """Lay down what a new ledger has before its first entry; clear what a crash left under way."""
        files, directory = self._files, self._directory
        if not files.exists(self._scratch):
            files.make_directory(self._scratch)
        for name in files.list(self._scratch):
            files.remove(self._scratch / name)
        if files.exists(directory / CHECKPOINT):
            return
        if files.exists(directory / "tile") or files.exists(directory / PAYLOADS):
            raise LedgerDamaged("the ledger has entries but no checkpoint")
        policy = log_policy.log_policy([signer.verifier for signer in self._signers])
        files.stage(directory / VKEY, f"{self._signer.verifier.vkey}\n".encode(), self._scratch)
        files.stage(directory / POLICY, policy, self._scratch)
        files.sync_directory(directory)
        # Its name is synced by every opening.
        files.stage(directory / CHECKPOINT, self._sign(Edge().head), self._scratch)

    def _load(self) -> None:
        """Read the whole ledger, check it against its checkpoint, and take up what only the log has."""
        self._note = self._read(CHECKPOINT, MAX_NOTE_BYTES)
        checkpoint = open_checkpoint(self._note, self._signer.verifier).checkpoint
        self._edge = load_edge(self._read_tile, checkpoint.size, self._index.add)
        self._head = self._edge.head
        if self._head != checkpoint.head:
            raise BadEncoding("the entries do not have the root that the checkpoint says")
        for record in self._log.read():
            for index, entry in enumerate(record.entries, record.first):
                self._replay(index, entry)

    def _replay(self, index: int, entry: bytes) -> None:
        if index > self.size:
            raise BadEncoding(f"the log goes on at entry {index}, the tiles end at {self.size}")
        if index < self.size:
            if self.entry(index) != entry:
                raise BadEncoding(f"the log has another entry {index}")
            return
        key = merkle.leaf_hash(entry)
        if self.find_hash(key) is not None:
            raise BadEncoding("the log holds an entry twice")
        self._pending.append((key, entry))
        self._index.add(key)

    def _check_cosigned(self) -> None:
        try:
            note = self._files.read(self._directory / COSIGNED, MAX_NOTE_BYTES)
        except OSError as error:
            raise LedgerUnavailable(f"the ledger cannot be read: {error.strerror}") from error
        if note is not None:
            try:
                self.check_floor(open_checkpoint(note, self._signer.verifier).checkpoint.head)
            except (BadEncoding, BadSignature) as error:
                raise LedgerDamaged(f"the last cosigned checkpoint is damaged: {error}") from None


def _existing(directory: Path) -> Path:
    """The nearest directory above that is there."""
    return next(parent for parent in directory.parents if parent.is_dir())


def _merged(published: bytes, cosigned: bytes) -> bytes:
    """A note with the signature lines of both, its own first."""
    note = parse_note(published)
    known = {(line.name, line.key_id) for line in note.signatures}
    more = tuple(line for line in parse_note(cosigned).signatures if (line.name, line.key_id) not in known)
    return Note(note.text, note.signatures + more).to_bytes()


def _batches(entries: Sequence[bytes]) -> Iterable[Sequence[bytes]]:
    """Parts that fit one record of the log."""
    start = total = 0
    for at, entry in enumerate(entries):
        total += len(entry)
        if at - start == _MAX_BATCH or total > _MAX_BATCH_BYTES:
            yield entries[start:at]
            start, total = at, len(entry)
    if start < len(entries):
        yield entries[start:]
