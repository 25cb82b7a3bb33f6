"""How many blocks a gallery gets: its size shows to nobody more closely than its class."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import create_engine

from node import blocks as node_blocks
from node import gallery_version
from node.blocks import load_block, load_records
from node.config import parse_config
from node.errors import BadConfig, NoSuchGallery
from node.gallery import GalleryStore
from node.gallery_version import size_class
from node.profiles import builtin
from node.synthetic import images, people, write_features

CLASSES = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96]


def test_a_size_class_is_a_power_of_two_or_three_of_them() -> None:
    for needed in range(1, 97):
        expected = next(one for one in CLASSES if one >= needed)
        assert size_class(needed) == expected
    assert size_class(65535) == size_class(60_000) == 65535


def test_padding_mixes_empty_slots_into_every_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records are spread over all blocks, so no block is told from another by what it holds."""
    for module in (gallery_version, node_blocks):
        monkeypatch.setattr(module, "BLOCK_SLOTS", 64)
    profile = builtin("embedding-128")
    write_features(tmp_path / "g.npz", images(people(64 * 5, 1), 1, 2)[:, 0])
    for padded, count in ((True, 6), (False, 5)):
        engine = create_engine(f"sqlite:///{tmp_path}/{count}.sqlite")
        store = GalleryStore(engine, tmp_path / str(count), bytes(32), padded=padded)
        report = store.import_file(tmp_path / "g.npz", profile, "face", np.random.default_rng(7).bytes)
        assert (report.records, report.blocks) == (320, count)
        blocks = store.blocks("face", profile.digest)
        listed = [load_records(one, bytes(32)) for one in blocks]
        engine.dispose()
        assert len(blocks) == count
        assert sum(one is not None for slots in listed for one in slots) == 320
        assert all((None in slots) == padded and len(slots) == 64 for slots in listed)
        assert len({Path(one.path).stat().st_size for one in blocks}) == 1


def test_the_setting_knows_two_ways() -> None:
    text = (
        'format = "concordat-node-v1"\ncountry = "US"\nauthority = "a"\norigin = "o"\n'
        'endpoint = "https://us:1"\nlisten = "https://us:1"\n'
    )
    assert parse_config(text.encode()).gallery.padding == "classes"
    assert parse_config((text + '[gallery]\npadding = "none"\n').encode()).gallery.padding == "none"
    with pytest.raises(BadConfig, match="padding"):
        parse_config((text + '[gallery]\npadding = "some"\n').encode())


def test_a_reshuffle_keeps_the_records_and_gives_them_other_slots(tmp_path: Path) -> None:
    profile = builtin("embedding-128")
    names = [f"record-{number}" for number in range(300)]
    write_features(tmp_path / "g.npz", images(people(300, 1), 1, 2)[:, 0], records=names)
    engine = create_engine(f"sqlite:///{tmp_path}/state.sqlite")
    store = GalleryStore(engine, tmp_path / "gallery", bytes(32))
    first = store.import_file(tmp_path / "g.npz", profile, "face", os.urandom)

    def slots() -> dict[str, tuple[int, bytes]]:
        (block,) = store.blocks("face", profile.digest)
        templates = load_block(block, bytes(32))
        listed = enumerate(load_records(block, bytes(32)))
        return {name: (slot, templates[slot].tobytes()) for slot, name in listed if name is not None}

    before = slots()
    staged = store.reshuffle("face", profile.digest, os.urandom)
    assert slots() == before
    store.switch(staged)
    after = slots()
    assert staged.report.records == first.records == 300
    assert staged.report.digest != first.digest
    assert {name: template for name, (_, template) in after.items()} == {
        name: template for name, (_, template) in before.items()
    }
    assert sum(after[name][0] == before[name][0] for name in names) < 10
    engine.dispose()


def test_a_reshuffle_does_not_bring_back_what_an_import_replaced_meanwhile(tmp_path: Path) -> None:
    """Its long half runs beside the node: a record that was taken out must not be searched again."""
    profile = builtin("embedding-128")
    vectors = images(people(20, 1), 1, 2)[:, 0]
    for name, count in (("all", 20), ("fewer", 19)):
        write_features(tmp_path / f"{name}.npz", vectors[:count], records=[f"r{i}" for i in range(count)])
    engine = create_engine(f"sqlite:///{tmp_path}/state.sqlite")
    store = GalleryStore(engine, tmp_path / "gallery", bytes(32))
    store.import_file(tmp_path / "all.npz", profile, "face", os.urandom)
    late = store.reshuffle("face", profile.digest, os.urandom)
    store.import_file(tmp_path / "fewer.npz", profile, "face", os.urandom)
    with pytest.raises(NoSuchGallery, match="meanwhile"):
        store.announce(late)
    store.settle(lambda _: True)
    assert store.partitions()[0].records == 19
    assert not (tmp_path / "gallery" / late.version.hex()).exists()
    in_time = store.reshuffle("face", profile.digest, os.urandom)
    store.announce(in_time)
    store.switch(in_time)
    assert store.partitions()[0].records == 19
    engine.dispose()
