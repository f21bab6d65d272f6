"""The votes bench as a page and as text: every figure comes from the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from winnow.pages.render import render
from winnow_bench.document import TEMPLATES, plain_table

LIMITS = (
    "llmfao and pandalm have no gold: their accuracy is of one held-out vote per pair, which is as "
    "noisy as any vote. Nor have they a reward model: bradley_terry starts every pair at one half.",
    "The planted batch is simulated, by the model that bradley_terry assumes: it says that the "
    "model is found again, not that annotators are like that.",
    "AdultContent2 has gold for 333 items: the intervals say what that leaves to noise.",
    "How much dawid_skene smooths was chosen on these very sets, so its figures flatter it; the "
    "settings of bradley_terry were set before it saw them, and its design was tried on llmfao.",
    "Crowd-kit's methods see neither sides nor a reward model: it has no model of the same task.",
)


def votes_page(report: Mapping[str, Any]) -> str:
    """The page as HTML; `report` is what `winnow_bench.votes.run` writes."""
    results = report["results"]
    return render(
        "votes.html",
        TEMPLATES,
        crowd_kit=report["crowd_kit"],
        seeds=report["seeds"],
        tables=[
            plain_table(data, [_shown(row) for row in results if row["data"] == data])
            for data in dict.fromkeys(row["data"] for row in results)
        ],
        alpha=plain_table("Alpha", report["alpha"]),
        limits=LIMITS,
    )


def table(report: Mapping[str, Any]) -> str:
    """The same as text, a line per method and per alpha."""
    lines = [
        f"{row['data']:20} {row['by']:9} {row['method']:14} {_number(row['accuracy'], '.4f'):>7}"
        f" {_number(row['difference'], '+.4f'):>8} ± {_number(row['half'], '.4f'):6}"
        f" {_number(row['seconds'], '.3f'):>8} s {row['note']}"
        for row in report["results"]
    ]
    lines.insert(0, "set, who, method, accuracy, difference to crowd-kit's Dawid-Skene, time")
    lines += [
        f"{row['data']:20} alpha {_number(row['alpha'], '.4f')} ({_number(row['low'], '.4f')} to "
        f"{_number(row['high'], '.4f')}) in {row['seconds']:.4f} s; crowd-kit "
        f"{_number(row['crowd_kit_alpha'], '.4f')} in {_number(row['crowd_kit_seconds'], '.3f')} s"
        for row in report["alpha"]
    ]
    return "\n".join([*lines, *limits()])


def limits() -> Sequence[str]:
    """What the figures cannot show, a line each."""
    return [f"Cannot show: {limit}" for limit in LIMITS]


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    who = f"{row['by']} {row['method']}"
    return {"method": who, **{k: v for k, v in row.items() if k not in ("data", "by", "method")}}


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
