"""Group commit: callers that arrive while a commit is under way share the next one.

The first caller commits for itself; whoever comes meanwhile queues up, and the first of them then commits
for the whole queue. No thread of our own, no waiting for company: an idle writer commits at once.

Source: specs/ledger.md, section "Durability".
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

Request = TypeVar("Request")
Result = TypeVar("Result")

MAX_GROUP: Final = 1024
"""Requests in one commit: the last of a queue must not wait for a commit without bounds."""


class _Ticket(Generic[Request, Result]):
    """One caller's request and what came of it."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.results: list[Result] = []
        self.error: Exception | None = None
        self.leads = False
        self.wake = threading.Lock()
        self.wake.acquire()


class GroupCommit(Generic[Request, Result]):
    """Runs ``commit`` in one thread at a time, for as many requests as wait.

    Args:
        commit: Takes requests in order of arrival, returns one result each, or raises for all of them.
    """

    def __init__(self, commit: Callable[[Sequence[Request]], Sequence[Result]]) -> None:
        self._commit = commit
        self._door = threading.Lock()
        self._queue: list[_Ticket[Request, Result]] = []
        self._busy = False

    def submit(self, request: Request) -> Result:
        """Commit one request; return its result, or raise what the commit it was part of raised."""
        ticket = _Ticket[Request, Result](request)
        with self._door:
            self._queue.append(ticket)
            ticket.leads = not self._busy
            self._busy = True
        if not ticket.leads:
            self._wait(ticket)
        if ticket.leads:
            self._lead()
        if ticket.error is not None:
            raise ticket.error
        return ticket.results[0]

    def _wait(self, ticket: _Ticket[Request, Result]) -> None:
        try:
            ticket.wake.acquire()
        except BaseException:
            # Interrupted: the lead, if it was handed to us meanwhile, goes to the next.
            with self._door:
                if ticket in self._queue:
                    self._queue.remove(ticket)
                if ticket.leads:
                    self._hand_over()
            raise

    def _lead(self) -> None:
        with self._door:
            group, self._queue = self._queue[:MAX_GROUP], self._queue[MAX_GROUP:]
        error: Exception | None = RuntimeError("the commit was interrupted")
        results: Sequence[Result] = ()
        try:
            results = self._commit([ticket.request for ticket in group])
            error = None
        except Exception as caught:  # noqa: BLE001 - raised again by each of the group
            error = caught
        finally:
            with self._door:
                self._hand_over()
            for number, ticket in enumerate(group):
                ticket.error = error
                ticket.results = list(results[number : number + 1])
                ticket.wake.release()

    def _hand_over(self) -> None:
        self._busy = bool(self._queue)
        if self._queue:
            self._queue[0].leads = True
            self._queue[0].wake.release()
