"""Builds tasks: a comparison as one annotator sees it, sides fixed and text made plain.

What always holds: sides and second votes follow from hashes of the pair id, so any re-run builds
the same tasks with the same ids; rows in = tasks' pairs + quarantined. The first vote shows a
random side first, so that a preference for a side cancels over pairs; a second vote swaps the
sides, so that it cancels within the pair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from winnow.campaign import Label
from winnow.errors import Corrupt
from winnow.ids import canonical_json, seed_from, task_id
from winnow.label.plain_text import plain_text
from winnow.label.vendor import Message, TaskRequest
from winnow.records import Quarantined

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Task:
    """A row of `records.TASKS`; the last two are known once a vendor has the task."""

    task_id: str
    pair_id: str
    shown_a: str
    shown_b: str
    rubric_version: str
    repetition: int
    vendor: str
    price: int
    vendor_ref: str | None = None
    submitted_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class BuiltTasks:
    """`tasks[i]` is the row of `requests[i]`; `quarantined` holds the pairs not worth asking."""

    tasks: list[Task]
    requests: list[TaskRequest]
    quarantined: list[Quarantined]


def build_tasks(
    comparisons: Sequence[Row],
    responses: Sequence[Row],
    prompts: Sequence[Row],
    label: Label,
    seed: int,
) -> BuiltTasks:
    """Tasks of `comparisons`, in their order, second votes right after first ones.

    Raises:
        Corrupt: A comparison names a response or prompt that is not there.
    """
    text = {row["response_id"]: plain_text(row["message"] or "") for row in responses}
    messages = {row["prompt_id"]: _shown_messages(row["messages"]) for row in prompts}
    built = BuiltTasks([], [], [])
    for comparison in comparisons:
        _check_known(comparison, text, messages)
        reason = _reason_not_to_ask(text[comparison["first_id"]], text[comparison["second_id"]])
        if reason:
            built.quarantined.append(_quarantined(comparison, reason))
            continue
        for repetition in range(n_votes(comparison["pair_id"], label.second_vote_share, seed)):
            task = _task(comparison, repetition, label, seed)
            built.tasks.append(task)
            shown = messages[comparison["prompt_id"]]
            built.requests.append(_request(task, comparison, shown, text, label))
    return built


def n_votes(pair: str, second_vote_share: float, seed: int) -> int:
    """2 for about `second_vote_share` of all pairs, else 1, by the pair's id alone."""
    return 2 if _uniform("second_vote", seed, pair) < second_vote_share else 1


def shows_second_first(pair: str, repetition: int, seed: int) -> bool:
    """True when the pair's second response is side A; each repetition swaps the sides."""
    starts_swapped = _uniform("side", seed, pair) < 0.5
    return starts_swapped != (repetition % 2 == 1)


def _uniform(purpose: str, seed: int, pair: str) -> float:
    return seed_from(purpose, seed, pair) / 2**31


def _shown_messages(messages: Sequence[Row]) -> tuple[Message, ...]:
    return tuple(Message(plain_text(m["role"]), plain_text(m["content"] or "")) for m in messages)


def _check_known(comparison: Row, text: Row, messages: Row) -> None:
    absent = [comparison[k] for k in ("first_id", "second_id") if comparison[k] not in text]
    absent += [comparison["prompt_id"]] if comparison["prompt_id"] not in messages else []
    if absent:
        raise Corrupt(
            f"Comparison {comparison['pair_id']} names {', '.join(absent)}, which the batch's "
            "prompts and responses do not hold; run the batch again from expand_pools."
        )


def _reason_not_to_ask(first: str, second: str) -> str | None:
    if not first.strip() or not second.strip():
        return "nothing_to_show"
    return "look_the_same" if first.strip() == second.strip() else None


def _quarantined(comparison: Row, reason: str) -> Quarantined:
    detail = {
        "nothing_to_show": "a response of this pair has no visible text",
        "look_the_same": "both responses of this pair look the same on the page",
    }[reason]
    ids = {k: comparison[k] for k in ("pair_id", "prompt_id", "first_id", "second_id")}
    return Quarantined(
        "label", reason, detail, record_id=comparison["pair_id"], raw=canonical_json(ids)
    )


def _task(comparison: Row, repetition: int, label: Label, seed: int) -> Task:
    pair, sides = comparison["pair_id"], (comparison["first_id"], comparison["second_id"])
    shown_a, shown_b = sides[::-1] if shows_second_first(pair, repetition, seed) else sides
    return Task(
        task_id=task_id(pair, shown_a, shown_b, label.rubric_version, repetition),
        pair_id=pair,
        shown_a=shown_a,
        shown_b=shown_b,
        rubric_version=label.rubric_version,
        repetition=repetition,
        vendor=label.vendor,
        price=label.price,
    )


def _request(
    task: Task, comparison: Row, messages: tuple[Message, ...], text: Row, label: Label
) -> TaskRequest:
    return TaskRequest(
        task_id=task.task_id,
        pair_id=task.pair_id,
        messages=messages,
        response_a=text[task.shown_a],
        response_b=text[task.shown_b],
        dimension=comparison["dimension"] or "helpfulness",
        instructions=plain_text(label.instructions),
        rubric_version=task.rubric_version,
        price=task.price,
    )
