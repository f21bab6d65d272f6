"""The quality report on the labels: agreement, annotators, calibration."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from winnow.intervals import wilson
from winnow.pages.charts import Chart, Row, intervals
from winnow.pages.words import Table, between, count, line, number, percent, spaced
from winnow.publish.report.facts import BatchFacts

MOST_ANNOTATORS = 100


@dataclass(frozen=True, slots=True)
class Annotators:
    """Those with the most votes, what was measured of none of them, and how many more there are."""

    table: Table
    unmeasured: Sequence[str]
    n_left: int


def agreement_intervals(found: Mapping[str, Any]) -> list[Row]:
    """Those of the label stage's figures that were measured, with their intervals."""
    return [each for each in (_agreement(found), _alpha(found), *_shares(found)) if each]


def agreement_chart(rows: Sequence[Row]) -> Chart:
    """The same side by side, on a common scale from 0 (or below) to 1."""
    low = min([0.0, *(row.value if row.low is None else row.low for row in rows)])
    ends = (min(0.0, math.floor(low * 4) / 4), 1.0)
    return intervals("Agreement of the labels", rows, ends=ends)


def annotators(facts: BatchFacts) -> Annotators | None:
    """A row per annotator, the busiest first; no column of what was measured of nobody."""
    if not facts.annotators:
        return None
    ordered = sorted(facts.annotators, key=lambda row: (-row["votes"], row["annotator"]))
    shown = ordered[:MOST_ANNOTATORS]
    columns = {"Votes": [count(row["votes"]) for row in shown]}
    columns |= {head: [write(row) for row in shown] for head, write in _COLUMNS.items()}
    measured = {head: cells for head, cells in columns.items() if set(cells) != {"–"}}
    names = [line(row["annotator"], 16) for row in shown]
    rows = list(zip(names, *measured.values(), strict=True))
    unmeasured = [head.lower() for head in columns if head not in measured]
    table = Table("Annotators", ["Annotator", *measured], rows)
    return Annotators(table, unmeasured, len(ordered) - len(shown))


def suspects(facts: BatchFacts) -> Table | None:
    """Annotators that fail a limit of their own, and the batch without them."""
    rows = [
        (
            line(each["annotator"], 16),
            line(spaced(each["check"])),
            number(each["measured"]),
            line(each["limit"]),
            count(each["votes"]),
            percent(each["agreement"]),
            percent(each["gold_accuracy"]),
        )
        for each in facts.verdict.get("suspects") or ()
    ]
    heads = ["Annotator", "Check", "Figure", "Limit", "Votes", "Agreement without", "Gold without"]
    return Table("Annotators to look at", heads, rows, ["Check", "Limit"]) if rows else None


def calibration(facts: BatchFacts) -> Table | None:
    """What the model stated before the votes, against the votes; None where no vote tells."""
    if facts.calibration is None:
        return None
    rows = [
        (
            percent(each.stated),
            percent(each.observed),
            between(*wilson(round(each.observed * each.n), each.n)).strip("()"),
            count(each.n),
        )
        for each in facts.calibration.bins
    ]
    return Table("Calibration", ["Stated", "Preferred", "Interval", "Votes"], rows)


def unmeasured(found: Mapping[str, Any]) -> list[str]:
    """Figures of the labels that nobody could take, by name."""
    names = ("agreement", "alpha", "gold_accuracy", "repeat_consistency", "tie_rate", "side_bias")
    return [spaced(name) for name in names if found.get(name) is None]


def _agreement(found: Mapping[str, Any]) -> Row | None:
    value = found.get("agreement")
    if value is None:
        return None
    low, high = found.get("agreement_low"), found.get("agreement_high")
    n = found.get("n_agreement")
    words = f"{percent(value)} {between(low, high)} of {n:,}" if n else percent(value)
    return Row("two votes name one side", value, words, low, high)


def _alpha(found: Mapping[str, Any]) -> Row | None:
    value = found.get("alpha")
    if value is None:
        return None
    low, high = found.get("alpha_low"), found.get("alpha_high")
    words = f"{number(value)} ({number(low)} to {number(high)})"
    return Row("Krippendorff's alpha", value, words, low, high)


def _shares(found: Mapping[str, Any]) -> list[Row | None]:
    return [
        _share(found, "gold_accuracy", "gold answered right", "n_gold"),
        _share(found, "repeat_consistency", "repeats answered alike", "n_repeats"),
        _share(found, "tie_rate", "no difference seen", None),
        _share(found, "side_bias", "distance from one half per side", None),
        _share(found, "completion", "tasks answered", None),
    ]


def _share(found: Mapping[str, Any], figure_name: str, name: str, n_name: str | None) -> Row | None:
    value = found.get(figure_name)
    if value is None:
        return None
    n = found.get(n_name) if n_name else None
    if not n:
        return Row(name, value, percent(value))
    low, high = wilson(round(value * n), n)
    return Row(name, value, f"{percent(value)} {between(low, high)} of {n:,}", low, high)


def _of(share: float | None, n: int) -> str:
    return "–" if share is None else f"{percent(share)} of {n:,}"


def _known(name: str, write: Callable[[float], str]) -> Callable[[Mapping[str, Any]], str]:
    return lambda row: "–" if row[name] is None else write(row[name])


_COLUMNS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "Agrees": lambda row: _of(row["agreement"], row["n_agreement"]),
    "Gold right": lambda row: _of(row["gold_accuracy"], row["n_gold"]),
    "First side": _known("side_share", percent),
    "Ties": _known("tie_share", percent),
    "Median": _known("median_seconds", lambda seconds: f"{number(seconds, 0)} s"),
    "Skill": _known("skill", number),
}
