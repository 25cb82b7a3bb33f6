"""The key files of an auditor: one line each.

Source: specs/ledger.md, section "Auditors".
"""

from __future__ import annotations

from typing import Final

from crypto.errors import BadEncoding, InputError
from crypto.sealing import KEY_BYTES
from crypto.textforms import decode_base64, encode_base64

_PRIVATE: Final = "concordat-auditor-key-v1:"
_PUBLIC: Final = "concordat-auditor-v1:"


class BadAuditorKey(InputError):
    """Not an auditor's key file, or of the other kind."""

    code = "bad-auditor-key"


def format_private(private: bytes) -> str:
    """The line of a private key file, newline included."""
    return f"{_PRIVATE}{encode_base64(private)}\n"


def format_public(public: bytes) -> str:
    """The line of a public key file, newline included."""
    return f"{_PUBLIC}{encode_base64(public)}\n"


def parse_private(text: str) -> bytes:
    """The 32 secret bytes of a private key file; ``BadAuditorKey`` on anything else."""
    return _parse(text, _PRIVATE, "an auditor's private key")


def parse_public(text: str) -> bytes:
    """The 32 bytes of a public key file; ``BadAuditorKey`` on anything else."""
    return _parse(text, _PUBLIC, "an auditor's public key")


def _parse(text: str, prefix: str, what: str) -> bytes:
    line = text.removesuffix("\n")
    if not line.startswith(prefix):
        raise BadAuditorKey(f"not {what}: the line begins with {prefix}")
    try:
        key = decode_base64(line.removeprefix(prefix), what)
    except BadEncoding as error:
        raise BadAuditorKey(str(error)) from None
    if len(key) != KEY_BYTES:
        raise BadAuditorKey(f"{what} has {KEY_BYTES} bytes")
    return key
