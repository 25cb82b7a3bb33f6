"""Registrations of keys on ledgers: out of order, with another set than was kept, twice, too often; and evidence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ledgers import REQUESTED, START_MS, accepted, intent
from matrix import Cases, Named, single, together
from parties import named_key
from scribe import Scribe, policy_of

from protocol import statements_keys as k
from protocol import statements_witness as w
from protocol.audit.report import Rule
from protocol.key_evidence import KeyEvidence
from protocol.limits import CLOCK_SKEW, DAY
from protocol.messages import sign
from protocol.registration import KeyChallenge, epoch_at

OFFER, CHALLENGE, OPENING, OTHER = (bytes([n]) * 32 for n in range(11, 15))
SETS = [bytes([n]) * 32 for n in range(4)]
KEPT = 2


def _common(number: int = 1, **changes: Any) -> dict[str, Any]:
    values = {
        "exchange_id": number.to_bytes(16, "big"),
        "requester": "US",
        "responder": "CL",
        "agreement": bytes(32),
        "plan": bytes([1]) * 32,
        "epoch_days": 30,
        "epoch": epoch_at(START_MS, 30),
        "offer_hash": OFFER,
    }
    return {**values, **changes}


Step = Callable[[Scribe, Scribe], object]


def _offered(us: Scribe, cl: Scribe, number: int = 1, **changes: Any) -> None:
    us.record(k.KeysOffered(**_common(number), **({"profile": bytes(32), "sets": SETS} | changes)))


def _challenged(us: Scribe, cl: Scribe, number: int = 1, **changes: Any) -> None:
    cl.record(k.KeysChallenged(**_common(number), **({"kept": KEPT, "challenge_hash": CHALLENGE} | changes)))


def _opened(us: Scribe, cl: Scribe, number: int = 1, **changes: Any) -> None:
    values = {"kept": KEPT, "challenge_hash": CHALLENGE, "opening_hash": OPENING}
    us.record(k.KeysOpened(**_common(number), **(values | changes)))


def _registered(us: Scribe, cl: Scribe, number: int = 1, **changes: Any) -> None:
    values = {"opening_hash": OPENING, "evaluation_keys": SETS[KEPT], "sets": len(SETS)}
    common = _common(number, **{name: changes.pop(name) for name in ("epoch",) if name in changes})
    cl.record(k.KeysRegistered(**common, **(values | changes)), k.Checked(compute_ms=1))


def _refused(us: Scribe, cl: Scribe, number: int = 1) -> None:
    cl.record(k.KeysRefused(**_common(number), opening_hash=OPENING, reason="set-differs"))


def _accepted(us: Scribe, cl: Scribe, number: int = 1, **changes: Any) -> None:
    values = {"opening_hash": OPENING, "evaluation_keys": SETS[KEPT]} | changes
    us.record(k.KeysAccepted(**_common(number), **values), k.Escrowed(secret=bytes(32)))


def _failed(us: Scribe, cl: Scribe, number: int = 1) -> None:
    us.record(k.KeysFailed(**_common(number), reason="overdue"))


WHOLE: tuple[Step, ...] = (_offered, _challenged, _opened, _registered, _accepted)


def _with(step: Step, **changes: Any) -> Step:
    return lambda us, cl: step(us, cl, **changes)  # type: ignore[call-arg]


def cases() -> Cases:
    """Every family of this file."""
    yield from _between()
    yield from _within()
    yield from _evidence()


def _both(name: str, *steps: Step, expected: tuple[Named, ...] = ()) -> Any:
    us, cl = Scribe("US").begin(), Scribe("CL").begin()
    for step in steps:
        step(us, cl)
    ledgers = {one.code: (one.files(), policy_of(one.code)) for one in (us, cl)}
    return together(name, ledgers, *expected)


def _twin(blame: str) -> Named:
    return Named(Rule.MISSING_TWIN, blame=blame)


def _between() -> Cases:
    differs = Named(Rule.DIFFERING_TWIN)
    wrong = Named(Rule.KEYS, None, 2, "CL")
    yield _both("keys registered as they should be", *WHOLE)
    yield _both("keys refused", _offered, _challenged, _opened, _refused, _failed)
    yield _both("an offer that nobody answered", _offered)
    yield _both("a challenge of no offer", _challenged, expected=(_twin("US"),))
    yield _both("an opening without a challenge", _offered, _opened, expected=(_twin("CL"),))
    yield _both("registered, but never opened", _offered, _challenged, _registered, expected=(_twin("US"),))
    yield _both(
        "accepted, but never registered", _offered, _challenged, _opened, _accepted, expected=(_twin("CL"),)
    )
    others = _with(_registered, evaluation_keys=SETS[1])
    yield _both(
        "another set registered than was kept", _offered, _challenged, _opened, others, _accepted,
        expected=(wrong, differs),
    )  # fmt: skip
    fewer = _with(_registered, sets=3)
    yield _both("another number of sets", _offered, _challenged, _opened, fewer, _accepted, expected=(wrong,))
    for name in ("kept", "challenge_hash"):
        changed = _with(_opened, **{name: 1 if name == "kept" else OTHER})
        accepted = _with(_accepted, evaluation_keys=SETS[1]) if name == "kept" else _accepted
        extra = (differs,) if name == "kept" else ()
        yield _both(
            f"an opening with another {name}", _offered, _challenged, changed, _registered, accepted,
            expected=(differs, *extra),
        )  # fmt: skip
    other = _with(_registered, opening_hash=OTHER)
    yield _both(
        "registered by another opening", _offered, _challenged, _opened, other, _accepted,
        expected=(differs, differs),
    )  # fmt: skip


def _alone(name: str, code: str, *steps: Step, expected: tuple[Named, ...]) -> Any:
    us, cl = Scribe("US").begin(), Scribe("CL").begin()
    for step in steps:
        step(us, cl)
    one = us if code == "US" else cl
    return single(name, one.files(), policy_of(code), *expected, key=True)


def _within() -> Cases:
    def order(index: int, blame: str) -> Named:
        return Named(Rule.ORDER, None, index, blame)

    def keys(index: int, blame: str) -> Named:
        return Named(Rule.KEYS, None, index, blame)

    yield _alone("opened before it was offered", "US", _opened, _offered, expected=(order(1, "US"),))
    yield _alone("in use before it was opened", "US", _offered, _accepted, expected=(order(2, "US"),))
    yield _alone("given up before it was offered", "US", _failed, expected=(order(1, "US"),))
    yield _alone("opened after it was given up", "US", _offered, _failed, _opened, expected=(order(3, "US"),))
    yield _alone(
        "in use and given up", "US", _offered, _opened, _accepted, _failed, expected=(order(4, "US"),)
    )
    yield _alone("registered without a challenge", "CL", _registered, expected=(order(1, "CL"),))
    yield _alone("refused without a challenge", "CL", _refused, expected=(order(1, "CL"),))
    yield _alone(
        "registered and refused", "CL", _challenged, _registered, _refused, expected=(order(3, "CL"),)
    )
    yield _alone(
        "a second challenge of one offer", "CL", _challenged, _with(_challenged, kept=1),
        expected=(
            Named(Rule.REPEATED_STATEMENT, None, 2, "CL"), Named(Rule.QUERY_CHANGED, None, 2, "CL"),
        ),
    )  # fmt: skip
    yield _alone(
        "a set kept that was not offered", "US", _offered, _with(_opened, kept=4), expected=(keys(2, "US"),)
    )
    yield _alone(
        "another set in use than was kept", "US", _offered, _opened, _with(_accepted, evaluation_keys=SETS[0]),
        expected=(keys(3, "US"),),
    )  # fmt: skip
    again = (_with(_challenged, number=2), _with(_registered, number=2))
    yield _alone(
        "a second set in one epoch", "CL", _challenged, _registered, *again, expected=(keys(4, "CL"),)
    )
    many = [_with(_challenged, number=number) for number in range(1, 5)]
    yield _alone("a fourth challenge", "CL", *many, expected=(keys(4, "CL"),))
    yield _alone("three challenges", "CL", *many[:3], expected=())
    for shift in (-2, 1):
        late = _with(_registered, epoch=epoch_at(START_MS, 30) + shift + (1 if shift > 0 else 0))
        expected = (keys(2, "CL"), Named(Rule.QUERY_CHANGED, None, 2, "CL"))
        yield _alone(f"registered {shift} epochs away", "CL", _challenged, late, expected=expected)
    yield from _queries(keys)
    foreign = Named(Rule.FOREIGN_STATEMENT, None, 1, "CL")

    def on_the_wrong_ledger(us: Scribe, cl: Scribe) -> None:
        _offered(cl, us)

    yield _alone("an offer on the responder's ledger", "CL", on_the_wrong_ledger, expected=(foreign,))


def _queries(keys: Callable[[int, str], Named]) -> Cases:
    """Queries that were asked or accepted under keys, or without."""
    epoch = 30 * DAY
    over = START_MS - START_MS % epoch + epoch + 2 * CLOCK_SKEW

    def asks(us: Scribe, cl: Scribe, number: int = 7, at_ms: int | None = None, **changes: Any) -> None:
        us.record(intent(number, **({"plan": bytes([1]) * 32} | changes)), REQUESTED, at_ms)

    def accepts(us: Scribe, cl: Scribe, at_ms: int | None = None) -> None:
        cl.record(accepted(7, bytes(32)), at_ms=at_ms)

    asking, answering = (_offered, _opened, _accepted), (_challenged, _registered)
    yield _alone("asked under keys", "US", *asking, asks, expected=())
    yield _alone("asked before any keys", "US", asks, *asking, expected=())
    yield _alone(
        "asked under another plan", "US", *asking, _with(asks, plan=OTHER), expected=(keys(4, "US"),)
    )
    yield _alone("accepted under keys", "CL", *answering, accepts, expected=())
    yield _alone("accepted at the end", "CL", *answering, _with(accepts, at_ms=over - 1), expected=())
    late = _with(accepts, at_ms=over)
    yield _alone(
        "accepted under keys of an epoch that is over", "CL", *answering, late, expected=(keys(3, "CL"),)
    )


def _evidence() -> Cases:
    """Two challenges of one offer: needs no set to be made again."""
    key = named_key("CL identity")
    first, second = (
        sign(
            KeyChallenge(
                exchange_id=bytes(16),
                requester="US",
                responder="CL",
                offer_hash=OFFER,
                kept=kept,
                challenged_ms=START_MS,
            ),
            key,
        )
        for kept in (0, 1)
    )
    evidence = KeyEvidence.of("second-challenge", "CL", key.verify_key, first, second)
    us = Scribe("US").begin()
    us.record(
        w.PeerSuspended(exchange_id=bytes([1]) * 16, country="US", peer="CL", conflict=evidence.digest),
        w.Decided(operator="node", reason="second-challenge"),
    )
    name, data, files = f"conflicts/CL-{evidence.digest.hex()}", evidence.to_bytes(), us.files()
    policy = policy_of("US")
    missing = Named(Rule.CONFLICT_MISSING, None, 1)
    form = Named(Rule.CONFLICT_FORM, name)
    proven = Named(Rule.PEER_KEYS, name, None, "CL")
    yield single("two challenges of a peer, proven", files | {name: data}, policy, proven, key=True)
    yield single("a suspension for keys without its evidence", files, policy, missing, key=True)
    changes = {
        "cut": data[:-1],
        "longer": data + b"\0",
        "with the same challenge twice": _changed(evidence, second=first),
        "by another rule": _changed(evidence, rule="opening-incomplete"),
        "against another key": _changed(evidence, identity=named_key("US identity").verify_key.public),
        "against another country": _changed(evidence, accused="US"),
    }
    for words, changed in changes.items():
        yield single(f"evidence about keys {words}", files | {name: changed}, policy, form, missing, key=True)
    other = f"conflicts/CO-{evidence.digest.hex()}"
    yield single(
        "evidence about keys under another country", files | {other: data}, policy,
        Named(Rule.CONFLICT_FORM, other), missing, key=True,
    )  # fmt: skip


def _changed(evidence: KeyEvidence, **changes: Any) -> bytes:
    return evidence.model_copy(update=changes).to_bytes()
