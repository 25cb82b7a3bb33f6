"""Write specs/vectors/wire.json: everything in it follows from seeds, so anybody can make it again.

Usage: ``python tests/vectors/build_wire.py`` from the root of the repository. Bytes are in hex, texts as text.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support"), str(ROOT / "tests" / "vectors")]

from claim_vectors import Claims  # noqa: E402
from memory_ledger import MemoryLedger  # noqa: E402
from parties import (  # noqa: E402
    KEYS,
    NOW,
    PLAN,
    agreement,
    agreement_fields,
    descriptor,
    grant,
    ledger_signer,
    named_key,
    request,
)

from crypto.contexts import Context, hash_fields  # noqa: E402
from crypto.note import ContextSigner, parse_note, sign_note  # noqa: E402
from protocol import limits, wire  # noqa: E402
from protocol.agreement import draft_agreement  # noqa: E402
from protocol.conflict import Conflict  # noqa: E402
from protocol.evidence import LogEvidence  # noqa: E402
from protocol.exchange.entries import accepted_entry, answered_entry, intent_entry, refused_entry  # noqa: E402
from protocol.messages import (  # noqa: E402
    AnswerHeader,
    Decision,
    ErrorReply,
    ExchangeStatus,
    Query,
    QuerySubmission,
    Receipt,
    ResultReport,
    Signed,
    SignedMessage,
    message_hash,
    sign,
)
from protocol.statements import Computed  # noqa: E402

TARGET = ROOT / "specs" / "vectors" / "wire.json"
COMPUTED = Computed(records=5, compute_ms=6)
US, CL = named_key("US identity"), named_key("CL identity")
AGREEMENT = agreement()
REQUEST = request(AGREEMENT.digest)
CIPHERTEXT = bytes(range(256)) * 3 + bytes(232)


def plain(value: Any) -> Any:
    """JSON of a value: bytes become ``hex:...``, so that they differ from texts."""
    if isinstance(value, bytes):
        return f"hex:{value.hex()}"
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, str) else value


def query(**changes: Any) -> Query:
    names = set(Query.model_fields) & set(type(REQUEST).model_fields)
    values: dict[str, Any] = {name: getattr(REQUEST, name) for name in names}
    values |= {
        "ciphertext_hash": hash_fields(Context.CIPHERTEXT, CIPHERTEXT),
        "ciphertext_bytes": len(CIPHERTEXT),
        "created_ms": NOW,
        "expires_ms": NOW + limits.QUERY_LIFE,
    }
    return Query.model_validate({**values, **changes})


QUERY = sign(query(), US)
QUERY_HASH = message_hash(QUERY)
NAMES = {"exchange_id": REQUEST.exchange_id, "requester": "US", "responder": "CL", "query_hash": QUERY_HASH}
ANSWER_HASH = hash_fields(Context.ANSWER, bytes(2 * PLAN.answer_block_bytes))
ACCEPTED = Decision.model_validate(
    {**NAMES, "outcome": "accepted", "reason": None, "decided_ms": NOW, "answer_by_ms": NOW + limits.HOUR}
)
REFUSED = Decision.model_validate(
    {
        **NAMES,
        "outcome": "refused",
        "reason": "busy",
        "decided_ms": NOW,
        "answer_by_ms": None,
        "retry_after_s": 30,
    }
)
HEADER = AnswerHeader.model_validate(
    {
        **NAMES,
        "blocks": 2,
        "block_bytes": PLAN.answer_block_bytes,
        "answer_hash": ANSWER_HASH,
        "answered_ms": NOW + 1,
    }
)
REPORT = ResultReport.model_validate(
    {**NAMES, "answer_hash": ANSWER_HASH, "outcome": "hit", "hits": 1, "reason": None, "reported_ms": NOW + 2}
)
RECEIPT = Receipt.model_validate(
    {**NAMES, "report_hash": message_hash(sign(REPORT, US)), "received_ms": NOW + 3}
)
MESSAGES: list[tuple[SignedMessage, str]] = [
    (query(), "US identity"),
    (ACCEPTED, "CL identity"),
    (REFUSED, "CL identity"),
    (HEADER, "CL identity"),
    (REPORT, "US identity"),
    (RECEIPT, "CL identity"),
]


def canonical() -> dict[str, Any]:
    values = [
        None, True, False, 0, 127, 128, 256, 65_536, 2**32, 2**64 - 1, -1, -33, -129, -(2**63), "", "é€𝄞",
        "x" * 32, b"", bytes(3), [], [1, [2, []]], {}, {"z": 1, "é": 2, "a": [None, b"x"]},
    ]  # fmt: skip
    bad = {
        "nothing": "",
        "two values": "0101",
        "cut off": "a261",
        "more items promised than bytes": "ddffffffff",
        "longer integer head": "cc01",
        "longer text head": "d90161",
        "longer list head": "dc0001c0",
        "unsorted keys": "82a16201a16101",
        "repeated key": "82a16101a16101",
        "integer key": "810101",
        "bytes key": "81c4016101",
        "float": "cb3ff0000000000000",
        "extension": "d40100",
        "timestamp": "d6ff00000001",
        "reserved head": "c1",
        "not UTF-8": "a1ff",
        "surrogate": "a3eda080",
        "nested too deep": "91" * (wire.MAX_DEPTH + 1) + "c0",
    }
    return {
        "max_depth": wire.MAX_DEPTH,
        "good": [{"value": plain(value), "bytes": wire.encode(value).hex()} for value in values],
        "bad": [{"what": what, "bytes": data, "code": "bad-encoding"} for what, data in bad.items()],
    }


def messages() -> list[dict[str, Any]]:
    made = []
    for message, signer in [*MESSAGES, *CLAIMS.messages()]:
        envelope = sign(message, named_key(signer))
        made.append(
            {
                "type": type(message).__name__,
                "context": message.CONTEXT.value,
                "signer": signer,
                "fields": plain(message.model_dump()),
                "message": message.to_bytes().hex(),
                "envelope": envelope.hex(),
                "hash": message_hash(envelope).hex(),
            }
        )
    return made


def altered(message: SignedMessage, key: str = "US identity", **changes: Any) -> bytes:
    """An envelope around fields that no honest node would sign, with a good signature."""
    values = {**message.model_dump(), **changes}
    body = wire.encode({name: value for name, value in values.items() if value is not ...})
    good = Signed.from_bytes(sign(message, named_key(key)))
    signature = named_key(key).sign(message.CONTEXT, body)
    return good.model_copy(update={"message": body, "signature": signature}).to_bytes()


CLAIMS = Claims(QUERY, ANSWER_HASH, altered)


def bad_messages() -> list[dict[str, Any]]:
    good = Signed.from_bytes(QUERY)
    flipped = bytearray(good.signature)
    flipped[0] ^= 1
    asked = query()
    cases: list[tuple[str, bytes, str]] = [
        (
            "signature altered",
            good.model_copy(update={"signature": bytes(flipped)}).to_bytes(),
            "bad-signature",
        ),
        (
            "message altered",
            good.model_copy(update={"message": query(purpose="x").to_bytes()}).to_bytes(),
            "bad-signature",
        ),
        ("signed by another key", sign(asked, CL), "bad-signature"),
        ("signed as a decision", sign(ACCEPTED, US), "bad-signature"),
        ("trailing byte", QUERY + b"\x00", "bad-encoding"),
        ("last byte missing", QUERY[:-1], "bad-encoding"),
        ("empty", b"", "bad-encoding"),
        ("not an envelope", wire.encode({"message": b"x"}), "bad-message"),
        ("field missing", altered(asked, purpose=...), "bad-message"),
        ("foreign field", altered(asked, extra=1), "bad-message"),
        ("true for the version", altered(asked, version=True), "bad-message"),
        ("version 2", altered(asked, version=2), "bad-message"),
        ("country in small letters", altered(asked, requester="us"), "bad-message"),
        ("empty purpose", altered(asked, purpose=""), "bad-message"),
        ("line break in a text", altered(asked, authority="a\nb"), "bad-message"),
        ("short exchange id", altered(asked, exchange_id=bytes(15)), "bad-message"),
        ("negative time", altered(asked, created_ms=-1), "bad-message"),
        ("unknown modality", altered(asked, modality="voice"), "bad-message"),
    ]
    return [
        {"what": what, "type": "Query", "signer": "US identity", "envelope": data.hex(), "code": code}
        for what, data, code in cases
    ] + CLAIMS.bad_messages()


def windows() -> list[dict[str, Any]]:
    skew, life = limits.CLOCK_SKEW, limits.MAX_QUERY_LIFE
    cases = [
        (0, life, True),
        (0, life + 1, False),
        (0, limits.MIN_QUERY_LIFE - 1, False),
        (-skew, 1, True),
        (-skew - 1, 1, False),
        (skew, 2 * skew, True),
        (skew + 1, 2 * skew, False),
        (-limits.MINUTE, 0, False),
    ]
    return [{"created": created, "expires": expires, "inside": inside} for created, expires, inside in cases]


def evidence() -> dict[str, Any]:
    ours, theirs = MemoryLedger(ledger_signer("US")), MemoryLedger(ledger_signer("CL"))
    intent = ours.append(intent_entry(QUERY, REQUEST), NOW)
    leaf = ours.hashes[intent]
    accepted = theirs.append(accepted_entry(QUERY, leaf), NOW)
    answered = theirs.append(answered_entry(QUERY, ANSWER_HASH, 2, bytes(32), bytes(32), COMPUTED), NOW + 1)
    other = MemoryLedger(ledger_signer("CL"))
    refused = other.append(refused_entry(QUERY, "internal"), NOW)
    late = MemoryLedger(ledger_signer("CL"))
    first = late.append(answered_entry(QUERY, ANSWER_HASH, 2, bytes(32), bytes(32), COMPUTED), NOW)
    second = late.append(accepted_entry(QUERY, leaf), NOW + 1)

    def status(ledger: MemoryLedger, decision: Decision, index: int, answer: int | None = None) -> str:
        return (
            ExchangeStatus(
                witnessed=ours.witnessed("CL", CL, NOW),
                decision=sign(decision, CL),
                decision_evidence=ledger.evidence(index, 0),
                progress=None,
                answer=None if answer is None else sign(HEADER, CL),
                answer_evidence=None if answer is None else ledger.evidence(answer, 0),
            )
            .to_bytes()
            .hex()
        )

    submission = QuerySubmission(query=QUERY, evidence=ours.evidence(intent, 0), seen_size=0, witnessed=None)
    return {
        "witnessed": witnessed(ours),
        "conflicts": conflicts(),
        "submission": submission.to_bytes().hex(),
        "intent_leaf": leaf.hex(),
        "statuses": [
            {"what": "accepted", "status": status(theirs, ACCEPTED, accepted), "code": None},
            {"what": "answered", "status": status(theirs, ACCEPTED, accepted, answered), "code": None},
            {
                "what": "another reason on the ledger",
                "status": status(other, REFUSED, refused),
                "code": "bad-evidence",
            },
            {
                "what": "accepted on the wire, refused on the ledger",
                "status": status(other, ACCEPTED, refused),
                "code": "bad-evidence",
            },
            {
                "what": "answered before it was accepted",
                "status": status(late, ACCEPTED, second, first),
                "code": "bad-evidence",
            },
        ],
    }


def witnessed(ledger: MemoryLedger) -> list[dict[str, Any]]:
    """Our own checkpoint as a peer returns it: what is taken, and under which code the rest is refused."""
    longer = MemoryLedger(ledger_signer("US"))
    longer.append(intent_entry(QUERY, REQUEST), NOW + 1)
    soon = NOW + 10 * limits.MINUTE
    note = parse_note(ledger.witnessed("CL", CL, NOW))
    time = replace(note.signatures[-1], payload=bytes(8) + note.signatures[-1].payload[8:])
    altered = replace(note, signatures=(*note.signatures[:-1], time)).to_bytes()
    cases = [
        ("cosigned by the peer", ledger.witnessed("CL", CL, NOW), None),
        ("not cosigned", ledger.checkpoint(1), "bad-cosignature"),
        ("cosigned by another", ledger.witnessed("CO", named_key("CO identity"), NOW), "bad-cosignature"),
        ("cosigned by another key", ledger.witnessed("CL", US, NOW), "bad-cosignature"),
        ("cosigned in the future", ledger.witnessed("CL", CL, soon), "bad-cosignature"),
        ("cosigned at another time than is signed", altered, "bad-cosignature"),
        ("of another log", MemoryLedger(ledger_signer("CO")).witnessed("CL", CL, NOW), "bad-cosignature"),
        ("signed by us, and not our ledger", longer.witnessed("CL", CL, NOW), "ledger-rolled-back"),
    ]
    return [{"what": what, "note": note.decode(), "code": code} for what, note, code in cases]


def conflicts() -> list[dict[str, Any]]:
    """Conflict files about the ledger of CL, and whether they convict it."""
    one, other = MemoryLedger(ledger_signer("CL")), MemoryLedger(ledger_signer("CL"))
    for number in range(3):
        one.append(refused_entry(_query(number), "internal"), NOW + number)
        other.append(refused_entry(_query(number), "internal"), NOW + 10 * limits.MINUTE + number)
    late = LogEvidence.from_bytes(other.evidence(1, 0, 2))
    honest = LogEvidence.from_bytes(one.evidence(2, 2))
    forged = LogEvidence.from_bytes(other.evidence(2, 2))

    def case(what: str, convicts: bool, rule: Any, seen: bytes, shown: bytes, *proof: Any) -> dict[str, Any]:
        common = {
            "log": one.signer.verifier.vkey,
            "holder": "US",
            "seen_ms": NOW,
            "shown_ms": NOW + limits.HOUR,
        }
        names = ("proof", "index", "entry")
        fields = dict(zip(names, proof, strict=False))
        conflict = Conflict(rule=rule, seen=seen, shown=shown, **common, **fields)  # type: ignore[arg-type]
        return {"what": what, "convicts": convicts, "file": conflict.to_bytes().hex()}

    three, foreign = one.checkpoint(3), MemoryLedger(ledger_signer("CO")).checkpoint(0)
    path = tuple(late.inclusion)
    return [
        case("a fork", True, "fork", three, other.checkpoint(3)),
        case("no fork: one root", False, "fork", three, three),
        case("no fork: two sizes", False, "fork", three, other.checkpoint(2)),
        case("a rollback", True, "rollback", three, late.checkpoint, path, 1, late.leaf),
        case("no rollback: another place", False, "rollback", three, late.checkpoint, path, 0, late.leaf),
        case("no rollback: an early entry", False, "rollback", three, one.checkpoint(2),
             tuple(LogEvidence.from_bytes(one.evidence(1, 0, 2)).inclusion), 1, one.leaves[1].to_bytes()),
        case("a proof that fails", True, "inconsistent", one.checkpoint(2), forged.checkpoint,
             tuple(forged.consistency)),
        case("a proof that holds", False, "inconsistent", one.checkpoint(2), honest.checkpoint,
             tuple(honest.consistency)),
        case("of another log", False, "fork", three, foreign),
    ]  # fmt: skip


def _query(number: int) -> bytes:
    values = Query.from_bytes(Signed.from_bytes(QUERY).message).model_dump()
    return sign(Query.model_validate({**values, "exchange_id": number.to_bytes(16, "big")}), US)


def texts() -> dict[str, Any]:
    own = descriptor("CL")
    text = own.fields.to_text().encode()

    def note(data: bytes, *names: str, context: Context) -> str:
        signers = [ContextSigner(name, named_key(f"{name} identity"), context) for name in names]
        return sign_note(data, signers).decode()

    draft = draft_agreement(agreement_fields(), descriptor("CL"), descriptor("US"))
    limited = draft_agreement(
        agreement_fields(grant(modality="iris"), grant(queries_per_day=2)), descriptor("CL"), descriptor("US")
    )
    spaced = text.replace(b"serial = 1", b"serial  = 1")
    return {
        "descriptor": {
            "note": own.note.decode(),
            "digest": own.digest.hex(),
            "fingerprint": own.fingerprint,
            "bad": [
                {"what": "another key", "note": note(text, "US", context=Context.DESCRIPTOR)},
                {"what": "another context", "note": note(text, "CL", context=Context.AGREEMENT)},
                {"what": "two signatures", "note": note(text, "CL", "US", context=Context.DESCRIPTOR)},
                {"what": "another spelling", "note": note(spaced, "CL", context=Context.DESCRIPTOR)},
            ],
        },
        "agreement": {
            "note": note(draft, "US", "CL", context=Context.AGREEMENT),
            "digest": AGREEMENT.digest.hex(),
            "bad": [
                {
                    "what": "a third signature",
                    "note": note(draft, "US", "CL", "CO", context=Context.AGREEMENT),
                },
                {"what": "another context", "note": note(draft, "US", "CL", context=Context.DESCRIPTOR)},
                {
                    "what": "a grant of a third country",
                    "note": note(
                        draft.replace(b'requester = "US"', b'requester = "CO"'),
                        "US",
                        "CL",
                        context=Context.AGREEMENT,
                    ),
                },
            ],
        },
        "policy": [
            {"changes": {}, "reason": None},
            {"changes": {"requester": "CL", "responder": "US"}, "reason": "direction-not-covered"},
            {"changes": {"modality": "iris"}, "reason": "modality-not-covered"},
            {"changes": {"profile": plain(bytes(32))}, "reason": "profile-mismatch"},
            {"changes": {"purpose": "curiosity"}, "reason": "purpose-not-covered"},
            {"changes": {"offence": "theft"}, "reason": "offence-not-covered"},
            {"changes": {"person_category": "witness"}, "reason": "person-category-not-covered"},
            {"changes": {"legal_basis": "none"}, "reason": "legal-basis-not-covered"},
            {"changes": {"purpose": "curiosity", "offence": "theft"}, "reason": "purpose-not-covered"},
        ],
        "quota": {
            "note": note(limited, "US", "CL", context=Context.AGREEMENT),
            "cases": [
                {"changes": {}, "spent": 1, "counts": [1, NOW // limits.DAY], "reason": None},
                {"changes": {}, "spent": 2, "reason": "quota-exceeded"},
                {"changes": {"modality": "iris"}, "spent": 2, "counts": None, "reason": None},
                {"changes": {"legal_basis": "none"}, "spent": 2, "reason": "legal-basis-not-covered"},
            ],
        },
    }


def render() -> str:
    """The whole file."""
    names = ("US identity", "CL identity", "CO identity")
    document = {
        "keys": {
            name: {"seed": named_key(name).seed.hex(), "public": named_key(name).verify_key.public.hex()}
            for name in names
        },
        "ledgers": {country: ledger_signer(country).verifier.vkey for country in ("US", "CL")},
        "plan": {"identifier": PLAN.identifier.hex(), "answer_block_bytes": PLAN.answer_block_bytes},
        "now_ms": NOW,
        "canonical": canonical(),
        "messages": messages(),
        "bad_messages": bad_messages(),
        "unsigned": [
            {
                "type": "ErrorReply",
                "bytes": ErrorReply(code="stale-checkpoint", message="prove from here", stored_size=7)
                .to_bytes()
                .hex(),
            }
        ],
        "bodies": [
            {"context": Context.CIPHERTEXT.value, "body": CIPHERTEXT.hex(),
             "hash": hash_fields(Context.CIPHERTEXT, CIPHERTEXT).hex()},
            {"context": Context.EVALUATION_KEYS.value, "body": KEYS.hex(),
             "hash": hash_fields(Context.EVALUATION_KEYS, KEYS).hex()},
        ],
        "time_windows": windows(),
        "evidence": evidence(),
        "claims": CLAIMS.document(),
        "texts": texts(),
    }  # fmt: skip
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    TARGET.write_text(render())
