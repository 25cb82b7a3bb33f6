"""Where the public test vectors are, and a loud skip where they are not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def public_vectors() -> Path:
    """The directory of public vectors: ``CONCORDAT_VECTORS`` or ``../shared/vectors`` beside the repository."""
    given = os.environ.get("CONCORDAT_VECTORS")
    path = Path(given) if given else Path(__file__).resolve().parents[3] / "shared" / "vectors"
    if not path.is_dir():
        pytest.skip(f"PUBLIC VECTORS ARE MISSING: no {path}; set CONCORDAT_VECTORS", allow_module_level=True)
    return path
