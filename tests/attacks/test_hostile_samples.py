"""Files to calibrate and to fit on, and where their results go: a typed error, little memory, nothing half-written."""

from __future__ import annotations

import io
import json
import resource
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from crypto.code_fitting import fit_code_profile, usual_form
from node import measuring
from node.calibration import Calibration
from node.cli.common import write_new
from node.cli.main import app
from node.errors import BadConfig, BadFeatureFile, StorageFailed
from node.measuring import fit_samples, score_pairs
from node.profiles import builtin
from node.samples import Samples

ROWS = np.random.default_rng(1).normal(size=(40, 128))
WHO = np.repeat(np.arange(10), 4)
CODES = np.random.default_rng(2).integers(0, 256, (4, 8192)).astype(np.uint8)


def run(*arguments: Any) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert result.exception is None or isinstance(result.exception, SystemExit), "a traceback"
    return result.exit_code, json.loads(result.stdout)


def written(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def samples(vectors: np.ndarray | None, labels: np.ndarray, codes: np.ndarray | None = None) -> Samples:
    shape = (1, 1, 65536, 1) if codes is not None else None
    masks = None if codes is None else np.full_like(codes, 255)
    names = tuple(map(str, labels.tolist()))
    return Samples(vectors, codes, masks, shape, labels, labels, names, None)


@pytest.mark.parametrize("size", [1e13, 1e200, 1.7e308])
@pytest.mark.parametrize("command", ["calibrate", "profile fit"])
def test_rows_whose_squares_leave_the_range_are_named(tmp_path: Path, size: float, command: str) -> None:
    rows = ROWS.copy()
    rows[7] = np.sign(rows[7]) * size
    file = written(tmp_path / "a.npz", embeddings=rows, subject=WHO, fit=WHO < 5)
    more = ["--profile", "embedding-128", "--fit"] if command == "calibrate" else ["--name", "x"]
    if command == "profile fit":
        more += ["--output", str(tmp_path / "x.json")]
    code, found = run(*command.split(), file, *more)
    assert (code, found["error"]["code"]) == (2, "bad-features")
    assert "row 7" in found["error"]["message"]
    assert not (tmp_path / "x.json").exists()


@pytest.mark.parametrize("scale", [2.0**900, 2.0**-900])
def test_the_plain_comparator_does_not_see_the_size_of_a_row(tmp_path: Path, scale: float) -> None:
    """Rates that are no numbers are no JSON, and no warning to whoever reads them."""
    found = [
        run(
            "calibrate",
            written(tmp_path / "a.npz", embeddings=rows, subject=WHO),
            "--profile",
            "embedding-128",
        )
        for rows in (ROWS, ROWS * scale)
    ]
    assert [code for code, _ in found] == [0, 0]
    assert found[0][1]["plain"] == found[1][1]["plain"]


def test_a_code_of_one_long_circle_takes_no_gigabytes() -> None:
    form = usual_form((1, 1, 65536, 1))
    tracemalloc.start()
    try:
        masks = np.full_like(CODES, 255)
        fit_code_profile(CODES, masks, np.array([0, 0, 1, 1]), "iris-512", form, name="x", fitted_on="nobody")
        assert tracemalloc.get_traced_memory()[1] < 300 * 2**20
    finally:
        tracemalloc.stop()


def test_as_many_rows_are_fitted_on_as_memory_is_spent_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "MAX_FITTED", ROWS.size - 1)
    monkeypatch.setattr(measuring, "MAX_FITTED_BITS", 8 * CODES.size - 1)
    for rows in (samples(ROWS, WHO), samples(None, WHO[:4], CODES)):
        family = "iris-512" if rows.codes is not None else "embedding-128"
        with pytest.raises(BadFeatureFile, match="leave people out"):
            fit_samples(rows, family, name="x", fitted_on="nobody")


def test_people_who_are_not_measured_take_no_memory() -> None:
    """A million subjects in a file that sets all but ten of them apart."""
    profile = builtin("embedding-128")
    few, many = samples(ROWS, WHO), samples(ROWS, WHO + 2**20)
    found = [Calibration(score_pairs(one, profile, lambda _: None), profile.search) for one in (few, many)]
    assert found[0].rates() == found[1].rates()
    assert found[1]._weights.shape == found[0]._weights.shape


@pytest.mark.parametrize(
    "option", ["--fpir=nan", "--fpir=0", "--fpir=2", "--gallery=0", "--gallery=8589934593"]
)
def test_numbers_out_of_range_are_bad_usage(tmp_path: Path, option: str) -> None:
    result = CliRunner().invoke(
        app, ["calibrate", str(tmp_path / "a.npz"), "--profile", "embedding-128", option]
    )
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def zipped(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def array(descr: str, shape: str, data: bytes) -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (117 - len(text)) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


VECTORS = array("<f8", "(40, 128)", ROWS.tobytes())
HOSTILE: dict[str, dict[str, bytes]] = {
    "labels are no characters": {"subject.npy": array("<U4", "(40,)", b"\xff" * 640)},
    "labels are half characters": {"subject.npy": array("<U1", "(40,)", b"\0\xd8\0\0" * 40)},
    "labels are bytes": {"subject.npy": array("|S4", "(40,)", b"abcd" * 40)},
    "labels are objects": {"subject.npy": array("|O8", "(40,)", bytes(320))},
    "labels are endless": {"subject.npy": array("<U9999", "(40,)", bytes(40 * 4 * 9999))},
    "labels say more": {"subject.npy": array("<i8", "(1048576,)", bytes(320))},
    "shape is negative": {"shape.npy": array("<i8", "(4,)", np.array([-1, -64, 64, 1]).tobytes())},
    "truth is a number": {"fit.npy": array("<i8", "(40,)", bytes(320))},
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_members_are_refused_by_both_commands(tmp_path: Path, case: str) -> None:
    file = tmp_path / "a.npz"
    first = {"embeddings.npy": VECTORS}
    if case == "shape is negative":
        codes = array("|u1", "(40, 512)", bytes(40 * 512))
        first = {"codes.npy": codes, "masks.npy": codes}
    file.write_bytes(zipped(first | HOSTILE[case]))
    output = tmp_path / "x.json"
    for command in (
        ["calibrate", file, "--profile", "embedding-128"],
        ["profile", "fit", file, "--name", "x", "--output", output],
    ):
        code, found = run(*command)
        assert (code, found["error"]["code"]) == (2, "bad-feature-file")
        assert "a.npz" in found["error"]["message"]
    assert not output.exists()


def test_results_that_cannot_be_written_are_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def worked(path: Path) -> Samples:
        raise AssertionError("the file was read")

    monkeypatch.setattr("node.samples.read_samples", worked)
    (tmp_path / "there").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("there", "link", "none/x.json"):
        fit = run("profile", "fit", tmp_path / "a.npz", "--name", "x", "--output", tmp_path / name)
        det = run("calibrate", tmp_path / "a.npz", "--profile", "embedding-128", "--det", tmp_path / name)
        for code, found in (fit, det):
            assert (code, found["error"]["code"]) == (2, "bad-config")
            assert name in found["error"]["message"]
    assert (tmp_path / "there").read_text() == "mine"


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file of this process grows beyond a page."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_no_half_file(tmp_path: Path, full_disk: None) -> None:
    with pytest.raises(StorageFailed):
        write_new(tmp_path / "x.json", bytes(10_000))
    assert not (tmp_path / "x.json").exists()
    write_new(tmp_path / "x.json", b"small")
    with pytest.raises(BadConfig):
        write_new(tmp_path / "x.json", b"other")
