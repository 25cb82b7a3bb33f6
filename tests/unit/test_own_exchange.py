"""Entries that belong to no exchange: named alike after a crash, and recognised by nobody else."""

from __future__ import annotations

import hashlib
from pathlib import Path

from node.core import NodeCore
from node.setup import create_node

AGREEMENT = hashlib.sha256(b"an agreement that both signed").digest()


def made(directory: Path, country: str) -> Path:
    create_node(
        directory,
        country=country,
        authority="Example authority",
        endpoint=f"https://{country.lower()}.example:8443",
        listen="https://127.0.0.1:8443",
        auditors=[],
        unlock_file=None,
        workers=1,
        memory_mib=64,
    )
    return directory


def named(directory: Path) -> bytes:
    with NodeCore.open(directory) as core:
        return core.own_exchange("agreement.accepted", AGREEMENT)


def test_two_countries_name_the_same_event_differently_and_each_always_alike(tmp_path: Path) -> None:
    """Equal names would pair their acceptances in an audit without keys, and tell which agreement a leaf is about."""
    chile, states = made(tmp_path / "cl", "CL"), made(tmp_path / "us", "US")
    assert named(chile) == named(chile)
    assert named(chile) != named(states)
    with NodeCore.open(chile) as core:
        names = {core.own_exchange(kind, AGREEMENT) for kind in ("agreement.accepted", "peer.accepted")}
        assert len(names | {core.own_exchange("peer.accepted", bytes(32))}) == 3
