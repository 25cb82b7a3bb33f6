"""What a node hands to an auditor who computes an answer again: entries, sealed as they lie there, and paths.

The node logs the reading first. It opens no payload for the auditor; what it says beside the entries is checked
against them.

Source: specs/ledger.md, section "Recomputing an answer".
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, Final

from crypto.errors import ConcordatError
from node import records
from node.bodies import Kind
from node.config import AuditorConfig
from node.core import NodeCore
from node.errors import NoSuchGallery
from node.key_state import ANSWERING, ASKING, KeyState
from node.sessions import place
from protocol.exchange.checks import own_query
from protocol.exchange.requester import RequesterSession
from protocol.exchange.responder import ResponderSession
from protocol.messages import Query, message_hash
from protocol.statements_keys import KeysAccepted, KeysRegistered

_KEPT_BY: Final = {ASKING: "keys.accepted", ANSWERING: "keys.registered"}


def sources(
    core: NodeCore, exchange_id: bytes, auditor: AuditorConfig, purpose: str, evaluation_keys: bytes | None
) -> dict[str, Any]:
    """Log the reading, then give what there is of one exchange.

    Args:
        core: The open node.
        exchange_id: Of the query.
        auditor: Who reads.
        purpose: What for.
        evaluation_keys: Hash of the keys whose registration is wanted; None to take it from the query.

    Returns:
        ``country``; ``reading``, the index of the entry that says so; ``entries`` with ``index``, ``leaf``, ``payload``
        (None if it was erased); ``query``, the signed message; ``profile``; ``ciphertext`` and
        ``evaluation_keys``, paths of bodies; ``block_hashes``; ``gallery``.
        None is what the node does not have (any more).

    Raises:
        NoSuchExchange: The ledger has no entry of it.
    """
    indices = core.journal.entries_of(exchange_id)
    if not indices:
        raise records.NoSuchExchange("the ledger has no entry of this exchange")
    envelope = _envelope(core, exchange_id)
    query = None if envelope is None else own_query(envelope)
    wanted = evaluation_keys or (None if query is None else query.evaluation_keys)
    indices += [] if wanted is None else _registrations(core, wanted)
    reading = records.log_reading(core, auditor, purpose, "recompute", indices[0], len(indices)).index
    kept = None if envelope is None else core.kept.find(message_hash(envelope))
    return {
        "country": core.country,
        "reading": reading,
        "entries": [_sealed(core, index) for index in indices],
        "query": _text(envelope),
        "profile": None if query is None else _profile(core, query.profile),
        "ciphertext": None if query is None else _path(core, Kind.CIPHERTEXT, query.ciphertext_hash),
        "evaluation_keys": None if wanted is None else _path(core, Kind.KEYS, wanted),
        "block_hashes": None if kept is None else [one.hex() for one in kept.block_hashes],
        "gallery": None if query is None else _gallery(core, query),
    }


def _text(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def _envelope(core: NodeCore, exchange_id: bytes) -> bytes | None:
    """The signed query of this exchange that this node's own ledger names."""
    named = set()
    for kind in ("query.intent", "query.accepted"):
        found = core.journal.find(exchange_id, kind)
        opened = None if found is None else core.journal.open(found.index)
        named.add(getattr(None if opened is None else opened.shared, "query_hash", None))
    asked: list[tuple[str, bytes, Any]] = [("q", exchange_id, RequesterSession)]
    asked += [("r", key, ResponderSession) for _, key in core.state.asked_under(exchange_id)]
    for role, key, session in asked:
        row = core.state.exchange(key, role)
        if row is None:
            continue
        record = session.read_record(core.open_sealed(place(role, key), row.snapshot))
        if record.query is not None and message_hash(record.query) in named:
            return bytes(record.query)
    return None


def _registrations(core: NodeCore, keys: bytes) -> list[int]:
    """The entries by which these keys came into use."""
    found = []
    for role, kind in _KEPT_BY.items():
        for row in KeyState(core.state).registrations(role):
            entry = core.journal.find(row.exchange_id, kind)
            opened = None if entry is None else core.journal.open(entry.index)
            said = None if opened is None else opened.shared
            if entry and isinstance(said, KeysAccepted | KeysRegistered) and said.evaluation_keys == keys:
                found.append(entry.index)
    return found


def _sealed(core: NodeCore, index: int) -> dict[str, Any]:
    box = core.journal.sealed(index)
    return {
        "index": index,
        "leaf": _text(core.journal.leaf(index).to_bytes()),
        "payload": _text(None if box is None else box.to_bytes()),
    }


def _profile(core: NodeCore, digest: bytes) -> str | None:
    try:
        return _text(core.profiles.named(digest).to_bytes())
    except ConcordatError:
        return None


def _path(core: NodeCore, kind: Kind, name: bytes) -> str | None:
    path: Path = core.bodies.path(kind, name)
    return str(path) if path.exists() else None


def _gallery(core: NodeCore, query: Query) -> dict[str, Any] | None:
    """The gallery that counts now: its commitment says whether it is the one that was searched."""
    try:
        held = core.galleries.held(query.modality, query.profile)
        blocks = core.galleries.blocks(query.modality, query.profile)
    except NoSuchGallery:
        return None
    return {
        "modality": held.modality,
        "salt": held.salt.hex(),
        "records": held.records,
        "hashes": [one.hex() for one in held.hashes],
        "blocks": [[one.path, one.version.hex(), one.index, one.n, one.sha256.hex()] for one in blocks],
    }
