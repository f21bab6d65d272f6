"""The functions on a batch's labels, called with plain rows instead of a database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import duckdb
import numpy as np

from winnow.label import database
from winnow.label.aggregation import aggregate as by_votes
from winnow.label.aggregation import annotators
from winnow.label.aggregation.agreement import Agreement
from winnow.label.aggregation.agreement import batch_agreement as agreement_in
from winnow.label.tasks import Draft
from winnow.records import ASKED, to_table
from winnow.validate import metrics

Row = Mapping[str, Any]


def drafted(tasks: Sequence[Any] = (), requests: Sequence[Any] = ()) -> Draft:
    """A draft of tasks, beside what they show where that matters."""
    shown = [asdict(request) for request in requests] or [{}] * len(tasks)
    rows = [{**each, **asdict(task)} for each, task in zip(shown, tasks, strict=True)]
    return Draft(to_table(rows, ASKED).to_batches(), "i")


@contextmanager
def labels(**rows: Sequence[Row]) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database of rows by table."""
    tables = {name: to_table(rows[name], database.SCHEMAS[name]) for name in rows}
    with database.opened(tables) as connection:
        yield connection


def aggregate(
    annotations: Sequence[Row],
    comparisons: Sequence[Row],
    method: str = "majority",
    expected: Mapping[str, str] | None = None,
) -> list[Any]:
    """Rows of the preferences, with an attribute a column."""
    told = _tasks(expected or {})
    with labels(annotations=annotations, comparisons=comparisons, tasks=told) as connection:
        found = by_votes.aggregate(connection, method)
    return [SimpleNamespace(**row) for row in found.to_pylist()]


def aggregate_by_each(
    annotations: Sequence[Row], comparisons: Sequence[Row]
) -> Mapping[str, list[Any]]:
    """Rows of the preferences by method, from one database."""
    with labels(annotations=annotations, comparisons=comparisons) as connection:
        return {
            method: [
                SimpleNamespace(**row) for row in by_votes.aggregate(connection, method).to_pylist()
            ]
            for method in by_votes.METHODS
        }


def annotator_report(
    annotations: Sequence[Row], comparisons: Sequence[Row], expected: Mapping[str, str]
) -> list[annotators.AnnotatorFigures]:
    told = _tasks(expected)
    with labels(annotations=annotations, comparisons=comparisons, tasks=told) as connection:
        return annotators.annotator_report(connection)


def judge_batch(
    annotations: Sequence[Row], comparisons: Sequence[Row], expected: Mapping[str, str]
) -> SimpleNamespace:
    told = _tasks(expected)
    with labels(annotations=annotations, comparisons=comparisons, tasks=told) as connection:
        judged, names = annotators.judge_batch(connection)
        return SimpleNamespace(judged=judged, annotators=names)


def label_figures(annotations: Sequence[Row], tasks: Sequence[Row]) -> metrics.LabelFigures:
    with labels(annotations=annotations, tasks=tasks) as connection:
        return metrics.label_figures(connection)


def batch_agreement(annotations: Sequence[Row], rng: np.random.Generator) -> Agreement:
    with labels(annotations=annotations) as connection:
        return agreement_in(connection, rng)


def _tasks(expected: Mapping[str, str]) -> list[Row]:
    return [{"task_id": task, "expected": answer} for task, answer in expected.items()]
