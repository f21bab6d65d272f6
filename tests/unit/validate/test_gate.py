"""The gate blocks, warns or passes by its limits; an error or an empty batch never passes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from winnow.campaign import Validate
from winnow.records import ANNOTATIONS, TASKS, to_table
from winnow.validate.gate import Verdict, judge
from winnow.validate.metrics import LabelFigures, label_figures

GOOD = LabelFigures(
    n_annotations=8,
    n_annotators=2,
    completion=1.0,
    agreement=0.8,
    agreement_low=0.4,
    agreement_high=0.95,
    n_agreed=4,
    n_agreement=5,
    alpha=0.6,
    alpha_low=0.2,
    alpha_high=0.9,
    tie_rate=0.1,
    side_bias=0.02,
    gold_accuracy=0.9,
    gold_accuracy_high=0.97,
    n_gold=10,
    repeat_consistency=0.8,
    n_repeats=5,
    largest_annotator_share=0.5,
)


def rows(**changes: Any) -> list[dict[str, Any]]:
    return [
        {
            "annotation_id": f"n{i}",
            "revision": 0,
            "task_id": f"t{i}",
            "pair_id": f"p{i}",
            "annotator": "h",
            "choice": "a",
            "preferred": "first",
            "active_seconds": 9.0,
            "status": "submitted",
            **(changes if i == 0 else {}),
        }
        for i in range(8)
    ]


def verdict(annotations: pa.Table | None = None, **figures: Any) -> Verdict:
    table = to_table(rows(), ANNOTATIONS) if annotations is None else annotations
    return judge(table, replace(GOOD, **figures), Validate())


def test_a_clean_batch_passes() -> None:
    assert verdict().verdict == "pass"
    assert verdict().reasons() == []


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ({"agreement_high": 0.5}, "warn"),
        ({"agreement_high": 0.4}, "block"),
        ({"agreement": 0.2, "agreement_low": 0.04, "agreement_high": 0.62}, "pass"),
        ({"side_bias": 0.2}, "warn"),
        ({"side_bias": 0.4}, "block"),
        ({"tie_rate": 0.95}, "block"),
        ({"agreement": None, "agreement_high": None, "n_agreement": 0}, "pass"),
    ],
)
def test_figures_are_held_against_their_limits(figures: dict[str, Any], expected: str) -> None:
    judged = verdict(**figures)
    assert judged.verdict == expected
    name, value = next(iter(figures.items()))
    if expected != "pass":
        assert any(f"{name} = {value}" in reason for reason in judged.reasons())


def test_a_figure_that_was_not_measured_says_so() -> None:
    outcomes = {check.name: check.outcome for check in verdict(agreement=None).checks}
    assert outcomes["agreement"] == "not_measured"


@pytest.mark.parametrize(
    "fault",
    [{"choice": "left"}, {"annotator": None}, {"annotation_id": "n1"}, {"task_id": None}],
)
def test_one_bad_row_blocks(fault: dict[str, Any]) -> None:
    assert verdict(to_table(rows(**fault), ANNOTATIONS)).verdict == "block"


def test_an_empty_batch_is_blocked() -> None:
    empty = to_table([], ANNOTATIONS)
    assert judge(empty, label_figures(empty, to_table([], TASKS)), Validate()).verdict == "block"


def test_an_expectation_that_errs_blocks() -> None:
    unknown = to_table(rows(), ANNOTATIONS).set_column(
        1, "revision", pa.array([{"x": 1}] * 8, pa.struct([("x", pa.int64())]))
    )
    judged = verdict(unknown)
    assert judged.verdict == "block"
    assert "error" in {check.outcome for check in judged.checks}


def test_a_verdict_is_read_back_as_it_was_written() -> None:
    judged = verdict(agreement_high=0.5)
    assert Verdict.from_bytes(judged.to_bytes()) == judged
