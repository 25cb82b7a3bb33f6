"""A witness's directory: its key, the logs it knows, and the newest checkpoint of each.

``witness.key`` (0600), ``logs`` (a tlog-policy file of log lines), ``checkpoints/<SHA-256 of origin>``,
``forks/<SHA-256 of origin>.seen`` and ``.shown``, ``lock``. One process at a time.

Source: C2SP tlog-witness; specs/ledger.md, section "The witness endpoint".
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from crypto.checkpoint_text import split_checkpoint
from crypto.errors import BadEncoding
from crypto.note import (
    MAX_NOTE_BYTES,
    LogVerifier,
    WitnessSigner,
    WitnessVerifier,
    check_name,
    parse_note,
    witness_signers,
)
from crypto.textforms import decode_base64, encode_base64
from node.errors import BadConfig, NodeExists, StateDamaged
from node.files import Files
from protocol.log_policy import MAX_POLICY_BYTES, BadPolicy, log_policy, parse_policy
from protocol.witness import MovedOn

KEY: Final = "witness.key"
LOGS: Final = "logs"
CHECKPOINTS: Final = "checkpoints"
FORKS: Final = "forks"
LOCK: Final = "lock"
_KEY_HEADER: Final = "concordat-witness-key-v1"
_MAX_KEY_FILE: Final = 1024


def origin_hash(origin: str) -> str:
    """SHA-256 of an origin in lower-case hex, as the monitoring path has it."""
    return hashlib.sha256(origin.encode()).hexdigest()


def create_witness(directory: Path, name: str, seed: bytes, files: Files | None = None) -> None:
    """Make a witness in a directory that does not exist or is empty.

    Raises:
        NodeExists: The directory is not empty.
        BadConfig: The name cannot stand in a signature line.
    """
    files = files or Files()
    try:
        check_name(name)
    except BadEncoding as error:
        raise BadConfig(str(error)) from None
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise NodeExists(f"{directory} is not empty")
    for name_of_folder in (CHECKPOINTS, FORKS):
        (directory / name_of_folder).mkdir(mode=0o700)
    files.write_atomic(directory / LOGS, log_policy([]))
    # The key comes last: a directory with a key is a witness.
    files.write_atomic(directory / KEY, f"{_KEY_HEADER} {name} {encode_base64(seed)}\n".encode())
    files.sync_directory(directory.parent)


class WitnessDirectory:
    """An open witness: a ``protocol.witness.WitnessStore`` on files."""

    def __init__(self, directory: Path, files: Files, stack: contextlib.ExitStack) -> None:
        self._directory = directory
        self._files = files
        self._stack = stack
        self._mutex = threading.Lock()
        self.name, self._seed = self._read_key()
        self._logs = self._read_logs()

    @classmethod
    def open(cls, directory: Path, files: Files | None = None) -> Self:
        """Open a witness for the only process that may.

        Raises:
            BadConfig: No witness, or files of it that are not in their form.
            AlreadyLocked: Another process has it.
        """
        files = files or Files()
        if not (directory / KEY).is_file():
            raise BadConfig(f"{directory} is not the directory of a witness")
        with contextlib.ExitStack() as stack:
            stack.enter_context(files.lock(directory / LOCK))
            store = cls(directory, files, stack)
            store._stack = stack.pop_all()
            return store

    def close(self) -> None:
        """Release the lock."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Keys.

    def signers(self, time_s: int) -> Sequence[WitnessSigner]:
        """The keys of this witness at a time in seconds since 1970."""
        return witness_signers(self.name, self._seed, time_s)

    @property
    def verifiers(self) -> Sequence[WitnessVerifier]:
        """What others need to check this witness."""
        return [signer.verifier for signer in self.signers(0)]

    @property
    def logs(self) -> Sequence[LogVerifier]:
        """The keys of all logs that this witness knows."""
        return self._logs

    def add_logs(self, keys: Sequence[LogVerifier]) -> None:
        """Know further logs, or further keys of them; ``BadConfig`` if a key is there already."""
        data = log_policy([*self._logs, *keys])
        try:
            logs = parse_policy(data).logs
        except BadPolicy as error:
            raise BadConfig(str(error)) from None
        self._files.write_atomic(self._directory / LOGS, data)
        self._logs = logs

    # The store of the protocol.

    def log_keys(self, origin: str) -> Sequence[LogVerifier]:
        """As ``WitnessStore.log_keys``."""
        return [key for key in self._logs if key.name == origin]

    def latest(self, origin: str) -> bytes | None:
        """As ``WitnessStore.latest``."""
        return self.by_hash(origin_hash(origin))

    def by_hash(self, name: str) -> bytes | None:
        """The checkpoint on record under an origin hash (64 hex digits)."""
        return self._files.read(self._directory / CHECKPOINTS / name, MAX_NOTE_BYTES)

    def replace(self, origin: str, expected: bytes | None, note: bytes) -> None:
        """As ``WitnessStore.replace``: compare, write and sync under one lock."""
        with self._mutex:
            current = self.latest(origin)
            if current != expected:
                size = 0 if current is None else split_checkpoint(parse_note(current).text).size
                raise MovedOn(size)
            path = self._directory / CHECKPOINTS / origin_hash(origin)
            # Not beside the records: a name there is an origin hash.
            self._files.write_atomic(path, note, self._directory)

    def keep_fork(self, origin: str, seen: bytes, shown: bytes) -> None:
        """As ``WitnessStore.keep_fork``; the first fork of a log convicts it, more would only fill the disk."""
        with self._mutex:
            path = self._directory / FORKS / origin_hash(origin)
            if not self._files.exists(path.with_suffix(".shown")):
                self._files.write_atomic(path.with_suffix(".seen"), seen, self._directory)
                self._files.write_atomic(path.with_suffix(".shown"), shown, self._directory)

    def forks(self) -> list[str]:
        """Hashes of the origins of which a fork is kept in ``forks/``."""
        names = self._files.list(self._directory / FORKS)
        return [name.removesuffix(".shown") for name in names if name.endswith(".shown")]

    def _read_key(self) -> tuple[str, bytes]:
        path = self._directory / KEY
        if path.stat().st_mode & 0o077:
            raise BadConfig(f"{path} can be read by others: chmod 600")
        data = self._files.read(path, _MAX_KEY_FILE) or b""
        try:
            header, name, seed = data.decode().removesuffix("\n").split(" ")
            check_name(name)
            secret = decode_base64(seed, "witness key")
        except (ValueError, BadEncoding):
            raise StateDamaged(f"{path} is not the key of a witness") from None
        if header != _KEY_HEADER or len(secret) != 32:
            raise StateDamaged(f"{path} is not the key of a witness")
        return name, secret

    def _read_logs(self) -> tuple[LogVerifier, ...]:
        path = self._directory / LOGS
        try:
            return parse_policy(self._files.read(path, MAX_POLICY_BYTES) or b"").logs
        except BadPolicy as error:
            raise BadConfig(f"{path}: {error}") from None


def new_seed() -> bytes:
    """32 random bytes of the operating system."""
    return os.urandom(32)
