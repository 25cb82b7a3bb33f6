"""Measurements of the encrypted search, side by side in one run.

Processor time, not wall time, is what a candidate costs; wall time is given beside it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crypto.hitsearch import MaskStream, Plan, Requester, Responder, plan_for
from crypto.hitsearch.kernel_library import description
from crypto.hitsearch.seal import ckks_matrix_seconds
from crypto.profiles import Profile, SearchProfile
from crypto.templates import empty_slot, make_templates
from node.synthetic import images, people

Report = Callable[[str], None]
_BASELINE_COLUMNS = 4096
PER_BLOCK = {"tokens": 1.0, "guards": 1.0, "flooding and last switch": 0.5}  # half of it floods the tokens
PER_QUERY = {"rebuild and re-randomise": 1.0, "validity": 1.0, "canary": 1.0}


@dataclass
class StageClock:
    """Adds up processor seconds by the name of the stage that is running."""

    seconds: dict[str, float] = field(default_factory=dict)
    _running: tuple[str, float] | None = None

    def __call__(self, name: str) -> None:
        self.stop()
        self._running = (name, time.process_time())

    def stop(self) -> None:
        """End the running stage."""
        if self._running is not None:
            name, since = self._running
            self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - since
            self._running = None


def gallery_blocks(profile: Profile, plan: Plan, candidates: int) -> list[NDArray[np.int8]]:
    """Blocks of synthetic people; a last block that is not full is filled with empty slots."""
    count = -(-candidates // plan.block_size)
    enrolled = make_templates(images(people(candidates, 41, profile.d), 1, 42)[:, 0], profile, gallery=True)
    fill = count * plan.block_size - candidates
    if fill:
        enrolled = np.concatenate([enrolled, np.stack([empty_slot(plan.profile.n, i) for i in range(fill)])])
    return list(enrolled.reshape(count, plan.block_size, plan.profile.n))


def probe_templates(profile: Profile, count: int) -> NDArray[np.int8]:
    """As many images of the first person of that gallery, which are not in it."""
    return make_templates(images(people(1, 41, profile.d), 1 + count, 43)[0, 1:], profile)


def _search_part(
    search: SearchProfile, keys: bytes, query: bytes, blocks: list[NDArray[np.int8]], keep: bool
) -> dict[str, Any]:
    """One worker's share: cold, then warm if the encoded blocks are kept. Runs in a process of its own."""
    plan = plan_for(search)
    clock = StageClock()
    responder = Responder(plan, keys, clock)
    clock.stop()
    seed = os.urandom(32)
    wall, core = time.perf_counter(), time.process_time()
    prepared = responder.prepare(query, MaskStream(seed, b"benchmark-cold", None, 1))
    fixed = time.process_time() - core
    answers = [
        responder.answer_once(prepared, block, MaskStream(seed, b"benchmark-cold", i, 1))
        for i, block in enumerate(blocks)
    ]
    clock.stop()
    cold = time.process_time() - core
    cold_wall = time.perf_counter() - wall
    result = {
        "stages": dict(clock.seconds),
        "fixed": fixed,
        "cold": cold,
        "cold_wall": cold_wall,
        "answers": answers,
    }
    if keep:
        encoded = [responder.encode(block) for block in blocks]
        wall, core = time.perf_counter(), time.process_time()
        prepared = responder.prepare(query, MaskStream(seed, b"benchmark-warm", None, 1))
        for i, block in enumerate(encoded):
            responder.answer(prepared, block, MaskStream(seed, b"benchmark-warm", i, 1))
        result["warm"] = time.process_time() - core
        result["warm_wall"] = time.perf_counter() - wall
    return result


def measure_search(
    profile: Profile, candidates: int, workers: int, memory_bytes: int, baseline: bool, report: Report
) -> dict[str, Any]:
    """Search a synthetic gallery and return the figures that ``concordat bench search --json`` prints.

    Args:
        profile: Whose parameters are measured.
        candidates: Size of the gallery.
        workers: Processes that share the blocks.
        memory_bytes: Encoded blocks are kept for the warm figure only when all fit.
        baseline: Also run TenSEAL's matrix product and a plain numpy scan of the same gallery.
        report: Called with a line when a step begins.
    """
    plan = plan_for(profile.search)
    report("synthetic gallery")
    blocks = gallery_blocks(profile, plan, candidates)
    report("keys and probe")
    requester = Requester.generate(plan)
    keys = requester.evaluation_keys()
    probe = probe_templates(profile, 1)[0]
    query = requester.encrypt(probe)
    encoded_bytes = len(blocks) * plan.search_level * 8 * plan.profile.n * plan.degree
    keep = encoded_bytes <= memory_bytes
    shares = [blocks[i::workers] for i in range(workers) if blocks[i::workers]]
    report(f"search with {len(shares)} process(es), cold and {'warm' if keep else 'no warm run: memory'}")
    with ProcessPoolExecutor(len(shares), mp_context=get_context("spawn")) as pool:
        parts = list(
            pool.map(
                _search_part,
                [profile.search] * len(shares),
                [keys] * len(shares),
                [query] * len(shares),
                shares,
                [keep] * len(shares),
            )
        )
    hits = sum(len(requester.open_block(a).hits()) for part in parts for a in part["answers"])
    expected = sum(int((block.astype(np.int64) @ probe >= plan.profile.threshold).sum()) for block in blocks)
    names = parts[0]["stages"]
    result: dict[str, Any] = {
        "profile": profile.name,
        "gallery": candidates,
        "workers": len(shares),
        "arithmetic": description(),
        "core_us_per_candidate_cold": sum(p["cold"] for p in parts) / candidates * 1e6,
        "core_us_per_candidate": sum(p["warm"] for p in parts) / candidates * 1e6 if keep else None,
        "fixed_core_s": sum(p["fixed"] for p in parts) / len(parts),
        "defence_core_s_per_block": _defence_seconds(parts, PER_BLOCK) / len(blocks),
        "defence_fixed_core_s": _defence_seconds(parts, PER_QUERY) / len(parts),
        "wall_s": max(p["cold_wall"] for p in parts),
        "wall_s_warm": max(p["warm_wall"] for p in parts) if keep else None,
        "answer_bytes_per_candidate": len(blocks) * plan.answer_block_bytes / candidates,
        "evaluation_key_bytes": plan.keys_bytes,
        "query_bytes": plan.query_bytes,
        "stages": {name: sum(p["stages"].get(name, 0.0) for p in parts) for name in names},
        "hits": hits,
        "hits_expected": expected,
        "exact": hits == expected,
        "levels": plan.levels,
        "flood_ratio_bits": round(plan.flood_ratio_bits, 2),
    }
    if baseline:
        report("baselines: TenSEAL CKKS matrix product, plain numpy")
        result |= _baselines(probe, np.concatenate(blocks)[:candidates])
    return result


def _defence_seconds(parts: list[dict[str, Any]], shares: dict[str, float]) -> float:
    """Processor seconds of the cold run that go into defences against dishonest requesters."""
    return sum(
        float(part["stages"].get(name, 0.0)) * share for part in parts for name, share in shares.items()
    )


def _baselines(probe: NDArray[np.int8], gallery: NDArray[np.int8]) -> dict[str, Any]:
    columns = gallery[:_BASELINE_COLUMNS].T.astype(np.float64).tolist()
    seconds = ckks_matrix_seconds(probe.astype(np.float64).tolist(), columns, time.process_time)
    wide = gallery.astype(np.float32)
    wanted = probe.astype(np.float32)
    start = time.process_time()
    rounds = 20
    for _ in range(rounds):
        wide @ wanted
    plain = (time.process_time() - start) / rounds
    return {
        "tenseal_mm_us_per_candidate": seconds / len(columns[0]) * 1e6,
        "tenseal_mm_candidates": len(columns[0]),
        "tenseal_mm_parameters": "CKKS, N=8192, primes of 60, 40, 40, 60 bits, scale 2^40",
        "numpy_us_per_candidate": plain / len(gallery) * 1e6,
    }
