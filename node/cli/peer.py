"""``concordat peer``: exchange descriptors, and accept them by fingerprint."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Annotated, Any

import typer

from node.cli.common import Directory, Json, emit, perform, read_file, say, typed, write_new
from protocol.limits import MAX_DESCRIPTOR
from protocol.succession import MAX_SUCCESSION_BYTES

app = typer.Typer(help="Descriptors: who a peer is, and by which keys.", no_args_is_help=True)


@app.command()
def export(
    directory: Directory,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A new file.")] = None,
    json: Json = False,
) -> None:
    """Write this node's signed descriptor, to be carried to a peer."""
    with typed(json):
        result = perform(directory, "peer.export", {}, as_json=json)
        data = base64.b64decode(result["descriptor"])
        if output is not None:
            write_new(output, data)
        emit(json, result, lambda _: _show_export(result, data, output))


def _show_export(result: dict[str, Any], data: bytes, output: Path | None) -> None:
    if output is None:
        say(data.decode().rstrip("\n"))
    else:
        say(f"fingerprint: {result['fingerprint']}")


@app.command()
def add(
    directory: Directory,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The peer's descriptor.")],
    fingerprint: Annotated[
        str, typer.Option(help="As confirmed with the peer by another way; refused if it differs.")
    ] = "",
    json: Json = False,
) -> None:
    """Accept a peer. Without --fingerprint only shows what it is, accepts nothing and exits 1."""
    with typed(json):
        data = base64.b64encode(read_file(file, MAX_DESCRIPTOR, "descriptor")).decode()
        arguments = {"descriptor": data, "fingerprint": fingerprint}
        result = perform(directory, "peer.add", arguments, as_json=json)
        emit(json, result, _show_add)
        if not result["accepted"]:
            raise typer.Exit(1)


def _show_add(result: dict[str, Any]) -> None:
    _show_one(result["peer"])
    if result["accepted"]:
        say("accepted, and on the ledger")
    else:
        say("not accepted: confirm the fingerprint with the peer, then add it with --fingerprint")


Reason = Annotated[str, typer.Option(help="Why; kept on the ledger, for the auditors.", show_default=False)]
Operator = Annotated[str, typer.Option(help="Who decides.")]
Country = Annotated[str, typer.Argument(metavar="COUNTRY", help="An accepted peer.", show_default=False)]


@app.command()
def suspend(
    directory: Directory,
    country: Country,
    reason: Reason,
    operator: Operator = "operator",
    json: Json = False,
) -> None:
    """Stop exchanges with a peer until it is resumed. On the ledger."""
    _decide(directory, "peer.suspend", country, reason, operator, json)


@app.command()
def resume(
    directory: Directory,
    country: Country,
    reason: Reason,
    operator: Operator = "operator",
    json: Json = False,
) -> None:
    """Take up exchanges with a suspended peer, once the operators have talked. On the ledger."""
    _decide(directory, "peer.resume", country, reason, operator, json)


def _decide(directory: Path, operation: str, country: str, reason: str, operator: str, json: bool) -> None:
    with typed(json):
        arguments = {"country": country, "reason": reason, "operator": operator}
        result = perform(directory, operation, arguments, as_json=json)
        emit(json, result, _show_decided)


def _show_decided(result: dict[str, Any]) -> None:
    state = "suspended" if result["suspended_for"] else "taken up again"
    say(f"exchanges with {result['country']} are {state}; entry {result['entry']}")


@app.command()
def witnessed(
    directory: Directory,
    country: Country,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A new file.")] = None,
    json: Json = False,
) -> None:
    """Write the newest checkpoint held of a peer's ledger, cosigned: what its operator needs after a loss."""
    with typed(json):
        result = perform(directory, "peer.witnessed", {"country": country}, as_json=json)
        if output is not None:
            write_new(output, result["checkpoint"].encode())
        emit(
            json,
            result,
            lambda _: say(result["checkpoint"].rstrip("\n") if output is None else f"written: {output}"),
        )


@app.command()
def succeed(
    directory: Directory,
    country: Country,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The succession, from the peer.")],
    fingerprint: Annotated[str, typer.Option(help="Of the new descriptor, confirmed by another way.")] = "",
    operator: Operator = "operator",
    json: Json = False,
) -> None:
    """Go on with a peer under its successor ledger. Without --fingerprint only shows it and exits 1."""
    with typed(json):
        data = base64.b64encode(read_file(file, MAX_SUCCESSION_BYTES, "succession")).decode()
        arguments = {"country": country, "succession": data, "fingerprint": fingerprint, "operator": operator}
        result = perform(directory, "peer.succeed", arguments, as_json=json)
        emit(json, result, _show_succeeded)
        if not result["accepted"]:
            raise typer.Exit(1)


def _show_succeeded(result: dict[str, Any]) -> None:
    peer = result["peer"]
    _show_one(peer)
    say(f"   {peer['ledger']} goes on after {peer['previous']} of {peer['previous_size']} entries")
    if result["accepted"]:
        say("accepted, and on the ledger")
    else:
        say("not accepted: confirm the fingerprint with the peer, then repeat with --fingerprint")


@app.command()
def evidence(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="From conflicts/ beside a ledger.")],
    descriptor: Annotated[
        Path | None, typer.Option(help="The accused's: whether the key in the file is really theirs.")
    ] = None,
    json: Json = False,
) -> None:
    """Check a file that accuses a peer; needs no node. Exit 0 only if it proves what it says."""
    with typed(json):
        from protocol.accusations import MAX_ACCUSATION_BYTES

        data = read_file(file, MAX_ACCUSATION_BYTES, "evidence")
        theirs = None if descriptor is None else read_file(descriptor, MAX_DESCRIPTOR, "descriptor")
        emit(json, _convicted(data, theirs), _show_evidence)


def _convicted(data: bytes, descriptor: bytes | None) -> dict[str, Any]:
    from crypto.hitsearch.made_again import keys_hash, plan_identifier
    from node.errors import BadConfig
    from protocol.accusations import read_accusation
    from protocol.conflict import Conflict, conflict_log, verify_conflict
    from protocol.descriptor import read_descriptor
    from protocol.key_evidence import verify_key_evidence

    found = read_accusation(data)
    theirs = None if descriptor is None else read_descriptor(descriptor)
    if isinstance(found, Conflict):
        log = conflict_log(found)
        what, key, accused = verify_conflict(found, log), log.vkey, log.name
        known = None if theirs is None else theirs.fields.ledger_vkey == log.vkey
    else:
        what = verify_key_evidence(found, keys_hash, plan_identifier)
        key, accused = found.identity.hex(), found.accused
        known = (
            None
            if theirs is None
            else (theirs.fields.identity_key == found.identity and theirs.country == found.accused)
        )
    if known is False:
        raise BadConfig("the file accuses another key than that of the descriptor")
    return {
        "rule": found.rule,
        "accused": accused,
        "key": key,
        "key_confirmed": known is True,
        "digest": found.digest.hex(),
        "proven": what,
    }


def _show_evidence(result: dict[str, Any]) -> None:
    say(f"{result['rule']}: {result['proven']}")
    whose = (
        "as in the descriptor" if result["key_confirmed"] else "compare it with the descriptor of the accused"
    )
    say(f"   against {result['accused']}, signed by {result['key']}, {whose}")


@app.command()
def show(
    directory: Directory,
    country: Annotated[str, typer.Argument(help="One country; all if not named.")] = "",
    json: Json = False,
) -> None:
    """Show accepted peers."""
    with typed(json):
        emit(json, perform(directory, "peer.show", {"country": country}, as_json=json), _show_all)


def _show_all(result: dict[str, Any]) -> None:
    for peer in result["peers"]:
        _show_one(peer)


def _show_one(peer: dict[str, Any]) -> None:
    say(f"{peer['country']} · {peer['authority']} · {peer['endpoint']}")
    say(f"   fingerprint {peer['fingerprint']}")
    if "seen_size" in peer:
        say(f"   ledger seen up to {peer['seen_size']} entries, ours cosigned up to {peer['cosigned_size']}")
    for one in peer.get("keys", []):
        say(f"   {key_words(one)}")
    if peer.get("suspended_for"):
        say(f"   SUSPENDED: {peer['suspended_for']}")


def key_words(one: dict[str, Any]) -> str:
    """One line about evaluation keys of ours at a peer, or of a peer here."""
    whose = "our keys there" if one["whose"] == "ours" else "their keys here"
    if one["state"] != "registered":
        return f"{whose}: {one['state']}, for the epoch until {one['until']}"
    return f"{whose}: in use until {one['until']}, one of {one['sets']} sets"
