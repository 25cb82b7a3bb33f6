"""The opening of an answer under the secret of its query's keys."""

from __future__ import annotations

from typing import Any, Final, Literal

from crypto.errors import BadCiphertext, ConcordatError, InputError, PeerFault
from node.bodies import Kind
from node.claim_limits import doubt_answer
from node.core import NodeCore
from node.driver import CoreThread
from node.engine import Engine
from node.logging import log
from node.own_keys import OwnKeys
from protocol.claims import Hit, pack_hits
from protocol.errors import FailureReason
from protocol.exchange import commands, events
from protocol.exchange.request import QueryRequest

OPEN_AT_ONCE: Final = 20_000_000
"""Bytes of an answer in memory, or one block of it: the responder says how many blocks there are, up to many
gigabytes of them, and may make every slot of them a hit."""
OPEN_ATTEMPTS: Final = 3


class AnswerOpening:
    """Opens the answers to this node's queries; one that is not honest is doubted."""

    def __init__(self, core: NodeCore, thread: CoreThread, engine: Engine, own_keys: OwnKeys) -> None:
        self._core = core
        self._thread = thread
        self._engine = engine
        self._own_keys = own_keys

    async def open(self, command: commands.OpenAnswer, request: QueryRequest) -> Any:
        """Piece by piece; the hits, or why there are none to be had."""
        key = command.exchange_id
        for attempt in range(1, OPEN_ATTEMPTS + 1):
            try:
                profile = await self._thread(self._core.profiles.named, request.profile)
                secret = await self._thread(
                    self._own_keys.secret_of, request.evaluation_keys, request.responder
                )
                size, begin, found = request.answer_block_bytes, 0, list[Hit]()
                while True:
                    piece = (Kind.ANSWER, command.answer_hash, begin, max(1, OPEN_AT_ONCE // size) * size)
                    part = await self._thread(self._core.bodies.read_part, *piece)
                    if not part:
                        return events.AnswerOpened(len(found), pack_hits(found))
                    blocks = [part[start : start + size] for start in range(0, len(part), size)]
                    try:
                        opened = await self._engine.open_answer(profile.search, secret, blocks)
                    except BadCiphertext as error:
                        return await self._rejected(
                            key, request.responder, FailureReason.BAD_ANSWER, error.code
                        )
                    for block, hits in enumerate(opened, begin // size):
                        found += [Hit(block, slot, token) for slot, token in hits]
                    if len(found) > self._core.config.max_hits:
                        return await self._rejected(
                            key, request.responder, FailureReason.TOO_MANY_HITS, "too-many-hits"
                        )
                    begin += len(part)
            except ConcordatError as error:
                log("an answer was not opened", level="error", exchange=key, code=error.code)
                if attempt == OPEN_ATTEMPTS or isinstance(error, PeerFault | InputError):
                    return events.AnswerUnusable(FailureReason.INTERNAL)
        return None

    async def _rejected(
        self,
        key: bytes,
        peer: str,
        reason: Literal[FailureReason.BAD_ANSWER, FailureReason.TOO_MANY_HITS],
        code: str,
    ) -> events.AnswerUnusable:
        """An answer that is not what an honest search leaves: nothing is read from it, and the peer is doubted."""
        log("an answer is not believed", level="error", exchange=key, peer=peer, code=code)
        await self._thread(doubt_answer, self._core, peer)
        return events.AnswerUnusable(reason)
