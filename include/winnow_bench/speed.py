"""How fast pairs are chosen, against the matrix products alone, a plain loop and BatchBALD.

Pools are random: normal features, a posterior that has seen some labels. Speeds are of the whole of
`choose_for_pools` without an exploration share; each is the best of several runs. The floor is the
time of the matrix products that `decision_gain` cannot do without, in the same dtype:

    F Σ Fᵀ,   S joint draws,   Πᵀ Π of their policies,   C A C.

A row's runs and those of its floor alternate, so that load hits both. BLAS runs on one thread
throughout; `threads` are those of `choose_for_pools`. "rows" are of the product's default strategy
at many sizes, "strategies" of all three that were built for speed, at one.

Shapes: n responses, d features, s draws.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from os import cpu_count
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

from winnow.reward import Posterior
from winnow.select import Pool, Rules, choose_for_pools, one_blas_thread
from winnow_bench.document import in_a_process, peak_mib, write_report
from winnow_bench.speed_page import speed_page
from winnow_bench.speed_rivals import against_batchbald, against_loop

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure.

    Attributes:
        typical: Pool size, dimension and picks at which strategies and threads are compared.
        n_pools: Pools per run.
        seconds: Least time for the runs of one row.
        memory_prompts: Numbers of prompts whose peak memory is taken.
        loop_pool: Pool size of the comparison with a loop.
    """

    sizes: Sequence[int] = (10, 25, 50, 100, 200)
    dimensions: Sequence[int] = (32, 128, 256)
    picks: Sequence[int] = (1, 4, 8)
    typical: tuple[int, int, int] = (100, 128, 8)
    n_pools: int = 32
    seconds: float = 0.5
    memory_prompts: Sequence[int] = (1_000, 10_000, 100_000)
    loop_pool: int = 100


STRATEGY = "decision_gain"
COMPARED = (STRATEGY, "info_gain", "hybrid")

FULL = Plan()
QUICK = Plan(
    sizes=(10, 30),
    dimensions=(16,),
    picks=(4,),
    typical=(30, 16, 4),
    n_pools=4,
    seconds=0.01,
    memory_prompts=(50, 100),
    loop_pool=10,
)

MEMORY_POOL, MEMORY_DIMENSION = 10, 16
"""Pools behind the figures of memory: small, so that 100,000 of them take half a minute."""


def run(out: Path, quick: bool = False) -> Row:
    """Measure, write `out`/speed.json and `out`/speed.html, and print a table.

    Returns:
        What was written: "rows", "strategies", "loop_ratio", "batchbald", "memory" and "machine".
    """
    plan = QUICK if quick else FULL
    report = {
        "rows": [
            *(_row(plan, *c) for c in product(plan.sizes, plan.dimensions, plan.picks)),
            _row(plan, *plan.typical, threads=2),
        ],
        "strategies": [_row(plan, *plan.typical, strategy=name) for name in COMPARED],
        "loop_ratio": against_loop(*_case(plan.loop_pool, 32), picks=8),
        "batchbald": against_batchbald(*_case(12, 16), picks=4),
        "memory": [peak_memory(n_prompts) for n_prompts in plan.memory_prompts],
        "machine": _machine(),
    }
    write_report(out, "speed", report, speed_page(report))
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
    return Posterior(rng.standard_normal(d), cov_dd, np.full(d, 0.25), n_labels=2 * d)


def floor_products(n: int, d: int, n_draws: int = 64) -> Callable[[], None]:
    """The matrix products of one prompt."""
    rng = np.random.default_rng(0)
    features_nd, cov_dd = rng.standard_normal((n, d)), np.eye(d)
    noise_sd, policy_sn = rng.standard_normal((n_draws, d)), rng.random((n_draws, n))

    def products() -> None:
        cov_nn = features_nd @ cov_dd @ features_nd.T
        _ = noise_sd @ features_nd.T
        curvature_nn = policy_sn.T @ policy_sn
        _ = cov_nn @ curvature_nn @ cov_nn

    return products


def alternate(
    one: Callable[[], object], other: Callable[[], object], least: float
) -> tuple[float, float]:
    """The shortest run of each of two calls made in turn for `least` seconds, three turns or more.

    In each turn `other` is run for as long as `one` took, 100 times at most.
    """
    best, other_best, spent, turns = float("inf"), float("inf"), 0.0, 0
    while spent < least or turns < 3:
        took = _timed(one)
        quick = [_timed(other)]
        while sum(quick) < took and len(quick) < 100:
            quick.append(_timed(other))
        best, other_best = min(best, took), min(other_best, *quick)
        spent, turns = spent + took + sum(quick), turns + 1
    return best, other_best


def _timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def peak_memory(n_prompts: int) -> Row:
    """Peak resident memory of a fresh process that chooses for `n_prompts` streamed pools."""
    peak = in_a_process(_choose_and_weigh, n_prompts)
    return {
        "prompts": n_prompts,
        "pool": MEMORY_POOL,
        "dimension": MEMORY_DIMENSION,
        "peak_mib": peak,
    }


def table(report: Row) -> str:
    """The report as text."""
    lines = ["strategy       pool    d  picks  threads  prompts/s  to floor"]
    lines += [
        f"{row['strategy']:13}{row['pool']:6}{row['dimension']:5}{row['picks']:7}"
        f"{row['threads']:9}{row['prompts_per_second']:11.0f}{row['ratio_to_floor']:10.2f}"
        for row in (*report["rows"], *report["strategies"])
    ]
    lines += [f"plain loop: {json.dumps(report['loop_ratio'])}"]
    lines += [f"BatchBALD: {json.dumps(report['batchbald'])}"]
    lines += [f"{row['prompts']} prompts: {row['peak_mib']} MiB" for row in report["memory"]]
    return "\n".join([*lines, f"machine: {json.dumps(report['machine'])}"])


def _row(plan: Plan, n: int, d: int, picks: int, strategy: str = STRATEGY, threads: int = 1) -> Row:
    pools, head = list(random_pools(plan.n_pools, n, d)), random_head(d)
    rules = Rules(picks, strategy, exploration=0.0, fresh_first=True)

    def choose() -> None:
        for _ in choose_for_pools(pools, head, rules, threads=threads):
            pass

    with one_blas_thread():
        seconds, floor = alternate(choose, floor_products(n, d), plan.seconds)
    seconds /= plan.n_pools
    return {
        "strategy": strategy,
        "pool": n,
        "dimension": d,
        "picks": picks,
        "threads": threads,
        "prompts_per_second": 1.0 / seconds,
        "ratio_to_floor": seconds / floor,
        "floor_prompts_per_second": 1.0 / floor,
    }


def _case(n: int, d: int) -> tuple[Pool, Posterior]:
    return next(random_pools(1, n, d)), random_head(d)


def _choose_and_weigh(n_prompts: int) -> float | None:
    pools = random_pools(n_prompts, MEMORY_POOL, MEMORY_DIMENSION)
    for _ in choose_for_pools(pools, random_head(MEMORY_DIMENSION), Rules(1)):
        pass
    peak = peak_mib()
    return None if peak is None else round(peak, 1)


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
