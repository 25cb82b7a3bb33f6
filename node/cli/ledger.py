"""``concordat ledger``: begin a successor after a loss, and what peers need to accept it."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from crypto.checkpoint_text import split_checkpoint
from crypto.note import parse_note
from node.cli.common import Directory, Json, emit, perform, read_file, say, typed, write_new
from node.config import NodePaths
from node.ledger_store import CHECKPOINT

app = typer.Typer(
    help="This node's own ledger: copies, witnesses, loss and succession.", no_args_is_help=True
)

MAX_CHECKPOINT = 64 * 1024


@app.command()
def succeed(
    directory: Directory,
    reason: Annotated[
        str, typer.Option(help="Why; kept on the ledger, for the auditors.", show_default=False)
    ],
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="The ledger's checkpoint that a peer holds (repeat for each peer)."
        ),
    ] = None,
    operator: Annotated[str, typer.Option(help="Who decides.")] = "operator",
    json: Json = False,
) -> None:
    """Begin a successor of a lost or restored ledger, at its last witnessed checkpoint. Stop the node before.

    The old ledger stays where it is. No exchange happens until each peer's operator has accepted the succession.
    """
    with typed(json):
        from node.succession import succeed as begin

        notes = [read_file(one, MAX_CHECKPOINT, "checkpoint") for one in checkpoint or []]
        result = begin(directory, operator, reason, notes, time.time_ns() // 1_000_000)
        emit(json, result, _show_succeeded)


def _show_succeeded(result: dict[str, Any]) -> None:
    lost = max(0, result["size"] - result["copy_size"])
    say(f"{result['ledger']} succeeds {result['previous']}, last witnessed at {result['size']} entries")
    say(f"of these {lost} are lost here; peers and their auditors have what they were shown of them")
    say("now: concordat ledger succession DIR -o FILE, and carry FILE to each peer's operator")


@app.command()
def succession(
    directory: Directory,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A new file.")] = None,
    json: Json = False,
) -> None:
    """Write the signed succession of this ledger, for the peers' operators."""
    with typed(json):
        result = perform(directory, "ledger.succession", {}, as_json=json)
        data = base64.b64decode(result["succession"])
        if output is not None:
            write_new(output, data)
        emit(json, result, lambda _: say(f"fingerprint of the new descriptor: {result['fingerprint']}"))


@app.command()
def copy(
    directory: Directory,
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="A directory that does not exist yet.")],
    json: Json = False,
) -> None:
    """Copy the ledger as it is at its newest checkpoint, to hand over or keep, also while the node is served.

    The copy can be audited like the ledger itself. It holds payloads, sealed to the node and its auditors.
    """
    with typed(json):
        from node.errors import StorageFailed
        from node.ledger_copy import copy_ledger

        paths = NodePaths(directory)
        paths.read_config()
        try:
            files = copy_ledger(paths.ledger, target)
            note = (target / CHECKPOINT).read_bytes()
        except OSError as error:
            raise StorageFailed(f"{error.filename or target}: {error.strerror}") from None
        size = split_checkpoint(parse_note(note).text).size
        shown = {"ledger": str(paths.ledger), "copy": str(target), "files": files, "size": size}
        emit(json, shown, lambda _: say(f"{size} entries, {files} files, in {target}"))


@app.command()
def witnesses(
    directory: Directory,
    quorum: Annotated[
        str | None,
        typer.Option(help="How many must cosign before anything is sent: none, any, all, or a number."),
    ] = None,
    third: Annotated[
        list[str] | None,
        typer.Option(metavar="'NAME VKEY [URL]'", help="A witness that is no peer (repeat)."),
    ] = None,
    json: Json = False,
) -> None:
    """Show the ledger's witnesses; with --quorum write them anew: all accepted peers, and third parties.

    What happens below the quorum is the setting below_quorum of node.toml: degrade (send, say so, log it) or refuse.
    """
    with typed(json):
        arguments = {"quorum": quorum, "third": third or []}
        result = perform(directory, "ledger.witnesses", arguments, as_json=json)
        emit(json, result, _show_witnesses)


def _show_witnesses(result: dict[str, Any]) -> None:
    say(result["policy"].rstrip("\n"))
    if result["quorum"] is None:
        say("no witness has to cosign: nobody outside vouches that this is the only history")
    else:
        say(f"below the quorum: {result['below']}")
