"""Where peers claim hits, over HTTP.

Source: specs/wire.md, sections "Endpoints" and "Claims".
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from node.claims_taken import ClaimsTaken
from node.key_routes import read_body
from node.peer import MEDIA_TYPE
from protocol import limits
from protocol.errors import UnknownExchange

Handler = Callable[[web.Request, str], Awaitable[web.StreamResponse]]
_HEX16: Final = re.compile(r"[0-9a-f]{32}\Z")


class ClaimRoutes:
    """The routes of one node."""

    def __init__(self, claims: ClaimsTaken) -> None:
        self._claims = claims
        self.table: tuple[tuple[str, str, Handler], ...] = (("POST", "/v1/queries/{id}/claims", self._claim),)

    async def _claim(self, request: web.Request, peer: str) -> web.StreamResponse:
        name = request.match_info["id"]
        if not _HEX16.match(name):
            raise UnknownExchange("exchanges are named by 32 lower-case hexadecimal digits")
        body = await read_body(request, limits.MAX_SUBMISSION)
        reply = await self._claims.take(peer, bytes.fromhex(name), body)
        return web.Response(body=reply, content_type=MEDIA_TYPE)
