"""The quality report on what was bought: the funnel, the floors, the gains, the cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from winnow.ids import PEOPLE
from winnow.pages import charts
from winnow.pages.charts import Axis, Chart, Point, Series
from winnow.pages.words import Chip, Table, count, dollars, line, number, percent, ratio
from winnow.publish.report.facts import BatchFacts
from winnow.publish.report.figures import RankGain
from winnow.publish.versions import Version

ARMS = {"selected": "k0", "exploration": "k1"}
"""Colour of each arm."""

TRADITIONAL_RESPONSES = 4
"""Responses of which the traditional way compares every pair, where the campaign names no number:
the fewest that Ouyang et al. (2022), "Training language models to follow instructions with human
feedback", had ranked for a prompt."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Money of a batch in micro-dollars; `taken` votes were paid by another campaign.

    `of_pair` is of those that people judge: what a judge says of others costs a fraction.
    """

    of_pair: float | None
    of_answer: float | None
    taken: int | None
    ways: Table


def funnel(facts: BatchFacts, version: Version) -> Chart:
    """From prompts to published rows."""
    prompts, responses = facts.n("ingest", "rows_out"), facts.n("expand", "responses")
    scored, bought = facts.n("select", "pairs_scored"), facts.n("select", "comparisons")
    rows = version.n_new_rows("reward")
    stages = [
        ("prompts", prompts, _in_quarantine(facts)),
        ("responses", responses, _each(responses, prompts, "a prompt")),
        ("pairs scored", scored, _each(scored, prompts, "a prompt")),
        ("pairs bought", bought, _part(bought, scored, "of those scored")),
        ("tasks", facts.n("label", "tasks"), _kinds_of_tasks(facts)),
        ("answers", facts.n("label", "annotations"), _answered(facts)),
        ("preferences", rows, _part(rows, bought, "of the pairs bought")),
    ]
    return charts.funnel("From prompts to published rows", stages)


def floors(facts: BatchFacts) -> Table | None:
    """What the campaign's floors wanted and got; None where it sets none."""
    rows = [
        (
            line(floor["stratum"]),
            count(floor["wanted"]),
            count(floor["got"]),
            Chip("met", "pass") if floor["got"] >= floor["wanted"] else Chip("not met", "warn"),
        )
        for floor in facts.figure("select", "floors") or ()
    ]
    return (
        Table("Floors", ["Floor", "Pairs wanted", "Pairs bought", "Met"], rows, ["Met"])
        if rows
        else None
    )


def gains(facts: BatchFacts) -> tuple[Chart, list[tuple[str, str]], Table] | None:
    """Expected gain by rank for both arms: the chart, its legend, the table; None of no rank."""
    if not facts.ranks:
        return None
    kinds = {each.kind for each in facts.ranks}
    legend = [(f"{name} pairs", css) for name, css in ARMS.items() if name in kinds]
    rows = [
        (str(r.rank + 1), line(r.kind), count(r.n), f"{number(r.mean, 3)} nats")
        for r in facts.ranks[:24]
    ]
    table = Table("Gain by rank", ["Rank", "Arm", "Pairs", "Mean gain"], rows, ["Arm"])
    return gains_chart(facts.ranks), legend, table


def gains_chart(ranks: Sequence[RankGain]) -> Chart:
    """Mean expected gain against rank, a mark and an interval per arm."""
    last = max(r.rank for r in ranks)
    every = math.ceil((last + 1) / 12)
    names = [(r, str(r + 1)) for r in range(0, last + 1, every)]
    arms: dict[str, list[Point]] = {}
    for each in ranks:
        words = f"rank {each.rank + 1}, {each.kind}: {number(each.mean, 3)} nats, {each.n} pairs"
        at = each.rank + (0.08 if each.kind == "exploration" else -0.08)
        point = Point(at, each.mean, words, each.low, each.high, 4.5)
        arms.setdefault(ARMS.get(each.kind, "k2"), []).append(point)
    return charts.plane(
        "Expected information gain, nats, against rank",
        Axis(-0.5, last + 0.5, names, "rank within the prompt, 1 chosen first"),
        charts.value_axis(
            [0.0, *(end for r in ranks for end in (r.low, r.high))], charts.plain_tick
        ),
        [Series(css, points) for css, points in arms.items()],
    )


def cost(facts: BatchFacts) -> Cost:
    """What a prompt cost, beside labelling every pair of few responses at the same price."""
    prompts, pairs = facts.n("ingest", "rows_out"), facts.n("select", "comparisons")
    told = (facts.figure("label", "sources") or {}).get(PEOPLE)
    of_pair = ratio(facts.paid, pairs)
    if told:
        of_pair = ratio(told["charged"], facts.n("select", f"asked_{PEOPLE}"))
    k = facts.campaign.select.traditional_k or TRADITIONAL_RESPONSES
    ways = [
        (f"every pair of {k} responses", k * (k - 1) / 2),
        ("every pair of these pools", ratio(facts.n("select", "pairs_scored"), prompts)),
    ]
    rows = [
        (name, number(each, 1), dollars(each and of_pair and each * of_pair), "computed")
        for name, each in ways
    ]
    bought = number(ratio(pairs, prompts), 1), dollars(ratio(facts.paid, prompts))
    rows.insert(0, ("this batch, as bought", *bought, "measured"))
    heads = ["Way", "Pairs per prompt", "Cost per prompt", "How known"]
    return Cost(
        of_pair,
        ratio(facts.paid, facts.n("label", "annotations")),
        facts.n("label", "taken_over"),
        Table("Cost per prompt", heads, rows, ["How known"]),
    )


def _each(n: int | None, of: int | None, what: str) -> str:
    each = ratio(n, of)
    return "" if each is None else f"{number(each, 1)} {what}"


def _part(n: int | None, of: int | None, what: str) -> str:
    part = ratio(n, of)
    return "" if part is None else f"{percent(part)} {what}"


def _in_quarantine(facts: BatchFacts) -> str:
    n = facts.n("ingest", "quarantined")
    return "" if n is None else f"{count(n)} more in quarantine"


def _kinds_of_tasks(facts: BatchFacts) -> str:
    gold, again = facts.n("label", "gold"), facts.n("label", "follow_ups")
    if gold is None or again is None:
        return ""
    taken = facts.n("label", "taken_over")
    beside = f", {count(taken)} taken over" if taken else ""
    return f"{count(gold)} gold, {count(again)} asked later{beside}"


def _answered(facts: BatchFacts) -> str:
    share = facts.figure("label", "completion")
    return "" if share is None else f"{percent(share)} of the tasks answered"
