"""What ledgers say of claims of hits: in one ledger, and between the two."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ledgers import ANSWER, COMPUTED, REQUESTED, accepted, answered, claimed, intent, reply, result
from matrix import Case, Cases, Named, single, together
from scribe import Scribe, policy_of

from protocol import limits
from protocol import statements_claims as c
from protocol.audit.report import Rule

OTHER = bytes([9]) * 32
Step = Callable[[Scribe, Scribe], object]


def cases() -> Cases:
    """Every family of this file."""
    yield _both("a hit that was claimed and confirmed", *_written(sent, accept, confirm))
    yield _both("a hit that was claimed and refused", *_written(sent, refuse, fail(verdict_hash=OTHER)))
    yield _both("a claim that nobody answered", *_written(sent, fail(reason="overdue")))
    yield _both("a claim whose verdict was lost", *_written(sent, accept, fail(reason="overdue")))
    yield from _within()
    yield from _between()
    yield from _answers()


def told(number: int = 1, slot: int = 5, **changes: Any) -> dict[str, Any]:
    """The fields that all statements about a claim have in common."""
    fields: dict[str, Any] = {
        "answer_hash": ANSWER,
        "block": 0,
        "slot": slot,
        "token": 77,
        "claim_hash": bytes([slot]) * 32,
    }
    return reply(number) | fields | changes


def sent(us: Scribe, cl: Scribe, **changes: Any) -> None:
    us.record(c.ClaimSent(**told(**changes)), c.Claimant(officer="officer-7"))


def accept(us: Scribe, cl: Scribe, **changes: Any) -> None:
    cl.record(c.ClaimAccepted(**told(**changes)))


def refuse(us: Scribe, cl: Scribe, **changes: Any) -> None:
    cl.record(c.ClaimRefused(**told(**changes), reason="token-mismatch"))


def repeat(**changes: Any) -> Step:
    """B refuses a claim because another message claimed the hit before."""

    def record(us: Scribe, cl: Scribe) -> None:
        cl.record(c.ClaimRefused(**told(**{"claim_hash": OTHER, **changes}), reason="claimed-before"))

    return record


def confirm(us: Scribe, cl: Scribe, **changes: Any) -> None:
    us.record(c.ClaimConfirmed(**told(**changes), verdict_hash=OTHER))


def fail(reason: str = "refused", verdict_hash: bytes | None = None, **changes: Any) -> Step:
    def record(us: Scribe, cl: Scribe) -> None:
        us.record(c.ClaimFailed(**told(**changes), reason=reason, verdict_hash=verdict_hash))

    return record


def changed(step: Callable[..., object], **changes: Any) -> Step:
    """A step with other fields."""
    return lambda us, cl: step(us, cl, **changes)


def _written(*steps: Step, hits: int = 1) -> tuple[Scribe, Scribe]:
    """One exchange with hits (US: intent 1, result 2; CL: acceptance 1, answer 2, report 3), then the steps."""
    us, cl = Scribe("US").begin(), Scribe("CL").begin()
    leaf = us.record(intent(1), REQUESTED).leaf_hash
    cl.record(accepted(1, leaf))
    cl.record(answered(1), COMPUTED)
    us.record(result(1, hits=hits))
    cl.record(claimed(1, hits=hits))
    for step in steps:
        step(us, cl)
    return us, cl


def _both(name: str, us: Scribe, cl: Scribe, *expected: Named) -> Case:
    ledgers = {one.code: (one.files(), policy_of(one.code)) for one in (us, cl)}
    return together(name, ledgers, *expected)


def _alone(name: str, one: Scribe, *expected: Named) -> Case:
    return single(name, one.files(), policy_of(one.code), *expected, key=True)


def _within() -> Cases:
    us_claim, cl_claim = Named(Rule.CLAIM, None, 4, "US"), Named(Rule.CLAIM, None, 5, "CL")
    us, cl = _written(changed(sent, slot=6))
    yield _alone("one claim", us)
    us, cl = _written(sent, changed(sent, slot=6))
    yield _alone("two claims of one hit", us, us_claim)
    us, cl = _written(sent, changed(sent, slot=6), hits=2)
    yield _alone("two claims of two hits", us)
    us, cl = _written(sent, sent, hits=2)
    yield _alone("one claim sent twice", us, Named(Rule.REPEATED_STATEMENT, None, 4, "US"))
    again = {"claim_hash": OTHER}
    us, cl = _written(sent, changed(sent, **again), hits=2)
    yield _alone("one hit claimed twice", us, us_claim)
    us, cl = _written(sent, changed(sent, **again), changed(sent, slot=6), hits=2)
    yield _alone("one of two hits claimed twice, and then the other", us, us_claim)
    us, cl = _written(accept, repeat())
    yield _alone("a claim refused as the second of its hit", cl)
    us, cl = _written(refuse, repeat())
    yield _alone("a claim refused as the second of a hit that was refused", cl)
    us, cl = _written(accept, repeat(), repeat(claim_hash=bytes([8]) * 32))
    yield _alone("claims refused as the second and the third of their hit", cl)
    us, cl = _written(repeat())
    yield _alone("a claim refused as the second that is the first", cl, Named(Rule.CLAIM, None, 4, "CL"))
    us, cl = _written(repeat(), accept)
    yield _alone("a claim refused as the second before the first", cl, Named(Rule.CLAIM, None, 4, "CL"))
    us, cl = _written(accept, repeat(slot=6))
    yield _alone("a claim refused as the second of another hit", cl, cl_claim)
    for name, step in (("accepted", accept), ("refused by its token", refuse)):
        us, cl = _written(accept, changed(step, **again))
        yield _alone(f"a second claim of a hit {name}", cl, cl_claim)
    us, cl = _written(accept, repeat())
    files = {path: data for path, data in cl.files().items() if path != cl.path(4)}
    missing = Named(Rule.PAYLOAD_MISSING, cl.path(4), 4)
    yield single(
        "a claim refused as the second, the first is gone", files, policy_of("CL"), missing, key=True
    )
    us, cl = _written(accept, changed(accept, slot=6))
    yield _alone("two hits accepted of one", cl, cl_claim)
    us, cl = _written(changed(accept, block=1))
    yield _alone("a hit accepted in no block", cl, Named(Rule.CLAIM, None, 4, "CL"))
    us, cl = _written(sent, confirm, fail())
    yield _alone("failed after it was confirmed", us, Named(Rule.CLAIM, None, 5, "US"))
    us, cl = _written(sent, fail(), confirm)
    yield _alone("confirmed after it failed", us, Named(Rule.CLAIM, None, 5, "US"))
    us, cl = _written(accept, refuse)
    yield _alone("refused after it was accepted", cl, cl_claim)
    us, cl = _written(refuse, accept)
    yield _alone("accepted after it was refused", cl, cl_claim)
    for step, name in ((confirm, "confirmed"), (fail(), "failed")):
        us, cl = _written(step)
        yield _alone(f"{name}, but never claimed", us, Named(Rule.CLAIM, None, 3, "US"))
    for field, value in (("token", 78), ("claim_hash", OTHER)):
        us, cl = _written(sent, changed(confirm, **{field: value}))
        yield _alone(f"confirmed with another {field}", us, us_claim)
    us, cl = _written(sent, changed(confirm, slot=6))
    yield _alone("another hit confirmed than claimed", us, us_claim)
    us, cl = _written(changed(sent, answer_hash=OTHER))
    yield _alone("a hit of another answer", us, Named(Rule.QUERY_CHANGED, None, 3, "US"))
    us, cl = Scribe("US").begin(), Scribe("CL").begin()
    us.record(intent(1), REQUESTED)
    sent(us, cl)
    yield _alone("claimed before the result", us, Named(Rule.ORDER, None, 2, "US"))
    us, cl = Scribe("US").begin(), Scribe("CL").begin()
    cl.record(accepted(1, OTHER))
    cl.record(answered(1), COMPUTED)
    accept(us, cl)
    yield _alone("accepted before the report", cl, Named(Rule.ORDER, None, 3, "CL"))
    us, cl = _written()
    accept(us, us)
    yield _alone("accepted by the requester", us, Named(Rule.FOREIGN_STATEMENT, None, 3, "US"),
                 Named(Rule.ORDER, None, 3, "US"))  # fmt: skip


def _between() -> Cases:
    def twin(blame: str) -> Named:
        return Named(Rule.MISSING_TWIN, blame=blame)

    yield _both("accepted what nobody claimed", *_written(accept), twin("US"))
    yield _both("refused what nobody claimed", *_written(refuse), twin("US"))
    yield _both("confirmed what nobody accepted", *_written(sent, confirm), twin("CL"))
    yield _both("confirmed what was refused", *_written(sent, refuse, confirm), twin("CL"))
    steps = (sent, accept, fail(verdict_hash=OTHER))
    yield _both("said to be refused, but it was accepted", *_written(*steps), twin("CL"))
    differs = Named(Rule.DIFFERING_TWIN)
    for field, value in (("token", 78), ("claim_hash", OTHER)):
        us, cl = _written(sent, changed(accept, **{field: value}))
        yield _both(f"accepted with another {field}", us, cl, differs)
    tried = changed(sent, claim_hash=OTHER)
    ended = fail(verdict_hash=OTHER, claim_hash=OTHER)
    second = Named(Rule.CLAIM, None, 5, "US")
    steps = (sent, accept, confirm, tried, repeat(), ended)
    yield _both("a hit that was claimed a second time", *_written(*steps), second)
    yield _both("a second claim whose verdict was lost", *_written(*steps[:4], repeat()), second)
    yield _both("refused as a second claim that nobody made", *_written(sent, accept, repeat()), twin("US"))
    steps = (sent, accept, confirm, tried, ended)
    yield _both("a second claim said to be refused, but it was not", *_written(*steps), second, twin("CL"))
    us, cl = _written(sent)
    us.now_ms += limits.CLOCK_SKEW + 5000
    accept(us, cl)
    confirm(us, cl)
    yield _both("confirmed in time", us, cl)
    us, cl = _written()
    us.now_ms += limits.CLOCK_SKEW + 5000
    sent(us, cl)
    accept(us, cl)
    yield _both("accepted before it was claimed", us, cl, Named(Rule.CLOCK_SKEW))


def _answers() -> Cases:
    for reason in ("bad-answer", "too-many-hits"):
        us = Scribe("US").begin()
        us.record(intent(1), REQUESTED)
        us.record(result(1, outcome="failed", hits=0, answer_hash=None, reason=reason))
        yield _alone(f"an answer not believed: {reason}", us, Named(Rule.PEER_ANSWER, None, 2, "CL"))
    us = Scribe("US").begin()
    us.record(intent(1), REQUESTED)
    us.record(result(1, outcome="failed", hits=0, answer_hash=None, reason="internal"))
    yield _alone("an answer that was not opened", us)
