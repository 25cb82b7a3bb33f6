"""SEAL's uncompressed containers, written and read as bytes, and files that live in memory.

The layout is that of SEAL 4.x (``native/src/seal/serialization.h``, ``ciphertext.cpp``, ``kswitchkeys.cpp``): a header
of 16 bytes, then the members of the object, arrays and seeds again with a header each. Only containers that this module
wrote go into SEAL, and only containers that SEAL has just written are read here.
"""

from __future__ import annotations

import os
import struct
from typing import Final

import numpy as np

from crypto.hitsearch.packing import Words

ParmsId = tuple[int, int, int, int]

_HEADER: Final = struct.Struct("<HBBBBHQ")
_MAGIC: Final = 0xA15E
_VERSION: Final = (4, 3)
_NO_COMPRESSION: Final = 0
_CIPHERTEXT: Final = struct.Struct(
    "<4QBQQQdQ"
)  # level, NTT flag, size, degree, primes, scale, correction factor
_WORDS_OFFSET: Final = _CIPHERTEXT.size + _HEADER.size + 8
_PLAINTEXT: Final = struct.Struct("<4QQd")  # level, words, scale


class MemoryFile:
    """A path that names memory, for a library that knows files only: no key or probe reaches a disk."""

    def __init__(self, content: bytes = b"") -> None:
        self._fd = os.memfd_create("concordat", os.MFD_CLOEXEC)
        view = memoryview(content)
        while view:
            view = view[os.write(self._fd, view) :]

    @property
    def path(self) -> str:
        """Valid until the file is closed."""
        return f"/proc/self/fd/{self._fd}"

    def read(self) -> bytes:
        """Everything that was written."""
        size = os.fstat(self._fd).st_size
        parts: list[bytes] = []
        offset = 0
        while offset < size:
            part = os.pread(self._fd, size - offset, offset)
            parts.append(part)
            offset += len(part)
        return b"".join(parts)

    def __enter__(self) -> MemoryFile:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def container(body: bytes) -> bytes:
    """A body behind SEAL's header, uncompressed."""
    major, minor = _VERSION
    return (
        _HEADER.pack(_MAGIC, _HEADER.size, major, minor, _NO_COMPRESSION, 0, _HEADER.size + len(body)) + body
    )


def body_of(file: bytes) -> tuple[bytes, bool]:
    """The body of a file that SEAL wrote, and whether it is compressed."""
    return file[_HEADER.size :], file[5] != _NO_COMPRESSION


def _array(words: bytes) -> bytes:
    return container(struct.pack("<Q", len(words) // 8) + words)


def ciphertext_body(level: ParmsId, degree: int, primes: int, words: Words) -> bytes:
    """A ciphertext of two polynomials in NTT form."""
    head = _CIPHERTEXT.pack(*level, 1, 2, degree, primes, 1.0, 1)
    return head + _array(words.astype("<u8").tobytes())


def switch_keys_body(level: ParmsId, slots: int, keys: dict[int, list[bytes]]) -> bytes:
    """Key-switching keys: for each slot number, the ciphertext bodies of its digits."""
    parts = [struct.pack("<4QQ", *level, slots)]
    for slot in range(slots):
        digits = keys.get(slot, [])
        parts.append(struct.pack("<Q", len(digits)))
        parts += [container(digit) for digit in digits]
    return b"".join(parts)


def plaintext_body(words: Words, level: ParmsId = (0, 0, 0, 0)) -> bytes:
    """A plaintext in coefficient form, or with a level in NTT form. A secret key has the same form."""
    return _PLAINTEXT.pack(*level, len(words), 1.0) + _array(words.astype("<u8").tobytes())


def words_of_plaintext(body: bytes, count: int) -> Words:
    """All words of a plaintext that SEAL wrote."""
    offset = _PLAINTEXT.size + _HEADER.size + 8
    _expect(len(body) == offset + count * 8)
    return np.frombuffer(body, dtype="<u8", count=count, offset=offset).astype(np.uint64)


def words_of_ciphertext(body: bytes, count: int) -> Words:
    """All words of a ciphertext that SEAL wrote in full."""
    _expect(len(body) == _WORDS_OFFSET + count * 8)
    return np.frombuffer(body, dtype="<u8", count=count, offset=_WORDS_OFFSET).astype(np.uint64)


def correction_factor_of(body: bytes) -> int:
    """The BGV correction factor of a ciphertext that SEAL wrote."""
    return int(_CIPHERTEXT.unpack_from(body)[-1])


def _expect(holds: bool) -> None:
    if not holds:
        raise AssertionError("SEAL wrote a container of another layout than the one this module knows")
