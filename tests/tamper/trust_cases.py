"""What a ledger says of witnessing: suspensions, quorums, clock steps, successions; its cosigned checkpoint."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from ledgers import START_MS, accepted, answered
from matrix import Cases, Named, single, together
from scribe import (
    LIAR,
    WITNESS,
    Files,
    Scribe,
    checkpoint,
    leaves,
    origin_of,
    policy_of,
    publish,
    seed_of,
)

from crypto import merkle
from crypto.contexts import Context, hash_fields
from crypto.note import (
    CosignatureSigner,
    Ed25519Signer,
    NoteSigner,
    log_signers,
    parse_note,
)
from protocol import statements as s
from protocol import statements_witness as w
from protocol.audit.report import Rule
from protocol.audit.verify import Seen
from protocol.statement_parts import Operated

SIZE = 300
POLICY, WITNESSED = policy_of("US"), policy_of("US", witnessed=True)
OTHER = bytes([9]) * 32
DECIDED = w.Decided(operator="op", reason="because")
NOTICED = w.Noticed(software="scribe")
OPERATED = Operated(operator="op")
BEFORE = "us.example/before"


def cases() -> Cases:
    """Every family of this file."""
    yield from _cosigned()
    yield from _suspensions()
    yield from _quorums()
    yield from _clocks()
    yield from _foreign()
    yield from _successors()
    yield from _acceptances()


def _cosigned() -> Cases:
    """The quorum is judged on the newest checkpoint that has it, which need not be the published one."""
    entries = leaves(SIZE)
    files = publish("US", entries)
    good = checkpoint("US", entries[:290], WITNESS)
    short = Named(Rule.CHECKPOINT_QUORUM, "checkpoint")
    form, signature = (Named(rule, "cosigned") for rule in (Rule.CHECKPOINT_FORM, Rule.CHECKPOINT_SIGNATURE))
    fork, rollback = Named(Rule.FORK, "checkpoint"), Named(Rule.ROLLBACK, "checkpoint")
    stranger = checkpoint("US", [*entries[:289], leaves(SIZE + 1)[-1]], WITNESS)
    line = good.rstrip(b"\n").rsplit(b" ", 1)[1]
    raw = base64.b64decode(line)
    forged = good.replace(line, base64.b64encode(raw[:-1] + bytes([raw[-1] ^ 1])))
    mldsa = next(one for one in good.split(b"\n") if len(one) > 1000) + b"\n"
    liar = checkpoint("US", entries[:290], WITNESS, signers=[Ed25519Signer(origin_of("US"), LIAR)])
    told: list[tuple[str, bytes, bytes, list[Named]]] = [
        ("ten entries behind", good, WITNESSED, []),
        ("of the same size", checkpoint("US", entries, WITNESS), WITNESSED, []),
        ("of the first entry", checkpoint("US", entries[:1], WITNESS), WITNESSED, []),
        ("that no policy asks for", good, POLICY, []),
        ("without a cosignature", checkpoint("US", entries[:290]), WITNESSED, [short]),
        (
            "by another key of the witness's name",
            checkpoint("US", entries[:290], CosignatureSigner("w.example", LIAR, 1)),
            WITNESSED,
            [short],
        ),
        ("with a forged cosignature", forged, WITNESSED, [signature, short]),
        ("without the log's ML-DSA-44 line", good.replace(mldsa, b""), WITNESSED, [signature, short]),
        ("by another key of the log's name", liar, WITNESSED, [signature, short]),
        ("of another tree", stranger, WITNESSED, [fork]),
        ("of another tree, unasked", stranger, POLICY, [fork]),
        (
            "of more entries than there are",
            checkpoint("US", leaves(SIZE + 1), WITNESS),
            WITNESSED,
            [rollback],
        ),
        ("of nothing", b"", WITNESSED, [form, short]),
        ("cut", good[:-40], WITNESSED, [form, short]),
        ("with another size", good.replace(b"\n290\n", b"\n291\n"), WITNESSED, [signature, short]),
    ]
    for name, note, policy, expected in told:
        yield single(f"cosigned: {name}", files | {"cosigned": note}, policy, *expected)


def _local(kind: type[Any], number: int, **fields: Any) -> Any:
    return kind(exchange_id=bytes([number]) * 16, country="US", **fields)


def _suspended(number: int, peer: str = "CL") -> tuple[Any, Any]:
    return _local(w.PeerSuspended, number, peer=peer, conflict=None), DECIDED


def _resumed(number: int, peer: str = "CL") -> tuple[Any, Any]:
    return _local(w.PeerResumed, number, peer=peer), DECIDED


def _chilean(shared: Any) -> Any:
    """The same statement with Chile asking the United States."""
    return shared.model_copy(update={"requester": "CL", "responder": "US"})


def _told(*statements: tuple[Any, Any]) -> Scribe:
    scribe = Scribe("US").begin()
    for shared, private in statements:
        scribe.record(shared, private)
    return scribe


def _suspensions() -> Cases:
    def found(index: int) -> Named:
        return Named(Rule.SUSPENSION, None, index, "US")

    told = [
        ("suspended and resumed", [_suspended(1), _resumed(2)], []),
        ("suspended, and so to this day", [_suspended(1)], []),
        ("suspended twice, resumed once", [_suspended(1), _suspended(2), _resumed(3)], []),
        (
            "suspended again after it was resumed",
            [_suspended(1), _resumed(2), _suspended(3), _resumed(4)],
            [],
        ),
        ("resumed without a suspension", [_resumed(1)], [found(1)]),
        ("resumed before its suspension", [_resumed(1), _suspended(2)], [found(1)]),
        ("resumed twice", [_suspended(1), _resumed(2), _resumed(3)], [found(3)]),
        ("resumed another peer", [_suspended(1, "CO"), _resumed(2)], [found(2)]),
    ]
    work = {number: _chilean(accepted(number, OTHER)) for number in (5, 6)}
    answer = (_chilean(answered(5)), s.Computed(records=1, compute_ms=1))
    told += [
        ("asked and answered before it was suspended", [(work[5], None), answer, _suspended(1)], []),
        ("asked again once it was resumed", [_suspended(1), _resumed(2), (work[5], None), answer], []),
        ("asked while another was suspended", [_suspended(1, "CO"), (work[5], None), answer], []),
        ("accepted while it was suspended", [_suspended(1), (work[5], None), _resumed(2)], [found(2)]),
        ("answered while it was suspended", [(work[5], None), _suspended(1), answer], [found(3)]),
        (
            "accepted after a second suspension",
            [_suspended(1), _resumed(2), _suspended(3), (work[6], None)],
            [found(4)],
        ),
    ]
    for name, statements, expected in told:
        yield single(f"a peer {name}", _told(*statements).files(), POLICY, *expected, key=True)
    scribe = _told(_resumed(1))
    yield single("a peer resumed, read without a key", scribe.files(), POLICY)
    gone = {k: v for k, v in scribe.files().items() if k != scribe.path(0)}
    missing = Named(Rule.PAYLOAD_MISSING, scribe.path(0), 0)
    yield single("a peer resumed, an entry before it is gone", gone, POLICY, missing, key=True)


def _quorums() -> Cases:
    def said(kind: type[Any], number: int, size: int = 1) -> tuple[Any, Any]:
        return _local(kind, number, size=size, quorum="w"), NOTICED

    def found(index: int) -> Named:
        return Named(Rule.QUORUM, None, index, "US")

    missed, met = w.QuorumMissed, w.QuorumMet
    told = [
        ("missed and met again", [said(missed, 1), said(met, 2)], []),
        ("missed, and so to this day", [said(missed, 1)], []),
        ("missed twice, as after a restart", [said(missed, 1), said(missed, 2), said(met, 3)], []),
        ("met that was never missed", [said(met, 1)], [found(1)]),
        ("met twice", [said(missed, 1), said(met, 2), said(met, 3)], [found(3)]),
        ("met before it was missed", [said(met, 1), said(missed, 2)], [found(1)]),
        ("missed at a size beyond its entry", [said(missed, 1, 2)], [found(1)]),
        ("met at a size beyond its entry", [said(missed, 1), said(met, 2, 3)], [found(2)]),
    ]
    for name, statements, expected in told:
        yield single(f"a quorum {name}", _told(*statements).files(), POLICY, *expected, key=True)


def _clocks() -> Cases:
    for name, step, wrong in (
        ("back by an hour", -3_600_000, False),
        ("back by a millisecond", -1, False),
        ("by nothing", 0, True),
        ("forward by a millisecond", 1, True),
        ("forward by a year", 31_536_000_000, True),
    ):
        stepped = _local(w.ClockStepped, 1, before_ms=START_MS, after_ms=START_MS + step)
        expected = [Named(Rule.CLOCK_STEP, None, 1, "US")] if wrong else []
        yield single(
            f"a clock that stepped {name}", _told((stepped, NOTICED)).files(), POLICY, *expected, key=True
        )


def _foreign() -> Cases:
    """Statements of witnessing that belong on the ledger of another country."""
    for shared, private in (
        _suspended(1),
        (_local(w.QuorumMissed, 1, size=1, quorum="w"), NOTICED),
        (_local(w.ClockStepped, 1, before_ms=START_MS, after_ms=START_MS - 1), NOTICED),
        (_accepted("cl.example/ledger", "cl.example/ledger/2"), OPERATED),
    ):
        scribe = _told((shared.model_copy(update={"country": "CO"}), private))
        yield single(
            f"a {shared.type} of another country", scribe.files(), POLICY,
            Named(Rule.FOREIGN_STATEMENT, None, 1, "US"), key=True,
        )  # fmt: skip
    scribe = _told((_local(w.QuorumMissed, 1, size=1, quorum="w"), NOTICED))
    yield single(
        "a quorum.missed without its payload",
        {k: v for k, v in scribe.files().items() if k != scribe.path(1)},
        POLICY,
        Named(Rule.PAYLOAD_MISSING, scribe.path(1), 1),
        key=True,
    )


ED25519, MLDSA = log_signers(BEFORE, seed_of("US"))
"""A successor keeps the ledger key, and so both keys."""
LIARS = log_signers(BEFORE, seed_of("nobody"))[1]


def _before(size: int, root: bytes | None = None, signers: Sequence[NoteSigner] = (ED25519, MLDSA)) -> bytes:
    """A checkpoint of the ledger before, under its own keys."""
    return checkpoint("US", leaves(size), root=root, origin=BEFORE, signers=signers)


def _swapped(note: bytes, other: bytes) -> bytes:
    """A note with the post-quantum line of another."""
    lines = [next(line for line in one.split(b"\n") if len(line) > 1000) for one in (note, other)]
    return note.replace(*lines)


def _succeeded(code: str = "US", **changes: Any) -> w.LedgerSucceeded:
    key = log_signers(BEFORE, seed_of(code))[0]
    fields: dict[str, Any] = {
        "exchange_id": bytes(16),
        "country": code,
        "identity_key": bytes(32),
        "origin": origin_of(code),
        "previous_origin": BEFORE,
        "previous_key": key.verifier.key.public,
        "previous_size": 20,
        "previous_root": merkle.root([merkle.leaf_hash(one) for one in leaves(20)]),
        "copy_size": 18,
    }
    return w.LedgerSucceeded(**(fields | changes))


def _successor(**changes: Any) -> Files:
    scribe = Scribe("US")
    scribe.record(_succeeded(**changes), DECIDED)
    scribe.record(*_resumed(7))  # what the ledger before suspended
    return scribe.files()


def _successors() -> Cases:
    found = Named(Rule.SUCCESSION, None, 0, "US")
    file = Named(Rule.SUCCESSION, "previous-checkpoint")
    kept = {"previous-checkpoint": _before(20)}
    for name, changes, expected in (
        ("as it should be", {}, []),
        ("that lost nothing", {"copy_size": 20}, []),
        ("of another origin than its own", {"origin": "us.example/third"}, [found]),
        ("of a copy that had more", {"copy_size": 21}, [found]),
        ("that names another size", {"previous_size": 19}, [file]),
        ("that names another root", {"previous_root": OTHER}, [file]),
        ("that names another key", {"previous_key": LIAR.verify_key.public}, [found]),
        ("that names another ledger", {"previous_origin": "us.example/other"}, [file]),
    ):
        yield single(f"a successor {name}", _successor(**changes) | kept, POLICY, *expected, key=True)
    itself = _successor(previous_origin=origin_of("US"))
    yield single("a successor of itself", itself, POLICY, found, key=True)
    yield single("a successor without the old checkpoint beside it", _successor(), POLICY, key=True)
    for name, note in (
        ("of another size", _before(19)),
        ("of another root", _before(20, OTHER)),
        ("of another log", checkpoint("US", leaves(20))),
        ("without its ML-DSA-44 line", _before(20, signers=[ED25519])),
        ("without its Ed25519 line", _before(20, signers=[MLDSA])),
        ("with the ML-DSA-44 line of another key", _before(20, signers=[ED25519, LIARS])),
        ("with the ML-DSA-44 line of another text", _swapped(_before(20), _before(19))),
        ("cut", _before(20)[:-9]),
        ("empty", b""),
    ):
        files = _successor() | {"previous-checkpoint": note}
        yield single(f"a successor beside an old checkpoint {name}", files, POLICY, file, key=True)
    for name, note, expected in (
        ("the old log's own, as named", _before(20), []),
        ("an older one of the old log", _before(9), []),
        ("a larger one of the old log", _before(21), [found]),
        ("one of the old log with another root", _before(20, OTHER), [found]),
        ("a larger one that another log signed", checkpoint("CL", leaves(21)), []),
        ("a larger one of the old log's Ed25519 key alone", _before(21, signers=[ED25519]), []),
        ("one with another root, of that key alone", _before(20, OTHER, [ED25519]), []),
    ):
        seen = [Seen("CL", note)]
        yield single(
            f"a successor; CL holds {name}", _successor() | kept, POLICY, *expected, key=True, seen=seen
        )
    plain = f"log {log_signers(origin_of('US'), seed_of('US'))[0].verifier.vkey}\nquorum none\n".encode()
    strange = Ed25519Signer(BEFORE, LIAR)
    rotated = POLICY + f"log {strange.verifier.vkey}\n".encode()
    earlier = {"previous_key": LIAR.verify_key.public}
    lone = {"previous-checkpoint": _before(20, signers=[ED25519])}
    for name, changes, files, policy, expected in (
        ("under a policy that knows one key alone", {}, lone, plain, []),
        (
            "of a log with an earlier key that the policy names",
            earlier,
            {"previous-checkpoint": _before(20, signers=[strange, MLDSA])},
            rotated,
            [],
        ),
        (
            "of a log with an earlier key that the policy names, which alone signed",
            earlier,
            {"previous-checkpoint": _before(20, signers=[strange])},
            rotated,
            [file],
        ),
    ):
        yield single(f"a successor {name}", _successor(**changes) | files, policy, *expected, key=True)
    seen = [Seen("CL", _before(21, signers=[strange, MLDSA]))]
    yield single(
        "a successor under a policy that names an earlier key; CL holds a larger one of the old log",
        _successor(**earlier), rotated, found, key=True, seen=seen,
    )  # fmt: skip
    late = _told((_succeeded(exchange_id=bytes([1]) * 16), DECIDED))
    yield single(
        "a successor in the middle", late.files(), POLICY, Named(Rule.SUCCESSION, None, 1, "US"), key=True
    )


def _accepted(previous: str, origin: str, number: int = 1, **changes: Any) -> w.SuccessionAccepted:
    fields = {
        "peer": "CL",
        "previous_origin": previous,
        "previous_size": 20,
        "previous_root": merkle.root([merkle.leaf_hash(one) for one in leaves(20)]),
        "origin": origin,
        "succession": OTHER,
    }
    return _local(w.SuccessionAccepted, number, **(fields | changes))


def _acceptances() -> Cases:
    first, second, third = (f"cl.example/ledger{end}" for end in ("", "/2", "/3"))

    def found(index: int) -> Named:
        return Named(Rule.SUCCESSION, None, index, "US")

    told = [
        ("one after the other", [(first, second), (second, third)], []),
        ("two of one ledger", [(first, second), (first, third)], [found(2)]),
        ("of a ledger that was not the peer's", [(first, second), (third, first)], [found(2)]),
        ("of a ledger by itself", [(first, first)], [found(1)]),
    ]
    for name, pairs, expected in told:
        statements = [(_accepted(*pair, number), OPERATED) for number, pair in enumerate(pairs, 1)]
        yield single(f"successions accepted: {name}", _told(*statements).files(), POLICY, *expected, key=True)
    document = _before(20)  # any note: what it says was checked when it was accepted
    digest = hash_fields(Context.SUCCESSION, parse_note(document).text)
    files = _told((_accepted(first, second, succession=digest), OPERATED)).files()
    path = f"successions/CL-{digest.hex()}"
    bad = Named(Rule.SUCCESSION, path)
    for name, data, expected in (
        ("whole", document, []),
        ("of another succession", _before(19), [bad]),
        ("cut", document[:-9], [bad]),
        ("empty", b"", [bad]),
    ):
        yield single(f"a succession's document: {name}", files | {path: data}, POLICY, *expected, key=True)
    cl = Scribe("CL")
    cl.record(_succeeded("CL"), DECIDED)
    for name, changes, said in (
        ("the same", {}, 0),
        ("another size", {"previous_size": 19}, 1),
        ("another root", {"previous_root": OTHER}, 1),
        ("another ledger before", {"previous_origin": "cl.example/other"}, 1),
    ):
        us = _told((_accepted(BEFORE, origin_of("CL"), **changes), OPERATED))
        ledgers = {one.code: (one.files(), policy_of(one.code)) for one in (us, cl)}
        expected = [Named(Rule.DIFFERING_TWIN, None, 1, "CL")] * said
        yield together(f"a succession of which both ledgers say {name}", ledgers, *expected)
