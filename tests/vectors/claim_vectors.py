"""The part of specs/vectors/wire.json about claims; ``build_wire.py`` gives the query and the answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from memory_ledger import MemoryLedger
from parties import NOW, ledger_signer, named_key

from protocol import limits, wire
from protocol.claims import Claim, ClaimReply, ClaimSubmission, ClaimVerdict, decided, sent, settled
from protocol.exchange.checks import own_query
from protocol.messages import Query, message_hash, sign
from protocol.statements import Statement

US, CL = named_key("US identity"), named_key("CL identity")
CLAIMED_MS, DECIDED_MS = NOW + 10, NOW + 20
ANSWERED_MS = NOW + 1
Altered = Callable[..., bytes]


class Claims:
    """One hit of one answer, claimed and judged, well and badly.

    Args:
        query: The envelope of the query.
        answer_hash: Of its answer, in two blocks with one hit.
        altered: ``build_wire.altered``, which signs what no honest node would.
    """

    def __init__(self, query: bytes, answer_hash: bytes, altered: Altered) -> None:
        self.query = query
        self._altered = altered
        asked = own_query(query)
        self._names = {
            "exchange_id": asked.exchange_id,
            "requester": "US",
            "responder": "CL",
            "query_hash": message_hash(query),
        }
        self.answer_hash = answer_hash
        self.made = sign(self.claim(), US)

    def claim(self, **changes: Any) -> Claim:
        fields = {"answer_hash": self.answer_hash, "block": 1, "slot": 16383, "token": 258}
        return Claim.model_validate({**self._names, **fields, "claimed_ms": CLAIMED_MS, **changes})

    def verdict(self, reason: str | None = None, **changes: Any) -> ClaimVerdict:
        fields = {
            "claim_hash": message_hash(self.made),
            "outcome": "accepted" if reason is None else "refused",
            "reason": reason,
            "decided_ms": DECIDED_MS,
        }
        return ClaimVerdict.model_validate({**self._names, **fields, **changes})

    def messages(self) -> list[tuple[Any, str]]:
        """Signed messages with their signers."""
        refused = ("claimed-before", "no-such-slot", "more-than-reported", "too-late", "token-mismatch")
        verdicts = [self.verdict(reason) for reason in (None, *refused)]
        return [(self.claim(), "US identity"), *((one, "CL identity") for one in verdicts)]

    def bad_messages(self) -> list[dict[str, Any]]:
        """Envelopes that are refused as messages, whatever they are about."""
        claim, verdict, refused = self.claim(), self.verdict(), self.verdict("too-late")
        made = [
            ("Claim", "US identity", "claim signed by the responder", sign(claim, CL), "bad-signature"),
            ("Claim", "US identity", "verdict for a claim", sign(verdict, US), "bad-signature"),
        ]
        for what, changes in (
            ("slot beyond the block", {"slot": limits.SLOTS_PER_BLOCK}),
            ("negative slot", {"slot": -1}),
            ("block beyond every answer", {"block": limits.MAX_BLOCKS}),
            ("token beyond 16 bits", {"token": limits.TOKENS}),
            ("token as text", {"token": "258"}),
            ("true for the token", {"token": True}),
            ("short answer hash", {"answer_hash": bytes(31)}),
            ("no token", {"token": ...}),
            ("officer in a claim", {"officer": "officer-7"}),
        ):
            made.append(("Claim", "US identity", what, self._altered(claim, **changes), "bad-message"))
        for what, message, changes in (
            ("acceptance with a reason", verdict, {"reason": "too-late"}),
            ("refusal without a reason", refused, {"reason": None}),
            ("refusal for an unknown reason", refused, {"reason": "because"}),
            ("neither accepted nor refused", verdict, {"outcome": "failed"}),
            ("verdict that names the token", verdict, {"token": 258}),
        ):
            data = self._altered(message, "CL identity", **changes)
            made.append(("ClaimVerdict", "CL identity", what, data, "bad-message"))
        return [
            {"type": kind, "signer": signer, "what": what, "envelope": data.hex(), "code": code}
            for kind, signer, what, data, code in made
        ]

    def document(self) -> dict[str, Any]:
        """The section ``claims``."""
        asked = own_query(self.query)
        verdict, refusal = (sign(self.verdict(reason), CL) for reason in (None, "too-late"))
        said = {
            "claim.sent": sent(asked, self.made, "officer-7"),
            "claim.accepted": decided(asked, self.made, None),
            "claim.refused": decided(asked, self.made, "too-late"),
            "claim.confirmed": settled(asked, self.made, verdict, None),
            "claim.failed": settled(asked, self.made, refusal, "refused"),
        }
        return {
            "query": self.query.hex(),
            "claim": self.made.hex(),
            "reported": {
                "answer_hash": self.answer_hash.hex(),
                "blocks": 2,
                "hits": 1,
                "answered_ms": ANSWERED_MS,
            },
            "now_ms": DECIDED_MS,
            "verdicts": {"accepted": verdict.hex(), "refused": refusal.hex()},
            "statements": {kind: one.shared.to_bytes().hex() for kind, one in said.items()},
            "submissions": self._submissions(asked),
            "judgements": _judgements(),
            "replies": self._replies(asked),
        }

    def _submissions(self, asked: Query) -> list[dict[str, Any]]:
        def body(claim: bytes, logged: Statement, country: str = "US") -> bytes:
            ledger = MemoryLedger(ledger_signer(country))
            index = ledger.append(logged, CLAIMED_MS)
            return ClaimSubmission(
                claim=claim, evidence=ledger.evidence(index, 0), seen_size=0, witnessed=None
            ).to_bytes()

        own = sent(asked, self.made, "officer-7")
        good = body(self.made, own)
        cases: list[tuple[str, bytes, str | None]] = [("as it must be", good, None)]
        for what, changes in (
            ("of another exchange", {"exchange_id": bytes(16)}),
            ("of another query", {"query_hash": bytes(32)}),
            ("of another answer", {"answer_hash": bytes(32)}),
            ("by another requester", {"requester": "CO"}),
            ("made more than five minutes before the answer", {"claimed_ms": _EARLY - 1}),
            ("made more than five minutes from now", {"claimed_ms": DECIDED_MS + limits.CLOCK_SKEW + 1}),
        ):
            cases.append((what, body(sign(self.claim(**changes), US), own), "wrong-message"))
        for what, changes in (
            ("five minutes before the answer", {"claimed_ms": _EARLY}),
            ("five minutes from now", {"claimed_ms": DECIDED_MS + limits.CLOCK_SKEW}),
            ("with another token, which is judged later", {"token": 259}),
        ):
            envelope = sign(self.claim(**changes), US)
            cases.append((what, body(envelope, sent(asked, envelope, "officer-7")), None))
        cases.append(("signed by the responder", body(sign(self.claim(), CL), own), "bad-signature"))
        for what, changes in (
            ("the entry has another token", {"token": 259}),
            ("the entry has another slot", {"slot": 0}),
            ("the entry is of the same hit claimed at another time", {"claimed_ms": CLAIMED_MS + 1}),
        ):
            other = sent(asked, sign(self.claim(**changes), US), "officer-7")
            cases.append((what, body(self.made, other), "bad-evidence"))
        cases += [
            ("the entry is a verdict", body(self.made, decided(asked, self.made, None)), "bad-evidence"),
            ("the entry is on another ledger", body(self.made, own, "CL"), "bad-evidence"),
            ("a byte less", good[:-1], "bad-encoding"),
            ("a byte more", good + b"\0", "bad-encoding"),
            ("padded further", _padded(good, 4096), "bad-message"),
            ("not padded", _padded(good, None), "bad-message"),
            ("padded with ones", _ones(good), "bad-message"),
        ]
        return [{"what": what, "body": data.hex(), "code": code} for what, data, code in cases]

    def _replies(self, asked: Query) -> list[dict[str, Any]]:
        def body(verdict: bytes, logged: Statement, country: str = "CL") -> bytes:
            ledger = MemoryLedger(ledger_signer(country))
            index = ledger.append(logged, DECIDED_MS)
            ours = MemoryLedger(ledger_signer("US"))
            ours.append(sent(asked, self.made, "officer-7"), CLAIMED_MS)
            return ClaimReply(
                verdict=verdict,
                evidence=ledger.evidence(index, 0),
                witnessed=ours.witnessed("CL", CL, DECIDED_MS),
            ).to_bytes()

        def reply(reason: str | None, logged: str | None, **changes: Any) -> bytes:
            return body(sign(self.verdict(reason, **changes), CL), decided(asked, self.made, logged))

        cases: list[tuple[str, bytes, str | None]] = [
            ("accepted", reply(None, None), None),
            ("refused", reply("token-mismatch", "token-mismatch"), None),
            ("refused as a second claim", reply("claimed-before", "claimed-before"), None),
            ("accepted on the wire, refused on the ledger", reply(None, "too-late"), "bad-evidence"),
            ("refused on the wire, accepted on the ledger", reply("too-late", None), "bad-evidence"),
            ("another reason on the ledger", reply("too-late", "no-such-slot"), "bad-evidence"),
            ("on another claim", reply(None, None, claim_hash=bytes(32)), "wrong-message"),
            ("of another exchange", reply(None, None, exchange_id=bytes(16)), "wrong-message"),
            ("of another query", reply(None, None, query_hash=bytes(32)), "wrong-message"),
            (
                "decided more than five minutes before the claim",
                reply(None, None, decided_ms=CLAIMED_MS - limits.CLOCK_SKEW - 1),
                "wrong-message",
            ),
            (
                "decided more than five minutes from now",
                reply(None, None, decided_ms=DECIDED_MS + limits.CLOCK_SKEW + 1),
                "wrong-message",
            ),
        ]
        good, entry = sign(self.verdict(), CL), decided(asked, self.made, None)
        other = sign(self.claim(slot=0), US)
        cases += [
            ("signed by the requester", body(sign(self.verdict(), US), entry), "bad-signature"),
            ("the entry is of another claim", body(good, decided(asked, other, None)), "bad-evidence"),
            ("the entry is on another ledger", body(good, entry, "US"), "bad-evidence"),
        ]
        whole = body(good, entry)
        cases.append(("padded further", _padded(whole, 4096), "bad-message"))
        return [{"what": what, "body": data.hex(), "code": code} for what, data, code in cases]


_EARLY = ANSWERED_MS - limits.CLOCK_SKEW


def _judgements() -> list[dict[str, Any]]:
    """The verdict on an admitted claim: the first reason that applies."""
    late = limits.CLAIM_PERIOD + 1
    cases: list[tuple[str, dict[str, Any], str | None]] = [
        ("the token that was given", {}, None),
        ("on the last day", {"after_ms": limits.CLAIM_PERIOD}, None),
        ("another token", {"given": 259}, "token-mismatch"),
        ("the token of the other byte order", {"given": 513}, "token-mismatch"),
        ("a day too late", {"after_ms": late}, "too-late"),
        ("a second hit of an answer with one", {"claimed": 1}, "more-than-reported"),
        ("a block that the answer does not have", {"block": 2}, "no-such-slot"),
        ("a hit that was claimed before", {"is_first": False}, "claimed-before"),
        ("too late, with another token", {"after_ms": late, "given": 259}, "too-late"),
        ("one hit too many, too late", {"claimed": 1, "after_ms": late}, "more-than-reported"),
        ("no such block, one hit too many", {"block": 2, "claimed": 1}, "no-such-slot"),
        ("everything at once", {"is_first": False, "block": 2, "claimed": 1, "given": 259, "after_ms": late},
         "claimed-before"),
    ]  # fmt: skip
    blank = {"block": 1, "given": 258, "claimed": 0, "after_ms": 0, "is_first": True}
    return [{"what": what, **blank, **changes, "reason": reason} for what, changes, reason in cases]


def _padded(body: bytes, more: int | None) -> bytes:
    """The same message with other padding: so many zeros more, or none at all."""
    values = wire.decode(body, limits.MAX_SUBMISSION)
    assert isinstance(values, dict)
    padding = values["padding"]
    assert isinstance(padding, bytes)
    return wire.encode(values | {"padding": b"" if more is None else padding + bytes(more)})


def _ones(body: bytes) -> bytes:
    values = wire.decode(body, limits.MAX_SUBMISSION)
    assert isinstance(values, dict)
    padding = values["padding"]
    assert isinstance(padding, bytes)
    return wire.encode(values | {"padding": b"\1" * len(padding)})
