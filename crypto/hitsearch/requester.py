"""The requester's side of the search: keys, the encrypted probe, and opening an answer.

Source: specs/matching.md, sections 2 and 6.
"""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from crypto.errors import BadCiphertext, BadEncoding, BadTemplate
from crypto.hitsearch.keyset import KeySet, pack_seeded, unpack_answer
from crypto.hitsearch.packing import Slots, spread_probe
from crypto.hitsearch.parameters import SEED_BYTES, Plan
from crypto.hitsearch.seal import Bgv
from crypto.profiles import SearchProfile


class Requester:
    """Holds the secret key of one key set. Its repr shows nothing.

    Args:
        plan: Parameters, from ``plan_for``.
        seed: 64 secret bytes that the secret key is derived from.
    """

    def __init__(self, plan: Plan, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise BadEncoding(f"the secret of a query key has {SEED_BYTES} bytes")
        self.plan = plan
        self._seed = bytes(seed)
        derived = Bgv(plan, prng_seed=self._seed)
        self._secret = derived.key_generator().secret_key()
        self._bgv = Bgv(plan)

    @classmethod
    def generate(cls, plan: Plan) -> Requester:
        """A fresh secret from the operating system."""
        return cls(plan, os.urandom(SEED_BYTES))

    @classmethod
    def load(cls, plan: Plan, secret: bytes) -> Requester:
        """The requester of a stored secret."""
        return cls(plan, secret)

    def secret(self) -> bytes:
        """The 64 secret bytes, for sealing at rest only."""
        return self._seed

    def evaluation_keys(self) -> bytes:
        """A fresh set of evaluation keys, exactly ``plan.keys_bytes`` long.

        They let a responder compute on this requester's probes and reveal nothing of the secret key (RLWE).
        Made anew at every call: store the bytes that a peer has been given.
        """
        bgv, plan = self._bgv, self.plan
        generator = bgv.key_generator(self._secret)
        zero = bgv.secret_encryptor(self._secret).encrypt_zero_symmetric(bgv.key_level)
        public = bgv.seeded_parts(zero, plan.levels + 1)
        relin = bgv.switch_key_parts(generator.create_relin_keys())[0]
        rotations = {}
        for step in plan.rotation_steps:
            made = generator.create_galois_keys([bgv.rotation_element(step)])
            rotations[step] = bgv.switch_key_parts(made)[0]
        return KeySet(public, relin, rotations).to_bytes(plan)

    def encrypt(self, template: NDArray[np.int8]) -> bytes:
        """Encrypt one probe, exactly ``plan.query_bytes`` long.

        Args:
            template: Shape ``(n,)``, a well-formed template of the plan's profile.

        Raises:
            BadTemplate: The vector is not one; the message names no entry.
        """
        check_template(template, self.plan.profile)
        bgv, plan = self._bgv, self.plan
        plain = bgv.encode(spread_probe(template, plan.degree))
        made = bgv.secret_encryptor(self._secret).encrypt_symmetric(plain)
        return pack_seeded(bgv.seeded_parts(made, plan.levels), plan.data_primes, plan.degree)

    def open_block(self, answer: bytes) -> Slots:
        """Decrypt one answer block: shape ``(block_size,)``; 0 is a hit, everything else is uniform noise.

        Raises:
            BadCiphertext: Not in the exact form of an answer block, or its noise is not what an honest search leaves:
                a responder that crafts answers must not learn about the key from how they are taken.
        """
        ciphertext = self._bgv.load_full(unpack_answer(answer, self.plan), level=1)
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
