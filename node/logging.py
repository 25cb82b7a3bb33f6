"""Logs as one JSON object a line, from a closed list of fields, so that no secret can slip in by accident.

A template, a score, a key, a probe, a body or a case number is not in the list of fields. Unknown fields are
dropped and their names counted, never their values.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Final

FIELDS: Final = frozenset(
    {
        "block",
        "blocks",
        "bytes",
        "code",
        "country",
        "endpoint",
        "exchange",
        "index",
        "peer",
        "reason",
        "resumed",
        "seconds",
        "size",
        "state",
        "status",
        "step",
        "worker",
    }
)
_logger = logging.getLogger("concordat")
_logger.addHandler(logging.NullHandler())  # a command that has words of its own for people logs nowhere


class _JsonLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, str | int | float] = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        fields = getattr(record, "fields", {})
        line.update(fields)
        # ASCII alone: a peer's path must not reach the operator's terminal as control characters.
        return json.dumps(line)


class _Library(logging.Handler):
    """What libraries say may quote anything, with a traceback: only that they said something is kept."""

    def emit(self, record: logging.LogRecord) -> None:
        level = "warning" if record.levelno < logging.ERROR else "error"
        log("a library complained", level=level, reason=record.name)


def configure(level: str = "info", path: str | None = None) -> None:
    """Send the log to standard error, or append it to a file."""
    handler: logging.Handler = logging.FileHandler(path) if path else logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLine())
    for old in list(_logger.handlers):
        _logger.removeHandler(old)
        old.close()
    _logger.addHandler(handler)
    _logger.setLevel(level.upper())
    _logger.propagate = False
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(_Library(logging.WARNING))


def log(event: str, *, level: str = "info", **fields: str | int | float | bytes | None) -> None:
    """Write one line. Bytes are shown as hex, cut to 16 bytes; None is left out.

    Args:
        event: What happened, a fixed phrase without data in it.
        level: debug, info, warning or error.
        fields: Only names in ``FIELDS`` are written.
    """
    shown: dict[str, str | int | float] = {}
    dropped = 0
    for name, value in fields.items():
        if name not in FIELDS:
            dropped += 1
        elif isinstance(value, bytes):
            shown[name] = value[:16].hex()
        elif value is not None:
            shown[name] = value
    if dropped:
        shown["dropped_fields"] = dropped
    _logger.log(getattr(logging, level.upper()), event, extra={"fields": shown})
