"""What one attempt at an answer is made of. For the core's thread."""

from __future__ import annotations

import os
from dataclasses import dataclass

from crypto.errors import BadCiphertext
from crypto.hitsearch.masks import MaskStream
from crypto.hitsearch.parameters import plan_for
from crypto.hitsearch.passes import probes_of
from node.bodies import Kind
from node.core import NodeCore
from node.engine import SearchJob
from node.errors import NoSuchGallery
from protocol.exchange.commands import StartSearch


@dataclass(frozen=True, slots=True)
class PlannedSearch:
    """The job for the engine, and what the entry of its answer says of the gallery."""

    job: SearchJob
    commitment: bytes
    records: int


def plan_search(core: NodeCore, key: bytes, command: StartSearch, peer: str) -> PlannedSearch:
    """Fix the order of the blocks and all else that is random by a seed, which is durable on return.

    Raises:
        BadCiphertext: Encrypted under another plan.
        NoSuchGallery: It is gone.
    """
    profile = core.profiles.named(command.profile)
    if plan_for(profile.search).identifier != command.plan:
        raise BadCiphertext("encrypted under another plan")
    gallery = next(
        (
            one
            for one in core.galleries.partitions()
            if (one.modality, one.profile_digest) == (command.modality, command.profile)
        ),
        None,
    )
    if gallery is None:
        raise NoSuchGallery("the gallery is gone")
    blocks = core.galleries.blocks(command.modality, command.profile)
    seed = os.urandom(32)
    # From the seed like all else that is random in an answer, so that an audit can repeat it.
    order = MaskStream(seed, command.exchange_id, None, 0).order(len(blocks))
    blocks = [blocks[position] for position in order]
    core.state.put_seed(key, command.attempt, core.seal(b"seed/" + key, seed))
    job = SearchJob(
        search=profile.search,
        keys_path=core.bodies.path(Kind.KEYS, command.evaluation_keys),
        keys_hash=command.evaluation_keys,
        query=core.bodies.read(Kind.CIPHERTEXT, command.ciphertext_hash),
        exchange_id=command.exchange_id,
        seed=seed,
        blocks=tuple(blocks),
        peer=peer,
        probes=probes_of(profile),
    )
    return PlannedSearch(job, gallery.commitment, gallery.records)
