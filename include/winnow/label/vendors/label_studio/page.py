"""The page that people answer from, and what their answers on it mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from winnow.label.vendor import CHOICE_LABELS, SIDES, RankingRequest, TaskRequest
from winnow.pages.render import render

_TEMPLATES = Path(__file__).with_name("templates")


def label_config(dimensions: Sequence[str], as_choices: Sequence[str] = ()) -> str:
    """The page, which asks for ratings on `dimensions`, and for a choice on those `as_choices`."""
    told = {side: CHOICE_LABELS[side] for side in SIDES}
    return render(
        "page.xml",
        _TEMPLATES,
        dimensions=dimensions,
        as_choices=as_choices,
        choices=CHOICE_LABELS,
        sides=told,
    ).strip()


def ranking_config() -> str:
    """The page of rankings."""
    return render("ranking.xml", _TEMPLATES).strip()


def task_data(task: TaskRequest) -> dict[str, Any]:
    """What a task shows, plain text by the fields of the page."""
    asked = {
        "task": task.asked,
        "prompt": [{"role": m.role, "content": m.content} for m in task.messages],
    }
    if isinstance(task, RankingRequest):
        return {**asked, "responses": [_item(each.id, each.text) for each in task.responses]}
    return {
        **asked,
        "response_a": task.response_a,
        "response_b": task.response_b,
    }


CLOSED_PAGE: Mapping[str, Any] = {
    "task": "This batch is closed: there is nothing left to answer. Thank you.",
    "prompt": [{"role": "Winnow", "content": "This batch is closed."}],
    "response_a": "Nothing to judge.",
    "response_b": "Nothing to judge.",
}
"""Data of the task that stays where others were withdrawn."""


def closed_data(is_ranking: bool) -> dict[str, Any]:
    """`CLOSED_PAGE` by the fields of a batch's page."""
    return {**CLOSED_PAGE, "responses": [_item("none", "Nothing to judge.")] if is_ranking else {}}


def _item(name: str, text: str) -> dict[str, str]:
    """An item of a list; its body is shown as text."""
    return {"id": name, "title": "", "body": text}


def read_ranking(result: Any) -> dict[str, Any]:
    """The fields `order` and `rationale` of an annotation's `result`, read as `read_result` does.

    Who pressed nothing but the skip of the page gives the choice `skip`.
    """
    try:
        values = {str(part["from_name"]): part["value"] for part in result}
        text = values.get("rationale", {}).get("text")
        rationale = "\n".join(text) if isinstance(text, list) else text
        if "skip" in values:
            return {"choice": "skip", "rationale": rationale or None}
        [order] = values["order"]["ranker"].values()
        return {"order": list(order), "rationale": rationale or None}
    except (TypeError, KeyError, ValueError, AttributeError):
        return {"choice": None, "result": result}


def read_result(result: Any, dimensions: Sequence[str]) -> dict[str, Any]:
    """The fields `choice`, of each dimension, and `rationale` of an annotation's `result`.

    What is there but cannot be read becomes a field that does not parse, beside the `result`
    itself. A dimension that was rated for one side only is left out.
    """
    try:
        values = {str(part["from_name"]): part["value"] for part in result}
        (choice,) = values["choice"]["choices"]
        ratings: dict[str, dict[str, Any]] = {}
        chosen: dict[str, Any] = {}
        for number, dimension in enumerate(dimensions):
            rated = {side: values.get(f"rating_{number}_{side}") for side in ("a", "b")}
            grades = {side: value["rating"] for side, value in rated.items() if value is not None}
            ratings |= {dimension: grades} if len(grades) == 2 else {}
            if (of_dimension := values.get(f"choice_{number}")) is not None:
                (chosen[dimension],) = of_dimension["choices"]
        text = values.get("rationale", {}).get("text")
        rationale = "\n".join(text) if isinstance(text, list) else text
        given = {"ratings": ratings, "rationale": rationale or None}
        return {"choice": choice, **given, **({"dimension_choices": chosen} if chosen else {})}
    except (TypeError, KeyError, ValueError, AttributeError):
        return {"choice": None, "result": result}
