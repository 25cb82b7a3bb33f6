"""Every (state, event) pair of both sessions, one by one."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from network import World, pair
from parties import agreement, parties, request

from protocol import limits
from protocol.errors import BadSnapshot, EventNotAllowed, OutOfOrder, RefusalReason, TryLater
from protocol.exchange import commands, events, requester_table, responder_table
from protocol.exchange.requester import RequesterSession, RequesterState
from protocol.exchange.responder import ResponderSession, ResponderState
from protocol.exchange.session import Rule

AGREEMENT = agreement()
Q, R = RequesterState, ResponderState
HASH = bytes([3]) * 32


class Sample:
    """Real snapshots of one exchange in (nearly) every state, and the real messages of it."""

    def __init__(self) -> None:
        self.asking: dict[RequesterState, RequesterSession] = {}
        self.answering: dict[ResponderState, ResponderSession] = {}
        self.events: dict[type, Any] = {}
        world = World()
        us, cl = pair(world, AGREEMENT)
        us.hits = 1
        for node in (us, cl):
            self._record(node)
        us.ask(request(AGREEMENT.digest))
        world.run(lambda: bool(cl.live) and all(s.finished for n in (us, cl) for s in n.live.values()))
        self.now = world.now
        for state in Q:
            if state not in self.asking:
                self.asking[state] = self._copy(self.asking[Q.REPORTING], state=state)
        for state in R:
            if state not in self.answering:
                self.answering[state] = self._copy(self.answering[R.SERVED], state=state)

    def _record(self, node: Any) -> None:
        commit, feed = node.commit, node.feed

        def noting(key: bytes, session: Any, step: Any) -> None:
            kept: Any = self.asking if isinstance(session, RequesterSession) else self.answering
            kept.setdefault(session.state, type(session).restore(session.snapshot(), node.parties))
            commit(key, session, step)

        def feeding(key: bytes, event: Any) -> Any:
            self.events.setdefault(type(event), event)
            return feed(key, event)

        node.commit, node.feed = noting, feeding

    @staticmethod
    def _copy(session: Any, **changes: Any) -> Any:
        values = {name: getattr(session.record, name) for name in type(session.record).model_fields}
        return type(session)(type(session.record).model_validate({**values, **changes}), session._parties)


SAMPLE = Sample()
ENTRY = {
    Q.WITHHOLDING: "query.withheld",
    Q.LOGGING_INTENT: "query.intent",
    Q.LOGGING_RESULT: "query.result",
    R.LOGGING_REFUSAL: "query.refused",
    R.LOGGING_ACCEPTANCE: "query.accepted",
    R.LOGGING_ANSWER: "query.answered",
    R.LOGGING_FAILURE: "query.failed",
    R.LOGGING_CLAIM: "query.claimed",
}
STATUS = SAMPLE.events[events.StatusReceived]
REPORT = SAMPLE.events[events.ReportReceived]
FRESH_STATUS = events.StatusReceived(STATUS.body, None)
FRESH_REPORT = events.ReportReceived(REPORT.body, REPORT.seen)
SAMPLES: dict[type, Any] = {
    events.AppendFailed: None,
    events.EntryAppended: None,
    events.Restarted: events.Restarted(),
    events.DeadlinePassed: events.DeadlinePassed(),
    events.ProbeEncrypted: events.ProbeEncrypted(HASH, 1000),
    events.ProbeFailed: events.ProbeFailed(),
    events.StatusReceived: FRESH_STATUS,
    events.ErrorReceived: events.ErrorReceived(b""),
    events.PeerUnreachable: events.PeerUnreachable(),
    events.AnswerFetched: SAMPLE.events[events.AnswerFetched],
    events.AnswerOpened: events.AnswerOpened(0),
    events.AnswerUnusable: events.AnswerUnusable(),
    events.ReceiptReceived: SAMPLE.events[events.ReceiptReceived],
    events.Cancelled: events.Cancelled(),
    events.SearchProgressed: events.SearchProgressed(1, 2),
    events.SearchFinished: events.SearchFinished(1, HASH, 2, HASH, HASH, 9, 9, HASH, (), HASH),
    events.SearchFailed: events.SearchFailed(1, RefusalReason.INTERNAL),
    events.AnswerServed: events.AnswerServed(),
    events.ReportReceived: FRESH_REPORT,
}

STAYS = "stays"
ASKING: dict[tuple[RequesterState, type], RequesterState | str] = {
    **{(state, events.Restarted): STAYS for state in Q if state not in (Q.ANSWERED, Q.REFUSED, Q.FAILED)},
    (Q.WITHHOLDING, events.DeadlinePassed): STAYS,
    (Q.ENCRYPTING, events.DeadlinePassed): Q.FAILED,
    (Q.LOGGING_INTENT, events.DeadlinePassed): Q.LOGGING_RESULT,
    (Q.SENDING, events.DeadlinePassed): Q.LOGGING_RESULT,
    (Q.WAITING, events.DeadlinePassed): Q.LOGGING_RESULT,
    (Q.FETCHING, events.DeadlinePassed): Q.LOGGING_RESULT,
    (Q.OPENING, events.DeadlinePassed): Q.LOGGING_RESULT,
    (Q.LOGGING_RESULT, events.DeadlinePassed): STAYS,
    (Q.REPORTING, events.DeadlinePassed): Q.ANSWERED,
    (Q.WITHHOLDING, events.EntryAppended): Q.REFUSED,
    (Q.LOGGING_INTENT, events.EntryAppended): Q.SENDING,
    (Q.LOGGING_RESULT, events.EntryAppended): Q.REPORTING,
    (Q.WITHHOLDING, events.AppendFailed): Q.FAILED,
    (Q.LOGGING_INTENT, events.AppendFailed): Q.FAILED,
    (Q.LOGGING_RESULT, events.AppendFailed): STAYS,
    (Q.ENCRYPTING, events.ProbeEncrypted): Q.LOGGING_INTENT,
    (Q.ENCRYPTING, events.ProbeFailed): Q.FAILED,
    (Q.SENDING, events.StatusReceived): Q.WAITING,
    (Q.WAITING, events.StatusReceived): Q.WAITING,
    (Q.SENDING, events.ErrorReceived): STAYS,
    (Q.WAITING, events.ErrorReceived): STAYS,
    (Q.FETCHING, events.ErrorReceived): STAYS,
    (Q.REPORTING, events.ErrorReceived): STAYS,
    (Q.SENDING, events.PeerUnreachable): STAYS,
    (Q.WAITING, events.PeerUnreachable): STAYS,
    (Q.FETCHING, events.PeerUnreachable): STAYS,
    (Q.REPORTING, events.PeerUnreachable): STAYS,
    (Q.FETCHING, events.AnswerFetched): Q.OPENING,
    (Q.OPENING, events.AnswerOpened): Q.LOGGING_RESULT,
    (Q.OPENING, events.AnswerUnusable): Q.LOGGING_RESULT,
    (Q.REPORTING, events.ReceiptReceived): Q.ANSWERED,
    (Q.ENCRYPTING, events.Cancelled): Q.FAILED,
    (Q.LOGGING_INTENT, events.Cancelled): Q.LOGGING_RESULT,
    (Q.SENDING, events.Cancelled): Q.LOGGING_RESULT,
    (Q.WAITING, events.Cancelled): Q.LOGGING_RESULT,
    (Q.FETCHING, events.Cancelled): Q.LOGGING_RESULT,
    (Q.OPENING, events.Cancelled): Q.LOGGING_RESULT,
}
ANSWERING: dict[tuple[ResponderState, type], ResponderState | str] = {
    **{(state, events.Restarted): STAYS for state in R},
    **{(state, events.DeadlinePassed): STAYS for state in R},
    (R.WORKING, events.DeadlinePassed): R.LOGGING_FAILURE,
    (R.ANSWERED, events.DeadlinePassed): R.UNREPORTED,
    (R.SERVED, events.DeadlinePassed): R.UNREPORTED,
    (R.LOGGING_REFUSAL, events.EntryAppended): R.REFUSED,
    (R.LOGGING_ACCEPTANCE, events.EntryAppended): R.WORKING,
    (R.LOGGING_ANSWER, events.EntryAppended): R.ANSWERED,
    (R.LOGGING_FAILURE, events.EntryAppended): R.FAILED,
    (R.LOGGING_CLAIM, events.EntryAppended): R.CLOSED,
    (R.LOGGING_REFUSAL, events.AppendFailed): STAYS,
    (R.LOGGING_ACCEPTANCE, events.AppendFailed): STAYS,
    (R.LOGGING_ANSWER, events.AppendFailed): STAYS,
    (R.LOGGING_FAILURE, events.AppendFailed): STAYS,
    (R.LOGGING_CLAIM, events.AppendFailed): STAYS,
    (R.WORKING, events.SearchProgressed): STAYS,
    (R.WORKING, events.SearchFinished): R.LOGGING_ANSWER,
    (R.WORKING, events.SearchFailed): R.LOGGING_FAILURE,
    (R.ANSWERED, events.AnswerServed): R.SERVED,
    (R.WORKING, events.ReportReceived): "faulted",
    (R.ANSWERED, events.ReportReceived): R.LOGGING_CLAIM,
    (R.SERVED, events.ReportReceived): R.LOGGING_CLAIM,
    (R.UNREPORTED, events.ReportReceived): R.LOGGING_CLAIM,
    (R.LOGGING_CLAIM, events.ReportReceived): STAYS,
    (R.CLOSED, events.ReportReceived): STAYS,
}


def session_in(state: Any) -> Any:
    """A fresh session in a state; fields that its handlers need are there."""
    made = SAMPLE.asking.get(state) if isinstance(state, Q) else SAMPLE.answering.get(state)
    changes: dict[str, Any] = {}
    if state is Q.WITHHOLDING:
        changes = {"reason": "purpose-not-covered", "outcome": "refused", "query": None, "deadline_ms": None}
    if state in (R.LOGGING_REFUSAL, R.LOGGING_FAILURE):
        changes = {"reason": RefusalReason.INTERNAL, "answer": None}
    return SAMPLE._copy(made, **changes)


def event_for(state: Any, kind: type) -> Any:
    if kind is events.EntryAppended:
        return events.EntryAppended(ENTRY.get(state, "query.intent"), 0, HASH)
    if kind is events.AppendFailed:
        return events.AppendFailed(ENTRY.get(state, "query.intent"))
    return SAMPLES[kind]


def time_for(session: Any, kind: type) -> int:
    if kind is events.DeadlinePassed and session.deadline_ms is not None:
        return int(session.deadline_ms)
    return int(session.record.entry_ms) + 10


PAIRS = [
    *itertools.product(Q, requester_table.EVENTS),
    *itertools.product(R, responder_table.EVENTS),
]


def _name(item: Any) -> str:
    return item.__name__ if isinstance(item, type) else f"{type(item).__name__}.{item.value}"


@pytest.mark.parametrize(("state", "kind"), PAIRS, ids=_name)
def test_each_pair(state: Any, kind: type) -> None:
    session = session_in(state)
    expected = (ASKING if isinstance(state, Q) else ANSWERING).get((state, kind))
    rule = session.TABLE[(state, kind)]
    event, now = event_for(state, kind), time_for(session, kind)
    before = session.snapshot()
    if expected is None:
        assert isinstance(rule, Rule), "the table has a transition that this test does not know"
        if rule is Rule.NOT_ALLOWED:
            with pytest.raises(EventNotAllowed):
                session.handle(event, now)
        else:
            step = session.handle(event, now)
            faults = {Rule.IGNORE: type(None), Rule.OUT_OF_ORDER: OutOfOrder, Rule.TRY_LATER: TryLater}
            assert type(step.fault) is faults[rule]
            assert step.commands == ()
        assert session.snapshot() == before
        return
    assert isinstance(rule, str)
    step = session.handle(event, now)
    if expected == "faulted":
        assert step.fault is not None
        assert session.state is state
        assert [type(command) for command in step.commands] == [commands.KeepEvidence]
        again = session.handle(event, now)
        assert again.fault is not None
        assert again.commands == (), "only the first proof is kept"
    else:
        assert session.state is (state if expected == STAYS else expected)
        assert step.fault is None
    restored = type(session).restore(session.snapshot(), session._parties)
    assert restored.record == session.record


@pytest.mark.parametrize("state", [*Q, *R], ids=lambda state: f"{type(state).__name__}-{state.value}")
def test_a_restart_repeats_what_the_state_waits_for(state: Any) -> None:
    session = session_in(state)
    outstanding = session._outstanding()
    again = type(session).restore(session.snapshot(), session._parties)
    repeated = again.handle(events.Restarted(), session.record.retry_ms).commands
    if isinstance(session, RequesterSession) and session.finished:
        assert repeated == ()
    elif state is R.WORKING:
        assert [type(command) for command in repeated] == [commands.StartSearch]
        assert repeated[0].attempt == outstanding[0].attempt + 1
    else:
        assert repeated == outstanding


@pytest.mark.parametrize("state", list(R))
def test_an_answer_can_be_handed_over_only_once_it_is_on_the_ledger(state: ResponderState) -> None:
    servable = session_in(state).servable()
    assert (servable is not None) == (state in (R.ANSWERED, R.SERVED))


def test_a_search_of_an_earlier_life_is_ignored() -> None:
    session = session_in(R.WORKING)
    session.handle(events.Restarted(), SAMPLE.now)
    for late in (SAMPLES[events.SearchFinished], SAMPLES[events.SearchFailed]):
        assert session.handle(late, SAMPLE.now).commands == ()
        assert session.state is R.WORKING


def test_a_query_that_kills_the_node_is_given_up() -> None:
    session = session_in(R.WORKING)
    for _ in range(limits.MAX_SEARCH_ATTEMPTS - 1):
        session.handle(events.Restarted(), SAMPLE.now)
        assert session.state is R.WORKING
    session.handle(events.Restarted(), SAMPLE.now)
    assert session.state is R.LOGGING_FAILURE
    assert session.record.reason is RefusalReason.INTERNAL


def test_an_entry_of_another_kind_moves_nothing() -> None:
    for state in ENTRY:
        session = session_in(state)
        for event in (
            events.EntryAppended("gallery.imported", 1, HASH),
            events.AppendFailed("peer.accepted"),
        ):
            if isinstance(event, events.AppendFailed) and isinstance(state, R):
                continue
            assert session.handle(event, SAMPLE.now).commands == ()
            assert session.state is state


def test_a_wrong_answer_is_no_answer() -> None:
    good = SAMPLES[events.AnswerFetched]
    for event in (
        events.AnswerFetched(HASH, good.answer_bytes),
        events.AnswerFetched(good.answer_hash, good.answer_bytes + 1),
    ):
        session = session_in(Q.FETCHING)
        session.handle(event, SAMPLE.now)
        assert (session.state, session.record.reason) == (Q.LOGGING_RESULT, "bad-answer")


def test_impossible_numbers_of_our_own_change_nothing() -> None:
    for state, event in (
        (Q.OPENING, events.AnswerOpened(2 * 16_384 + 1)),
        (Q.OPENING, events.AnswerOpened(-1)),
        (Q.ENCRYPTING, events.ProbeEncrypted(HASH, 999)),
        (R.WORKING, events.SearchProgressed(3, 2)),
        (R.WORKING, events.SearchFinished(1, HASH, 0, HASH, HASH, 1, 1, HASH, (), HASH)),
    ):
        session = session_in(state)
        before = session.snapshot()
        with pytest.raises(EventNotAllowed):
            session.handle(event, SAMPLE.now)
        assert session.snapshot() == before


def test_a_second_different_report_comes_too_late() -> None:
    session = session_in(R.CLOSED)
    assert session.handle(FRESH_REPORT, SAMPLE.now).fault is None
    other = events.ReportReceived(b"\x80", None)
    assert isinstance(session.handle(other, SAMPLE.now).fault, OutOfOrder)


def test_the_retry_waits_longer_each_time_and_sends_the_same_bytes() -> None:
    session = session_in(Q.SENDING)
    now = session.record.entry_ms
    first = session.handle(events.Restarted(), now).commands[0]
    waits = []
    for _ in range(12):
        command = session.handle(events.PeerUnreachable(), now).commands[0]
        waits.append(command.not_before_ms - now)
        assert (command.query, command.entry_index) == (first.query, first.entry_index)
    assert waits[:3] == [limits.FIRST_RETRY, 2 * limits.FIRST_RETRY, 4 * limits.FIRST_RETRY]
    assert waits[-1] == limits.LAST_RETRY


@pytest.mark.parametrize("data", [b"", b"\x02", b"\x01", b"\x01\x80", b"\x01\xff"])
def test_a_damaged_snapshot_is_a_typed_error(data: bytes) -> None:
    for kind in (RequesterSession, ResponderSession):
        with pytest.raises(BadSnapshot):
            kind.restore(data, parties("US", "CL"))
