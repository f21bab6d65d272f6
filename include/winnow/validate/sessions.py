"""Whether people answer worse towards the end of a session.

A session is what one person answers without a pause longer than so many minutes, by the times that
the vendor tells; of sessions with fewer than `LEAST` answers nothing is asked. An answer's place in
its session runs from 0, the first, to 1, the last, so that each session counts alike at both ends,
whoever is better or works longer. Pooled over people, a straight line over the place is fitted to

    gold         whether a gold task was answered as expected
    repeats      whether a repeat was answered as the first time
    agreement    whether another who named a side of the pair named the same one
    same_choice  whether the choice, as shown, is that of the answer before
    seconds      the logarithm of the time of an answer

and its slope is the change over a session. The `decline` is the fall of the first three together:
one slope, each with a mean of its own, so that a measure counts as much as it can tell.

What always holds: answers of models have no session, nor have those of whom nothing is known; what
cannot be measured is None. Unchanged people fall by 0 on average, and the interval of `decline`
lies wholly above 0 for one batch in 40.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import sqrt
from typing import Any

import duckdb

from winnow.sql import statements

LEAST = 8
"""Answers of a session from which it has a beginning and an end."""
MEASURES = ("gold", "repeats", "agreement", "same_choice", "seconds")
_RIGHT = MEASURES[:3]
_SQL = statements(__file__)


@dataclass(frozen=True, slots=True)
class Change:
    """How a measure changes over a session.

    `early` and `late` are its means in the first and the last quarter of the sessions, `change` is
    the slope with its 95 % interval, of `n` answers. Seconds are logarithms throughout.
    """

    measure: str
    n: int
    early: float | None
    n_early: int
    late: float | None
    n_late: int
    change: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Sessions:
    """What a batch tells of its sessions; `minutes` is their median length.

    `decline` is the fall from the start to the end of a session in the share of answers that are
    right as far as that can be checked, with its 95 % interval.
    """

    n_sessions: int = 0
    minutes: float | None = None
    changes: list[Change] = field(default_factory=list)
    decline: float | None = None
    low: float | None = None
    high: float | None = None


UNSEEN = Sessions()
"""What is said where nothing was measured."""


def sessions(connection: duckdb.DuckDBPyConnection, gap_minutes: float) -> Sessions:
    """Sessions of a batch in a database of `winnow.label.database`.

    Args:
        connection: The database.
        gap_minutes: The longest pause within a session.
    """
    given = {"gap": 60.0 * gap_minutes, "least": LEAST}
    rows = connection.sql(_SQL["fit"], params=given).to_arrow_table().to_pylist()
    # Two answers lie on a line, and so do all where there is nothing to compare.
    lines = {row["measure"]: row for row in rows if row["n"] > 2 and row["spread"]}
    if not lines:
        return UNSEEN
    right = [lines[name] for name in _RIGHT if name in lines]
    changes = [_change(lines[name]) for name in MEASURES if name in lines]
    found = Sessions(rows[0]["n_sessions"], rows[0]["minutes"], changes)
    if not right:
        return found
    total = sum(line["spread"] for line in right)
    decline = -sum(line["slope"] * line["spread"] for line in right) / total
    half = 1.96 * sqrt(sum(_variance(line) * line["spread"] ** 2 for line in right)) / total
    return replace(found, decline=decline, low=decline - half, high=decline + half)


def _change(line: Mapping[str, Any]) -> Change:
    half = 1.96 * sqrt(_variance(line))
    ends = (line["early"], line["n_early"], line["late"], line["n_late"])
    low, high = line["slope"] - half, line["slope"] + half
    return Change(line["measure"], line["n"], *ends, line["slope"], low, high)


def _variance(line: Mapping[str, Any]) -> float:
    """Of the slope; a few answers that are all alike do not vary by nothing."""
    return float((line["left_over"] + 0.5) / (line["n"] - 2) / line["spread"])
