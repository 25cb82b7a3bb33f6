"""The tree of a ledger from bytes alone: checkpoint, bundles, tiles of every level, superseded partials.

Every hash is recomputed from the entries upward; where files differ, the signed root decides downward which
of them is wrong. One wrong file is one finding, and never hides another.

Source: specs/ledger.md, section "Audit".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from crypto import merkle
from protocol import tiles
from protocol.audit.head import CHECKPOINT, read_head
from protocol.audit.reader import LedgerReader, read_file
from protocol.audit.report import Findings, Rule
from protocol.audit.settle import HASH, LOST, edge_root, majority, settle, tile_root
from protocol.audit.shelf import Shelf, Slot, partial_hashes, present, read_listing
from protocol.checkpoint import Checkpoint
from protocol.log_policy import LogPolicy

_NAMED: Final = 16
"""Places named one by one in one file; beyond it the rest is counted."""


@dataclass
class Tree:
    """What could be read of a ledger.

    Attributes:
        checkpoint: As published, if it can be parsed at all; see ``trusted``.
        trusted: Its signature is that of a log of the policy.
        cosigned: The last cosigned checkpoint of the same log, if there is one.
        quorum_size: Size of the newest checkpoint that the policy's quorum cosigned; None without one.
        size: Entries that should be there.
        entries: By index; None where an entry could not be read, or is not the one that was logged.
        leaves: The right leaf hashes, as far as the tree tells: for each tile of level 0 one string of hashes.
        root: Recomputed from the entries; None unless all of them are there and as they were logged.
    """

    checkpoint: Checkpoint | None = None
    trusted: bool = False
    cosigned: Checkpoint | None = None
    quorum_size: int | None = None
    size: int = 0
    entries: list[bytes | None] = field(default_factory=list)
    leaves: list[bytes] = field(default_factory=list)
    root: bytes | None = None

    @property
    def whole(self) -> bool:
        """Every entry is there and as it was logged, so an absence means something."""
        return len(self.entries) == self.size and None not in self.entries


def verify_tree(reader: LedgerReader, policy: LogPolicy, findings: Findings) -> Tree:
    """Check checkpoint, bundles and tiles against each other; add what is wrong to ``findings``."""
    tree = Tree()
    head = read_head(reader, policy, findings)
    tree.checkpoint, tree.trusted = head.checkpoint, head.trusted
    tree.cosigned, tree.quorum_size = head.cosigned, head.quorum_size
    listed = read_listing(reader, findings)
    tree.size = _size(tree, listed)
    walked = min(tree.size, present(listed))
    if walked < tree.size:
        _report_absent(findings, tree.size, walked)
    shelf = Shelf(reader, findings, listed, walked)
    _Settled(reader, findings, tree, shelf, listed).run()
    return tree


def _size(tree: Tree, listed: Sequence[tiles.TileRef]) -> int:
    """Of a checkpoint that nobody signed even the size is only a claim: it counts if its files are there."""
    there = present(listed)
    if tree.checkpoint is None:
        return there
    size = tree.checkpoint.size
    if tree.trusted or not size:
        return size
    last = tiles.bundle_at(size, (size - 1) // tiles.TILE_WIDTH)
    return size if last in listed or last.full in listed else there


def _report_absent(findings: Findings, size: int, walked: int) -> None:
    """Nothing can vouch for entries whose files are not there; a size that is only claimed is not walked."""
    index = walked // tiles.TILE_WIDTH
    bundle = tiles.bundle_at(size, index)
    for ref in (bundle, tiles.tile_at(size, 0, index)):
        what = f"the checkpoint covers {size} entries, files of at most {walked} are there"
        findings.add(Rule.MISSING_FILE, what, ref.path)


class _Settled:
    """Settles every tile from the root downward, and names the files that say otherwise."""

    def __init__(
        self,
        reader: LedgerReader,
        findings: Findings,
        tree: Tree,
        shelf: Shelf,
        listed: Sequence[tiles.TileRef],
    ) -> None:
        self._reader = reader
        self._findings = findings
        self._tree = tree
        self._shelf = shelf
        self._listed = listed
        self._right: list[list[bytes]] = [[b""] * len(row) for row in shelf.levels]
        self._doubtful: set[tuple[int, int]] = set()

    def run(self) -> None:
        anchored = self._settle_edge()
        for level in reversed(range(len(self._shelf.levels))):
            for slot in self._shelf.levels[level]:
                if slot.ref.width == tiles.TILE_WIDTH:
                    self._settle_full(level, slot)
                self._name(level, slot)
        self._tree.entries = self._shelf.entries
        self._tree.leaves = self._right[0] if self._right else []
        self._drop_wrong_entries()
        self._check_partials()
        self._conclude(anchored)

    def _settle_edge(self) -> bool:
        """The right edge of the tree leads to the root: choose the copies that do; False if none do."""
        edge = [row[-1] for row in self._shelf.levels if row[-1].ref.width < tiles.TILE_WIDTH]
        checkpoint = self._tree.checkpoint
        if checkpoint is not None and checkpoint.size == self._shelf.size:
            parts = self._settle_parts(edge, checkpoint.root)
            if parts is not None:
                for slot, part in zip(edge, parts, strict=True):
                    self._right[slot.ref.level or 0][-1] = part
                return True
        for slot in edge:
            self._right[slot.ref.level or 0][-1] = majority((slot.stored, *slot.below))
            self._doubtful.add((slot.ref.level or 0, slot.ref.index))
        return False

    def _settle_parts(self, edge: Sequence[Slot], root: bytes) -> list[bytes] | None:
        levels = [slot.ref.level or 0 for slot in edge]

        def split(joined: bytes) -> list[bytes]:
            parts, at = [], 0
            for slot in edge:
                parts.append(joined[at : at + slot.ref.width * HASH])
                at += slot.ref.width * HASH
            return parts

        def accepts(joined: bytes) -> bool:
            by_level = dict(zip(levels, split(joined), strict=True))
            return (
                edge_root([by_level.get(level, b"") for level in range(max(levels, default=-1) + 1)]) == root
            )

        plain = [[slot.stored, *slot.below] for slot in edge]
        for with_partials in (False, True):
            sources = plain
            if with_partials:
                sources = [
                    [*one, *self._shelf.partials(self._listed, slot)]
                    for one, slot in zip(plain, edge, strict=True)
                ]
            count = max(map(len, sources), default=1)
            padded = [one + [one[-1]] * (count - len(one)) for one in sources]
            found = settle([b"".join(one[i] for one in padded) for i in range(count)], accepts)
            if found is not None:
                return split(found)
        return None

    def _settle_full(self, level: int, slot: Slot) -> None:
        index = slot.ref.index
        above, offset = divmod(index, tiles.TILE_WIDTH)
        parent = self._right[level + 1][above]
        expected = parent[offset * HASH : (offset + 1) * HASH]
        sources = [slot.stored, *slot.below]
        found = settle(sources, lambda hashes: tile_root(hashes) == expected)
        if found is None:
            more = self._shelf.partials(self._listed, slot)
            found = settle([*sources, *more], lambda hashes: tile_root(hashes) == expected) if more else None
        if found is None:
            found = majority(sources)
            self._doubtful.add((level, index))
            if (level + 1, above) not in self._doubtful and expected != LOST:
                self._disown(slot, self._shelf.levels[level + 1][above].path, offset)
        self._right[level][index] = found

    def _disown(self, slot: Slot, parent: str, offset: int) -> None:
        """No copy of a tile has the hash that the signed tree holds of it: every file that claims it is wrong."""
        what = f"does not have hash {offset} of {parent}, and which of its hashes is wrong nothing tells"
        first = slot.ref.index * tiles.TILE_WIDTH
        if slot.readable:
            where = f"{slot.path}, {parent} hash {offset}"
            self._findings.add(Rule.TILE_HASH, what, slot.path, where=where)
        if slot.bundle is not None and slot.bundle_readable:
            where = f"{slot.bundle}, {parent} hash {offset}, entries {first} to {first + slot.ref.width - 1}"
            self._findings.add(Rule.ENTRY_HASH, what, slot.bundle, first, where=where)
        slot.readable = slot.bundle_readable = False

    def _name(self, level: int, slot: Slot) -> None:
        """Findings for what a tile and its bundle say otherwise than the settled hashes."""
        right = self._right[level][slot.ref.index]
        first = slot.ref.index * tiles.TILE_WIDTH
        if slot.readable and slot.stored != right:
            wrong = _differing(slot.stored, right)
            for offset in wrong[:_NAMED]:
                more = _others(len(wrong), [offset] == wrong[_NAMED - 1 : _NAMED])
                if level == 0:
                    what = (
                        f"hash {offset} is not that of entry {first + offset}; the tree sides with the entry"
                    )
                    where = f"{slot.path} hash {offset}, entry {first + offset}"
                    self._findings.add(Rule.TILE_HASH, what + more, slot.path, first + offset, where=where)
                else:
                    below = tiles.TileRef(level - 1, first + offset).path
                    what = f"hash {offset} is not the hash of {below}"
                    self._findings.add(
                        Rule.TILE_HASH, what + more, slot.path, where=f"{slot.path} hash {offset}, {below}"
                    )
        if level == 0 and slot.bundle is not None and slot.bundle_readable and slot.below[0] != right:
            wrong = _differing(slot.below[0], right)
            for offset in wrong[:_NAMED]:
                more = _others(len(wrong), [offset] == wrong[_NAMED - 1 : _NAMED])
                what = f"entry {first + offset} is not the one that the tree holds{more}"
                where = f"{slot.bundle}, {slot.path} hash {offset}, entry {first + offset}"
                self._findings.add(Rule.ENTRY_HASH, what, slot.bundle, first + offset, where=where)

    def _drop_wrong_entries(self) -> None:
        """What is not the logged entry is named once; no other rule looks at it again."""
        for slot, right in zip(self._shelf.levels[0] if self._right else [], self._tree.leaves, strict=True):
            doubtful = (0, slot.ref.index) in self._doubtful
            if slot.below[0] == right and not (doubtful and not slot.bundle_readable):
                continue
            first = slot.ref.index * tiles.TILE_WIDTH
            for offset in _differing(slot.below[0], right):
                self._tree.entries[first + offset] = None

    def _check_partials(self) -> None:
        """Partials of earlier checkpoints may stay, but must be the beginning of what replaced them."""
        for ref in self._listed:
            level = ref.level or 0
            if ref.width >= tiles.width_at(self._shelf.size, level, ref.index):
                # The one in use was compared already; one beyond the checkpoint is not part of the ledger yet.
                continue
            right = self._right[level][ref.index][: ref.width * HASH]
            slot = self._shelf.levels[level][ref.index]
            if ((level, ref.index) in self._doubtful and not slot.agrees) or LOST in _split([right]):
                continue
            limit = tiles.MAX_BUNDLE_BYTES if ref.level is None else tiles.MAX_TILE_BYTES
            if read_file(self._reader, ref.path, limit, self._findings) is None:
                continue
            if partial_hashes(self._reader, ref) != right:
                what = "differs from the entries that replaced it"
                self._findings.add(Rule.SUPERSEDED_PARTIAL, what, ref.path)

    def _conclude(self, anchored: bool) -> None:
        """The root, and whether the checkpoint agrees with it."""
        tree = self._tree
        if len(tree.entries) == tree.size and None not in tree.entries:
            if anchored and not self._doubtful and tree.checkpoint is not None:
                tree.root = tree.checkpoint.root
            else:
                tree.root = merkle.root(_split(slot.below[0] for slot in self._first_level()))
        if anchored or not tree.trusted or self._shelf.size < tree.size:
            if tree.root is None:
                self._findings.note("The root was not recomputed: not every entry could be read.")
            return
        if any(LOST in _split([part]) for part in tree.leaves):
            self._findings.note("The root was not recomputed: not every entry could be read.")
            return
        what = f"the {tree.size} entries do not have the root that the checkpoint says"
        self._findings.add(Rule.ROOT, what, CHECKPOINT)

    def _first_level(self) -> list[Slot]:
        return self._shelf.levels[0] if self._shelf.levels else []


def _split(parts: Iterable[bytes]) -> list[bytes]:
    return [part[i : i + HASH] for part in parts for i in range(0, len(part), HASH)]


def _differing(one: bytes, other: bytes) -> list[int]:
    return [i // HASH for i in range(0, len(other), HASH) if one[i : i + HASH] != other[i : i + HASH]]


def _others(count: int, last: bool) -> str:
    return f" ({count - _NAMED} more in this file)" if last and count > _NAMED else ""


def root_of(leaves: Sequence[bytes], size: int) -> bytes | None:
    """The root of the first ``size`` entries; None if there are fewer, or not all of them could be read.

    Args:
        leaves: As ``Tree.leaves``.
        size: Entries.
    """
    tiles_needed = -(-size // tiles.TILE_WIDTH)
    hashes = _split(leaves[:tiles_needed])[:size]
    return None if len(hashes) < size or LOST in hashes else merkle.root(hashes)


def check_seen(tree: Tree, seen: Sequence[tuple[str, Checkpoint]], findings: Findings) -> None:
    """Compare with checkpoints of this log that others have seen, named by who has them."""
    leaves = _split(tree.leaves) if seen else []
    for holder, checkpoint in seen:
        if checkpoint.size > tree.size:
            what = f"{holder} has a checkpoint of size {checkpoint.size}, this ledger ends at {tree.size}"
            findings.add(Rule.ROLLBACK, what, CHECKPOINT)
        elif len(leaves) < checkpoint.size or LOST in leaves[: checkpoint.size]:
            findings.note(f"The checkpoint held by {holder} was not compared: not every entry could be read.")
        elif merkle.root(leaves[: checkpoint.size]) != checkpoint.root:
            what = f"{holder} has a checkpoint of size {checkpoint.size} with another root than these entries"
            findings.add(Rule.FORK, what, CHECKPOINT)
