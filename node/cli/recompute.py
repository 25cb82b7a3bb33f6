"""``concordat audit recompute``: a logged answer, computed again from what both sides put into escrow."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from node.cli.auditor import Exchange, check_purpose, private_key
from node.cli.common import Json, emit, perform, progress_bar, say, typed, write_new


def recompute(
    exchange: Exchange,
    key: Annotated[Path, typer.Option(help="The auditor's key, for both nodes unless another is named.")],
    responder: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Directory of the node that answered.")
    ] = None,
    requester: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Directory of the node that asked.")
    ] = None,
    requester_key: Annotated[
        Path | None, typer.Option(help="The auditor's key for the node that asked.")
    ] = None,
    purpose: Annotated[
        str, typer.Option(help="lawfulness-check, self-monitoring, security or proceedings.")
    ] = "lawfulness-check",
    write_answer: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the answer to a new file, for the other side's auditor."),
    ] = None,
    answer: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="An answer so written, instead of --responder: open it, compare the result."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Compute a logged answer again and compare its bytes; exit 0 if they are the same and nothing differs.

    Each node logs the reading. What differs first is named, and so is what is missing; both exit 1.
    """
    with typed(json):
        from crypto.sealing import public_key
        from node.daemon import real_scheme
        from node.errors import BadConfig
        from node.recompute import recompute as compute
        from node.recompute_inputs import read_inputs
        from node.record_operations import exchange_of

        if answer is None and responder is None:
            raise BadConfig("name --responder, or --requester with --answer")
        if answer is not None and (responder is not None or requester is None):
            raise BadConfig("--answer goes with --requester alone")
        if write_answer is not None and responder is None:
            raise BadConfig("--write-answer goes with --responder")
        check_purpose(purpose)
        ours = private_key(key)
        theirs = ours if requester_key is None else private_key(requester_key)
        keys = {responder: ours, requester: theirs}

        def ask(directory: Path, arguments: dict[str, Any]) -> dict[str, Any]:
            who = {"key": public_key(keys[directory]).hex(), "purpose": purpose}
            return perform(directory, "audit.recompute", {**arguments, **who}, as_json=json)

        exchange_id = exchange_of(exchange)
        inputs, readings = read_inputs(
            exchange_id,
            ask,
            None if responder is None else (responder, ours),
            None if requester is None else (requester, theirs),
            answer,
        )
        blocks: list[bytes] = []
        with progress_bar(json) as report:

            def progress(step: str, done: int, total: int) -> None:
                report({"step": step} | ({"done": done, "total": total} if total else {}))

            keep = blocks.append if write_answer is not None else lambda _: None
            found = compute(inputs, real_scheme(), progress, keep)
        result = {**found.to_json(), "readings": readings}
        if write_answer is not None and found.verdict == "reproduced":
            write_new(write_answer, b"".join(blocks), 0o600)
            result["written"] = str(write_answer)
        emit(json, result, _show)
        if not result["ok"]:
            raise typer.Exit(1)


def _show(result: dict[str, Any]) -> None:
    first = result["first_difference"]
    verdict = {
        "reproduced": f"reproduced: {result['blocks']} block(s), the same bytes",
        "differs": f"DIFFERS at: {first['step'] if first else ''}",
        "incomplete": "NOT COMPLETE: it could not be computed again",
    }[result["verdict"]]
    say(f"{result['exchange']}: {verdict}")
    for step in result["steps"]:
        blame = f" (word of {step['blame']})" if "blame" in step else ""
        say(f"   {step['step']:10} {step['verdict']:9} {step['what']}{blame}")
    for country, entry in result["readings"].items():
        say(f"   read as entry {entry} of {country}")
    if "written" in result:
        say(f"   written: {result['written']}")
