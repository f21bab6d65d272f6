"""Commands about selection: what to buy, pairs from a file, and the benches."""

from __future__ import annotations

import argparse

from winnow.batch import Batch
from winnow.bench import labels as label_bench
from winnow.bench import speed as speed_bench
from winnow.campaign import Campaign
from winnow.commands.batches import batches_of
from winnow.errors import Fatal
from winnow.lake import Lake
from winnow.records import MICROS
from winnow.select import Rules
from winnow.select.plan_text import render, sizing
from winnow.stages.plan import measured_prices, plan_batch
from winnow.stages.pool_files import select_file


def plan(lake: Lake, campaign: Campaign, asked: argparse.Namespace) -> None:
    """Pool size and labels per prompt for a budget: measured on the last batch with pools."""
    batch = _last_expanded(lake, campaign)
    sizes = sorted({int(size) for size in asked.pool_sizes.split(",")})
    prices = measured_prices(
        batch, campaign, round(asked.gpu_usd_per_hour * MICROS), asked.tokens_per_second
    )
    if asked.sizing:
        print(sizing(prices, sizes))
        return
    n_prompts = asked.prompts or (batch and batch.require("ingest").counts["rows_out"])
    if not n_prompts:
        raise Fatal("No batch tells how many prompts a night has: give --prompts.")
    budget = campaign.label.budget if asked.budget is None else round(asked.budget * MICROS)
    print(render(plan_batch(batch, prices, n_prompts, budget, sizes, asked.max_labels)))


def select(asked: argparse.Namespace) -> None:
    """Comparisons from a file of candidate pools: no lake, no vendor."""
    rules = Rules(asked.labels, asked.strategy, asked.exploration, seed=asked.seed)
    done = select_file(asked.pool, asked.out, rules, asked.preferences)
    if done.note:
        print(done.note)
    refused = f"; {len(done.refused)} refused, see {asked.out}.quarantine.jsonl"
    print(
        f"{len(done.comparisons)} comparisons from {done.rows_in} rows in {asked.out}"
        f"{refused if done.refused else ''}"
    )


def bench_labels(asked: argparse.Namespace) -> None:
    """What each strategy's labels are worth, on judged pools: labels.parquet, .json and .html."""
    for sentence in label_bench.run(asked.pool, asked.out, asked.seeds, print):
        print(sentence)
    for limit in label_bench.LIMITS:
        print(f"Cannot show: {limit}")
    print(f"Written: {asked.out / 'labels.html'}, labels.json, labels.parquet")


def bench_speed(asked: argparse.Namespace) -> None:
    """How fast pairs are chosen, beside the floor of the matrix products: speed.json."""
    speed_bench.run(asked.out, quick=asked.quick)


def _last_expanded(lake: Lake, campaign: Campaign) -> Batch | None:
    expanded = [b for b in batches_of(lake, campaign, None) if b.manifest("expand") is not None]
    return expanded[-1] if expanded else None
