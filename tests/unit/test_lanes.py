"""Who is next: fair between lanes, whatever each of them waits for."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from node.lanes import FIRST, IDLE, Lanes


@dataclass
class Work:
    lane: Hashable
    job: Hashable | None = None
    cost: int = 1
    is_dropped: bool = False


def taken(lanes: Lanes[Work], count: int = 100) -> list[Hashable]:
    found: list[Hashable] = []
    while len(found) < count and (piece := lanes.take()) is not None:
        found.append(piece.lane)
    return found


def filled(*pieces: Work, room: int = 100) -> Lanes[Work]:
    lanes: Lanes[Work] = Lanes(room)
    for piece in pieces:
        lanes.add(piece)
    return lanes


def test_lanes_take_turns_however_long_one_is() -> None:
    lanes = filled(*[Work("US")] * 6, *[Work("CL")] * 2, Work("CO"))
    assert taken(lanes) == ["US", "CL", "CO", "US", "CL", "US", "US", "US", "US"]


def test_what_costs_more_comes_more_rarely() -> None:
    lanes = filled(*[Work("US", cost=4)] * 2, *[Work("CL")] * 6)
    assert taken(lanes) == ["US", "CL", "CL", "CL", "CL", "US", "CL", "CL"]


def test_who_comes_late_has_no_claim_to_what_went_before() -> None:
    lanes = filled(*[Work("US")] * 20)
    taken(lanes, 10)
    for piece in [Work("CL")] * 5:
        lanes.add(piece)
    assert taken(lanes, 6).count("US") == 3


def test_who_comes_back_has_not_forgotten_its_share() -> None:
    lanes = filled(*[Work("US")] * 3, Work("CL"))
    for _ in range(8):
        lanes.add(Work("CL"))
    assert taken(lanes, 6).count("CL") == 3


def test_short_work_comes_first_and_idle_work_last() -> None:
    lanes = filled(Work(IDLE), Work("US"), Work(FIRST), Work("US"))
    assert taken(lanes) == [FIRST, "US", "US", IDLE]


def test_dropped_work_is_passed_over() -> None:
    lanes = filled(Work("US", is_dropped=True), Work("US", is_dropped=True), Work("CL"), Work("US"))
    assert taken(lanes) == ["US", "CL"]


def test_as_many_jobs_run_as_there_is_room_for_and_at_least_one() -> None:
    lanes: Lanes[Work] = Lanes(10)
    for lane, job, size in (("US", 1, 30), ("CL", 2, 5), ("CO", 3, 5), ("PE", 4, 5)):
        lanes.begin(job, size)
        for piece in [Work(lane, job)] * 2:
            lanes.add(piece)
    assert taken(lanes) == ["US", "US"], "the first is larger than all room and runs alone"
    lanes.end(1)
    assert sorted(map(str, taken(lanes))) == ["CL", "CL", "CO", "CO"]
    lanes.end(2)
    assert taken(lanes) == ["PE", "PE"]


def test_work_without_a_job_does_not_wait_for_room() -> None:
    lanes: Lanes[Work] = Lanes(10)
    lanes.begin(1, 30)
    lanes.begin(2, 5)
    for piece in (Work("US", 1), Work("CL", 2), Work(FIRST), Work("own")):
        lanes.add(piece)
    assert taken(lanes) == [FIRST, "US", "own"]


def test_a_large_job_is_not_passed_over_for_ever_by_small_ones() -> None:
    """Two peers whose small jobs overlap must not keep the memory from being free for a third peer's large one."""
    lanes: Lanes[Work] = Lanes(10)
    left: dict[Hashable, int] = {}
    for number in range(40):
        left[number] = 2 if number == 1 else 4
        lanes.begin(number, 5)
        for _ in range(left[number]):
            lanes.add(Work(("US", "CL")[number % 2], number))
    taken(lanes, 2)
    left[0], left[1] = 3, 1
    lanes.begin("large", 8)
    lanes.add(Work("PE", "large"))
    order: list[Hashable] = []
    while "PE" not in order and (piece := lanes.take()) is not None:
        order.append(piece.lane)
        left[piece.job] = left.get(piece.job, 1) - 1
        if not left[piece.job]:
            lanes.end(piece.job)
    assert order.index("PE") <= 5, "it waits for what had started, and for nothing more"


def test_what_a_job_that_ended_has_queued_goes_with_it() -> None:
    """A peer that opens queries behind a long one and calls them off must not fill the memory with them."""
    lanes: Lanes[Work] = Lanes(100)
    lanes.begin("long", 1)
    long = [Work("US", "long") for _ in range(3)]
    for piece in long:
        lanes.add(piece)
    for number in range(50):
        lanes.begin(number, 1)
        dropped = [Work("US", number) for _ in range(20)]
        for piece in dropped:
            lanes.add(piece)
        for piece in dropped:
            piece.is_dropped = True
        lanes.end(number)
    assert lanes.clear() == long
