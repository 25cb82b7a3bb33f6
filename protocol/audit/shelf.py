"""The tile and bundle files of a ledger as they are, each hash with every copy of it that the files hold.

Source: specs/ledger.md, section "Audit".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from crypto import merkle
from crypto.errors import BadEncoding
from protocol import tiles
from protocol.audit.reader import LedgerReader, Unreadable, read_file
from protocol.audit.report import Findings, Rule
from protocol.audit.settle import HASH, LOST, tile_root

_MAX_GAP: Final = 4096


@dataclass
class Slot:
    """One tile in use, and for level 0 its bundle.

    Attributes:
        ref: Which tile, with the width that the checkpoint asks for.
        path: The file that was read; a full tile may stand in for a partial one.
        stored: Its hashes; ``LOST`` where the file has none.
        readable: The file is whole, so what differs in it can be named.
        below: The same hashes from what lies below: for level 0 the leaf hashes of the entries; higher, the
            roots of the tiles below, then the roots computed from the entries.
        bundle: Path of the bundle; None above level 0.
        bundle_readable: The bundle is whole.
    """

    ref: tiles.TileRef
    path: str
    stored: bytes
    readable: bool
    below: tuple[bytes, ...]
    bundle: str | None = None
    bundle_readable: bool = False

    @property
    def agrees(self) -> bool:
        """All copies say the same."""
        return all(one == self.stored for one in self.below)


class Shelf:
    """All files of the tree of ``size`` entries; reading them makes findings of form, never of content."""

    def __init__(
        self, reader: LedgerReader, findings: Findings, listed: Sequence[tiles.TileRef], size: int
    ) -> None:
        self._reader = reader
        self._findings = findings
        self._there = {ref.path for ref in listed}
        self.size = size
        self.entries: list[bytes | None] = []
        self.levels: list[list[Slot]] = []
        self._read()

    def _read(self) -> None:
        roots: list[bytes] = []
        from_entries: list[bytes] = []
        for level in tiles.levels_of(self.size):
            row = []
            for ref in tiles.tiles_of(self.size, level):
                path, stored, readable = self._tile(ref)
                if level == 0:
                    slot = self._with_bundle(Slot(ref, path, stored, readable, ()))
                else:
                    at = slice(ref.index * tiles.TILE_WIDTH, ref.index * tiles.TILE_WIDTH + ref.width)
                    below = (b"".join(roots[at]), b"".join(from_entries[at]))
                    slot = Slot(ref, path, stored, readable, tuple(_share(stored, one) for one in below))
                row.append(slot)
            self.levels.append(row)
            full = [slot for slot in row if slot.ref.width == tiles.TILE_WIDTH]
            roots = [tile_root(slot.stored) for slot in full]
            from_entries = [
                root if slot.agrees else tile_root(slot.below[-1])
                for slot, root in zip(full, roots, strict=True)
            ]

    def _fetch(self, ref: tiles.TileRef, limit: int) -> tuple[tiles.TileRef, bytes | None]:
        """A file as the checkpoint asks for it; a full one may stand in for a partial one."""
        if ref.path not in self._there and ref.full.path in self._there:
            ref = ref.full
        return ref, read_file(self._reader, ref.path, limit, self._findings, "the file is not there")

    def _tile(self, ref: tiles.TileRef) -> tuple[str, bytes, bool]:
        used, data = self._fetch(ref, tiles.MAX_TILE_BYTES)
        readable = data is not None
        if data is not None and len(data) != used.width * HASH:
            what = f"{len(data)} bytes instead of {used.width * HASH}"
            self._findings.add(Rule.TILE_FORM, what, used.path)
            readable = False
        hashes = (data or b"")[: ref.width * HASH]
        hashes = hashes[: len(hashes) // HASH * HASH]
        return used.path, hashes + LOST * (ref.width - len(hashes) // HASH), readable

    def _with_bundle(self, slot: Slot) -> Slot:
        ref = tiles.bundle_at(self.size, slot.ref.index)
        used, data = self._fetch(ref, tiles.MAX_BUNDLE_BYTES)
        entries: list[bytes] = []
        slot.bundle, slot.bundle_readable = used.path, data is not None
        if data is not None:
            entries, rest = tiles.split_bundle(data, used.width)
            if len(entries) < used.width or rest:
                slot.bundle_readable = False
                self._misframed(slot, used, entries, rest)
        entries = entries[: ref.width]
        lost = ref.width - len(entries)
        self.entries += [*entries, *([None] * lost)]
        hashes = b"".join(merkle.leaf_hash(entry) for entry in entries) + LOST * lost
        slot.below = (_share(slot.stored, hashes),)
        return slot

    def _misframed(self, slot: Slot, used: tiles.TileRef, entries: Sequence[bytes], rest: int) -> None:
        """A length that was changed misframes all after it: name the first entry that is not the tile's."""
        known = [slot.stored[i : i + HASH] for i in range(0, len(slot.stored), HASH)]
        wrong = (i for i, e in enumerate(entries[: len(known)]) if merkle.leaf_hash(e) != known[i])
        bad = next(wrong, len(entries)) if LOST not in known else len(entries)
        if len(entries) < used.width:
            what, bad = f"ends within entry {len(entries)} of {used.width}", min(bad, len(entries))
        else:
            what = f"{rest} bytes after its {used.width} entries"
        index = used.index * tiles.TILE_WIDTH + bad if bad < used.width else None
        self._findings.add(Rule.BUNDLE_FORM, what, used.path, index)

    def partials(self, listed: Sequence[tiles.TileRef], slot: Slot) -> list[bytes]:
        """What the widest superseded partial files say of a tile; ``LOST`` beyond their width."""
        found = []
        for level in (slot.ref.level, None) if slot.ref.level == 0 else (slot.ref.level,):
            for ref in sorted(listed, key=lambda one: one.width, reverse=True):
                if (ref.level, ref.index) == (level, slot.ref.index) and ref.width < slot.ref.width:
                    hashes = partial_hashes(self._reader, ref)
                    if hashes:
                        found.append(hashes + LOST * (slot.ref.width - ref.width))
                        break
        return found


def partial_hashes(reader: LedgerReader, ref: tiles.TileRef) -> bytes | None:
    """The hashes in a partial file, or of the entries in a partial bundle; None if it is not in its form."""
    try:
        data = reader.read(
            ref.path, tiles.MAX_TILE_BYTES if ref.level is not None else tiles.MAX_BUNDLE_BYTES
        )
        if data is None:
            return None
        if ref.level is not None:
            return data if len(data) == ref.width * HASH else None
        return b"".join(merkle.leaf_hash(entry) for entry in tiles.parse_bundle(data, ref.width))
    except (Unreadable, BadEncoding):
        return None


def read_listing(reader: LedgerReader, findings: Findings) -> list[tiles.TileRef]:
    """All tile and bundle files; what else lies there is a finding."""
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


def present(listed: Sequence[tiles.TileRef]) -> int:
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


def _share(known: bytes, other: bytes) -> bytes:
    """One object for equal bytes: most copies of a sound ledger are equal, and a large one has many."""
    return known if known == other else other
