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
from winnow.records import CONTENT
from winnow.sql import statements

_ALPHA = 0.05
_MOST = {"language": 12, "dimension": 12, "tag": 12, "content": 60}
"""Traits of a kind with a row of their own, the commonest of the pool."""
_ALWAYS = ("injection", "refusal", "truncated")
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
    """A language, dimension or tag of prompts, a fault of responses or what they speak of."""

    name: str
    pool: Step
    bought: Step
    chosen: Step

    @property
    def is_content(self) -> bool:
        """Whether it is a group, stance or tone (`winnow.expand.content`)."""
        return self.name.startswith(CONTENT)


def traits(labelled: Labelled) -> list[Trait]:
    """A row per language, dimension, tag, flag and content; steps are pool, bought and chosen."""
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
    """How far the share that moved most did, by the two steps; only marked ones count.

    What responses speak of is rare, and counts by its change over its share before; with it comes
    the share of `injection` among the chosen.
    """
    content = [trait for trait in found if trait.is_content]
    form = [trait for trait in found if not trait.is_content]
    injected = next((trait.chosen.share for trait in found if trait.name == "injection"), None)
    return {
        "selection_shift": _largest(form, "pool", "bought"),
        "choice_shift": _largest(form, "bought", "chosen"),
        "content_selection_shift": _largest(content, "pool", "bought", relative=True),
        "content_choice_shift": _largest(content, "bought", "chosen", relative=True),
        "injected_chosen": injected,
    }


def _largest(
    found: Sequence[Trait], before: str, after: str, *, relative: bool = False
) -> float | None:
    """The largest marked change of a share between two steps; None of no traits."""
    steps = [(getattr(trait, before), getattr(trait, after)) for trait in found]
    shifts = [
        abs(_moved(whole, part)) / (whole.share if relative else 1.0)
        for whole, part in steps
        if part.shift
    ]
    return max(shifts, default=0.0) if found else None


_OF = ("pool", "bought", "chosen")


def _ordered(rows: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, int]]:
    """Counts by name: the commonest of each group, the rest of some as one, then the flags."""
    counts: dict[str, Mapping[str, int]] = {}
    for group, most in _MOST.items():
        own = [row for row in rows if row["name"].startswith(f"{group} ")]
        # One dimension for all is no share that can move.
        if group == "dimension" and len(own) < 2:
            continue
        counts |= {row["name"]: row for row in own[:most]}
        if len(own) > most and group in ("language", "dimension"):
            counts[f"{group} other"] = {step: sum(row[step] for row in own[most:]) for step in _OF}
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
