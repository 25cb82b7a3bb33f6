"""Write specs/vectors/witness.json: ML-DSA-44 notes, policies, witness exchanges, trees of edge sizes.

Usage: ``python tests/vectors/build_witness.py`` from the root of the repository. Everything follows from seeds
but the ML-DSA-44 signatures, which differ each time they are made: those in the file are kept as long as they
verify, so that making it again gives the same bytes.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from crypto import merkle  # noqa: E402
from crypto.errors import BadSignature  # noqa: E402
from crypto.mldsa import MlDsaSigningKey  # noqa: E402
from crypto.note import (  # noqa: E402
    MlDsaSigner,
    Note,
    NoteSignature,
    NoteSigner,
    cosigned_message,
    log_signers,
    parse_note,
    sign_note,
    witness_signers,
)
from protocol.audit.proof import TlogProof  # noqa: E402
from protocol.checkpoint import Checkpoint  # noqa: E402
from protocol.witness import AddCheckpoint  # noqa: E402

TARGET = ROOT / "specs" / "vectors" / "witness.json"
EDGES = (0, 1, 2, 255, 256, 257, 511, 512, 513, 65535, 65536, 65537, 66000, 70000)
LOG_SEED, WITNESS_SEED, OTHER_SEED = bytes(range(32)), bytes(range(32, 64)), bytes(range(64, 96))
ORIGIN, WITNESS, NOW = "us.example/ledger", "w.example", 1_750_000_000


class Keeper:
    """Signs, or gives again what was kept."""

    def __init__(self) -> None:
        old: dict[str, str] = json.loads(TARGET.read_text())["signatures"] if TARGET.exists() else {}
        self._old = old
        self.kept: dict[str, str] = {}

    def payload(self, signer: NoteSigner, text: bytes) -> bytes:
        """The signature of ``signer`` on ``text``."""
        if not isinstance(signer, MlDsaSigner):
            return signer.sign(text)
        message = cosigned_message(signer.name, signer.time_s, text)
        name = hashlib.sha256(signer.key_id + message).hexdigest()[:16]
        payload = bytes.fromhex(self.kept.get(name) or self._old.get(name, ""))
        try:
            signer.verifier.check(text, payload)
        except BadSignature:
            payload = signer.sign(text)
        self.kept[name] = payload.hex()
        return payload

    def note(self, text: bytes, signers: list[NoteSigner]) -> bytes:
        """A signed note."""
        lines = tuple(NoteSignature(s.name, s.key_id, self.payload(s, text)) for s in signers)
        return Note(text, lines).to_bytes()


LOG = log_signers(ORIGIN, LOG_SEED)
LEAVES = [merkle.leaf_hash(b"%d" % number) for number in range(max(EDGES))]
READER = merkle.list_reader(LEAVES)


def make() -> dict[str, Any]:
    """The whole file as plain values."""
    keep = Keeper()
    parts = {
        "about": "Concordat ledger, specs/ledger.md. Made by tests/vectors/build_witness.py.",
        "edges": _edges(),
        "notes": _notes(keep),
        "policies": _policies(keep),
        "exchanges": _exchanges(keep),
    }
    return parts | {"signatures": dict(sorted(keep.kept.items()))}


def _head(size: int, root: bytes | None = None) -> bytes:
    return Checkpoint(ORIGIN, size, root or merkle.root(LEAVES[:size])).to_text()


def _edges() -> dict[str, Any]:
    tree, roots = merkle.CompactRange(), {0: merkle.EMPTY_ROOT}
    for leaf in LEAVES:
        tree.append(leaf)
        if tree.size in EDGES:
            roots[tree.size] = tree.root()
    chains = [
        {"old": old, "new": new, "path": [item.hex() for item in merkle.consistency_proof(old, new, READER)]}
        for old, new in itertools.pairwise(EDGES)
    ]
    last = [
        {
            "size": size,
            "index": size - 1,
            "path": [item.hex() for item in merkle.inclusion_proof(size, size - 1, READER)],
        }
        for size in EDGES[1:]
    ]
    return {
        "entries": "decimal numbers from 0, in ASCII",
        "roots": {str(size): roots[size].hex() for size in EDGES},
        "consistency": chains,
        "inclusion of the last": last,
    }


def _notes(keep: Keeper) -> dict[str, Any]:
    text = _head(7)
    witness = witness_signers(WITNESS, WITNESS_SEED, NOW)
    both = keep.note(text, list(LOG))
    alone = keep.note(text, [LOG[1]])
    all_four = keep.note(text, [*LOG, *witness])
    line = parse_note(alone).signatures[0]

    def changed(payload: bytes, name: str = line.name) -> str:
        return Note(text, (NoteSignature(name, line.key_id, payload),)).to_bytes().decode()

    flipped = bytearray(line.payload)
    flipped[100] ^= 1
    later = (1).to_bytes(8, "big") + line.payload[8:]
    stranger = MlDsaSigner(ORIGIN, MlDsaSigningKey.from_seed(OTHER_SEED))
    return {
        "seeds": {"log": LOG_SEED.hex(), "witness": WITNESS_SEED.hex()},
        "vkeys": {
            "log": LOG[0].verifier.vkey,
            "log ML-DSA-44": LOG[1].verifier.vkey,
            "witness": witness[0].verifier.vkey,
            "witness ML-DSA-44": witness[1].verifier.vkey,
        },
        "time": NOW,
        "signed message of the log": cosigned_message(ORIGIN, 0, text).hex(),
        "signed message of the witness": cosigned_message(WITNESS, NOW, text).hex(),
        "good": {
            "log by ML-DSA-44 alone": [alone.decode(), 1],
            "log by both": [both.decode(), 2],
            "log and witness by both": [all_four.decode(), 4],
            "an extension line is not signed": [
                Note(text + b"extension\n", (line,)).to_bytes().decode(),
                1,
            ],
        },
        "rejected": {
            "a flipped bit": changed(bytes(flipped)),
            "another time than was signed": changed(later),
            "a time above 2^63 - 1": changed(b"\xff" * 8 + line.payload[8:]),
            "cut short": changed(line.payload[:-1]),
            "one byte more": changed(line.payload + b"\0"),
            "no time": changed(line.payload[8:]),
            "another size": alone.decode().replace("\n7\n", "\n8\n"),
            "another origin": alone.decode().replace(ORIGIN + "\n", "cl.example/ledger\n", 1),
            "not a checkpoint": Note(b"text\n", (line,)).to_bytes().decode(),
            "an unknown key": keep.note(text, [stranger]).decode(),
            "one good and one bad": (
                both + parse_note(changed(bytes(flipped)).encode()).signatures[0].line()
            ).decode(),
        },
    }


def _policies(keep: Keeper) -> dict[str, Any]:
    text = _head(7)
    cosigners = [witness_signers(f"w{n}.example", bytes([n]) * 32, NOW) for n in range(3)]
    lines = "".join(f"log {key.verifier.vkey}\n" for key in LOG)
    for n, (ed25519, post_quantum) in enumerate(cosigners):
        lines += f"witness W{n} {ed25519.verifier.vkey}\nwitness Q{n} {post_quantum.verifier.vkey}\n"
        lines += f"group G{n} any W{n} Q{n}\n"
    policy = lines + "group two 2 G0 G1 G2\nquorum two\n"

    def case(*signers: NoteSigner) -> str:
        return keep.note(text, list(signers)).decode()

    (w0, q0), (w1, q1), (w2, _) = cosigners
    return {
        "policy": policy,
        "satisfied": {
            "two by Ed25519": case(*LOG, w0, w1),
            "one of each type": case(*LOG, w0, q1),
            "two by ML-DSA-44": case(*LOG, q0, q1),
            "all": case(*LOG, w0, q0, w1, q1, w2),
        },
        "not satisfied": {
            "one witness by both keys": case(*LOG, w0, q0),
            "no witness": case(*LOG),
            "no ML-DSA-44 of the log": case(LOG[0], w0, w1),
            "no Ed25519 of the log": case(LOG[1], w0, w1),
            "no log": case(w0, w1, w2),
        },
        "proof": {
            "entry": b"3".hex(),
            "text": TlogProof(3, tuple(merkle.inclusion_proof(7, 3, READER)), case(*LOG, w0, q1).encode())
            .to_bytes()
            .decode(),
        },
    }


def _exchanges(keep: Keeper) -> dict[str, Any]:
    """One witness, in this order; it knows both keys of the log."""

    def signed(size: int, root: bytes | None = None) -> bytes:
        return keep.note(_head(size, root), list(LOG))

    def ask(old: int, size: int, note: bytes | None = None, proof: list[bytes] | None = None) -> str:
        if proof is None:
            proof = merkle.consistency_proof(old, size, READER) if old <= size else []
        return AddCheckpoint(old, tuple(proof), note or signed(size)).to_bytes().decode()

    good = ask(2, 7)
    unknown = sign_note(
        Checkpoint("cl.example/ledger", 1, bytes(32)).to_text(),
        [log_signers("cl.example/ledger", LOG_SEED)[0]],
    )
    forged = sign_note(_head(7), [log_signers(ORIGIN, OTHER_SEED)[0]])
    line = parse_note(signed(7)).signatures[0]
    broken = Note(_head(7), (NoteSignature(line.name, line.key_id, bytes(64)),)).to_bytes()
    steps: list[tuple[str, str, int, int | None]] = [
        ("nothing", "", 400, None),
        ("a size zero with another root", ask(0, 0, signed(0, bytes(32)), []), 422, None),
        ("size zero", ask(0, 0), 200, None),
        ("the first two", ask(0, 2), 200, None),
        ("no old size", good.removeprefix("old 2\n"), 400, None),
        ("leading zero", good.replace("old 2", "old 02"), 400, None),
        ("no empty line", good.replace("\n\n", "\n", 1), 400, None),
        ("carriage returns", good.replace("\n", "\r\n"), 400, None),
        ("64 proof lines", ask(2, 7, None, [bytes(32)] * 64), 400, None),
        ("a short hash", good.replace("=\n", "\n", 1), 400, None),
        ("loose bits", good.replace(good.split("\n")[1], good.split("\n")[1][:-2] + "B="), 400, None),
        ("no checkpoint", good.partition("\n\n")[0] + "\n\n", 400, None),
        ("unknown log", ask(0, 1, unknown, []), 404, None),
        ("another key", ask(2, 7, forged), 403, None),
        ("a known key fails", ask(2, 7, broken), 403, None),
        ("old above new", ask(9, 7, None, []), 400, None),
        ("a size that is not on record", ask(1, 7), 409, 2),
        ("from the beginning", ask(0, 7), 409, 2),
        ("an empty proof", ask(2, 7, None, []), 422, None),
        ("another proof", ask(2, 7, None, merkle.consistency_proof(2, 8, READER)), 422, None),
        ("another tree", ask(2, 7, signed(7, bytes(32))), 422, None),
        ("good", good, 200, None),
        ("again", good, 409, 7),
        ("the same size", ask(7, 7), 200, None),
        ("the same size with a proof", ask(7, 7, None, [bytes(32)]), 422, None),
        ("a fork", ask(7, 7, signed(7, bytes(32))), 422, None),
        ("a smaller tree", ask(2, 5), 409, 7),
        ("a large one", ask(7, 70000), 200, None),
    ]
    return {
        "witness": {"name": WITNESS, "seed": WITNESS_SEED.hex(), "time": NOW},
        "steps": [
            {"name": name, "body": body, "status": status, "size": size} for name, body, status, size in steps
        ],
    }


def render() -> str:
    """The exact text of the file."""
    return json.dumps(make(), indent=1, ensure_ascii=True) + "\n"


if __name__ == "__main__":
    TARGET.write_text(render())
    print(hashlib.sha256(TARGET.read_bytes()).hexdigest(), TARGET.relative_to(ROOT))
