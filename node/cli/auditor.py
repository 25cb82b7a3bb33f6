"""What the commands of ``concordat audit`` take from an auditor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from node.cli.common import read_file

MAX_KEY_BYTES = 1024

Node = Annotated[Path, typer.Argument(metavar="DIR", help="The node's directory.", show_default=False)]
Key = Annotated[Path, typer.Option(help="The auditor's key.")]
Purpose = Annotated[str, typer.Option(help="lawfulness-check, self-monitoring, security or proceedings.")]
Exchange = Annotated[str, typer.Argument(metavar="EXCHANGE", help="32 hexadecimal digits.")]


def private_key(key: Path) -> bytes:
    """An auditor's private key from its file; raises ``BadConfig``."""
    from node.errors import BadConfig
    from protocol.audit.keys import parse_private

    try:
        return parse_private(read_file(key, MAX_KEY_BYTES, "auditor's key").decode())
    except UnicodeDecodeError:
        raise BadConfig(f"auditor's key {key}: not a text file") from None


def check_purpose(purpose: str) -> None:
    """What every node refuses is bad usage here, also where no node is asked."""
    from node.errors import BadConfig
    from node.records import PURPOSES

    if purpose not in PURPOSES:
        raise BadConfig(f"a log is read for one of: {', '.join(PURPOSES)}")
