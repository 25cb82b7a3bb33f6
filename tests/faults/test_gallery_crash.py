"""A crash between the entry of an import and the switch to it: what the ledger says is what is searched."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from nodes import World, statements

from node.core import NodeCore
from node.errors import StorageFailed
from node.gallery import GalleryStore
from node.gallery_version import Staged
from node.operations import finish_gallery, stage_gallery
from protocol.statements import GalleryImported

FOUND = "known.npz"


def stage(world: World, core: NodeCore, file: str = FOUND) -> tuple[dict[str, Any], Staged]:
    arguments = {"file": str(world.root / file), "modality": "face"}
    return arguments, stage_gallery(core, arguments, world.profile)


def logged(core: NodeCore) -> list[bytes]:
    opened = [core.journal.open(index) for index in range(core.journal.ledger.size)]
    shared = [payload.shared for payload in opened if payload is not None]
    return [one.gallery_commitment for one in shared if isinstance(one, GalleryImported)]


def searched(core: NodeCore) -> bytes:
    (one,) = core.galleries.partitions()
    return one.commitment


def versions(world: World) -> int:
    return len(os.listdir(world.directories["US"] / "gallery"))  # noqa: PTH208 - the names alone


def no_switch(_store: GalleryStore, _staged: Staged) -> None:
    raise StorageFailed("the machine stops here")


def test_a_logged_import_counts_after_the_next_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World.copied(tmp_path)
    with NodeCore.open(world.directories["US"]) as core:
        before = searched(core)
        with monkeypatch.context() as cut:
            cut.setattr(GalleryStore, "switch", no_switch)
            arguments, staged = stage(world, core)
            with pytest.raises(StorageFailed):
                finish_gallery(core, arguments, staged)
        assert searched(core) == before != staged.report.digest
    for _ in range(2):
        with NodeCore.open(world.directories["US"]) as core:
            assert searched(core) == logged(core)[-1] == staged.report.digest
            assert len(core.galleries.blocks("face", world.profile.digest)) == staged.report.blocks
        assert versions(world) == 1


def test_an_import_that_was_not_logged_never_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World.copied(tmp_path)
    with NodeCore.open(world.directories["US"]) as core:
        before, entries = searched(core), statements(core)

        def full(*_: Any) -> None:
            raise StorageFailed("the ledger is full")

        with monkeypatch.context() as cut:
            cut.setattr(core, "record", full)
            with pytest.raises(StorageFailed):
                finish_gallery(core, *stage(world, core))
    with NodeCore.open(world.directories["US"]) as core:
        assert (searched(core), statements(core)) == (before, entries)
    assert versions(world) == 1


def test_a_later_import_is_not_undone_by_finishing_an_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World.copied(tmp_path)
    with NodeCore.open(world.directories["US"]) as core:
        with monkeypatch.context() as cut:
            cut.setattr(GalleryStore, "switch", no_switch)
            with pytest.raises(StorageFailed):
                finish_gallery(core, *stage(world, core))
        finish_gallery(core, *stage(world, core, "stranger.npz"))
        last = searched(core)
    with NodeCore.open(world.directories["US"]) as core:
        assert searched(core) == logged(core)[-1] == last
