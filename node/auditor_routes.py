"""What auditors may fetch from a served node: its ledger, and nothing else. Peers may not, and auditors may not
do what peers do: each role has its own pinned certificates.

The reading is logged before the first byte of it is served, and covers what the ledger was at that moment.

Source: specs/ledger.md, section "Auditors".
"""

from __future__ import annotations

import base64
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from aiohttp import web

from crypto.errors import BadEncoding, ConcordatError, LocalFault, PeerFault
from node.config import AuditorConfig
from node.core import NodeCore
from node.driver import CoreThread
from node.errors import UnknownCertificate
from node.logging import log
from node.records import PURPOSES, log_reading
from protocol import limits, tiles
from protocol.audit.beside import BESIDE_NAME, DIRECTORIES, FILES, SEEN
from protocol.errors import BadMessage

READING_LIFE_MS: Final = limits.DAY
"""How long after an announced reading its files may be fetched."""
SIZE_HEADER: Final = "Concordat-Reading"
_LENGTH_BYTES: Final = 4
_INDEX = re.compile(r"(0|[1-9][0-9]{0,15})\Z")

Respond = Callable[[ConcordatError], web.Response]
Handler = Callable[[web.Request, AuditorConfig], Awaitable[web.StreamResponse]]


class ReadingNotAnnounced(PeerFault):
    """Files of the ledger were asked for before the reading was announced and logged."""

    code = "reading-not-announced"


class AuditorRoutes:
    """Routes below ``/v1/audit``."""

    def __init__(self, core: NodeCore, thread: CoreThread) -> None:
        self._core = core
        self._thread = thread
        self._auditors = {
            base64.b64decode(one.certificate): one for one in core.config.auditors if one.certificate
        }
        self._readings: dict[str, tuple[int, int]] = {}

    @property
    def certificates(self) -> list[bytes]:
        """The certificates (DER) to be trusted for this role."""
        return list(self._auditors)

    def add_to(self, app: web.Application, respond: Respond) -> None:
        """Add the routes; ``respond`` turns a typed error into the documented reply."""
        for path, handler in (
            ("/v1/audit/ledger", self._announce),
            ("/v1/audit/beside", self._beside),
            ("/v1/audit/files/{path:.+}", self._file),
            ("/v1/audit/payloads/{bundle}", self._payloads),
        ):
            app.router.add_get(path, self._guarded(handler, respond))

    def _guarded(
        self, handler: Handler, respond: Respond
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def guarded(request: web.Request) -> web.StreamResponse:
            try:
                return await handler(request, self._auditor(request))
            except ConcordatError as error:
                log("auditor refused", level="warning", code=error.code, step=request.path)
                return respond(error)
            except OSError as error:
                log("ledger not readable", level="error", reason=type(error).__name__)
                return respond(LocalFault("the ledger cannot be read"))

        return guarded

    def _auditor(self, request: web.Request) -> AuditorConfig:
        shown = None if request.transport is None else request.transport.get_extra_info("ssl_object")
        certificate = b"" if shown is None else shown.getpeercert(True) or b""
        auditor = self._auditors.get(certificate)
        if auditor is None:
            raise UnknownCertificate("the certificate belongs to no auditor of this node")
        return auditor

    def _size(self, auditor: AuditorConfig) -> int:
        size, since_ms = self._readings.get(auditor.key, (0, 0))
        if self._core.clock() - since_ms > READING_LIFE_MS:
            raise ReadingNotAnnounced("announce the reading first: GET /v1/audit/ledger")
        return size

    async def _announce(self, request: web.Request, auditor: AuditorConfig) -> web.StreamResponse:
        purpose = request.query.get("purpose", "")
        if purpose not in PURPOSES:
            raise BadMessage(f"purpose: one of {', '.join(PURPOSES)} is expected")
        entry, size, note = await self._thread(self._log, auditor, purpose)
        self._readings[auditor.key] = (size, self._core.clock())
        log("ledger read by an auditor", size=size)
        return web.Response(
            body=note, content_type="text/plain", charset="utf-8", headers={SIZE_HEADER: str(entry)}
        )

    def _log(self, auditor: AuditorConfig, purpose: str) -> tuple[int, int, bytes]:
        size = self._core.journal.ledger.size
        entry = log_reading(self._core, auditor, purpose, "pull", 0, size).index
        head, note = self._core.journal.ledger.published()
        return entry, head.size, note

    async def _file(self, request: web.Request, auditor: AuditorConfig) -> web.StreamResponse:
        """A tile or a bundle of the tree, or a file beside it, by its path."""
        size = self._size(auditor)
        path = request.match_info["path"]
        if BESIDE_NAME.match(path):
            kept = await self._thread(_read, self._core.journal.ledger.directory / path)
            return web.Response(status=404) if kept is None else web.Response(body=kept)
        try:
            ref = tiles.parse_path(path)
        except BadEncoding as error:
            raise BadMessage(str(error)) from None
        if ref.index * tiles.TILE_WIDTH << (tiles.TILE_HEIGHT * (ref.level or 0)) >= size:
            return web.Response(status=404)
        data = await self._thread(_read, self._core.journal.ledger.directory / ref.path)
        return web.Response(status=404) if data is None else web.Response(body=data)

    async def _beside(self, request: web.Request, auditor: AuditorConfig) -> web.StreamResponse:
        """The paths of all files beside the tree that an audit reads, one a line."""
        self._size(auditor)
        paths = await self._thread(_files_beside, self._core.journal.ledger.directory)
        return web.Response(text="".join(f"{path}\n" for path in paths))

    async def _payloads(self, request: web.Request, auditor: AuditorConfig) -> web.StreamResponse:
        """The payloads of the entries of one bundle: each with its length before it, 0 where there is none."""
        size = self._size(auditor)
        bundle = request.match_info["bundle"]
        if not _INDEX.match(bundle):
            raise BadMessage("a bundle is named by its number")
        first = int(bundle) * tiles.TILE_WIDTH
        if first >= size:
            return web.Response(status=404)
        last = min(first + tiles.TILE_WIDTH, size)
        return web.Response(body=await self._thread(self._sealed, first, last))

    def _sealed(self, first: int, last: int) -> bytes:
        parts = []
        for index in range(first, last):
            box = self._core.journal.sealed(index)
            data = b"" if box is None else box.to_bytes()
            parts += [len(data).to_bytes(_LENGTH_BYTES, "big"), data]
        return b"".join(parts)


def _files_beside(ledger: Path) -> list[str]:
    found = [name for name in FILES if (ledger / name).is_file()]
    for name in (*DIRECTORIES, SEEN):
        if (ledger / name).is_dir():
            found += sorted(f"{name}/{one.name}" for one in (ledger / name).iterdir())
    return [path for path in found if BESIDE_NAME.match(path)]


def split_payloads(data: bytes, count: int) -> list[bytes]:
    """The payloads in a reply, empty where there is none; raises ``BadMessage`` on anything but ``count``."""
    parts: list[bytes] = []
    at = 0
    while len(parts) < count and at + _LENGTH_BYTES <= len(data):
        end = at + _LENGTH_BYTES + int.from_bytes(data[at : at + _LENGTH_BYTES], "big")
        if end > len(data):
            break
        parts.append(data[at + _LENGTH_BYTES : end])
        at = end
    if len(parts) != count or at != len(data):
        raise BadMessage("payloads: another number or length than the ledger has")
    return parts


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(tiles.MAX_BUNDLE_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return None
