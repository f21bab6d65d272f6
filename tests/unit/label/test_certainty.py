"""Votes are as sure as people were seen to agree: calibrated on simulated votes, by any method."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from winnow.campaign import Publish
from winnow.label.aggregation import aggregate as by_votes
from winnow.label.aggregation.aggregate import METHODS
from winnow.label.aggregation.certainty import (
    error_rates,
    estimate_error_rate,
    no_surer_than,
    probability_first,
)
from winnow.validate.metrics import label_figures

from ...label_rows import labels

Row = dict[str, Any]
EVERY_METHOD = pytest.mark.parametrize("method", sorted(METHODS))
CERTAIN = Publish(dataset="d").min_p_chosen
AT_SIXTY_PERCENT = 0.276
"""(1 - e)^2 + e^2 = 0.60."""


def bought(seed: int, error_rate: float, n: int = 120, second: float = 0.25) -> tuple[Any, ...]:
    """A batch as a campaign buys it, third votes where two differ, and each pair's truth.

    The reward model is sure of every pair, and right of three in four.
    """
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.5
    tasks: list[Row] = []
    annotations: list[Row] = []
    comparisons: list[Row] = []
    for pair in range(n):
        believed = 0.95 if truth[pair] == (rng.random() < 0.75) else 0.05
        name = {"pair_id": f"p{pair:04}", "prompt_id": "q", "first_id": "1", "second_id": "2"}
        comparisons.append({**name, "p_first": believed})
        said: list[str] = []
        wanted = 1 + int(rng.random() < second)
        for repetition, who in enumerate(rng.permutation(12)[:3].tolist()):
            if repetition >= wanted and len(set(said)) < 2:
                break
            right = rng.random() >= error_rate
            said.append("first" if right == truth[pair] else "second")
            task = {"task_id": f"t{pair}/{repetition}", "pair_id": name["pair_id"]}
            tasks.append({**task, "kind": "comparison", "repetition": repetition})
            annotations.append(
                {
                    **task,
                    "annotation_id": f"a{pair}/{repetition}",
                    "revision": 0,
                    "kind": "comparison",
                    "annotator": f"ann-{who}",
                    "preferred": said[-1],
                    "swapped": bool(rng.random() < 0.5),
                    "status": "submitted",
                    "price": 1,
                }
            )
    return annotations, comparisons, tasks, truth


Decided = tuple[Any, Any, float | None]


@cache
def decided(seed: int, error_rate: float, n: int = 120, second: float = 0.25) -> dict[str, Decided]:
    """P(chosen is better) of each decided pair, whether it is, and the batch's agreement.

    By each method, in one database: to open it takes longer than to aggregate.
    """
    annotations, comparisons, tasks, truth = bought(seed, error_rate, n, second)
    with labels(annotations=annotations, comparisons=comparisons, tasks=tasks) as connection:
        agreement = label_figures(connection).agreement
        return {
            method: (*_certainty(by_votes.aggregate(connection, method), truth), agreement)
            for method in METHODS
        }


def _certainty(preferences: pa.Table, truth: Any) -> tuple[Any, Any]:
    found = [row for row in preferences.to_pylist() if row["preferred"] != "tie"]
    first = np.array([row["preferred"] == "first" for row in found])
    p_first = np.array([row["p_preferred"] for row in found])
    right = truth[[int(row["pair_id"][1:]) for row in found]] == first
    return np.where(first, p_first, 1.0 - p_first), right


@pytest.mark.kill
@EVERY_METHOD
def test_of_pairs_said_to_be_so_sure_so_many_are_right(method: str) -> None:
    batches = [
        decided(seed, rate)[method]
        for seed, rate in enumerate(np.tile([0.05, 0.12, 0.2, AT_SIXTY_PERCENT, 0.35], 12))
    ]
    sure, right = (np.concatenate([batch[k] for batch in batches]) for k in (0, 1))
    for low, high in ((0.6, 0.7), (0.7, 0.8), (0.8, 0.9), (0.9, 1.0)):
        among = (sure >= low) & (sure < high)
        assert among.sum() > 400
        assert right[among].mean() == pytest.approx(sure[among].mean(), abs=0.06)
    assert right.mean() == pytest.approx(sure.mean(), abs=0.035)


@EVERY_METHOD
def test_where_people_agree_to_sixty_percent_most_lone_votes_are_not_certain(method: str) -> None:
    batches = [decided(seed, AT_SIXTY_PERCENT, n=400)[method] for seed in range(6)]
    assert np.mean([agreement for _, _, agreement in batches]) == pytest.approx(0.6, abs=0.03)
    certain = np.concatenate([sure >= CERTAIN for sure, _, _ in batches])
    assert certain.mean() < 0.5


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, int(0.6 * n)), st.just(n))))
@settings(deadline=None)
def test_one_vote_is_never_certain_where_at_most_sixty_percent_agreed(counts: tuple[int, int]):
    n_agreed, n_pairs = counts
    assume(n_pairs >= 4)
    [sure] = probability_first([[1, 0, 0]], error_rates(n_agreed, n_pairs))
    assert 0.5 < sure < CERTAIN


@given(st.floats(0.02, 0.48))
def test_the_error_rate_is_recovered_from_much_agreement(error_rate: float) -> None:
    n = 10**6
    agreed = round(((1.0 - error_rate) ** 2 + error_rate**2) * n)
    assert estimate_error_rate(agreed, n) == pytest.approx(error_rate, abs=6e-3)


@given(st.integers(0, 200), st.integers(0, 200))
def test_each_pair_that_agrees_makes_votes_surer(n_agreed: int, n_differing: int) -> None:
    n = n_agreed + n_differing
    rate = estimate_error_rate(n_agreed, n)
    assert 0.0 < rate < 0.5
    assert estimate_error_rate(n_agreed + 1, n + 1) < rate < estimate_error_rate(n_agreed, n + 1)


def test_what_was_not_measured_is_assumed_and_soon_overruled() -> None:
    assert estimate_error_rate(0, 0) == pytest.approx(0.2, abs=1e-3)
    assert estimate_error_rate(3, 5) > 0.25
    assert estimate_error_rate(19, 20) < 0.1


@given(st.integers(0, 4), st.integers(0, 4), st.integers(0, 30), st.integers(0, 30))
def test_one_more_vote_moves_towards_its_side(first: int, second: int, agreed: int, other: int):
    votes = [[first, second, 0], [first + 1, second, 0], [second, first, 0], [first, second, 1]]
    rates = error_rates(agreed, agreed + other)
    before, sided, mirrored, tied = probability_first(votes, rates)
    assert 0.0 < before < 1.0
    assert sided > before
    assert mirrored == pytest.approx(1.0 - before, abs=1e-12)
    assert abs(tied - 0.5) <= abs(before - 0.5)


probabilities = st.lists(
    st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0)), min_size=1, max_size=9
)


@given(probabilities)
def test_a_method_keeps_its_order_and_gives_up_what_is_too_sure(pairs: list[tuple[float, float]]):
    p, measured = (np.array(column) for column in zip(*pairs, strict=True))
    found = no_surer_than(p, measured)
    allowed = np.where(p > 0.5, measured - 0.5, 0.5 - measured)
    assert np.abs(found - 0.5).sum() <= np.maximum(0.0, allowed).sum() + 1e-6
    assert np.all((found - 0.5) * (p - 0.5) >= 0.0)
    assert np.all(np.abs(found - 0.5) <= np.abs(p - 0.5) + 1e-9)
    assert np.all(np.diff(found[np.argsort(p)]) >= -1e-12)
    assert no_surer_than(1.0 - p, 1.0 - measured) == pytest.approx(1.0 - found, abs=1e-6)


def test_third_votes_which_are_asked_where_two_differ_are_no_measure_of_agreement() -> None:
    rates = [0.1, AT_SIXTY_PERCENT]
    for error_rate in rates:
        batches = [decided(seed, error_rate, n=400, second=0.5) for seed in range(4)]
        seen = np.mean([batch["majority"][2] for batch in batches])
        assert seen == pytest.approx((1 - error_rate) ** 2 + error_rate**2, abs=0.03)
