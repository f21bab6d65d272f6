"""The speed bench runs, and writes what it promises; how fast this machine is, is no test."""

from __future__ import annotations

import json
from itertools import combinations, product
from math import isfinite

import numpy as np
import pytest

from winnow_bench.speed import COMPARED, QUICK, alternate, random_head, random_pools, run, table
from winnow_bench.speed_rivals import against_loop, joint_information

SPEEDS = ("prompts_per_second", "ratio_to_floor", "floor_prompts_per_second")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict:
    out = tmp_path_factory.mktemp("bench") / "speed"
    report = run(out, quick=True)
    assert json.loads((out / "speed.json").read_text()) == report
    assert "How fast pairs are chosen" in (out / "speed.html").read_text()
    return report


def test_there_is_a_row_for_each_combination_with_finite_figures(report: dict) -> None:
    keys = ("pool", "dimension", "picks", "threads")
    found = {tuple(row[key] for key in keys) for row in report["rows"]}
    sizes = set(product(QUICK.sizes, QUICK.dimensions, QUICK.picks, [1]))
    assert found == sizes | {(*QUICK.typical, 2)}
    assert len(report["rows"]) == len(found)
    assert {row["strategy"] for row in report["rows"]} == {"decision_gain"}
    assert [row["strategy"] for row in report["strategies"]] == list(COMPARED)
    for row in (*report["rows"], *report["strategies"]):
        assert all(isfinite(row[key]) and row[key] > 0 for key in SPEEDS)
        at_floor = row["prompts_per_second"] * row["ratio_to_floor"]
        assert at_floor == pytest.approx(row["floor_prompts_per_second"])


def test_two_calls_are_timed_in_turn_and_the_shortest_of_each_counts() -> None:
    made = []
    one, other = alternate(lambda: made.append("one"), lambda: made.append("other"), 0.0)
    assert made.count("one") == 3
    assert "one" not in {made[k + 1] for k, name in enumerate(made[:-1]) if name == "one"}
    assert made[-1] == "other"
    assert 0.0 < one < 1.0
    assert 0.0 < other < 1.0


def test_the_loop_chooses_the_same_pairs(report: dict) -> None:
    loop = report["loop_ratio"]
    assert loop["same_pairs"] == loop["picks"] == 8
    assert isfinite(loop["ratio"])
    pool, head = next(random_pools(1, 3, 4)), random_head(4)
    assert against_loop(pool, head, picks=9)["same_pairs"] == 3


def test_batchbald_is_compared_on_information_that_four_labels_can_hold(report: dict) -> None:
    rival = report["batchbald"]
    if "skipped" in rival:
        pytest.skip(rival["skipped"])
    for key in ("joint_information", "batchbald_joint_information"):
        assert 0.0 < rival[key] < 4 * np.log(2.0)
    assert rival["joint_information"] >= 0.9 * rival["batchbald_joint_information"]
    assert isfinite(rival["time_ratio"])


def test_memory_is_taken_for_each_number_of_prompts(report: dict) -> None:
    assert [row["prompts"] for row in report["memory"]] == list(QUICK.memory_prompts)
    for row in report["memory"]:
        assert row["peak_mib"] is None or 10 < row["peak_mib"] < 10_000


def test_the_table_names_every_strategy_and_the_machine(report: dict) -> None:
    text = table(report)
    assert all(name in text for name in COMPARED)
    assert report["machine"]["numpy"] in text
    assert 1 in report["machine"]["blas_threads"]


def test_joint_information_of_one_label_is_its_information_gain_and_of_a_copy_no_more() -> None:
    rewards = np.random.default_rng(0).normal(size=(2000, 3)) * 2.0
    p = 1.0 / (1.0 + np.exp(rewards[:, 1] - rewards[:, 0]))

    def entropy(q: np.ndarray) -> np.ndarray:
        return -q * np.log(q) - (1 - q) * np.log(1 - q)

    one = joint_information([(0, 1)], rewards)
    assert one == pytest.approx(entropy(p.mean()) - entropy(p).mean())
    pairs = list(combinations(range(3), 2))
    assert one < joint_information(pairs, rewards) < 3 * np.log(2.0)
