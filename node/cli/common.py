"""What all commands share: options, calling the node, printing for people or as JSON, exit codes.

Exit codes: 0 what was asked holds, 1 it does not (refused, failed, findings), 2 bad usage or bad input.
Nothing here prints a template, a score, a key or a traceback.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from crypto.errors import ConcordatError
from node import admin

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Directory = Annotated[Path, typer.Argument(metavar="DIR", help="The node's directory.", show_default=False)]

EXIT_NO: int = 1
EXIT_USAGE: int = 2

console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)

Show = Callable[[dict[str, Any]], None]


def visible(text: str) -> str:
    """Text that somebody else wrote, on one line: what a terminal would obey is shown by its number."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def say(text: str) -> None:
    """Plain text for people; nothing in it is read as markup, or obeyed by the terminal."""
    console.print(escape("\n".join(visible(line) for line in text.split("\n"))), emoji=False)


def emit(as_json: bool, result: dict[str, Any], show: Show) -> None:
    """Print a result once: as JSON, or by ``show``."""
    if as_json:
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()
    else:
        show(result)


def fail(as_json: bool, error: ConcordatError) -> NoReturn:
    """Print a typed error and leave with the exit code of its family."""
    shown = admin.describe(error)
    if as_json:
        sys.stdout.write(json.dumps({"ok": False, "error": shown}) + "\n")
        sys.stdout.flush()
    else:
        what = escape(visible(f"{shown['code']}: {shown['message']}"))
        errors.print(f"[bold red]error[/] {what}", emoji=False)
    raise typer.Exit(EXIT_USAGE if shown["family"] == "input" else EXIT_NO)


@contextlib.contextmanager
def typed(as_json: bool) -> Iterator[None]:
    """Turn every error inside into a message and an exit code."""
    try:
        yield
    except ConcordatError as error:
        fail(as_json, error)
    except MemoryError:
        fail(as_json, admin.RemoteError("out-of-memory", "this machine has too little memory", "local"))
    except OSError as error:
        what = f"{error.filename or 'input/output'}: {error.strerror or type(error).__name__}"
        fail(as_json, admin.RemoteError("storage-failed", what, "local"))


def perform(
    directory: Path, operation: str, arguments: dict[str, Any], *, as_json: bool = False
) -> dict[str, Any]:
    """Run one operation of a node: over its admin socket when it is served, in this process otherwise."""
    from node.config import NodePaths

    paths = NodePaths(directory)
    paths.read_config()  # a clear error before anything else
    with progress_bar(as_json) as report:
        if admin.is_served(paths.admin_socket):
            return admin.call(paths.admin_socket, operation, arguments, report)
        from node.operations import run_offline

        return run_offline(directory, operation, arguments, report)


@contextlib.contextmanager
def progress_bar(quiet: bool) -> Iterator[admin.Report]:
    """A bar on a terminal, plain lines elsewhere, nothing with ``quiet``.

    A report is ``{"step": text}`` with optional ``done`` and ``total``.
    """
    if quiet:
        yield lambda _: None
        return
    if not errors.is_terminal:
        last = ""

        def plain(report: dict[str, Any]) -> None:
            nonlocal last
            text = str(report.get("step", ""))
            if report.get("total"):
                text += f" {report.get('done', 0)}/{report['total']}"
            if text != last:
                errors.print(escape(visible(text)))
            last = text

        yield plain
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors, transient=True) as bar:
        task = bar.add_task("…", total=None)

        def draw(report: dict[str, Any]) -> None:
            bar.update(
                task,
                description=escape(visible(str(report.get("step", "")))),
                total=report.get("total"),
                completed=report.get("done", 0),
            )

        yield draw


def read_file(path: Path, limit: int, what: str) -> bytes:
    """A small file of the user's; raises ``BadConfig`` when it is missing or too large."""
    from node.errors import BadConfig

    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise BadConfig(f"{what} {path}: {error.strerror}") from None
    if len(data) > limit:
        raise BadConfig(f"{what} {path} is larger than {limit} bytes")
    return data


def check_new(path: Path) -> None:
    """Refuse, before long work, a file that ``write_new`` could not make; raises ``BadConfig``."""
    from node.errors import BadConfig

    if os.path.lexists(path):
        raise BadConfig(f"{path}: {os.strerror(errno.EEXIST)}")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
        raise BadConfig(f"{path}: no folder that can be written to")


def write_new(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file that must not exist yet, not even as a link: all of it, or none.

    Raises:
        BadConfig: It exists, or cannot be made there.
        StorageFailed: The disk refused its bytes.
    """
    from node.errors import BadConfig, StorageFailed

    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    except OSError as error:
        raise BadConfig(f"{path}: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise StorageFailed(f"{path}: {error.strerror}") from None
