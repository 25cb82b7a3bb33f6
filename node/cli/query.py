"""``concordat query``: ask other countries."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated, Any

import typer

from crypto.errors import ConcordatError
from node import admin
from node.cli.common import Directory, Json, emit, errors, progress_bar, say, typed


def query(
    directory: Directory,
    to: Annotated[str, typer.Option(help="Countries to ask, by commas: US,CO.")],
    modality: Annotated[str, typer.Option(help="face, iris or fingerprint.")],
    probe: Annotated[str, typer.Option(metavar="FILE.npz[:INDEX]", help="The feature vector to ask for.")],
    purpose: Annotated[str, typer.Option(help="As the agreement names it.")],
    offence: Annotated[str, typer.Option(help="Offence category.")],
    person: Annotated[str, typer.Option(help="Person category.")],
    legal_basis: Annotated[str, typer.Option(help="Legal basis.")],
    case: Annotated[str, typer.Option(help="Case reference; stays in this country.")],
    officer: Annotated[str, typer.Option(help="Who asks; stays in this country.")],
    approver: Annotated[str, typer.Option(help="Who ordered or validated it; stays in this country.")],
    json: Json = False,
) -> None:
    """Ask whether other countries know a person. Ctrl-C calls the question off, in the other countries too.

    Exits 0 when every country answered (hit or no hit), 1 when one refused or failed, 2 on bad usage.
    """
    with typed(json):
        from node.config import NodePaths
        from node.errors import NodeNotServed

        paths = NodePaths(directory)
        paths.read_config()
        if not admin.is_served(paths.admin_socket):
            raise NodeNotServed(f"a query needs the running node: concordat node serve {directory}")
        path, colon, index = probe.rpartition(":")
        if not (colon and index.isascii() and index.isdigit()):
            path, index = probe, ""
        arguments = {
            "to": [one.strip() for one in to.split(",")],
            "modality": modality,
            "probe": str(Path(path).absolute()) + (f":{index}" if index else ""),
            "purpose": purpose,
            "offence": offence,
            "person_category": person,
            "legal_basis": legal_basis,
            "case_reference": case,
            "officer": officer,
            "approver": approver,
        }
        opened: set[str] = set()
        with progress_bar(json) as show:

            def report(progress: dict[str, Any]) -> None:
                opened.update(progress.get("exchange", "").split())
                show(progress)

            try:
                result = admin.call(paths.admin_socket, "query", arguments, report)
            except KeyboardInterrupt:
                for exchange in sorted(opened):
                    _call_off(paths.admin_socket, exchange)
                raise
        emit(json, result, _show)
        if not result["ok"]:
            raise typer.Exit(1)


def _call_off(socket: Path, exchange: str) -> None:
    """One whose outcome stands already stays as it is."""
    with contextlib.suppress(ConcordatError):
        admin.call(socket, "query.cancel", {"exchange": exchange}, timeout=10)
        errors.print(f"exchange {exchange} is called off")


def _show(result: dict[str, Any]) -> None:
    for one in result["results"]:
        text = f"{one['to']}: {one['outcome'].upper()}"
        if one["outcome"] == "hit":
            text += f" ({one['hits']})"
        if one.get("reason"):
            text += f", {one['reason']}"
        if one.get("retry_after_s"):
            text += f"; ask again in {one['retry_after_s']} s"
        say(text)
        where = f"exchange {one['exchange']}" if one.get("exchange") else "no exchange was opened"
        if one.get("entries"):
            where += f", ledger entries {', '.join(str(entry) for entry in one['entries'])}"
        say(f"   {where}")
