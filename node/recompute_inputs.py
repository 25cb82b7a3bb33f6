"""From what nodes handed over to the inputs of a recomputation: opens payloads, reads bodies and gallery blocks.

Gallery blocks are sealed under the responder's storage key, which is read from its directory as the node itself does.

Source: specs/ledger.md, section "Recomputing an answer".
"""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any, Final

from crypto import merkle
from crypto.errors import BadEncoding, BadProof, SealBroken
from crypto.note import parse_note
from crypto.profiles import Profile, load_profile
from crypto.templates import Template
from node.audit_files import DirectoryReader, NoSuchEntry, prove
from node.blocks import BlockRef, load_block
from node.config import NodePaths
from node.errors import BadConfig, PeerMisbehaved
from node.gallery_commitment import HeldState
from node.keys import load_keys
from node.recompute import Gallery, Inputs, Side
from protocol.audit.reader import LedgerReader
from protocol.checkpoint import parse_checkpoint_text
from protocol.exchange.checks import own_query
from protocol.leaf import Leaf
from protocol.limits import MAX_QUERY_CIPHERTEXT
from protocol.payload import OpenedPayload, PayloadBox, open_as_auditor

MAX_KEYS_BYTES: Final = 1 << 30

Ask = Callable[[Path, dict[str, Any]], dict[str, Any]]
"""Has the node of a directory log the reading and give what there is; see ``node.recompute_sources.sources``."""


def read_inputs(
    exchange_id: bytes,
    ask: Ask,
    responder: tuple[Path, bytes] | None,
    requester: tuple[Path, bytes] | None,
    answer: Path | None = None,
) -> tuple[Inputs, dict[str, int]]:
    """Ask the nodes and open what they give.

    Args:
        exchange_id: Of the query.
        ask: How a node is asked.
        responder: Its directory, and the private key of an auditor of it.
        requester: The same of the other side.
        answer: A file with the blocks of an answer that was computed again at the responder's.

    Returns:
        The inputs, and by country the index of the entry that says what was read.

    Raises:
        ConcordatError: A node refuses, or a payload opens to something else than was committed to.
    """
    try:
        return _read(exchange_id, ask, responder, requester, answer)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        raise PeerMisbehaved("a node gives something else than it was asked for") from None


def _read(
    exchange_id: bytes,
    ask: Ask,
    responder: tuple[Path, bytes] | None,
    requester: tuple[Path, bytes] | None,
    answer: Path | None,
) -> tuple[Inputs, dict[str, int]]:
    arguments: dict[str, Any] = {"exchange": exchange_id.hex()}
    theirs = None if responder is None else ask(responder[0], arguments)
    query = _query_bytes(theirs)
    if query is not None:
        arguments = {**arguments, "evaluation_keys": own_query(query).evaluation_keys.hex()}
    ours = None if requester is None else ask(requester[0], arguments)
    query = query or _query_bytes(ours)
    given = theirs or {}
    inputs = Inputs(
        exchange_id,
        None if theirs is None or responder is None else _side(theirs, *responder),
        None if ours is None or requester is None else _side(ours, *requester),
        profile=_profile(theirs) or _profile(ours),
        query=query,
        ciphertext=_body(given.get("ciphertext"), MAX_QUERY_CIPHERTEXT),
        evaluation_keys=_body(given.get("evaluation_keys"), MAX_KEYS_BYTES),
        block_hashes=_hashes(given.get("block_hashes")),
        gallery=None if responder is None else _gallery(responder[0], given.get("gallery"), query),
        answer=None if answer is None else _blocks_of(answer),
    )
    return inputs, {one["country"]: one["reading"] for one in (theirs, ours) if one is not None}


def _query_bytes(given: dict[str, Any] | None) -> bytes | None:
    text = None if given is None else given["query"]
    return None if text is None else base64.b64decode(text)


def _profile(given: dict[str, Any] | None) -> Profile | None:
    text = None if given is None else given["profile"]
    return None if text is None else load_profile(base64.b64decode(text))


def _hashes(texts: list[str] | None) -> list[bytes] | None:
    return None if texts is None else [bytes.fromhex(text) for text in texts]


def _side(given: dict[str, Any], directory: Path, key: bytes) -> Side:
    """Open what the node gave; an entry that its ledger does not have opens as well, and says anything."""
    opened: list[OpenedPayload] = []
    closed, foreign = 0, []
    paths = NodePaths(directory)
    paths.read_config()
    ledger = DirectoryReader(paths.ledger)
    for one in given["entries"]:
        data = base64.b64decode(one["leaf"])
        if not _is_logged(ledger, one["index"], data):
            foreign.append(int(one["index"]))
        if one["payload"] is None:
            closed += 1
            continue
        leaf = Leaf.from_bytes(data)
        box = PayloadBox.from_bytes(base64.b64decode(one["payload"]))
        try:
            opened.append(open_as_auditor(leaf, box, key))
        except SealBroken:
            closed += 1
    return Side(given["country"], opened, closed, tuple(foreign))


def _is_logged(ledger: LedgerReader, index: int, entry: bytes) -> bool:
    """Whether the ledger beside the node has this entry there, under the checkpoint that an audit verifies."""
    try:
        proof = prove(ledger, index)
        head = parse_checkpoint_text(parse_note(proof.checkpoint).text)
        merkle.verify_inclusion(merkle.leaf_hash(entry), index, head.size, proof.path, head.root)
    except (BadEncoding, BadProof, NoSuchEntry, LookupError):
        return False
    return True


def _open(path: Path) -> BufferedReader:
    """A regular file for reading; anything else, which may never end or never begin, is an ``OSError``."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(None, "not a regular file")
    return os.fdopen(descriptor, "rb")


def _body(path: str | None, limit: int) -> bytes | None:
    """A body that the node named; None if it went meanwhile."""
    if path is None:
        return None
    try:
        with _open(Path(path)) as file:
            return None if os.fstat(file.fileno()).st_size > limit else file.read(limit)
    except OSError:
        return None


def _gallery(directory: Path, given: dict[str, Any] | None, query: bytes | None) -> Gallery | None:
    if given is None or query is None:
        return None
    profile = own_query(query).profile
    hashes = _hashes(given["hashes"]) or []
    state = HeldState(
        given["modality"], profile, bytes.fromhex(given["salt"]), given["records"], tuple(hashes)
    )
    # What a block must hold is what the commitment says, not what the node says beside it.
    refs = [
        BlockRef(path, state.modality, profile, bytes.fromhex(version), index, n, hashes[index])
        for path, version, index, n, _ in given["blocks"]
    ]
    paths = NodePaths(directory)
    config = paths.read_config()
    storage_key = load_keys(paths.keys, paths.root / config.unlock_file).storage

    def load(number: int) -> Template:
        return load_block(refs[number], storage_key)

    return Gallery(state, [ref.index for ref in refs], load)


def _blocks_of(path: Path) -> Callable[[int], Iterator[bytes]]:
    """The blocks of an answer in a file, of a length each."""

    def blocks(length: int) -> Iterator[bytes]:
        try:
            with _open(path) as file:
                while block := file.read(length):
                    yield block
        except OSError as error:
            raise BadConfig(f"answer {path}: {error.strerror}") from None

    return blocks
