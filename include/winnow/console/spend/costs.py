"""What a prompt, a preference and a vote cost, beside the traditional way."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from winnow.campaign import Campaign
from winnow.console import parts
from winnow.console.spend.figures import Night, cost_per
from winnow.pages.pieces import paragraphs
from winnow.pages.words import dollars, number, ratio
from winnow.publish.report.bought import TRADITIONAL_RESPONSES


def unit_costs(campaign: Campaign, nights: Sequence[Night]) -> str:
    """Cost per prompt, preference, vote and pair of some nights; of a prompt both ways."""
    of_pair = cost_per(nights, "pairs")
    tiles = parts.tiles(
        [
            (dollars(cost_per(nights, "prompts")), "per prompt", "of the month"),
            (dollars(cost_per(nights, "preferences")), "per preference", "pairs with a vote"),
            (
                dollars(cost_per(nights, "votes")),
                "per vote",
                "answers, gold and repeats too",
            ),
            (dollars(of_pair), "per pair", "second and third votes, gold and repeats in it"),
        ]
    )
    bought = [n for n in nights if n.spent is not None and not n.taken_over]
    known = [n for n in bought if n.prompts and n.pairs is not None]
    prompts, pairs = sum(n.prompts or 0 for n in known), sum(n.pairs or 0 for n in known)
    k = campaign.select.traditional_k or TRADITIONAL_RESPONSES
    ways = [
        ("as bought", ratio(pairs, prompts), "measured"),
        (f"every pair of {k} random responses", k * (k - 1) / 2, "computed"),
    ]
    rows = [
        (escape(name), number(each, 1), dollars(_times(of_pair, each)), how)
        for name, each, how in ways
    ]
    heads = ["Way", "Pairs per prompt", "Cost per prompt", "How known"]
    whose = (
        "the number of responses that the campaign gives (select.traditional_k)"
        if campaign.select.traditional_k
        else f"{k} responses, the fewest that Ouyang et al. (2022) had ranked for a prompt"
    )
    assumed = (
        f"The traditional way draws a few responses and labels every pair of them: here {whose}. "
        f"Its row is computed, not measured: it takes this month's price of a pair, "
        f"{dollars(of_pair)}, for pairs that nobody bought. Generation is in neither row. "
        "Whether fewer, better chosen pairs teach as much is a question for the label bench."
    )
    return (
        tiles
        + parts.table("Cost per prompt", heads, rows, ["How known"])
        + paragraphs([*_left_out(nights), assumed], "soft")
    )


def _left_out(nights: Sequence[Night]) -> list[str]:
    """A sentence on the nights that are part of no unit cost, where there are any."""
    taken = [night.taken_over for night in nights if night.taken_over]
    if not taken:
        return []
    return [
        f"Nights left out, since votes were taken over from another campaign, which paid for them: "
        f"{len(taken):,}, with {sum(taken):,} such votes."
    ]


def _times(each: float | None, n: float | None) -> float | None:
    return None if each is None or n is None else each * n
