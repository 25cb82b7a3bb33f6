"""What a node shows of itself, in counts."""

from __future__ import annotations

from typing import Any

from crypto.hitsearch.kernel_library import description
from node.core import NodeCore
from node.key_state import describe_keys
from node.trust import alone_with


def status(core: NodeCore) -> dict[str, Any]:
    """What ``node status`` shows."""
    head, _ = core.journal.ledger.published()
    return {
        "country": core.country,
        "authority": core.config.authority,
        "endpoint": core.config.endpoint,
        "fingerprint": core.descriptor.fingerprint,
        "ledger": {"origin": core.config.origin, "size": head.size, "root": head.root.hex()},
        "peers": sorted(core.roster.peers),
        "agreements": [digest.hex() for digest in core.agreements.digests],
        "suspended": {one: why for one in sorted(core.roster.peers) if (why := core.suspension(one))},
        "owes_proof": {one: teller for one, (teller, _) in sorted(core.witnessing.owed.items())},
        "alone_with": alone_with(core),
        "halted": core.witnessing.halted.code if core.witnessing.halted is not None else None,
        "exchanges": core.state.count_exchanges(),
        "keys": describe_keys(core.state),
        "registering": [],
        "galleries": gallery_list(core),
        "arithmetic": description(),
    }


def gallery_list(core: NodeCore) -> list[dict[str, Any]]:
    """Galleries in counts."""
    return [
        {
            "modality": one.modality,
            "profile": one.profile_name,
            "profile_digest": one.profile_digest.hex(),
            "records": one.records,
            "blocks": one.blocks,
        }
        for one in core.galleries.partitions()
    ]
