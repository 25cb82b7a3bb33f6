"""Synthetic irises: binary codes with masks, as an iris extractor gives them, of nobody who exists.

An eye is a smooth random pattern around the pupil; an image of it adds noise, stands at another angle and is hidden
by lids above and below. The signs of the pattern are the code. Every seed is explicit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from crypto.codes import Codes

SHAPE: Final = (1, 8, 256, 2)
_WAVES: Final = 24  # no pattern changes faster than this around the circle
_NOISE: Final = 0.6  # against a pattern of strength 1
_TURN: Final = 6  # an image stands at most this many steps off: two of them 12
_LID: Final = 0.25  # mean share of the circle that each lid hides at the outer edge


def eyes(count: int, seed: int) -> NDArray[Any]:
    """Patterns, shape ``(count, *SHAPE)``; another seed gives other eyes."""
    return _patterns(np.random.default_rng([seed, 2]), count)


def iris_images(patterns: NDArray[Any], each: int, seed: int) -> tuple[Codes, Codes]:
    """Codes and masks of images of these eyes, packed: shape ``(count * each, 512)``, one eye's in a row.

    Args:
        patterns: From `eyes`.
        each: Images of each eye.
        seed: Another seed gives other images of the same eyes.
    """
    random = np.random.default_rng([seed, 3])
    codes, masks = [], []
    for pattern in patterns:
        noisy = pattern + _NOISE * _patterns(random, each)
        for image in noisy:
            turn = int(random.integers(-_TURN, _TURN + 1))
            codes.append(np.packbits(np.roll(image, turn, axis=2) > 0))
            masks.append(np.packbits(_mask(random)))
    return np.array(codes), np.array(masks)


def _patterns(random: np.random.Generator, count: int) -> NDArray[Any]:
    waves = np.arange(_WAVES + 1)
    strength = waves * np.exp(-waves / 8)
    spectrum = (
        strength[:, None] * random.normal(size=(count, *SHAPE[:2], _WAVES + 1, 2)) @ np.array([[1], [1j]])
    )
    field = np.fft.irfft(spectrum[..., 0], n=SHAPE[2], axis=3)
    field = field + 0.7 * np.roll(field, 1, axis=2)  # neighbouring rings look alike
    shifted = np.fft.irfft(1j * spectrum[..., 0], n=SHAPE[2], axis=3)
    both = np.stack([field, shifted + 0.7 * np.roll(shifted, 1, axis=2)], axis=-1)
    scaled: NDArray[Any] = both / np.sqrt(np.mean(both**2))
    return scaled


def _mask(random: np.random.Generator) -> NDArray[Any]:
    angle = np.arange(SHAPE[2]) / SHAPE[2]
    ring = np.arange(SHAPE[1]) / (SHAPE[1] - 1)
    mask = np.ones(SHAPE, np.uint8)
    for middle in (0.25, 0.75):
        width = np.clip(random.normal(_LID, 0.05), 0.05, 0.4) * ring / 2
        mask[0][np.abs(angle[None, :] - middle) < width[:, None]] = 0
    return mask


def write_codes(
    path: Path,
    codes: Codes,
    masks: Codes,
    records: list[str] | None = None,
    eyes: list[str] | None = None,
) -> None:
    """Write codes and masks as the npz that imports, probes and fits read."""
    arrays: dict[str, NDArray[Any]] = {"codes": codes, "masks": masks, "shape": np.array(SHAPE)}
    if records is not None:
        arrays["record"] = np.array(records, dtype=np.str_)
    if eyes is not None:
        arrays["eye"] = np.array(eyes, dtype=np.str_)
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
