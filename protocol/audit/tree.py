"""The tree of a ledger from bytes alone: checkpoint, bundles, tiles of every level, superseded partials.

Everything is recomputed from the entries upward and compared with every file that claims the same hash. One
wrong file never hides another: the check goes on with what it has.

Source: specs/ledger.md, section "Audit".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from crypto import merkle
from crypto.errors import BadEncoding, BadSignature
from crypto.note import MAX_NOTE_BYTES, Note, NoteVerifier, open_note, parse_note
from protocol import tiles
from protocol.audit.reader import LedgerReader, Unreadable
from protocol.audit.report import Findings, Rule
from protocol.checkpoint import Checkpoint, parse_checkpoint_text
from protocol.log_policy import LogPolicy

CHECKPOINT: Final = "checkpoint"
_NO_HASH: Final = b""
_MAX_GAP: Final = 4096


@dataclass
class Tree:
    """What could be read of a ledger.

    Attributes:
        checkpoint: As published, if it can be parsed at all; see ``trusted``.
        trusted: Its signature is that of a log of the policy.
        size: Entries that should be there.
        entries: By index; None where an entry could not be read.
        root: Recomputed from the entries; None unless all were read.
    """

    checkpoint: Checkpoint | None = None
    trusted: bool = False
    size: int = 0
    entries: list[bytes | None] = field(default_factory=list)
    root: bytes | None = None


def verify_tree(reader: LedgerReader, policy: LogPolicy, findings: Findings) -> Tree:
    """Check checkpoint, bundles and tiles against each other; add what is wrong to ``findings``."""
    tree = Tree()
    _read_checkpoint(reader, policy, findings, tree)
    listed = _listing(reader, findings)
    present = _present(listed)
    tree.size = present if tree.checkpoint is None else tree.checkpoint.size
    if tree.size > present:
        # Nothing can vouch for entries whose files are not there; do not walk a size that is only claimed.
        findings.add(
            Rule.MISSING_FILE,
            f"the checkpoint covers {tree.size} entries, files of at most {present} are there",
            tiles.bundle_at(tree.size, present // tiles.TILE_WIDTH).path,
        )
    walked = min(tree.size, present)
    walk = _Walk(reader, findings, tree, walked)
    computed = walk.run()
    _check_partials(reader, findings, listed, computed, tree, walked)
    _check_root(findings, tree, computed)
    _settle_disputes(findings, tree, walk, computed)
    return tree


def read_file(
    reader: LedgerReader, path: str, limit: int, findings: Findings, missing: str | None = None
) -> bytes | None:
    """The bytes of a file, or None with a finding if it cannot be read, or is not there and ``missing``."""
    try:
        data = reader.read(path, limit)
    except Unreadable as error:
        findings.add(Rule.UNREADABLE_FILE, str(error), path)
        return None
    if data is None and missing is not None:
        findings.add(Rule.MISSING_FILE, missing, path)
    return data


def _read_checkpoint(reader: LedgerReader, policy: LogPolicy, findings: Findings, tree: Tree) -> None:
    data = read_file(reader, CHECKPOINT, MAX_NOTE_BYTES, findings, "there is no checkpoint")
    if data is None:
        return
    try:
        note = parse_note(data)
        tree.checkpoint = parse_checkpoint_text(note.text)
    except BadEncoding as error:
        findings.add(Rule.CHECKPOINT_FORM, str(error), CHECKPOINT)
        return
    opened = _verify_note(data, policy, findings)
    if opened is None:
        return
    logs = [log for log in policy.logs if opened.is_signed_by(log)]
    if not logs:
        findings.add(Rule.CHECKPOINT_SIGNATURE, "no log of the policy signed the checkpoint", CHECKPOINT)
        return
    if tree.checkpoint.origin not in {log.name for log in logs}:
        findings.add(
            Rule.CHECKPOINT_SIGNATURE, "the origin is not the name of the log that signed", CHECKPOINT
        )
        return
    tree.trusted = True
    short = policy.missing(opened)
    if short is not None:
        findings.add(Rule.CHECKPOINT_QUORUM, short, CHECKPOINT)


def _verify_note(data: bytes, policy: LogPolicy, findings: Findings) -> Note | None:
    """The note with every good signature; bad ones of known keys become findings."""
    good: list[NoteVerifier] = []
    for verifier in policy.verifiers:
        try:
            open_note(data, [verifier])
        except BadSignature as error:
            signed = any(
                (s.name, s.key_id) == (verifier.name, verifier.key_id) for s in parse_note(data).signatures
            )
            if signed:
                findings.add(Rule.CHECKPOINT_SIGNATURE, str(error), CHECKPOINT)
        else:
            good.append(verifier)
    if not good:
        findings.add(Rule.CHECKPOINT_SIGNATURE, "no key of the policy signed the checkpoint", CHECKPOINT)
        return None
    return open_note(data, good)


def _listing(reader: LedgerReader, findings: Findings) -> list[tiles.TileRef]:
    refs = []
    try:
        paths = list(reader.list("tile"))
    except Unreadable as error:
        findings.add(Rule.UNREADABLE_FILE, str(error), "tile")
        return []
    for path in paths:
        try:
            refs.append(tiles.parse_path(path))
        except BadEncoding:
            findings.add(Rule.UNEXPECTED_FILE, "not the path of a tile or bundle", path)
    return refs


def _present(listed: Sequence[tiles.TileRef]) -> int:
    """An upper bound of the entries whose bundles or leaf hashes are there.

    Files behind a gap of more than ``_MAX_GAP`` tiles do not count: one file with a great number in its name
    must not make the audit walk up to it.
    """
    end = previous = 0
    for index, width in sorted({(r.index, r.width) for r in listed if r.level in (None, 0)}):
        if index - previous > _MAX_GAP:
            break
        previous, end = index, max(end, index * tiles.TILE_WIDTH + width)
    return end


class _Walk:
    """Entries upward: every hash computed from the level below and compared with the file that holds it."""

    def __init__(self, reader: LedgerReader, findings: Findings, tree: Tree, walked: int) -> None:
        self._reader = reader
        self._findings = findings
        self._tree = tree
        self.size = walked
        self.stored: list[list[bytes]] = []
        self.disputed: list[tuple[int, str]] = []

    def run(self) -> list[list[bytes]]:
        """Fill in the tree's entries; return per level the hashes computed from below (empty: unknown)."""
        below = [self._leaves(ref) for ref in tiles.tiles_of(self.size, 0)]
        row = [item for part in below for item in part]
        computed = [row]
        for level in tiles.levels_of(self.size):
            self.stored.append(self._compare(level, row))
            if level:
                computed.append(row)
            row = [
                self._full_hash(row[i : i + tiles.TILE_WIDTH], self.stored[-1][i : i + tiles.TILE_WIDTH])
                for i in range(0, len(row) // tiles.TILE_WIDTH * tiles.TILE_WIDTH, tiles.TILE_WIDTH)
            ]
        return computed

    @staticmethod
    def _full_hash(computed: Sequence[bytes], stored: Sequence[bytes]) -> bytes:
        """The hash of a full tile, from the bytes below; where those are lost, from the tile as stored."""
        hashes = [mine or theirs for mine, theirs in zip(computed, stored, strict=True)]
        return tiles.subtree(hashes) if all(hashes) else _NO_HASH

    def _fetch(self, ref: tiles.TileRef, limit: int) -> tuple[str, bytes | None]:
        """A tile as the checkpoint asks for it; a full one may stand in for a partial one."""
        if ref.width < tiles.TILE_WIDTH and not self._is_there(ref.path) and self._is_there(ref.full.path):
            ref = ref.full
        return ref.path, read_file(self._reader, ref.path, limit, self._findings, "the file is not there")

    def _is_there(self, path: str) -> bool:
        try:
            return self._reader.read(path, tiles.MAX_BUNDLE_BYTES) is not None
        except Unreadable:
            return True

    def _leaves(self, ref: tiles.TileRef) -> list[bytes]:
        bundle = tiles.bundle_at(self.size, ref.index)
        path, data = self._fetch(bundle, tiles.MAX_BUNDLE_BYTES)
        entries: list[bytes] = []
        if data is not None:
            width = bundle.width if path == bundle.path else tiles.TILE_WIDTH
            entries, rest = tiles.split_bundle(data, width)
            first = bundle.index * tiles.TILE_WIDTH
            if len(entries) < width:
                self._findings.add(
                    Rule.BUNDLE_FORM,
                    f"ends within entry {len(entries)} of {width}",
                    path,
                    first + len(entries),
                )
            elif rest:
                self._findings.add(Rule.BUNDLE_FORM, f"{rest} bytes after its {width} entries", path)
        entries = entries[: bundle.width]
        lost = bundle.width - len(entries)
        self._tree.entries += [*entries, *([None] * lost)]
        return [merkle.leaf_hash(entry) for entry in entries] + [_NO_HASH] * lost

    def _compare(self, level: int, row: Sequence[bytes]) -> list[bytes]:
        """Compare a level's computed hashes with its tiles; return the hashes as stored."""
        stored: list[bytes] = []
        for ref in tiles.tiles_of(self.size, level):
            path, data = self._fetch(ref, tiles.MAX_TILE_BYTES)
            first = ref.index * tiles.TILE_WIDTH
            hashes: list[bytes] = []
            if data is not None:
                width = ref.width if path == ref.path else tiles.TILE_WIDTH
                if len(data) != width * merkle.HASH_BYTES:
                    self._findings.add(
                        Rule.TILE_FORM, f"{len(data)} bytes instead of {width * merkle.HASH_BYTES}", path
                    )
                size = merkle.HASH_BYTES
                hashes = [data[i : i + size] for i in range(0, len(data) // size * size, size)][: ref.width]
            for offset, theirs in enumerate(hashes):
                mine = row[first + offset]
                if mine and mine != theirs:
                    self._differs(level, path, first + offset, offset)
            stored += hashes + [_NO_HASH] * (ref.width - len(hashes))
        return stored

    def _differs(self, level: int, path: str, position: int, offset: int) -> None:
        if level == 0:
            self.disputed.append((position, path))
            return
        below = tiles.TileRef(level - 1, position).path
        self._findings.add(
            Rule.TILE_HASH,
            f"hash {offset} is not the hash of {below}",
            path,
            where=f"{path} hash {offset}, {below}",
        )


def _check_partials(
    reader: LedgerReader,
    findings: Findings,
    listed: Sequence[tiles.TileRef],
    computed: list[list[bytes]],
    tree: Tree,
    walked: int,
) -> None:
    """Partials of earlier checkpoints may stay, but must be the beginning of what replaced them."""
    for ref in listed:
        level = ref.level or 0
        width = tiles.width_at(walked, level, ref.index)
        if ref.width >= width:
            # The one in use was compared already; one beyond the checkpoint is not part of the ledger yet.
            continue
        first = ref.index * tiles.TILE_WIDTH
        limit = tiles.MAX_BUNDLE_BYTES if ref.level is None else tiles.MAX_TILE_BYTES
        data = read_file(reader, ref.path, limit, findings)
        if data is None:
            continue
        if ref.level is None:
            entries = tree.entries[first : first + ref.width]
            whole = [entry for entry in entries if entry is not None]
            same = len(whole) < ref.width or data == tiles.encode_bundle(whole)
        else:
            hashes = computed[level][first : first + ref.width]
            same = not all(hashes) or data == b"".join(hashes)
        if not same:
            findings.add(Rule.SUPERSEDED_PARTIAL, "differs from the entries that replaced it", ref.path)


def _check_root(findings: Findings, tree: Tree, computed: list[list[bytes]]) -> None:
    leaves = computed[0] if computed else []
    if len(leaves) != tree.size or not all(leaves):
        findings.note("The root was not recomputed: not every entry could be read.")
        return
    tree.root = merkle.root(leaves)
    if tree.checkpoint is not None and tree.checkpoint.root != tree.root:
        findings.add(
            Rule.ROOT, f"the {tree.size} entries do not have the root that the checkpoint says", CHECKPOINT
        )


def _settle_disputes(findings: Findings, tree: Tree, walk: _Walk, computed: list[list[bytes]]) -> None:
    """Where an entry and its leaf hash differ, say which of the two the rest of the tree agrees with."""
    entries_are_right = tree.checkpoint is not None and tree.root == tree.checkpoint.root
    for position, path in walk.disputed:
        index, offset = divmod(position, tiles.TILE_WIDTH)
        bundle = tiles.bundle_at(walk.size, index).path
        mine = computed[0][index * tiles.TILE_WIDTH : (index + 1) * tiles.TILE_WIDTH]
        above = walk.stored[1][index] if len(walk.stored) > 1 and index < len(walk.stored[1]) else None
        full = len(mine) == tiles.TILE_WIDTH and all(mine)
        if entries_are_right or (full and above is not None and tiles.subtree(mine) == above):
            findings.add(
                Rule.TILE_HASH,
                f"hash {offset} is not that of entry {position}; the entry agrees with the rest of the tree",
                path,
                position,
                where=f"{path} hash {offset}, entry {position}",
            )
        else:
            findings.add(
                Rule.ENTRY_HASH,
                f"entry {position} does not have hash {offset} of {path}",
                bundle,
                position,
                where=f"{bundle}, {path} hash {offset}, entry {position}",
            )


def check_seen(tree: Tree, seen: Sequence[tuple[str, Checkpoint]], findings: Findings) -> None:
    """Compare with checkpoints of this log that others have seen, named by who has them."""
    leaves = [merkle.leaf_hash(entry) for entry in tree.entries if entry is not None]
    for holder, checkpoint in seen:
        if checkpoint.size > tree.size:
            findings.add(
                Rule.ROLLBACK,
                f"{holder} has a checkpoint of size {checkpoint.size}, this ledger ends at {tree.size}",
                CHECKPOINT,
            )
        elif tree.root is None:
            findings.note(f"The checkpoint held by {holder} was not compared: not every entry could be read.")
        elif merkle.root(leaves[: checkpoint.size]) != checkpoint.root:
            findings.add(
                Rule.FORK,
                f"{holder} has a checkpoint of size {checkpoint.size} with another root than these entries",
                CHECKPOINT,
            )
