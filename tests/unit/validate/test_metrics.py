"""Figures in SQL equal figures counted by hand; what cannot be measured is not a number."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.intervals import wilson
from winnow.validate.metrics import LabelFigures

from ...label_rows import label_figures
from ...sampling import examples

SIDES = ("first", "second")

votes = st.lists(
    st.tuples(
        st.sampled_from(["p1", "p2", "p3"]),
        st.sampled_from(["ann", "bob", "cat"]),
        st.sampled_from(["first", "second", "tie", "both_bad", None]),
        st.booleans(),
        st.sampled_from(["submitted", "retracted"]),
    ),
    max_size=12,
    unique_by=lambda vote: vote[:2],
)


def row(place: int, vote: tuple[Any, ...]) -> dict[str, Any]:
    pair, annotator, preferred, swapped, status = vote
    shown = {None: "skip", "first": "b" if swapped else "a", "second": "a" if swapped else "b"}
    return {
        "annotation_id": f"n{place}",
        "revision": 0,
        "task_id": f"t{place}",
        "pair_id": pair,
        "kind": "comparison",
        "annotator": annotator,
        "preferred": preferred,
        "choice": shown.get(preferred, preferred),
        "status": status,
    }


def asked(n: int) -> list[dict[str, Any]]:
    return [{"task_id": f"t{i}", "kind": "comparison"} for i in range(n)]


def mean(values: list[bool]) -> float | None:
    return sum(values) / len(values) if values else None


@pytest.mark.sampled
@settings(max_examples=examples(100), deadline=None)
@given(votes)
def test_figures_equal_a_count_by_hand(cast: list[tuple[Any, ...]]) -> None:
    rows = [row(i, vote) for i, vote in enumerate(cast)]
    figures = label_figures(rows, asked(20))
    standing = [r for r in rows if r["status"] == "submitted"]
    decided = [r for r in standing if r["preferred"]]
    pairs = [
        one["preferred"] == other["preferred"]
        for one, other in combinations(decided, 2)
        if one["pair_id"] == other["pair_id"]
        and one["preferred"] in SIDES
        and other["preferred"] in SIDES
    ]
    shown = [r["choice"] == "a" for r in decided if r["choice"] in ("a", "b")]
    first_share = mean(shown)
    by_annotator = Counter(r["annotator"] for r in decided)
    assert figures.n_annotations == len(rows)
    assert figures.completion == pytest.approx(len(standing) / 20)
    assert (figures.agreement, figures.n_agreement) == (mean(pairs), len(pairs))
    assert figures.tie_rate == mean([r["preferred"] not in SIDES for r in decided])
    assert figures.side_bias == (None if first_share is None else abs(first_share - 0.5))
    largest = max(by_annotator.values()) / len(decided) if decided else None
    assert figures.largest_annotator_share == largest


def test_nothing_is_measured_on_nothing() -> None:
    figures = label_figures([], asked(0))
    assert figures.completion is None
    assert figures.agreement is None
    assert figures.n_annotations == 0


def test_only_the_latest_revision_counts_while_it_stands() -> None:
    first = row(0, ("p1", "ann", "first", False, "submitted"))
    edited = {**first, "revision": 7, "preferred": "tie", "choice": "tie"}
    other = row(1, ("p2", "bob", "first", False, "submitted"))
    gone = {**other, "revision": 1, "status": "retracted"}
    figures = label_figures([first, edited, other, gone], asked(2))
    assert (figures.completion, figures.tie_rate, figures.side_bias) == (0.5, 1.0, None)


def test_gold_and_repeats_tell_of_annotators_and_are_no_votes() -> None:
    vote = row(0, ("p1", "ann", "first", False, "submitted"))
    again = {**row(1, ("p1", "ann", "second", True, "submitted")), "kind": "repeat"}
    known = {**row(2, ("g1", "ann", "tie", False, "submitted")), "kind": "gold"}
    right = {**row(3, ("g2", "bob", "first", True, "submitted")), "kind": "gold"}
    tasks = [{"task_id": f"t{i}", "expected": "first" if i > 1 else None} for i in range(4)]
    figures = label_figures([vote, again, known, right], tasks)
    assert (figures.n_gold, figures.gold_accuracy) == (2, 0.5)
    assert (figures.n_repeats, figures.repeat_consistency) == (1, 0.0)
    assert (figures.tie_rate, figures.side_bias, figures.n_agreement) == (0.0, 0.5, 0)


def test_a_figure_that_a_version_before_did_not_measure_is_absent() -> None:
    figures = label_figures([row(0, ("p1", "ann", "first", False, "submitted"))], asked(1))
    assert LabelFigures.of({**figures.as_dict(), "later": 1}) == figures
    before = {name: value for name, value in figures.as_dict().items() if name != "tie_rate"}
    assert LabelFigures.of(before) == replace(figures, tie_rate=None)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_bounds_solve_the_score_equation(counts: tuple[int, int]) -> None:
    hits, n = counts
    low, high = wilson(hits, n)
    assert 0.0 <= low <= hits / n + 1e-12
    assert hits / n - 1e-12 <= high <= 1.0
    for p in (low, high):
        if 1e-9 < p < 1.0 - 1e-9:
            assert abs(hits / n - p) / math.sqrt(p * (1.0 - p) / n) == pytest.approx(1.96, abs=1e-6)
