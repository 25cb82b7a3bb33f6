"""Evidence against a log: two checkpoints that it signed and that no append-only log can both have signed.

One file holds everything: both signed checkpoints as they came, and the proof material. Anybody who has the log's
key can check it with this module, or by hand with any tool that reads C2SP checkpoints.

    fork          the same size, two roots
    rollback      a smaller tree with an entry that is later than the larger one
    inconsistent  the proof that was given from the smaller to the larger does not verify

The first convicts by itself. The second relies on the time at which the holder stored the larger checkpoint; the
third stands until the log shows a proof that verifies, which an honest one can at any time.

Source: specs/ledger.md, section "Conflicts".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from crypto import merkle
from crypto.contexts import Context, hash_fields
from crypto.errors import BadEncoding, BadProof, PeerFault
from crypto.note import MAX_NOTE_BYTES, Ed25519Verifier, MlDsaVerifier, parse_vkey
from crypto.textforms import decode_base64, decode_decimal, encode_base64
from protocol import limits
from protocol.checkpoint import AnyLog, LogKeys, open_checkpoint
from protocol.leaf import MAX_LEAF_BYTES, Leaf

HEADER: Final = "concordat/ledger-conflict/v1"
MAX_CONFLICT_BYTES: Final = 2 * MAX_NOTE_BYTES + 64 * 1024
RULES: Final = ("fork", "rollback", "inconsistent")

Rule = Literal["fork", "rollback", "inconsistent"]


class BadConflict(PeerFault):
    """A conflict file that is malformed, or whose parts do not contradict each other."""

    code = "bad-conflict"


@dataclass(frozen=True)
class Conflict:
    """What a log is accused of, with everything needed to check it.

    Attributes:
        rule: See the module.
        log: The log's verifier key line.
        holder: The country that held ``seen`` and was shown ``shown``.
        seen_ms: When the holder stored ``seen``, by its clock; 0 if that is not known.
        shown_ms: When the holder was shown ``shown``.
        seen: The signed checkpoint that the holder had stored.
        shown: The signed checkpoint that does not go with it.
        proof: The consistency proof that came with ``shown``, or, for a rollback, the inclusion path.
        index: For a rollback, the position of ``entry`` in the tree of ``shown``; else 0.
        entry: For a rollback, the entry; else empty.
        mldsa: The line of the log's ML-DSA-44 key, where the holder knows it: then both keys signed both checkpoints.
    """

    rule: Rule
    log: str
    holder: str
    seen_ms: int
    shown_ms: int
    seen: bytes
    shown: bytes
    proof: tuple[bytes, ...] = ()
    index: int = 0
    entry: bytes = b""
    mldsa: str = ""

    @property
    def digest(self) -> bytes:
        """The name of the file in the holder's ledger; 32 bytes."""
        return hash_fields(Context.CONFLICT, self.to_bytes())

    def to_bytes(self) -> bytes:
        """The file in its one form."""
        lines = [
            HEADER,
            f"rule {self.rule}",
            f"log {self.log}",
            *([f"log {self.mldsa}"] if self.mldsa else []),
            f"holder {self.holder}",
            f"seen-ms {self.seen_ms}",
            f"shown-ms {self.shown_ms}",
            f"index {self.index}",
            f"entry {encode_base64(self.entry)}",
            f"proof {len(self.proof)}",
            *(encode_base64(item) for item in self.proof),
            f"seen {len(self.seen)}",
        ]
        middle = f"shown {len(self.shown)}\n".encode()
        return "\n".join(lines).encode() + b"\n" + self.seen + middle + self.shown


def read_conflict(data: bytes) -> Conflict:
    """Parse a conflict file; what it says is not yet checked.

    Raises:
        BadConflict: Not in its one form.
    """
    if len(data) > MAX_CONFLICT_BYTES:
        raise BadConflict(f"a conflict file of more than {MAX_CONFLICT_BYTES} bytes")
    try:
        conflict = _Lines(data).conflict()
    except (BadEncoding, UnicodeDecodeError) as error:
        raise BadConflict(f"conflict file: {error}") from None
    if conflict.to_bytes() != data:
        raise BadConflict("conflict file: not in its one form")
    return conflict


class _Lines:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def conflict(self) -> Conflict:
        if self._line() != HEADER:
            raise BadConflict("not a conflict file")
        rule = self._field("rule")
        if rule not in RULES:
            raise BadConflict("conflict file: no such rule")
        log = self._field("log")
        mldsa = self._field("log") if self._data.startswith(b"log ", self._at) else ""
        holder = self._field("holder")
        seen_ms, shown_ms, index = (self._number(name) for name in ("seen-ms", "shown-ms", "index"))
        entry = decode_base64(self._field("entry"), "entry")
        count = self._number("proof")
        if count > merkle.MAX_PROOF_HASHES or len(entry) > MAX_LEAF_BYTES:
            raise BadConflict("conflict file: a proof or an entry above its limit")
        proof = tuple(decode_base64(self._line(), "proof") for _ in range(count))
        seen = self._take(self._number("seen"))
        shown = self._take(self._number("shown"))
        if self._at != len(self._data):
            raise BadConflict("conflict file: bytes after its end")
        return Conflict(rule, log, holder, seen_ms, shown_ms, seen, shown, proof, index, entry, mldsa)  # type: ignore[arg-type]

    def _line(self) -> str:
        end = self._data.find(b"\n", self._at, self._at + 4096)
        if end < 0:
            raise BadConflict("conflict file: it ends too early, or a line is too long")
        line, self._at = self._data[self._at : end], end + 1
        return line.decode()

    def _field(self, name: str) -> str:
        word, space, value = self._line().partition(" ")
        if word != name or not space:
            raise BadConflict(f"conflict file: {name} is missing")
        return value

    def _number(self, name: str) -> int:
        return decode_decimal(self._field(name), name)

    def _take(self, length: int) -> bytes:
        part = self._data[self._at : self._at + length]
        if len(part) != length or length > MAX_NOTE_BYTES:
            raise BadConflict("conflict file: a checkpoint is cut off")
        self._at += length
        return part


def verify_conflict(conflict: Conflict, log: AnyLog) -> str:
    """Check that a conflict convicts a log.

    Args:
        conflict: As read.
        log: The log's key, from somewhere that is trusted: the file itself proves nothing about whose it is.

    Returns:
        What is proven, in words.

    Raises:
        BadConflict: The two checkpoints do not contradict each other under the rule named.
    """
    try:
        seen = open_checkpoint(conflict.seen, log).checkpoint.head
        shown = open_checkpoint(conflict.shown, log).checkpoint.head
    except PeerFault as error:
        raise BadConflict(f"a checkpoint in the file: {error}") from None
    if conflict.rule == "fork":
        if seen.size != shown.size or seen.root == shown.root:
            raise BadConflict("no fork: two sizes, or one root")
        return f"two roots for size {seen.size}, both signed"
    if conflict.rule == "rollback":
        return _verify_rollback(conflict, seen.size, shown.size, shown.root)
    if not seen.size < shown.size:
        raise BadConflict("not inconsistent: the checkpoint shown is not the larger one")
    try:
        merkle.verify_consistency(seen.size, seen.root, shown.size, shown.root, list(conflict.proof))
    except BadProof:
        return f"no valid proof that the tree of {shown.size} entries continues the one of {seen.size}"
    raise BadConflict("not inconsistent: the proof verifies")


def _verify_rollback(conflict: Conflict, seen: int, shown: int, root: bytes) -> str:
    if not shown < seen:
        raise BadConflict("no rollback: the checkpoint shown is not the smaller one")
    try:
        merkle.verify_inclusion(
            merkle.leaf_hash(conflict.entry), conflict.index, shown, list(conflict.proof), root
        )
        leaf = Leaf.from_bytes(conflict.entry)
    except PeerFault as error:
        raise BadConflict(f"the entry of a rollback: {error}") from None
    if not conflict.seen_ms or leaf.time_ms <= conflict.seen_ms + limits.CLOCK_SKEW:
        raise BadConflict("no rollback: the entry may be older than the larger checkpoint")
    return f"an entry made after size {seen} was signed stands in a tree of {shown} entries"


def conflict_log(conflict: Conflict) -> LogKeys:
    """The log keys that the file itself names: to show whom it accuses, not to decide whether it is true."""
    try:
        first = parse_vkey(conflict.log)
        second = parse_vkey(conflict.mldsa) if conflict.mldsa else None
    except BadEncoding as error:
        raise BadConflict(f"conflict file: {error}") from None
    if not isinstance(first, Ed25519Verifier) or not isinstance(second, MlDsaVerifier | None):
        raise BadConflict("conflict file: not a log's keys")
    if second is not None and second.name != first.name:
        raise BadConflict("conflict file: keys of two logs")
    return LogKeys(first, second)


def accused(log: Ed25519Verifier | LogKeys) -> tuple[str, str]:
    """The lines of a log's keys, as a conflict names them: ``log`` and ``mldsa``."""
    second = log.mldsa if isinstance(log, LogKeys) else None
    return log.vkey, "" if second is None else second.vkey
