"""The page of the speed bench: prompts per second, and the ratio to the floor.

The floor is the time of the matrix products that decision gain cannot do without, measured in the
same run; a ratio of 1 would mean that choosing pairs costs nothing beside them. A strategy's own
floor counts the products that this strategy needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from winnow.errors import Corrupt
from winnow.pages.charts import Chart, Row, bars
from winnow.pages.render import render
from winnow.pages.words import Table
from winnow_bench.charts import slots
from winnow_bench.document import TEMPLATES, definitions, plain_table
from winnow_bench.verdicts import join, name_of

TYPICAL = {"pool": 100, "dimension": 128, "picks": 8, "threads": 1}
TARGET_RATIO = 3.0

_SETTING = {"pool": "Pool", "dimension": "Features", "picks": "Picks", "threads": "Threads"}
_SPEEDS = {
    "prompts_per_second": ("Prompts per second", ",.0f"),
    "floor_prompts_per_second": ("Floor, prompts per second", ",.0f"),
    "ratio_to_own_floor": ("Times its own floor", ".2f"),
    "ratio_to_floor": ("Times the floor", ".2f"),
}


def speed_page(speed: Mapping[str, Any]) -> str:
    """The page as HTML.

    Args:
        speed: "rows" with the keys "strategy", "pool", "dimension", "picks", "threads",
            "prompts_per_second", "floor_prompts_per_second", "ratio_to_floor" and, if it was
            measured, "ratio_to_own_floor"; whatever else is there is shown as it is named.

    Raises:
        Corrupt: There are no rows.
    """
    rows: Sequence[Mapping[str, Any]] = speed["rows"]
    if not rows:
        raise Corrupt("The speed bench has no rows to show: run it again.")
    typical = [row for row in rows if all(row[key] == TYPICAL[key] for key in TYPICAL)]
    others = {name: value for name, value in speed.items() if name != "rows"}
    titles = {name: name.replace("_", " ").capitalize() for name in others}
    tables = {name: value for name, value in others.items() if isinstance(value, list) and value}
    lists = {name: value for name, value in others.items() if isinstance(value, Mapping)}
    plain = {k: v for k, v in others.items() if k not in tables and k not in lists}
    return render(
        "speed.html",
        TEMPLATES,
        lead=_lead(typical) if typical else "",
        bars=_bars(typical) if typical else None,
        settings=_settings(rows),
        tables=[plain_table(titles[name], value) for name, value in tables.items()],
        lists=[
            *((titles[name], definitions(value)) for name, value in lists.items()),
            *([("Also measured", definitions(plain))] if plain else []),
        ],
    )


def _lead(typical: Sequence[Mapping[str, Any]]) -> str:
    speeds = join(
        f"{name_of(row['strategy'])} for {row['prompts_per_second']:,.0f} prompts per second"
        for row in typical
    )
    return (
        f"From pools of {TYPICAL['pool']}, with {TYPICAL['dimension']} features and "
        f"{TYPICAL['picks']} picks, one thread chooses with {speeds}."
    )


def _bars(typical: Sequence[Mapping[str, Any]]) -> Chart:
    slot = slots(row["strategy"] for row in typical)
    rows = [
        Row(
            name_of(row["strategy"]),
            row["ratio_to_floor"],
            f"{row['ratio_to_floor']:.2f}",
            css=slot[row["strategy"]],
        )
        for row in sorted(typical, key=lambda row: row["ratio_to_floor"])
    ]
    limits = ((1.0, "floor"), (TARGET_RATIO, f"{TARGET_RATIO:.0f} times"))
    return bars("Time, as a multiple of the floor", rows, limits)


def _settings(rows: Sequence[Mapping[str, Any]]) -> Table:
    speeds = [key for key in _SPEEDS if all(key in row for row in rows)]
    ordered = sorted(rows, key=lambda row: tuple(row[key] for key in ("strategy", *_SETTING)))
    cells = [
        (
            name_of(row["strategy"]),
            *(f"{row[key]}" for key in _SETTING),
            *(format(row[key], _SPEEDS[key][1]) for key in speeds),
        )
        for row in ordered
    ]
    heads = ["Strategy", *_SETTING.values(), *(_SPEEDS[key][0] for key in speeds)]
    return Table("Every setting", heads, cells)
