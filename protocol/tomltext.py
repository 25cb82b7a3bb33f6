"""The TOML that Concordat writes and accepts: basic strings, UTC times of whole seconds.

Source: specs/agreements.md, section "Text".
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from crypto.errors import ConcordatError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


MAX_DOTS: Final = 128
"""In one line: a key of k parts costs the parser k^2, and a document of ours has keys of one part."""


def read_toml(text: bytes, error: type[ConcordatError]) -> dict[str, Any]:
    """Parse a document that somebody else wrote; whatever is wrong with it raises ``error``."""
    if any(line.count(b".") > MAX_DOTS for line in text.split(b"\n")):
        raise error(f"a line with more than {MAX_DOTS} dots")
    try:
        return tomllib.loads(text.decode())
    except UnicodeDecodeError:
        raise error("not UTF-8") from None
    except (ValueError, RecursionError):
        # Also what the parser does not catch itself: an integer of any length, brackets of any depth.
        raise error("not TOML") from None


def quote(text: str) -> str:
    """A TOML basic string. The text is printable (a field of our models), so two characters need escaping."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def quote_list(texts: Sequence[str]) -> str:
    """A TOML array of basic strings on one line."""
    return "[" + ", ".join(quote(text) for text in texts) + "]"


def time_text(time_ms: int) -> str:
    """``2026-01-31T12:00:00Z``; the milliseconds are dropped."""
    return (_EPOCH + timedelta(seconds=time_ms // 1000)).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_time(value: object, name: str, error: type[ConcordatError]) -> int:
    """Milliseconds since 1970 of a TOML time in UTC and whole seconds; raises ``error`` otherwise."""
    if not isinstance(value, datetime) or value.utcoffset() != timedelta(0) or value.microsecond:
        raise error(f"{name}: a time in UTC with whole seconds is expected, such as 2026-01-31T12:00:00Z")
    seconds = (value - _EPOCH).total_seconds()
    if seconds < 0:
        raise error(f"{name}: a time before 1970")
    return int(seconds) * 1000
