"""The descriptor that a node gives to its peers."""

from __future__ import annotations

from crypto.errors import ConcordatError
from node.config import NodeConfig, NodePaths
from node.errors import StateDamaged, StorageFailed
from node.files import Files
from node.keys import NodeKeys
from node.setup import make_descriptor
from protocol.descriptor import Descriptor, read_descriptor
from protocol.limits import MAX_DESCRIPTOR


def current_descriptor(
    paths: NodePaths, config: NodeConfig, keys: NodeKeys, files: Files, now_ms: int
) -> Descriptor:
    """The stored descriptor, or its next edition when the configuration says something else now."""
    data = files.read(paths.descriptor, MAX_DESCRIPTOR)
    if data is None:
        raise StateDamaged("the node's descriptor is missing")
    try:
        held = read_descriptor(data)
    except ConcordatError as error:
        raise StateDamaged(f"the node's descriptor: {error}") from None
    issued = max(now_ms, held.fields.issued_ms)
    made = make_descriptor(config, keys, held.fields.tls_certificate, held.fields.serial + 1, issued)
    same = made.fields.model_copy(update={"serial": held.fields.serial, "issued_ms": held.fields.issued_ms})
    if same == held.fields:
        return held
    try:
        files.write_atomic(paths.descriptor, made.note)
    except OSError as error:
        raise StorageFailed(f"the descriptor could not be written: {error.strerror}") from None
    return made
