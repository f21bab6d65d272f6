"""The page that people answer from, and what their answers on it mean.

What always holds: texts of models and prompts are shown by tags that escape them, and are told not
to be addresses, so no text makes a browser or the server load anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import quoteattr

from winnow.label.vendor import TaskRequest

_CHOICES = (
    ("a", "A is better", "1"),
    ("b", "B is better", "2"),
    ("tie", "Equally good", "3"),
    ("both_bad", "Both are bad", "4"),
    ("skip", "I cannot judge this", "5"),
)
_RATED = ",".join(choice for choice, _, _ in _CHOICES if choice != "skip")
_SIDES = ("a", "b")

_STYLE = """
.lsf-sidepanels { padding-left: 0 !important; padding-right: 0 !important; }
.lsf-sidepanels__wrapper { display: none; }
.winnow { max-width: 1500px; margin: 0 auto; padding: 4px 12px 24px; }
.winnow .lsf-richtext__container { line-height: 1.5; }
.winnow .lsf-richtext__line { white-space: pre-wrap; overflow-wrap: anywhere; }
.winnow .lsf-object, .winnow .lsf-richtext__container { padding: 0 !important; margin: 0; }
.winnow h4 { margin: 0 0 6px !important; font-size: 14px; line-height: 1.5; }
.winnow-task { margin-bottom: 12px; font-weight: 600; }
.winnow-prompt { max-height: 26vh; overflow-y: auto; margin-bottom: 12px; }
.winnow-turn { display: flex; gap: 12px; padding: 8px 14px; margin-bottom: 4px;
  border-radius: 8px; background: rgba(127, 137, 160, 0.1); }
.winnow-turn h4 { flex: 0 0 76px; opacity: 0.65; }
.winnow-sides { display: grid; grid-template-columns: 1fr 1fr; gap: 12px; }
.winnow-side { max-height: 40vh; overflow-y: auto; padding: 12px 16px;
  border: 1px solid rgba(127, 137, 160, 0.45); border-radius: 8px; }
.winnow .lsf-choices { display: flex; flex-wrap: wrap; gap: 8px; margin: 14px 0; }
.winnow .lsf-choice { margin: 0; padding: 8px 14px; border-radius: 8px;
  border: 1px solid rgba(127, 137, 160, 0.45); }
.winnow-rated { display: grid; grid-template-columns: minmax(120px, auto) 1fr 1fr;
  align-items: center; gap: 12px; max-width: 800px; margin-bottom: 4px; }
.winnow-rated h4 { margin: 0 !important; }
.winnow-stars { display: flex; align-items: center; gap: 10px; }
.winnow-stars .ant-rate-star-zero { filter: brightness(0.72); }
.winnow .lsf-text-area { margin-top: 14px !important; }
.winnow [data-testid="textarea-submit-section"] { display: none !important; }
"""
"""Looks only: a later Label Studio that names its parts otherwise shows the same, less tidily.

The reason needs no button of its own, since submitting a task takes it along.
"""


def label_config(dimensions: Sequence[str]) -> str:
    """The page: the prompt's turns, both responses side by side, the choice, ratings, a reason.

    Ratings are asked for once a choice is made, and not for a skip.
    """
    return "\n".join(
        [
            '<View className="winnow">',
            f"<Style>{_STYLE}</Style>",
            f'<View className="winnow-task">{_text("task", "$task")}</View>',
            '<View className="winnow-prompt"><Repeater on="$prompt" indexFlag="{{turn}}">',
            '<View className="winnow-turn"><Header value="$prompt[{{turn}}].role" size="5"/>',
            _text("turn_{{turn}}", "$prompt[{{turn}}].content"),
            "</View></Repeater></View>",
            '<View className="winnow-sides">',
            *(_side(side) for side in _SIDES),
            "</View>",
            '<Choices name="choice" toName="response_a" choice="single-radio" showInline="true"'
            ' required="true" requiredMessage="Choose one of the five answers.">',
            *(
                f'<Choice value={quoteattr(shown)} alias="{choice}" hotkey="{key}"/>'
                for choice, shown, key in _CHOICES
            ),
            "</Choices>",
            *_ratings(dimensions),
            '<TextArea name="rationale" toName="response_a" rows="2" maxSubmissions="1"'
            ' placeholder="Why? One sentence is enough; it may stay empty."/>',
            "</View>",
        ]
    )


def task_data(task: TaskRequest) -> dict[str, Any]:
    """What a task shows, plain text by the fields of the page."""
    return {
        "task": f"{task.instructions}\nJudge by: {task.dimension}",
        "prompt": [{"role": m.role, "content": m.content} for m in task.messages],
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


def read_result(result: Any, dimensions: Sequence[str]) -> dict[str, Any]:
    """The fields `choice`, `ratings` and `rationale` of an annotation's `result`.

    What is there but cannot be read becomes a field that does not parse, beside the `result`
    itself. A dimension that was rated for one side only is left out.
    """
    try:
        values = {str(part["from_name"]): part["value"] for part in result}
        (choice,) = values["choice"]["choices"]
        return {
            "choice": choice,
            "ratings": dict(_read_ratings(values, dimensions)),
            "rationale": _read_text(values.get("rationale", {}).get("text")),
        }
    except (TypeError, KeyError, ValueError, AttributeError):
        return {"choice": None, "result": result}


def _text(name: str, value: str) -> str:
    return f'<Text name="{name}" value="{value}" valueType="text" saveTextResult="no"/>'


def _side(side: str) -> str:
    text = _text(f"response_{side}", f"$response_{side}")
    return (
        f'<View className="winnow-side"><Header value="Response {side.upper()}" size="5"/>'
        f"{text}</View>"
    )


def _ratings(dimensions: Sequence[str]) -> Iterable[str]:
    if not dimensions:
        return
    yield f'<View visibleWhen="choice-selected" whenTagName="choice" whenChoiceValue="{_RATED}">'
    for number, dimension in enumerate(dimensions):
        yield f'<View className="winnow-rated"><Header value={quoteattr(dimension)} size="5"/>'
        for side in _SIDES:
            yield (
                f'<View className="winnow-stars"><Header value="{side.upper()}" size="5"/>'
                f'<Rating name="{_rating(number, side)}" toName="response_{side}" maxRating="5"'
                ' required="true" requiredMessage="Rate both responses on each line."/></View>'
            )
        yield "</View>"
    yield "</View>"


def _rating(number: int, side: str) -> str:
    return f"rating_{number}_{side}"


def _read_ratings(
    values: Mapping[str, Any], dimensions: Sequence[str]
) -> Iterable[tuple[str, dict[str, Any]]]:
    for number, dimension in enumerate(dimensions):
        rated = {side: values.get(_rating(number, side)) for side in _SIDES}
        if all(value is not None for value in rated.values()):
            yield dimension, {side: value["rating"] for side, value in rated.items() if value}


def _read_text(text: Any) -> str | None:
    if isinstance(text, list):
        return "\n".join(text) or None
    return text or None
