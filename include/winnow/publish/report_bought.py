"""The quality report on what was bought: the funnel, why these pairs, the gains, the cost."""

from __future__ import annotations

from html import escape

from winnow.page.markup import figure, paragraphs
from winnow.publish.report_charts import ARMS, Stage, funnel_svg, gains_svg, legend
from winnow.publish.report_facts import BatchFacts, History
from winnow.publish.report_text import (
    NOT_MEASURED,
    count,
    dollars,
    facts_list,
    number,
    percent,
    ratio,
    said,
    table,
)
from winnow.publish.versions import Version

TRADITIONAL_RESPONSES = 4
"""Responses of which the traditional way compares every pair, where the campaign names no number:
the fewest that Ouyang et al. (2022), "Training language models to follow instructions with human
feedback", had ranked for a prompt."""


def funnel(facts: BatchFacts, version: Version) -> str:
    """From prompts to published rows."""
    prompts, responses = facts.n("ingest", "rows_out"), facts.n("expand", "responses")
    scored, bought = facts.n("select", "pairs_scored"), facts.n("select", "comparisons")
    tasks, votes = facts.n("label", "tasks"), facts.n("label", "annotations")
    rows = n_rows_of(version, "reward", facts.batch)
    stages = [
        Stage("prompts", prompts, _in_quarantine(facts)),
        Stage("responses", responses, _each(responses, prompts, "a prompt")),
        Stage("pairs scored", scored, _each(scored, prompts, "a prompt")),
        Stage("pairs bought", bought, _part(bought, scored, "of those scored")),
        Stage("tasks", tasks, _kinds_of_tasks(facts)),
        Stage("answers", votes, _answered(facts)),
        Stage("preferences", rows, _part(rows, bought, "of the pairs bought")),
    ]
    note = (
        "Widths are on a logarithmic scale. A preference is a bought pair whose votes name a side; "
        "ties stay among the annotations."
    )
    return figure("From prompts to preferences", note, funnel_svg(stages), "wide")


def n_rows_of(version: Version, view: str, batch: str) -> int:
    """Rows of a view that one batch brought, by the names of its shards."""
    mine = [
        artifact.n_rows
        for name, artifact in version.files.items()
        if name.startswith(f"data/{view}/") and name.rsplit("/", 1)[-1].rpartition("-")[0] == batch
    ]
    return sum(mine)


def why(facts: BatchFacts) -> str:
    """Strategy, exploration and floors."""
    bought, explored = facts.n("select", "comparisons"), facts.n("select", "exploration")
    labels = facts.figure("select", "posterior_labels")
    rows = [
        ("strategy used", said(str(facts.figure("select", "strategy") or NOT_MEASURED))),
        ("strategy asked for", said(facts.campaign.select.strategy)),
        ("pairs drawn uniformly", f"{count(explored)}, {percent(ratio(explored, bought))}"),
        ("share asked for", percent(facts.campaign.select.exploration)),
        ("labels behind the model", count(labels)),
        ("gate of the model", said(str(facts.figure("select", "gate") or NOT_MEASURED))),
        ("mean gain expected", f"{number(facts.figure('select', 'mean_info_gain'), 3)} nats"),
        ("pairs no prompt could give", count(facts.figure("select", "unspent_pairs"))),
        ("pairs on which heads disagree", count(facts.figure("select", "conflicts"))),
    ]
    fallback = facts.figure("select", "fallback")
    told = f'<p class="soft">{said(fallback, 400)}</p>' if fallback else ""
    return f"<h3>Why these pairs</h3>{told}{facts_list(rows)}{_floors(facts)}"


def gains(facts: BatchFacts) -> str:
    """Expected gain by rank, for both arms."""
    if not facts.ranks:
        return paragraphs(["Expected gain by rank: not measured."], "soft")
    note = (
        "What the model expected of each pair before anybody saw it; bars are 95 % intervals of "
        "the mean. Selected pairs of an information strategy should lie above the uniform ones."
    )
    arms = [(f"{name} pairs", css) for name, css in ARMS.items() if name in _arms(facts)]
    rows = [
        (str(r.rank + 1), said(r.kind), count(r.n), f"{number(r.mean, 3)} nats")
        for r in facts.ranks[:24]
    ]
    listed = table("Gain by rank", ["Rank", "Arm", "Pairs", "Mean gain"], rows, ["Arm"])
    drawn = figure(
        "Expected information gain by rank, nats", note, legend(arms) + gains_svg(facts.ranks)
    )
    return f'<div class="plots">{drawn}{listed}</div>'


def cost(facts: BatchFacts, history: History) -> str:
    """What a prompt cost, beside labelling every pair of few responses at the same price."""
    prompts, pairs = facts.n("ingest", "rows_out"), facts.n("select", "comparisons")
    scored = facts.n("select", "pairs_scored")
    of_pair = ratio(facts.paid, pairs)
    k = facts.campaign.select.traditional_k or TRADITIONAL_RESPONSES
    ways = [
        ("this batch, as bought", ratio(pairs, prompts), "measured"),
        (f"every pair of {k} responses", k * (k - 1) / 2, "computed"),
        ("every pair of these pools", ratio(scored, prompts), "computed"),
    ]
    rows = [
        (escape(name), number(each, 1), dollars(_times(of_pair, each)), how)
        for name, each, how in ways
    ]
    compared = table(
        "Cost per prompt",
        ["Way", "Pairs per prompt", "Cost per prompt", "How known"],
        rows,
        ["How known"],
    )
    assumed = (
        f"The computed rows assume this batch's price of a pair, {dollars(of_pair)} with second "
        "and third votes, gold and repeats in it, for pairs that nobody bought. They count labels "
        "only: "
        "what generating the responses cost was not measured, and whether fewer, better chosen "
        "pairs teach as much is a question for the label bench, not for this table."
    )
    taken = facts.n("label", "taken_over")
    if taken:
        assumed = (
            f"{count(taken)} votes of this batch were taken over from another campaign, which paid "
            "for them, so that its price of a pair says nothing of other ways to choose."
        )
    hours = None if facts.seconds is None else facts.seconds / 3600
    totals = [
        ("paid for this batch", dollars(facts.paid)),
        ("per answer", dollars(ratio(facts.paid, facts.n("label", "annotations")))),
        *([("votes taken over", count(taken))] if taken else []),
        ("paid for all batches", dollars(history.paid)),
        (
            "annotators' active time, gold aside",
            NOT_MEASURED if hours is None else f"{number(hours)} hours",
        ),
    ]
    return facts_list(totals) + ("" if taken else compared) + paragraphs([assumed], "soft")


def _arms(facts: BatchFacts) -> set[str]:
    return {each.kind for each in facts.ranks}


def _floors(facts: BatchFacts) -> str:
    floors = facts.figure("select", "floors")
    if not floors:
        return paragraphs(["The campaign sets no floors."], "soft")
    rows = [
        (
            said(str(floor["stratum"])),
            count(floor["wanted"]),
            count(floor["got"]),
            _chip("pass", "met") if floor["got"] >= floor["wanted"] else _chip("warn", "not met"),
        )
        for floor in floors
    ]
    return table("Floors", ["Floor", "Pairs wanted", "Pairs bought", "Met"], rows, ["Met"])


def _chip(css: str, words: str) -> str:
    return f'<span class="chip {css}">{escape(words)}</span>'


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


def _times(each: float | None, n: float | None) -> float | None:
    return None if each is None or n is None else each * n
