"""Galleries: which sealed blocks on disk count, by rows in SQLite.

An import writes a new version beside the old one, syncs every file and directory, and then switches by one
commit: after a power cut either the old version counts or the new one. In a node the entry `gallery.imported`
decides: it comes before the switch, and `settle` finishes the switch of what is logged. Files that no row names
are harmless and go at the next `sweep`.

Source: specs/matching.md, section 1, "Galleries".
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from sqlalchemy import Engine, Row, delete, insert, select
from sqlalchemy.exc import SQLAlchemyError

from crypto.errors import InputError
from crypto.profiles import MODALITIES, Profile
from crypto.templates import Template, make_templates
from node.blocks import BlockRef, load_block, load_records
from node.errors import NoSuchGallery, StorageFailed
from node.gallery_commitment import HeldState, gallery_commitment
from node.gallery_tables import blocks, imports, metadata, partitions
from node.gallery_version import ImportReport, RandomBytes, Staged, write_version
from node.samples import gallery_vectors


@dataclass(frozen=True, slots=True)
class Partition:
    """One gallery: all templates of one modality under one profile."""

    modality: str
    profile_name: str
    profile_digest: bytes
    records: int
    blocks: int
    commitment: bytes


class GalleryStore:
    """All galleries of one node.

    Args:
        engine: Where the rows live; commits must be durable (``synchronous=FULL``).
        directory: Where the sealed files live; made when missing.
        seal_key: 32 bytes, the node's storage key.
        padded: New galleries get as many blocks as their size class: how many they need shows to nobody.
    """

    def __init__(self, engine: Engine, directory: Path, seal_key: bytes, *, padded: bool = True) -> None:
        self._engine = engine
        self._directory = directory
        self._seal_key = seal_key
        self._padded = padded
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        metadata.create_all(engine)

    def import_file(self, path: Path, profile: Profile, modality: str, rng: RandomBytes) -> ImportReport:
        """Replace the gallery of this modality and profile by the records of an npz file.

        Raises:
            BadFeatureFile: The file is malformed, oversized or of another dimension.
            BadFeatures: A row that cannot become a template, by number.
            StorageFailed: The disk refused; the old gallery still counts.
        """
        staged = self.stage(path, profile, modality, rng)
        self.switch(staged)
        return staged.report

    def stage(self, path: Path, profile: Profile, modality: str, rng: RandomBytes) -> Staged:
        """First half of an import: everything on disk and synced, nothing counts yet."""
        if modality not in MODALITIES or modality != profile.modality:
            raise InputError(f"the profile is for {profile.modality}, not for the modality that was named")
        vectors, records = gallery_vectors(path, profile)
        names = records or tuple(rng(8).hex() for _ in range(len(vectors)))
        templates = make_templates(vectors, profile, gallery=True)
        place = (modality, profile.name, profile.digest)
        return self._write(place, (names, templates), rng)

    def reshuffle(self, modality: str, profile_digest: bytes, rng: RandomBytes) -> Staged:
        """The first half of an import of the same records, in fresh slots: hits are not linked to earlier ones.

        Raises:
            NoSuchGallery: Nothing was imported for them.
            StateDamaged: A block does not open.
            StorageFailed: The disk refused; the old version still counts.
        """
        row = self._row(modality, profile_digest)
        names: list[str] = []
        found: list[Template] = []
        refs = self.blocks(modality, profile_digest)
        for ref in refs:
            listed = load_records(ref, self._seal_key)
            taken = [slot for slot, name in enumerate(listed) if name is not None]
            names += [str(listed[slot]) for slot in taken]
            found.append(load_block(ref, self._seal_key)[taken])
        place = (modality, row.profile_name, profile_digest)
        staged = self._write(place, (names, np.concatenate(found)), rng)
        return replace(staged, copy_of=refs[0].version)

    def _write(
        self, place: tuple[str, str, bytes], records: tuple[Sequence[str], Template], rng: RandomBytes
    ) -> Staged:
        return write_version(self._directory, self._seal_key, place, records, rng, padded=self._padded)

    def announce(self, staged: Staged) -> None:
        """Note a version before its import is logged, so that the switch can be finished after a crash.

        Raises:
            NoSuchGallery: It is a copy of a version that counts no more.
            StorageFailed: The commit failed; nothing may be logged.
        """
        copied = staged.copy_of
        if copied is not None and copied != self._row(staged.modality, staged.profile_digest).version:
            shutil.rmtree(self._directory / staged.version.hex(), ignore_errors=True)
            raise NoSuchGallery("another gallery was imported meanwhile; nothing was reshuffled: try again")
        values = {"version": staged.version, "hashes": b"".join(staged.hashes), **_partition(staged)}
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(imports).values(**values))
        except SQLAlchemyError as error:
            raise StorageFailed("the import was not noted; the old gallery counts") from error

    def settle(self, is_logged: Callable[[bytes], bool]) -> None:
        """At start: the last version whose import is logged counts from now on; one that is not logged never will."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(imports).order_by(imports.c.number)).all()
        for row in rows:
            if is_logged(row.version):
                self.switch(_staged(row))
        try:
            with self._engine.begin() as connection:
                connection.execute(delete(imports))
        except SQLAlchemyError as error:
            raise StorageFailed("noted imports could not be settled") from error

    def switch(self, staged: Staged) -> None:
        """Second half of an import: from this commit on the new version counts.

        Raises:
            StorageFailed: The commit failed; the old version, if any, still counts.
        """
        same = (partitions.c.modality == staged.modality) & (
            partitions.c.profile_digest == staged.profile_digest
        )
        rows = [
            {"version": staged.version, "block_index": index, "sha256": sha256}
            for index, sha256 in enumerate(staged.hashes)
        ]
        try:
            with self._engine.begin() as connection:
                old = select(partitions.c.version).where(same)
                connection.execute(delete(blocks).where(blocks.c.version.in_(old)))
                connection.execute(delete(partitions).where(same))
                connection.execute(insert(partitions).values(version=staged.version, **_partition(staged)))
                connection.execute(insert(blocks), rows)
        except SQLAlchemyError as error:
            raise StorageFailed("the switch to the new gallery was not stored; the old one counts") from error

    def partitions(self) -> list[Partition]:
        """All galleries, by modality and profile name."""
        order = (partitions.c.modality, partitions.c.profile_name, partitions.c.profile_digest)
        with self._engine.connect() as connection:
            rows = connection.execute(select(partitions).order_by(*order)).all()
        return [self._describe(row) for row in rows]

    def blocks(self, modality: str, profile_digest: bytes) -> list[BlockRef]:
        """The blocks that a query under this profile searches, in order of their index.

        Raises:
            NoSuchGallery: Nothing was imported for them.
        """
        row = self._row(modality, profile_digest)
        home = self._directory / row.version.hex()
        return [
            BlockRef(
                str(home / f"{index:06d}.block"), modality, profile_digest, row.version, index, row.n, sha256
            )
            for index, sha256 in enumerate(self._hashes(row.version))
        ]

    def state_commitment(self, modality: str, profile_digest: bytes) -> bytes:
        """32 bytes that fix every slot of the gallery and, being salted, tell nothing of it."""
        return self._describe(self._row(modality, profile_digest)).commitment

    def held(self, modality: str, profile_digest: bytes) -> HeldState:
        """What the state commitment is made of; raises ``NoSuchGallery``."""
        row = self._row(modality, profile_digest)
        return HeldState(
            row.modality, row.profile_digest, bytes(row.salt), row.records, self._hashes(row.version)
        )

    def sweep(self) -> int:
        """Delete the files of versions that do not count; returns how many versions went.

        Call it at start, when no search still reads an older version.
        """
        with self._engine.connect() as connection:
            kept = {row.version.hex() for row in connection.execute(select(partitions.c.version))}
        gone = [entry for entry in self._directory.iterdir() if entry.is_dir() and entry.name not in kept]
        for entry in gone:
            shutil.rmtree(entry, ignore_errors=True)
        return len(gone)

    def _row(self, modality: str, profile_digest: bytes) -> Row[tuple[object, ...]]:
        wanted = (partitions.c.modality == modality) & (partitions.c.profile_digest == profile_digest)
        with self._engine.connect() as connection:
            row = connection.execute(select(partitions).where(wanted)).first()
        if row is None:
            raise NoSuchGallery("no gallery of that modality and profile; run `concordat gallery import`")
        return row

    def _hashes(self, version: bytes) -> tuple[bytes, ...]:
        wanted = select(blocks.c.sha256).where(blocks.c.version == version).order_by(blocks.c.block_index)
        with self._engine.connect() as connection:
            return tuple(bytes(row.sha256) for row in connection.execute(wanted))

    def _describe(self, row: Row[tuple[object, ...]]) -> Partition:
        hashes = self._hashes(row.version)
        commitment = gallery_commitment(row.modality, row.profile_digest, row.salt, row.records, hashes)
        return Partition(
            row.modality, row.profile_name, row.profile_digest, row.records, len(hashes), commitment
        )


def _partition(staged: Staged) -> dict[str, object]:
    names = ("modality", "profile_digest", "profile_name", "salt", "n")
    return {**{name: getattr(staged, name) for name in names}, "records": staged.report.records}


def _staged(row: Row[tuple[object, ...]]) -> Staged:
    hashes = tuple(row.hashes[start : start + 32] for start in range(0, len(row.hashes), 32))
    digest = gallery_commitment(row.modality, row.profile_digest, row.salt, row.records, hashes)
    report = ImportReport(row.records, len(hashes), digest)
    names = row.modality, row.profile_name, row.profile_digest
    return Staged(report, *names, row.version, row.salt, row.n, hashes)
