"""Write specs/vectors/ledger.json: everything in it follows from seeds, so anybody can make it again.

Usage: ``python tests/vectors/build_ledger.py`` from the root of the repository, with ``tests/support`` on
the path. Bytes are in hex, texts and notes as text.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from ledgers import (  # noqa: E402
    AUDITOR,
    REQUESTED,
    START_MS,
    accepted,
    answered,
    asked,
    claimed,
    counter_random,
    exchange_id,
    filler,
    intent,
    open_country,
    reply,
    result,
)

from crypto import merkle  # noqa: E402
from crypto.contexts import Context, hash_fields  # noqa: E402
from crypto.note import (  # noqa: E402
    ContextSigner,
    CosignatureSigner,
    Ed25519Signer,
    Note,
    add_signatures,
    parse_note,
    sign_note,
)
from crypto.sealing import public_key  # noqa: E402
from crypto.signing import SIGNATURE_BYTES, SigningKey  # noqa: E402
from protocol import statements as s  # noqa: E402
from protocol import statements_claims as c  # noqa: E402
from protocol import statements_keys as k  # noqa: E402
from protocol import statements_records as r  # noqa: E402
from protocol import statements_witness as w  # noqa: E402
from protocol.audit.proof import TlogProof  # noqa: E402
from protocol.checkpoint import Checkpoint  # noqa: E402
from protocol.evidence import LogEvidence  # noqa: E402
from protocol.leaf import exchange_in_leaf  # noqa: E402
from protocol.payload import make_entry  # noqa: E402
from protocol.statement_parts import NoPrivatePart, Operated, PrivatePart, SharedPart  # noqa: E402

TARGET = ROOT / "specs" / "vectors" / "ledger.json"
SIZES = (0, 1, 2, 3, 7, 8, 255, 256, 257, 511, 512, 513)
LOG_SEED, WITNESS_SEED = bytes(range(32)), bytes(range(32, 64))
SEED = bytes(range(64, 96))
COMPUTATION = s.Computation(
    records=12,
    compute_ms=900,
    seed=SEED,
    retried=[0],
    answer_blocks=s.answer_blocks_digest([bytes([9]) * 32]),
)
LOG = Ed25519Signer("us.example/ledger", SigningKey.from_seed(LOG_SEED))
WITNESS = CosignatureSigner("w.example", SigningKey.from_seed(WITNESS_SEED), START_MS // 1000)


def make() -> dict[str, Any]:
    """The whole file as plain values."""
    return {
        "about": "Concordat ledger, specs/ledger.md. Made by tests/vectors/build_ledger.py.",
        "merkle": _merkle(),
        "notes": _notes(),
        "checkpoints": _checkpoints(),
        "policies": _policies(),
        "tiles": _tiles(),
        "statements": _statements(),
        "evidence": _evidence(),
    }


def _merkle() -> dict[str, Any]:
    leaves = [merkle.leaf_hash(b"%d" % n) for n in range(max(SIZES))]
    reader = merkle.list_reader(leaves)
    proofs = []
    for size, index in ((1, 0), (7, 6), (8, 3), (257, 256), (513, 255)):
        path = merkle.inclusion_proof(size, index, reader)
        proofs.append({"size": size, "index": index, "path": [item.hex() for item in path]})
    chains = []
    for old, new in ((0, 7), (1, 8), (7, 8), (255, 257), (256, 512), (257, 513)):
        path = merkle.consistency_proof(old, new, reader)
        chains.append({"old": old, "new": new, "path": [item.hex() for item in path]})
    return {
        "entries": "decimal numbers from 0, in ASCII",
        "roots": {str(size): merkle.root(leaves[:size]).hex() for size in SIZES},
        "inclusion": proofs,
        "consistency": chains,
    }


def _notes() -> dict[str, Any]:
    text = Checkpoint(LOG.name, 7, bytes(32)).to_text()
    plain = sign_note(text, [LOG])
    ours = ContextSigner("US", SigningKey.from_seed(LOG_SEED), Context.AGREEMENT)
    line = parse_note(plain).signatures[0]
    broken = type(line)(line.name, line.key_id, bytes(64)).line()
    malformed = {
        "no signature": text + b"\n",
        "no newline at the end": plain[:-1],
        "a hyphen for the dash": plain.replace("—".encode(), b"-"),
        "two spaces": plain.replace("— ".encode(), "—  ".encode()),
        "a plus in the name": plain.replace(b" us.example", b" us+example"),
        "a control character": plain.replace(b"\n7\n", b"\n7\r\n"),
        "bits after the base64": text + b"\n" + "— a AAAAAAE\n".encode(),
        "a key id without a signature": text + b"\n" + "— a AAAAAA==\n".encode(),
    }
    return {
        "seeds": {"log": LOG_SEED.hex(), "witness": WITNESS_SEED.hex()},
        "vkeys": {
            "log": LOG.verifier.vkey,
            "witness": WITNESS.verifier.vkey,
            "agreement": ours.verifier.vkey,
        },
        "good": {
            "log": plain.decode(),
            "log and witness": add_signatures(plain, [WITNESS]).decode(),
            "agreement": sign_note(b"an agreement\n\nof two parts\n", [ours]).decode(),
        },
        "malformed": {name: data.decode() for name, data in malformed.items()},
        "rejected": {
            "a known key fails": (plain + broken).decode(),
            "no known key": sign_note(text, [Ed25519Signer(LOG.name, WITNESS.key)]).decode(),
            "another text": plain.replace(b"\n7\n", b"\n8\n").decode(),
        },
    }


def _checkpoints() -> dict[str, Any]:
    good = Checkpoint(LOG.name, 70000, bytes(range(32))).to_text().decode()
    return {
        "good": {"text": good, "origin": LOG.name, "size": 70000, "root": bytes(range(32)).hex()},
        "malformed": {
            "leading zero": good.replace("70000", "070000"),
            "underscore": good.replace("70000", "70_000"),
            "sign": good.replace("70000", "+70000"),
            "too large": good.replace("70000", str(2**63)),
            "extension line": good + "extension\n",
            "two lines": "\n".join(good.split("\n")[:2]) + "\n",
            "short root": good.replace("AAEC", ""),
            "non-canonical root": good.replace("Hh8=", "Hh9="),
            "empty origin": good.removeprefix(LOG.name),
        },
    }


def _policies() -> dict[str, Any]:
    log, witness = f"log {LOG.verifier.vkey}\n", f"witness w {WITNESS.verifier.vkey}\n"
    return {
        "met by log and witness": log + witness + "group g 1 w\nquorum g\n",
        "met by log alone": log + "quorum none\n",
        "malformed": [
            "",
            log,
            "quorum none\nquorum none\n",
            log + "quorum w\n",
            log + log + "quorum none\n",
            log + witness + "group g 2 w\nquorum g\n",
            log + witness + "group g any w\ngroup h any w\nquorum h\n",
        ],
    }


def _tiles() -> dict[str, Any]:
    return {
        "paths": {
            "tile/0/000": [0, 0, 256],
            "tile/1/x001/x234/067": [1, 1234067, 256],
            "tile/entries/x001/000.p/7": [None, 1000, 7],
        },
        "malformed paths": [
            "tile/0/0",
            "tile/00/000",
            "tile/8/000",
            "tile/0/x000/001",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
        ],
        "bundle": {"entries": ["61", "", "6263"], "bytes": "0001610000" + "00026263"},
        "malformed bundles of 3": ["00016100000002", "000161000000026263" + "00", "0001610000"],
    }


def _local(kind: str) -> tuple[SharedPart, PrivatePart]:
    common: dict[str, Any] = {"exchange_id": exchange_id(1), "country": "US"}
    operated = Operated(operator="operator-1")
    if kind == "gallery.imported":
        private = s.ImportedGallery(modality="face", profile=bytes(32), records=5, blocks=1, operator="op")
        return s.GalleryImported(**common, gallery_commitment=bytes(32)), private
    if kind == "agreement.accepted":
        return s.AgreementAccepted(**common, peer="CL", agreement=bytes(32)), operated
    if kind == "peer.accepted":
        return s.PeerAccepted(**common, peer="CL", descriptor=bytes(32)), operated
    installed = s.Installed(authority="Police", software="concordat 0.1.0")
    return s.NodeInitialised(**common, identity_key=bytes(32), origin=LOG.name), installed


def _examples() -> list[s.Statement]:
    nothing = NoPrivatePart()
    fields = {key: value for key, value in asked(1).items() if key != "query_hash"}
    queries = [
        s.Statement(intent(1), REQUESTED),
        s.Statement(s.QueryWithheld(**fields, reason="purpose-not-covered"), REQUESTED),
        s.Statement(accepted(1, bytes(32)), nothing),
        s.Statement(s.QueryRefused(**asked(1), reason="agreement-expired"), nothing),
        s.Statement(answered(1, seed_commitment=hash_fields(Context.SEED_COMMITMENT, SEED)), COMPUTATION),
        s.Statement(s.QueryFailed(**reply(1), reason="internal"), nothing),
        s.Statement(result(1), nothing),
        s.Statement(claimed(1), nothing),
    ]
    kinds = ("gallery.imported", "agreement.accepted", "peer.accepted", "node.initialised")
    local = [s.Statement(*_local(kind)) for kind in kinds]
    return queries + local + _registered() + _claims() + _kept() + _witnessed()


def _registered() -> list[s.Statement]:
    """Statements about a registration of evaluation keys."""
    names = ("exchange_id", "requester", "responder", "agreement")
    told: dict[str, Any] = {name: reply(1)[name] for name in names}
    told |= {"plan": bytes([1]) * 32, "epoch_days": 30, "epoch": 700, "offer_hash": bytes([2]) * 32}
    challenge: dict[str, Any] = {"kept": 1, "challenge_hash": bytes([3]) * 32}
    opening: dict[str, Any] = {"opening_hash": bytes([4]) * 32}
    keys: dict[str, Any] = {"evaluation_keys": bytes([5]) * 32}
    nothing = NoPrivatePart()
    sets = [bytes([5]) * 32, bytes([6]) * 32]
    return [
        s.Statement(k.KeysOffered(**told, profile=bytes([7]) * 32, sets=sets), nothing),
        s.Statement(k.KeysChallenged(**told, **challenge), nothing),
        s.Statement(k.KeysOpened(**told, **challenge, **opening), nothing),
        s.Statement(k.KeysRegistered(**told, **opening, **keys, sets=2), k.Checked(compute_ms=9)),
        s.Statement(k.KeysRefused(**told, opening_hash=None, reason="overdue"), nothing),
        s.Statement(k.KeysAccepted(**told, **opening, **keys), k.Escrowed(secret=bytes([8]) * 32)),
        s.Statement(k.KeysFailed(**told, reason="overdue"), nothing),
    ]


def _kept() -> list[s.Statement]:
    """Statements about the records themselves."""
    local: dict[str, Any] = {"exchange_id": exchange_id(1), "country": "US"}
    asked_for = {key: value for key, value in asked(1).items() if key in r.QueryConfirmed.model_fields}
    operator = Operated(operator="operator-7")
    hashed = exchange_in_leaf(exchange_id(2))
    return [
        s.Statement(
            r.QueryConfirmed(**asked_for, confirmed=True),
            r.Compared(examiner="examiner-3", second_examiner="examiner-4", disclosed_to=None),
        ),
        s.Statement(
            r.PayloadsErased(
                **local,
                leaves=[bytes(32), bytes([1]) * 32],
                legal_basis="agreement-article-4",
                retention_days=365,
            ),
            operator,
        ),
        s.Statement(
            r.HoldPlaced(**local, exchange=hashed),
            r.Held(operator="operator-7", authority="court", reference="order 8"),
        ),
        s.Statement(r.HoldReleased(**local, exchange=hashed, placed=bytes([2]) * 32), operator),
        s.Statement(
            r.LedgerRead(**local, scope="payload", first=5, count=1),
            r.Reading(reader="auditor-1", key=bytes([3]) * 32, purpose="lawfulness-check"),
        ),
        s.Statement(r.LogFiller(**local), NoPrivatePart()),
        s.Statement(r.CadenceStated(**local, seconds=3600, entries=16), NoPrivatePart()),
    ]


def _claims() -> list[s.Statement]:
    """Statements about claims of hits."""
    told: dict[str, Any] = {**reply(1), "answer_hash": bytes([6]) * 32, "claim_hash": bytes([7]) * 32}
    told |= {"block": 2, "slot": 16383, "token": 65535}
    nothing = NoPrivatePart()
    return [
        s.Statement(c.ClaimSent(**told), c.Claimant(officer="officer-9")),
        s.Statement(c.ClaimAccepted(**told), nothing),
        s.Statement(c.ClaimRefused(**told, reason="token-mismatch"), nothing),
        s.Statement(c.ClaimConfirmed(**told, verdict_hash=bytes([8]) * 32), nothing),
        s.Statement(c.ClaimFailed(**told, reason="overdue", verdict_hash=None), nothing),
    ]


def _witnessed() -> list[s.Statement]:
    """Statements about trust in ledgers."""
    local: dict[str, Any] = {"exchange_id": exchange_id(1), "country": "US"}
    decided = w.Decided(operator="operator-7", reason="two histories of one ledger")
    noticed = w.Noticed(software="concordat 0.1.0")
    before = {"previous_origin": "us.example/ledger", "previous_size": 9, "previous_root": bytes([4]) * 32}
    return [
        s.Statement(w.PeerSuspended(**local, peer="CL", conflict=bytes([5]) * 32), decided),
        s.Statement(w.PeerResumed(**local, peer="CL"), decided),
        s.Statement(
            w.LedgerSucceeded(
                **local,
                **before,
                identity_key=bytes([6]) * 32,
                origin="us.example/ledger-2",
                previous_key=bytes([7]) * 32,
                copy_size=8,
            ),
            decided,
        ),
        s.Statement(
            w.SuccessionAccepted(
                **local, **before, peer="CL", origin="us.example/ledger-2", succession=bytes([8]) * 32
            ),
            Operated(operator="operator-7"),
        ),
        s.Statement(w.QuorumMissed(**local, size=9, quorum="neighbours"), noticed),
        s.Statement(w.QuorumMet(**local, size=12, quorum="neighbours"), noticed),
        s.Statement(w.ClockStepped(**local, before_ms=START_MS, after_ms=START_MS - 60_000), noticed),
    ]


def _statements() -> dict[str, Any]:
    made = {}
    for statement in _examples():
        kind = statement.shared.type
        random = counter_random(f"vector {kind}")
        leaf, box, opening = make_entry(statement, START_MS, bytes(32), [public_key(AUDITOR)], random)
        made[kind] = {
            "shared": statement.shared.to_bytes().hex(),
            "private": statement.private.to_bytes().hex(),
            "shared_salt": opening.salt.hex(),
            "private_digest": opening.private_digest.hex(),
            "leaf": leaf.to_bytes().hex(),
            "payload": box.to_bytes().hex(),
        }
    return {
        "time_ms": START_MS,
        "exchange_id": exchange_id(1).hex(),
        "storage_key": bytes(32).hex(),
        "auditor_private_key": AUDITOR.hex(),
        "examples": made,
    }


def _evidence() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory:
        us = open_country(Path(directory) / "us", "US")
        first = us.journal.evidence(us.record(intent(1), REQUESTED).index, 0)
        seen = us.ledger.head
        us.ledger.append_many([filler(n) for n in range(300)])
        second = us.journal.evidence(us.record(intent(2), REQUESTED).index, seen.size)
        twin = open_country(Path(directory) / "twin", "US")
        twin.ledger.append(filler(9))
        forked = twin.journal.evidence(0, seen.size)
        # ML-DSA-44 signatures differ each time they are made; witness.json has some that were kept.
        first, second, forked = (_without_mldsa(one) for one in (first, second, forked))
        proof = TlogProof(second.index, tuple(second.inclusion), second.checkpoint)
        vkey = us.ledger.vkey
        for country in (us, twin):
            country.ledger.close()
    held = {"size": seen.size, "root": seen.root.hex()}

    def case(
        name: str, data: LogEvidence, last_seen: Any, error: str | None, **changes: Any
    ) -> dict[str, Any]:
        changed = data.model_copy(update=changes)
        return {"name": name, "evidence": changed.to_bytes().hex(), "last_seen": last_seen, "error": error}

    other = first.opening
    cases = [
        case("first contact", first, None, None),
        case("a later entry", second, held, None),
        case("older than what we hold", first, {"size": 302, "root": "00" * 32}, "stale-checkpoint"),
        case("a proof from another size", second, None, "stale-checkpoint"),
        case("two roots of one size", forked, held, "forked-ledger"),
        case("a wrong consistency proof", second, held, "not-consistent", consistency=second.inclusion),
        case("another index", second, held, "not-included", index=5),
        case("another leaf", second, held, "not-included", leaf=first.leaf),
        case("a path cut short", second, held, "not-included", inclusion=second.inclusion[:-1]),
        case("another opening", second, held, "bad-opening", opening=other),
        case("a changed checkpoint", second, held, "bad-signature", checkpoint=_resized(second.checkpoint)),
        case("a checkpoint that is no note", second, held, "bad-encoding", checkpoint=b"text"),
    ]
    return {
        "vkey": vkey,
        "cases": cases,
        "proof_file": {"entry": second.leaf.hex(), "text": proof.to_bytes().decode()},
    }


def _without_mldsa(evidence: LogEvidence) -> LogEvidence:
    note = parse_note(evidence.checkpoint)
    kept = tuple(line for line in note.signatures if len(line.payload) == SIGNATURE_BYTES)
    return evidence.model_copy(update={"checkpoint": Note(note.text, kept).to_bytes()})


def _resized(note: bytes) -> bytes:
    return note.replace(b"\n303\n", b"\n304\n")


def render() -> str:
    """The exact text of the file."""
    return json.dumps(make(), indent=1, ensure_ascii=True) + "\n"


if __name__ == "__main__":
    TARGET.write_text(render())
    print(hashlib.sha256(TARGET.read_bytes()).hexdigest(), TARGET.relative_to(ROOT))
