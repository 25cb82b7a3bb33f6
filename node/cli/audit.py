"""``concordat audit``: files in, findings out. Needs no node and trusts none."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from node.cli import recompute, record_keeping, records
from node.cli.common import Json, emit, read_file, say, typed, visible, write_new

if TYPE_CHECKING:
    from protocol.audit.verify import LedgerInput, Seen

app = typer.Typer(
    help="Check ledgers from their bytes; read, keep or erase what they say.", no_args_is_help=True
)

records.add_to(app)
record_keeping.add_to(app)
app.command()(recompute.recompute)

MAX_POLICY_BYTES = 512 * 1024
MAX_KEY_BYTES = 1024
MAX_CHECKPOINT_BYTES = 512 * 1024

Ledger = Annotated[Path, typer.Argument(metavar="LEDGER", help="A ledger's directory.", show_default=False)]


@app.command()
def keygen(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A new file; FILE.pub and FILE.tls are made beside it.")
    ],
    json: Json = False,
) -> None:
    """Make the keys of an auditor. Nodes get FILE.pub; FILE opens their payloads, FILE.tls fetches ledgers."""
    with typed(json):
        from node.setup import new_auditor, new_auditor_tls

        private, public = new_auditor()
        tls, certificate = new_auditor_tls(time.time_ns() // 1_000_000)
        public_file, tls_file = file.with_name(file.name + ".pub"), file.with_name(file.name + ".tls")
        write_new(file, private, 0o600)
        write_new(tls_file, tls, 0o600)
        write_new(public_file, public + certificate)
        result = {"private": str(file), "public": str(public_file), "tls": str(tls_file)}
        emit(
            json, result, lambda _: say(f"written: {file}, {tls_file} (keep them), {public_file} (for nodes)")
        )


@app.command()
def verify(
    ledger: Ledger,
    policy: Annotated[Path, typer.Option(help="Whose ledger it must be, and which witnesses count.")],
    key: Annotated[Path | None, typer.Option(help="The auditor's key: opens payloads, checks order.")] = None,
    seen: Annotated[
        list[str] | None,
        typer.Option(metavar="HOLDER=FILE", help="A checkpoint that somebody holds (repeat)."),
    ] = None,
    json: Json = False,
) -> None:
    """Check every byte of one ledger; exit 0 without findings, 1 with findings."""
    with typed(json):
        from protocol.audit.verify import audit_ledger

        given = _ledger(ledger, policy, key, [_seen(one) for one in seen or []])
        report = audit_ledger(given).report.to_json()
        emit(json, report, _show_report)
        if not report["ok"]:
            raise typer.Exit(1)


@app.command()
def reconcile(
    ledgers: Annotated[list[Path], typer.Argument(metavar="LEDGER LEDGER...", show_default=False)],
    policy: Annotated[
        list[Path] | None, typer.Option(help="One for each ledger, in order; LEDGER/policy if not named.")
    ] = None,
    key: Annotated[
        list[Path] | None, typer.Option(help="An auditor's key: one for all ledgers, or one for each.")
    ] = None,
    agreement: Annotated[
        list[Path] | None, typer.Option(help="An agreement that queries are held against (repeat).")
    ] = None,
    json: Json = False,
) -> None:
    """Check ledgers against each other; exit 0 without findings, 1 with findings."""
    with typed(json):
        from node.errors import BadConfig
        from protocol.audit.reconcile import reconcile as compare

        if len(ledgers) < 2:
            raise BadConfig("name at least two ledgers")
        policies = policy or [one / "policy" for one in ledgers]
        keys: list[Path | None] = [None] * len(ledgers)
        if key:
            keys = [key[0]] * len(ledgers) if len(key) == 1 else list(key)
        if len(policies) != len(ledgers) or len(keys) != len(ledgers):
            raise BadConfig("name one policy and one key for each ledger, in their order")
        named = {
            str(one): _ledger(one, its_policy, its_key, [])
            for one, its_policy, its_key in zip(ledgers, policies, keys, strict=True)
        }
        if len(named) != len(ledgers):
            raise BadConfig("the same ledger is named twice")
        from protocol.agreement import read_agreement
        from protocol.limits import MAX_AGREEMENT

        agreements = [read_agreement(read_file(one, MAX_AGREEMENT, "agreement")) for one in agreement or []]
        report = compare(named, agreements=agreements).to_json()
        emit(json, report, _show_reconciled)
        if not report["ok"]:
            raise typer.Exit(1)


@app.command()
def prove(
    ledger: Ledger,
    index: Annotated[int, typer.Argument(min=0, metavar="INDEX", help="An entry's index.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A new file.")] = None,
    json: Json = False,
) -> None:
    """Write the proof that an entry is under the ledger's checkpoint (C2SP tlog-proof)."""
    with typed(json):
        from node.audit_files import DirectoryReader
        from node.audit_files import prove as make

        _must_exist(ledger)
        proof = make(DirectoryReader(ledger), index).to_bytes()
        if output is not None:
            write_new(output, proof)
        result = {"index": index, "proof": proof.decode()}
        emit(json, result, lambda _: say(f"written: {output}" if output else proof.decode().rstrip("\n")))


def _must_exist(ledger: Path) -> None:
    from node.errors import BadConfig

    if not ledger.is_dir():
        raise BadConfig(f"{ledger} is not a directory")


def _ledger(ledger: Path, policy: Path, key: Path | None, seen: list[Seen]) -> LedgerInput:
    from node.audit_files import DirectoryReader
    from node.errors import BadConfig
    from protocol.audit.keys import parse_private
    from protocol.audit.verify import LedgerInput

    _must_exist(ledger)
    auditor_key = None
    if key is not None:
        try:
            auditor_key = parse_private(read_file(key, MAX_KEY_BYTES, "auditor's key").decode())
        except UnicodeDecodeError:
            raise BadConfig(f"auditor's key {key}: not a text file") from None
    return LedgerInput(
        DirectoryReader(ledger), read_file(policy, MAX_POLICY_BYTES, "policy"), auditor_key, seen
    )


def _seen(text: str) -> Seen:
    from node.errors import BadConfig
    from protocol.audit.verify import Seen

    holder, equals, file = text.partition("=")
    if not equals or not holder:
        raise BadConfig("--seen has the form HOLDER=FILE")
    return Seen(holder, read_file(Path(file), MAX_CHECKPOINT_BYTES, "checkpoint"))


def _show_report(report: dict[str, Any], name: str = "") -> None:
    verdict = "holds" if report["ok"] else f"{len(report['findings'])} finding(s)"
    say(f"{name or report['origin'] or 'ledger'}: {report['size']} entries, {verdict}")
    _show_findings(report)
    for words in report["notices"]:
        say(f"   notice: {words}")
    for kind, count in report["statements"].items():
        say(f"   {count:6} {kind}")


def _show_findings(report: dict[str, Any]) -> None:
    for finding in report["findings"]:
        blame = f" (duty of {finding['blame']})" if "blame" in finding else ""
        # File names of a copy are whatever its giver chose: no line break of theirs begins a line of ours.
        say(visible(f"   {finding['rule']} at {finding['where']}: {finding['what']}{blame}"))
    for words in report["unchecked"]:
        say(f"   not checked: {words}")


def _show_reconciled(report: dict[str, Any]) -> None:
    for name, one in report["ledgers"].items():
        _show_report(one, name)
    say("together: " + ("holds" if report["ok"] else f"{len(report['findings'])} finding(s)"))
    _show_findings(report)
    for state, count in report["exchanges"].items():
        say(f"   {count:6} {state}")
