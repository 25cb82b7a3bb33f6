"""Break the code in known ways; the named tests must fail each time.

A mutant is a file ``NAME.patch``: lines ``Breaks: ...`` and ``Tests: ...`` (pytest arguments), then a
unified diff. Each is applied to a copy of the tree in a temporary directory. First the named tests must pass
there unharmed.

Usage: ``python tests/mutants/run.py [NAME ...]``. Exit 0 only if every mutant applies and is killed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

MUTANTS = Path(__file__).parent
ROOT = MUTANTS.parents[1]
FOLDERS = ("crypto", "protocol", "node", "specs", "tests", "examples", ".ci")
FILES = ("pyproject.toml", "README.md", "Makefile", "requirements.lock", "hatch_build.py")
TESTS_FAILED = 1  # pytest's exit codes: 0 passed, 1 failed; anything else did not run the tests


@dataclass(frozen=True)
class Mutant:
    """One way to break the code."""

    name: str
    breaks: str
    tests: tuple[str, ...]
    patch: Path

    @classmethod
    def read(cls, patch: Path) -> Mutant:
        header: dict[str, str] = {}
        for line in patch.read_text().splitlines():
            if line.startswith("--- "):
                break
            key, _, value = line.partition(": ")
            header[key] = value.strip()
        return cls(patch.stem, header["Breaks"], tuple(header["Tests"].split()), patch)

    @property
    def file(self) -> str:
        """The file it changes."""
        return next(line[6:] for line in self.patch.read_text().splitlines() if line.startswith("+++ b/"))

    def apply(self, tree: Path, *options: str) -> bool:
        """Whether the patch fits, and with no options, apply it."""
        command = ["git", "apply", "-C1", *options, str(self.patch)]
        environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tree.parent)}
        run = subprocess.run(command, cwd=tree, env=environment, capture_output=True, check=False)
        return run.returncode == 0


def all_mutants() -> list[Mutant]:
    """Every mutant, by name."""
    return [Mutant.read(patch) for patch in sorted(MUTANTS.glob("*.patch"))]


def copy_tree(target: Path) -> None:
    """The parts of the tree that tests need."""
    ignore = shutil.ignore_patterns("__pycache__", ".*_cache", ".hypothesis")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, target / name, ignore=ignore)
    for name in FILES:
        shutil.copy2(ROOT / name, target / name)


def run_tests(tree: Path, tests: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """Pytest's run, with the packages imported from ``tree``."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    # A copy has no data beside it; point at what stands beside the original.
    for variable, folder in (("CONCORDAT_REAL_DATA", "data"), ("CONCORDAT_VECTORS", "vectors")):
        beside = ROOT.parent / "shared" / folder
        if beside.is_dir():
            environment.setdefault(variable, str(beside))
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--timeout=120", *tests]
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)


def judge(mutant: Mutant) -> str:
    """``killed``, ``SURVIVED``, ``STALE`` (does not apply) or ``INVALID`` (the tests did not run)."""
    with tempfile.TemporaryDirectory(prefix="concordat-mutant-") as directory:
        tree = Path(directory) / "tree"
        tree.mkdir()
        copy_tree(tree)
        if not mutant.apply(tree):
            return "STALE"
        if Path(mutant.file).suffix in (".c", ".h"):
            subprocess.run([sys.executable, "hatch_build.py"], cwd=tree, check=True)
        code = run_tests(tree, mutant.tests).returncode
    return {TESTS_FAILED: "killed", 0: "SURVIVED"}.get(code, "INVALID")


def check_unharmed(mutants: list[Mutant]) -> bool:
    """Whether all the named tests pass before anything is broken; shows what does not."""
    with tempfile.TemporaryDirectory(prefix="concordat-mutant-") as directory:
        tree = Path(directory) / "tree"
        tree.mkdir()
        copy_tree(tree)
        run = run_tests(tree, tuple(sorted({test for mutant in mutants for test in mutant.tests})))
    if run.returncode:
        print(run.stdout[-3000:] + run.stderr[-3000:])
    return run.returncode == 0


def main(names: list[str]) -> int:
    """Judge the named mutants, or all of them."""
    mutants = [mutant for mutant in all_mutants() if not names or mutant.name in names]
    if not mutants:
        print("no such mutant")
        return 2
    if not check_unharmed(mutants):
        print("the named tests fail on the unharmed tree: mend them first")
        return 1
    killed = 0
    for mutant in mutants:
        verdict = judge(mutant)
        killed += verdict == "killed"
        print(f"{verdict:8}  {mutant.name}  {mutant.file}  {mutant.breaks}", flush=True)
    print(f"{len(mutants)} mutants, {killed} killed")
    return 0 if killed == len(mutants) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
