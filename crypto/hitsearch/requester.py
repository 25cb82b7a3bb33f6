"""The requester's side of the search: keys, the encrypted probe, and opening an answer.

Source: specs/matching.md, sections 2 and 6.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypto.contexts import Context, hash_fields
from crypto.errors import BadCiphertext, BadEncoding, BadTemplate
from crypto.hitsearch.keymaking import KeyMaker
from crypto.hitsearch.keyset import pack_polynomial, query_part, unpack_answer
from crypto.hitsearch.modular import add
from crypto.hitsearch.packing import Slots, Words, spread_probe
from crypto.hitsearch.parameters import SEED_BYTES, Plan
from crypto.hitsearch.seal import shared_context
from crypto.profiles import SearchProfile


@dataclass(frozen=True)
class Opened:
    """One answer block in clear.

    Attributes:
        values: Shape ``(block_size,)``; 0 is a hit, everything else is uniform noise.
        tokens: Shape ``(block_size,)``; where there is a hit, its token, 0..65535; uniform noise elsewhere.
    """

    values: Slots
    tokens: Slots

    def hits(self) -> list[tuple[int, int]]:
        """Slot and token of each hit."""
        return [(int(slot), int(self.tokens[slot])) for slot in np.flatnonzero(self.values == 0)]


class Requester:
    """Holds the secret key of one key set. Its repr shows nothing.

    Args:
        plan: Parameters, from ``plan_for``.
        seed: 32 secret bytes that the secret key and the evaluation keys are derived from.
    """

    def __init__(self, plan: Plan, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise BadEncoding(f"the secret of a query key has {SEED_BYTES} bytes")
        self.plan = plan
        self._seed = bytes(seed)
        self._bgv = shared_context(plan)
        self._maker = KeyMaker(self._bgv, self._seed)
        self._secret = self._bgv.load_secret_key(self._maker.secret_words)

    @classmethod
    def generate(cls, plan: Plan) -> Requester:
        """A fresh secret from the operating system."""
        return cls(plan, os.urandom(SEED_BYTES))

    @classmethod
    def load(cls, plan: Plan, secret: bytes) -> Requester:
        """The requester of a stored secret."""
        return cls(plan, secret)

    def secret(self) -> bytes:
        """The 32 secret bytes, for sealing at rest only."""
        return self._seed

    def evaluation_keys(self) -> bytes:
        """The evaluation keys of this secret, exactly ``plan.keys_bytes`` long, the same at every call.

        They let a responder compute on this requester's probes and reveal nothing of the secret key (RLWE).
        """
        return self._maker.evaluation_keys().to_bytes(self.plan)

    def encrypt(self, template: NDArray[np.int8], seed: bytes | None = None) -> bytes:
        """Encrypt one probe, exactly ``plan.query_bytes`` long.

        Args:
            template: Shape ``(n,)``, a well-formed template of the plan's profile.
            seed: 32 secret bytes, fresh for every probe; from the operating system if None.

        Raises:
            BadTemplate: The vector is not one; the message names no entry.
        """
        check_template(template, self.plan.profile)
        return self.encrypt_slots(spread_probe(template, self.plan.degree), seed or os.urandom(SEED_BYTES))

    def encrypt_slots(self, slots: Slots, seed: bytes) -> bytes:
        """Encrypt any values, one a slot, in the form of a probe: nothing is checked."""
        plan = self.plan
        public = hash_fields(Context.KEY_STREAM, self._seed, b"query seed", seed)
        zero = self._maker.sample_of_zero(public, query_part(plan), b"query error/" + seed)
        message = self._maker.transforms.slots_ntt_words(slots).reshape(-1, plan.degree)
        rows = [add(z, m, q) for z, m, q in zip(zero, message, plan.data_primes, strict=False)]
        return public + pack_polynomial(np.concatenate(rows), plan.data_primes, plan.degree)

    def open_block(self, answer: bytes) -> Opened:
        """Decrypt one answer block.

        Raises:
            BadCiphertext: Not in the exact form of an answer block, or its noise is not what an honest search leaves:
                a responder that crafts answers must not learn about the key from how they are taken.
        """
        values, tokens = (self._decrypt(words) for words in unpack_answer(answer, self.plan))
        return Opened(values, tokens)

    def _decrypt(self, words: Words) -> Slots:
        ciphertext = self._bgv.load_full(words, level=1)
        if self._bgv.noise_budget(self._secret, ciphertext) not in self.plan.answer_budgets:
            raise BadCiphertext("the noise of an answer block is not what an honest search leaves")
        return self._bgv.decrypt(self._secret, ciphertext)

    def __repr__(self) -> str:
        return "Requester(…)"


def check_template(template: NDArray[np.int8], profile: SearchProfile) -> None:
    """Raise ``BadTemplate`` unless the vector is a well-formed template of the profile."""
    if template.shape != (profile.n,) or template.dtype != np.int8:
        raise BadTemplate(f"a template of this profile is int8 of shape ({profile.n},)")
    values = template.astype(np.int64)
    if int(np.abs(values).max()) > profile.bound or int(values @ values) != profile.norm:
        raise BadTemplate(
            f"a template has entries within {profile.bound} whose squares sum to {profile.norm}"
        )
