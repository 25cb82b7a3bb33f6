"""Compiles the search's kernel when the package is installed; also a program: ``python hatch_build.py``.

The compiler is ``$CC``, or ``cc``. Without one the package installs all the same, and searches through SEAL alone.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path("crypto/hitsearch")
LIBRARY = "_kernel.so"
FLAGS = ["-std=c11", "-O3", "-Wall", "-Wextra", "-fPIC", "-shared"]


def build(root: Path) -> bool:
    """Compile the kernel in the tree; False, and a word on stderr, where that is not to be had."""
    folder = root / FOLDER
    library = folder / LIBRARY
    library.unlink(missing_ok=True)
    files = sorted(folder.glob("_kernel*.[ch]"))
    # The library carries the digest of its sources: crypto/hitsearch/kernel_library.py uses no other
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    compiler = shlex.split(os.environ.get("CC", "cc"))
    extra = shlex.split(os.environ.get("CFLAGS", ""))
    new = library.with_suffix(f".{os.getpid()}.tmp")
    command = [*compiler, *FLAGS, *extra, f'-DKERNEL_SOURCE="{digest}"', "-o", str(new)]
    command += [str(file) for file in files if file.suffix == ".c"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - of who installs
        problem = run.stderr.strip() if run.returncode else ""
    except OSError as error:
        problem = str(error)
    if problem:
        new.unlink(missing_ok=True)
        print(f"The kernel was not built; searches go through SEAL alone.\n{problem}", file=sys.stderr)
        return False
    new.replace(library)
    return True


class KernelHook(BuildHookInterface[Any]):
    """Hatchling's side of it."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Before a wheel or an editable install is put together."""
        if build(Path(self.root)) and version == "standard":
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{platform}"
            build_data["artifacts"].append(f"/{FOLDER}/{LIBRARY}")


if __name__ == "__main__":
    build(Path(__file__).parent)
