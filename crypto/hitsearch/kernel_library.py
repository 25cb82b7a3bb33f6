"""The door to the kernel: a small C library of ours for what SEAL's binding makes slow, giving the very same words.

The library is built when the package is installed (``hatch_build.py``), by the C compiler if there is one. Without it
everything still works, through SEAL. Every length is checked here before C sees an address; C allocates nothing.

Source: specs/kernel.md.
"""

from __future__ import annotations

import ctypes
import hashlib
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from crypto.hitsearch.parameters import Plan

FOLDER: Final = Path(__file__).parent
LIBRARY: Final = FOLDER / "_kernel.so"
LANE: Final = 8
MAX_PRIME_BITS: Final = 60
MAX_TERMS: Final = 64  # products of two words that fit a sum of 128 bits
MIN_DEGREE: Final = 64
ROW_SPARE: Final = 64  # words between two rows of a scratch area
_ALIGNMENT: Final = 64


class Encoding(ctypes.Structure):
    _fields_ = (
        ("rows", ctypes.c_void_p),
        ("plain", ctypes.c_void_p),
        ("levels", ctypes.c_size_t),
        ("n", ctypes.c_size_t),
        ("scale", ctypes.c_size_t),
        ("baby", ctypes.c_size_t),
        ("giants", ctypes.c_size_t),
        ("places", ctypes.c_void_p),
        ("coefficients", ctypes.c_void_p),
        ("scratch", ctypes.c_void_p),
    )


class Switch(ctypes.Structure):
    _fields_ = (
        ("rows", ctypes.c_void_p),
        ("plain", ctypes.c_void_p),
        ("levels", ctypes.c_size_t),
        ("special", ctypes.c_size_t),
        ("key", ctypes.c_void_p),
        ("digits", ctypes.c_size_t),
        ("drops", ctypes.c_void_p),
        ("scratch", ctypes.c_void_p),
    )


def source_digest(folder: Path = FOLDER) -> str:
    """The digest of the C files, which the library carries: one that was built from others is not used."""
    files = sorted(folder.glob("_kernel*.[ch]"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


@cache
def library() -> Any:
    """The library, with the best operations of this processor, or None."""
    library = loaded(LIBRARY)
    if library is not None:
        library.concordat_choose(1)
    return library


def loaded(path: Path) -> Any:
    """A library, or None where it was not built, or was built from other sources or for another machine."""
    try:
        found = ctypes.CDLL(str(path))
        found.concordat_source.restype = ctypes.c_char_p
        if found.concordat_source().decode() != source_digest():
            return None
    except (OSError, AttributeError):
        return None
    found.concordat_running.restype = ctypes.c_char_p
    found.concordat_prime_bytes.restype = ctypes.c_size_t
    found.concordat_prime_bytes.argtypes = [ctypes.c_uint64]
    found.concordat_prime.argtypes = [*[ctypes.c_uint64] * 3, ctypes.c_void_p]
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    signatures: dict[str, list[Any]] = {
        "forward": [pointer, pointer],
        "inverse": [pointer, pointer],
        "transform": [pointer, size, pointer, pointer],
        "encode": [pointer, pointer, pointer],
        "sums": [pointer, pointer, size, pointer, pointer],
        "sums_once": [pointer, pointer, pointer, size, pointer, pointer],
        "place": [pointer, pointer, size, pointer],
        "rotate": [pointer, pointer, pointer, pointer, pointer],
        "product": [pointer, pointer, pointer, pointer],
        "times": [pointer, size, pointer, pointer, size, size, pointer],
        "add": [pointer, size, size, pointer, pointer],
        "drop": [pointer, pointer, size, pointer, pointer, pointer, pointer],
    }
    for name, arguments in signatures.items():
        function = getattr(found, f"concordat_{name}")
        function.argtypes, function.restype = arguments, None
    return found


def built() -> bool:
    """Whether the library can be used on this machine."""
    return library() is not None


def usable(plan: Plan) -> bool:
    """Whether the kernel is built and can compute at these parameters."""
    primes = (*plan.data_primes, plan.special_prime)
    fits = max(q.bit_length() for q in primes) <= MAX_PRIME_BITS and plan.degree >= MIN_DEGREE
    return fits and max(plan.baby_steps, plan.levels) <= MAX_TERMS and built()


def choose(*, best: bool) -> None:
    """Take the best operations that this processor has, as at first, or the portable ones, for tests."""
    library().concordat_choose(int(best))


def description() -> str:
    """Which arithmetic searches here, in a few words."""
    if not built():
        return "SEAL"
    return f"kernel, {library().concordat_running().decode()}"


def aligned(shape: tuple[int, ...], kind: Any = np.uint64) -> NDArray[Any]:
    """An array, not initialised, that begins on a line of the cache."""
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    raw = np.empty(size + _ALIGNMENT, dtype=np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    array: NDArray[Any] = raw[start : start + size].view(kind).reshape(shape)
    return array


def address(array: NDArray[Any], shape: tuple[int, ...], kind: Any, *, written: bool = False) -> int:
    """The address of an array that has exactly the shape and type that C takes for granted."""
    layout = array.flags
    if array.shape != shape or array.dtype != kind or not (layout.c_contiguous and layout.aligned):
        raise ValueError(f"the kernel takes a contiguous, aligned array of shape {shape}, not {array.shape}")
    if written and not array.flags.writeable:
        raise ValueError("the kernel writes into this array")
    return array.ctypes.data


def _primitive_root(prime: int, order: int) -> int:
    """A root of unity of exactly that order, a power of two."""
    for base in range(2, 1000):
        root = pow(base, (prime - 1) // order, prime)
        if pow(root, order // 2, prime) == prime - 1:
            return root
    raise ValueError("no root of unity of that order")


@lru_cache(maxsize=32)
def prime_row(prime: int, degree: int) -> NDArray[np.uint8]:
    """What the kernel wants to know of a prime: constants, and the powers of its smallest root."""
    bits = degree.bit_length() - 1
    if (
        degree != 1 << bits
        or degree < MIN_DEGREE
        or prime.bit_length() > MAX_PRIME_BITS
        or prime % (2 * degree) != 1
    ):
        raise ValueError("there is no transform of that degree at that prime")
    row = aligned((library().concordat_prime_bytes(bits),), np.uint8)
    library().concordat_prime(prime, _primitive_root(prime, 2 * degree), bits, row.ctypes.data)
    return row
