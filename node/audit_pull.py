"""An auditor's copy of a ledger, fetched from the served node over mutual TLS, and brought up to date later.

Nothing that is fetched is believed: the copy is audited like any other, and an older or another history than the
one that was fetched before is refused.

Source: specs/ledger.md, section "Auditors".
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Final

from crypto import merkle
from node.auditor_routes import SIZE_HEADER, split_payloads
from node.errors import PeerMisbehaved
from node.files import Files
from node.peer import Address, PeerClient
from protocol import tiles
from protocol.audit.beside import BESIDE_NAME, FILES, SEEN
from protocol.audit.head import COSIGNED
from protocol.checkpoint import Checkpoint, open_checkpoint
from protocol.conflict import MAX_CONFLICT_BYTES
from protocol.descriptor import Descriptor
from protocol.messages import ErrorReply
from protocol.payload import MAX_PAYLOAD_BYTES, payload_path

MAX_CHECKPOINT: Final = 64 * 1024
MAX_LISTING: Final = 1024 * 1024
MAX_PAYLOADS: Final = tiles.TILE_WIDTH * (4 + MAX_PAYLOAD_BYTES)
TIMEOUT_S: Final = 60
WITHDRAWN: Final = "withdrawn"
INCOMING: Final = "incoming"


class LedgerWentBack(PeerMisbehaved):
    """The node shows an older or another history than the one this auditor has a copy of."""

    code = "ledger-went-back"


class _Copy:
    """The auditor's directory. What a pull brings lies in ``incoming/`` until it is known to continue the copy:
    a copy is evidence, and the node that it was fetched from may want it changed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._files = Files()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._incoming = directory / INCOMING
        shutil.rmtree(self._incoming, ignore_errors=True)  # of a pull that did not get to its end
        self._written: dict[str, None] = {}
        self._gone: list[bytes] = []

    def held(self, path: str, limit: int) -> bytes | None:
        """A file as an earlier pull left it."""
        return self._files.read(self.directory / path, limit)

    def read(self, path: str, limit: int) -> bytes | None:
        """A file as this pull will leave it."""
        if path in self._written:
            return self._files.read(self._incoming / path, limit)
        return self.held(path, limit)

    def write(self, path: str, data: bytes) -> None:
        """Take a file in; it counts after ``settle``."""
        target = self._incoming / path
        self._files.ensure_directory(target.parent, self.directory)
        self._files.write_atomic(target, data)
        self._written[path] = None

    def withdraw(self, leaf_hash: bytes) -> None:
        """The node has erased what this copy has; it counts after ``settle``."""
        self._gone.append(leaf_hash)

    def settle(self) -> None:
        """Give what was taken in its place, in the order of writing. What it replaces of payloads is kept apart."""
        for leaf_hash in self._gone:
            self._set_aside(leaf_hash.hex(), self.directory / payload_path(leaf_hash))
        for path in self._written:
            source, target = self._incoming / path, self.directory / path
            if path.startswith("payloads/") and self._differs(source, target):
                self._set_aside(target.name, target)
            self._files.ensure_directory(target.parent, self.directory)
            self._files.rename(source, target)
            self._files.sync_directory(target.parent)
        shutil.rmtree(self._incoming, ignore_errors=True)

    def _differs(self, one: Path, other: Path) -> bool:
        there = self._files.read(other, MAX_PAYLOAD_BYTES)
        return there is not None and there != self._files.read(one, MAX_PAYLOAD_BYTES)

    def _set_aside(self, name: str, source: Path) -> None:
        """What the node no longer has: kept apart, so that the copy is what the node has. The first one stays."""
        target = self.directory / WITHDRAWN / name
        if self._files.exists(source) and not self._files.exists(target):
            self._files.ensure_directory(target.parent, self.directory)
            self._files.rename(source, target)
        self._files.remove(source)


class _Pull:
    def __init__(self, client: PeerClient, descriptor: Descriptor, copy: _Copy) -> None:
        fields = descriptor.fields
        self._client = client
        self._address = Address(fields.country, fields.endpoint, fields.tls_certificate)
        self._descriptor = descriptor
        self._copy = copy
        self.fetched = 0

    async def get(self, path: str, limit: int) -> bytes | None:
        """A body; None on 404, ``PeerMisbehaved`` on any other refusal."""
        reply = await self._client.send(self._address, "GET", path, limit=limit)
        if reply.status == 404:
            return None
        if reply.status != 200:
            raise PeerMisbehaved(f"{self._address.country} refuses: {_code(reply.body)} ({reply.status})")
        self.fetched += len(reply.body)
        return reply.body

    async def tile(self, ref: tiles.TileRef, limit: int) -> bytes:
        """A tile or bundle, from the copy if it is full and there; a full one may stand in for a partial one."""
        for one in dict.fromkeys((ref, ref.full)):
            data = self._copy.read(one.path, limit) if one.width == tiles.TILE_WIDTH else None
            if data is None:
                data = await self.get(f"/v1/audit/files/{one.path}", limit)
                if data is not None:
                    if self._copy.held(one.path, limit) not in (None, data):
                        # Of one history a path has one content.
                        raise LedgerWentBack(f"{one.path} is another than in the copy")
                    self._copy.write(one.path, data)
            if data is not None:
                return data
        raise PeerMisbehaved(f"{self._address.country} has no {ref.path}, which its checkpoint covers")

    async def run(self, purpose: str) -> Checkpoint:
        note = await self.get(f"/v1/audit/ledger?purpose={purpose}", MAX_CHECKPOINT)
        if note is None:
            raise PeerMisbehaved(f"{self._address.country} serves no auditors")
        head = open_checkpoint(note, self._descriptor.ledger).checkpoint
        before = self._held()
        if before is not None and before.size > head.size:
            raise LedgerWentBack(f"the copy has {before.size} entries, the node shows {head.size}")
        await self._tree(head)
        self._require_same_history(before, head)
        self._copy.write("checkpoint", note)
        await self._beside(head)
        vkey = f"{self._descriptor.ledger.vkey}\n"
        self._copy.write("vkey", vkey.encode())
        self._copy.settle()
        return head

    async def _tree(self, head: Checkpoint) -> None:
        for level in tiles.levels_of(head.size):
            for ref in tiles.tiles_of(head.size, level):
                await self.tile(ref, tiles.MAX_TILE_BYTES)
        for ref in tiles.tiles_of(head.size, 0):
            bundle = tiles.bundle_at(head.size, ref.index)
            data = await self.tile(bundle, tiles.MAX_BUNDLE_BYTES)
            entries, _ = tiles.split_bundle(data, bundle.width)
            body = await self.get(f"/v1/audit/payloads/{ref.index}", MAX_PAYLOADS)
            for entry, payload in zip(entries, split_payloads(body or b"", bundle.width), strict=False):
                leaf_hash = merkle.leaf_hash(entry)
                if payload:
                    self._copy.write(payload_path(leaf_hash), payload)
                else:
                    self._copy.withdraw(leaf_hash)

    async def _beside(self, head: Checkpoint) -> None:
        """Evidence against peers, successions and witnessed checkpoints; what is named by its digest never changes."""
        listing = await self.get("/v1/audit/beside", MAX_LISTING)
        for path in (listing or b"").decode("ascii", "replace").splitlines():
            if not BESIDE_NAME.match(path):
                raise PeerMisbehaved(f"{self._address.country} names a file that stands beside no ledger")
            replaced = path in FILES or path.startswith(f"{SEEN}/")
            if not replaced and self._copy.read(path, MAX_CONFLICT_BYTES) is not None:
                continue
            data = await self.get(f"/v1/audit/files/{path}", MAX_CONFLICT_BYTES)
            if data is not None and not (path == COSIGNED and self._is_newer(data, head)):
                self._copy.write(path, data)

    def _is_newer(self, note: bytes, head: Checkpoint) -> bool:
        """Cosigned while the tree was fetched: it covers entries that this copy does not have."""
        return open_checkpoint(note, self._descriptor.ledger).checkpoint.size > head.size

    def _held(self) -> Checkpoint | None:
        """The copy's own last checkpoint."""
        held = self._copy.held("checkpoint", MAX_CHECKPOINT)
        return None if held is None else open_checkpoint(held, self._descriptor.ledger).checkpoint

    def _require_same_history(self, before: Checkpoint | None, head: Checkpoint) -> None:
        """The copy's own last checkpoint must be a beginning of what is there now."""
        if before is None:
            return

        def tile(level: int, position: int) -> list[bytes]:
            ref = tiles.tile_at(head.size, level, position)
            data = self._copy.read(ref.path, tiles.MAX_TILE_BYTES)
            if data is None:
                data = self._copy.read(ref.full.path, tiles.MAX_TILE_BYTES) or b""
            return [data[i : i + merkle.HASH_BYTES] for i in range(0, len(data), merkle.HASH_BYTES)]

        try:
            root = (
                merkle.range_root(0, before.size, tiles.tile_hash_reader(tile))
                if before.size
                else merkle.EMPTY_ROOT
            )
        except LookupError:
            root = b""
        if root != before.root:
            raise LedgerWentBack(f"the node shows another history than the copy has at size {before.size}")


def _code(body: bytes) -> str:
    try:
        return ErrorReply.from_bytes(body).code
    except Exception:  # noqa: BLE001 - whatever else it is, it is no reason
        return "no reason given"


async def pull(
    descriptor: Descriptor, tls_key: bytes, certificate: bytes, directory: Path, purpose: str
) -> dict[str, Any]:
    """Fetch a ledger, or what is new in it, into a directory.

    Args:
        descriptor: Of the node; names its endpoint, its certificate and its ledger's key.
        tls_key: The auditor's TLS key (PKCS#8 DER).
        certificate: The auditor's certificate (DER), as the node's configuration names it.
        directory: The copy, new or made by an earlier pull.
        purpose: What the ledger is read for; the node logs it.

    Returns:
        ``size``, ``root`` (hex), ``fetched`` (bytes).

    Raises:
        PeerUnavailable, PeerMisbehaved: The node cannot be reached, or refuses.
        LedgerWentBack: It shows another history than before; the copy stays what it was.
    """
    client = PeerClient(tls_key, certificate, TIMEOUT_S)
    try:
        run = _Pull(client, descriptor, _Copy(directory))
        head = await run.run(purpose)
    finally:
        await client.close()
    return {"size": head.size, "root": head.root.hex(), "fetched": run.fetched}


__all__ = ["SIZE_HEADER", "LedgerWentBack", "pull"]
