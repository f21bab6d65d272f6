"""Means, paired differences and their intervals equal a count by hand; nothing is ever NaN."""

from __future__ import annotations

import math
import random
from statistics import fmean, stdev
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t, ttest_rel

from winnow.errors import Corrupt, Fatal
from winnow_bench.statistics import Comparison, compare, summarise

CELLS = [
    ("easy", "hybrid", 4, 50),
    ("easy", "random", 4, 50),
    ("easy", "random", 8, 50),
    ("easy", "traditional", 8, 8),
    ("hard", "hybrid", 4, 50),
]

values = st.floats(-1, 1, allow_nan=False).map(lambda x: round(x, 4))
tables = st.lists(
    st.tuples(st.sampled_from(CELLS), st.integers(0, 5), values),
    min_size=1,
    max_size=30,
    unique_by=lambda row: row[:2],
)


def rows(cast: list[Any], metric: str = "win_rate") -> list[dict[str, Any]]:
    return [
        {
            "pool": pool,
            "strategy": strategy,
            "labels": labels,
            "pool_size": pool_size,
            "seed": seed,
            "metric": metric,
            "value": value,
        }
        for (pool, strategy, labels, pool_size), seed, value in cast
    ]


def runs(cell: tuple[str, str, int, int], measured: list[float], first: int = 0) -> list[Any]:
    return [(cell, first + i, value) for i, value in enumerate(measured)]


def only(found: list[Comparison]) -> Comparison:
    assert len(found) == 1
    return found[0]


@given(tables)
def test_a_summary_equals_a_count_by_hand(cast: list[Any]) -> None:
    found = summarise(rows(cast))
    assert len(found) == len({cell for cell, _, _ in cast})
    for row in found:
        cell = (row.pool, row.strategy, row.labels, row.pool_size)
        seen = [value for at, _, value in cast if at == cell]
        assert row.n_seeds == len(seen)
        assert row.mean == pytest.approx(fmean(seen))
        if len(seen) < 2:
            assert row.low is None and row.high is None
        else:
            half = t.ppf(0.975, len(seen) - 1) * stdev(seen) / math.sqrt(len(seen))
            assert row.low == pytest.approx(fmean(seen) - half)
            assert row.high == pytest.approx(fmean(seen) + half)


@given(tables)
def test_a_comparison_takes_differences_seed_by_seed(cast: list[Any]) -> None:
    baseline = ("easy", "traditional", 8, 8)
    if all(cell != baseline for cell, _, _ in cast):
        return
    at = {(cell, seed): value for cell, seed, value in cast}
    found = compare(rows(cast), ["traditional-8"])
    others = {cell for cell, _, _ in cast if cell[0] == "easy" and cell != baseline}
    assert {(r.pool, r.strategy, r.labels, r.pool_size) for r in found} == others
    for row in found:
        cell = (row.pool, row.strategy, row.labels, row.pool_size)
        both = [seed for seed in range(6) if (cell, seed) in at and (baseline, seed) in at]
        differences = [at[cell, seed] - at[baseline, seed] for seed in both]
        assert row.n_seeds == len(both)
        assert row.difference == (pytest.approx(fmean(differences)) if both else None)
        if len(both) < 2:
            assert (row.low, row.high, row.p_value) == (None, None, None)
        else:
            half = t.ppf(0.975, len(both) - 1) * stdev(differences) / math.sqrt(len(both))
            assert row.low == pytest.approx(fmean(differences) - half, abs=1e-12)
            assert row.high == pytest.approx(fmean(differences) + half, abs=1e-12)


def test_the_p_value_is_that_of_a_paired_t_test() -> None:
    mine, theirs = [0.51, 0.48, 0.55, 0.50], [0.47, 0.49, 0.50, 0.48]
    cast = runs(CELLS[0], mine) + runs(CELLS[3], theirs)
    found = only(compare(rows(cast), ["traditional-8"]))
    assert found.p_value == pytest.approx(ttest_rel(mine, theirs).pvalue)
    turned = runs(CELLS[3], mine) + runs(CELLS[0], theirs)
    assert only(compare(rows(turned), ["traditional-8"])).p_value == pytest.approx(found.p_value)


@given(tables, st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(cast: list[Any], shuffler: random.Random) -> None:
    shuffled = cast.copy()
    shuffler.shuffle(shuffled)
    cells = {cell for cell, _, _ in cast}
    baselines = [name for name, cell in [("traditional-8", CELLS[3])] if cell in cells]
    assert summarise(rows(shuffled)) == summarise(rows(cast))
    assert compare(rows(shuffled), baselines) == compare(rows(cast), baselines)


def test_a_baseline_without_a_number_is_met_at_the_same_labels_and_pool_size() -> None:
    cast = [
        *runs(CELLS[0], [0.5, 0.6]),
        *runs(CELLS[1], [0.4, 0.4]),
        *runs(CELLS[2], [0.9, 0.9]),
        *runs(("easy", "random", 4, 20), [0.8, 0.8]),
    ]
    found = only(compare(rows(cast), ["random"]))
    assert (found.strategy, found.labels, found.pool_size) == ("hybrid", 4, 50)
    assert found.difference == pytest.approx(0.15)


def test_a_metric_is_compared_with_itself_only() -> None:
    cast = runs(CELLS[0], [0.5, 0.6]) + runs(CELLS[3], [0.4, 0.4])
    table = rows(cast, "win_rate") + rows(cast, "ece")
    assert [row.metric for row in compare(table, ["traditional-8"])] == ["ece", "win_rate"]


def test_equal_results_differ_by_nothing_for_certain() -> None:
    cast = runs(CELLS[0], [0.5, 0.6, 0.7]) + runs(CELLS[3], [0.5, 0.6, 0.7])
    found = only(compare(rows(cast), ["traditional-8"]))
    assert (found.difference, found.low, found.high, found.p_value) == (0, 0, 0, 1)


def test_a_constant_gap_is_certain() -> None:
    cast = runs(CELLS[0], [1.0, 1.5]) + runs(CELLS[3], [0.5, 1.0])
    found = only(compare(rows(cast), ["traditional-8"]))
    assert (found.low, found.high, found.p_value) == (0.5, 0.5, 0.0)


def test_values_that_were_not_measured_are_left_out() -> None:
    cast = [*runs(CELLS[0], [0.5, 0.6]), (CELLS[0], 2, None)]
    assert summarise(rows(cast))[0].n_seeds == 2


def test_an_arrow_table_reads_as_its_rows() -> None:
    cast = rows(runs(CELLS[0], [0.5, 0.6]) + runs(CELLS[3], [0.4, 0.45]))
    table = pa.Table.from_pylist(cast)
    assert summarise(table) == summarise(cast)
    assert compare(table, ["traditional-8"]) == compare(cast, ["traditional-8"])


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_no_number_is_corrupt(value: float) -> None:
    with pytest.raises(Corrupt, match="seed 0"):
        summarise(rows([(CELLS[0], 0, value)]))


def test_a_seed_that_ran_twice_is_corrupt() -> None:
    with pytest.raises(Corrupt, match="seed 3 twice"):
        summarise(rows([(CELLS[0], 3, 0.5), (CELLS[0], 3, 0.6)]))


def test_a_row_without_its_columns_is_corrupt() -> None:
    with pytest.raises(Corrupt, match="lacks seed, value"):
        summarise([dict.fromkeys(("pool", "strategy", "labels", "pool_size", "metric"), 0)])


@pytest.mark.parametrize("name", ["traditional-4", "traditional", "oracle"])
def test_a_baseline_nobody_ran_is_refused(name: str) -> None:
    with pytest.raises(Fatal, match=name):
        compare(rows(runs(("easy", "hybrid", 4, 50), [0.5])), [name])


def test_a_baseline_of_two_pool_sizes_is_refused() -> None:
    cast = runs(("easy", "traditional", 8, 8), [0.5]) + runs(("easy", "traditional", 8, 5), [0.5])
    with pytest.raises(Fatal, match="5 and 8"):
        compare(rows(cast), ["traditional-8"])
