"""Evidence against peers that a ledger keeps: a good file is a finding about the peer, a bad one about its keeper."""

from __future__ import annotations

from ledgers import START_MS
from matrix import Cases, Named, single
from scribe import Scribe, checkpoint, leaves, origin_of, policy_of, seed_of

from crypto.note import log_signers
from protocol import statements_witness as w
from protocol.audit.report import Rule
from protocol.conflict import Conflict

POLICY = policy_of("US")


def _fork() -> Conflict:
    """Chile has signed two trees of one size."""
    ed25519, _ = log_signers(origin_of("CL"), seed_of("CL"))
    return Conflict(
        rule="fork",
        log=ed25519.verifier.vkey,
        holder="US",
        seen_ms=START_MS,
        shown_ms=START_MS + 1000,
        seen=checkpoint("CL", leaves(5)),
        shown=checkpoint("CL", [*leaves(4), leaves(9)[-1]]),
    )


def cases() -> Cases:
    """What is kept, damaged; and what a suspension names, missing."""
    conflict = _fork()
    name = f"conflicts/CL-{conflict.digest.hex()}"
    data = conflict.to_bytes()
    us = Scribe("US").begin()
    us.record(
        w.PeerSuspended(exchange_id=bytes([1]) * 16, country="US", peer="CL", conflict=conflict.digest),
        w.Decided(operator="op", reason="fork"),
    )
    files = us.files()
    proven = Named(Rule.PEER_CONFLICT, name, None, "CL")
    missing = Named(Rule.CONFLICT_MISSING, None, 1)
    form = Named(Rule.CONFLICT_FORM, name)
    yield single("a fork of a peer, proven", files | {name: data}, POLICY, proven, key=True)
    yield single("a suspension without its evidence", files, POLICY, missing, key=True)
    changes = {
        "empty": b"",
        "cut": data[:-1],
        "longer": data + b"\n",
        "noise": bytes(range(256)),
        "of another holder": data.replace(b"holder US", b"holder CO"),
        "at another time": data.replace(f"seen-ms {START_MS}".encode(), f"seen-ms {START_MS + 1}".encode()),
        "with a number in a longer form": data.replace(b"index 0\n", b"index 00\n"),
        "with the same checkpoint twice": _with(conflict, shown=conflict.seen),
        "with a checkpoint of another log": _with(conflict, shown=checkpoint("US", leaves(5))),
        "with a larger checkpoint": _with(conflict, shown=checkpoint("CL", leaves(6))),
    }
    for words, changed in changes.items():
        yield single(f"evidence {words}", files | {name: changed}, POLICY, form, missing, key=True)
    for at in range(0, len(data), len(data) // 12):
        flipped = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        yield single(
            f"evidence with byte {at} changed", files | {name: flipped}, POLICY, form, missing, key=True
        )
    other = f"conflicts/CL-{bytes(32).hex()}"
    yield single(
        "evidence under another digest", files | {other: data}, POLICY,
        Named(Rule.CONFLICT_FORM, other), missing, key=True,
    )  # fmt: skip
    for strange in ("conflicts/CL", "conflicts/CL-xyz", f"conflicts/cl-{conflict.digest.hex()}"):
        yield single(
            f"a file named {strange[:16]}", files | {name: data, strange: data}, POLICY,
            Named(Rule.UNEXPECTED_FILE, strange), proven, key=True,
        )  # fmt: skip


def _with(conflict: Conflict, **changes: bytes) -> bytes:
    from dataclasses import replace

    return replace(conflict, **changes).to_bytes()  # type: ignore[arg-type]
