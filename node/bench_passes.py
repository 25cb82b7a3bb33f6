"""Measurements of the encrypted search beyond one gallery: the slope between two, several probes, several workers.

Processor time where something is compared within one process; wall time where processes share the work.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from crypto.contexts import Context, hash_fields
from crypto.hitsearch import MaskStream, Requester, Responder, plan_for
from crypto.profiles import Profile, SearchProfile
from crypto.sealing import NONCE_BYTES, seal
from node.bench_search import Report, gallery_blocks, probe_templates
from node.blocks import BlockRef, block_aad
from node.daemon import real_scheme
from node.engine import Engine, SearchJob

Blocks = list[NDArray[np.int8]]
ROUNDS: Final = 2
"""Of each measurement the better one counts: what disturbs it only ever adds."""
TURNS: Final = 4
_ID: Final = b"benchmark-passes"


def _alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function gives in a process of its own, which takes its memory with it."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def _stream(block: int | None) -> MaskStream:
    return MaskStream(os.urandom(32), _ID, block, 0)


def _core(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _best(work: Callable[[], object]) -> float:
    return min(_core(work) for _ in range(ROUNDS))


def measure_slope(profile: Profile, small: int, large: int, report: Report) -> dict[str, Any]:
    """Core time of a warm query with one probe at two sizes of a gallery, and what each candidate adds."""
    plan = plan_for(profile.search)
    blocks = gallery_blocks(profile, plan, large)
    requester = Requester.generate(plan)
    query = requester.encrypt(probe_templates(profile, 1)[0])
    few = -(-small // plan.block_size)
    report(f"slope between {few} and {len(blocks)} blocks, encoded")
    seconds = _alone(_slope, profile.search, requester.evaluation_keys(), query, blocks, few)
    candidates = (len(blocks) - few) * plan.block_size
    return {
        "slope_candidates": [few * plan.block_size, len(blocks) * plan.block_size],
        "slope_core_s": seconds,
        "marginal_core_us_per_candidate": (seconds[1] - seconds[0]) / candidates * 1e6,
    }


def _slope(search: SearchProfile, keys: bytes, query: bytes, blocks: Blocks, few: int) -> list[float]:
    responder = Responder(plan_for(search), keys)
    encoded = [responder.encode(block) for block in blocks]

    def ask(some: list[Any]) -> None:
        prepared = responder.prepare(query, _stream(None))
        for index, block in enumerate(some):
            responder.answer(prepared, block, _stream(index))

    return [_best(partial(ask, some)) for some in (encoded[:few], encoded)]


def measure_probes(profile: Profile, candidates: int, probes: int, report: Report) -> dict[str, Any]:
    """Core time of several probes of one requester: one pass over the gallery, against as many passes."""
    plan = plan_for(profile.search)
    blocks = gallery_blocks(profile, plan, candidates)
    requester = Requester.generate(plan)
    queries = [requester.encrypt(one) for one in probe_templates(profile, probes)]
    report(f"{probes} probes in one pass, and in {probes} passes, over {len(blocks)} block(s)")
    found = _alone(_probes, profile.search, requester.evaluation_keys(), queries, blocks)
    count = len(blocks) * plan.block_size
    return {
        "probes": probes,
        **{f"pass_core_s_{name}": value for name, value in found.items()},
        "pass_core_us_per_candidate_cold": found["cold"] / count * 1e6,
        "pass_core_us_per_candidate": found["warm"] / count * 1e6,
        "pass_gain_cold": found["separate_cold"] / found["cold"],
        "pass_gain_warm": found["separate_warm"] / found["warm"],
    }


def _probes(search: SearchProfile, keys: bytes, queries: list[bytes], blocks: Blocks) -> dict[str, float]:
    responder = Responder(plan_for(search), keys)
    encoded = [responder.encode(block) for block in blocks]

    def ask(some: list[bytes], gallery: list[Any]) -> None:
        prepared = [responder.prepare(one, _stream(None)) for one in some]
        for index, block in enumerate(gallery):
            responder.answer_many(prepared, block, [_stream(index) for _ in some])

    def separately(gallery: list[Any]) -> None:
        for one in queries:
            ask([one], gallery)

    return {
        "cold": _core(lambda: ask(queries, blocks)),
        "separate_cold": _core(lambda: separately(blocks)),
        "warm": _core(lambda: ask(queries, encoded)),
        "separate_warm": _core(lambda: separately(encoded)),
    }


def measure_workers(profile: Profile, candidates: int, workers: int, report: Report) -> dict[str, Any]:
    """Wall time of a warm query in the engine of a node: one worker, and several that share the gallery."""
    plan = plan_for(profile.search)
    requester = Requester.generate(plan)
    keys = requester.evaluation_keys()
    query = requester.encrypt(probe_templates(profile, 1)[0])
    seal_key = os.urandom(32)
    with TemporaryDirectory() as name:
        directory = Path(name)
        refs = _sealed(directory, gallery_blocks(profile, plan, candidates), profile, seal_key)
        (directory / "keys").write_bytes(keys)
        keys_hash = hash_fields(Context.EVALUATION_KEYS, keys)
        job = SearchJob(profile.search, directory / "keys", keys_hash, query, _ID, os.urandom(32), refs)
        encoded = len(refs) * plan.search_level * 8 * plan.profile.n * plan.degree
        report(f"1 worker and {workers} workers in turns, {len(refs)} block(s), encoded")
        (wall_one, core_one), (wall_all, core_all) = asyncio.run(
            _in_turns(job, seal_key, (1, workers), [encoded + (count << 30) for count in (1, workers)])
        )
    return {
        "wall_s_one_worker": wall_one,
        "wall_s_workers": wall_all,
        "worker_gain": wall_one / wall_all,
        "core_s_one_worker": core_one,
        "core_s_busiest_worker": core_all,
        "worker_gain_core": core_one / core_all,
        # What processes gain here that share nothing: neighbours on the machine take from this, too.
        "machine_gain": _machine_gain(workers),
        "load": [round(value, 1) for value in os.getloadavg()],
    }


def _machine_gain(workers: int) -> float:
    """How much more so many processes compute than one, with nothing but a processor."""
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        list(pool.map(_spin, range(workers)))
        alone = min(pool.submit(_spin, 0).result() for _ in range(ROUNDS))
        together = min(max(pool.map(_spin, range(workers))) for _ in range(ROUNDS))
    return workers * alone / together


def _spin(_: int) -> float:
    start = time.perf_counter()
    value = 3
    for _ in range(10_000_000):
        value = value * 5 % 1_000_003
    return time.perf_counter() - start


def _core_of(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _in_turns(
    job: SearchJob, seal_key: bytes, workers: Sequence[int], memory: Sequence[int]
) -> list[tuple[float, float]]:
    """For engines of so many workers: wall time of one search, and core time of its busiest worker; the best of each.

    The engines take turns, so that what the machine does besides meets both.
    """
    async with AsyncExitStack() as stack:
        engines = []
        for count, encoded in zip(workers, memory, strict=True):
            engine = Engine(real_scheme(), seal_key, count, encoded * 8 // 5)
            stack.push_async_callback(engine.close)
            await engine.start()
            for block in job.blocks:
                await engine.warm(job.search, job.keys_path, job.keys_hash, block)
            engines.append(engine)
        best = [(float("inf"), float("inf"))] * len(engines)
        for _ in range(TURNS):
            for number, engine in enumerate(engines):
                wall, core = await _one_search(engine, job)
                best[number] = min(best[number][0], wall), min(best[number][1], core)
        return best


async def _one_search(engine: Engine, job: SearchJob) -> tuple[float, float]:
    before = {one: _core_of(one) for one in engine.worker_pids}
    start = time.perf_counter()
    # Each time other masks, as in a node: nothing that was prepared is used again.
    await engine.search(replace(job, seed=os.urandom(32)), lambda *_: None)
    wall = time.perf_counter() - start
    return wall, max(_core_of(one) - since for one, since in before.items())


def _sealed(directory: Path, blocks: Blocks, profile: Profile, key: bytes) -> tuple[BlockRef, ...]:
    refs = []
    for index, block in enumerate(blocks):
        plain, version = block.tobytes(), bytes(16)
        aad = block_aad("block", profile.modality, profile.digest, version, index)
        path = directory / f"{index:06d}.block"
        path.write_bytes(seal(key, Context.GALLERY_BLOCK, aad, plain, os.urandom(NONCE_BYTES)))
        refs.append(
            BlockRef(
                str(path),
                profile.modality,
                profile.digest,
                version,
                index,
                profile.n,
                hashlib.sha256(plain).digest(),
            )
        )
    return tuple(refs)
