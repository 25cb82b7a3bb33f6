"""Text forms that have exactly one spelling each: base64 and decimal integers.

Python's own parsers are lenient (``int("4_2")`` is 42, ``b64decode("AA!!AA")`` succeeds), so every value
read from text is encoded again and compared.

Source: RFC 4648 section 4; specs/ledger.md, section "Text forms".
"""

from __future__ import annotations

import base64
import binascii

from crypto.errors import BadEncoding


def encode_base64(data: bytes) -> str:
    """Standard base64 with padding."""
    return base64.b64encode(data).decode("ascii")


def decode_base64(text: str, what: str) -> bytes:
    """Decode canonical padded base64; raise ``BadEncoding`` on any other spelling."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, ValueError):
        raise BadEncoding(f"{what}: not base64") from None
    if encode_base64(data) != text:
        raise BadEncoding(f"{what}: base64 in another than its one canonical spelling")
    return data


def decode_decimal(text: str, what: str, limit: int = 2**63 - 1) -> int:
    """Read an ASCII decimal of ``0 <= value <= limit`` without sign or leading zeros."""
    if not (0 < len(text) <= 20 and text.isascii() and text.isdigit()):
        raise BadEncoding(f"{what}: not a decimal number")
    value = int(text)
    if str(value) != text:
        raise BadEncoding(f"{what}: a decimal number with leading zeros")
    if value > limit:
        raise BadEncoding(f"{what}: above {limit}")
    return value
