"""Either side of a registration ends right after each of its steps: at the next start it goes on, and is there once."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest
from nodes import World, ask, register, statements

from crypto.errors import ConcordatError, LocalFault
from node.audit_files import DirectoryReader
from node.key_decisions import KeyDecisions
from node.offers import Offers
from node.taken import Taken
from protocol.audit.keys import parse_private
from protocol.audit.reconcile import reconcile
from protocol.audit.verify import LedgerInput

STEPS = [
    *((Offers, name) for name in ("begin", "log_offer", "take", "log_opening", "mark_delivered", "finish")),
    *((Taken, name) for name in ("admit", "open", "accept_keys")),
    *((KeyDecisions, name) for name in ("store", "finish")),
]


@pytest.mark.parametrize(("side", "name"), STEPS)
async def test_it_goes_on_where_it_stood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: Any, name: str
) -> None:
    world = World.copied(tmp_path, registered=False)
    step = getattr(side, name)
    died = asyncio.Event()
    loop = asyncio.get_running_loop()

    # What fails on the requester's own side must not look like a fault of the peer.
    dead = LocalFault("dead") if side is Offers else ConcordatError("dead")

    def mortal(*arguments: Any) -> Any:
        if died.is_set():
            raise dead
        step(*arguments)
        loop.call_soon_threadsafe(died.set)
        raise dead

    async with world.daemon("US"), world.daemon("CL") as cl:
        monkeypatch.setattr(side, name, mortal)
        begun = asyncio.create_task(register(cl, "US"))
        await asyncio.wait_for(died.wait(), 20)
        begun.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConcordatError):
            await begun
    monkeypatch.setattr(side, name, step)
    async with world.daemon("US") as us, world.daemon("CL") as cl:
        await asyncio.wait_for(register(cl, "US"), 30)
        assert (await ask(cl, world.arguments("known.npz:3")))["outcome"] == "hit"
        asked, answered = (statements(one.core, keys=True) for one in (cl, us))
    for kind in ("keys.offered", "keys.opened", "keys.accepted"):
        assert asked.count(kind) == 1
    assert "keys.failed" not in asked
    for kind in ("keys.challenged", "keys.registered"):
        assert answered.count(kind) == 1
    key = parse_private((world.root / "auditor").read_text())
    ledgers = {
        country: LedgerInput(
            DirectoryReader(directory / "ledger"), (directory / "ledger" / "policy").read_bytes(), key
        )
        for country, directory in world.directories.items()
    }
    report = reconcile(ledgers)
    assert report.ok, report.to_json()
    assert report.exchanges["keys-registered"] == 1
