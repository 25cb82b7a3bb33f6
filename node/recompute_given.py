"""What the ledgers say of the query that is recomputed, and what was kept of it.

Source: specs/ledger.md, section "Recomputing an answer".
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from crypto.errors import ConcordatError
from crypto.hitsearch.passes import probes_of
from node.engine_worker import Scheme
from node.recompute_model import Inputs, S, Side, differs, missing
from protocol.exchange.checks import own_query
from protocol.messages import Query
from protocol.statements import Computation, QueryAnswered, answer_blocks_digest
from protocol.statements_claims import HitClaim
from protocol.statements_keys import Escrowed, KeysAccepted


class Given:
    """What the steps rest on; raises ``Stop`` for what is missing."""

    def __init__(self, inputs: Inputs, scheme: Scheme) -> None:
        self._in = inputs
        self._scheme = scheme

    def _said(self, kind: type[S], side: Side | None, name: str) -> S:
        found = None if side is None else side.said(kind)
        if found is None:
            whose = (
                "was not given" if side is None else f"of {side.country} has none that this auditor can open"
            )
            raise missing(f"{name}: the ledger {whose}")
        return found

    @property
    def _answered(self) -> QueryAnswered:
        return self._said(QueryAnswered, self._in.responder, "query.answered")

    @property
    def _computation(self) -> Computation:
        answered, side = self._answered, self._in.responder
        for one in side.opened if side else ():
            if one.shared is answered and isinstance(one.private, Computation):
                return one.private
        raise missing("query.answered has no seed: it was logged by an earlier version")

    @cached_property
    def _query(self) -> Query:
        if self._in.query is None:
            raise missing("the signed query is not kept any more")
        try:
            return own_query(self._in.query)
        except ConcordatError as error:
            raise differs(f"what is kept as the signed query is none: {error}") from None

    @cached_property
    def _plan(self) -> Any:
        profile, query = self._in.profile, self._query
        if profile is None or profile.digest != query.profile:
            raise missing("the profile of the query is not known any more")
        plan = self._scheme.plan_for(profile.search)
        if plan.identifier != query.plan:
            raise differs("the query was asked under another plan than this version makes of its profile")
        return plan

    @property
    def _probes(self) -> int:
        """Of the query: ``_plan`` says that the profile is its profile."""
        return 1 if self._in.profile is None else probes_of(self._in.profile)

    def _secret(self, wanted: bytes) -> bytes | None:
        for one in self._in.requester.opened if self._in.requester else ():
            named = isinstance(one.shared, KeysAccepted) and one.shared.evaluation_keys == wanted
            if named and isinstance(one.private, Escrowed):
                return one.private.secret
        return None

    def _block_hashes(self) -> Sequence[bytes] | None:
        """The hashes of the answer's blocks, if they are the ones that the entry names."""
        hashes, computation = self._in.block_hashes, self._computation
        if hashes is None or answer_blocks_digest(hashes) != computation.answer_blocks:
            return None
        return hashes if len(hashes) == self._answered.blocks else None

    def _token(self, claim: HitClaim) -> int | None:
        """The token that the answer gave there; None if it has no such place."""
        blocks = self._answered.blocks
        if claim.block >= blocks or claim.slot >= self._plan.block_size:
            return None
        stream, seed, exchange_id = self._scheme.mask_stream, self._computation.seed, self._in.exchange_id
        index = stream(seed, exchange_id, None, 0).order(blocks)[claim.block]
        attempt = int(index in self._computation.retried)
        return int(stream(seed, exchange_id, index, attempt).tokens(self._plan.block_size)[claim.slot])
