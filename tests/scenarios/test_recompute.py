"""Two nodes exchange a query; later their auditors compute the answer again, by the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from nodes import PLAIN, World, ask, statements
from typer.testing import CliRunner

from crypto.hitsearch import MaskStream
from node import daemon, engine_worker, records
from node.audit_files import DirectoryReader
from node.bodies import Kind
from node.cli.main import app
from node.core import NodeCore
from node.engine import SearchJob
from node.engine_worker import Scheme
from node.errors import WorkerLost
from node.operations import OPERATIONS
from node.setup import new_auditor
from protocol import limits
from protocol.audit.keys import parse_private
from protocol.audit.verify import verify_ledger


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(daemon, "real_scheme", lambda: PLAIN)
    return World.copied(tmp_path)


def other_masks(seed: bytes, *binding: Any) -> MaskStream:
    """What a responder uses that does not keep to the seed that it commits to."""
    return MaskStream(seed[::-1], *binding)


async def asked(world: World, **options: Any) -> str:
    async with world.daemon("US", **options), world.daemon("CL") as cl:
        result = await ask(cl, world.arguments("known.npz:3"))
    assert result["outcome"] == "hit"
    return str(result["exchange"])


def recompute(world: World, exchange: str, *options: object) -> tuple[int, dict[str, Any]]:
    arguments = ["audit", "recompute", exchange, "--key", world.root / "auditor", *options, "--json"]
    run = CliRunner().invoke(app, [str(one) for one in arguments])
    return run.exit_code, json.loads(run.stdout)


def both(world: World) -> list[object]:
    return ["--responder", world.directories["US"], "--requester", world.directories["CL"]]


def steps(shown: dict[str, Any]) -> dict[str, str]:
    return {one["step"]: one["verdict"] for one in shown["steps"]}


async def test_an_answer_is_reproduced_from_both_escrows_and_both_nodes_log_it(world: World) -> None:
    exchange = await asked(world)
    code, shown = recompute(world, exchange, *both(world))
    assert (code, shown["verdict"], shown["blocks"]) == (0, "reproduced", 1)
    assert set(steps(shown).values()) == {"holds"}
    for country, directory in world.directories.items():
        with NodeCore.open(directory) as core:
            opened = core.journal.open(shown["readings"][country])
            assert opened is not None
            assert (opened.shared.type, opened.shared.scope) == ("ledger.read", "recompute")  # type: ignore[attr-defined]
            assert opened.shared.count >= 3  # type: ignore[attr-defined]
        ledger = directory / "ledger"
        key = parse_private((world.root / "auditor").read_text())
        assert verify_ledger(DirectoryReader(ledger), (ledger / "policy").read_bytes(), key).ok


async def test_the_halves_meet_in_a_file(world: World) -> None:
    exchange, answer = await asked(world), world.root / "answer"
    half = ["--responder", world.directories["US"], "--write-answer", answer]
    code, shown = recompute(world, exchange, *half)
    assert (code, steps(shown)["result"]) == (0, "unchecked")
    half = ["--requester", world.directories["CL"], "--answer", answer]
    code, shown = recompute(world, exchange, *half)
    assert (code, steps(shown)) == (
        0,
        dict.fromkeys(("query", "keys", "answer", "result", "claims"), "holds"),
    )
    answer.write_bytes(answer.read_bytes()[:-1] + b"\1")
    code, shown = recompute(world, exchange, *half)
    assert (code, shown["first_difference"]["step"]) == (1, "answer")


async def test_masks_that_are_not_of_the_seed_are_told(world: World) -> None:
    dishonest = Scheme(PLAIN.plan_for, PLAIN.requester, PLAIN.responder, other_masks)
    exchange = await asked(world, scheme=dishonest)
    code, shown = recompute(world, exchange, *both(world))
    assert (code, shown["first_difference"]["step"], shown["first_difference"]["blame"]) == (
        1,
        "answer",
        "US",
    )
    assert "block 0 of the answer" in shown["first_difference"]["what"]


async def test_a_gallery_that_was_replaced_is_missing_not_wrong(world: World) -> None:
    exchange = await asked(world)
    with NodeCore.open(world.directories["US"]) as core:
        arguments = {
            "file": str(world.root / "gallery.npz"),
            "modality": "face",
            "profile": world.profile.name,
        }
        OPERATIONS["gallery.import"](core, arguments, lambda _: None)
    code, shown = recompute(world, exchange, *both(world))
    assert (code, shown["verdict"], steps(shown)["gallery"]) == (1, "incomplete", "missing")
    assert "gallery state no longer held" in shown["missing"][0]


async def test_a_changed_block_is_wrong(world: World) -> None:
    exchange = await asked(world)
    (block,) = world.directories["US"].glob("gallery/*/000000.block")
    block.write_bytes(block.read_bytes()[:-1] + b"\0")
    code, shown = recompute(world, exchange, *both(world))
    assert (code, shown["first_difference"]["step"]) == (1, "gallery")


async def test_only_an_auditor_of_the_node_computes_again(world: World) -> None:
    exchange = await asked(world)
    with NodeCore.open(world.directories["US"]) as core:
        size = core.journal.ledger.size
    (world.root / "auditor").write_bytes(new_auditor()[0])
    code, shown = recompute(world, exchange, *both(world))
    assert (code, shown["error"]["code"]) == (2, "not-entitled")
    with NodeCore.open(world.directories["US"]) as core:
        assert core.journal.ledger.size == size


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--requester", "cl"],
        ["--responder", "us", "--requester", "cl", "--answer", "a"],
        ["--purpose", "x"],
    ],
)
def test_bad_usage(tmp_path: Path, options: list[str]) -> None:
    arguments = ["audit", "recompute", "0" * 32, "--key", str(tmp_path / "key"), *options, "--json"]
    assert CliRunner().invoke(app, arguments).exit_code == 2


async def test_a_kept_probe_stays_as_long_as_it_may(world: World) -> None:
    now = 0
    exchange = bytes.fromhex(await asked(world))
    with NodeCore.open(world.directories["US"]) as core:
        (kept,) = core.kept.all()
        assert (kept.exchange_id, len(kept.block_hashes)) == (exchange, 1)
        body = core.bodies.path(Kind.CIPHERTEXT, kept.ciphertext_hash)
        now = kept.kept_ms
        assert core.kept.prune(now + 30 * limits.DAY - 1) == 0
        records.hold(core, exchange, "op", "court", "order")
        assert core.kept.prune(now + 30 * limits.DAY) == 0, "under a hold"
        assert body.exists()
        records.release(core, exchange, "op")
        assert core.kept.prune(now + 30 * limits.DAY) == 1
        assert not body.exists()
        assert core.kept.all() == []
    code, shown = recompute(world, exchange.hex(), *both(world))
    assert (code, shown["verdict"], steps(shown)["ciphertext"]) == (1, "incomplete", "missing")


async def test_a_kept_probe_goes_with_the_payloads_of_its_exchange(world: World) -> None:
    exchange = bytes.fromhex(await asked(world))
    config = world.directories["US"] / "node.toml"
    config.write_text(config.read_text().replace("[retention]\n", "[retention]\nstatement-of-intent = 1\n"))
    later = daemon.wall_clock() + 2 * limits.DAY
    with NodeCore.open(world.directories["US"], clock=lambda: later) as core:
        (kept,) = core.kept.all()
        records.erase(core, "op", really=True)
        assert core.kept.all() == []
        assert not core.bodies.path(Kind.CIPHERTEXT, kept.ciphertext_hash).exists()
    code, shown = recompute(world, exchange.hex(), *both(world))
    assert (code, shown["verdict"]) == (1, "incomplete")


async def test_the_oldest_go_when_there_is_no_room(world: World) -> None:
    config = world.directories["US"] / "node.toml"
    config.write_text(config.read_text().replace("keep_queries_mib = 1024", "keep_queries_mib = 1"))
    exchanges = []
    async with world.daemon("US") as us, world.daemon("CL") as cl:
        for number in (3, 4):
            result = await ask(cl, world.arguments(f"known.npz:{number}"))
            exchanges.append(bytes.fromhex(result["exchange"]))
        (kept,) = us.core.kept.all()
        assert kept.exchange_id == exchanges[1]
        stored = list((world.directories["US"] / "exchange" / "ciphertexts").iterdir())
        assert [path.name for path in stored] == [kept.ciphertext_hash.hex()]
    config.write_text(config.read_text().replace("keep_queries_days = 30", "keep_queries_days = 0"))
    async with world.daemon("US") as us, world.daemon("CL") as cl:
        await ask(cl, world.arguments("known.npz:5"))
        assert us.core.kept.all() == [], "nothing is kept, and what was kept is gone"
        assert list((world.directories["US"] / "exchange" / "ciphertexts").iterdir()) == []
        assert "query.answered" in statements(us.core)


async def test_escrow_ends_with_the_payloads_of_the_registration(world: World) -> None:
    exchange = await asked(world)
    config = world.directories["CL"] / "node.toml"
    config.write_text(config.read_text().replace("[retention]\n", "[retention]\nevaluation-keys = 1\n"))
    later = daemon.wall_clock() + 2 * limits.DAY
    with NodeCore.open(world.directories["CL"], clock=lambda: later) as core:
        assert records.erase(core, "op", really=True)["exchanges"] == 1
    code, shown = recompute(world, exchange, *both(world))
    assert (code, shown["verdict"], steps(shown)["result"]) == (0, "reproduced", "unchecked")
    assert "no escrow" in shown["steps"][3]["what"]


async def test_a_block_that_a_lost_worker_cost_twice_is_reproduced(world: World) -> None:
    async with world.daemon("US") as us, world.daemon("CL") as cl:
        real = us.engine.search

        async def losing(job: SearchJob, progress: Any, retried: Any) -> list[bytes]:
            call, lost = us.engine._slots[0].call, []

            async def once(function: Any, *arguments: Any) -> Any:
                if function is engine_worker.search_block and not lost:
                    lost.append(function)
                    raise WorkerLost("lost")
                return await call(function, *arguments)

            us.engine._slots[0].call = once
            return await real(job, progress, retried)

        us.engine.search = losing
        exchange = (await ask(cl, world.arguments("known.npz:3")))["exchange"]
        recorded = us.core.journal.find(bytes.fromhex(exchange), "query.answered")
        opened = us.core.journal.open(recorded.index)
        assert opened.private.retried == [0]
    code, shown = recompute(world, exchange, *both(world))
    assert (code, shown["verdict"]) == (0, "reproduced")
