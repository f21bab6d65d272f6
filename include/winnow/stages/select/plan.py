"""What the next batch should buy, measured on the pools of the last one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from winnow.batch import Batch
from winnow.campaign import Campaign
from winnow.errors import Fatal
from winnow.select.curves import CurvePoint, gain_curves
from winnow.select.planner import Plan, Prices, plan
from winnow.stages import expand
from winnow.stages.select import night_rules, reward_model_for
from winnow.stages.select.candidates import NightCandidates


def plan_batch(
    batch: Batch | None,
    prices: Prices,
    n_prompts: int,
    budget: int,
    pool_sizes: Sequence[int],
    max_labels: int,
) -> Plan:
    """Designs of a batch of `n_prompts` within `budget` (micro-dollars).

    Gains are measured on `batch`, the last one with pools; without one the plan holds costs alone.

    Raises:
        Fatal: A price, size or number makes no sense.
    """
    curves: list[CurvePoint] = []
    if batch is not None:
        candidates = NightCandidates(batch)
        model, gate = reward_model_for(batch, candidates)
        rated = {*batch.campaign.taught_dimensions} - candidates.dimensions
        rules = night_rules(batch.campaign.select, model, gate, rated)[0].pool_rules
        largest = max(
            int(part.drawn_r[rows].sum())
            for part in candidates.bare_parts()
            for rows in part.rows_of.values()
        )
        curves = gain_curves(
            candidates.pools_as_sampled(model),
            model.heads,
            replace(rules, budget=max_labels),
            [size for size in pool_sizes if size <= largest],
            max_labels,
            n_prompts,
            seed=rules.seed,
        )
    return plan(curves, prices, n_prompts, budget, pool_sizes, max_labels)


def measured_prices(
    batch: Batch | None, campaign: Campaign, gpu_hour: int, tokens_per_second: float | None
) -> Prices:
    """The campaign's prices; a response has as many tokens as the last batch's had on average.

    Args:
        batch: The last batch with pools.
        campaign: Tells what labels cost.
        gpu_hour: Price of one GPU for an hour, micro-dollars.
        tokens_per_second: What one GPU generates; None: what the last batch's processes made.

    Raises:
        Fatal: Nobody says how fast a GPU is, or the campaign buys rankings.
    """
    if campaign.label.size is not None:
        raise Fatal("A plan reckons with labels of pairs, and the campaign buys rankings.")
    label = campaign.label
    if campaign.expand.is_brought:
        # Whoever brings them has paid for them, whatever their number.
        return Prices(label.price, label.second_vote_share, gpu_hour, 1.0, 0.0)
    if tokens_per_second is None and batch is not None:
        tokens_per_second = expand.tokens_per_second(batch)
    if tokens_per_second is None:
        raise Fatal("No batch tells how fast generation is: give --tokens-per-second.")
    tokens = float(campaign.expand.max_tokens)
    if batch is not None:
        counts = batch.require("expand").counts
        tokens = counts["tokens"] / max(counts["sampled"], 1)
    return Prices(label.price, label.second_vote_share, gpu_hour, tokens_per_second, tokens)
