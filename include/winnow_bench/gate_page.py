"""The page of the gate bench: how often it errs, how soon it finds a bad model, what it costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from winnow.pages.charts import Axis, Chart, Point, Series, plane
from winnow.pages.render import render
from winnow.pages.words import Table
from winnow_bench.document import TEMPLATES

Row = Mapping[str, Any]

_SHARES = Axis(0.0, 1.0, [(k / 5.0, f"{20 * k}%") for k in range(6)])
_SIZE = (520, 260)


def gate_page(report: Mapping[str, Any]) -> str:
    """The page as HTML; `report` is what `winnow_bench.gate.run` writes."""
    rows: Sequence[Row] = report["rows"]
    gates = list(dict.fromkeys(row["gate"] for row in rows))
    return render(
        "gate.html",
        TEMPLATES,
        report=report,
        legend=[(kind, f"k{n}") for n, kind in enumerate(report["kinds"])],
        charts=[
            (f"{words}: {gate}", _chart(f"{words}, {gate}", name, _of(rows, gate)))
            for gate in gates
            for name, words in (("closed", "Gate closed"), ("open", "Gate open"))
        ],
        states=[(gate, _states(gate, _of(rows, gate))) for gate in gates],
        delays=_delays(rows),
        costs=_costs(report["costs"]),
    )


def _of(rows: Sequence[Row], gate: str) -> list[Row]:
    return [row for row in rows if row["gate"] == gate]


def _chart(label: str, name: str, rows: Sequence[Row]) -> Chart:
    """Share of campaigns in a state by night, a line a kind of model."""
    nights = [at["night"] for at in rows[0]["nights"]]
    places = [(math.log2(night), str(night)) for night in nights]
    x = Axis(places[0][0] - 0.2, places[-1][0] + 0.2, places, "nights")
    series = [
        Series(
            f"k{n}",
            [
                Point(
                    math.log2(at["night"]),
                    at[name][0],
                    f"{row['kind']}, {at['night']} nights: {share(at[name])}",
                    *at[name][1:],
                )
                for at in row["nights"]
            ],
            joined=True,
        )
        for n, row in enumerate(rows)
    ]
    return plane(label, x, _SHARES, series, size=_SIZE)


def _states(gate: str, rows: Sequence[Row]) -> Table:
    names = ("open", "undecided", "closed", "ever_closed")
    cells = [
        [row["kind"], f"{at['night']}", *(share(at[name]) for name in names)]
        for row in rows
        for at in row["nights"]
    ]
    return Table(gate, ["Model", "Nights", *(n.replace("_", " ") for n in names)], cells)


def _delays(rows: Sequence[Row]) -> Table:
    heads = ["Model", "Gate", "Log-loss", "Length", "Closed after", "Opened after"]
    cells = []
    for row in rows:
        delays = [labels(row[f"labels_until_{state}"]) for state in ("closed", "open")]
        losses = [f"{row[name]:.3f}" for name in ("log_loss", "length_log_loss")]
        cells.append([row["kind"], row["gate"], *losses, *delays])
    return Table("Labels until it is found", heads, cells, ["Gate"])


def _costs(rows: Sequence[Row]) -> Table:
    metrics = ("policy", "pair accuracy", "winners")
    cells = [
        [
            f"{row['pool']}, {row['arm']}",
            f"{row['nights closed']:.1f}",
            *(f"{100 * row[metric]:.1f}{points(row[f'{metric} beyond'])}" for metric in metrics),
        ]
        for row in rows
    ]
    return Table("What it costs", ["Arm", "Nights fallen back", *metrics], cells)


def share(three: Sequence[float]) -> str:
    """A share with its interval, in percent."""
    at, low, high = three
    return f"{at:.1%} ({low:.1%} to {high:.1%})"


def labels(pair: Sequence[float | None]) -> str:
    """Median and 95th percentile of a number of labels."""
    median, most = ("never" if n is None else f"{n:,.0f}" for n in pair)
    return median if median == most else f"{median}, 95th percentile {most}"


def points(three: Sequence[float] | None) -> str:
    """A difference with its interval, in points; nothing where there is none."""
    if three is None:
        return ""
    difference, low, high = (100 * value for value in three)
    return f", {difference:+.1f} ({low:+.1f} to {high:+.1f})"
