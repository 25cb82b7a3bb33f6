"""``concordat agreement``: what two countries allow each other to ask."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from node.cli.common import Directory, Json, emit, perform, read_file, say, typed, write_new
from protocol.limits import MAX_AGREEMENT, MAX_DESCRIPTOR

app = typer.Typer(help="Bilateral agreements, signed over their exact text.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(metavar="FILE", help="The agreement.")]


@app.command()
def new(
    output: Annotated[Path, typer.Argument(metavar="FILE", help="A new file: the text, not yet signed.")],
    parties: Annotated[list[Path], typer.Option("--party", help="A party's descriptor (twice).")],
    name: Annotated[str, typer.Option(help="What people call the agreement.")],
    modality: Annotated[str, typer.Option(help="face, iris or fingerprint.")],
    profile: Annotated[str, typer.Option(help="Name of a built-in profile, or a profile file.")],
    purpose: Annotated[list[str], typer.Option(help="A covered purpose (repeat).")],
    offence: Annotated[list[str], typer.Option(help="A covered offence category (repeat).")],
    person: Annotated[list[str], typer.Option(help="A covered person category (repeat).")],
    legal_basis: Annotated[list[str], typer.Option(help="A legal basis (repeat).")],
    years: Annotated[int, typer.Option(min=1, max=20, help="How long it is valid.")] = 5,
    requester: Annotated[str, typer.Option(help="Only this country may ask; both if not named.")] = "",
    witnesses: Annotated[
        Path | None, typer.Option(help="tlog-policy without logs: who must have cosigned what both show.")
    ] = None,
    json: Json = False,
) -> None:
    """Write the text of an agreement from two descriptors; edit it before anyone signs."""
    with typed(json):
        from crypto.profiles import MAX_PROFILE_BYTES, load_profile
        from node.errors import BadConfig
        from node.profiles import builtin
        from protocol.agreement import AgreementFields, Grant, draft_agreement
        from protocol.descriptor import read_descriptor
        from protocol.limits import DAY
        from protocol.seen_by import MAX_DEMAND_BYTES

        if len(parties) != 2:
            raise BadConfig("an agreement has two parties: name two descriptors with --party")
        first, second = (read_descriptor(read_file(one, MAX_DESCRIPTOR, "descriptor")) for one in parties)
        path = Path(profile)
        data = read_file(path, MAX_PROFILE_BYTES, "profile") if path.suffix else None
        known = builtin(profile) if data is None else load_profile(data)
        directions = [(first.country, second.country), (second.country, first.country)]
        now_ms = time.time_ns() // 1_000_000_000 * 1000
        demand = None if witnesses is None else _text(read_file(witnesses, MAX_DEMAND_BYTES, "witnesses"))
        try:
            grants = [
                Grant(
                    requester=asking,
                    responder=asked,
                    modality=modality,  # type: ignore[arg-type]
                    profile=known.name,
                    profile_digest=known.digest,
                    purposes=purpose,
                    offences=offence,
                    person_categories=person,
                    legal_bases=legal_basis,
                )
                for asking, asked in directions
                if requester in ("", asking)
            ]
            fields = AgreementFields(
                name=name,
                serial=1,
                not_before_ms=now_ms,
                not_after_ms=now_ms + years * 365 * DAY,
                grants=grants,
                witnesses=demand,
            )
        except ValueError as error:
            from pydantic import ValidationError

            from protocol.model import describe

            raise BadConfig(describe(error) if isinstance(error, ValidationError) else str(error)) from None
        data = draft_agreement(fields, first, second)
        write_new(output, data)
        emit(json, {"file": str(output), "bytes": len(data)}, lambda _: say(f"written: {output}"))


def _text(data: bytes) -> str:
    from node.errors import BadConfig

    try:
        return data.decode()
    except UnicodeDecodeError:
        raise BadConfig("witnesses: not UTF-8") from None


@app.command()
def sign(directory: Directory, file: File, json: Json = False) -> None:
    """Sign an agreement as this node's country; once both have signed, it is in force on this node.

    The signed text replaces the file. Signing again puts an agreement in force that is complete by now.
    """
    with typed(json):
        data = base64.b64encode(read_file(file, MAX_AGREEMENT, "agreement")).decode()
        result = perform(directory, "agreement.sign", {"agreement": data}, as_json=json)
        signed = base64.b64decode(result.pop("agreement"))
        beside = file.with_name(f".{file.name}.new")
        write_new(beside, signed)
        beside.replace(file)
        emit(json, result, _show_signed)


def _show_signed(result: dict[str, Any]) -> None:
    say(f"signed by {' and '.join(result['signed_by'])}")
    if result["in_force"]:
        say(f"in force on this node, ledger entry {result['entry']}")


@app.command()
def show(file: File, json: Json = False) -> None:
    """Show an agreement in words, signed or not."""
    with typed(json):
        emit(json, _describe(file), _show)


@app.command()
def verify(file: File, json: Json = False) -> None:
    """Exit 0 if both parties' signatures hold and it is valid now, 1 otherwise."""
    with typed(json):
        result = _describe(file)
        result["ok"] = result["in_force"] and result["valid_now"]
        emit(json, result, _show)
        if not result["ok"]:
            raise typer.Exit(1)


def _describe(file: Path) -> dict[str, Any]:
    from protocol.agreement import read_agreement, read_text
    from protocol.errors import BadAgreement
    from protocol.tomltext import time_text

    data = read_file(file, MAX_AGREEMENT, "agreement")
    try:
        agreement = read_agreement(data)
    except BadAgreement:
        agreement = read_text(data)
    fields = agreement.fields
    now_ms = time.time_ns() // 1_000_000
    return {
        "name": fields.name,
        "serial": fields.serial,
        "digest": agreement.digest.hex(),
        "countries": list(agreement.countries),
        "fingerprints": {party.country: party.fingerprint for party in agreement.parties},
        "signed_by": sorted(agreement.signed_by),
        "in_force": agreement.in_force,
        "not_before": time_text(fields.not_before_ms),
        "not_after": time_text(fields.not_after_ms),
        "witnesses": fields.witnesses,
        "valid_now": fields.not_before_ms <= now_ms < fields.not_after_ms,
        "grants": [
            {**grant.model_dump(exclude={"profile_digest"}), "profile_digest": grant.profile_digest.hex()}
            for grant in fields.grants
        ],
    }


def _show(result: dict[str, Any]) -> None:
    say(f"{result['name']} (edition {result['serial']}) between {' and '.join(result['countries'])}")
    missing = "" if result["in_force"] else ": not in force until both have signed"
    say(f"signed by {' and '.join(result['signed_by']) or 'nobody'}{missing}")
    now = "valid now" if result["valid_now"] else "not valid now"
    say(f"from {result['not_before']} until {result['not_after']}, {now}")
    if result["witnesses"] is None:
        say("no witness is demanded: nobody outside vouches for the ledgers of the two")
    else:
        say("what the two show each other must be cosigned by:")
        for line in result["witnesses"].splitlines():
            say(f"   {line}")
    for country, fingerprint in result["fingerprints"].items():
        say(f"   {country}  {fingerprint}")
    for grant in result["grants"]:
        say(f"{grant['requester']} may ask {grant['responder']}: {grant['modality']}, {grant['profile']}")
        say(f"   profile digest: {grant['profile_digest']}")
        for name in ("purposes", "offences", "person_categories", "legal_bases"):
            say(f"   {name.replace('_', ' ')}: {', '.join(grant[name])}")
        daily = grant["queries_per_day"]
        say("   queries a day: " + ("without limit" if daily is None else f"at most {daily}"))
