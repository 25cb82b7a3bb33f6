"""The part of ``concordat audit`` that reads what was logged."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.auditor import Key, Node, Purpose, check_purpose, private_key
from node.cli.common import Json, emit, perform, read_file, say, typed, write_new
from node.cli.records_show import show_found, show_opened, show_statistics

if TYPE_CHECKING:
    from protocol.audit.verify import AuditedLedger

MAX_POLICY_BYTES = 512 * 1024
MAX_TLS_BYTES = 16 * 1024

Ledger = Annotated[Path, typer.Argument(metavar="LEDGER", help="A ledger's directory.", show_default=False)]
Policy = Annotated[Path, typer.Option(help="Whose ledger it must be, and which witnesses count.")]
Reading = Annotated[str, typer.Option(help="What the ledger is read for (as for open).")]


def add_to(app: typer.Typer) -> None:
    """Add these commands to ``concordat audit``."""
    for command in (pull, search, stats, report, open_):
        app.command(command.__name__.rstrip("_"))(command)


def pull(
    directory: Annotated[Path, typer.Argument(metavar="COPY", help="A new directory, or an earlier copy.")],
    descriptor: Annotated[Path, typer.Option(help="The node's descriptor (concordat peer export).")],
    tls: Annotated[Path, typer.Option(help="The auditor's FILE.tls.")],
    purpose: Purpose,
    json: Json = False,
) -> None:
    """Fetch a ledger from a served node, or what is new in it; the node logs that it was read."""
    with typed(json):
        import asyncio

        check_purpose(purpose)
        from node.audit_pull import pull as fetch
        from node.errors import BadConfig
        from protocol.audit.keys import parse_tls
        from protocol.descriptor import read_descriptor
        from protocol.limits import MAX_DESCRIPTOR

        try:
            key, certificate = parse_tls(read_file(tls, MAX_TLS_BYTES, "TLS key").decode())
        except UnicodeDecodeError:
            raise BadConfig(f"TLS key {tls}: not a text file") from None
        node = read_descriptor(read_file(descriptor, MAX_DESCRIPTOR, "descriptor"))
        result = asyncio.run(fetch(node, key, certificate, directory, purpose))
        emit(json, result, lambda r: say(f"{r['size']} entries, {r['fetched']} bytes fetched"))


def search(
    ledger: Ledger,
    policy: Policy,
    key: Key,
    exchange: Annotated[str, typer.Option(help="32 hexadecimal digits.")] = "",
    peer: Annotated[str, typer.Option(help="A country.")] = "",
    purpose: Annotated[str, typer.Option(help="The purpose of the query.")] = "",
    kind: Annotated[str, typer.Option("--type", help="A statement's type, e.g. query.intent.")] = "",
    since: Annotated[str, typer.Option(help="ISO 8601 time, UTC.")] = "",
    until: Annotated[str, typer.Option(help="ISO 8601 time, UTC, not included.")] = "",
    reading: Reading = "lawfulness-check",
    json: Json = False,
) -> None:
    """Find entries, with both parts, and say whether there can be others; exit 1 if that is not certain."""
    with typed(json):
        from node.errors import BadConfig
        from node.record_operations import exchange_of
        from protocol.audit.search import Criteria
        from protocol.audit.search import search as find
        from protocol.statements import STATEMENTS

        if kind and kind not in STATEMENTS:
            # Nothing found of a type that does not exist would read like an answer.
            known = ", ".join(sorted(STATEMENTS))
            raise BadConfig(f"--type: there is no statement {kind}; there are {known}")
        criteria = Criteria(
            exchange=exchange_of(exchange) if exchange else None,
            peer=peer or None,
            purpose=purpose or None,
            kind=kind or None,
            from_ms=_time(since),
            until_ms=_time(until),
        )
        logged = _log_reading(ledger, key, reading, "search", as_json=json)
        result = {**find(_audited(ledger, policy, key), criteria), "reading": logged}
        emit(json, result, show_found)
        if not result["completeness"]["complete"]:
            raise typer.Exit(1)


def stats(
    ledger: Ledger,
    policy: Policy,
    key: Key,
    reading: Reading = "lawfulness-check",
    json: Json = False,
) -> None:
    """Make the statistics anew from the entries: queries, hits and refusals by month, peer, modality, purpose."""
    with typed(json):
        from protocol.audit.search import statistics

        logged = _log_reading(ledger, key, reading, "statistics", as_json=json)
        result = {**statistics(_audited(ledger, policy, key)), "reading": logged}
        emit(json, result, show_statistics)
        if not result["completeness"]["complete"]:
            raise typer.Exit(1)


def report(
    ledger: Ledger,
    policy: Policy,
    key: Key,
    output: Annotated[Path, typer.Option("--output", "-o", help="A new file, JSON.")],
    reading: Reading = "lawfulness-check",
    json: Json = False,
) -> None:
    """Write one file to hand over: the audit with its findings, the statistics, and what both rest on."""
    with typed(json):
        from json import dumps

        from protocol.audit.search import statistics

        logged = _log_reading(ledger, key, reading, "statistics", as_json=json)
        audited = _audited(ledger, policy, key)
        found = {
            "format": "concordat-audit-report-v1",
            "policy": read_file(policy, MAX_POLICY_BYTES, "policy").decode(errors="replace"),
            "audit": audited.report.to_json(),
            "statistics": statistics(audited),
            "reading": logged,
        }
        write_new(output, (dumps(found, indent=2, ensure_ascii=False) + "\n").encode())
        ok = audited.report.ok
        result = {"ok": ok, "file": str(output), "findings": len(audited.report.findings)}
        emit(json, result, lambda r: say(f"written: {output}, {r['findings']} finding(s)"))
        if not ok:
            raise typer.Exit(1)


def open_(
    directory: Node,
    index: Annotated[int, typer.Argument(min=0, metavar="INDEX", help="An entry's index.")],
    key: Key,
    purpose: Purpose,
    json: Json = False,
) -> None:
    """Show what one entry says to an auditor of the node; the node logs that it was read."""
    with typed(json):
        from crypto.sealing import public_key
        from node.errors import BadConfig
        from protocol.audit.entries import Entry
        from protocol.audit.search import shown
        from protocol.leaf import Leaf
        from protocol.payload import PayloadBox, open_as_auditor

        private = private_key(key)
        arguments = {"index": index, "key": public_key(private).hex(), "purpose": purpose}
        reply = perform(directory, "audit.open", arguments, as_json=json)
        if reply["payload"] is None:
            raise BadConfig(f"the payload of entry {index} was erased")
        leaf = Leaf.from_bytes(base64.b64decode(reply["leaf"]))
        opened = open_as_auditor(leaf, PayloadBox.from_bytes(base64.b64decode(reply["payload"])), private)
        result = {**shown(Entry(index, leaf, opened)), "commitment": "holds", "reading": reply["entry"]}
        emit(json, result, show_opened)


def _audited(ledger: Path, policy: Path, key: Path) -> AuditedLedger:
    from node.audit_files import DirectoryReader
    from node.errors import BadConfig
    from protocol.audit.verify import LedgerInput, audit_ledger

    if not ledger.is_dir():
        raise BadConfig(f"{ledger} is not a directory")
    text = read_file(policy, MAX_POLICY_BYTES, "policy")
    return audit_ledger(LedgerInput(DirectoryReader(ledger), text, private_key(key)))


def _log_reading(ledger: Path, key: Path, purpose: str, scope: str, *, as_json: bool) -> int | None:
    """In a node's own directory the node logs it first; a copy was handed over by a pull, which logged it."""
    from crypto.sealing import public_key

    check_purpose(purpose)
    home = ledger.resolve().parent  # also where it is named "." or by a link
    if not (home / "node.toml").is_file():
        return None
    arguments = {"key": public_key(private_key(key)).hex(), "purpose": purpose, "scope": scope}
    entry: int = perform(home, "audit.read", arguments, as_json=as_json)["entry"]
    return entry


def _time(text: str) -> int | None:
    import datetime as dt

    from node.errors import BadConfig

    if not text:
        return None
    try:
        when = dt.datetime.fromisoformat(text)
    except ValueError:
        raise BadConfig(f"{text[:40]!r} is not an ISO 8601 time") from None
    return int((when if when.tzinfo else when.replace(tzinfo=dt.UTC)).timestamp() * 1000)
