"""A dishonest operator whose node shows an auditor something else than its ledger says, to be reproduced."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest
from nodes import PLAIN, World, ask
from typer.testing import CliRunner

from node import daemon, recompute_inputs, recompute_sources, search_plan
from node.cli.main import app
from node.core import NodeCore
from node.gallery_commitment import HeldState
from node.operations import OPERATIONS
from node.synthetic import people, write_features
from protocol import limits
from protocol.payload import make_entry
from protocol.statements import QueryAnswered, Statement


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(daemon, "real_scheme", lambda: PLAIN)
    return World.copied(tmp_path)


async def asked(world: World) -> str:
    async with world.daemon("US"), world.daemon("CL") as cl:
        return str((await ask(cl, world.arguments("known.npz:3")))["exchange"])


def recompute(world: World, exchange: str, *options: object) -> tuple[int, dict[str, Any]]:
    options = options or ("--responder", world.directories["US"], "--requester", world.directories["CL"])
    arguments = ["audit", "recompute", exchange, "--key", world.root / "auditor", *options, "--json"]
    run = CliRunner().invoke(app, [str(one) for one in arguments])
    return run.exit_code, json.loads(run.stdout)


def first(shown: dict[str, Any]) -> tuple[str, str]:
    difference = shown["first_difference"]
    return difference["step"], difference.get("blame", "")


async def test_another_gallery_was_searched_than_the_one_committed_to(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the hashes of the true gallery, and shows the blocks of the one that it searched."""
    true: HeldState
    with NodeCore.open(world.directories["US"]) as us:
        true = us.galleries.held("face", world.profile.digest)
        write_features(world.root / "others.npz", people(300, 99), records=[str(one) for one in range(300)])
        arguments = {
            "file": str(world.root / "others.npz"),
            "modality": "face",
            "profile": world.profile.name,
        }
        OPERATIONS["gallery.import"](us, arguments, lambda _: None)
    with monkeypatch.context() as patch:
        search = search_plan.PlannedSearch
        patch.setattr(
            search_plan, "PlannedSearch", lambda job, _, records: search(job, true.commitment, records)
        )
        exchange = await asked(world)
    honest = recompute_sources._gallery

    def lying(core: NodeCore, query: Any) -> dict[str, Any] | None:
        shown = honest(core, query)
        names = {
            "salt": true.salt.hex(),
            "records": true.records,
            "hashes": [one.hex() for one in true.hashes],
        }
        return shown and shown | names

    monkeypatch.setattr(recompute_sources, "_gallery", lying)
    code, shown = recompute(world, exchange)
    assert (code, shown["verdict"], first(shown)) == (1, "differs", ("gallery", "US"))


async def test_blocks_that_were_not_searched_are_not_shown(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = await asked(world)
    honest = recompute_sources._gallery

    def lying(core: NodeCore, query: Any) -> dict[str, Any] | None:
        shown = honest(core, query)
        return shown and shown | {"blocks": []}

    monkeypatch.setattr(recompute_sources, "_gallery", lying)
    code, shown = recompute(world, exchange)
    assert (code, first(shown)) == (1, ("gallery", "US"))


async def test_an_entry_that_the_ledger_does_not_have(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made afresh for the auditor: it opens, it is sealed to them, and it could say anything."""
    exchange = await asked(world)
    honest = recompute_sources._sealed

    def lying(core: NodeCore, index: int) -> dict[str, Any]:
        opened = core.journal.open(index)
        if opened is None or not isinstance(opened.shared, QueryAnswered):
            return honest(core, index)
        statement = Statement(opened.shared, opened.private)
        leaf, box, _ = make_entry(
            statement, core.clock(), core.keys.storage, core.config.auditor_keys, os.urandom
        )
        texts = (base64.b64encode(one.to_bytes()).decode() for one in (leaf, box))
        return {"index": index, **dict(zip(("leaf", "payload"), texts, strict=True))}

    monkeypatch.setattr(recompute_sources, "_sealed", lying)
    code, shown = recompute(world, exchange)
    assert (code, shown["verdict"], first(shown)) == (1, "differs", ("query", "US"))


@pytest.mark.parametrize("kind", ["fifo", "zero", "directory", "link"])
async def test_bodies_that_are_no_files(world: World, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """What never begins or never ends is not read; a link to the body is as good as the body."""
    exchange = await asked(world)
    fifo, link = world.root / "fifo", world.root / "link"
    os.mkfifo(fifo)
    honest = recompute_sources._path

    def lying(core: NodeCore, *what: Any) -> str | None:
        link.unlink(missing_ok=True)
        link.symlink_to(honest(core, *what) or "nowhere")
        return {"fifo": str(fifo), "zero": "/dev/zero", "directory": str(world.root), "link": str(link)}[kind]

    monkeypatch.setattr(recompute_sources, "_path", lying)
    code, shown = recompute(world, exchange, "--responder", world.directories["US"])
    if kind == "link":
        assert shown["steps"][3]["verdict"] in ("holds", "differs")
    else:
        assert (code, shown["verdict"]) == (1, "incomplete")


@pytest.mark.parametrize(
    "doctored",
    [
        {"entries": None},
        {"entries": [{}]},
        {"query": 7},
        {"gallery": []},
        {"block_hashes": ["x"]},
        {"gallery": {}},
    ],
)
async def test_nonsense_is_a_typed_error(
    world: World, monkeypatch: pytest.MonkeyPatch, doctored: dict[str, Any]
) -> None:
    exchange = await asked(world)
    honest = OPERATIONS["audit.recompute"]
    monkeypatch.setitem(OPERATIONS, "audit.recompute", lambda *given: honest(*given) | doctored)
    code, shown = recompute(world, exchange, "--responder", world.directories["US"])
    assert (code, shown["error"]["code"]) == (1, "peer-misbehaved") or shown["verdict"] == "incomplete"


async def test_a_given_answer_without_end_is_not_read_into_memory(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange, answer = await asked(world), world.root / "answer"
    with answer.open("wb") as file:
        file.truncate(1 << 40)
    monkeypatch.setattr("node.recompute_steps.MAX_BLOCKS", 8)
    half = ["--requester", world.directories["CL"], "--answer", answer]
    code, shown = recompute(world, exchange, *half)
    assert (code, first(shown)[0]) == (1, "answer")
    answer.unlink()
    os.mkfifo(answer)
    code, shown = recompute(world, exchange, *half)
    assert (code, shown["error"]["code"]) == (2, "bad-config")
    assert recompute_inputs.MAX_KEYS_BYTES >= limits.MAX_EVALUATION_KEYS
