"""What registering a key set by cut-and-choose costs both sides, without network and ledger."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from crypto.hitsearch import Requester, Responder, plan_for
from crypto.hitsearch.made_again import keys_hash
from node.profiles import builtin
from protocol.limits import KEY_SETS

LIMIT_S = 180.0


@pytest.mark.bench
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["embedding-128", "embedding-256"])
def test_a_registration(book: Any, name: str) -> None:
    search = builtin(name).search
    plan = plan_for(search)
    secrets = [os.urandom(32) for _ in range(KEY_SETS)]
    start = time.process_time()
    names = [keys_hash(search, secret) for secret in secrets]
    offered = time.process_time() - start
    start = time.process_time()
    assert [keys_hash(search, secret) for secret in secrets[1:]] == names[1:]
    Responder(plan, Requester.load(plan, secrets[0]).evaluation_keys())
    checked = time.process_time() - start
    figures: dict[str, Any] = {
        "sets": KEY_SETS,
        "making them, core-s": offered,
        "making all but one again and loading that one, core-s": checked,
        "limit for both sides together, core-s": LIMIT_S,
        "evaluation keys, bytes": plan.keys_bytes,
    }
    book.write(f"registration of a key set, {name}", figures)
    assert offered + checked < LIMIT_S
