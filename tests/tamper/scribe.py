"""Ledgers written by hand, without the node's own store: entries, payloads, tiles, checkpoints, signatures.

Whoever holds a ledger's keys can write anything; so can this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from ledgers import AUDITOR, REQUESTED, START_MS, accepted, answered, claimed, counter_random, intent, result

from crypto import merkle
from crypto.note import CosignatureSigner, NoteSigner, log_signers, sign_note
from crypto.sealing import public_key
from crypto.signing import SigningKey
from protocol import statements as s
from protocol import tiles
from protocol.checkpoint import Checkpoint
from protocol.leaf import Leaf
from protocol.payload import make_entry, payload_path
from protocol.statement_parts import NoPrivatePart, PrivatePart, SharedPart

Files = dict[str, bytes]
WITNESS = CosignatureSigner("w.example", SigningKey.from_seed(b"\x08" * 32), 1)
LIAR = SigningKey.from_seed(b"\x07" * 32)


def seed_of(code: str) -> bytes:
    """The signing seed of a country's ledger."""
    return hashlib.sha256(f"scribe of {code}".encode()).digest()


def signers_of(code: str) -> tuple[NoteSigner, ...]:
    """Both keys of a country's ledger."""
    return log_signers(origin_of(code), seed_of(code))


def origin_of(code: str) -> str:
    """The name of a country's ledger."""
    return f"{code.lower()}.example/ledger"


def policy_of(code: str, witnessed: bool = False) -> bytes:
    """The auditor's policy for a country's ledger."""
    lines = [f"log {signer.verifier.vkey}" for signer in log_signers(origin_of(code), seed_of(code))]
    if witnessed:
        lines += [f"witness w {WITNESS.verifier.vkey}", "quorum w"]
    else:
        lines += ["quorum none"]
    return ("\n".join(lines) + "\n").encode()


def checkpoint(
    code: str,
    entries: Sequence[bytes],
    *more: NoteSigner,
    size: int | None = None,
    root: bytes | None = None,
    origin: str | None = None,
    signers: Sequence[NoteSigner] | None = None,
) -> bytes:
    """The signed checkpoint of these entries, or of what it is made to claim."""
    claimed_root = root if root is not None else merkle.root([merkle.leaf_hash(one) for one in entries])
    head = Checkpoint(origin or origin_of(code), len(entries) if size is None else size, claimed_root)
    return sign_note(head.to_text(), [*(signers_of(code) if signers is None else signers), *more])


def tree(entries: Sequence[bytes], sizes: Sequence[int] = ()) -> Files:
    """Tiles and bundles after checkpoints at ``sizes`` and at the end; partials stay until their tile is full."""
    rows = [[merkle.leaf_hash(one) for one in entries]]
    while len(rows[-1]) >= tiles.TILE_WIDTH:
        row = rows[-1]
        rows.append(
            [tiles.subtree(row[i : i + 256]) for i in range(0, len(row) // 256 * 256, tiles.TILE_WIDTH)]
        )
    files: Files = {}
    for size in (*sizes, len(entries)):
        for level in tiles.levels_of(size):
            for ref in tiles.tiles_of(size, level):
                first = ref.index * tiles.TILE_WIDTH
                files[ref.path] = b"".join(rows[level][first : first + ref.width])
                if level == 0:
                    bundle = entries[first : first + ref.width]
                    files[tiles.bundle_at(size, ref.index).path] = tiles.encode_bundle(bundle)
    return files


def publish(code: str, entries: Sequence[bytes], sizes: Sequence[int] = (), *more: NoteSigner) -> Files:
    """A whole ledger without payloads."""
    return tree(entries, sizes) | {"checkpoint": checkpoint(code, entries, *more)}


@dataclass
class Scribe:
    """Writes statements of one country, sealed to the auditor."""

    code: str
    now_ms: int = START_MS
    leaves: list[Leaf] = field(default_factory=list)
    payloads: Files = field(default_factory=dict)

    def record(
        self, shared: SharedPart, private: PrivatePart | None = None, at_ms: int | None = None
    ) -> Leaf:
        """One more entry, a second after the one before."""
        self.now_ms = self.now_ms + 1000 if at_ms is None else at_ms
        random = counter_random(f"{self.code}/{len(self.leaves)}")
        statement = s.Statement(shared, private or NoPrivatePart())
        leaf, box, _ = make_entry(statement, self.now_ms, bytes(32), [public_key(AUDITOR)], random)
        self.leaves.append(leaf)
        self.payloads[payload_path(leaf.leaf_hash)] = box.to_bytes()
        return leaf

    def begin(self) -> Scribe:
        """The first entry."""
        shared = s.NodeInitialised(
            exchange_id=bytes(16), country=self.code, identity_key=bytes(32), origin=origin_of(self.code)
        )
        self.record(shared, s.Installed(authority=f"Police of {self.code}", software="scribe"))
        return self

    @property
    def entries(self) -> list[bytes]:
        """The bytes of the leaves."""
        return [leaf.to_bytes() for leaf in self.leaves]

    def path(self, index: int) -> str:
        """Where the payload of an entry lies."""
        return payload_path(self.leaves[index].leaf_hash)

    def files(self) -> Files:
        """The ledger as published."""
        return publish(self.code, self.entries) | self.payloads


def countries(exchanges: int = 3) -> tuple[Scribe, Scribe]:
    """The United States have asked Chile so many times; all is well.

    US: 0 is the beginning, then 2n-1 an intent and 2n its result. CL: then 3n-2 an acceptance, 3n-1 an answer,
    3n the claim.
    """
    us, cl = Scribe("US").begin(), Scribe("CL").begin()
    for number in range(1, exchanges + 1):
        leaf = us.record(intent(number), REQUESTED).leaf_hash
        cl.record(accepted(number, leaf))
        cl.record(answered(number), s.Computed(records=1, compute_ms=1))
        us.record(result(number))
        cl.record(claimed(number))
    return us, cl


def leaves(count: int) -> list[bytes]:
    """Well-formed entries whose payloads nobody has."""
    made = []
    for number in range(count):
        digest = hashlib.sha256(b"leaf %d" % number).digest()
        made.append(Leaf(exchange=digest, time_ms=START_MS + number, commitment=digest[::-1]).to_bytes())
    return made
