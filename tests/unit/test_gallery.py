"""Galleries: complete or not there, sealed, shuffled, and committed to."""

from __future__ import annotations

import errno
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine, create_engine, text

from crypto.errors import BadFeatures, ConcordatError, InputError, SealBroken
from crypto.templates import make_templates, scores
from node import blocks as blocks_module
from node import gallery_version
from node.blocks import BlockRef, load_block, load_records
from node.errors import BadFeatureFile, NoSuchGallery, StateDamaged, StorageFailed
from node.gallery import GalleryStore
from node.gallery_tables import metadata
from node.profiles import builtin
from node.state import open_engine
from node.synthetic import GOOD_IMAGES, images, people, write_features

PROFILE = builtin("embedding-128")
KEY = bytes(range(32))
SLOTS = 256  # small blocks: what is tested here does not depend on their size


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "BLOCK_SLOTS", SLOTS)
    monkeypatch.setattr(gallery_version, "BLOCK_SLOTS", SLOTS)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return open_engine(tmp_path / "state.sqlite")


def stream(seed: int) -> Callable[[int], bytes]:
    return np.random.default_rng(seed).bytes


def population(tmp_path: Path, count: int, seed: int = 1) -> Path:
    path = tmp_path / f"people-{count}-{seed}.npz"
    vectors = images(people(count, seed), 1, seed, GOOD_IMAGES)[:, 0]
    write_features(path, vectors, [f"record {seed}.{i}" for i in range(count)])
    return path


def probe(count: int, seed: int, index: int) -> np.ndarray:
    vectors = images(people(count, seed), 1, seed + 1000, GOOD_IMAGES)[:, 0]
    return make_templates(vectors[index : index + 1], PROFILE)[0]


def hits(refs: list[BlockRef], template: np.ndarray) -> list[str | None]:
    found: list[str | None] = []
    for ref in refs:
        names = load_records(ref, KEY)
        slots = np.flatnonzero(scores(load_block(ref, KEY), template) >= PROFILE.search.threshold)
        found += [names[slot] for slot in slots]
    return found


@pytest.mark.parametrize("count", [1, SLOTS - 1, SLOTS, SLOTS + 1, 2 * SLOTS])
def test_every_record_is_found_where_its_slot_says(tmp_path: Path, engine: Engine, count: int) -> None:
    store = GalleryStore(engine, tmp_path / "gallery", KEY)
    path = population(tmp_path, count)
    report = store.import_file(path, PROFILE, "face", stream(1))
    refs = store.blocks("face", PROFILE.digest)
    assert (report.records, report.blocks) == (count, len(refs)) == (count, -(-count // SLOTS))
    assert [ref.index for ref in refs] == list(range(len(refs)))
    names = [name for ref in refs for name in load_records(ref, KEY)]
    assert sorted(n for n in names if n is not None) == sorted(f"record 1.{i}" for i in range(count))
    all_slots = np.concatenate([load_block(ref, KEY) for ref in refs])
    assert len(all_slots) == len(names) == SLOTS * len(refs)
    empty = np.array([name is None for name in names])
    assert (np.abs(all_slots[empty].astype(int)).sum(axis=1) == 1).all()
    assert ((all_slots[~empty].astype(int) ** 2).sum(axis=1) == PROFILE.search.norm).all()
    for index in {0, count - 1}:
        assert hits(refs, probe(count, 1, index)) == [f"record 1.{index}"]
    assert hits(refs, probe(3, 999, 0)) == []


def test_blocks_have_the_size_of_the_plan() -> None:
    source = Path(blocks_module.__file__).read_text()
    assert "BLOCK_SLOTS: Final = 16384" in source


def test_records_get_names_when_the_file_has_none(tmp_path: Path, engine: Engine) -> None:
    store = GalleryStore(engine, tmp_path / "gallery", KEY)
    write_features(tmp_path / "a.npz", images(people(9, 1), 1, 1)[:, 0])
    store.import_file(tmp_path / "a.npz", PROFILE, "face", stream(1))
    (ref,) = store.blocks("face", PROFILE.digest)
    assert len({name for name in load_records(ref, KEY) if name is not None}) == 9


def test_slots_are_shuffled_anew_and_the_commitment_changes(tmp_path: Path, engine: Engine) -> None:
    store = GalleryStore(engine, tmp_path / "gallery", KEY)
    path = population(tmp_path, 100)
    seen = []
    for seed in (1, 2):
        report = store.import_file(path, PROFILE, "face", stream(seed))
        (ref,) = store.blocks("face", PROFILE.digest)
        assert report.digest == store.state_commitment("face", PROFILE.digest)
        assert store.partitions()[0].commitment == report.digest
        seen.append((load_records(ref, KEY), report.digest))
    (first, one), (second, two) = seen
    assert one != two
    moved = sum(a != b for a, b in zip(first, second, strict=True) if a is not None)
    assert moved > 90
    assert len({i for i, name in enumerate(first) if name} & set(range(100))) < 80, "slots follow the rows"


def test_an_import_replaces_and_survives_a_restart(tmp_path: Path, engine: Engine) -> None:
    store = GalleryStore(engine, tmp_path / "gallery", KEY)
    store.import_file(population(tmp_path, 20, 1), PROFILE, "face", stream(1))
    (old,) = store.blocks("face", PROFILE.digest)
    store.import_file(population(tmp_path, 30, 2), PROFILE, "face", stream(2))
    assert load_block(old, KEY).shape == (SLOTS, 128), "a search that runs may still read the old version"
    again = GalleryStore(open_engine(tmp_path / "state.sqlite"), tmp_path / "gallery", KEY)
    (partition,) = again.partitions()
    assert (partition.records, partition.modality, partition.profile_name) == (30, "face", "embedding-128")
    assert again.sweep() == 1
    with pytest.raises(StateDamaged):
        load_block(old, KEY)
    assert hits(again.blocks("face", PROFILE.digest), probe(30, 2, 7)) == ["record 2.7"]
    assert again.sweep() == 0


def test_profiles_have_galleries_of_their_own(tmp_path: Path, engine: Engine) -> None:
    store = GalleryStore(engine, tmp_path / "gallery", KEY)
    wide = builtin("embedding-256")
    write_features(tmp_path / "wide.npz", images(people(5, 1, 256), 1, 1)[:, 0])
    store.import_file(population(tmp_path, 20), PROFILE, "face", stream(1))
    store.import_file(tmp_path / "wide.npz", wide, "face", stream(2))
    assert [(p.profile_name, p.records) for p in store.partitions()] == [
        ("embedding-128", 20),
        ("embedding-256", 5),
    ]
    assert load_block(store.blocks("face", wide.digest)[0], KEY).shape == (SLOTS, 256)
    with pytest.raises(NoSuchGallery):
        store.blocks("iris", PROFILE.digest)
    with pytest.raises(NoSuchGallery):
        store.state_commitment("face", bytes(32))


def test_a_reference_reaches_a_worker(tmp_path: Path, engine: Engine) -> None:
    store = GalleryStore(engine, tmp_path / "gallery", KEY)
    store.import_file(population(tmp_path, 20), PROFILE, "face", stream(1))
    (ref,) = store.blocks("face", PROFILE.digest)
    assert pickle.loads(pickle.dumps(ref)) == ref
    assert not load_block(ref, KEY).flags.writeable


def test_nothing_on_disk_is_readable(tmp_path: Path, engine: Engine) -> None:
    store = GalleryStore(engine, tmp_path / "gallery", KEY)
    store.import_file(population(tmp_path, 20), PROFILE, "face", stream(1))
    (ref,) = store.blocks("face", PROFILE.digest)
    block = load_block(ref, KEY).tobytes()
    for path in (tmp_path / "gallery").rglob("*"):
        if path.is_file():
            assert b"record 1" not in path.read_bytes()
            assert block[:256] not in path.read_bytes()
    assert (Path(ref.path).parent.stat().st_mode & 0o077) == 0


def tampering() -> dict[str, Callable[[Path], None]]:
    return {
        "a flipped byte": lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\0"),
        "cut off": lambda path: path.write_bytes(path.read_bytes()[:-1]),
        "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
        "empty": lambda path: path.write_bytes(b""),
        "gone": lambda path: path.unlink(),
        "another block": lambda path: path.write_bytes(path.with_name("000001" + path.suffix).read_bytes()),
    }


@pytest.mark.parametrize("case", tampering())
@pytest.mark.parametrize("kind", [".block", ".records"])
def test_tampered_files_do_not_open(tmp_path: Path, engine: Engine, case: str, kind: str) -> None:
    store = GalleryStore(engine, tmp_path / "gallery", KEY)
    store.import_file(population(tmp_path, SLOTS + 5), PROFILE, "face", stream(1))
    ref = store.blocks("face", PROFILE.digest)[0]
    tampering()[case](Path(ref.path).with_suffix(kind))
    with pytest.raises((SealBroken, StateDamaged)):
        load_block(ref, KEY) if kind == ".block" else load_records(ref, KEY)


def test_another_key_or_another_row_does_not_open(tmp_path: Path, engine: Engine) -> None:
    store = GalleryStore(engine, tmp_path / "gallery", KEY)
    store.import_file(population(tmp_path, 5), PROFILE, "face", stream(1))
    (ref,) = store.blocks("face", PROFILE.digest)
    with pytest.raises(SealBroken):
        load_block(ref, bytes(32))
    with engine.begin() as connection:
        connection.execute(text("UPDATE gallery_blocks SET sha256 = zeroblob(32)"))
    with pytest.raises(StateDamaged):
        load_block(store.blocks("face", PROFILE.digest)[0], KEY)


@pytest.mark.parametrize("write", range(12))
def test_a_full_disk_leaves_the_old_gallery(
    tmp_path: Path, engine: Engine, write: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = GalleryStore(engine, tmp_path / "gallery", KEY)
    before = store.import_file(population(tmp_path, 20), PROFILE, "face", stream(1))
    calls = 0
    real = os.fsync

    def failing(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == write + 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    larger = population(tmp_path, 4 * SLOTS, 2)  # 4 blocks: 8 files and 2 directories are synced
    if write < 10:
        with pytest.raises(StorageFailed, match="No space left"):
            store.import_file(larger, PROFILE, "face", stream(2))
        assert len(list((tmp_path / "gallery").iterdir())) == 1, "the half version was left behind"
        assert store.state_commitment("face", PROFILE.digest) == before.digest
        assert hits(store.blocks("face", PROFILE.digest), probe(20, 1, 3)) == ["record 1.3"]
    else:
        store.import_file(larger, PROFILE, "face", stream(2))
        assert calls == 10


def test_a_power_cut_before_the_switch_leaves_the_old_gallery(tmp_path: Path, engine: Engine) -> None:
    store = GalleryStore(engine, tmp_path / "gallery", KEY)
    before = store.import_file(population(tmp_path, 20), PROFILE, "face", stream(1))
    staged = store.stage(population(tmp_path, 30, 2), PROFILE, "face", stream(2))
    again = GalleryStore(open_engine(tmp_path / "state.sqlite"), tmp_path / "gallery", KEY)
    assert again.state_commitment("face", PROFILE.digest) == before.digest
    again.switch(staged)
    assert again.state_commitment("face", PROFILE.digest) == staged.report.digest
    assert again.sweep() == 1


def test_a_failed_commit_leaves_the_old_gallery(tmp_path: Path, engine: Engine) -> None:
    store = GalleryStore(engine, tmp_path / "gallery", KEY)
    before = store.import_file(population(tmp_path, 20), PROFILE, "face", stream(1))
    staged = store.stage(population(tmp_path, 30, 2), PROFILE, "face", stream(2))
    with engine.begin() as connection:
        connection.execute(
            text(
                "CREATE TRIGGER full BEFORE INSERT ON gallery_blocks "
                "BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
            )
        )
    with pytest.raises(StorageFailed):
        store.switch(staged)
    assert store.state_commitment("face", PROFILE.digest) == before.digest
    assert hits(store.blocks("face", PROFILE.digest), probe(20, 1, 3)) == ["record 1.3"]


def test_bad_input_leaves_no_trace(tmp_path: Path, engine: Engine) -> None:
    store = GalleryStore(engine, tmp_path / "gallery", KEY)
    vectors = images(people(40, 1), 1, 1)[:, 0]
    vectors[17, 5] = np.nan
    write_features(tmp_path / "nan.npz", vectors)
    write_features(tmp_path / "narrow.npz", vectors[:, :64])
    cases: list[tuple[str, str, type[ConcordatError], str]] = [
        ("nan.npz", "face", BadFeatures, "row 17 "),
        ("narrow.npz", "face", BadFeatureFile, "64 entries, but the profile wants 128"),
        ("none.npz", "face", BadFeatureFile, "no such file"),
        ("nan.npz", "iris", InputError, "modality"),
        ("nan.npz", "gait", InputError, "modality"),
    ]
    for name, modality, error, words in cases:
        with pytest.raises(error, match=words):
            store.import_file(tmp_path / name, PROFILE, modality, stream(1))
    assert store.partitions() == []
    assert list((tmp_path / "gallery").iterdir()) == []


def test_the_tables_live_beside_others(tmp_path: Path) -> None:
    engine = create_engine("sqlite://")
    GalleryStore(engine, tmp_path / "gallery", KEY)
    GalleryStore(engine, tmp_path / "gallery", KEY)
    assert all(table.startswith("gallery_") for table in metadata.tables)
