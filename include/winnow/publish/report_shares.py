"""How the mix of responses shifts from the pool to the bought pairs to the chosen side.

A share is of distinct responses. Each step is a part of the one before, so a shift is held against
drawing that part at random: Fisher's exact test, two-sided, corrected over all tests of the table
by Holm's method at 5 %. Responses to one prompt share its language and much else, so the test is
too sure of itself, and a mark is a hint to look and not a proof.

Source: Holm (1979), "A simple sequentially rejective multiple test procedure".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy.stats import fisher_exact

from winnow.publish.report_figures import bought_ids, chosen_ids
from winnow.publish.views import Labelled

_ALPHA = 0.05
_LANGUAGES = 12
"""Languages with a row of their own, the commonest of the pool; others are one row."""
_ALWAYS = ("refusal", "truncated")
"""Flags that have a row even where nobody has them."""


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
    """A language or a fault of responses, and its share at each step."""

    name: str
    pool: Step
    bought: Step
    chosen: Step


def traits(labelled: Labelled) -> list[Trait]:
    """A row per language, then per flag; the steps are pool, bought and chosen."""
    bought = bought_ids(labelled)
    chosen = chosen_ids(labelled) & bought
    of = _traits_of(labelled)
    names = [f"language {name}" for name in _languages(labelled)] + _flags(labelled)
    counted = [_counts(ids, of) for ids in (labelled.responses.keys(), bought, chosen)]
    sizes = len(labelled.responses), len(bought), len(chosen)
    rows = [[Step(hits[name], n) for hits, n in zip(counted, sizes, strict=True)] for name in names]
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


def _languages(labelled: Labelled) -> list[str]:
    spoken = Counter(_language(labelled, row) for row in labelled.responses.values())
    common = [name for name, _ in sorted(spoken.items(), key=lambda each: (-each[1], each[0]))]
    rest = ["other"] if len(common) > _LANGUAGES else []
    return [*common[:_LANGUAGES], *rest]


def _flags(labelled: Labelled) -> list[str]:
    seen = {flag for row in labelled.responses.values() for flag in row.get("flags") or ()}
    return sorted(seen | set(_ALWAYS)) if labelled.responses else []


def _traits_of(labelled: Labelled) -> dict[str, list[str]]:
    named = set(_languages(labelled))
    found = {}
    for name, row in labelled.responses.items():
        spoken = _language(labelled, row)
        language = spoken if spoken in named else "other"
        found[name] = [f"language {language}", *(row.get("flags") or ())]
    return found


def _language(labelled: Labelled, response: Mapping[str, Any]) -> str:
    return labelled.prompts[response["prompt_id"]].get("language") or "unknown"


def _counts(ids: Any, of: Mapping[str, Sequence[str]]) -> Counter[str]:
    return Counter(trait for each in ids for trait in of[each])


def _chance(whole: Step, part: Step) -> float:
    """How likely a random part of the whole is at least as far from it, in either direction."""
    outside = whole.n - part.n
    if not part.n or not outside:
        return 1.0
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
