"""A requester sends one ciphertext in several exchanges: each must start from fresh randomness of the responder."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import pytest

from crypto.contexts import Context, hash_fields
from crypto.hitsearch.masks import MaskStream
from crypto.hitsearch.parameters import plan_for
from crypto.hitsearch.plain import PlainRequester
from node import engine_worker as worker
from node.profiles import builtin

SEARCH = builtin("embedding-128").search


def test_each_attempt_is_prepared_anew_and_its_blocks_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []
    used: list[object] = []

    class Responder:
        def __init__(self, plan: Any, keys: bytes) -> None:
            self.plan = plan

        def prepare(self, query: bytes, stream: MaskStream) -> object:
            made.append(object())
            return made[-1]

        def answer_many(self, prepared: list[object], block: Any, streams: Any) -> list[bytes]:
            used.extend(prepared)
            return [b""]

    scheme = worker.Scheme(plan_for, PlainRequester, Responder, MaskStream)
    state = worker._Worker(scheme, bytes(32), mmap.mmap(-1, 1), worker.Budget(0), worker.Budget(1 << 40))
    monkeypatch.setattr(worker, "_worker", state)
    monkeypatch.setattr(worker, "load_block", lambda block, key: None)
    worker._plan.cache_clear()
    keys = bytes(plan_for(SEARCH).keys_bytes)
    (tmp_path / "keys").write_bytes(keys)

    query = bytes(plan_for(SEARCH).query_bytes)

    class Block:
        index = 0

    def search(seed: bytes, exchange: bytes) -> None:
        fixed = (SEARCH, tmp_path / "keys", hash_fields(Context.EVALUATION_KEYS, keys), query)
        worker.search_block(*fixed, 1, Block(), seed, exchange, 0, None)  # type: ignore[arg-type]

    search(bytes([1]) * 32, bytes(16))
    search(bytes([1]) * 32, bytes(16))
    search(bytes([2]) * 32, bytes([1]) * 16)
    assert used == [made[0], made[0], made[1]]
    worker._plan.cache_clear()
