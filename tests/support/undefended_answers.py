"""Responders and requesters with one defence of the answer switched off, for attacks that must be seen to work then."""

from __future__ import annotations

import numpy as np
from undefended import Undefended

from crypto.errors import BadCiphertext
from crypto.hitsearch import MaskStream, Requester
from crypto.hitsearch.guards import Guards, spoilers
from crypto.hitsearch.keyset import unpack_answer
from crypto.hitsearch.packing import Slots, Words
from crypto.hitsearch.requester import Opened
from crypto.hitsearch.seal import Ciphertext


class NoMasks(Undefended):
    """The threshold polynomial is answered as it is."""

    def _mask(self, stream: MaskStream, label: bytes) -> Slots:
        return np.ones(self.plan.degree, dtype=np.int64)


class OneMask(Undefended):
    """One mask for all slots."""

    def _mask(self, stream: MaskStream, label: bytes) -> Slots:
        return np.full(self.plan.degree, super()._mask(stream, label)[0])


class SameMasks(Undefended):
    """The hits and the tokens have the same masks."""

    def _mask(self, stream: MaskStream, label: bytes) -> Slots:
        return super()._mask(stream, b"both")


class MasksUsedAgain(Undefended):
    """Another attempt at an answer has the masks of the one before."""

    def _mask(self, stream: MaskStream, label: bytes) -> Slots:
        return super()._mask(MaskStream(bytes(32), b"every exchange", 0, 1), label)


class MasksWithZero(Undefended):
    """Masks are drawn from all values modulo t."""

    def _mask(self, stream: MaskStream, label: bytes) -> Slots:
        return stream.digits(b"mask/" + label, self.plan.degree, self.plan.plain_modulus).astype(np.int64)


class SameFactors(Undefended):
    """The hits and the tokens are spoiled by the same multiples of the guards."""

    def _spoil(self, masked: Ciphertext, guards: Guards, stream: MaskStream, label: bytes) -> Ciphertext:
        return super()._spoil(masked, guards, stream, b"both")


class OneFactor(Undefended):
    """All slots are spoiled by the same multiple of a check."""

    def _spoil(self, masked: Ciphertext, guards: Guards, stream: MaskStream, label: bytes) -> Ciphertext:
        bgv, plan = self._bgv, self.plan
        drawn = stream.digits(b"guard/all/" + label, 2, plan.plain_modulus)
        whole = spoilers(bgv, Guards((self._nothing(stream),) * 2, guards.canary), stream, label)
        for check, factor in zip(guards.validity, drawn, strict=True):
            scaled = bgv.times_plain(check, bgv.constant_ntt(int(factor), plan.guard_level))
            whole = bgv.add_into(whole, scaled)
        return bgv.add(masked, whole)


class NoFlooding(Undefended):
    """The masked value as the last product left it.

    Not flooded, and not switched either: switching down exists to make room for the flooding, and its rounding
    would already cover most of what the noise tells. No canary, whose own noise would.
    """

    def _answer(self, prepared, terms, stream):  # type: ignore[no-untyped-def]
        self._unflooded: list[bytes] = []
        super()._answer(prepared, terms, stream)
        return b"".join(self._unflooded)

    def _finish(self, masked: Ciphertext, guards: Guards, stream: MaskStream, label: bytes) -> Words:
        self._unflooded.append(self._bgv.words_of(masked, self.plan.guard_level).astype("<u8").tobytes())
        return super()._finish(masked, guards, stream, label)


class NoWindow(Requester):
    """Opens an answer whatever its noise is."""

    def open_block(self, answer: bytes) -> Opened:
        values, tokens = (
            self._bgv.decrypt(self._secret, self._bgv.load_full(words, 1))
            for words in unpack_answer(answer, self.plan)
        )
        return Opened(values, tokens)


def claims(requester: Requester, answer: bytes) -> bool:
    """What a responder sees of a requester: whether it claims a hit of the answer."""
    try:
        return bool(requester.open_block(answer).hits())
    except BadCiphertext:
        return False
