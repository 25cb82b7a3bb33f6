"""The steps of a recomputation: each says what holds, or raises ``Stop``.

Everything random in an answer follows from the responder's seed, and the evaluation keys follow from the requester's
secret, so the same inputs give the same bytes. What is compared is bound by entries of the ledgers.

Source: specs/ledger.md, section "Recomputing an answer".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from crypto.contexts import Context, hash_fields
from crypto.errors import BadCiphertext, BadEncoding, BadKeys, ConcordatError
from crypto.hitsearch.passes import answer_all, open_all, prepare_all
from node.engine_worker import Scheme
from node.recompute_given import Given
from node.recompute_model import Gallery, Inputs, Progress, differs, missing, unchecked
from protocol.errors import FailureReason
from protocol.limits import MAX_BLOCKS
from protocol.messages import BodyHash, message_hash
from protocol.statements import (
    QueryAccepted,
    QueryAnswered,
    QueryClaimed,
    QueryIntent,
    QueryResult,
    answer_block_hash,
)
from protocol.statements_claims import ClaimAccepted, ClaimRefused, ClaimSent, HitClaim


class Steps(Given):
    """The steps; each returns what holds in words, or raises ``Stop``."""

    def __init__(
        self, inputs: Inputs, scheme: Scheme, progress: Progress, keep: Callable[[bytes], None]
    ) -> None:
        super().__init__(inputs, scheme)
        self._progress = progress
        self._keep = keep
        self._keys = b""
        self._requester: Any = None
        self._hits: set[tuple[int, int]] = set()
        self._unusable = self._is_whole = False
        self.done = 0

    def query(self) -> str:
        """One query: the signed message, and what both ledgers say of it."""
        query, name = self._query, message_hash(self._in.query or b"")
        if query.exchange_id != self._in.exchange_id:
            raise differs("the signed query is of another exchange")
        sides = [side for side in (self._in.requester, self._in.responder) if side is not None]
        for side in sides:
            if side.foreign:
                what = f"the node of {side.country} gives an entry {side.foreign[0]} that its ledger does not have"
                raise differs(what, side.country)
            if not any(side.said(kind) for kind in (QueryIntent, QueryAccepted)):
                closed = (
                    f", {side.closed} of its entries are erased or sealed to others" if side.closed else ""
                )
                raise missing(f"the ledger of {side.country} does not say what was asked{closed}")
            for one in side.opened:
                for field_name, expected in (
                    ("query_hash", name),
                    ("ciphertext_hash", query.ciphertext_hash),
                    ("agreement", query.agreement),
                ):
                    is_key = not hasattr(one.shared, "query_hash")
                    if not is_key and getattr(one.shared, field_name, expected) != expected:
                        what = f"{one.shared.type} of {side.country} names another {field_name} than the signed query"
                        raise differs(what, side.country)
        self._same_answer()
        return f"the signed query is the one on {len(sides)} ledger(s)"

    def _same_answer(self) -> None:
        requester, responder = self._in.requester, self._in.responder
        result = requester.said(QueryResult) if requester else None
        answered = responder.said(QueryAnswered) if responder else None
        if result and answered and result.answer_hash not in (None, answered.answer_hash):
            raise differs("query.result names another answer than query.answered")

    def seed(self) -> str:
        """The seed in escrow is the one that was committed to before the answer left."""
        if hash_fields(Context.SEED_COMMITMENT, self._computation.seed) != self._answered.seed_commitment:
            raise differs("the seed in escrow is not the one that was committed to", self._answered.responder)
        return "the seed in escrow is the one that was committed to"

    def gallery(self) -> str:
        """Every block of the gallery is one that the commitment fixes."""
        held, answered = self._in.gallery, self._answered
        if held is None:
            raise missing("gallery state no longer held: there is no gallery of that modality and profile")
        state, query = held.state, self._query
        if (state.modality, state.profile_digest) != (query.modality, query.profile):
            raise differs("the gallery is of another modality or profile than the query", answered.responder)
        if state.commitment != answered.gallery_commitment:
            raise missing("gallery state no longer held: another one counts now than the answer commits to")
        total = len(state.hashes)
        if list(held.indices) != list(range(total)):
            what = f"other blocks than the {total} that the answer commits to: {len(held.indices)}"
            raise differs(what, answered.responder)
        for number in range(total):
            self._progress("gallery", number, total)
            try:
                held.load(number)
            except ConcordatError as error:
                what = f"block {held.indices[number]} of the gallery: {error}"
                raise differs(what, answered.responder) from None
        return f"{total} block(s) are those that the answer commits to"

    def keys(self) -> str:
        """The evaluation keys of the query; with the requester's secret, that they are made of it."""
        wanted = self._query.evaluation_keys
        secret = self._secret(wanted)
        if secret is None and self._in.requester is not None:
            country = self._in.requester.country
            escrow = f"the ledger of {country} has no escrow of these keys that this auditor can open"
            if self._in.evaluation_keys is None:
                raise missing(escrow)
            return f"{self._held_keys(wanted)}: {escrow}"
        if secret is None:
            return self._held_keys(wanted)
        try:
            self._requester = self._scheme.requester.load(self._plan, secret)
            self._keys = bytes(self._requester.evaluation_keys())
        except (BadEncoding, BadKeys) as error:
            raise differs(f"the secret in escrow makes no keys: {error}", self._query.requester) from None
        if hash_fields(Context.EVALUATION_KEYS, self._keys) != wanted:
            what = "the registered keys are not those that the secret in escrow makes"
            raise differs(what, self._query.requester)
        return "the registered keys are made of the secret in escrow"

    def _held_keys(self, wanted: bytes) -> str:
        keys = self._in.evaluation_keys
        if keys is None:
            raise missing(
                "the responder holds the evaluation keys no longer; the requester's escrow makes them"
            )
        if hash_fields(Context.EVALUATION_KEYS, keys) != wanted:
            raise differs(
                "the responder holds other evaluation keys than the query names", self._query.responder
            )
        self._keys = keys
        return "the responder holds the registered keys; how they were made was not checked"

    def ciphertext(self) -> str:
        """The encrypted probe that both ledgers name."""
        if self._in.ciphertext is None:
            raise missing("the encrypted probe is not kept any more")
        if hash_fields(Context.CIPHERTEXT, self._in.ciphertext) != self._query.ciphertext_hash:
            raise differs(
                "what is kept is not the encrypted probe that was asked with", self._query.responder
            )
        return "the encrypted probe is the one that was asked with"

    def answer(self) -> str:
        """Every block of the answer, byte by byte."""
        if self._in.answer is not None:
            return self._given_answer(self._in.answer)
        answered, held, blame = self._answered, self._in.gallery, self._query.responder
        assert held is not None
        total, logged = len(held.indices), self._block_hashes()
        if answered.blocks != total:
            raise differs(f"the answer has {answered.blocks} block(s), the gallery {total}", blame)
        whole = BodyHash(Context.ANSWER, total * self._probes * self._plan.answer_block_bytes)
        for number, (place, block) in enumerate(self._blocks(held)):
            if logged is not None and answer_block_hash(block) != logged[number]:
                what = (
                    f"block {number} of the answer is not the one that the seed gives (gallery block {place})"
                )
                raise differs(what, blame)
            whole.update(block)
            self._take(block)
        if whole.digest() != answered.answer_hash:
            raise differs("the answer is not the one that the seed, the gallery and the query give", blame)
        self._is_whole = True
        return f"{total} block(s), the same bytes"

    def _blocks(self, held: Gallery) -> Iterator[tuple[int, bytes]]:
        """The answer's blocks in its order, each with its index in the gallery."""
        exchange_id, seed = self._in.exchange_id, self._computation.seed
        query, total = self._in.ciphertext or b"", len(held.indices)
        stream, retried = self._scheme.mask_stream, set(self._computation.retried)
        prepared: dict[int, Any] = {}
        try:
            responder = self._scheme.responder(self._plan, self._keys)
            for number, position in enumerate(stream(seed, exchange_id, None, 0).order(total)):
                self._progress("answer", number, total)
                index = held.indices[position]
                attempt = int(index in retried)
                if attempt not in prepared:
                    first = partial(stream, seed, exchange_id, None, attempt)
                    prepared[attempt] = prepare_all(responder, query, self._probes, first)
                masks = partial(stream, seed, exchange_id, index, attempt)
                yield index, answer_all(responder, prepared[attempt], held.load(position), masks)
        except (BadCiphertext, BadKeys) as error:
            raise differs(f"no answer can be computed from these inputs: {error}") from None
        self._progress("answer", total, total)

    def _given_answer(self, given: Callable[[int], Iterator[bytes]]) -> str:
        """An answer that was computed again at the responder's: the one that the requester's ledger names?"""
        result = self._said(QueryResult, self._in.requester, "query.result")
        if result.answer_hash is None:
            raise unchecked(f"the requester opened no answer: {result.reason}")
        length, total, names = self._probes * self._plan.answer_block_bytes, 0, []
        # It may be of any length: read block by block, once to hash it, and once more when it is the right one.
        for block in given(length):
            total += len(block)
            names.append(answer_block_hash(block))
            if len(names) > MAX_BLOCKS:
                raise differs("the given answer has more blocks than an answer can have")
        whole = BodyHash(Context.ANSWER, total)
        for number, block in enumerate(given(length)):
            self._progress("answer", number, len(names))
            if answer_block_hash(block) != names[number]:
                raise differs("the given answer changes while it is read")
            whole.update(block)
        if whole.digest() != result.answer_hash:
            raise differs("the given answer is not the one that the requester's ledger names")
        for number, block in enumerate(given(length)):
            if answer_block_hash(block) != names[number]:
                raise differs("the given answer changes while it is read")
            self._take(block)
        self._is_whole = True
        return f"{len(names)} block(s), those that the requester's ledger names"

    def _take(self, block: bytes) -> None:
        number = self.done
        self.done += 1
        self._keep(block)
        if self._requester is None:
            return
        try:
            self._hits |= {(number, slot) for slot, _ in open_all(self._requester, block)}
        except BadCiphertext:
            self._unusable = True

    def result(self) -> str:
        """What the requester says came of it, on its ledger and to the responder."""
        if self._requester is None:
            raise unchecked("the answer was not opened: that needs the requester's ledger and its escrow")
        requester, responder = self._in.requester, self._in.responder
        result = self._said(QueryResult, requester, "query.result")
        claimed = responder.said(QueryClaimed) if responder else None
        for one in (result, claimed):
            if one is not None:
                self._compare(one)
        if claimed is None:
            return f"{len(self._hits)} hit(s), as the requester's ledger says; the responder's has no report of it"
        return f"{len(self._hits)} hit(s), as both ledgers say"

    def _compare(self, one: QueryResult | QueryClaimed) -> None:
        opened = "unusable" if self._unusable else f"{len(self._hits)} hit(s)"
        if one.outcome in ("refused", "failed"):
            is_usable = one.reason == FailureReason.BAD_ANSWER and not self._unusable
            # How many are too many is A's own setting, at least one.
            is_few = one.reason == FailureReason.TOO_MANY_HITS and (self._unusable or len(self._hits) < 2)
            if is_usable or is_few:
                raise differs(f"{one.type} says {one.reason}; the answer has {opened}", one.requester)
            raise unchecked(f"{one.type} says {one.outcome}: {one.reason}; the answer has {opened}")
        if self._unusable or one.hits != len(self._hits):
            raise differs(f"{one.type} says {one.hits} hit(s), the answer has {opened}", one.requester)

    def claims(self) -> str:
        """Each claim of a hit was judged by the token that the seed gives, and is of a hit."""
        judged = [one.shared for one in self._in.responder.opened] if self._in.responder else []
        count = 0
        for one in judged:
            if isinstance(one, ClaimAccepted | ClaimRefused):
                count += 1
                is_right = self._token(one) == one.token
                if isinstance(one, ClaimAccepted) and not is_right:
                    raise differs(f"{_named(one)} has another token than the seed gives", one.responder)
                if isinstance(one, ClaimRefused) and is_right and one.reason == "token-mismatch":
                    raise differs(f"{_named(one)} has the token that the seed gives", one.responder)
        for other in self._in.requester.opened if self._in.requester else ():
            sent = other.shared
            if isinstance(sent, ClaimSent) and self._is_opened and sent.hit not in self._hits:
                raise differs(f"{_named(sent)} claims what is no hit", sent.requester)
        return f"{count} claim(s) were judged by the tokens that the seed gives"

    @property
    def _is_opened(self) -> bool:
        return self._requester is not None and self._is_whole and not self._unusable


def _named(claim: HitClaim) -> str:
    return f"{claim.type} of block {claim.block}, slot {claim.slot}"
