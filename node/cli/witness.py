"""``concordat witness``: cosign checkpoints of others, or have one of ours cosigned (C2SP tlog-witness)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from node.cli.common import Json, emit, read_file, say, typed, write_new

app = typer.Typer(help="Cosign checkpoints for others, or have one cosigned.", no_args_is_help=True)

Home = Annotated[Path, typer.Argument(metavar="DIR", help="The witness's directory.", show_default=False)]


@app.command()
def init(
    directory: Home,
    name: Annotated[str, typer.Option(help="Under which it signs: a URL without scheme.")],
    json: Json = False,
) -> None:
    """Make a witness with fresh Ed25519 and ML-DSA-44 keys. It knows no log yet."""
    with typed(json):
        from node.witness_store import WitnessDirectory, create_witness, new_seed

        create_witness(directory, name, new_seed())
        with WitnessDirectory.open(directory) as store:
            emit(json, _shown(store), _show)


@app.command("add-log")
def add_log(
    directory: Home,
    vkey: Annotated[list[str], typer.Argument(metavar="VKEY...", help="Verifier keys of logs.")],
    json: Json = False,
) -> None:
    """Know a log, or a further key of it. A served witness must be stopped first."""
    with typed(json):
        from crypto.note import LogVerifier, parse_vkey
        from node.errors import BadConfig
        from node.witness_store import WitnessDirectory

        keys = []
        for one in vkey:
            key = parse_vkey(one)
            if not isinstance(key, LogVerifier):
                raise BadConfig(f"{key.name}: a log needs a key of type 0x01 or 0x06")
            keys.append(key)
        with WitnessDirectory.open(directory) as store:
            store.add_logs(keys)
            emit(json, _shown(store), _show)


@app.command()
def show(directory: Home, json: Json = False) -> None:
    """The witness's verifier keys, the logs it knows, and forks it was shown. Stop a served witness first."""
    with typed(json):
        from node.witness_store import WitnessDirectory

        with WitnessDirectory.open(directory) as store:
            emit(json, _shown(store), _show)


@app.command()
def serve(
    directory: Home,
    listen: Annotated[str, typer.Option(metavar="ADDRESS:PORT", help="Port 0 lets the system choose.")],
) -> None:
    """Answer add-checkpoint over plain HTTP until SIGINT or SIGTERM; TLS is for a proxy in front."""
    with typed(False):
        from node.errors import BadConfig
        from node.witness_server import run

        host, colon, port = listen.rpartition(":")
        if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise BadConfig(f"not address:port: {listen}")
        run(directory, host.strip("[]"), int(port), say)


@app.command()
def ask(
    ledger: Annotated[
        Path, typer.Argument(metavar="LEDGER", help="A ledger's directory.", show_default=False)
    ],
    policy: Annotated[Path, typer.Option(help="tlog-policy file; witness lines with a URL are asked.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A new file.")] = None,
    json: Json = False,
) -> None:
    """Have a ledger's checkpoint cosigned; exit 0 if the policy's quorum is met, 1 if not."""
    with typed(json):
        import asyncio

        from node.witness_client import ask_for_ledger
        from protocol.log_policy import MAX_POLICY_BYTES

        asked = asyncio.run(ask_for_ledger(ledger, read_file(policy, MAX_POLICY_BYTES, "policy")))
        if output is not None:
            write_new(output, asked["checkpoint"].encode())
        emit(json, asked, lambda result: _show_asked(result, output))
        if not asked["ok"]:
            raise typer.Exit(1)


def _show_asked(result: dict[str, Any], output: Path | None) -> None:
    for url, code in result["errors"].items():
        say(f"{url}: {code}")
    say("the quorum is met" if result["ok"] else result["missing"])
    say(f"written: {output}" if output else result["checkpoint"].rstrip("\n"))


def _shown(store: Any) -> dict[str, Any]:
    return {
        "name": store.name,
        "vkeys": [key.vkey for key in store.verifiers],
        "logs": sorted({key.name for key in store.logs}),
        "forks": store.forks(),
    }


def _show(result: dict[str, Any]) -> None:
    say(f"witness {result['name']}")
    for vkey in result["vkeys"]:
        say(vkey)
    for origin in result["logs"]:
        say(f"knows {origin}")
    for origin in result["forks"]:
        say(f"FORK kept in forks/{origin}.seen and .shown")
