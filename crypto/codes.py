"""Binary codes with masks: one bit is +1 or -1 where its mask is set and 0 elsewhere; neighbours are added up.

A code may be turned about its angular axis by whole steps. A gallery holds codes as they were taken; a probe is
turned by each of the form's steps, and each turn becomes a template of its own.

Source: specs/matching.md, section 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from crypto.errors import BadFeatures, BadProfile

MAX_CODE_BITS: Final = 2**16
MAX_CODE_FEATURES: Final = 4096
MAX_STEPS: Final = 32
_ROWS_AT_ONCE: Final = 256  # a code of 2^14 bits takes 16 KiB unpacked

Codes = NDArray[np.uint8]
Signs = NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class CodeForm:
    """How a binary code with a mask becomes a feature vector.

    Attributes:
        shape: Wavelets, radial and angular positions, and parts (2 for real and imaginary); C order of the bits.
        pool: How many radial, and how many angular, neighbours are added up.
        steps: By how many angular positions a probe is turned; different, ascending, with 0 among them.
        min_valid: Percentage of bits whose mask must be set.

    Raises:
        BadProfile: Any of them out of its range, or a pool that does not divide its axis.
    """

    shape: tuple[int, int, int, int]
    pool: tuple[int, int]
    steps: tuple[int, ...]
    min_valid: int

    def __post_init__(self) -> None:
        numbers = (*self.shape, *self.pool, *self.steps, self.min_valid)
        if len(self.shape) != 4 or len(self.pool) != 2 or any(type(x) is not int for x in numbers):
            raise BadProfile("a code has four dimensions, pooled along two, all integers")
        if min(*self.shape, *self.pool) < 1 or max(self.shape) > MAX_CODE_BITS:
            raise BadProfile("dimensions of a code and its pool must be at least 1")
        if prod(self.shape) > MAX_CODE_BITS or prod(self.shape) % 8:
            raise BadProfile(f"a code has whole bytes and at most {MAX_CODE_BITS} bits")
        if self.shape[1] % self.pool[0] or self.shape[2] % self.pool[1]:
            raise BadProfile("the pool must divide the code's dimensions")
        if not 2 <= self.d <= MAX_CODE_FEATURES:
            raise BadProfile(f"a pooled code must have 2 to {MAX_CODE_FEATURES} entries, not {self.d}")
        if not 1 <= len(self.steps) <= MAX_STEPS or tuple(sorted(set(self.steps))) != self.steps:
            raise BadProfile(f"steps must be 1 to {MAX_STEPS} different ones in ascending order")
        if 0 not in self.steps or max(-self.steps[0], self.steps[-1]) >= self.shape[2]:
            raise BadProfile("steps must hold 0 and stay below one turn")
        if not 0 <= self.min_valid <= 100:
            raise BadProfile("min_valid is a percentage")

    @property
    def bits(self) -> int:
        """Bits of a code, and of its mask."""
        return prod(self.shape)

    @property
    def pooled(self) -> tuple[int, int, int, int]:
        """Shape of a feature vector before it is laid out in C order."""
        w, r, a, p = self.shape
        return w, r // self.pool[0], a // self.pool[1], p

    @property
    def d(self) -> int:
        """Length of a feature vector."""
        return prod(self.pooled)


def signs(codes: Codes, masks: Codes, form: CodeForm) -> Signs:
    """Codes and masks as packed bits, shape ``(m, bits / 8)``, to +1, -1 and 0, shape ``(m, *form.shape)``.

    Raises:
        BadFeatures: Another type or length, or a row of which too few bits are usable.
    """
    shape = (len(codes), form.bits // 8)
    if codes.dtype != np.uint8 or masks.dtype != np.uint8 or codes.shape != shape or masks.shape != shape:
        raise BadFeatures(f"codes and masks of this profile are uint8 of shape (m, {form.bits // 8})")
    poor = np.flatnonzero(valid_percent(masks) < form.min_valid)
    if len(poor):
        raise BadFeatures(f"code in row {poor[0]} has fewer than {form.min_valid} % usable bits")
    bits = np.unpackbits(codes, axis=1).view(np.int8)
    usable = np.unpackbits(masks, axis=1).view(np.int8)
    turned: Signs = ((2 * bits - 1) * usable).reshape(-1, *form.shape)
    return turned


def valid_percent(masks: Codes) -> NDArray[np.float64]:
    """Percentage of bits whose mask is set, for each row."""
    counts = np.bitwise_count(masks).sum(axis=1, dtype=np.int64)
    share: NDArray[np.float64] = 100 * counts / (8 * masks.shape[1])
    return share


def pool(turned: NDArray[Any], form: CodeForm) -> NDArray[np.float32]:
    """Sum neighbours; shape ``(m, *form.shape)`` to ``(m, d)``. Whole numbers, exact in float32."""
    w, r, a, p = form.pooled
    parts = turned.reshape(len(turned), w, r, form.pool[0], a, form.pool[1], p)
    summed: NDArray[np.float32] = parts.sum(axis=(3, 5), dtype=np.int64).astype(np.float32)
    return summed.reshape(len(turned), -1)


def code_vectors(codes: Codes, masks: Codes, form: CodeForm, step: int = 0) -> NDArray[np.float32]:
    """Feature vectors of codes, each turned by ``step`` angular positions, shape ``(m, d)``.

    Raises:
        BadFeatures: As `signs`.
    """
    vectors = np.empty((len(codes), form.d), np.float32)
    for start in range(0, len(codes), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        try:
            rows = signs(codes[part], masks[part], form)
        except BadFeatures as error:
            raise BadFeatures(f"from row {start}: {error}") if start else error from None
        vectors[part] = pool(np.roll(rows, step, axis=3), form)
    return vectors


def turned_vectors(code: Codes, mask: Codes, form: CodeForm) -> NDArray[np.float32]:
    """The feature vectors of one probe, shape ``(bits / 8,)`` each, one a step: ``(len(steps), d)``."""
    rows = signs(code[None], mask[None], form)
    return np.concatenate([pool(np.roll(rows, step, axis=3), form) for step in form.steps])
