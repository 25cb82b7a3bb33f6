"""The Merkle tree of RFC 6962: hashes, proofs and their verification.

Trees are read through a ``HashReader``: ``reader(height, index)`` is the hash of the perfect subtree over
the leaves ``index * 2**height`` up to ``(index + 1) * 2**height``. Where those hashes come from (a list,
tiles on a disk) is not this module's business.

Source: RFC 6962 section 2.1, RFC 9162 sections 2.1.3 and 2.1.4; specs/ledger.md, section "The tree".
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

from crypto.errors import BadProof

HASH_BYTES = 32
MAX_PROOF_HASHES = 64
"""No tree of fewer than 2**63 leaves needs a longer path."""

EMPTY_ROOT = hashlib.sha256(b"").digest()
"""The root of a tree without leaves."""

HashReader = Callable[[int, int], bytes]


def leaf_hash(entry: bytes) -> bytes:
    """SHA-256 of ``0x00 || entry``; 32 bytes."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256 of ``0x01 || left || right``; 32 bytes."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class CompactRange:
    """The right edge of a growing tree: one hash per perfect subtree, the largest first.

    Appending costs one leaf hash and, on average, one node hash; the root costs at most 63 node hashes.
    """

    def __init__(self, leaf_hashes: Iterable[bytes] = ()) -> None:
        self._size = 0
        self._edge: list[bytes] = []
        for item in leaf_hashes:
            self.append(item)

    @property
    def size(self) -> int:
        """Number of leaves."""
        return self._size

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash."""
        carry, rest = leaf, self._size
        while rest & 1:
            carry = node_hash(self._edge.pop(), carry)
            rest >>= 1
        self._edge.append(carry)
        self._size += 1

    def root(self) -> bytes:
        """The tree hash of everything appended so far."""
        if not self._edge:
            return EMPTY_ROOT
        result = self._edge[-1]
        for left in reversed(self._edge[:-1]):
            result = node_hash(left, result)
        return result

    def copy(self) -> CompactRange:
        """An independent range with the same leaves."""
        twin = CompactRange()
        twin._size, twin._edge = self._size, list(self._edge)
        return twin


def root(leaf_hashes: Iterable[bytes]) -> bytes:
    """The tree hash over leaf hashes in order."""
    return CompactRange(leaf_hashes).root()


def list_reader(leaf_hashes: Sequence[bytes]) -> HashReader:
    """A ``HashReader`` over leaf hashes in memory."""

    def read(height: int, index: int) -> bytes:
        if height == 0:
            return leaf_hashes[index]
        return node_hash(read(height - 1, 2 * index), read(height - 1, 2 * index + 1))

    return read


def range_root(start: int, end: int, reader: HashReader) -> bytes:
    """Tree hash of leaves ``start`` to ``end`` (exclusive); ``start`` begins a subtree of RFC 6962."""
    parts: list[bytes] = []
    while start < end:
        height = (end - start).bit_length() - 1
        parts.append(reader(height, start >> height))
        start += 1 << height
    if not parts:
        return EMPTY_ROOT
    result = parts.pop()
    while parts:
        result = node_hash(parts.pop(), result)
    return result


def inclusion_proof(size: int, index: int, reader: HashReader) -> list[bytes]:
    """The audit path of leaf ``index`` in the tree of ``size`` leaves, nearest sibling first.

    Raises:
        ValueError: ``index`` is not a leaf of that tree.
    """
    if not 0 <= index < size:
        raise ValueError(f"no leaf {index} in a tree of {size}")
    return _path(index, 0, size, reader)


def _path(index: int, start: int, end: int, reader: HashReader) -> list[bytes]:
    siblings: list[bytes] = []
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            siblings.append(range_root(middle, end, reader))
            end = middle
        else:
            siblings.append(range_root(start, middle, reader))
            start = middle
    return siblings[::-1]


def consistency_proof(old_size: int, new_size: int, reader: HashReader) -> list[bytes]:
    """The proof that the first ``old_size`` leaves of the tree of ``new_size`` are the old tree.

    Raises:
        ValueError: ``old_size`` is above ``new_size`` or negative.
    """
    if not 0 <= old_size <= new_size:
        raise ValueError(f"no consistency proof from {old_size} to {new_size}")
    if old_size in (0, new_size):
        return []
    start, end, whole = 0, new_size, True
    hashes: list[bytes] = []
    while old_size != end:
        middle = start + _split(end - start)
        if old_size <= middle:
            hashes.append(range_root(middle, end, reader))
            end = middle
        else:
            hashes.append(range_root(start, middle, reader))
            start, whole = middle, False
    if not whole:
        hashes.append(range_root(start, end, reader))
    return hashes[::-1]


def _split(count: int) -> int:
    """The largest power of two below ``count``."""
    return 1 << ((count - 1).bit_length() - 1)


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], expected_root: bytes
) -> None:
    """Return None if ``leaf`` (a leaf hash) is at ``index`` of the tree; raise ``BadProof`` otherwise."""
    if not 0 <= index < size:
        raise BadProof(f"inclusion: index {index} is not below the tree size {size}")
    _require_hashes("inclusion", [leaf, expected_root, *proof])
    position, last, result = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise BadProof("inclusion: the path is too long")
        if position & 1 or position == last:
            result = node_hash(sibling, result)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            result = node_hash(result, sibling)
        position >>= 1
        last >>= 1
    if last != 0:
        raise BadProof("inclusion: the path is too short")
    if result != expected_root:
        raise BadProof("inclusion: the path does not lead to the root")


def verify_consistency(
    old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Return None if the old tree is a prefix of the new one; raise ``BadProof`` otherwise.

    From size 0 the proof is empty and the old root is ``EMPTY_ROOT``; between equal sizes the proof is
    empty and the roots are equal.
    """
    if not 0 <= old_size <= new_size:
        raise BadProof(f"consistency: {old_size} is not a size before {new_size}")
    if old_size == new_size > 0 and old_root == new_root and not proof:
        return
    _require_hashes("consistency", [old_root, new_root, *proof])
    for size, tree_root in ((old_size, old_root), (new_size, new_root)):
        if size == 0 and tree_root != EMPTY_ROOT:
            raise BadProof("consistency: a tree of size 0 has another than the empty root")
    if old_size in (0, new_size):
        if proof:
            raise BadProof("consistency: a proof where none is needed")
        if old_size == new_size and old_root != new_root:
            raise BadProof("consistency: equal sizes with different roots")
        return
    _walk_consistency(old_size, old_root, new_size, new_root, list(proof))


def _walk_consistency(
    old_size: int, old_root: bytes, new_size: int, new_root: bytes, path: list[bytes]
) -> None:
    if old_size & (old_size - 1) == 0:
        path.insert(0, old_root)
    if not path:
        raise BadProof("consistency: the proof is empty")
    position, last = old_size - 1, new_size - 1
    while position & 1:
        position >>= 1
        last >>= 1
    old_result = new_result = path[0]
    for item in path[1:]:
        if last == 0:
            raise BadProof("consistency: the proof is too long")
        if position & 1 or position == last:
            old_result = node_hash(item, old_result)
            new_result = node_hash(item, new_result)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            new_result = node_hash(new_result, item)
        position >>= 1
        last >>= 1
    if last != 0:
        raise BadProof("consistency: the proof is too short")
    if old_result != old_root:
        raise BadProof("consistency: the proof does not lead to the old root")
    if new_result != new_root:
        raise BadProof("consistency: the proof does not lead to the new root")


def _require_hashes(what: str, hashes: Sequence[bytes]) -> None:
    if len(hashes) > MAX_PROOF_HASHES + 2:
        raise BadProof(f"{what}: more than {MAX_PROOF_HASHES} hashes")
    if any(len(item) != HASH_BYTES for item in hashes):
        raise BadProof(f"{what}: a hash that is not {HASH_BYTES} bytes")
