"""The operations of ``concordat audit`` that need the node itself, by name; see ``node.operations``."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Any, Final

from node import records
from node.admin import Report
from node.core import NodeCore
from node.errors import BadConfig
from node.recompute_sources import sources

_EXCHANGE = re.compile(r"[0-9a-f]{32}\Z")


def _text(arguments: dict[str, Any], name: str) -> str:
    value = arguments.get(name)
    if not isinstance(value, str) or not value:
        raise BadConfig(f"{name}: a text is expected")
    return value


def exchange_of(text: str) -> bytes:
    """An exchange id from 32 hexadecimal digits; raises ``BadConfig``."""
    if not _EXCHANGE.match(text):
        raise BadConfig("an exchange is named by 32 lower-case hexadecimal digits")
    return bytes.fromhex(text)


def _key(arguments: dict[str, Any]) -> bytes:
    try:
        return bytes.fromhex(_text(arguments, "key"))
    except ValueError:
        raise BadConfig("key: hexadecimal digits are expected") from None


def _read(core: NodeCore, arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Log that the whole ledger is about to be read."""
    auditor = records.auditor_of(core, _key(arguments))
    scope: Any = _text(arguments, "scope")
    size = core.journal.ledger.size
    entry = records.log_reading(core, auditor, _text(arguments, "purpose"), scope, 0, size).index
    return {"entry": entry, "size": size}


def _open(core: NodeCore, arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Log that one payload is about to be read, then hand it over, sealed as it lies there."""
    auditor = records.auditor_of(core, _key(arguments))
    index = arguments.get("index")
    if not isinstance(index, int) or not 0 <= index < core.journal.ledger.size:
        raise BadConfig(f"the ledger has entries 0 to {core.journal.ledger.size - 1}")
    entry = records.log_reading(core, auditor, _text(arguments, "purpose"), "payload", index, 1).index
    box = core.journal.sealed(index)
    return {
        "entry": entry,
        "index": index,
        "leaf": base64.b64encode(core.journal.leaf(index).to_bytes()).decode(),
        "payload": None if box is None else base64.b64encode(box.to_bytes()).decode(),
    }


def _recompute(core: NodeCore, arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Log that an exchange is about to be read, then hand over what an auditor computes its answer from again."""
    auditor = records.auditor_of(core, _key(arguments))
    exchange = exchange_of(_text(arguments, "exchange"))
    keys = arguments.get("evaluation_keys")
    wanted = None if keys is None else bytes.fromhex(_text(arguments, "evaluation_keys"))
    return sources(core, exchange, auditor, _text(arguments, "purpose"), wanted)


def _erase(core: NodeCore, arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    return records.erase(core, _text(arguments, "operator"), arguments.get("really") is True)


def _hold(core: NodeCore, arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    exchange = exchange_of(_text(arguments, "exchange"))
    words = [_text(arguments, name) for name in ("operator", "authority", "reference")]
    return {"entry": records.hold(core, exchange, *words).index}


def _release(core: NodeCore, arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    exchange = exchange_of(_text(arguments, "exchange"))
    released = records.release(core, exchange, _text(arguments, "operator"))
    return {"entries": [one.index for one in released]}


def _confirm(core: NodeCore, arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    recorded = records.confirm(
        core,
        exchange_of(_text(arguments, "exchange")),
        arguments.get("confirmed") is True,
        _text(arguments, "examiner"),
        _text(arguments, "second_examiner"),
        arguments.get("disclosed_to") or None,
    )
    return {"entry": recorded.index}


RECORD_OPERATIONS: Final[dict[str, Callable[[NodeCore, dict[str, Any], Report], dict[str, Any]]]] = {
    "audit.read": _read,
    "audit.open": _open,
    "audit.recompute": _recompute,
    "audit.erase": _erase,
    "audit.hold": _hold,
    "audit.release": _release,
    "audit.confirm": _confirm,
}
