"""How the mix of responses shifts from the pool to the bought pairs to the chosen side.

A share is of distinct responses. Each step is a part of the one before, so a shift is held against
drawing that part at random: Fisher's exact test, two-sided, corrected over all tests of the table
by Holm's method at 5 %. Responses to one prompt share its language and much else, so the test is
too sure of itself, and a mark is a hint to look and not a proof.

Source: Holm (1979), "A simple sequentially rejective multiple test procedure".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from winnow.publish.labelled import Labelled
from winnow.publish.report.figures import BOUGHT, CHOSEN
from winnow.sql import statements

_ALPHA = 0.05
_MOST = 12
"""Languages, dimensions and tags with a row of their own, the commonest of the pool."""
_ALWAYS = ("refusal", "truncated")
"""Flags that have a row even where nobody has them."""


_SQL = statements(__file__)


@dataclass(frozen=True, slots=True)
class Step:
    """How many of `n` responses have a trait; `shift` is `up` or `down` where that is no chance."""

    hits: int
    n: int
    shift: str = ""

    @property
    def share(self) -> float | None:
        """Hits over all; None of none."""
        return self.hits / self.n if self.n else None


@dataclass(frozen=True, slots=True)
class Trait:
    """A language, dimension or tag of prompts or a fault of responses, with its shares."""

    name: str
    pool: Step
    bought: Step
    chosen: Step


def traits(labelled: Labelled) -> list[Trait]:
    """A row per language, dimension, tag and flag; the steps are pool, bought and chosen."""
    connection = labelled.database
    connection.execute(_SQL["steps"].format(bought=BOUGHT, chosen=CHOSEN))
    [sizes] = labelled.rows(_SQL["sizes"])
    if not sizes["pool"]:
        return []
    counted = _ordered(labelled.rows(_SQL["traits"]))
    names = list(counted)
    rows = [[Step(counted[name][step], sizes[step]) for step in _OF] for name in names]
    tests = [_chance(row[step], row[step + 1]) for row in rows for step in (0, 1)]
    significant = _holm(tests)
    marked = []
    for i, (name, (pool, part, best)) in enumerate(zip(names, rows, strict=True)):
        steps = (
            _marked(pool, part, significant[2 * i]),
            _marked(part, best, significant[2 * i + 1]),
        )
        marked.append(Trait(name, pool, *steps))
    return marked


def largest_shifts(found: Sequence[Trait]) -> dict[str, float | None]:
    """How far the share that moved most did, by the two steps; only marked ones count."""
    if not found:
        return {"selection_shift": None, "choice_shift": None}
    selection = [abs(_moved(t.pool, t.bought)) for t in found if t.bought.shift]
    choice = [abs(_moved(t.bought, t.chosen)) for t in found if t.chosen.shift]
    return {
        "selection_shift": max(selection, default=0.0),
        "choice_shift": max(choice, default=0.0),
    }


_OF = ("pool", "bought", "chosen")


def _ordered(rows: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, int]]:
    """Counts by name: the commonest of each group, the rest of a group as one, then the flags."""
    counts: dict[str, Mapping[str, int]] = {}
    for group in ("language", "dimension", "tag"):
        own = [row for row in rows if row["name"].startswith(f"{group} ")]
        # One dimension for all is no share that can move.
        if group == "dimension" and len(own) < 2:
            continue
        counts |= {row["name"]: row for row in own[:_MOST]}
        if len(own) > _MOST and group != "tag":
            counts[f"{group} other"] = {step: sum(row[step] for row in own[_MOST:]) for step in _OF}
    flags = {row["name"]: row for row in rows if " " not in row["name"]}
    absent = dict.fromkeys(_OF, 0)
    return counts | {name: flags.get(name, absent) for name in sorted({*flags, *_ALWAYS})}


def _moved(whole: Step, part: Step) -> float:
    return (part.share or 0.0) - (whole.share or 0.0)


def _chance(whole: Step, part: Step) -> float:
    """How likely a random part of the whole is at least as far from it, in either direction."""
    outside = whole.n - part.n
    if not part.n or not outside:
        return 1.0
    # Here and not above: it takes a second to import, in every task that publishes.
    from scipy.stats import fisher_exact

    rest = whole.hits - part.hits
    inside = [part.hits, part.n - part.hits]
    return float(fisher_exact([inside, [rest, outside - rest]]).pvalue)


def _holm(p_values: Sequence[float]) -> list[bool]:
    """Which tests hold when all of them are looked at."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    holds = [False] * len(p_values)
    for place, i in enumerate(order):
        if p_values[i] > _ALPHA / (len(p_values) - place):
            break
        holds[i] = True
    return holds


def _marked(whole: Step, part: Step, significant: bool) -> Step:
    if not significant or not part.n:
        return part
    return Step(part.hits, part.n, "up" if part.hits / part.n > whole.hits / whole.n else "down")
