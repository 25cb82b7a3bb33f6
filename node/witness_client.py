"""Asking witnesses for their cosignatures on a checkpoint of a ledger.

Source: C2SP tlog-witness; specs/ledger.md, section "The witness endpoint".
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from crypto import merkle
from crypto.errors import BadEncoding, BadSignature, ConcordatError, LocalFault, PeerFault
from crypto.note import (
    MAX_NOTE_BYTES,
    MAX_SIGNATURES,
    Note,
    NoteSignature,
    WitnessVerifier,
    cosignature_time,
    open_note,
    parse_note,
    parse_signature_lines,
)
from crypto.textforms import decode_decimal
from node.audit_files import DirectoryReader, NoSuchEntry, hash_reader
from protocol.checkpoint import parse_checkpoint_text
from protocol.log_policy import LogPolicy, parse_policy
from protocol.witness import SIZE_TYPE, AddCheckpoint

MAX_TRIES: Final = 3
"""The size on record may move between two requests when several processes of one operator ask."""

ConsistencyProof = Callable[[int, int], Sequence[bytes]]
"""``prove(old_size, new_size)`` of the ledger."""


class WitnessUnavailable(PeerFault):
    """A witness that is down, stopped half-way, answered too late, or cannot do it now."""

    code = "witness-unavailable"


class WitnessRefused(PeerFault):
    """A witness that does not cosign.

    Attributes:
        status: 400, 403, 404 or 422 by C2SP tlog-witness.
    """

    code = "witness-refused"

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class WitnessMisbehaved(PeerFault):
    """A reply that is not in the form of the protocol, or not signed by the witness's keys."""

    code = "witness-misbehaved"


class WitnessAhead(LocalFault):
    """The witness says that it cosigned a larger tree of ours: this copy of the ledger may be an older one.

    Attributes:
        seen_size: The size that it says.
    """

    code = "witness-ahead"

    def __init__(self, message: str, seen_size: int) -> None:
        super().__init__(message)
        self.seen_size = seen_size


@dataclass(frozen=True)
class Witness:
    """Where a witness takes checkpoints, and all its keys that are known here."""

    url: str
    keys: tuple[WitnessVerifier, ...]


def witnesses_of(policy: LogPolicy) -> tuple[Witness, ...]:
    """The witnesses of a policy that have a URL; lines with the same one are keys of one witness."""
    keys: dict[str, list[WitnessVerifier]] = {}
    for name, url in policy.urls.items():
        keys.setdefault(url.rstrip("/"), []).append(policy.witnesses[name])
    return tuple(Witness(url, tuple(its)) for url, its in keys.items())


def read_cosignatures(text: bytes, body: bytes, keys: Sequence[WitnessVerifier]) -> tuple[NoteSignature, ...]:
    """The good cosignatures of known keys in a witness's reply; lines of unknown keys are left out.

    Raises:
        WitnessMisbehaved: Malformed, a known key's signature fails, without a time, or no known key signed.
    """
    try:
        note = open_note(Note(text, parse_signature_lines(body)).to_bytes(), keys)
    except (BadEncoding, BadSignature) as error:
        raise WitnessMisbehaved(f"a witness's reply: {error}") from None
    if any(cosignature_time(line.payload) == 0 for line in note.verified):
        raise WitnessMisbehaved("a witness's reply: a cosignature without a time")
    return note.verified


def read_size(body: bytes) -> int:
    """The size in the body of a 409; ``WitnessMisbehaved`` unless it is in its one form."""
    text, newline, rest = body.partition(b"\n")
    try:
        size = decode_decimal(text.decode("ascii"), "size on record")
    except (BadEncoding, UnicodeDecodeError):
        newline = b""
    if not newline or rest:
        raise WitnessMisbehaved("a witness's reply: not the size on record")
    return size


class WitnessClient:
    """Requests to witnesses."""

    def __init__(self, timeout_s: float = 10) -> None:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            auto_decompress=False,
            headers={"Accept-Encoding": "identity"},
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def cosign(
        self, witness: Witness, note: bytes, prove: ConsistencyProof, old_size: int = 0
    ) -> tuple[NoteSignature, ...]:
        """Ask one witness to cosign a checkpoint.

        Args:
            witness: Whom.
            note: The checkpoint, signed by its log.
            prove: Makes consistency proofs of the ledger.
            old_size: The size that the witness is thought to have; it says so if it has another.

        Raises:
            WitnessUnavailable, WitnessRefused, WitnessMisbehaved: As they say.
            WitnessAhead: It says that it has a larger tree than this checkpoint.
        """
        text = parse_note(note).text
        size = parse_checkpoint_text(text).size
        for _ in range(MAX_TRIES):
            request = AddCheckpoint(old_size, tuple(prove(old_size, size)), note)
            status, media_type, body = await self._post(witness, request.to_bytes())
            if status == 200:
                return read_cosignatures(text, body, witness.keys)
            if status != 409:
                break
            if media_type != SIZE_TYPE:
                raise WitnessMisbehaved("a witness's reply: a conflict without the size on record")
            old_size = read_size(body)
            if old_size > size:
                raise WitnessAhead(
                    f"{witness.url} has {old_size} entries on record, we have {size}", old_size
                )
        if status in (400, 403, 404, 422):
            raise WitnessRefused(f"{witness.url} does not cosign: status {status}", status)
        raise WitnessUnavailable(f"{witness.url} answers with status {status}")

    async def collect(
        self, policy: LogPolicy, note: bytes, prove: ConsistencyProof
    ) -> tuple[bytes, dict[str, ConcordatError]]:
        """Ask all witnesses of a policy at once.

        Returns:
            The checkpoint with every cosignature that came (older ones of the same keys are replaced), and
            the error of each witness that gave none, by URL. Whether it is enough, the policy says.
        """
        asked = witnesses_of(policy)
        replies = await asyncio.gather(
            *(self.cosign(one, note, prove) for one in asked), return_exceptions=True
        )
        errors: dict[str, ConcordatError] = {}
        lines: list[NoteSignature] = []
        for one, reply in zip(asked, replies, strict=True):
            if isinstance(reply, ConcordatError):
                errors[one.url] = reply
            elif isinstance(reply, BaseException):
                raise reply
            else:
                lines += reply
        parsed = parse_note(note)
        all_lines = {(line.name, line.key_id): line for line in (*parsed.signatures, *lines)}
        return Note(parsed.text, tuple(all_lines.values())[:MAX_SIGNATURES]).to_bytes(), errors

    async def _post(self, witness: Witness, body: bytes) -> tuple[int, str, bytes]:
        try:
            async with self._session.post(
                f"{witness.url.rstrip('/')}/add-checkpoint",
                data=body,
                headers={"Content-Type": "text/plain; charset=utf-8"},
                allow_redirects=False,
            ) as response:
                data = bytearray()
                async for chunk in response.content.iter_chunked(16 * 1024):
                    data += chunk
                    if len(data) > MAX_NOTE_BYTES:
                        raise WitnessMisbehaved(
                            f"{witness.url} sent a reply of more than {MAX_NOTE_BYTES} bytes"
                        )
                return response.status, response.content_type, bytes(data)
        except (aiohttp.ClientError, aiohttp.InvalidURL, TimeoutError, OSError) as error:
            raise WitnessUnavailable(f"{witness.url} does not answer ({type(error).__name__})") from None


async def ask_for_ledger(ledger: Path, policy_data: bytes) -> dict[str, Any]:
    """Have the checkpoint of a ledger's directory cosigned by the witnesses of a policy.

    Returns:
        ``ok`` (the log's own signatures and the quorum are there), ``missing`` (why not), ``checkpoint`` (the
        cosigned note), ``errors`` (code by URL).

    Raises:
        BadPolicy, NoSuchEntry, BadEncoding: The policy or the ledger cannot be used.
    """
    policy = parse_policy(policy_data)
    reader = DirectoryReader(ledger)
    note = reader.read("checkpoint", MAX_NOTE_BYTES)
    if note is None:
        raise NoSuchEntry(f"{ledger} has no checkpoint")
    size = parse_checkpoint_text(parse_note(note).text).size
    hashes = hash_reader(reader, size)

    def prove(old_size: int, new_size: int) -> Sequence[bytes]:
        return merkle.consistency_proof(old_size, new_size, hashes)

    client = WitnessClient()
    try:
        cosigned, errors = await client.collect(policy, note, prove)
    finally:
        await client.close()
    missing = policy.shortfall(cosigned)
    return {
        "ok": missing is None,
        "missing": missing,
        "checkpoint": cosigned.decode(),
        "errors": {url: error.code for url, error in errors.items()},
    }
