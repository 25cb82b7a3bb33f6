"""``concordat node``: make, serve and look at a node."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from node.cli.common import Directory, Json, emit, perform, say, typed
from node.cli.peer import key_words

app = typer.Typer(help="Make, serve and look at a node.", no_args_is_help=True)


@app.command()
def init(
    directory: Directory,
    country: Annotated[str, typer.Option(help="Two capital letters, ISO 3166-1.")],
    endpoint: Annotated[str, typer.Option(help="https://host:port under which peers reach this node.")],
    authority: Annotated[str, typer.Option(help="Name of the authority that runs the node.")] = "",
    listen: Annotated[str, typer.Option(help="https://address:port to bind; the endpoint by default.")] = "",
    auditor: Annotated[list[Path] | None, typer.Option(help="Public key of an auditor (repeat).")] = None,
    unlock_file: Annotated[Path | None, typer.Option(help="Passphrase file; made if not named.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="Search processes; default: one a core.")
    ] = None,
    memory_mib: Annotated[
        int | None,
        typer.Option(
            min=64, help="Keys, encoded galleries, queries at work; default: half of the machine's."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Make a node: keys, certificate, descriptor and an empty ledger."""
    with typed(json):
        from node.config import default_memory_mib, default_workers
        from node.setup import create_node, read_auditor

        result = create_node(
            directory,
            country=country,
            authority=authority or f"National authority of {country}",
            endpoint=endpoint,
            listen=listen or endpoint,
            auditors=[read_auditor(one) for one in auditor or []],
            unlock_file=unlock_file,
            workers=workers or default_workers(),
            memory_mib=memory_mib or default_memory_mib(),
        )
        emit(json, result, _show_init)


def _show_init(result: dict[str, Any]) -> None:
    say(f"node {result['country']} made in {result['directory']}")
    say(f"descriptor fingerprint: {result['fingerprint']}")
    if result["auditors"] == 0:
        say("no auditor named: ledger payloads can be opened by this node alone")


@app.command()
def serve(
    directory: Directory,
    log_file: Annotated[Path | None, typer.Option(help="Append the log here, not to stderr.")] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Run the node until SIGINT or SIGTERM."""
    with typed(False):
        from node.daemon import serve as run
        from node.errors import BadConfig

        if log_level not in ("debug", "info", "warning", "error"):
            raise BadConfig(f"no such log level: {log_level}")
        run(directory, log_file, log_level)


@app.command()
def status(directory: Directory, json: Json = False) -> None:
    """Ledger size, peers, galleries and open exchanges."""
    with typed(json):
        emit(json, perform(directory, "status", {}, as_json=json), _show_status)


def _show_status(result: dict[str, Any]) -> None:
    served = "served" if result["served"] else "not served"
    say(f"{result['country']} · {result['authority']} · {result['endpoint']} · {served}")
    say(f"ledger   {result['ledger']['size']} entries, root {result['ledger']['root'][:16]}…")
    say(f"peers    {', '.join(result['peers']) or 'none'}")
    for peer, teller in result["owes_proof"].items():
        say(
            f"UNPROVEN {peer} owes a proof that what {teller} was shown is of one history with what is held here"
        )
    for peer in result["alone_with"]:
        say(f"ALONE    with {peer}: nobody outside the pair has to cosign what the two show each other")
    for one in result["keys"]:
        say(f"keys     {one['peer']}: {key_words(one)}")
    for one in result["registering"]:
        problem = f" ({one['problem']})" if one["problem"] else ""
        say(f"keys     {one['peer']}: registering, {one['step']} {one['done']} of {one['total']}{problem}")
    exchanges = result["exchanges"]
    say(f"queries  {exchanges['asked']} asked, {exchanges['served']} served, {exchanges['open']} open")
    say(f"search   scores by {result['arithmetic']}")
    for gallery in result["galleries"]:
        say(f"gallery  {gallery['modality']} {gallery['profile']}: {gallery['records']} records")


@app.command()
def exchanges(directory: Directory, json: Json = False) -> None:
    """All exchanges and what became of them, also of a query that a restart cut off."""
    with typed(json):
        emit(json, perform(directory, "exchanges", {}, as_json=json), _show_exchanges)


def _show_exchanges(result: dict[str, Any]) -> None:
    for one in result["exchanges"]:
        outcome = f", {one['outcome']}" if one["outcome"] not in (None, "", one["state"]) else ""
        reason = f", {one['reason']}" if one["reason"] else ""
        say(f"{one['exchange']}  {one['role']:6} {one['peer']}  {one['state']}{outcome}{reason}")
