"""Orders as they are read, and what they cost pair by pair."""

from __future__ import annotations

import json
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.ingest.values import Unreadable
from winnow.label.annotation import AskedTask, read_annotation
from winnow.label.rankings import told_by_pairs
from winnow.label.vendors.label_studio.page import read_ranking
from winnow.records import ANNOTATIONS, RANKING_TASKS, to_table

from ...label_studio_world import ordered

SHOWN = ("r3", "r1", "r4", "r2", "r5")
ASKED = {"t": AskedTask("ranking", False, "comparison", SHOWN)}


def read(**fields: Any) -> Any:
    record = {"annotation_id": "x", "task_id": "t", "annotator": "ann", "price": 10, **fields}
    return read_annotation(json.dumps(record).encode(), ASKED)


@st.composite
def groups(draw: st.DrawFn) -> list[list[str]]:
    names = draw(st.permutations(SHOWN))
    cuts = sorted(draw(st.sets(st.integers(1, len(SHOWN) - 1))))
    return [list(names[a:b]) for a, b in pairwise([0, *cuts, len(SHOWN)])]


@given(groups(), st.booleans())
def test_every_order_is_read_however_it_is_written(order, is_flat) -> None:
    written = [g[0] if is_flat and len(g) == 1 else g[::-1] for g in order]
    found = read(order=written)
    assert found.preferred == "ranked" and found.pair_id == "ranking"
    assert json.loads(found.choice) == [sorted(group) for group in order]


@given(groups(), st.sampled_from(["stands_twice", "unknown_response", "missing_response"]))
def test_what_is_no_order_of_what_was_shown_is_refused(order, reason) -> None:
    if reason == "stands_twice":
        order = [*order, [order[0][0]]]
    elif reason == "unknown_response":
        order = [*order[:-1], [*order[-1], "r6"]]
    else:
        order = [group for group in ([*order[0][1:]], *order[1:]) if group]
    if order:
        with pytest.raises(Unreadable) as refused:
            read(order=order)
        assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"choice": "a"}, "unknown_choice"),
        ({}, "unknown_choice"),
        ({"choice": "skip", "order": list(SHOWN)}, "unknown_choice"),
        ({"order": "r1"}, "does_not_parse"),
        ({"order": [["r1"], []]}, "does_not_parse"),
        ({"order": [{"id": "r1"}]}, "does_not_parse"),
        ({"order": list(SHOWN), "task_id": "other"}, "unknown_task"),
    ],
)
def test_answers_that_are_no_ranking(fields, reason) -> None:
    with pytest.raises(Unreadable) as refused:
        read(**fields)
    assert refused.value.reason == reason


def test_a_skip_says_nothing() -> None:
    assert (read(choice="Skip").choice, read(choice="skip").preferred) == ("skip", None)


def test_label_studios_order() -> None:
    assert read_ranking(ordered("b", "a")) == {"order": ["b", "a"], "rationale": None}
    assert read_ranking(ordered())["choice"] == "skip"
    assert read_ranking([{"from_name": "order", "value": {}}])["choice"] is None


@given(groups(), st.integers(0, 100), st.integers(0, 100))
def test_prices_of_pairs_add_up_and_none_is_above_its_tasks(order, price, less) -> None:
    charged = max(0, price - less)
    answer = read(order=order, price=charged)
    task = {"task_id": "t", "pair_id": "ranking", "shown": list(SHOWN), "price": price}
    task |= {"kind": "comparison", "swapped": False}
    tasks, annotations = _by_pairs(task, answer)
    assert sum(row["price"] for row in tasks) == price
    assert sum(row["price"] for row in annotations) == charged
    agreed = {row["task_id"]: row for row in tasks}
    assert len(agreed) == len(annotations) == 10
    for row in annotations:
        asked = agreed[row["task_id"]]
        assert row["price"] <= asked["price"] and row["pair_id"] == asked["pair_id"]
        shown = [asked["shown_a"], asked["shown_b"]]
        assert SHOWN.index(shown[0]) < SHOWN.index(shown[1])
        rank = [next(n for n, g in enumerate(order) if name in g) for name in shown]
        expected = "tie" if rank[0] == rank[1] else "a" if rank[0] < rank[1] else "b"
        assert row["choice"] == expected


def _by_pairs(task: dict[str, Any], answer: Any) -> tuple[list[Any], list[Any]]:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        pq.write_table(to_table([task], RANKING_TASKS), folder / "tasks.parquet")
        pq.write_table(to_table([answer], ANNOTATIONS), folder / "answers.parquet")
        files = told_by_pairs(folder / "tasks.parquet", folder / "answers.parquet", folder)
        tasks, annotations = (pq.read_table(file).to_pylist() for file in files)
    return tasks, annotations
