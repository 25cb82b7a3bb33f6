"""The profiles that come with the program, fitted on synthetic people; a real extractor needs its own."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Final

from crypto.errors import BadProfile
from crypto.profiles import Profile, load_profile

DIGESTS: Final = {
    "embedding-128": "6c16aafd628e90c9499fca697eba6c7ca8e5fd4ac7629278ef6cb20d25e98b24",
    "embedding-256": "4e74d7907cb9c8ff5a13f3ac2801f3b8042119dfedaedf336ee6d1c36e8f1f07",
    "embedding-512": "f15046a97fc0a3f7955b984596790f979107b3a4f6d46cb1c2ad885fa71217e3",
    "finger-1024": "ecb77bb423f11ace4b8899dbd1d4a3624ec67a47afc2cccb978facb79d93c67f",
    "iris-512": "1d9b1f2885d8c923a5b2a8521b4c157d099e2f89b5e9a645373a8f5cebc6660f",
}


@cache
def builtin(name: str) -> Profile:
    """One of the built-in profiles, checked against its pinned digest.

    Raises:
        BadProfile: No built-in profile has this name, or its file was changed.
    """
    if name not in DIGESTS:
        raise BadProfile(f"no built-in profile of that name; there are: {', '.join(DIGESTS)}")
    data = files("node.profiles").joinpath(f"{name}.json").read_bytes()
    return load_profile(data, bytes.fromhex(DIGESTS[name]))
