"""The report's figures equal a count by hand, and what cannot be measured is None."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from winnow.intervals import wilson

from ...label_rows import annotator_report

START = datetime(2026, 11, 22, tzinfo=UTC)
Row = dict[str, Any]


def row(name: str, annotator: str, preferred: str | None, **changes: Any) -> Row:
    swapped = changes.get("swapped", False)
    shown = {"first": "ba"[not swapped], "second": "ab"[not swapped], None: "skip"}
    base = {
        "annotation_id": name,
        "revision": 0,
        "task_id": name,
        "pair_id": name.split("/")[0],
        "kind": "comparison",
        "annotator": annotator,
        "choice": shown.get(preferred, preferred),
        "swapped": swapped,
        "preferred": preferred,
        "strength": None,
        "started_at": START,
        "finished_at": START + timedelta(seconds=20),
        "active_seconds": None,
        "status": "submitted",
        "price": 1,
    }
    return {**base, **changes}


def comparison(pair: str) -> Row:
    return {"pair_id": pair, "p_first": 0.5}


ROWS = [
    row("p/1", "ann", "first", active_seconds=10.0),
    row("p/2", "bob", "first"),
    row("p/3", "cat", "second", swapped=True),
    row("q/1", "ann", "tie"),
    row("q/2", "bob", "second", revision=0),
    row("q/2", "bob", "first", revision=1),
    row("r/1", "ann", "second", status="retracted"),
    row("r/2", "ann", None),
    row("p/4", "ann", "first", kind="repeat", swapped=True, active_seconds=40.0),
    row("q/4", "ann", "first", kind="repeat"),
    row("r/4", "ann", "first", kind="repeat"),
    row("g/1", "ann", "first", kind="gold"),
    row("h/1", "ann", "second", kind="gold"),
    row("i/1", "ann", "first", kind="gold"),
]
EXPECTED = {"g/1": "first", "h/1": "first"}
PAIRS = [comparison(pair) for pair in "pqr"]


def test_figures_are_what_a_count_by_hand_gives() -> None:
    ann, bob, cat = annotator_report(ROWS, PAIRS, EXPECTED)
    assert [each.annotator for each in (ann, bob, cat)] == ["ann", "bob", "cat"]
    assert (ann.votes, bob.votes, cat.votes) == (2, 2, 1)
    assert (ann.agreement, ann.n_agreement) == (0.5, 2)
    assert (cat.agreement, cat.n_agreement) == (0.0, 2)
    assert (ann.gold_accuracy, ann.n_gold) == (0.5, 2)
    assert (ann.gold_low, ann.gold_high) == wilson(1, 2)
    assert (ann.consistency, ann.n_repeats) == (0.5, 2)
    assert ann.tie_share == 0.5
    assert ann.side_share == pytest.approx(5 / 7)
    assert cat.side_share == 1.0
    assert ann.median_seconds == 20.0
    assert 0.0 < cat.skill < bob.skill < 1.0


def test_what_cannot_be_measured_is_none_and_rows_are_json() -> None:
    rows = [row("p/1", "ann", "tie", finished_at=None)]
    [found] = annotator_report(rows, PAIRS, {})
    unknown = ("agreement", "gold_accuracy", "gold_low", "side_share", "median_seconds")
    assert all(found.as_dict()[name] is None for name in (*unknown, "consistency"))
    assert json.loads(json.dumps(found.as_dict())) == found.as_dict()
    assert annotator_report([], [], {}) == []


def test_an_annotator_of_unjudged_gold_only_has_no_estimate() -> None:
    [found] = annotator_report([row("g/1", "ann", "first", kind="gold")], [], {})
    assert (found.votes, found.n_gold, found.skill, found.side_bias) == (0, 0, None, None)


def test_order_does_not_matter_and_votes_of_ones_own_are_no_agreement() -> None:
    assert annotator_report(ROWS[::-1], PAIRS, EXPECTED) == annotator_report(ROWS, PAIRS, EXPECTED)
    twice = [row("p/1", "ann", "first"), row("p/2", "ann", "first")]
    [found] = annotator_report(twice, PAIRS, {})
    assert (found.agreement, found.n_agreement) == (None, 0)


def test_a_spammer_has_less_skill_and_a_one_sided_one_a_bias() -> None:
    rows = []
    for n in range(120):
        pair, swapped = f"p{n:03}", n % 2 == 0
        truth = "first" if n % 3 else "second"
        rows += [row(f"{pair}/{k}", f"careful-{k}", truth, swapped=k % 2 == 0) for k in range(2)]
        shown_first = "second" if swapped else "first"
        rows.append(row(f"{pair}/8", "one-sided", shown_first, swapped=swapped))
        rows.append(row(f"{pair}/9", "spammer", ("first", "second")[n * 7 % 5 % 2]))
    found = {
        f.annotator: f
        for f in annotator_report(rows, [comparison(f"p{n:03}") for n in range(120)], {})
    }
    assert found["careful-0"].skill > 0.85
    assert max(found["spammer"].skill, found["one-sided"].skill) < 0.4
    assert found["one-sided"].side_bias > 0.6
    assert found["one-sided"].side_share == 1.0
    assert abs(found["careful-1"].side_bias) < 0.1
