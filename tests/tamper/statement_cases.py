"""What entries say: leaves, payloads, order, retention; the auditor opens the payloads."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from ledgers import (
    AUDITOR,
    COMPUTED,
    REQUESTED,
    START_MS,
    accepted,
    answered,
    claimed,
    counter_random,
    exchange_id,
    intent,
    result,
)
from matrix import Case, Cases, Named, single
from scribe import Files, Scribe, countries, leaves, policy_of, publish

from crypto.contexts import Context, hash_fields
from crypto.sealing import public_key
from protocol import limits
from protocol import statements as s
from protocol import statements_records as r
from protocol.audit.report import Rule
from protocol.leaf import Leaf
from protocol.payload import PayloadBox, make_entry, payload_path
from protocol.statement_parts import Operated, PrivatePart, SharedPart

POLICY = policy_of("US")
OTHER = bytes([9]) * 32


@cache
def _countries() -> tuple[Scribe, Scribe]:
    return countries(3)


def cases() -> Cases:
    """Every family of this file."""
    yield from _leaves()
    yield from _payloads()
    yield from _order()
    yield from _retention()
    yield from _seeds()


def _leaves() -> Cases:
    sound = leaves(40)
    last = "tile/entries/000.p/41"
    for name, entry in (
        ("not a leaf", b"not a leaf"),
        ("empty", b""),
        ("of another version", sound[0].replace(b"version\x01", b"version\x02")),
        ("with a byte more", sound[0] + b"\0"),
        ("cut short", sound[0][:-1]),
        ("with a number in a longer form", sound[0].replace(b"version\x01", b"version\xcc\x01")),
        ("of 65535 bytes", bytes(65535)),
    ):
        files = publish("US", [*sound, entry])
        yield single(f"an entry {name}", files, POLICY, Named(Rule.ENTRY_FORM, last, 40))
    for of in (0, 39):
        files = publish("US", [*sound, sound[of]])
        yield single(f"entry {of} twice", files, POLICY, Named(Rule.DUPLICATE_ENTRY, last, 40))
    early = Leaf(exchange=OTHER, time_ms=START_MS - limits.CLOCK_SKEW - 1, commitment=OTHER).to_bytes()
    yield single(
        "a clock set back", publish("US", [*sound, early]), POLICY, Named(Rule.CLOCK_BACKWARD, last, 40)
    )
    close = Leaf(exchange=OTHER, time_ms=START_MS - limits.CLOCK_SKEW + 60, commitment=OTHER).to_bytes()
    yield single("a clock within its tolerance", publish("US", [*sound, close]), POLICY)


def _payloads() -> Cases:
    us, cl = _countries()
    files = us.files()
    yield single("payloads: nothing was done", files, POLICY, key=True)
    for index in range(len(us.leaves)):
        yield from _payload(files, us, cl, index)


def _payload(files: Files, us: Scribe, cl: Scribe, index: int) -> Cases:
    path, data = us.path(index), files[us.path(index)]
    box = PayloadBox.from_bytes(data)

    def put(name: str, changed: bytes | None, rule: Rule) -> Case:
        kept = {k: v for k, v in files.items() if k != path}
        kept |= {} if changed is None else {path: changed}
        return single(f"payload {index}: {name}", kept, POLICY, Named(rule, path, index), key=True)

    def resealed(**changes: object) -> bytes:
        return box.model_copy(update=changes).to_bytes()

    yield put("not there", None, Rule.PAYLOAD_MISSING)
    yield put("empty", b"", Rule.PAYLOAD_FORM)
    yield put("cut", data[:-1], Rule.PAYLOAD_FORM)
    yield put("longer", data + b"\0", Rule.PAYLOAD_FORM)
    yield put("of another entry", files[us.path((index + 1) % len(us.leaves))], Rule.PAYLOAD_SEAL)
    yield put("of another country's entry", cl.payloads[cl.path(index)], Rule.PAYLOAD_SEAL)
    sealed = box.sealed
    for at in (0, len(sealed) // 2, len(sealed) - 1):
        bad = sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]
        yield put(f"sealed text changed at {at}", resealed(sealed=bad), Rule.PAYLOAD_SEAL)
    wrapped = box.auditor_keys[0]
    bad_key = wrapped.model_copy(update={"sealed": wrapped.sealed[:-1] + bytes([wrapped.sealed[-1] ^ 1])})
    yield put("wrapped key changed", resealed(auditor_keys=[bad_key]), Rule.PAYLOAD_SEAL)
    yield put("blank", bytes(len(data)), Rule.PAYLOAD_FORM)
    yield from _lying(files, us, index)


def _lying(files: Files, us: Scribe, index: int) -> Cases:
    """The node seals, for this very leaf, another text than the one it committed to."""
    from protocol.payload import open_as_auditor

    path = us.path(index)
    leaf = us.leaves[index]
    opened = open_as_auditor(leaf, PayloadBox.from_bytes(files[path]), AUDITOR)
    random = counter_random(f"liar/{index}")
    edits: list[tuple[str, s.Statement, int]] = [("with other salts", opened.statement, 0)]
    shared = opened.shared
    if hasattr(shared, "purpose"):
        edits.append(
            (
                "with another purpose",
                s.Statement(shared.model_copy(update={"purpose": "tourism"}), opened.private),
                0,
            )
        )
    if hasattr(shared, "hits"):
        changed = shared.model_copy(update={"hits": 7})
        edits.append(("with other hits", s.Statement(changed, opened.private), 0))
    if isinstance(opened.private, s.Requested):
        changed_private = opened.private.model_copy(update={"officer": "nobody"})
        edits.append(("with another officer", s.Statement(shared, changed_private), 0))
    for name, statement, _ in edits:
        lie = seal_lie(leaf, statement, random)
        yield single(
            f"payload {index}: sealed again {name}", files | {path: lie}, POLICY,
            Named(Rule.PAYLOAD_COMMITMENT, path, index), key=True,
        )  # fmt: skip


def seal_lie(leaf: Leaf, statement: s.Statement, random: object) -> bytes:
    """A payload that opens at ``leaf`` and says something else than it."""
    from crypto.sealing import NONCE_BYTES, seal, seal_to

    draw = counter_random(f"lie/{leaf.leaf_hash.hex()}/{random}")
    _, box, opening = make_entry(statement, leaf.time_ms, bytes(32), [public_key(AUDITOR)], draw)
    from protocol.payload import WrappedKey, _Contents, pad

    contents = _Contents(
        shared=opening.shared,
        shared_salt=opening.salt,
        private=statement.private.to_bytes(),
        private_salt=draw(32),
    )
    key, place = draw(32), leaf.leaf_hash
    sealed_key = seal_to(public_key(AUDITOR), Context.PAYLOAD_KEY, place, key, draw(32))
    return box.model_copy(
        update={
            "sealed": seal(key, Context.PAYLOAD, place, pad(contents.to_bytes()), draw(NONCE_BYTES)),
            "auditor_keys": [WrappedKey(recipient=public_key(AUDITOR), sealed=sealed_key)],
        }
    ).to_bytes()


def _told(code: str, *statements: tuple[SharedPart, PrivatePart | None], begin: bool = True) -> Scribe:
    scribe = Scribe(code)
    if begin:
        scribe.begin()
    for shared, private in statements:
        scribe.record(shared, private)
    return scribe


def _order() -> Cases:
    """The node itself writes what the rules forbid, and signs it."""
    none: PrivatePart | None = None
    an_intent, an_answer = (intent(1), REQUESTED), (answered(1), COMPUTED)
    an_acceptance, a_claim, a_result = (accepted(1, OTHER), none), (claimed(1), none), (result(1), none)
    fields = {k: getattr(intent(1), k) for k in s.Asked.model_fields if k not in ("type", "query_hash")}
    withheld = (s.QueryWithheld(**fields, reason="purpose-not-covered"), REQUESTED)
    refused = (s.QueryRefused(**fields, query_hash=intent(1).query_hash, reason="internal"), none)
    reply = {
        k: getattr(answered(1), k)
        for k in ("exchange_id", "requester", "responder", "agreement", "query_hash")
    }
    failed = (s.QueryFailed(**reply, reason="internal"), none)
    confirmed = (
        r.QueryConfirmed(**reply, confirmed=True),
        r.Compared(examiner="a", second_examiner="b", disclosed_to=None),
    )
    told: Sequence[tuple[str, str, list[tuple[SharedPart, PrivatePart | None]], list[Named]]] = [
        ("a result without an intent", "US", [a_result], [Named(Rule.ORDER, None, 1, "US")]),
        ("a result before its intent", "US", [a_result, an_intent], [Named(Rule.ORDER, None, 1, "US")]),
        ("a confirmation without a result", "US", [an_intent, confirmed], [Named(Rule.ORDER, None, 2, "US")]),
        ("an answer without an acceptance", "CL", [an_answer], [Named(Rule.ORDER, None, 1, "CL")]),
        ("an answer before its acceptance", "CL", [an_answer, an_acceptance], [Named(Rule.ORDER, None, 1, "CL")]),
        ("a claim without an acceptance", "CL", [a_claim], [Named(Rule.ORDER, None, 1, "CL")]),
        ("a failure without an acceptance", "CL", [failed], [Named(Rule.ORDER, None, 1, "CL")]),
        ("withheld after the intent", "US", [an_intent, withheld], [Named(Rule.ORDER, None, 2, "US")]),
        ("asked after it was withheld", "US", [withheld, an_intent], [Named(Rule.ORDER, None, 2, "US")]),
        ("refused after acceptance", "CL", [an_acceptance, refused], [Named(Rule.ORDER, None, 2, "CL")]),
        ("accepted after refusal", "CL", [refused, an_acceptance], [Named(Rule.ORDER, None, 2, "CL")]),
        ("failed after the answer", "CL", [an_acceptance, an_answer, failed], [Named(Rule.ORDER, None, 3, "CL")]),
        ("answered after failure", "CL", [an_acceptance, failed, an_answer], [Named(Rule.ORDER, None, 3, "CL")]),
        ("answered twice", "CL", [an_acceptance, an_answer, an_answer],
         [Named(Rule.REPEATED_STATEMENT, None, 3, "CL")]),
        ("two intents", "US", [an_intent, an_intent], [Named(Rule.REPEATED_STATEMENT, None, 2, "US")]),
        ("an intent of the other side", "CL", [an_intent], [Named(Rule.FOREIGN_STATEMENT, None, 1, "CL")]),
        ("an acceptance of the other side", "US", [an_acceptance], [Named(Rule.FOREIGN_STATEMENT, None, 1, "US")]),
    ]  # fmt: skip
    for name, code, statements, expected in told:
        yield single(name, _told(code, *statements).files(), policy_of(code), *expected, key=True)
    for name in ("agreement", "query_hash"):
        scribe = _told("CL", an_acceptance, (answered(1, **{name: OTHER}), COMPUTED))
        expected_changed = Named(Rule.QUERY_CHANGED, None, 2, "CL")
        yield single(
            f"answered under another {name}", scribe.files(), policy_of("CL"), expected_changed, key=True
        )
    scribe = _told("CL", an_acceptance, an_answer, (claimed(1, answer_hash=OTHER), none))
    yield single(
        "a claim of another answer",
        scribe.files(),
        policy_of("CL"),
        Named(Rule.QUERY_CHANGED, None, 3, "CL"),
        key=True,
    )
    headless = _told("US", an_intent, begin=False)
    yield single(
        "a ledger without a beginning",
        headless.files(),
        POLICY,
        Named(Rule.FIRST_STATEMENT, None, 0),
        key=True,
    )
    late = Scribe("US").begin()
    late.record(intent(1), REQUESTED, at_ms=START_MS - 3_600_000)
    yield single(
        "a clock an hour back",
        late.files(),
        POLICY,
        Named(Rule.CLOCK_BACKWARD, "tile/entries/000.p/2", 1),
        key=True,
    )
    us = _countries()[0]
    for index in range(len(us.leaves)):
        bundle = f"tile/entries/000.p/{len(us.leaves)}"
        data = us.files()[bundle]
        at = index * 117 + 20
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        yield single(
            f"entry {index} changed in place, payloads open", us.files() | {bundle: changed}, POLICY,
            Named(Rule.ENTRY_HASH, bundle, index), key=True,
        )  # fmt: skip


def _retention() -> Cases:
    """An old exchange: entries 1 and 2; then holds and erasures, a year later."""
    year = 365
    later = START_MS + 400 * limits.DAY
    operated = Operated(operator="op-1")

    def old() -> Scribe:
        scribe = Scribe("US").begin()
        scribe.record(intent(1), REQUESTED)
        scribe.record(result(1))
        scribe.now_ms = later
        return scribe

    def erased(*hashes: bytes, days: int = year, number: int = 90) -> r.PayloadsErased:
        return r.PayloadsErased(
            exchange_id=exchange_id(number), country="US", leaves=list(hashes), legal_basis="agreement-article-4",
            retention_days=days,
        )  # fmt: skip

    def placed(scribe: Scribe, number: int = 91) -> Leaf:
        shared = r.HoldPlaced(
            exchange_id=exchange_id(number), country="US", exchange=scribe.leaves[1].exchange
        )
        return scribe.record(shared, r.Held(operator="op-1", authority="court", reference="order 7"))

    def released(scribe: Scribe, hold: bytes) -> Leaf:
        shared = r.HoldReleased(
            exchange_id=exchange_id(92), country="US", exchange=scribe.leaves[1].exchange, placed=hold
        )
        return scribe.record(shared, operated)

    def gone(scribe: Scribe, *indexes: int) -> Files:
        paths = {scribe.path(index) for index in indexes}
        return {k: v for k, v in scribe.files().items() if k not in paths}

    one = old()
    hashes = [leaf.leaf_hash for leaf in one.leaves]
    one.record(erased(*hashes[1:3]), operated)
    yield single("erased by rule", gone(one, 1, 2), POLICY, key=True)
    for index in (1, 2):
        yield single(
            f"said to be erased, but {index} is there", gone(one, 3 - index), POLICY,
            Named(Rule.ERASURE, one.path(index), index, "US"), key=True,
        )  # fmt: skip
    yield single(
        "more is gone than was erased", gone(one, 0, 1, 2), POLICY,
        Named(Rule.PAYLOAD_MISSING, one.path(0), 0), key=True,
    )  # fmt: skip
    box = PayloadBox.from_bytes(one.files()[one.path(3)]).model_copy(update={"auditor_keys": []})
    closed = gone(one, 1, 2) | {one.path(3): box.to_bytes()}
    yield single("erased by rule, before this auditor was named", closed, POLICY, key=True)
    unsaid = old()
    for index in (1, 2):
        yield single(
            f"erased without a word: {index}", gone(unsaid, index), POLICY,
            Named(Rule.PAYLOAD_MISSING, unsaid.path(index), index), key=True,
        )  # fmt: skip
    yield single(
        "the word about an erasure is erased", gone(one, 1, 2, 3), POLICY,
        *(Named(Rule.PAYLOAD_MISSING, one.path(index), index) for index in (1, 2, 3)), key=True,
    )  # fmt: skip
    early = old()
    early.record(erased(*hashes[1:3], days=1000), operated)
    yield single(
        "erased before its time", gone(early, 1, 2), POLICY,
        *(Named(Rule.ERASED_EARLY, None, index, "US") for index in (1, 2)), key=True,
    )  # fmt: skip
    held = old()
    placed(held)
    held.record(erased(*hashes[1:3]), operated)
    yield single(
        "erased under a hold", gone(held, 1, 2), POLICY,
        *(Named(Rule.HOLD_BROKEN, None, index, "US") for index in (1, 2)), key=True,
    )  # fmt: skip
    free = old()
    released(free, placed(free).leaf_hash)
    free.record(erased(*hashes[1:3]), operated)
    yield single("erased after the hold was released", gone(free, 1, 2), POLICY, key=True)
    twice = old()
    first = placed(twice)
    placed(twice, 93)
    released(twice, first.leaf_hash)
    twice.record(erased(*hashes[1:3]), operated)
    yield single(
        "erased under the second of two holds", gone(twice, 1, 2), POLICY,
        *(Named(Rule.HOLD_BROKEN, None, index, "US") for index in (1, 2)), key=True,
    )  # fmt: skip
    loose = old()
    released(loose, OTHER)
    yield single(
        "a hold released that nobody placed", loose.files(), POLICY, Named(Rule.HOLD, None, 3, "US"), key=True
    )
    again = old()
    hold = placed(again).leaf_hash
    released(again, hold)
    again.record(
        r.HoldReleased(
            exchange_id=exchange_id(94), country="US", exchange=again.leaves[1].exchange, placed=hold
        ),
        operated,
    )
    yield single("a hold released twice", again.files(), POLICY, Named(Rule.HOLD, None, 5, "US"), key=True)
    strange = old()
    strange.record(erased(OTHER), operated)
    yield single(
        "erased what never was", strange.files(), POLICY, Named(Rule.ERASURE, None, 3, "US"), key=True
    )
    self_erased = payload_path(one.leaves[3].leaf_hash)
    assert self_erased in one.files()


def _seeds() -> Cases:
    """The seed in escrow must be the one that the other country was told a commitment to."""
    committed = hash_fields(Context.SEED_COMMITMENT, OTHER)
    for name, seed, retried, sound in (
        ("the seed that was committed to", OTHER, [], True),
        ("the seed, and a block that was retried", OTHER, [0, 2], True),
        ("another seed", OTHER[::-1][:31] + b"\0", [], False),
        ("a seed of zeros", bytes(32), [], False),
        ("a retried block beyond the answer", OTHER, [3], False),
        ("a block that was retried twice", OTHER, [1, 1], False),
        ("retried blocks out of order", OTHER, [2, 0], False),
    ):
        cl = Scribe("CL").begin()
        cl.record(accepted(1, OTHER))
        how = s.Computation(records=1, compute_ms=1, seed=seed, retried=retried, answer_blocks=OTHER)
        cl.record(answered(1, seed_commitment=committed, blocks=3), how)
        wrong = [] if sound else [Named(Rule.SEED, None, 2, "CL")]
        yield single(f"an answer with {name}", cl.files(), policy_of("CL"), *wrong, key=True)
