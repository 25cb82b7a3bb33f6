"""How the demonstration talks: colours and a spinner on a terminal, plain lines elsewhere, silence for JSON."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from node.admin import Report


class Narrator:
    """Tells what happens, scene by scene.

    Args:
        quiet: Say nothing at all.
    """

    def __init__(self, quiet: bool) -> None:
        self._console = Console(quiet=quiet, highlight=False, soft_wrap=True)
        self._live = self._console.is_terminal and not quiet

    def scene(self, number: int, title: str) -> None:
        """A new scene begins."""
        self._console.print(f"\n[bold cyan]{number}. {escape(title)}[/]")

    def say(self, text: str) -> None:
        """One plain line."""
        self._console.print(f"   {escape(text)}")

    def verdict(self, ok: bool, text: str) -> None:
        """How a scene, or all of it, ended."""
        mark = "[bold green]✔[/]" if ok else "[bold red]✘[/]"
        self._console.print(f"   {mark} {escape(text)}")

    @contextlib.contextmanager
    def working(self, text: str) -> Iterator[Report]:
        """Something takes a while; gives a function that shows how far it is."""
        if not self._live:
            self.say(f"{text} …")
            yield lambda _: None
            return
        with Status(f"   {escape(text)} …", console=self._console) as status:

            def report(progress: dict[str, Any]) -> None:
                step = str(progress.get("step", ""))
                if progress.get("total"):
                    step += (
                        f", {progress.get('unit', 'block')} {progress.get('done', 0)} of {progress['total']}"
                    )
                status.update(f"   {escape(text)} · {escape(step)}")

            yield report
