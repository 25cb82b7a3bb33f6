"""The command ``concordat``."""

from __future__ import annotations

import os
import sys

import typer

from crypto.errors import ConcordatError
from node.cli import (
    agreement,
    audit,
    bench,
    calibrate,
    claim,
    demo,
    gallery,
    ledger,
    node,
    peer,
    profile,
    query,
    witness,
)

app = typer.Typer(
    name="concordat",
    help="Hit or no hit between countries: encrypted biometric queries, signed ledgers on both sides.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"max_content_width": 110},
)
app.command("demo")(demo.demo)
app.command("query")(query.query)
app.command("claim")(claim.claim)
app.command("calibrate")(calibrate.calibrate)
app.add_typer(node.app, name="node")
app.add_typer(peer.app, name="peer")
app.add_typer(ledger.app, name="ledger")
app.add_typer(agreement.app, name="agreement")
app.add_typer(profile.app, name="profile")
app.add_typer(gallery.app, name="gallery")
app.add_typer(audit.app, name="audit")
app.add_typer(witness.app, name="witness")
app.add_typer(bench.app, name="bench")


def main() -> None:
    """Run, and end without a traceback whatever happens (set CONCORDAT_DEBUG=1 to see one)."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output left; a second failure at exit would print a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if os.environ.get("CONCORDAT_DEBUG") == "1":
            raise
        shown = f"{error.code}: {error}" if isinstance(error, ConcordatError) else type(error).__name__
        sys.stderr.write(f"error: {shown}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
