"""The quality report on the labels: agreement, annotators, calibration."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from winnow.intervals import wilson
from winnow.pages.charts import Chart, Row, intervals
from winnow.pages.words import Table, between, count, dollars, line, number, percent, spaced
from winnow.publish.report.facts import BatchFacts

MOST_ANNOTATORS = 100
_MOST_FILES = 3


@dataclass(frozen=True, slots=True)
class Annotators:
    """Those with the most votes, what was measured of none of them, and how many more there are."""

    table: Table
    unmeasured: Sequence[str]
    n_left: int


_SHARES = {
    "agreement": ("two votes name one side", "n_agreement"),
    "alpha": ("Krippendorff's alpha", ""),
    "gold_accuracy": ("gold answered right", "n_gold"),
    "repeat_consistency": ("repeats answered alike", "n_repeats"),
    "tie_rate": ("no difference seen", ""),
    "side_bias": ("distance from one half per side", ""),
    "completion": ("tasks answered", ""),
}
"""Figures of the labels in words, and of how many each is the share, where that is told."""


def brought_told(stored: Any) -> str:
    """What labels that a team brought did for a model, in a sentence or two; empty without any.

    `stored` is what a manifest has of `winnow.stages.select.brought_labels.told`.
    """
    votes = stored.get("votes") if isinstance(stored, Mapping) else None
    if not isinstance(votes, int) or votes < 1:
        return ""
    told, weighs = stored.get("files"), stored.get("counts_for")
    files = [str(name).rsplit("/", 1)[-1] for name in told] if isinstance(told, list) else []
    named = ", ".join(files[:_MOST_FILES]) + (" and others" if len(files) > _MOST_FILES else "")
    said = (
        f"The reward model was started by {count(votes)} votes that were brought "
        f"({line(named)}), under {line(str(stored.get('license')))}."
    )
    heads = sorted(weighs.items()) if isinstance(weighs, dict) else []
    counts = [
        f"{count(n)}{f' of {line(name)}' if len(heads) > 1 else ''}"
        for name, n in heads
        if isinstance(n, int)
    ]
    return (
        f"{said} Beside the campaign's own they count for {', '.join(counts)}." if counts else said
    )


def agreement_intervals(figures: Mapping[str, Any]) -> list[Row]:
    """Those of the label stage's figures that were measured, with their intervals."""
    rows = []
    for figure, (name, n_name) in _SHARES.items():
        value, n = figures.get(figure), figures.get(n_name)
        if value is None:
            continue
        low, high = wilson(round(value * n), n) if n else (None, None)
        words = f"{percent(value)} {between(low, high)} of {n:,}" if n else percent(value)
        if figure == "alpha":
            low, high = figures.get("alpha_low"), figures.get("alpha_high")
            words = f"{number(value)} ({number(low)} to {number(high)})"
        rows.append(Row(name, value, words, low, high))
    return rows


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


def sources(facts: BatchFacts) -> Table | None:
    """What each source was asked and cost; None where nobody but people was asked."""
    told = facts.manifests["label"].figures.get("sources") or {}
    rows = [
        (line(name), count(each["tasks"]), count(each["answered"]), dollars(each["charged"]))
        for name, each in told.items()
    ]
    return Table("Who was asked", ["Source", "Tasks", "Answered", "Cost"], rows) if rows else None


def judges(facts: BatchFacts) -> Table | None:
    """A row per language model that judged; what it said counts in no figure about people."""
    rows = [
        (
            line(row["model"], 40),
            line(", ".join(row["modes"] or ()) or "–"),
            count(row["verdicts"]),
            count(row["skips"]),
            percent(row["tie_rate"]),
            percent(row["flips"]),
            number(row["label_mass"]),
            _of(row["gold_accuracy"], row["n_gold"]),
            _of(row["agreement"], row["n_agreement"]),
        )
        for row in facts.manifests["label"].figures.get("judges", ())
    ]
    heads = ["Model", "Mode", "Verdicts", "Skips", "Ties", "Orders differ", "Label mass"]
    heads += ["Gold right", "Agrees with people"]
    return Table("Models that judged", heads, rows, ["Mode"]) if rows else None


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


@dataclass(frozen=True, slots=True)
class Worked:
    """How answers change over a session: a row a measure, and in words what a session was."""

    table: Table
    told: str


_CHANGES = {
    "gold": "Gold answered right",
    "repeats": "Repeats answered alike",
    "agreement": "Agrees with others",
    "same_choice": "Same choice as just before",
    "seconds": "Time of an answer",
}


def sessions(facts: BatchFacts) -> Worked | None:
    """Answers early and late in a session; None where the vendor's times do not tell."""
    found = facts.verdict.get("sessions") or {}
    changes = found.get("changes") or ()
    if not changes:
        return None
    rows = [_changed(each) for each in changes]
    heads = ["Answers", "First quarter", "Last quarter", "Change over a session", "Interval", "Of"]
    told = f"{found['n_sessions']:,} sessions, half of them longer than {found['minutes']:,.0f} min"
    if found["decline"] is not None:
        told += (
            f". Gold, repeats and agreement together fall by {percent(found['decline'])} "
            f"{between(found['low'], found['high'])} over a session"
        )
    return Worked(Table("Within a session", heads, rows), told)


def _changed(each: Mapping[str, Any]) -> tuple[str, ...]:
    ends, slope = [each["early"], each["late"]], [each["change"], each["low"], each["high"]]
    if each["measure"] == "seconds":
        # Logarithms of times.
        slope = [math.expm1(value) for value in slope]
        shown = ["–" if end is None else f"{number(math.exp(end), 1)} s" for end in ends]
    else:
        shown = ["–" if end is None else percent(end) for end in ends]
    change, low, high = slope
    interval = between(low, high).strip("()")
    return (_CHANGES[each["measure"]], *shown, percent(change), interval, count(each["n"]))


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


def unmeasured(figures: Mapping[str, Any]) -> list[str]:
    """Figures of the labels that nobody could take, by name."""
    return [spaced(n) for n in _SHARES if n != "completion" and figures.get(n) is None]


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


UNKNOWN_PEOPLE = "unknown annotators, whom the vendor does not tell apart"


def certainty_told(figures: Mapping[str, Any]) -> str:
    """How sure one vote is by the label stage's figures; empty where they do not tell.

    >>> certainty_told({"vote_certainty": 0.73, "n_agreement": 10})
    'One vote counts as 73.0 % sure, by the agreement of 10 pairs of votes.'
    """
    sure, n = figures.get("vote_certainty"), figures.get("n_agreement")
    if sure is None:
        return ""
    if not n:
        return (
            "Agreement was not measured, no pair having been judged by two people: that one vote "
            f"counts as {percent(sure)} sure is an assumption."
        )
    pairs = f"{n:,} pairs of votes"
    if figures.get("n_annotators", 0) is None:
        pairs += f" of {UNKNOWN_PEOPLE}"
    return f"One vote counts as {percent(sure)} sure, by the agreement of {pairs}."
