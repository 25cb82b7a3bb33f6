"""Whole exchanges between two nodes: what both ledgers hold in the end, whatever happened on the way."""

from __future__ import annotations

import pytest
from network import Faults, Node, World, pair
from parties import agreement, grant, request

from protocol.agreement import Agreement
from protocol.exchange.requester import RequesterSession, RequesterState
from protocol.exchange.responder import ResponderSession, ResponderState

AGREEMENT = agreement()
FULL_A = ["query.intent", "query.result"]
FULL_B = ["query.accepted", "query.answered", "query.claimed"]


def asked(node: Node, number: int = 1) -> RequesterSession:
    session = node.live[number.to_bytes(16, "big")]
    assert isinstance(session, RequesterSession)
    return session


def answering(node: Node) -> list[ResponderSession]:
    return [session for session in node.live.values() if isinstance(session, ResponderSession)]


def run_one(world: World, us: Node, cl: Node, *numbers: int, agree: Agreement = AGREEMENT) -> None:
    for number in numbers or (1,):
        us.ask(request(agree.digest, number))
    world.run(lambda: us.up and cl.up and settled(us) and settled(cl))


def settled(node: Node) -> bool:
    return all(session.finished for session in node.live.values())


@pytest.mark.parametrize(("hits", "outcome"), [(0, "no-hit"), (3, "hit")])
def test_an_exchange_ends_with_twins_on_both_ledgers(hits: int, outcome: str) -> None:
    world = World()
    us, cl = pair(world, AGREEMENT)
    us.hits = hits
    run_one(world, us, cl)
    assert asked(us).state is RequesterState.ANSWERED
    assert (asked(us).outcome, asked(us).record.hits) == (outcome, hits)
    assert asked(us).record.receipt is not None
    assert [session.state for session in answering(cl)] == [ResponderState.CLOSED]
    assert us.disk.ledger.kinds(asked(us).record.exchange_id) == FULL_A
    assert cl.disk.ledger.kinds(asked(us).record.exchange_id) == FULL_B


def test_a_query_that_own_policy_forbids_is_logged_and_never_encrypted() -> None:
    world = World()
    us, cl = pair(world, AGREEMENT)
    us.ask(request(AGREEMENT.digest, purpose="curiosity"))
    world.run(lambda: settled(us))
    assert (asked(us).state, asked(us).outcome) == (RequesterState.REFUSED, "refused")
    assert asked(us).record.reason == "purpose-not-covered"
    assert us.disk.ledger.kinds(asked(us).record.exchange_id) == ["query.withheld"]
    assert (len(us.disk.bodies), cl.live, cl.disk.ledger.leaves) == (1, {}, [])


def test_a_dishonest_requester_is_refused_before_any_work_and_on_both_ledgers() -> None:
    world = World()
    us, cl = pair(world, AGREEMENT)
    us.ask(request(AGREEMENT.digest, purpose="curiosity"), enforce=False)
    world.run(lambda: settled(us) and settled(cl))
    assert (asked(us).outcome, asked(us).record.reason) == ("refused", "purpose-not-covered")
    exchange_id = asked(us).record.exchange_id
    assert us.disk.ledger.kinds(exchange_id) == FULL_A
    assert cl.disk.ledger.kinds(exchange_id) == ["query.refused"]
    assert cl.searches == []


def test_a_peer_that_stays_away_ends_the_query_with_a_reason() -> None:
    world = World(faults=Faults(drop=1.0))
    us, _cl = pair(world, AGREEMENT)
    us.ask(request(AGREEMENT.digest))
    world.run(lambda: settled(us))
    assert (asked(us).outcome, asked(us).record.reason) == ("failed", "peer-unreachable")
    assert us.disk.ledger.kinds(asked(us).record.exchange_id) == FULL_A


def test_a_full_disk_before_the_intent_sends_nothing() -> None:
    world = World()
    us, cl = pair(world, AGREEMENT)
    us.append_fails = 1
    us.ask(request(AGREEMENT.digest))
    world.run(lambda: settled(us))
    assert (asked(us).outcome, asked(us).record.reason) == ("failed", "internal")
    assert cl.live == {}


def test_a_full_disk_at_the_responder_delays_and_does_not_skip_the_entry() -> None:
    world = World()
    us, cl = pair(world, AGREEMENT)
    cl.append_fails = 3
    run_one(world, us, cl)
    assert asked(us).state is RequesterState.ANSWERED
    assert "try-later" in cl.refused_evidence
    assert cl.disk.ledger.kinds(asked(us).record.exchange_id) == FULL_B


def test_a_busy_responder_refuses_with_an_entry() -> None:
    world = World()
    us, cl = pair(world, AGREEMENT)
    cl.busy = 30
    run_one(world, us, cl)
    assert (asked(us).outcome, asked(us).record.reason) == ("refused", "busy")
    assert asked(us).record.retry_after_s == 30
    assert cl.disk.ledger.kinds(asked(us).record.exchange_id) == ["query.refused"]


def test_two_countries_ask_each_other_at_once() -> None:
    both = agreement(grant(), grant(requester="CL", responder="US"))
    world = World(faults=Faults(drop=0.1, duplicate=0.2, delay=100))
    us, cl = pair(world, both)
    us.hits = 1
    us.ask(request(both.digest, 1))
    cl.ask(request(both.digest, 2, requester="CL", responder="US"))
    world.run(lambda: settled(us) and settled(cl))
    assert (asked(us, 1).outcome, asked(cl, 2).outcome) == ("hit", "no-hit")
    for number, one, other in ((1, us, cl), (2, cl, us)):
        exchange_id = asked(one, number).record.exchange_id
        assert one.disk.ledger.kinds(exchange_id) == FULL_A
        assert other.disk.ledger.kinds(exchange_id) == FULL_B


def check_end(us: Node, cl: Node, numbers: tuple[int, ...] = (1,)) -> None:
    """What must hold however an exchange went."""
    for number in numbers:
        session = asked(us, number)
        exchange_id = session.record.exchange_id
        assert session.finished
        assert session.outcome is not None
        mine, theirs = us.disk.ledger.kinds(exchange_id), cl.disk.ledger.kinds(exchange_id)
        assert len(set(mine)) == len(mine)
        assert len(set(theirs)) == len(theirs)
        if session.outcome in ("hit", "no-hit"):
            assert mine == FULL_A
            assert theirs[:2] == FULL_B[:2]
        if session.record.receipt is not None:
            assert theirs[-1] == "query.claimed"
    answers = [s.record.answer_hash for s in answering(cl) if s.record.answer is not None]
    assert set(cl.served) <= set(answers), "an answer was handed over that is not the one on the ledger"
    assert cl.disk.kept == us.disk.kept == []


@pytest.mark.parametrize("seed", range(25))
def test_lost_repeated_and_reordered_messages_change_nothing(seed: int) -> None:
    world = World(seed, Faults(drop=0.3, duplicate=0.3, delay=400))
    us, cl = pair(world, AGREEMENT)
    us.hits = seed % 2
    run_one(world, us, cl, 1, 2, 3)
    check_end(us, cl, (1, 2, 3))
    assert [asked(us, number).state for number in (1, 2, 3)] == [RequesterState.ANSWERED] * 3


def _points() -> int:
    world = World()
    us, cl = pair(world, AGREEMENT)
    run_one(world, us, cl)
    return world.points


@pytest.mark.parametrize("point", range(1, _points() + 1))
def test_a_kill_at_any_point_still_ends_the_query_once(point: int) -> None:
    world = World()
    us, cl = pair(world, AGREEMENT)
    us.hits = 1
    world.kill_at = {point}
    us.ask(request(AGREEMENT.digest))
    if point == 1:
        world.run(lambda: us.up)
        assert us.live == {}, "nothing was stored, so nothing was begun"
        return
    world.run(lambda: us.up and cl.up and settled(us) and settled(cl))
    assert world.killed
    check_end(us, cl)
    assert asked(us).outcome == "hit"
    assert len(set(cl.served)) == 1


@pytest.mark.parametrize("seed", range(30))
def test_many_kills_and_a_bad_network_together(seed: int) -> None:
    world = World(seed, Faults(drop=0.15, duplicate=0.2, delay=200))
    us, cl = pair(world, AGREEMENT)
    us.hits = 1
    us.ask(request(AGREEMENT.digest, 1))
    us.ask(request(AGREEMENT.digest, 2))
    world.kill_at = set(world.random.sample(range(world.points + 1, world.points + 120), 5))
    world.run(lambda: us.up and cl.up and settled(us) and settled(cl))
    check_end(us, cl, (1, 2))
