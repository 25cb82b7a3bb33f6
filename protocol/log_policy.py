"""Policy files: which log is meant, which witnesses count, and how many of them a checkpoint needs.

Source: C2SP tlog-policy; specs/ledger.md, section "Policy".
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

from crypto.checkpoint_text import split_checkpoint
from crypto.errors import BadEncoding, BadSignature, InputError
from crypto.note import LogVerifier, Note, NoteVerifier, WitnessVerifier, open_note, parse_vkey
from crypto.textforms import decode_decimal

MAX_POLICY_BYTES: Final = 512 * 1024
"""Room for all logs and witnesses with ML-DSA-44 keys of 1.8 kB each."""
MAX_LOGS: Final = 32
MAX_WITNESSES: Final = 128
MAX_GROUPS: Final = 32


class BadPolicy(InputError):
    """A policy file that is not in the form of C2SP tlog-policy; names the line."""

    code = "bad-policy"


@dataclass(frozen=True)
class Group:
    """Met when at least ``threshold`` of its members are."""

    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True)
class LogPolicy:
    """A parsed policy file.

    Attributes:
        logs: Keys of the logs that are accepted, Ed25519 or ML-DSA-44; each of them alone is enough.
        witnesses: Keys by the name they have in this file, cosignature/v1 or ML-DSA-44.
        groups: Groups by name.
        quorum: Name of the witness or group that must have cosigned; None for ``quorum none``.
        urls: Where a witness takes checkpoints, by its name, for those that say so.
    """

    logs: tuple[LogVerifier, ...]
    witnesses: dict[str, WitnessVerifier]
    groups: dict[str, Group]
    quorum: str | None
    urls: dict[str, str] = field(default_factory=dict)

    @property
    def verifiers(self) -> tuple[NoteVerifier, ...]:
        """Every key of the policy."""
        return (*self.logs, *self.witnesses.values())

    def unsigned(self, note: Note, origin: str) -> str | None:
        """Why an opened checkpoint of ``origin`` lacks a signature of its log; None if it does not.

        Of each type of key that the policy lists for that log, one must have signed: taking away the
        post-quantum line of a checkpoint must not go unseen. Keys of one type are alternatives (rotation).
        """
        keys = [key for key in self.logs if key.name == origin]
        if not keys:
            return "the origin is not the name of a log of the policy"
        for kind in sorted({key.kind for key in keys}):
            if not any(note.is_signed_by(key) for key in keys if key.kind == kind):
                return f"no key of type 0x{kind.hex()} of the policy signed the checkpoint"
        return None

    def shortfall(self, data: bytes) -> str | None:
        """Why the bytes of a checkpoint note do not satisfy this policy as a whole; None if they do."""
        try:
            note = open_note(data, self.verifiers)
            origin = split_checkpoint(note.text).origin
        except (BadEncoding, BadSignature) as error:
            return str(error)
        return self.unsigned(note, origin) or self.missing(note)

    def missing(self, note: Note) -> str | None:
        """Why an opened note falls short of the quorum; None if it does not."""
        if self.quorum is None:
            return None
        signed = {name for name, key in self.witnesses.items() if note.is_signed_by(key)}
        if self._met(self.quorum, signed):
            return None
        return (
            f"the quorum {self.quorum} is not met: {len(signed)} of {len(self.witnesses)} witnesses cosigned"
        )

    def _met(self, name: str, signed: set[str]) -> bool:
        group = self.groups.get(name)
        if group is None:
            return name in signed
        return sum(self._met(member, signed) for member in group.members) >= group.threshold

    def met_by(self, keys: Collection[bytes]) -> bool:
        """Whether the cosignatures of these keys alone would be enough; a quorum of none asks for nobody."""
        signed = {name for name, key in self.witnesses.items() if key.key_bytes in keys}
        return self.quorum is None or self._met(self.quorum, signed)


def log_policy(keys: Sequence[LogVerifier]) -> bytes:
    """The policy file of logs (or of one log's keys) without witnesses."""
    return ("".join(f"log {key.vkey}\n" for key in keys) + "quorum none\n").encode()


def single_log_policy(log: LogVerifier) -> bytes:
    """The policy file of one key of one log without witnesses."""
    return log_policy([log])


def parse_policy(data: bytes) -> LogPolicy:
    """Read a policy file; raise ``BadPolicy`` naming the line that is wrong."""
    if len(data) > MAX_POLICY_BYTES:
        raise BadPolicy(f"policy: longer than {MAX_POLICY_BYTES} bytes")
    if any((byte < 0x20 and byte not in (0x09, 0x0A)) or byte == 0x7F for byte in data):
        raise BadPolicy("policy: a control character")
    if data and not data.endswith(b"\n"):
        raise BadPolicy("policy: the last line does not end in a newline")
    reader = _Reader()
    # Names are opaque bytes for the format; surrogate escapes keep them apart without judging their encoding.
    for number, line in enumerate(data.decode("utf-8", "surrogateescape").split("\n"), 1):
        fields = [field for field in line.replace("\t", " ").split(" ") if field]
        if fields and not fields[0].startswith("#"):
            try:
                reader.take(fields)
            except (BadEncoding, BadPolicy) as error:
                raise BadPolicy(f"policy, line {number}: {error}") from None
    return reader.finish()


class _Reader:
    def __init__(self) -> None:
        self.logs: list[LogVerifier] = []
        self.witnesses: dict[str, WitnessVerifier] = {}
        self.urls: dict[str, str] = {}
        self.groups: dict[str, Group] = {}
        self.quorum: str | None = None
        self.quorum_seen = False
        self.members: set[str] = set()

    def take(self, fields: list[str]) -> None:
        word, args = fields[0], fields[1:]
        if word == "log" and len(args) in (1, 2):
            self._log(args[0])
        elif word == "witness" and len(args) in (2, 3):
            self._witness(args[0], args[1])
            if len(args) == 3:
                self.urls[args[0]] = args[2]
        elif word == "group" and len(args) >= 3:
            self._group(args[0], args[1], args[2:])
        elif word == "quorum" and len(args) == 1:
            self._quorum(args[0])
        else:
            raise BadPolicy("neither a log, a witness, a group nor a quorum line")

    def _log(self, vkey: str) -> None:
        key = parse_vkey(vkey)
        if not isinstance(key, LogVerifier):
            raise BadPolicy("a log needs a key of type 0x01 or 0x06")
        if any(key.key_bytes == other.key_bytes for other in self.logs):
            raise BadPolicy("a log key for the second time")
        if len(self.logs) == MAX_LOGS:
            raise BadPolicy(f"more than {MAX_LOGS} logs")
        self.logs.append(key)

    def _witness(self, name: str, vkey: str) -> None:
        self._new_name(name)
        key = parse_vkey(vkey)
        if not isinstance(key, WitnessVerifier):
            raise BadPolicy("a witness needs a key of type 0x04 or 0x06")
        if any(key.key_bytes == other.key_bytes for other in self.witnesses.values()):
            raise BadPolicy("a witness key for the second time")
        if len(self.witnesses) == MAX_WITNESSES:
            raise BadPolicy(f"more than {MAX_WITNESSES} witnesses")
        self.witnesses[name] = key

    def _group(self, name: str, threshold: str, members: list[str]) -> None:
        self._new_name(name)
        if len(self.groups) == MAX_GROUPS:
            raise BadPolicy(f"more than {MAX_GROUPS} groups")
        for member in members:
            if member not in self.witnesses and member not in self.groups:
                raise BadPolicy("a group member that no earlier line defines")
            if member in self.members:
                raise BadPolicy("a name that is a group member for the second time")
            self.members.add(member)
        words = {"any": 1, "all": len(members)}
        count = words[threshold] if threshold in words else decode_decimal(threshold, "group threshold")
        if not 1 <= count <= len(members):
            raise BadPolicy(f"a threshold of {count} for {len(members)} members")
        self.groups[name] = Group(count, tuple(members))

    def _quorum(self, name: str) -> None:
        if self.quorum_seen:
            raise BadPolicy("a second quorum line")
        if name != "none" and name not in self.witnesses and name not in self.groups:
            raise BadPolicy("a quorum that no earlier line defines")
        self.quorum_seen = True
        self.quorum = None if name == "none" else name

    def _new_name(self, name: str) -> None:
        if name == "none" or name in self.witnesses or name in self.groups:
            raise BadPolicy("a name that is already taken")

    def finish(self) -> LogPolicy:
        if not self.quorum_seen:
            raise BadPolicy("policy: no quorum line")
        return LogPolicy(tuple(self.logs), self.witnesses, self.groups, self.quorum, self.urls)
