"""Feature files are hostile input: every size is checked before it is believed."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from node import features
from node.errors import BadFeatureFile
from node.features import read_features, read_probe
from node.synthetic import write_features

ROWS = np.random.default_rng(1).normal(size=(5, 8)).astype(np.float32)


def npz(**arrays: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def zipped(members: list[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return out.getvalue()


def header(shape: str, descr: str = "<f4", rest: bytes = b"") -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (117 - len(text)) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + rest


@pytest.mark.parametrize("kind", ["f2", "<f4", ">f4", "f8"])
@pytest.mark.parametrize("fortran", [False, True])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_writes_is_read(
    tmp_path: Path, kind: str, fortran: bool, save: Callable[..., None]
) -> None:
    array = np.asarray(ROWS.astype(kind), order="F" if fortran else "C")
    save(tmp_path / "a.npz", embeddings=array, record=np.arange(5), subject=np.arange(9))
    found = read_features(tmp_path / "a.npz", 8)
    assert np.array_equal(found.embeddings, array)
    assert found.records == ("0", "1", "2", "3", "4")


def test_written_features_come_back(tmp_path: Path) -> None:
    write_features(tmp_path / "a.npz", ROWS, ["p", "q", "r", "\u00e9", "x" * 64])
    assert read_features(tmp_path / "a.npz").records == ("p", "q", "r", "\u00e9", "x" * 64)
    write_features(tmp_path / "b.npz", ROWS)
    assert read_features(tmp_path / "b.npz").records is None


class Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("trap",)


def objects() -> bytes:
    out = io.BytesIO()
    np.save(out, np.array([Trap()], dtype=object), allow_pickle=True)
    return out.getvalue()


def many_members() -> bytes:
    return zipped([(f"{i}.npy", b"") for i in range(33)])


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


GOOD = zipped([("embeddings.npy", npy(ROWS))], zipfile.ZIP_STORED)

WRONG: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "text": lambda: b"not a zip file at all, but long enough to be looked at",
    "an npy file": lambda: npy(ROWS),
    "cut off": lambda: GOOD[:-1],
    "cut in the middle": lambda: GOOD[: len(GOOD) // 2],
    "the end of a file only": lambda: GOOD[100:],
    "something behind": lambda: GOOD + b"\0",
    "a flipped data bit": lambda: flipped(GOOD, 200),
    "no embeddings": lambda: npz(features=ROWS),
    "one dimension": lambda: npz(embeddings=ROWS[0]),
    "three dimensions": lambda: npz(embeddings=ROWS[None]),
    "no rows": lambda: npz(embeddings=ROWS[:0]),
    "other columns": lambda: npz(embeddings=ROWS[:, :7]),
    "integers": lambda: npz(embeddings=ROWS.astype(np.int32)),
    "long doubles": lambda: npz(embeddings=ROWS.astype(np.longdouble)),
    "complex": lambda: npz(embeddings=ROWS.astype(np.complex64)),
    "structured": lambda: npz(embeddings=np.zeros((5, 8), [("a", "<f4")])),
    "pickled objects": lambda: zipped([("embeddings.npy", objects())]),
    "pickled records": lambda: zipped([("embeddings.npy", npy(ROWS)), ("record.npy", objects())]),
    "records of another length": lambda: npz(embeddings=ROWS, record=np.arange(4)),
    "records of two dimensions": lambda: npz(embeddings=ROWS, record=np.zeros((5, 1), int)),
    "records of fractions": lambda: npz(embeddings=ROWS, record=np.zeros(5)),
    "records too long": lambda: npz(embeddings=ROWS, record=np.array(["x" * 65] * 5)),
    "repeated records": lambda: npz(embeddings=ROWS, record=np.array(["a", "b", "c", "d", "b"])),
    "an empty record": lambda: npz(embeddings=ROWS, record=np.array(["a", "b", "", "d", "e"])),
    "a record with a control character": lambda: npz(embeddings=ROWS, record=np.array(list("ab\x1bde"))),
    "two members of one name": lambda: duplicate(),
    "too many members": many_members,
    "not an array": lambda: zipped([("embeddings.npy", b"hello, this is no array")]),
    "an empty member": lambda: zipped([("embeddings.npy", b"")]),
    "a future version": lambda: zipped([("embeddings.npy", b"\x93NUMPY\x09\x00" + npy(ROWS)[8:])]),
    "a header that lies about rows": lambda: zipped(
        [("embeddings.npy", header("(6, 8)", rest=ROWS.tobytes()))]
    ),
    "a header that hides data": lambda: zipped([("embeddings.npy", header("(4, 8)", rest=ROWS.tobytes()))]),
    "a bomb": lambda: zipped([("embeddings.npy", header("(1048576, 2048)", rest=bytes(2**20)))]),
    "a huge shape": lambda: zipped([("embeddings.npy", header("(9999999999, 8)"))]),
    "a negative shape": lambda: zipped([("embeddings.npy", header("(-5, 8)", rest=ROWS.tobytes()))]),
    "an expression for a shape": lambda: zipped(
        [("embeddings.npy", header("(5, 2**3)", rest=ROWS.tobytes()))]
    ),
    "a long header": lambda: zipped(
        [("embeddings.npy", b"\x93NUMPY\x02\x00" + (2**31).to_bytes(4, "little") + b" " * 5000)]
    ),
    "unknown compression": lambda: zipped([("embeddings.npy", npy(ROWS))], zipfile.ZIP_BZIP2),
    "encrypted": lambda: encrypted(),
    "a list of members that is too long": lambda: zipped([("embeddings.npy", npy(ROWS)), ("x" * 20000, b"")]),
}


def duplicate() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("embeddings.npy", npy(ROWS))
        archive.writestr("embeddingz.npy", npy(ROWS + 1))
    return out.getvalue().replace(b"embeddingz", b"embeddings")


def encrypted() -> bytes:
    data = bytearray(GOOD)
    at = data.rindex(b"PK\x01\x02")
    data[at + 8] |= 1
    data[6] |= 1
    return bytes(data)


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files_are_refused(tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.npz"
    path.write_bytes(WRONG[case]())
    with pytest.raises(BadFeatureFile, match=r"^a\.npz: "):
        read_features(path, 8)
    assert not (tmp_path / "trap").exists(), "something was unpickled"


def test_missing_files_directories_and_large_files_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (tmp_path / "none.npz", tmp_path, Path("a\0b.npz")):
        with pytest.raises(BadFeatureFile):
            read_features(path)
    (tmp_path / "a.npz").write_bytes(GOOD)
    monkeypatch.setattr(features, "MAX_FILE_BYTES", len(GOOD) - 1)
    with pytest.raises(BadFeatureFile, match="larger"):
        read_features(tmp_path / "a.npz")


def test_every_cut_of_a_good_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    for length in range(0, len(GOOD), 7):
        path.write_bytes(GOOD[:length])
        with pytest.raises(BadFeatureFile):
            read_features(path)


def test_no_flipped_byte_gives_other_vectors(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    for at in range(len(GOOD)):
        path.write_bytes(flipped(GOOD, at))
        try:
            found = read_features(path)
        except BadFeatureFile:
            continue
        assert np.array_equal(found.embeddings, ROWS), f"byte {at}"


def test_a_probe_is_one_row(tmp_path: Path) -> None:
    many, one = tmp_path / "many.npz", tmp_path / "a:1.npz"
    write_features(many, ROWS)
    write_features(one, ROWS[:1])
    assert np.array_equal(read_probe(f"{many}:3"), ROWS[3])
    assert np.array_equal(read_probe(str(one)), ROWS[0])
    assert np.array_equal(read_probe(f"{one}:0"), ROWS[0])
    for text in (str(many), f"{many}:5", f"{many}:-1", f"{many}:x", f"{many}:", f"{many}:99999999", ":0", ""):
        with pytest.raises(BadFeatureFile):
            read_probe(text)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_wrong_checksum_is_refused(tmp_path: Path, method: int) -> None:
    data = bytearray(zipped([("embeddings.npy", npy(ROWS))], method))
    data[14] ^= 1
    data[data.rindex(b"PK\x01\x02") + 16] ^= 1
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(BadFeatureFile):
        read_features(tmp_path / "a.npz")


def test_subjects_are_read_on_request_and_may_repeat(tmp_path: Path) -> None:
    write_features(tmp_path / "a.npz", ROWS, subjects=["p", "p", "q", "q", "q"])
    assert read_features(tmp_path / "a.npz").subjects is None
    assert read_features(tmp_path / "a.npz", subjects=True).subjects == ("p", "p", "q", "q", "q")
    np.savez(tmp_path / "b.npz", embeddings=ROWS, subject=np.arange(9))
    assert read_features(tmp_path / "b.npz").records is None
    with pytest.raises(BadFeatureFile, match="subject"):
        read_features(tmp_path / "b.npz", subjects=True)
