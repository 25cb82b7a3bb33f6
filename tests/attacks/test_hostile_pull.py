"""A node that wants the copy of its ledger that an auditor has fetched before to be another one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ledgers import AUDITOR, REQUESTED, Country, intent, open_country, result, snapshot

from node.audit_files import DirectoryReader
from node.audit_pull import LedgerWentBack, _Copy, _Pull
from node.errors import PeerMisbehaved
from node.peer import Reply
from protocol import tiles
from protocol.audit.beside import BESIDE_NAME
from protocol.audit.verify import verify_ledger
from protocol.payload import payload_path


@dataclass
class FakeNode:
    """Answers an auditor's requests from a ledger's files, with whatever changes it wants."""

    country: Country
    change: Callable[[str, bytes], bytes] = lambda _, data: data
    listing: str | None = None
    asked: list[str] = field(default_factory=list)

    async def send(self, _: Any, __: str, path: str, *, limit: int) -> Reply:
        self.asked.append(path)
        body = self._body(path.removeprefix("/v1/audit/").partition("?")[0])
        return Reply(404, b"") if body is None else Reply(200, self.change(path, body))

    def _body(self, path: str) -> bytes | None:
        files = self.country.files()
        if path == "ledger":
            return files["checkpoint"]
        if path == "beside":
            names = "".join(f"{name}\n" for name in files if BESIDE_NAME.match(name))
            return (self.listing or names).encode()
        if path.startswith("payloads/"):
            first = int(path.rpartition("/")[2]) * tiles.TILE_WIDTH
            last = min(first + tiles.TILE_WIDTH, self.country.ledger.size)
            sealed = [
                files.get(payload_path(self.country.journal.leaf(index).leaf_hash), b"")
                for index in range(first, last)
            ]
            return b"".join(len(one).to_bytes(4, "big") + one for one in sealed)
        return files.get(path.removeprefix("files/"))


async def fetch(node: FakeNode, copy: Path) -> None:
    fields = SimpleNamespace(country="US", endpoint="https://us.example", tls_certificate=b"")
    descriptor: Any = SimpleNamespace(fields=fields, ledger=node.country.ledger.verifier)
    client: Any = node
    await _Pull(client, descriptor, _Copy(copy)).run("security")


def holds(node: FakeNode, copy: Path) -> bool:
    policy = node.country.files()["policy"]
    return verify_ledger(DirectoryReader(copy), policy, AUDITOR).ok


def filled(directory: Path, *numbers: int) -> Country:
    us = open_country(directory, "US")
    for number in numbers:
        us.record(intent(number), REQUESTED)
        us.record(result(number))
    return us


@pytest.fixture
async def pulled(tmp_path: Path) -> tuple[FakeNode, Path]:
    node, copy = FakeNode(filled(tmp_path / "us", 1, 2)), tmp_path / "copy"
    await fetch(node, copy)
    assert holds(node, copy)
    return node, copy


@pytest.mark.parametrize("more", [(), (4, 5)])
async def test_another_history_leaves_the_copy_to_the_byte(
    pulled: tuple[FakeNode, Path], tmp_path: Path, more: tuple[int, ...]
) -> None:
    node, copy = pulled
    before = snapshot(copy)
    fork = FakeNode(filled(tmp_path / "fork", 3, 1, *more))
    with pytest.raises(LedgerWentBack):
        await fetch(fork, copy)
    assert {path: data for path, data in snapshot(copy).items() if not path.startswith("incoming/")} == before
    node.country.record(intent(6), REQUESTED)
    await fetch(node, copy)
    assert holds(node, copy)
    assert not (copy / "incoming").exists()


async def test_a_smaller_history_is_refused_before_anything_is_fetched(
    pulled: tuple[FakeNode, Path], tmp_path: Path
) -> None:
    before = snapshot(pulled[1])
    older = FakeNode(filled(tmp_path / "older", 1))
    with pytest.raises(LedgerWentBack):
        await fetch(older, pulled[1])
    assert len(older.asked) == 1
    assert snapshot(pulled[1]) == before


@pytest.mark.parametrize("part", ["files/tile/entries", "files/tile/0"])
async def test_a_file_of_the_tree_is_not_exchanged(pulled: tuple[FakeNode, Path], part: str) -> None:
    """The same checkpoint again, and one file in other bytes."""
    node, copy = pulled
    before = snapshot(copy)
    node.change = lambda path, data: data[:-1] + b"\0" if part in path else data
    with pytest.raises(LedgerWentBack):
        await fetch(node, copy)
    assert {path: data for path, data in snapshot(copy).items() if not path.startswith("incoming/")} == before


async def test_a_payload_is_not_exchanged_for_one_that_does_not_open(pulled: tuple[FakeNode, Path]) -> None:
    node, copy = pulled
    path = payload_path(node.country.journal.leaf(1).leaf_hash)
    first = (copy / path).read_bytes()
    for attempt in (1, 2):
        other = first[:-40] + bytes([first[-40] ^ attempt]) + first[-39:]
        (node.country.directory / path).write_bytes(other)
        await fetch(node, copy)
        assert not holds(node, copy), "the copy is what the node has"
    (node.country.directory / path).unlink()
    await fetch(node, copy)
    assert not (copy / path).exists()
    assert (copy / "withdrawn" / Path(path).name).read_bytes() == first


async def test_names_of_other_places_are_refused(pulled: tuple[FakeNode, Path]) -> None:
    node, copy = pulled
    before = snapshot(copy)
    digest = "0" * 64
    for name in (
        "../policy",
        f"conflicts/../US-{digest}",
        f"conflicts/US-{digest}/..",
        "policy",
        "checkpoint",
    ):
        node.listing = f"{name}\n"
        with pytest.raises(PeerMisbehaved):
            await fetch(node, copy)
    assert {path: data for path, data in snapshot(copy).items() if not path.startswith("incoming/")} == before
