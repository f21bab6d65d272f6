"""A lineage as plain text. Texts of prompts, models and annotators are hostile: one line, cut."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from winnow.publish.lineage import Lineage, PairStory
from winnow.records import MICROS
from winnow.text import plain_rows, plain_text

Row = Mapping[str, Any]

_LONGEST = 160
_GAINS = ("info_gain", "decision_gain", "score", "p_first", "propensity")


def lineage_text(found: Lineage) -> str:
    """Blocks of name and value: the row, its prompt, then each pair with responses and votes."""
    lines = [*_head(found)]
    for pair in found.pairs:
        lines += ["", *_pair(pair)]
    return plain_rows(lines)


def _head(found: Lineage) -> Iterator[str]:
    prompt = found.prompt
    held = f"also in the newest, {found.newest}" if found.newest != found.first_version else ""
    if not found.is_in_newest:
        held = f"not in the newest, {found.newest}: taken out by a rollback"
    yield _line(found.kind, found.asked)
    yield _line("batch", f"{found.batch} of campaign {found.campaign}")
    yield _line(
        "version",
        f"{found.dataset} {found.first_version}, {found.published_at}{held and '; '}{held}",
    )
    yield _line("prompt", prompt["prompt_id"])
    yield _line("  from", f"{prompt['file']}:{prompt['line']} (source {prompt['source']})")
    yield _line("  read", f"{prompt['received_at']}, language {prompt['language']}")
    for message in prompt["messages"]:
        yield _line(f"  {message['role']}", message["content"])
    if found.engine:
        yield _line("engine", found.engine)


def _pair(pair: PairStory) -> Iterator[str]:
    comparison = pair.comparison
    yield _line("pair", f"{comparison['pair_id']}, ${pair.cost / MICROS:.2f}")
    yield from _response("first", pair.first)
    yield from _response("second", pair.second)
    yield _line(
        "chosen",
        f"as {comparison['kind']} by {comparison['strategy']}, rank {comparison['rank']}: "
        f"{comparison['reason']}",
    )
    gains = (f"{name} {_figure(comparison[name])}" for name in _GAINS)
    yield _line("  gains", ", ".join(gains))
    yield _line("  model", f"posterior {comparison['posterior_version']}")
    for task in pair.tasks:
        yield from _task(task, pair)
    yield _line("preference", _preference(pair.preference))
    for place in pair.places:
        yield _line("row", f"{place.file} row {place.row}")


def _response(name: str, row: Row) -> Iterator[str]:
    yield _line(name, row["response_id"])
    yield _line(
        "  by",
        f"{row['model']}, seed {row['seed']}, {row['sampling']}, {row['n_tokens']} tokens, "
        f"ended by {row['finish_reason']}",
    )
    yield _line("  text", row["message"])


def _task(task: Row, pair: PairStory) -> Iterator[str]:
    side = "second" if task["swapped"] else "first"
    bought_by = f"taken over from {task['taken_from']}, " if task.get("taken_from") else ""
    yield _line(
        "task",
        f"{task['task_id']}, {task['kind']}, round {task['round']}, {side} shown as a, "
        f"{bought_by}{task['vendor']} {task['vendor_ref']}, {task['submitted_at']}, "
        f"${task['price'] / MICROS:.2f}, rubric {task['rubric_version']}",
    )
    votes = [row for row in pair.annotations if row["task_id"] == task["task_id"]]
    if not votes:
        yield _line("  vote", "none: unanswered, or refused (see winnow quarantine)")
    for row in votes:
        yield _line(
            "  vote",
            f"{row['preferred'] or 'skipped'} by annotator {row['annotator']}, {row['status']}, "
            f"{_figure(row['active_seconds'])} s, ${row['price'] / MICROS:.2f}, "
            f"annotation {row['annotation_id']}",
        )


def _preference(row: Row | None) -> str:
    if row is None:
        return "none: no vote decides"
    return (
        f"{row['preferred']}, P(first better) {_figure(row['p_preferred'])}, {row['votes']} votes, "
        f"agreement {_figure(row['agreement'])}"
    )


def _figure(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4g}"


def _line(name: str, value: Any) -> str:
    text = " ".join(plain_text(str(value)).split())
    shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."
    return f"{name:<12} {shown}"
