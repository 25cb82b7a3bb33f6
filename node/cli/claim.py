"""``concordat claim``: have the other country confirm a hit."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from node.cli.common import Directory, Json, emit, progress_bar, say, typed


def claim(
    directory: Directory,
    exchange: Annotated[
        str, typer.Argument(metavar="EXCHANGE", help="32 hexadecimal digits, from the query.")
    ],
    officer: Annotated[str, typer.Option(help="On whose word; stays in this country.")] = "",
    hit: Annotated[int, typer.Option(min=0, help="Which hit, from 1; not needed if there is one.")] = 0,
    list_: Annotated[
        bool, typer.Option("--list", help="Only show the hits and what became of them.")
    ] = False,
    json: Json = False,
) -> None:
    """Claim a hit: the other country checks its token and learns which record it is.

    Exits 0 when it is confirmed, 1 when it is refused or nobody has answered yet (the node goes on asking), 2 on bad
    usage. A hit is claimed once; the same command again shows what became of it.
    """
    with typed(json):
        from node import admin
        from node.config import NodePaths
        from node.errors import BadConfig, NodeNotServed

        paths = NodePaths(directory)
        paths.read_config()
        if not list_ and not officer:
            raise BadConfig("--officer: a claim needs a name")
        if not admin.is_served(paths.admin_socket):
            raise NodeNotServed(f"a claim needs the running node: concordat node serve {directory}")
        arguments = {"exchange": exchange, "officer": officer, "hit": hit or None, "list": list_}
        with progress_bar(json) as report:
            result = admin.call(paths.admin_socket, "claim", arguments, report)
        emit(json, result, _show)
        if not result["ok"]:
            raise typer.Exit(1)


def _show(result: dict[str, Any]) -> None:
    for one in result["hits"]:
        text = f"{result['to']}: hit {one['hit']} {one['state'].upper()}"
        if one["reason"]:
            text += f", {one['reason']}"
        say(text)
        if one["entries"]:
            say(f"   ledger entries {', '.join(str(entry) for entry in one['entries'])}")
