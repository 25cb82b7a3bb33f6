"""Workers together: one copy of the encoded gallery, turns between peers, and work that is called off."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from engines import PLAIN, PLAN, PROFILE, SEAL_KEY, Asked, Gallery, nothing

from crypto.contexts import Context, hash_fields
from crypto.hitsearch.masks import MaskStream
from crypto.hitsearch.plain import PlainBlock, PlainResponder
from node.engine import Engine

SIZE = PLAN.search_level * 8 * PROFILE.n * PLAN.degree
NOTES = "TEST_ENGINE_NOTES"


def note(word: str) -> None:
    with Path(os.environ[NOTES]).open("a") as file:
        file.write(f"{word} {os.getpid()}\n")


class NotingResponder(PlainResponder):
    """Notes what it does, with the process that does it."""

    def encode(self, templates: Any, out: Any = None) -> PlainBlock:
        note("kept" if out is not None else "once")
        return super().encode(templates, out)

    def encoded(self, words: Any) -> PlainBlock:
        note("read")
        return super().encoded(words)

    def answer(self, prepared: Any, block: Any, stream: MaskStream) -> bytes:
        note("block")
        time.sleep(0.05)
        said = stream.key(b"twin"), prepared.template.tobytes(), block.templates[::101].tobytes()
        return hash_fields(Context.MASK_STREAM, *said)


NOTING = replace(PLAIN, responder=NotingResponder)


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(NOTES, str(tmp_path / "notes"))
    return tmp_path / "notes"


def lines(notes: Path, *words: str) -> list[list[str]]:
    found = [line.split() for line in notes.read_text().splitlines()]
    return [line for line in found if line[0] in words]


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    return Gallery(tmp_path_factory.mktemp("gallery"), 60_000)


async def test_a_block_is_encoded_once_for_all_workers_and_the_answer_is_the_same(
    tmp_path: Path, gallery: Gallery, notes: Path
) -> None:
    engine = Engine(NOTING, SEAL_KEY, 2, 3 * SIZE * 8 // 5)
    asked = Asked(tmp_path, gallery.vectors[17_000])
    job = asked.job(gallery.blocks)
    try:
        cold = await engine.search(job, nothing)
        assert engine.encoded_bytes == 3 * SIZE, "three of four blocks fit"
        kept = lines(notes, "kept")
        assert len(kept) == 3
        for _ in range(2):
            assert await engine.search(job, nothing) == cold
    finally:
        await engine.close()
    assert len(lines(notes, "kept")) == 3, "blocks of one gallery do not push each other out"
    assert len(lines(notes, "once")) == 3
    assert len(lines(notes, "read")) == 6
    assert len({pid for _, pid in lines(notes, "read")}) == 2
    assert {pid for _, pid in kept} <= {pid for _, pid in lines(notes, "block")}


async def test_what_warms_is_what_the_query_reads(tmp_path: Path, gallery: Gallery, notes: Path) -> None:
    engine = Engine(NOTING, SEAL_KEY, 2, 2 * SIZE * 8 // 5)
    asked = Asked(tmp_path, gallery.vectors[0])
    try:
        for block in gallery.blocks:
            await engine.warm(PROFILE.search, asked.keys_path, asked.keys_hash, block)
        assert len(lines(notes, "kept")) == 2, "a full memory is left as it is"
        await engine.search(asked.job(gallery.blocks[:2]), nothing)
    finally:
        await engine.close()
    assert len(lines(notes, "kept", "once")) == 2
    assert len(lines(notes, "read")) == 2


async def test_a_small_query_does_not_wait_for_a_large_one(
    tmp_path: Path, gallery: Gallery, notes: Path
) -> None:
    engine = Engine(NOTING, SEAL_KEY, 1, 2**30)
    asked = Asked(tmp_path, gallery.vectors[0])
    done: list[str] = []

    async def ask(peer: str, blocks: int) -> None:
        job = replace(asked.job((gallery.blocks * 3)[:blocks]), peer=peer)
        await engine.search(job, lambda *_: done.append(peer))

    try:
        await engine.start()
        await asyncio.gather(
            ask("US", 10), ask("CL", 2), engine.encrypt(PROFILE.search, bytes(32), template()[None])
        )
    finally:
        await engine.close()
    assert done[:4] == ["US", "CL", "US", "CL"]
    assert done[4:] == ["US"] * 8


async def test_a_search_that_is_called_off_frees_the_workers(
    tmp_path: Path, gallery: Gallery, notes: Path
) -> None:
    engine = Engine(NOTING, SEAL_KEY, 1, 2**30)
    asked = Asked(tmp_path, gallery.vectors[0])
    begun = asyncio.Event()
    try:
        await engine.start()
        job = replace(asked.job(gallery.blocks * 10), peer="US")
        long = asyncio.create_task(engine.search(job, lambda *_: begun.set()))
        await begun.wait()
        long.cancel()
        with pytest.raises(asyncio.CancelledError):
            await long
        await engine.search(asked.job(gallery.blocks), nothing)
    finally:
        await engine.close()
    assert len(lines(notes, "block")) <= 6, "one that was done, one that was under way, and the other query's"


def template() -> Any:
    from crypto.templates import make_template
    from node.synthetic import images, people

    return make_template(images(people(1, 5), 1, 6)[0, 0], PROFILE)
