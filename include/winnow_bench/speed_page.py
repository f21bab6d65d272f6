"""The page of the speed bench: prompts per second, and the ratio to the floor.

The floor is the time of the matrix products that decision gain cannot do without, measured in the
same run; a ratio of 1 would mean that choosing pairs costs nothing beside them. A strategy's own
floor counts the products that this strategy needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from winnow.errors import Corrupt
from winnow.page.markup import definitions, figure, paragraphs, scrolling, section
from winnow_bench.charts import Bar, bars_svg
from winnow_bench.document import document, slots
from winnow_bench.verdicts import join, name_of

TYPICAL = {"pool": 100, "dimension": 128, "picks": 8, "threads": 1}
TARGET_RATIO = 3.0

_FLOOR = (
    "The floor is the matrix products that decision gain cannot do without, timed in the same run; "
    "a strategy's own floor is the products that it needs itself."
)

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
    slot = slots(row["strategy"] for row in rows)
    typical = [row for row in rows if all(row[key] == TYPICAL[key] for key in TYPICAL)]
    body = _typical(typical, slot) if typical else ""
    body += section("Every setting", _table(rows, slot))
    others = {name: value for name, value in speed.items() if name != "rows"}
    return document("How fast pairs are chosen", body + _others(others))


def _typical(rows: Sequence[Mapping[str, Any]], slot: Mapping[str, str]) -> str:
    said = join(
        f"{name_of(row['strategy'])} for {row['prompts_per_second']:,.0f} prompts per second"
        for row in rows
    )
    lead = (
        f"From pools of {TYPICAL['pool']}, with {TYPICAL['dimension']} features and "
        f"{TYPICAL['picks']} picks, one thread chooses with {said}."
    )
    bars = [
        Bar(
            name_of(row["strategy"]),
            slot[row["strategy"]],
            row["ratio_to_floor"],
            f"{row['ratio_to_floor']:.2f}",
        )
        for row in sorted(rows, key=lambda row: row["ratio_to_floor"])
    ]
    limits = ((1.0, "floor"), (TARGET_RATIO, f"{TARGET_RATIO:.0f} times"))
    title = "Time, as a multiple of the floor"
    return paragraphs([lead], "lead") + figure(title, _FLOOR, bars_svg(bars, limits, title))


def _table(rows: Sequence[Mapping[str, Any]], slot: Mapping[str, str]) -> str:
    largest = max(row["ratio_to_floor"] for row in rows)
    speeds = [key for key in _SPEEDS if all(key in row for row in rows)]
    names = [*_SETTING.values(), *(_SPEEDS[key][0] for key in speeds)]
    heads = "".join(f'<th scope="col">{name}</th>' for name in ("Strategy", *names))
    ordered = sorted(rows, key=lambda row: tuple(row[key] for key in ("strategy", *_SETTING)))
    body = "".join(_row(row, slot[row["strategy"]], speeds, largest) for row in ordered)
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
    return scrolling("Every setting", table)


def _row(row: Mapping[str, Any], css: str, speeds: Sequence[str], largest: float) -> str:
    cells = [f"{row[key]}" for key in _SETTING]
    cells += [format(row[key], _SPEEDS[key][1]) for key in speeds]
    share = 100 * row["ratio_to_floor"] / largest
    cells[-1] += f'<span class="meter {css}"><i style="width:{share:.0f}%"></i></span>'
    values = "".join(f"<td>{cell}</td>" for cell in cells)
    return f'<tr><th scope="row">{escape(name_of(row["strategy"]))}</th>{values}</tr>'


def _others(measured: Mapping[str, Any]) -> str:
    """What else was measured: tables for lists of rows, names and values for the rest."""
    plain, body = {}, ""
    for name, value in measured.items():
        title = name.replace("_", " ").capitalize()
        if isinstance(value, list) and value and all(isinstance(row, Mapping) for row in value):
            body += section(title, plain_table(title, value))
        elif isinstance(value, Mapping):
            body += section(title, definitions(value))
        else:
            plain[name] = value
    return body + (section("Also measured", definitions(plain)) if plain else "")


def plain_table(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as they are, a column per key."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    heads = "".join(f'<th scope="col">{escape(name.replace("_", " "))}</th>' for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(_said(row.get(name)))}</td>" for name in names) + "</tr>"
        for row in rows
    )
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
    return scrolling(title, table)


def _said(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:,.4g}" if isinstance(value, float) else str(value)
