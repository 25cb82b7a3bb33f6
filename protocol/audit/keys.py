"""The key files of an auditor: one line each, and in the public file a second for a TLS certificate.

Source: specs/ledger.md, section "Auditors".
"""

from __future__ import annotations

from typing import Final

from crypto.errors import BadEncoding, InputError
from crypto.sealing import KEY_BYTES
from crypto.textforms import decode_base64, encode_base64

_PRIVATE: Final = "concordat-auditor-key-v1:"
_PUBLIC: Final = "concordat-auditor-v1:"
_CERTIFICATE: Final = "concordat-auditor-certificate-v1:"
_TLS_KEY: Final = "concordat-auditor-tls-key-v1:"
MAX_DER_BYTES: Final = 4096


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


def format_certificate(certificate: bytes) -> str:
    """The second line of a public file: the TLS certificate (DER) under which the auditor connects."""
    return f"{_CERTIFICATE}{encode_base64(certificate)}\n"


def format_tls(key: bytes, certificate: bytes) -> str:
    """The file of an auditor's TLS key (PKCS#8 DER) with its certificate."""
    return f"{_TLS_KEY}{encode_base64(key)}\n{format_certificate(certificate)}"


def parse_public_file(text: str) -> tuple[bytes, bytes | None]:
    """Public key, and certificate if there is one; ``BadAuditorKey`` on anything else."""
    first, newline, second = text.removesuffix("\n").partition("\n")
    certificate = _der(second, _CERTIFICATE, "an auditor's certificate") if newline else None
    return parse_public(first), certificate


def parse_tls(text: str) -> tuple[bytes, bytes]:
    """TLS key and certificate; ``BadAuditorKey`` on anything else."""
    first, _, second = text.removesuffix("\n").partition("\n")
    return (
        _der(first, _TLS_KEY, "an auditor's TLS key"),
        _der(second, _CERTIFICATE, "an auditor's certificate"),
    )


def _der(line: str, prefix: str, what: str) -> bytes:
    if not line.startswith(prefix) or len(line) > 2 * MAX_DER_BYTES:
        raise BadAuditorKey(f"not {what}: the line begins with {prefix}")
    try:
        return decode_base64(line.removeprefix(prefix), what)
    except BadEncoding as error:
        raise BadAuditorKey(str(error)) from None


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
