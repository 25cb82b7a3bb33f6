"""Several probes of one query: they are encrypted, searched in one pass and answered together.

How many there are the profile says, so every query under it has one form, whoever is asked for. An answer block has
one part for each probe, in their order, and all parts show a slot's one token.

Source: specs/matching.md, section 5.5.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crypto.errors import BadCiphertext, BadTemplate
from crypto.profiles import Profile

Streams = Callable[[int], Any]


def probes_of(profile: Profile) -> int:
    """How many probes a query under this profile has: one for each rotation of a code, otherwise one."""
    return 1 if profile.code is None else len(profile.code.steps)


def encrypt_all(requester: Any, templates: NDArray[np.int8]) -> bytes:
    """The encrypted probes of a query; templates of shape ``(probes, n)``, each checked."""
    if templates.ndim != 2 or not len(templates):
        raise BadTemplate("the templates of a query have the shape (probes, n)")
    return b"".join(bytes(requester.encrypt(template)) for template in templates)


def prepare_all(responder: Any, query: bytes, probes: int, streams: Streams) -> list[Any]:
    """What a responder makes of each probe of a query, once for all blocks.

    Args:
        responder: Of the requester's keys.
        query: Exactly ``probes * plan.query_bytes``.
        probes: How many the profile asks for.
        streams: The randomness of the probe of a number, for the steps before any block.

    Raises:
        BadCiphertext: The query has another length, or a probe is not in the exact form of the plan.
    """
    size = responder.plan.query_bytes
    if len(query) != probes * size:
        raise BadCiphertext(f"a query of {probes} probe(s) has {probes * size} bytes, not {len(query)}")
    return [
        responder.prepare(query[number * size : (number + 1) * size], streams(number))
        for number in range(probes)
    ]


def answer_all(responder: Any, prepared: Sequence[Any], block: Any, streams: Streams) -> bytes:
    """One block of the answer: the parts of all probes, from one pass over the block.

    Args:
        responder: Of the requester's keys.
        prepared: From ``prepare_all``.
        block: Encoded, or templates.
        streams: The randomness of the probe of a number, for this block.
    """
    own = [streams(number) for number in range(len(prepared))]
    return b"".join(bytes(part) for part in responder.answer_many(prepared, block, own))


def open_all(requester: Any, block: bytes) -> list[tuple[int, int]]:
    """Slot and token of what any probe hit, by slot; which probe it was is not told.

    Raises:
        BadCiphertext: A part is none, or two parts show different tokens of one slot.
    """
    size = requester.plan.answer_block_bytes
    if not block or len(block) % size:
        raise BadCiphertext(f"a block of an answer has {size} bytes for each probe")
    found: dict[int, int] = {}
    for start in range(0, len(block), size):
        for slot, token in requester.open_block(block[start : start + size]).hits():
            if found.setdefault(slot, token) != token:
                raise BadCiphertext("two probes show different tokens of one slot")
    return sorted(found.items())
