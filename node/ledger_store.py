"""The ledger on disk: C2SP tiles, one writer, durable before anything is said.

An append writes the new entry bundles and tiles, brings them and their names to the disk, then signs and
publishes the checkpoint that covers them, and only then returns the index. A failure before the checkpoint
leaves the old state (files beyond a checkpoint are harmless); a failure while the checkpoint is written
leaves the old or the new one, so the store reads back what is there before it signs anything again.

Source: specs/ledger.md, section "Durability".
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from crypto import merkle
from crypto.errors import BadEncoding, BadSignature, LocalFault
from crypto.note import MAX_NOTE_BYTES, Ed25519Signer, Ed25519Verifier, sign_note
from crypto.signing import SigningKey
from node.files import Files
from protocol import log_policy, tiles
from protocol.checkpoint import Checkpoint, TreeHead, open_checkpoint

CHECKPOINT: Final = "checkpoint"
VKEY: Final = "vkey"
POLICY: Final = "policy"
LOCK: Final = "lock"
PAYLOADS: Final = "payloads"
SCRATCH: Final = "scratch"


class LedgerDamaged(LocalFault):
    """The ledger's files do not agree with its checkpoint. Nothing is written to it any more."""

    code = "ledger-damaged"


class LedgerUnavailable(LocalFault):
    """The ledger could not be written: nothing was acknowledged, the caller must not go on."""

    code = "ledger-unavailable"


class LedgerStore:
    """One ledger, open for writing. Methods may be called from several threads."""

    def __init__(
        self, directory: Path, signer: Ed25519Signer, files: Files, stack: contextlib.ExitStack
    ) -> None:
        self._directory = directory
        self._signer = signer
        self._files = files
        self._stack = stack
        self._mutex = threading.RLock()
        self._reset()
        self._uncertain = False

    def _reset(self) -> None:
        self._note = b""
        self._range = merkle.CompactRange()
        self._entries: list[bytes] = []
        self._levels: list[list[bytes]] = []
        self._index: dict[bytes, int] = {}

    @classmethod
    def open(cls, directory: Path, origin: str, signing_seed: bytes, files: Files | None = None) -> Self:
        """Open a ledger, or begin it if the directory holds none; check all entries against the checkpoint.

        Args:
            directory: Holds ``checkpoint``, ``vkey``, ``policy`` and ``tile/``; made if missing.
            origin: The name of the log, also of its key.
            signing_seed: 32 secret bytes of the ledger key.
            files: The file seam.

        Raises:
            AlreadyLocked: Another process writes to it.
            LedgerDamaged: Its files are not what its checkpoint says, or belong to another key or origin.
            LedgerUnavailable: It cannot be begun (full or read-only disk).
        """
        files = files or Files()
        signer = Ed25519Signer(origin, SigningKey.from_seed(signing_seed))
        with contextlib.ExitStack() as stack:
            try:
                directory.mkdir(parents=True, exist_ok=True)
                stack.enter_context(files.lock(directory / LOCK))
                store = cls(directory, signer, files, stack)
                store._prepare()
            except OSError as error:
                raise LedgerUnavailable(f"the ledger cannot be opened: {error.strerror}") from error
            store._load()
            store._uncertain = True
            store.settle()
            store._stack = stack.pop_all()
            return store

    def close(self) -> None:
        """Release the lock."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Reading.

    @property
    def verifier(self) -> Ed25519Verifier:
        """The key that verifies this ledger's checkpoints."""
        return self._signer.verifier

    @property
    def vkey(self) -> str:
        """The verifier key line."""
        return self._signer.verifier.vkey

    @property
    def size(self) -> int:
        """Number of durable entries."""
        with self._mutex:
            return self._range.size

    @property
    def directory(self) -> Path:
        """Where the ledger lies."""
        return self._directory

    @property
    def head(self) -> TreeHead:
        """Size and root of the published checkpoint."""
        with self._mutex:
            return TreeHead(self._range.size, self._range.root())

    def checkpoint(self) -> bytes:
        """The published checkpoint note."""
        return self.published()[1]

    def published(self) -> tuple[TreeHead, bytes]:
        """The head and the checkpoint note that go together."""
        with self._mutex:
            return self.head, self._note

    def entry(self, index: int) -> bytes:
        """The bytes of one entry; ``IndexError`` beyond the end."""
        with self._mutex:
            if not 0 <= index < len(self._entries):
                raise IndexError(f"no entry {index}")
            return self._entries[index]

    def find(self, entry: bytes) -> int | None:
        """The index of an entry with exactly these bytes."""
        return self.find_hash(merkle.leaf_hash(entry))

    def find_hash(self, leaf_hash: bytes) -> int | None:
        """The index of the entry with this RFC 6962 leaf hash."""
        with self._mutex:
            return self._index.get(leaf_hash)

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Proof that entry ``index`` is in the tree of the first ``size`` entries."""
        with self._mutex:
            self._require(size)
            return merkle.inclusion_proof(size, index, self._reader())

    def consistency(self, old_size: int, new_size: int) -> list[bytes]:
        """Proof that the tree of ``old_size`` entries is a prefix of that of ``new_size``."""
        with self._mutex:
            self._require(new_size)
            return merkle.consistency_proof(old_size, new_size, self._reader())

    def _require(self, size: int) -> None:
        if size > self._range.size:
            raise ValueError(f"no tree of {size} entries yet, there are {self._range.size}")

    def _reader(self) -> merkle.HashReader:
        def tile(level: int, index: int) -> Sequence[bytes]:
            first = index * tiles.TILE_WIDTH
            return self._levels[level][first : first + tiles.TILE_WIDTH]

        return tiles.tile_hash_reader(tile)

    # Writing.

    def append(self, entry: bytes) -> int:
        """Append one entry; see ``append_many``."""
        return self.append_many([entry])[0]

    def append_many(self, entries: Sequence[bytes]) -> list[int]:
        """Append entries under one new checkpoint; entries that are there already keep their index.

        Returns:
            The index of each entry, durable and covered by the published checkpoint.

        Raises:
            ValueError: An entry is empty or above 65535 bytes.
            LedgerUnavailable: Nothing was acknowledged; the same call may be repeated.
            LedgerDamaged: What is on disk is no longer this ledger.
        """
        for entry in entries:
            if not 0 < len(entry) <= tiles.MAX_ENTRY_BYTES:
                raise ValueError(f"an entry of {len(entry)} bytes")
        with self._mutex:
            self.settle()
            fresh: dict[bytes, bytes] = {}
            for entry in entries:
                key = merkle.leaf_hash(entry)
                if key not in self._index:
                    fresh[key] = entry
            if fresh:
                self._extend(fresh)
            return [self._index[merkle.leaf_hash(entry)] for entry in entries]

    def _extend(self, fresh: dict[bytes, bytes]) -> None:
        old, new = self._range.size, self._range.size + len(fresh)
        grown = self._range.copy()
        levels = [list(row) for row in self._tails(old)]
        offsets = self._offsets(old)
        _grow(levels, offsets, fresh, grown)
        try:
            self._write_tiles(old, new, list(fresh.values()), levels, offsets)
        except OSError as error:
            raise LedgerUnavailable(f"an append failed: {error.strerror}; nothing was logged") from error
        note = self._sign(grown)
        self._uncertain = True
        try:
            self._files.write_atomic(self._directory / CHECKPOINT, note, self._directory / SCRATCH)
        except OSError as error:
            raise LedgerUnavailable(
                f"a checkpoint failed: {error.strerror}; nothing was acknowledged"
            ) from error
        self._uncertain = False
        self._note, self._range = note, grown
        for key, entry in fresh.items():
            self._index[key] = len(self._entries)
            self._entries.append(entry)
        for level, row in enumerate(levels):
            if level == len(self._levels):
                self._levels.append([])
            del self._levels[level][offsets[level] :]
            self._levels[level] += row
        self._prune(old, new)

    def _offsets(self, size: int) -> list[int]:
        """Where the last, still growing tile of each level begins."""
        return [(size >> (8 * level)) // 256 * 256 for level in range(tiles.MAX_LEVEL + 1)]

    def _tails(self, size: int) -> list[list[bytes]]:
        """The hashes of the growing tile of each level."""
        starts = self._offsets(size)
        return [row[start:] for row, start in zip(self._levels, starts, strict=False)]

    def _write_tiles(
        self, old: int, new: int, entries: list[bytes], levels: list[list[bytes]], offsets: list[int]
    ) -> None:
        start = offsets[0]
        growing = self._entries[start:old] + entries
        writes: list[tuple[str, bytes]] = []
        for at in range(0, len(growing), tiles.TILE_WIDTH):
            ref = tiles.bundle_at(new, (start + at) // tiles.TILE_WIDTH)
            writes.append((ref.path, tiles.encode_bundle(growing[at : at + ref.width])))
        for level, row in enumerate(levels):
            # A level of which nothing changed ends where it ended before.
            if new >> (8 * level) == old >> (8 * level):
                continue
            for at in range(0, len(row), tiles.TILE_WIDTH):
                ref = tiles.tile_at(new, level, (offsets[level] + at) // tiles.TILE_WIDTH)
                writes.append((ref.path, b"".join(row[at : at + ref.width])))
        parents: dict[Path, None] = {}
        for path, data in writes:
            target = self._directory / path
            self._files.ensure_directory(target.parent, self._directory)
            self._files.stage(target, data, self._directory / SCRATCH)
            parents[target.parent] = None
        for parent in parents:
            self._files.sync_directory(parent)

    def _sign(self, tree: merkle.CompactRange) -> bytes:
        text = Checkpoint(self._signer.name, tree.size, tree.root()).to_text()
        return sign_note(text, [self._signer])

    def _prune(self, old: int, new: int) -> None:
        """Remove partial tiles that a full one has replaced; a failure only costs room."""
        for level in (None, *tiles.levels_of(new)):
            shift = 8 * (level or 0)
            for index in range((old >> shift) // 256, (new >> shift) // 256):
                directory = self._directory / f"{tiles.TileRef(level, index).path}.p"
                with contextlib.suppress(OSError):
                    self._files.remove_directory(directory)

    # Opening and recovery.

    def _prepare(self) -> None:
        """Lay down what a new ledger has before its first entry; clear what a crash left under way."""
        files, directory = self._files, self._directory
        files.ensure_directory(directory / SCRATCH, directory)
        for name in files.list(directory / SCRATCH):
            files.remove(directory / SCRATCH / name)
        if files.exists(directory / CHECKPOINT):
            return
        if files.exists(directory / "tile") or files.exists(directory / PAYLOADS):
            raise LedgerDamaged("the ledger has entries but no checkpoint")
        verifier = self._signer.verifier
        scratch = directory / SCRATCH
        files.write_atomic(directory / VKEY, f"{verifier.vkey}\n".encode(), scratch)
        files.write_atomic(directory / POLICY, log_policy.single_log_policy(verifier), scratch)
        files.write_atomic(directory / CHECKPOINT, self._sign(merkle.CompactRange()), scratch)
        files.sync_directory(directory.parent)

    def settle(self) -> None:
        """After a checkpoint of unknown fate: take what is on disk as the truth and make it durable.

        Every append does so first. Entries that an earlier, failed call left behind may appear by it.

        Raises:
            LedgerUnavailable, LedgerDamaged: As ``append_many``.
        """
        with self._mutex:
            if not self._uncertain:
                return
            self._load()
            try:
                self._files.write_atomic(self._directory / CHECKPOINT, self._note, self._directory / SCRATCH)
            except OSError as error:
                raise LedgerUnavailable(f"the ledger cannot be recovered: {error.strerror}") from error
            self._uncertain = False

    def _load(self) -> None:
        """Read the whole ledger and check it against its checkpoint."""
        try:
            note = self._read(CHECKPOINT, MAX_NOTE_BYTES)
            checkpoint = open_checkpoint(note, self._signer.verifier).checkpoint
            entries = self._load_entries(checkpoint.size)
        except OSError as error:
            raise LedgerUnavailable(f"the ledger cannot be read: {error.strerror}") from error
        except (BadEncoding, BadSignature) as error:
            raise LedgerDamaged(f"the ledger is damaged: {error}") from None
        self._reset()
        self._note = note
        hashes = {merkle.leaf_hash(entry): entry for entry in entries}
        if len(hashes) != len(entries):
            raise LedgerDamaged("the ledger holds an entry twice")
        self._entries = entries
        self._index = {key: index for index, key in enumerate(hashes)}
        _grow(self._levels, self._offsets(0), hashes, self._range)
        if self._range.root() != checkpoint.root:
            raise LedgerDamaged("the entries do not have the root that the checkpoint says")

    def _load_entries(self, size: int) -> list[bytes]:
        entries: list[bytes] = []
        for ref in tiles.tiles_of(size, 0):
            bundle = tiles.bundle_at(size, ref.index)
            entries += tiles.parse_bundle(self._read(bundle.path, tiles.MAX_BUNDLE_BYTES), bundle.width)
        return entries

    def _read(self, path: str, limit: int) -> bytes:
        data = self._files.read(self._directory / path, limit)
        if data is None:
            raise LedgerDamaged(f"the ledger has no {path}")
        return data


def _grow(
    levels: list[list[bytes]], offsets: list[int], fresh: dict[bytes, bytes], tree: merkle.CompactRange
) -> None:
    """Add leaf hashes to the rows of every level, where row L begins at hash ``offsets[L]``."""
    for leaf in fresh:
        tree.append(leaf)
        carry, level, size = leaf, 0, tree.size
        while True:
            if level == len(levels):
                levels.append([])
            levels[level].append(carry)
            if size % tiles.TILE_WIDTH:
                break
            carry = tiles.subtree(levels[level][-tiles.TILE_WIDTH :])
            size //= tiles.TILE_WIDTH
            level += 1
