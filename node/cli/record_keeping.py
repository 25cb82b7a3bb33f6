"""The part of ``concordat audit`` with which an operator looks after what was logged."""

from __future__ import annotations

from typing import Annotated

import typer

from node.cli.auditor import Exchange, Node
from node.cli.common import Json, emit, perform, say, typed

Operator = Annotated[str, typer.Option(help="Who does it, for the ledger.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands to ``concordat audit``."""
    for command in (erase, hold, release, confirm):
        app.command(command.__name__)(command)


def erase(
    directory: Node,
    operator: Operator,
    really: Annotated[bool, typer.Option("--really", help="Erase; without it only count.")] = False,
    json: Json = False,
) -> None:
    """Erase payloads whose retention (``[retention]`` in node.toml, days by legal basis) has ended."""
    with typed(json):
        result = perform(directory, "audit.erase", {"operator": operator, "really": really}, as_json=json)
        verb = "erased" if really else "to be erased (repeat with --really)"
        emit(
            json,
            result,
            lambda r: say(
                f"{r['erased']} payloads of {r['exchanges']} exchanges {verb}, {r['held']} held back"
            ),
        )


def hold(
    directory: Node,
    exchange: Exchange,
    operator: Operator,
    authority: Annotated[str, typer.Option(help="Who asks for it.")],
    reference: Annotated[str, typer.Option(help="Of the order.")],
    json: Json = False,
) -> None:
    """Place a legal hold: no payload of this exchange is erased until it is released."""
    with typed(json):
        arguments = {
            "exchange": exchange,
            "operator": operator,
            "authority": authority,
            "reference": reference,
        }
        result = perform(directory, "audit.hold", arguments, as_json=json)
        emit(json, result, lambda r: say(f"held, entry {r['entry']}"))


def release(directory: Node, exchange: Exchange, operator: Operator, json: Json = False) -> None:
    """Release every legal hold on an exchange."""
    with typed(json):
        result = perform(
            directory, "audit.release", {"exchange": exchange, "operator": operator}, as_json=json
        )
        emit(json, result, lambda r: say(f"released, entries {', '.join(map(str, r['entries']))}"))


def confirm(
    directory: Node,
    exchange: Exchange,
    examiner: Annotated[str, typer.Option(help="Who compared.")],
    second_examiner: Annotated[str, typer.Option(help="Who verified it, somebody else.")],
    match: Annotated[bool, typer.Option("--match/--no-match", help="The same person, or not.")],
    disclosed_to: Annotated[str, typer.Option(help="To whom the outcome was disclosed.")] = "",
    json: Json = False,
) -> None:
    """Log what two persons found when they compared what a hit led to."""
    with typed(json):
        arguments = {
            "exchange": exchange,
            "confirmed": match,
            "examiner": examiner,
            "second_examiner": second_examiner,
            "disclosed_to": disclosed_to,
        }
        result = perform(directory, "audit.confirm", arguments, as_json=json)
        emit(json, result, lambda r: say(f"logged, entry {r['entry']}"))
