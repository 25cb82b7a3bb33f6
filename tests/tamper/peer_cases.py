"""Two ledgers that do not fit together; each of them alone is sound."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ledgers import COMPUTED, REQUESTED, START_MS, accepted, answered, asked, claimed, intent, reply, result
from matrix import Case, Cases, Named, together
from parties import agreement as make_agreement
from parties import grant
from scribe import Scribe, countries, policy_of

from protocol import limits
from protocol import statements as s
from protocol.agreement import Agreement
from protocol.audit.report import Rule
from protocol.statement_parts import Operated

OTHER = bytes([9]) * 32
LATER = limits.FETCH_PERIOD + limits.REPORT_PERIOD + limits.MAX_ANSWER_PERIOD


def cases() -> Cases:
    """Every family of this file."""
    us, cl = countries()
    yield _both("two ledgers that fit", us, cl)
    yield from _fields()
    yield from _missing()
    yield from _times()
    yield from _damaged()
    yield from _coverage()


def _both(name: str, us: Scribe, cl: Scribe, *expected: Named, **more: Any) -> Case:
    ledgers = {one.code: (one.files(), policy_of(one.code)) for one in (us, cl)}
    return together(name, ledgers, *expected, **more)


def _write(*steps: Callable[[Scribe, Scribe], object]) -> tuple[Scribe, Scribe]:
    us, cl = Scribe("US").begin(), Scribe("CL").begin()
    for step in steps:
        step(us, cl)
    return us, cl


def _intent(us: Scribe, cl: Scribe, **changes: Any) -> None:
    us.record(intent(1, **changes), REQUESTED)


def _accept(us: Scribe, cl: Scribe, **changes: Any) -> None:
    leaf = next(one.leaf_hash for one in us.leaves[1:])
    cl.record(accepted(1, changes.pop("intent_leaf", leaf), **changes))


def _answer(us: Scribe, cl: Scribe, **changes: Any) -> None:
    cl.record(answered(1, **changes), COMPUTED)


def _result(us: Scribe, cl: Scribe, **changes: Any) -> None:
    us.record(result(1, **changes))


def _claim(us: Scribe, cl: Scribe, **changes: Any) -> None:
    cl.record(claimed(1, **changes))


def _late(country: int) -> Callable[[Scribe, Scribe], None]:
    def record(us: Scribe, cl: Scribe) -> None:
        one = (us, cl)[country]
        one.now_ms += LATER
        one.record(
            s.PeerAccepted(exchange_id=bytes([7]) * 16, country=one.code, peer="CO", descriptor=bytes(32)),
            Operated(operator="op"),
        )

    return record


def _differs(count: int = 1) -> list[Named]:
    return [Named(Rule.DIFFERING_TWIN)] * count


def _fields() -> Cases:
    """Each field that both sides state, stated differently by the other side."""
    for name in (
        "query_hash", "ciphertext_hash", "agreement", "purpose", "legal_basis", "offence", "person_category",
        "modality", "authority", "intent_leaf",
    ):  # fmt: skip
        changed: Any = OTHER if name.endswith(("hash", "leaf", "agreement")) else "something-else"
        us, cl = _write(_intent, lambda u, c, n=name, v=changed: _accept(u, c, **{n: v}))  # type: ignore[misc]
        yield _both(f"accepted with another {name}", us, cl, *_differs())
    for name in ("query_hash", "purpose", "authority"):
        changed = OTHER if name.endswith("hash") else "something-else"
        us, cl = _write(_intent)
        cl.record(s.QueryRefused(**(asked(1) | {name: changed}), reason="internal"))
        yield _both(f"refused with another {name}", us, cl, *_differs())
    us, cl = _write(_intent, _accept, _answer, lambda u, c: _result(u, c, answer_hash=OTHER))
    yield _both("a result of another answer", us, cl, *_differs())
    for name, changes, count in (
        ("outcome", {"outcome": "no-hit", "hits": 0}, 2),
        ("number of hits", {"hits": 2}, 1),
        ("end", {"outcome": "failed", "hits": 0, "answer_hash": None, "reason": "internal"}, 3),
    ):
        us, cl = _write(_intent, _accept, _answer, _result, lambda u, c, v=changes: _claim(u, c, **v))  # type: ignore[misc]
        yield _both(f"a claim of another {name}", us, cl, *_differs(count))


def _missing() -> Cases:
    def twin(blame: str) -> Named:
        return Named(Rule.MISSING_TWIN, blame=blame)

    us, cl = Scribe("US").begin(), Scribe("CL").begin()
    cl.record(accepted(1, OTHER))
    yield _both("accepted what nobody asked", us, cl, twin("US"))
    us, cl = Scribe("US").begin(), Scribe("CL").begin()
    cl.record(s.QueryRefused(**asked(1), reason="internal"))
    yield _both("refused what nobody asked", us, cl, twin("US"))
    us, cl = _write(_intent, _result)
    yield _both("a result, but never accepted", us, cl, twin("CL"))
    us, cl = _write(_intent, _accept, _result)
    yield _both("a result, but never answered", us, cl, twin("CL"))
    us, cl = _write(
        _intent, lambda u, c: _result(u, c, outcome="refused", hits=0, answer_hash=None, reason="x")
    )
    yield _both("said to be refused, but never was", us, cl, twin("CL"))
    us, cl = _write(_intent, _accept, _late(1))
    yield _both("accepted, never answered", us, cl, Named(Rule.UNANSWERED, None, 1, "CL"))
    us, cl = _write(_intent, _accept, _answer, _late(0))
    yield _both("answered, no result", us, cl, Named(Rule.UNREPORTED, None, 2, "US"))
    us, cl = _write(_intent, _accept, _answer, _result, _late(1))
    yield _both("a result that was not reported", us, cl, Named(Rule.UNREPORTED, None, 2, "US"))
    us, cl = _write(_intent, _late(0), _late(1))
    yield _both("an intent that was not delivered", us, cl)
    us, cl = _write(_intent, _accept)
    yield _both("accepted a moment ago", us, cl)
    us, cl = _write(
        _intent, _accept, lambda u, c: c.record(s.QueryFailed(**reply(1), reason="internal")), _late(1)
    )
    yield _both("failed, as the responder says", us, cl)
    us, cl = Scribe("US").begin(), Scribe("CL").begin()
    us.record(intent(1, responder="CO"), REQUESTED)
    yield _both("asked a country that is not here", us, cl)


def _times() -> Cases:
    skew = Named(Rule.CLOCK_SKEW)
    ahead = limits.CLOCK_SKEW + 5000

    def wait(country: int, ms: int) -> Callable[[Scribe, Scribe], None]:
        def step(us: Scribe, cl: Scribe) -> None:
            (us, cl)[country].now_ms += ms

        return step

    yield _both("accepted before it was asked", *_write(wait(0, ahead), _intent, _accept), skew)
    us, cl = _write(wait(0, ahead), _intent)
    cl.record(s.QueryRefused(**asked(1), reason="internal"))
    yield _both("refused before it was asked", us, cl, skew)
    steps = (_intent, _accept, wait(1, ahead), _answer, _result)
    yield _both("a result before the answer", *_write(*steps), skew)
    steps = (_intent, _accept, _answer, wait(0, ahead), _result, _claim)
    yield _both("a claim before the result", *_write(*steps), skew)
    late = limits.MAX_QUERY_LIFE + limits.CLOCK_SKEW + 5000
    yield _both(
        "accepted after the query's life", *_write(_intent, wait(1, late), _accept),
        Named(Rule.LATE_ANSWER, None, 1, "CL"),
    )  # fmt: skip
    late = limits.MAX_ANSWER_PERIOD + 5000
    yield _both(
        "answered after expiry", *_write(_intent, _accept, wait(1, late), _answer),
        Named(Rule.LATE_ANSWER, None, 2, "CL"),
    )  # fmt: skip
    yield _both("clocks within tolerance", *_write(wait(0, limits.CLOCK_SKEW - 5000), _intent, _accept))


def _damaged() -> Cases:
    """Damage in one ledger is that ledger's finding; nothing is held against its neighbour."""
    us, cl = countries()
    for index in range(1, len(us.leaves)):
        bundle = f"tile/entries/000.p/{len(us.leaves)}"
        files = us.files()
        data = files[bundle]
        at = index * 117 + 20
        changed = files | {bundle: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]}
        ledgers = {"US": (changed, policy_of("US")), "CL": (cl.files(), policy_of("CL"))}
        yield together(
            f"beside a peer: entry {index} changed", ledgers, Named(Rule.ENTRY_HASH, bundle, index)
        )
    for index in range(1, len(cl.leaves)):
        files = {k: v for k, v in cl.files().items() if k != cl.path(index)}
        ledgers = {"US": (us.files(), policy_of("US")), "CL": (files, policy_of("CL"))}
        missing = Named(Rule.PAYLOAD_MISSING, cl.path(index), index)
        yield together(f"beside a peer: payload {index} gone", ledgers, missing)


_COVERED: dict[str, Any] = {
    "purposes": ["border-control"],
    "offences": ["trafficking"],
    "person_categories": ["suspect"],
    "legal_bases": ["agreement-article-4"],
    "profile_digest": bytes(32),
}
_VALID = {"not_before_ms": START_MS - limits.DAY, "not_after_ms": START_MS + limits.DAY}


def _coverage() -> Cases:
    """Both sides state the same query; the agreement of its day covers it, or it does not."""
    for name, grants, validity in (
        ("purpose", {"purposes": ["tourism"]}, {}),
        ("offence", {"offences": ["theft"]}, {}),
        ("person category", {"person_categories": ["victim"]}, {}),
        ("legal basis", {"legal_bases": ["article-9"]}, {}),
        ("modality", {"modality": "iris"}, {}),
        ("profile", {"profile_digest": OTHER}, {}),
        ("direction", {"requester": "CL", "responder": "US"}, {}),
        (
            "day: not yet",
            {},
            {"not_before_ms": START_MS + limits.DAY, "not_after_ms": START_MS + 2 * limits.DAY},
        ),
        (
            "day: no more",
            {},
            {"not_before_ms": START_MS - 2 * limits.DAY, "not_after_ms": START_MS - limits.DAY},
        ),
    ):
        covers = make_agreement(grant(**(_COVERED | grants)), **(_VALID | validity))  # type: ignore[operator]
        named = [Named(Rule.NOT_COVERED, None, 1, country) for country in ("US", "CL")]
        steps = [
            lambda u, c, a=covers: _intent(u, c, agreement=a.digest),
            lambda u, c, a=covers: _accept(u, c, agreement=a.digest),
        ]  # type: ignore[misc]
        yield _both(f"not covered by its {name}", *_write(*steps), *named, agreements=[covers])
    covers = make_agreement(grant(**_COVERED), **_VALID)
    yield _both("covered", *_asked(covers, 4), agreements=[covers])
    for allowed in (1, 2, 3, 4):
        covers = make_agreement(grant(**_COVERED, queries_per_day=allowed), **_VALID)
        named = [Named(Rule.QUOTA, None, index, "CL") for index in range(allowed + 1, 5)]
        yield _both(
            f"four queries where {allowed} are allowed", *_asked(covers, 4), *named, agreements=[covers]
        )


def _asked(covers: Agreement, count: int) -> tuple[Scribe, Scribe]:
    us, cl = Scribe("US").begin(), Scribe("CL").begin()
    for number in range(1, count + 1):
        leaf = us.record(intent(number, agreement=covers.digest), REQUESTED).leaf_hash
        cl.record(accepted(number, leaf, agreement=covers.digest))
    return us, cl
