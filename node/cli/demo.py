"""``concordat demo``: three countries on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from node.cli.common import Json, typed


def demo(
    keep: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Leave the nodes in DIR/us, DIR/cl and DIR/co.")
    ] = None,
    json: Json = False,
) -> None:
    """Three nodes as real processes: a hit, a no-hit, a refusal, and the audit of all three ledgers.

    All people in it are synthetic. Exits 0 if everything happened as it should, 1 otherwise.
    """
    with typed(json):
        from node.demo import run_demo

        if not run_demo(keep, json):
            raise typer.Exit(1)
