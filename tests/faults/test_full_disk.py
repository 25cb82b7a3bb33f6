"""A disk that is full while an answer or a claim is written: it ends as if it never was, or fails on both ledgers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from full_disk import FullDisk
from nodes import World, ask, statements

from crypto.errors import LocalFault
from node import driver
from node.audit_files import DirectoryReader
from node.bodies import Bodies, Kind
from node.claim_records import ClaimRecords
from node.claim_state import ANSWERING, ASKING, ClaimState
from node.claims_taken import ClaimsTaken
from node.core import NodeCore
from node.daemon import Daemon
from node.driver import Driver
from node.kept_queries import KeptQueries
from node.sessions import SessionStore
from protocol import limits
from protocol.audit.keys import parse_private
from protocol.audit.reconcile import reconcile
from protocol.audit.verify import LedgerInput

REFUSED = 3
"""How many writes in a row find no room."""


@dataclass(frozen=True)
class Point:
    """From where on the disk of one node is full.

    Attributes:
        wanted: Which calls of the method, by its arguments after ``self``.
        first: What is refused first; writes before it find room.
        outcome: Of the query.
    """

    what: str
    country: str
    owner: type
    method: str
    first: str
    wanted: Callable[..., bool] = lambda *_: True
    outcome: str = "hit"


def body(kind: Kind, *_: Any) -> bool:
    return kind is Kind.ANSWER


def event(name: str) -> Callable[..., bool]:
    return lambda _, event: type(event).__name__ == name


def entry(kind: str) -> Callable[..., bool]:
    return lambda command: bool(command.kind == kind)


ANSWERS = (
    Point("the answer's file", "US", Bodies, "put", "answers", body, "failed"),
    Point("the list of its blocks", "US", KeptQueries, "keep", "commit", outcome="failed"),
    Point("that it is there", "US", SessionStore, "advance", "commit", event("SearchFinished")),
    Point("query.answered", "US", Driver, "_append", "payload", entry("query.answered")),
    Point("query.answered in the log", "US", Driver, "_append", "log", entry("query.answered")),
    Point("the tiles with it", "US", Driver, "_append", "tiles", entry("query.answered")),
    Point("that it is logged", "US", SessionStore, "advance", "commit", event("EntryAppended")),
    Point("the answer as it arrives", "CL", Bodies, "receive", "answers", body),
    Point("that it has arrived", "CL", SessionStore, "advance", "commit", event("AnswerFetched")),
    Point("its hits", "CL", SessionStore, "advance", "commit", event("AnswerOpened")),
    Point("query.result", "CL", Driver, "_append", "payload", entry("query.result")),
    Point("query.claimed", "US", Driver, "_append", "payload", entry("query.claimed")),
)
CLAIMS = (
    Point("the claim", "CL", ClaimRecords, "_make", "commit"),
    Point("claim.sent", "CL", ClaimRecords, "log_sent", "payload"),
    Point("the claim as it arrives", "US", ClaimsTaken, "_decide", "commit"),
    Point("claim.accepted", "US", ClaimsTaken, "_finish", "payload"),
    Point("claim.accepted in the log", "US", ClaimsTaken, "_finish", "log"),
    Point("the tiles with it", "US", ClaimsTaken, "_finish", "tiles"),
    Point("that it is decided", "US", ClaimsTaken, "_finish", "commit"),
    Point("the verdict", "CL", ClaimRecords, "take", "commit"),
    Point("claim.confirmed", "CL", ClaimRecords, "finish", "payload"),
)


def country_of(holder: Any) -> str:
    core = getattr(holder, "core", None) or getattr(holder, "_core", None)
    root = getattr(holder, "_root", None) or getattr(getattr(holder, "_bodies", None), "_root", None)
    return str(core.country) if core is not None else Path(root).parent.name.upper()


def full_at(world: World, point: Point, patch: pytest.MonkeyPatch) -> FullDisk:
    """The disk that will be full from that point on."""
    patch.setattr(driver, "RETRY_STORAGE_S", 0.05)
    patch.setattr(limits, "LAST_RETRY", 300)
    disk = FullDisk(world.directories[point.country], patch)

    def wanted(holder: Any, *arguments: Any) -> bool:
        return country_of(holder) == point.country and point.wanted(*arguments)

    disk.fill_before(point.owner, point.method, wanted, REFUSED, point.first)
    return disk


async def confirmed(cl: Daemon, exchange: str) -> list[str]:
    """Claim the hit until it is confirmed; the codes of what went wrong before."""
    codes = []
    async with asyncio.timeout(60):
        while True:
            try:
                result = await cl.claiming.run(
                    {"exchange": exchange, "officer": "o", "hit": 1}, lambda _: None
                )
            except LocalFault as error:
                codes.append(error.code)
            else:
                if result["ok"]:
                    return codes


def left_over(world: World) -> list[str]:
    """Files that are under way, or answers that no exchange needs any more."""
    found = [path for one in world.directories.values() for path in (one / "exchange").rglob("*.part")]
    answers = [path for one in world.directories.values() for path in (one / "exchange/answers").iterdir()]
    return [path.name for path in (*found, *answers)]


def checked(world: World) -> dict[str, list[str]]:
    """Both ledgers verify alone and together, nothing is open, nobody is blamed; their statements."""
    key = parse_private((world.root / "auditor").read_text())
    given, said = {}, {}
    for country, directory in world.directories.items():
        with NodeCore.open(directory) as core:
            said[country] = [
                kind for kind in statements(core) if kind.startswith(("query.", "claim.", "peer.s"))
            ]
            assert core.state.count_exchanges()["open"] == 0
            peer = "US" if country == "CL" else "CL"
            assert core.suspension(peer) == ""
            assert [ClaimState(core.state).doubted(role, peer) for role in (ASKING, ANSWERING)] == [0, 0]
        policy = (directory / "ledger" / "policy").read_bytes()
        given[country] = LedgerInput(DirectoryReader(directory / "ledger"), policy, key)
    report = reconcile(given)
    assert report.ok, report.to_json()
    return said


async def settled(*daemons: Daemon) -> None:
    """Nothing is under way any more."""
    async with asyncio.timeout(30):
        for one in daemons:
            while (await one.thread(one.core.state.count_exchanges))["open"]:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("point", ANSWERS, ids=lambda point: point.what)
async def test_a_disk_that_is_full_while_an_answer_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: Point
) -> None:
    world = World.copied(tmp_path)
    disk = full_at(world, point, monkeypatch)
    options = {one: {"files": disk.files} if one == point.country else {} for one in ("US", "CL")}
    async with world.daemon("US", **options["US"]) as us, world.daemon("CL", **options["CL"]) as cl:
        result = await ask(cl, world.arguments("known.npz:5"))
        await settled(us, cl)
        assert left_over(world) == []
    assert len(disk.refused) == REFUSED
    assert disk.refused[0] == point.first
    assert result["outcome"] == point.outcome
    said = checked(world)
    assert said["CL"] == ["query.intent", "query.result"]
    if point.outcome == "hit":
        assert said["US"] == ["query.accepted", "query.answered", "query.claimed"]
    else:
        assert result["reason"] == "peer-failed"
        assert said["US"] == ["query.accepted", "query.failed"]


@pytest.mark.parametrize("point", CLAIMS, ids=lambda point: point.what)
async def test_a_disk_that_is_full_while_a_claim_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: Point
) -> None:
    world = World.copied(tmp_path)
    async with world.daemon("US"), world.daemon("CL") as cl:
        exchange = (await ask(cl, world.arguments("known.npz:5")))["exchange"]
    disk = full_at(world, point, monkeypatch)
    options = {one: {"files": disk.files} if one == point.country else {} for one in ("US", "CL")}
    async with world.daemon("US", **options["US"]) as us, world.daemon("CL", **options["CL"]) as cl:
        codes = await confirmed(cl, exchange)
        await settled(us, cl)
        assert left_over(world) == []
    assert len(disk.refused) == REFUSED
    assert disk.refused[0] == point.first
    assert set(codes) <= {"storage-failed", "ledger-unavailable"}
    assert bool(codes) == (point.what in ("the claim", "claim.sent"))
    assert checked(world) == {
        "CL": ["query.intent", "query.result", "claim.sent", "claim.confirmed"],
        "US": ["query.accepted", "query.answered", "query.claimed", "claim.accepted"],
    }
