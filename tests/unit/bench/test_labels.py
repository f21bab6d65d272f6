"""The label-efficiency bench runs on any folder, is paired by seed and says the same twice."""

from __future__ import annotations

import json
from html import unescape
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from winnow.errors import Fatal
from winnow.select import STRATEGIES
from winnow_bench import labels as bench
from winnow_bench.labels import Cell, cells, run, run_seed
from winnow_bench.peers import PEERS
from winnow_bench.world import POOL_FILE, World, read_worlds

from .conftest import judged_rows


@pytest.fixture(scope="module")
def world(judged_folder: Path) -> World:
    return read_worlds(judged_folder)[0]


def test_every_strategy_has_its_rows_at_four_and_eight_labels(world: World) -> None:
    found = cells(world)
    for strategy in STRATEGIES:
        assert {c.labels for c in found if c.strategy == strategy} >= {4, 8}
    for peer in PEERS:
        assert [(c.labels, c.pool_size) for c in found if c.strategy == peer] == [(4, 10)]
    assert Cell("traditional", 8, 8) in found
    assert len(found) == len(set(found))


def test_a_seed_gives_the_same_figures_twice_and_another_seed_others(world: World) -> None:
    wanted = [Cell("hybrid", 4, 10), Cell("random", 4, 10)]
    once = run_seed(world, 3, wanted)
    assert once == run_seed(world, 3, wanted)
    assert once != [{**row, "seed": 3} for row in run_seed(world, 4, wanted)]


def test_no_strategy_buys_a_blocked_response_and_all_buy_what_was_asked(world: World) -> None:
    wanted = [Cell(strategy, 4, world.largest_pool) for strategy in (*STRATEGIES, *PEERS)]
    rows = run_seed(world, 0, [*wanted, Cell("traditional", 4, 4)])
    assert {row["value"] for row in rows if row["metric"] == "blocked_pairs"} == {0.0}
    cost = {r["strategy"]: r["value"] for r in rows if r["metric"] == "cost_usd"}
    expected = 20 * (4 * bench.LABEL_USD + world.largest_pool * bench.RESPONSE_USD)
    for strategy in ("hybrid", *PEERS):
        assert cost[strategy] == pytest.approx(expected)


def test_a_pair_has_one_label_whoever_asks(world: World) -> None:
    drawn = bench.draw(world, 5)
    pool = drawn.labelled[0]
    i, j = np.triu_indices(len(pool.response_ids), 1)
    every = drawn.preferred(pool, i, j)
    assert drawn.preferred(pool, i[3:5], j[3:5]).tolist() == every[3:5].tolist()
    assert 0 < every.mean() < 1


def test_a_smaller_pool_is_part_of_a_larger_one(world: World) -> None:
    drawn = bench.draw(world, 0)
    small, large = (set(drawn.offered(drawn.labelled[0], Cell("dts", 4, n))) for n in (4, 9))
    assert small < large


def test_the_bench_writes_what_others_read(
    judged_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = [Cell(s, n, 10) for s in ("hybrid", "random") for n in (4, 8)]
    few += [Cell("traditional", n, n) for n in (4, 8)]
    few += [Cell(strategy, 4, 10) for strategy in ("decision_gain", *PEERS)]
    monkeypatch.setattr(bench, "cells", lambda world: few)
    told: list[str] = []
    verdicts = run(judged_folder, tmp_path / "out", 2, told.append)
    found = json.loads((tmp_path / "out" / "labels.json").read_text())
    wanted = {"pool", "metric", "strategy", "labels", "baseline", "difference", "low", "high"}
    assert all(wanted <= set(row) for row in found["comparisons"])
    assert {row["pool"] for row in found["comparisons"]} == {"all", "homogeneous"}
    baselines = {row["baseline"] for row in found["comparisons"] if row["metric"] == "win_rate"}
    assert baselines >= {"traditional-4", "traditional-8", "random-4", "random-8"}
    ours = [row for row in found["comparisons"] if row["baseline"] in {f"{p}-4" for p in PEERS}]
    assert {row["baseline"] for row in ours} == {f"{peer}-4" for peer in PEERS}
    assert {(row["strategy"], row["labels"]) for row in ours} == {("decision_gain", 4)}
    for pool in ("all", "homogeneous"):
        of_pool = [each for each in verdicts if each.startswith(pool)]
        assert sum("the best of 10 rules of peers" in each for each in of_pool) == 1
    table = pq.read_table(tmp_path / "out" / "labels.parquet")
    assert np.isfinite(table["value"].to_numpy()).all()
    assert set(table["seed"].to_pylist()) == {0, 1}
    page = (tmp_path / "out" / "labels.html").read_text()
    assert "cannot show" in page
    assert all(limit.split(":")[0] in unescape(page) for limit in bench.LIMITS)
    assert told[-1].startswith("4/4")


def test_a_baseline_of_one_pool_size_stands_beside_a_larger_pool() -> None:
    sizes = {"random": (50, 57), "decision_gain": (50, 57), "decision_gain (0.3)": (50,)}
    rows = [
        {"pool": "all", "strategy": strategy, "labels": 4, "pool_size": size}
        for strategy, each in {**sizes, "traditional": (4,), "ee-ts (SEA)": (50,)}.items()
        for size in each
    ]
    measured = {"seed": 0, "metric": "win_rate", "value": 0.5}
    table = pa.Table.from_pylist([{**row, **measured} for row in rows])
    ours = [row for row in bench.compared(table) if row.strategy == "decision_gain"]
    against = {
        size: {row.baseline for row in ours if row.pool_size == size and row.labels == 4}
        for size in (50, 57)
    }
    assert against[57] == {"traditional-4", "random-4", "random"}
    assert against[50] == {*against[57], "decision_gain (0.3)-4", "ee-ts (SEA)-4"}


def test_no_seeds_and_too_few_prompts_are_refused(judged_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(Fatal, match="0 seeds"):
        run(judged_folder, tmp_path, 0, print)


@pytest.mark.parametrize(
    "changed",
    [
        {"p_win": 0.9},
        {"p_win": 0.0},
        {"response": "the same everywhere"},
        {"adversarial": None},
        {"model": None},
    ],
)
def test_any_folder_of_the_shape_has_figures(
    changed: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{**row, **changed} for row in judged_rows(12)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / POOL_FILE)
    few = [Cell(s, n, 9) for s in ("hybrid", "random") for n in (4, 8)]
    few += [Cell("traditional", n, n) for n in (4, 8)]
    monkeypatch.setattr(bench, "cells", lambda world: few)
    run(tmp_path, tmp_path / "out", 1, lambda line: None)
    values = pq.read_table(tmp_path / "out" / "labels.parquet")["value"].drop_null()
    assert np.isfinite(values.to_numpy()).all() and len(values)
    assert (tmp_path / "out" / "labels.html").exists()


def test_a_world_of_few_prompts_does_not_stop_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weak = ("m0", "m1", "reference")
    rows = [row for row in judged_rows(12) if row["prompt_id"] < 3 or row["model"] not in weak]
    rows = [{**r, "p_win": 0.1 if r["model"] in weak else 0.6} for r in rows]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / POOL_FILE)
    few = [Cell(s, n, 7) for s in ("random",) for n in (4, 8)]
    few += [Cell("traditional", n, n) for n in (4, 8)]
    monkeypatch.setattr(bench, "cells", lambda world: few)
    run(tmp_path, tmp_path / "out", 1, lambda line: None)
    table = pq.read_table(tmp_path / "out" / "labels.parquet")
    assert set(table["pool"].to_pylist()) == {"all"}
