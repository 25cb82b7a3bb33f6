"""Entries that say nothing: of no exchange, on the ledger of their own country, erased by rule as all others."""

from __future__ import annotations

from ledgers import AUDITOR, REQUESTED, exchange_id, intent, result
from matrix import Cases, Named, single
from scribe import Scribe, policy_of

from crypto.contexts import Context
from crypto.sealing import public_key, seal, seal_to
from protocol import limits
from protocol import statements_records as r
from protocol.audit.report import Rule
from protocol.payload import PAYLOAD_CLASS, PayloadBox, WrappedKey
from protocol.statement_parts import NoPrivatePart, Operated

POLICY = policy_of("US")
NONE = NoPrivatePart()


def _filler(number: int, country: str = "US") -> r.LogFiller:
    return r.LogFiller(exchange_id=bytes([number]) * 16, country=country)


def _stated(number: int, country: str = "US") -> r.CadenceStated:
    return r.CadenceStated(exchange_id=bytes([number]) * 16, country=country, seconds=60, entries=16)


def cases() -> Cases:
    """Every family of this file."""
    yield from _places()
    yield from _erased()
    yield from _padding()


def _places() -> Cases:
    own = _filler(1).model_copy(update={"exchange_id": exchange_id(1)})
    first = Scribe("US")
    first.record(_filler(1), NONE)
    found = Named(Rule.FIRST_STATEMENT, None, 0)
    yield single("a filler as the first entry", first.files(), POLICY, found, key=True)
    read = r.LedgerRead(exchange_id=bytes([1]) * 16, country="US", scope="pull", first=0, count=1)
    reading = r.Reading(reader="auditor-1", key=bytes(32), purpose="security")
    for name, told, rules in (
        ("alone", [(_filler(1), NONE)], []),
        ("many of them", [(_filler(number), NONE) for number in range(1, 20)], []),
        ("of another country", [(_filler(1, "CO"), NONE)], [(Rule.FOREIGN_STATEMENT, 1)]),
        (
            "in an exchange",
            [(intent(1), REQUESTED), (own, NONE), (result(1), NONE)],
            [(Rule.FILLER, 2), (Rule.FILLER, 3)],
        ),
        ("before an exchange", [(own, NONE), (intent(1), REQUESTED)], [(Rule.FILLER, 2)]),
        ("beside a stated cadence", [(_stated(1), NONE), (_filler(2), NONE)], []),
        ("under the id of a stated cadence", [(_stated(1), NONE), (_filler(1), NONE)], [(Rule.FILLER, 2)]),
        ("a cadence stated twice under one id", [(_stated(1), NONE)] * 2, [(Rule.REPEATED_STATEMENT, 2)]),
        ("a cadence stated twice", [(_stated(1), NONE), (_stated(2), NONE)], []),
        ("a cadence of another country", [(_stated(1, "CO"), NONE)], [(Rule.FOREIGN_STATEMENT, 1)]),
        ("that shares the id of a reading", [(read, reading), (_filler(1), NONE)], [(Rule.FILLER, 2)]),
        ("twice under one id", [(_filler(1), NONE), (_filler(1), NONE)], [(Rule.REPEATED_STATEMENT, 2)]),
    ):
        scribe = Scribe("US").begin()
        for shared, private in told:
            scribe.record(shared, private)
        expected = [Named(rule, None, index, "US") for rule, index in rules]
        yield single(f"fillers: {name}", scribe.files(), POLICY, *expected, key=True)


def _erased() -> Cases:
    scribe = Scribe("US").begin()
    leaf = scribe.record(_filler(1), NONE)
    gone = {path: data for path, data in scribe.files().items() if path != scribe.path(1)}
    missing = Named(Rule.PAYLOAD_MISSING, scribe.path(1), 1)
    yield single("a filler without its payload", gone, POLICY, missing, key=True)
    for name, days, rules in (
        ("by rule", 0, []),
        ("a day too early", 1, [Named(Rule.ERASED_EARLY, None, 1, "US")]),
    ):
        erased = r.PayloadsErased(
            exchange_id=bytes([2]) * 16,
            country="US",
            leaves=[leaf.leaf_hash],
            legal_basis=r.FILLER_BASIS,
            retention_days=2,
        )
        later = Scribe("US", scribe.now_ms, list(scribe.leaves), dict(scribe.payloads))
        later.record(erased, Operated(operator="op"), leaf.time_ms + (2 - days) * limits.DAY)
        files = {path: data for path, data in later.files().items() if path != scribe.path(1)}
        yield single(f"a filler erased {name}", files, POLICY, *rules, key=True)


def _padding() -> Cases:
    scribe = Scribe("US").begin()
    leaf = scribe.record(_filler(1), NONE)
    path = scribe.path(1)
    box = PayloadBox.from_bytes(scribe.payloads[path])
    for name, contents in (("not padded", b"\x80"), ("with nothing but zeros", bytes(PAYLOAD_CLASS))):
        sealed = seal(bytes(32), Context.PAYLOAD, leaf.leaf_hash, contents, bytes(12))
        key = seal_to(public_key(AUDITOR), Context.PAYLOAD_KEY, leaf.leaf_hash, bytes(32), bytes([1]) * 32)
        wrapped = [WrappedKey(recipient=public_key(AUDITOR), sealed=key)]
        changed = box.model_copy(update={"sealed": sealed, "auditor_keys": wrapped})
        files = scribe.files() | {path: changed.to_bytes()}
        yield single(f"a payload {name}", files, POLICY, Named(Rule.PAYLOAD_FORM, path, 1), key=True)
