"""The bake-off on real judged pools: it finds what the label bench finds, from few votes.

    WINNOW_JUDGED_POOLS=FOLDER pytest tests/bench/test_bake_off.py -m kill -s

A model learns from four random labels a prompt in three nights of 40 prompts; on every other prompt
two pairs are drawn uniformly and judged once. Four seeds; they share prompts, so the intervals are
somewhat too narrow.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from winnow.reward import Posterior, prior
from winnow.select import Rules, one_blas_thread
from winnow.select.bake_off import Explored, explored_pairs, worth
from winnow.select.bake_off_tally import Contender, contenders, tally, together
from winnow_bench import labels as bench
from winnow_bench.world import World, read_worlds

RULES = Rules(budget=4, residual_sd=0.4)
N_LEARNT = 120


@pytest.mark.kill
@pytest.mark.skipif("WINNOW_JUDGED_POOLS" not in os.environ, reason="no folder of judged pools")
def test_the_bake_off_agrees_with_the_label_bench() -> None:
    found = {}
    for world in read_worlds(Path(os.environ["WINNOW_JUDGED_POOLS"])):
        found[world.name] = {each.strategy: each for each in _baked(world)}
        print(f"\n{world.name}")
        for each in found[world.name].values():
            print(f"{each.strategy:<14} {each.prompts:5.0f} {each.taught} {each.gain}")
    every, alike = found["all"], found["homogeneous"]
    for name in ("decision_gain", "hybrid", "info_gain", "diversity"):
        assert (every[name].gain.low or 0.0) > 0.0
    assert (every["uncertainty"].gain.low or 0.0) <= 0.0
    assert all((each.gain.low or 0.0) <= 0.0 for each in alike.values())


def _baked(world: World) -> list[Contender]:
    with one_blas_thread():
        parts = [_replayed(world, seed) for seed in range(4)]
        return contenders(together(tally(v, worth(v, {"overall": head})) for v, head in parts))


def _replayed(world: World, seed: int) -> tuple[list[Explored], Posterior]:
    drawn = bench._draw(world, seed)
    pools = [*drawn.labelled, *drawn.held_out]
    cell = bench.Cell("random", 4, 50)
    offered = {pool.prompt_id: drawn.offered(pool, cell) for pool in pools}
    d = pools[0].features_nd.shape[1]
    head, bought = prior(d, float(d)), dict[str, list[bench.Bought]]()
    for night in np.array_split(np.arange(N_LEARNT), 3):
        tonight = [pools[k] for k in night]
        bought.update(bench._buy(drawn, cell, head, tonight, offered))
        head = bench._refit(replace(drawn, labelled=tuple(pools)), bought)
    rng = np.random.default_rng(seed)
    votes = [v for p in pools[N_LEARNT:] for v in _votes(drawn, p, offered, head, rng)]
    return votes, head


def _votes(
    drawn: Any, judged: Any, offered: Any, head: Posterior, rng: np.random.Generator
) -> Iterator[Explored]:
    """Two uniform pairs of a prompt, each with a vote."""
    index = offered[judged.prompt_id]
    pool = bench._candidates(judged, index)
    order = sorted(np.flatnonzero(~pool.blocked), key=lambda row: pool.response_ids[row])
    pairs = list(combinations(order, 2))
    asked = [pairs[k] for k in rng.choice(len(pairs), 2, replace=False)]
    ids = {(pool.response_ids[a], pool.response_ids[b]): (index[a], index[b]) for a, b in asked}
    found = explored_pairs(pool, {"overall": head}, RULES, dict.fromkeys(ids, 2 / len(pairs)))
    for pair, explored in found.items():
        i, j = ids[pair]
        first = bool(drawn.preferred(judged, np.array([min(i, j)]), np.array([max(i, j)]))[0])
        yield explored.voted(float(first if i < j else not first))
