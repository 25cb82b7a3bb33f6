"""``concordat gallery``: what a node searches in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from node.cli.common import Directory, Json, emit, perform, say, typed

app = typer.Typer(help="The templates that a node answers from.", no_args_is_help=True)


@app.command("import")
def import_(
    directory: Directory,
    file: Annotated[Path, typer.Argument(metavar="FILE.npz", help="Arrays: embeddings, and record ids.")],
    modality: Annotated[str, typer.Option(help="face, iris or fingerprint.")],
    profile: Annotated[str, typer.Option(help="Name of a built-in profile, or a profile file.")],
    operator: Annotated[str, typer.Option(help="Who imports; in the ledger's sealed part.")] = "operator",
    json: Json = False,
) -> None:
    """Replace a gallery by the records of a file."""
    with typed(json):
        arguments = {
            "file": str(file.absolute()),
            "modality": modality,
            "profile": str(Path(profile).absolute()) if profile.endswith(".json") else profile,
            "operator": operator,
        }
        result = perform(directory, "gallery.import", arguments, as_json=json)
        emit(json, result, _show_import)


def _show_import(result: dict[str, Any]) -> None:
    say(f"{result['records']} records in {result['blocks']} block(s), ledger entry {result['entry']}")


@app.command()
def reshuffle(
    directory: Directory,
    modality: Annotated[str, typer.Option(help="face, iris or fingerprint.")],
    profile: Annotated[str, typer.Option(help="Name of its profile.")],
    operator: Annotated[str, typer.Option(help="Who does it; in the ledger's sealed part.")] = "operator",
    json: Json = False,
) -> None:
    """Give every record a fresh slot: hits from now on are not linked to earlier ones by their slots.

    Do it once in each epoch of the keys. Answers of before can no longer be computed again by an audit.
    """
    with typed(json):
        arguments = {"modality": modality, "profile": profile, "operator": operator}
        result = perform(directory, "gallery.reshuffle", arguments, as_json=json)
        emit(json, result, _show_import)


@app.command("list")
def list_(directory: Directory, json: Json = False) -> None:
    """Show galleries: counts only."""
    with typed(json):
        emit(json, perform(directory, "gallery.list", {}, as_json=json), _show_list)


def _show_list(result: dict[str, Any]) -> None:
    if not result["galleries"]:
        say("no gallery")
    for one in result["galleries"]:
        say(f"{one['modality']} {one['profile']}: {one['records']} records, {one['blocks']} block(s)")
