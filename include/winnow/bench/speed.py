"""How fast pairs are chosen, against the matrix products alone, a plain loop and BatchBALD.

Pools are random: normal features, a posterior that has seen some labels. Speeds are of the whole of
`choose_for_pools`, expected updates between shards included; each is the best of several runs, so
that what else the machine does weighs little. The floor is the time of the matrix products that
`decision_gain` cannot do without, in the same dtype and on one BLAS thread:

    F Σ Fᵀ,   S joint draws,   Πᵀ Π of their policies,   C A C.

`ratio_to_floor` compares every strategy with it, `ratio_to_own_floor` with the products that the
strategy itself needs. BLAS runs on one thread throughout; `threads` are those of
`choose_for_pools`.

Shapes: n responses, d features, s draws.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from multiprocessing import get_context
from os import cpu_count
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

from winnow.bench.speed_rivals import against_batchbald, against_loop
from winnow.reward import Posterior
from winnow.select import Pool, Rules, choose_for_pools, one_blas_thread

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure.

    Attributes:
        n_pools: Pools per run.
        seconds: Least time for the runs of one row.
        memory_prompts: Numbers of prompts whose peak memory is taken.
        loop_pool: Pool size of the comparison with a loop.
    """

    strategies: Sequence[str] = ("decision_gain", "info_gain", "hybrid")
    sizes: Sequence[int] = (10, 20, 50, 100, 200)
    dimensions: Sequence[int] = (32, 64, 128, 256)
    picks: Sequence[int] = (1, 4, 8)
    threads: Sequence[int] = (1, 2)
    n_pools: int = 32
    seconds: float = 0.25
    memory_prompts: Sequence[int] = (1_000, 10_000, 100_000)
    loop_pool: int = 100


FULL = Plan()
QUICK = Plan(
    sizes=(10, 30),
    dimensions=(16,),
    picks=(4,),
    n_pools=4,
    seconds=0.01,
    memory_prompts=(50, 100),
    loop_pool=10,
)

MEMORY_POOL, MEMORY_DIMENSION = 10, 16
"""Pools behind the figures of memory: small, so that 100,000 of them take half a minute."""


def run(out: Path, quick: bool = False) -> Row:
    """Measure, write `out`/speed.json, and print a table of it.

    Returns:
        What was written: "rows", "loop_ratio", "batchbald", "memory" and "machine".
    """
    plan = QUICK if quick else FULL
    report = {
        "rows": list(_rows(plan)),
        "loop_ratio": against_loop(*_case(plan.loop_pool, 32, 1), picks=8),
        "batchbald": against_batchbald(*_case(12, 16, 1), picks=4),
        "memory": [peak_memory(n_prompts) for n_prompts in plan.memory_prompts],
        "machine": _machine(),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "speed.json").write_text(json.dumps(report, indent=1) + "\n")
    print(table(report))
    return report


def random_pools(n_prompts: int, n: int, d: int, seed: int = 0) -> Iterator[Pool]:
    """Pools of `n` responses with normal features, one at a time, in order of prompt id."""
    rng = np.random.default_rng(seed)
    response_ids = [f"r{k:04d}" for k in range(n)]
    for k in range(n_prompts):
        yield Pool(f"p{k:08d}", response_ids, rng.standard_normal((n, d)) / np.sqrt(d))


def random_head(d: int, seed: int = 0) -> Posterior:
    """A posterior over weights that 2 d labels have told something about."""
    rng = np.random.default_rng(seed)
    z_ed = rng.standard_normal((2 * d, d)) * np.sqrt(2.0 / d)
    cov_dd = np.linalg.inv(0.25 * np.eye(d) + 0.2 * z_ed.T @ z_ed)
    return Posterior(rng.standard_normal(d), cov_dd, 0.25, n_labels=2 * d)


def floor_seconds(n: int, d: int, strategy: str, n_draws: int = 64) -> float:
    """Time of the matrix products that `strategy` needs for one prompt."""
    rng = np.random.default_rng(0)
    features_nd, cov_dd = rng.standard_normal((n, d)), np.eye(d)
    noise_sd, policy_sn = rng.standard_normal((n_draws, d)), rng.random((n_draws, n))

    def products() -> None:
        cov_nn = features_nd @ cov_dd @ features_nd.T
        if strategy != "info_gain":
            _ = noise_sd @ features_nd.T
            curvature_nn = policy_sn.T @ policy_sn
            _ = cov_nn @ curvature_nn @ cov_nn
        if strategy == "hybrid":
            _ = features_nd @ features_nd.T

    with one_blas_thread():
        return best_seconds(products, 0.02)


def best_seconds(call: Callable[[], object], least: float) -> float:
    """The shortest of the runs of `call` that fit into `least` seconds, two at least."""
    best, spent, runs = float("inf"), 0.0, 0
    while spent < least or runs < 2:
        start = time.perf_counter()
        call()
        took = time.perf_counter() - start
        best, spent, runs = min(best, took), spent + took, runs + 1
    return best


def peak_memory(n_prompts: int) -> Row:
    """Peak resident memory of a fresh process that chooses for `n_prompts` streamed pools."""
    context = get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        peak = executor.submit(_choose_and_weigh, n_prompts).result()
    return {
        "prompts": n_prompts,
        "pool": MEMORY_POOL,
        "dimension": MEMORY_DIMENSION,
        "peak_mib": peak,
    }


def table(report: Row) -> str:
    """The report as text."""
    lines = ["strategy       pool    d  picks  threads  prompts/s  to floor  to own floor"]
    lines += [
        f"{row['strategy']:13}{row['pool']:6}{row['dimension']:5}{row['picks']:7}"
        f"{row['threads']:9}{row['prompts_per_second']:11.0f}{row['ratio_to_floor']:10.1f}"
        f"{row['ratio_to_own_floor']:14.1f}"
        for row in report["rows"]
    ]
    lines += [f"plain loop: {json.dumps(report['loop_ratio'])}"]
    lines += [f"BatchBALD: {json.dumps(report['batchbald'])}"]
    lines += [f"{row['prompts']} prompts: {row['peak_mib']} MiB" for row in report["memory"]]
    return "\n".join([*lines, f"machine: {json.dumps(report['machine'])}"])


def _rows(plan: Plan) -> Iterator[Row]:
    for n, d in product(plan.sizes, plan.dimensions):
        pools, head = list(random_pools(plan.n_pools, n, d)), random_head(d)
        floors = {name: floor_seconds(n, d, name) for name in (*plan.strategies, "decision_gain")}
        for strategy, picks, threads in product(plan.strategies, plan.picks, plan.threads):
            rules = Rules(picks, strategy)

            def choose(rules: Rules = rules, threads: int = threads) -> None:
                for _ in choose_for_pools(pools, head, rules, threads=threads):  # noqa: B023
                    pass

            seconds = best_seconds(choose, plan.seconds) / plan.n_pools
            yield {
                "strategy": strategy,
                "pool": n,
                "dimension": d,
                "picks": picks,
                "threads": threads,
                "prompts_per_second": 1.0 / seconds,
                "ratio_to_floor": seconds / floors["decision_gain"],
                "floor_prompts_per_second": 1.0 / floors["decision_gain"],
                "ratio_to_own_floor": seconds / floors[strategy],
            }


def _case(n: int, d: int, n_pools: int) -> tuple[Pool, Posterior]:
    return next(random_pools(n_pools, n, d)), random_head(d)


def _choose_and_weigh(n_prompts: int) -> float | None:
    pools = random_pools(n_prompts, MEMORY_POOL, MEMORY_DIMENSION)
    for _ in choose_for_pools(pools, random_head(MEMORY_DIMENSION), Rules(1)):
        pass
    # VmHWM, because the kernel's ru_maxrss of a new process starts at its parent's.
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return round(int(line.split()[1]) / 1024.0, 1)


def _machine() -> Row:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    with one_blas_thread():
        blas = [info for info in threadpool_info() if info["user_api"] == "blas"]
    return {
        "cpu": models[0] if models else platform.processor(),
        "cpus": cpu_count(),
        "numpy": np.__version__,
        "blas": [f"{info['internal_api']} {info['architecture']}" for info in blas],
        "blas_threads": [info["num_threads"] for info in blas],
    }
