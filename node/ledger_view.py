"""The ledger as it can be read while it is open: entries, proofs, the published checkpoint.

Source: specs/ledger.md, sections "Tiles" and "Durability".
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from crypto import merkle
from crypto.errors import BadEncoding
from crypto.note import Ed25519Signer, Ed25519Verifier, MlDsaSigner, MlDsaVerifier
from node.files import Files
from node.ledger_errors import LedgerDamaged, LedgerRolledBack, LedgerUnavailable
from node.ledger_tree import Edge, TileReader
from node.prefix_index import PrefixIndex
from protocol import tiles
from protocol.checkpoint import TreeHead

Value = TypeVar("Value")
HashedEntry = tuple[bytes, bytes]
"""A leaf hash and the bytes of its entry."""


class LedgerView:
    """What the writer knows of its ledger. Methods may be called from several threads."""

    def __init__(self, directory: Path, signers: tuple[Ed25519Signer, MlDsaSigner], files: Files) -> None:
        self._directory = directory
        self._signers = signers
        self._signer = signers[0]
        self._files = files
        self._tiles = TileReader(self._read)
        # Held only for looking at and changing what is below, never while the disk is waited for.
        self._mutex = threading.RLock()
        self._note = b""
        self._edge = Edge()
        self._head = self._edge.head
        self._pending: list[HashedEntry] = []
        self._index = PrefixIndex()

    @property
    def verifier(self) -> Ed25519Verifier:
        """The key that verifies this ledger's checkpoints."""
        return self._signer.verifier

    @property
    def verifiers(self) -> tuple[Ed25519Verifier, MlDsaVerifier]:
        """Both keys that verify this ledger's checkpoints."""
        first, second = self._signers
        return first.verifier, second.verifier

    @property
    def vkey(self) -> str:
        """The verifier key line."""
        return self._signer.verifier.vkey

    @property
    def size(self) -> int:
        """Number of durable entries; ``head.size`` of them are covered by the published checkpoint."""
        with self._mutex:
            return self._edge.size + len(self._pending)

    @property
    def directory(self) -> Path:
        """Where the ledger lies."""
        return self._directory

    @property
    def head(self) -> TreeHead:
        """Size and root of the published checkpoint."""
        with self._mutex:
            return self._head

    def checkpoint(self) -> bytes:
        """The published checkpoint note."""
        return self.published()[1]

    def published(self) -> tuple[TreeHead, bytes]:
        """The head and the checkpoint note that go together."""
        with self._mutex:
            return self._head, self._note

    def entry(self, index: int) -> bytes:
        """The bytes of one entry; ``IndexError`` beyond the end."""
        with self._mutex:
            edge = self._edge
            if not 0 <= index < self.size:
                raise IndexError(f"no entry {index}")
            if index >= edge.size:
                return self._pending[index - edge.size][1]
        return self._whole(lambda: self._tiles.entry(edge, index))

    def find(self, entry: bytes) -> int | None:
        """The index of an entry with exactly these bytes."""
        return self.find_hash(merkle.leaf_hash(entry))

    def find_hash(self, leaf_hash: bytes) -> int | None:
        """The index of the entry with this RFC 6962 leaf hash."""
        with self._mutex:
            candidates = self._index.candidates(leaf_hash)
        return next((i for i in candidates if merkle.leaf_hash(self.entry(i)) == leaf_hash), None)

    def may_hold(self, leaf_hash: bytes) -> bool:
        """False only if no entry has this leaf hash; looks at the first bytes alone, and reads nothing."""
        with self._mutex:
            return bool(self._index.candidates(leaf_hash))

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Proof that entry ``index`` is in the tree of the first ``size`` entries, which must be published."""
        edge = self._require(size)
        return self._whole(lambda: merkle.inclusion_proof(size, index, self._tiles.hashes(edge)))

    def consistency(self, old_size: int, new_size: int) -> list[bytes]:
        """Proof that the tree of ``old_size`` entries is a prefix of that of ``new_size``, which is published."""
        edge = self._require(new_size)
        return self._whole(lambda: merkle.consistency_proof(old_size, new_size, self._tiles.hashes(edge)))

    def _require(self, size: int) -> Edge:
        with self._mutex:
            if size > self._edge.size:
                raise ValueError(f"no tree of {size} entries yet, there are {self._edge.size}")
            return self._edge

    def _whole(self, read: Callable[[], Value]) -> Value:
        try:
            return read()
        except OSError as error:
            raise LedgerUnavailable(f"the ledger cannot be read: {error.strerror}") from error
        except (BadEncoding, LookupError) as error:
            raise LedgerDamaged(f"the ledger is damaged: {error}") from None

    def check_floor(self, seen: TreeHead) -> None:
        """Return None if a tree head that somebody holds is of this ledger's past or present.

        Raises:
            LedgerRolledBack: It is larger than what is published, or has another root at its size.
        """
        with self._mutex:
            edge = self._edge
        if seen.size > edge.size:
            raise LedgerRolledBack(f"size {seen.size} is cosigned, the ledger has {edge.size}", seen.size)
        hashes = self._tiles.hashes(edge)
        if self._whole(lambda: merkle.range_root(0, seen.size, hashes)) != seen.root:
            raise LedgerRolledBack(f"another root is cosigned at size {seen.size}", seen.size)

    def _read_tile(self, ref: tiles.TileRef) -> bytes:
        """A tile or bundle of the checkpoint's tree; a full one, cut, may stand in for a partial one."""
        limit = tiles.MAX_BUNDLE_BYTES if ref.level is None else tiles.MAX_TILE_BYTES
        data = self._files.read(self._directory / ref.path, limit)
        if data is not None or ref == ref.full:
            return data if data is not None else self._read(ref.path, limit)
        full = self._read(ref.full.path, limit)
        if ref.level is None:
            return tiles.encode_bundle(tiles.split_bundle(full, ref.width)[0])
        return full[: ref.width * merkle.HASH_BYTES]

    def _read(self, path: str, limit: int) -> bytes:
        data = self._files.read(self._directory / path, limit)
        if data is None:
            raise BadEncoding(f"the ledger has no {path}")
        return data
