"""What runs inside a worker process of the search engine: keys, prepared queries and encoded blocks, cached.

The functions here are called by name from ``node.engine``; each process holds its own caches. A worker gets
the storage key once, through the pipe that starts it, and never shows it.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import mmap
import os
import signal
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import lru_cache, partial
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from crypto.contexts import Context, hash_fields
from crypto.errors import BadKeys, ConcordatError, LocalFault
from crypto.hitsearch.passes import answer_all, encrypt_all, open_all, prepare_all
from crypto.profiles import SearchProfile
from node.blocks import BlockRef, load_block

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Scheme:
    """The encrypted search as a value: the real one, or, in tests only, its plain twin."""

    plan_for: Callable[[SearchProfile], Any]
    requester: type[Any]
    responder: type[Any]
    mask_stream: Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes that one worker may take: for the keys of requesters, and for queries that are being answered."""

    keys: int
    queries: int


@dataclass(frozen=True, slots=True)
class Spot:
    """Where an encoded block lies in the shared memory, or, if it is not there yet, shall lie."""

    offset: int
    is_filled: bool


class Budget(Generic[T]):
    """A cache that forgets what was used longest ago once its contents exceed a number of bytes.

    What was used last stays whatever its size: the next block wants it.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()
        self._used = 0

    def get(self, key: Hashable, make: Callable[[], tuple[T, int]]) -> T:
        """The cached value, or a new one from ``make``, which returns it with its size in bytes."""
        if key in self._items:
            self._items.move_to_end(key)
            return self._items[key][0]
        value, size = make()
        while self._items and self._used + size > self._limit:
            _, (_, gone) = self._items.popitem(last=False)
            self._used -= gone
        self._items[key] = (value, size)
        self._used += size
        return value


@dataclass(slots=True)
class _Worker:
    scheme: Scheme
    seal_key: bytes
    encoded: mmap.mmap
    responders: Budget[Any]
    prepared: Budget[Any]


_worker: _Worker | None = None


def _leave_with_parent(parent: int) -> None:
    """A killed node must not leave workers behind; the pool's own pipes do not notice."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def start(scheme: Scheme, seal_key: bytes, memory: Memory, encoded: mmap.mmap, parent: int) -> None:
    """Initialise the process. Ctrl-C is the node's business, and the node's event loop goes first."""
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with contextlib.suppress(OSError):
        os.nice(5)
    threading.Thread(target=_leave_with_parent, args=(parent,), daemon=True).start()
    _worker = _Worker(scheme, seal_key, encoded, Budget(memory.keys), Budget(memory.queries))


def _me() -> _Worker:
    if _worker is None:
        raise LocalFault("the worker was not started")
    return _worker


@lru_cache(maxsize=16)
def _plan(search: SearchProfile) -> Any:
    return _me().scheme.plan_for(search)


def main(pipe: Connection, scheme: Scheme, seal_key: bytes, memory: Memory, parent: int) -> None:
    """The whole life of a worker: calls in, results out, until the other end is closed."""
    with contextlib.suppress(EOFError, OSError):
        descriptor = recv_handle(pipe)
        encoded = mmap.mmap(descriptor, pipe.recv())
        os.close(descriptor)
        start(scheme, seal_key, memory, encoded, parent)
        while True:
            function, arguments = pipe.recv()
            pipe.send(run(function, arguments))


def run(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[bool, Any]:
    """Call a function of this module: (True, its result), or (False, a typed error without any details)."""
    try:
        return True, function(*arguments)
    except ConcordatError as error:
        return False, error
    except Exception as error:  # noqa: BLE001 - its details may hold what must not leave the worker
        return False, LocalFault(f"a worker failed at {function.__name__}: {type(error).__name__}")


def ping() -> int:
    """The process id; also proves that the process started."""
    return os.getpid()


def _responder(search: SearchProfile, keys_path: Path, keys_hash: bytes) -> Any:
    def make() -> tuple[Any, int]:
        plan = _plan(search)
        data = keys_path.read_bytes()
        if len(data) != plan.keys_bytes:
            raise BadKeys(f"evaluation keys of this plan have {plan.keys_bytes} bytes, not {len(data)}")
        if hash_fields(Context.EVALUATION_KEYS, data) != keys_hash:
            raise BadKeys("the evaluation keys do not have the announced hash")
        # The seeded half expands when the keys are loaded, and words of up to 60 bits take 64.
        return _me().scheme.responder(plan, data), 3 * len(data)

    return _me().responders.get((search, keys_hash), make)


def check_keys(search: SearchProfile, keys_path: Path, keys_hash: bytes) -> None:
    """Load uploaded evaluation keys as a search would; raises ``BadKeys``."""
    _responder(search, keys_path, keys_hash)


def search_block(
    search: SearchProfile,
    keys_path: Path,
    keys_hash: bytes,
    query: bytes,
    probes: int,
    block: BlockRef,
    seed: bytes,
    exchange_id: bytes,
    attempt: int,
    spot: Spot | None,
) -> bytes:
    """Answer one gallery block; raises ``BadKeys``, ``BadCiphertext`` or a fault of the storage."""
    worker = _me()
    responder = _responder(search, keys_path, keys_hash)

    def stream(index: int | None, probe: int) -> Any:
        return worker.scheme.mask_stream(seed, exchange_id, index, attempt, probe)

    def prepare() -> tuple[Any, int]:
        prepared = prepare_all(responder, query, probes, partial(stream, None))
        return prepared, probes * prepared_bytes(search, worker.scheme)

    # Under everything that its randomness depends on: another query with the same ciphertext is prepared anew.
    attempt_of = (search, keys_hash, seed, exchange_id, attempt, hashlib.sha256(query).digest())
    prepared = worker.prepared.get(attempt_of, prepare)
    searched = load_block(block, worker.seal_key) if spot is None else _encoded(responder, block, spot)
    return answer_all(responder, prepared, searched, partial(stream, block.index))


def _encoded(responder: Any, block: BlockRef, spot: Spot) -> Any:
    """The block in the shared memory; encoded there first if it is not."""
    worker = _me()
    shape = responder.encoded_shape
    words = np.frombuffer(worker.encoded, np.uint64, math.prod(shape), spot.offset).reshape(shape)
    if spot.is_filled:
        return responder.encoded(words)
    return responder.encode(load_block(block, worker.seal_key), words)


def warm_block(
    search: SearchProfile, keys_path: Path, keys_hash: bytes, block: BlockRef, spot: Spot | None
) -> None:
    """Encode a block ahead of the first query that would otherwise wait for it."""
    if spot is not None and not spot.is_filled:
        _encoded(_responder(search, keys_path, keys_hash), block, spot)


def encoded_bytes(search: SearchProfile, scheme: Scheme) -> int:
    """Memory of one encoded block: one diagonal per entry, in NTT form at every prime."""
    plan = scheme.plan_for(search)
    return int(plan.search_level * 8 * search.n * plan.degree)


def prepared_bytes(search: SearchProfile, scheme: Scheme) -> int:
    """Memory of a probe in a worker: all its small rotations, itself, and three guards at three primes."""
    plan = scheme.plan_for(search)
    return int(16 * plan.degree * (plan.search_level * (plan.baby_steps + 1) + 9))


def make_set(search: SearchProfile, secret: bytes | None) -> tuple[bytes, bytes]:
    """The evaluation keys of a secret, or of a fresh one: the secret, and the hash of the keys."""
    kind, plan = _me().scheme.requester, _plan(search)
    requester = kind.generate(plan) if secret is None else kind.load(plan, secret)
    return requester.secret(), hash_fields(Context.EVALUATION_KEYS, bytes(requester.evaluation_keys()))


def write_set(search: SearchProfile, secret: bytes, path: Path) -> int:
    """Make the evaluation keys of a secret again and write them to a new file; their length."""
    data = bytes(_me().scheme.requester.load(_plan(search), secret).evaluation_keys())
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return len(data)


@lru_cache(maxsize=4)
def _requester(search: SearchProfile, secret: bytes) -> Any:
    """Loading derives the secret key anew, which takes longer than to encrypt or to open a block."""
    return _me().scheme.requester.load(_plan(search), secret)


def encrypt(search: SearchProfile, secret: bytes, templates: Any) -> bytes:
    """Encrypt the probes of a query, int8 of shape (probes, n)."""
    return encrypt_all(_requester(search, secret), templates)


def open_answer(search: SearchProfile, secret: bytes, blocks: list[bytes]) -> list[list[tuple[int, int]]]:
    """Slot and token of the hits, block by block; nothing else of the answer leaves the worker."""
    requester = _requester(search, secret)
    return [open_all(requester, one) for one in blocks]
