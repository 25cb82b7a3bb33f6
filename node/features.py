"""Feature files: npz with feature vectors, read as hostile input.

Only what ``numpy.savez`` writes is accepted: every size is checked from the headers before any array is read,
nothing is unpickled, and members that are not asked for are never opened.

Source: specs/matching.md, section 1, "Feature files".
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from crypto.codes import MAX_CODE_BITS
from crypto.profiles import MAX_FEATURES
from node.errors import BadFeatureFile

MAX_FILE_BYTES: Final = 2 * 2**30
MAX_ARRAY_BYTES: Final = 2**30
MAX_ROWS: Final = 2**20  # 64 blocks; larger galleries are imported in parts by another tool
MAX_MEMBERS: Final = 32
MAX_DIRECTORY_BYTES: Final = 16 * 2**10
MAX_HEADER_BYTES: Final = 4096
MAX_RECORD_CHARS: Final = 64

_END_BYTES: Final = 22
_LOCATOR_BYTES: Final = 20
_HEADER: Final = re.compile(
    rb"\{'descr': '([<>|=][a-zA-Z][0-9]{1,4})', 'fortran_order': (True|False), "
    rb"'shape': \(([0-9]{1,10}),(?: ([0-9]{1,10}))?\), \} *\n"
)
_BROKEN: Final = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)


@dataclass(frozen=True, slots=True)
class FeatureFile:
    """What a feature file holds.

    Attributes:
        embeddings: Float, shape ``(m, d)``, as stored; not yet checked for NaN.
        records: One identifier for each row, all different; None when the file names none.
        subjects: Who each row shows; None when not asked for or not in the file.
    """

    embeddings: NDArray[np.floating[Any]]
    records: tuple[str, ...] | None
    subjects: tuple[str, ...] | None = None


def read_features(path: Path, d: int | None = None, *, subjects: bool = False) -> FeatureFile:
    """Read ``embeddings`` and, where present, ``record``; on request also ``subject``.

    Args:
        path: The npz file.
        d: When given, the dimension that the vectors must have.
        subjects: Read ``subject`` too, for fitting; there one person has several rows.

    Raises:
        BadFeatureFile: Missing, malformed, oversized, another type or shape, or a repeated record.
    """
    with opened(path) as members:
        return _read(members, d, subjects)


@contextmanager
def opened(path: Path) -> Iterator[Members]:
    """The members of an npz file, after its directory was checked.

    Raises:
        BadFeatureFile: Missing, malformed or oversized; errors inside get the file's name in front.
    """
    if not path.is_file():
        raise BadFeatureFile(f"{path.name}: no such file")
    try:
        with path.open("rb") as file:
            _check_directory(file)
            with zipfile.ZipFile(file) as archive:
                yield Members(archive)
    except BadFeatureFile as error:
        raise BadFeatureFile(f"{path.name}: {error}") from error
    except OSError as error:
        raise BadFeatureFile(f"{path.name}: cannot be read: {error.strerror}") from error
    except _BROKEN as error:
        raise BadFeatureFile(f"{path.name}: not an intact npz file") from error


def read_probe(text: str) -> NDArray[np.floating[Any]]:
    """The one vector that ``FILE.npz`` or ``FILE.npz:INDEX`` names, float, shape ``(d,)``.

    Raises:
        BadFeatureFile: As `read_features`; no such row; or several rows and no index.
    """
    path, index = named_row(text)
    rows = read_features(path).embeddings
    probe: NDArray[np.floating[Any]] = rows[one_row(path, index, len(rows))].copy()
    return probe


def named_row(text: str) -> tuple[Path, int | None]:
    """``FILE.npz:INDEX`` or ``FILE.npz`` as path and index."""
    found = re.fullmatch(r"(.+\.npz):([0-9]{1,7})", text, re.DOTALL)
    return (Path(found[1]), int(found[2])) if found else (Path(text), None)


def one_row(path: Path, index: int | None, count: int) -> int:
    """The row that was named; without an index, the only one."""
    if index is None and count != 1:
        raise BadFeatureFile(f"{path.name}: holds {count} vectors; name one as {path.name}:INDEX, from 0")
    if index is not None and index >= count:
        raise BadFeatureFile(f"{path.name}: holds {count} vectors, so there is no index {index}")
    return index or 0


def _check_directory(file: IO[bytes]) -> None:
    """Bound what the zip reader will allocate for the list of members."""
    size = file.seek(0, 2)
    if size > MAX_FILE_BYTES:
        raise BadFeatureFile(f"larger than {MAX_FILE_BYTES} bytes")
    tail_size = min(size, _END_BYTES + _LOCATOR_BYTES)
    file.seek(size - tail_size)
    tail = file.read(tail_size)
    end = tail[-_END_BYTES:]
    if len(end) < _END_BYTES or end[:4] != b"PK\x05\x06" or end[20:22] != b"\0\0":
        raise BadFeatureFile("not an npz file, or cut off")
    if tail[:4] == b"PK\x06\x07":
        raise BadFeatureFile("too many members")
    if int.from_bytes(end[10:12], "little") > MAX_MEMBERS:
        raise BadFeatureFile(f"more than {MAX_MEMBERS} members")
    if int.from_bytes(end[12:16], "little") > MAX_DIRECTORY_BYTES:
        raise BadFeatureFile("the list of members is too long")
    file.seek(0)


class Members:
    """Arrays of an npz file by name; each is checked from its header before it is read."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._infos = {info.filename: info for info in archive.infolist()}
        if len(self._infos) != len(archive.infolist()):
            raise BadFeatureFile("two members have one name")

    def __contains__(self, name: str) -> bool:
        return f"{name}.npy" in self._infos

    def array(self, name: str, d: int | None = None) -> NDArray[Any]:
        """The array of that name; with ``d``, vectors of that length."""
        if name not in self:
            raise BadFeatureFile(f"holds no array named '{name}'")
        return _read_array(self._archive, self._infos[f"{name}.npy"], d)

    def names(self, name: str, count: int) -> tuple[str, ...] | None:
        """One printable identifier for each of ``count`` rows; None when the file has no such array."""
        if name not in self:
            return None
        names = tuple(str(entry) for entry in self.array(name).tolist())
        if len(names) != count:
            raise BadFeatureFile(f"'{name}' must have one entry for each row")
        for row, entry in enumerate(names):
            if not entry or not entry.isprintable():
                raise BadFeatureFile(f"'{name}' in row {row} is empty or not printable")
        return names

    def records(self, count: int) -> tuple[str, ...] | None:
        """The array ``record``, of which no entry may repeat."""
        records = self.names("record", count)
        seen: dict[str, int] = {}
        for row, record in enumerate(records or ()):
            if seen.setdefault(record, row) != row:
                raise BadFeatureFile(f"'record' in row {row} repeats that of row {seen[record]}")
        return records


def _read(members: Members, d: int | None, subjects: bool) -> FeatureFile:
    embeddings = members.array("embeddings", d)
    records = members.records(len(embeddings))
    people = members.names("subject", len(embeddings)) if subjects else None
    return FeatureFile(embeddings, records, people)


def _read_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, d: int | None) -> NDArray[Any]:
    name = info.filename.removesuffix(".npy")
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BadFeatureFile(f"'{name}' is encrypted or compressed in an unknown way")
    with archive.open(info) as member:
        magic = member.read(8)
        if magic[:6] != b"\x93NUMPY" or magic[6:] not in (b"\1\0", b"\2\0", b"\3\0"):
            raise BadFeatureFile(f"'{name}' is not a numpy array")
        width = 2 if magic[6] == 1 else 4
        length = int.from_bytes(member.read(width), "little")
        if length > MAX_HEADER_BYTES:
            raise BadFeatureFile(f"'{name}' has a header of {length} bytes")
        found = _HEADER.fullmatch(member.read(length))
        if not found:
            raise BadFeatureFile(f"'{name}' must be a plain array of one or two dimensions")
        dtype = _check_type(name, found[1].decode("ascii"))
        shape = tuple(int(part) for part in found.groups()[2:] if part is not None)
        _check_shape(name, shape, d)
        size = int(np.prod(shape, dtype=object)) * dtype.itemsize
        if size > MAX_ARRAY_BYTES:
            raise BadFeatureFile(f"'{name}' is larger than {MAX_ARRAY_BYTES} bytes")
        if info.file_size != 8 + width + length + size:
            raise BadFeatureFile(f"'{name}' has another length than its header says")
        data = member.read(size)
        # Reading to the end makes the zip reader compare the checksum.
        if len(data) != size or member.read(1):
            raise BadFeatureFile(f"'{name}' is cut off")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if found[2] == b"True" else "C")


_BITS: Final = ("codes", "masks")
_ROWS: Final = ("embeddings", *_BITS)


def _check_type(name: str, descr: str) -> np.dtype[Any]:
    kind, size = descr[1], int(descr[2:])
    if name == "embeddings":
        allowed, wanted = kind == "f" and size in (2, 4, 8), "float16, float32 or float64"
    elif name in _BITS:
        allowed, wanted = (kind, size) == ("u", 1), "packed bits (uint8)"
    elif name == "fit":
        allowed, wanted = (kind, size) == ("b", 1), "truth values"
    else:
        wanted = "integers or short text"
        allowed = (kind == "U" and 1 <= size <= MAX_RECORD_CHARS) or (kind in "iu" and size in (1, 2, 4, 8))
    if not allowed:
        raise BadFeatureFile(f"'{name}' must hold {wanted}, not {descr}")
    return np.dtype(descr)


def _check_shape(name: str, shape: tuple[int, ...], d: int | None) -> None:
    if len(shape) != (2 if name in _ROWS else 1):
        raise BadFeatureFile(f"'{name}' has {len(shape)} dimensions")
    if not 1 <= shape[0] <= MAX_ROWS:
        raise BadFeatureFile(f"'{name}' must have 1 to {MAX_ROWS} rows, not {shape[0]}")
    if name == "embeddings" and not 2 <= shape[1] <= MAX_FEATURES:
        raise BadFeatureFile(f"vectors must have 2 to {MAX_FEATURES} entries, not {shape[1]}")
    if name in _BITS and not 1 <= shape[1] <= MAX_CODE_BITS // 8:
        raise BadFeatureFile(f"codes must have 1 to {MAX_CODE_BITS // 8} bytes, not {shape[1]}")
    if d is not None and shape[1] != d:
        raise BadFeatureFile(f"vectors have {shape[1]} entries, but the profile wants {d}")
