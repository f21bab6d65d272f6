"""Commands about selection: what to buy, pairs from a file, and the benches."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial

from winnow.batch import Batch, done_stages, open_batch
from winnow.campaign import Campaign
from winnow.commands.say import say, say_text
from winnow.errors import Corrupt, Fatal
from winnow.ingest.ledger import read_ledger
from winnow.lake import Lake
from winnow.records import MICROS
from winnow.select import Rules
from winnow.select.plan_text import render, sizing
from winnow.stages.plan import measured_prices, plan_batch
from winnow.stages.pool_files import select_file
from winnow.stages.trouble import whole


def plan(lake: Lake, campaign: Campaign, asked: argparse.Namespace) -> None:
    """Pool size and labels per prompt for a budget: measured on the last batch with pools."""
    for batch in _expanded(lake, campaign):
        try:
            say_text(_plan(batch, campaign, asked))
        except Corrupt as error:
            say(f"Batch {batch.key} is passed over: {error}")
        else:
            return
    say_text(_plan(None, campaign, asked))


def _plan(batch: Batch | None, campaign: Campaign, asked: argparse.Namespace) -> str:
    prices = measured_prices(
        batch, campaign, round(asked.gpu_usd_per_hour * MICROS), asked.tokens_per_second
    )
    if asked.sizing:
        return sizing(prices, asked.pool_sizes)
    n_prompts = asked.prompts or (batch and batch.require("ingest").counts["rows_out"])
    if not n_prompts:
        raise Fatal("No batch tells how many prompts a night has: give --prompts.")
    budget = campaign.label.budget if asked.budget is None else round(asked.budget * MICROS)
    return render(plan_batch(batch, prices, n_prompts, budget, asked.pool_sizes, asked.max_labels))


def select(asked: argparse.Namespace) -> None:
    """Comparisons from a file of candidate pools: no lake, no vendor."""
    rules = Rules(asked.labels, asked.strategy, asked.exploration, seed=asked.seed)
    done = select_file(asked.pool, asked.out, rules, asked.preferences)
    if done.note:
        say(done.note)
    refused = f"; {len(done.refused)} refused, see {asked.out}.quarantine.jsonl"
    say(
        f"{len(done.comparisons)} comparisons from {done.rows_in} rows in {asked.out}"
        f"{refused if done.refused else ''}"
    )


def bench_labels(asked: argparse.Namespace) -> None:
    """What each strategy's labels are worth, on judged pools: labels.parquet, .json and .html."""
    from winnow_bench import labels

    for sentence in labels.run(asked.pool, asked.out, asked.seeds, say):
        say(sentence)
    for limit in labels.LIMITS:
        say(f"Cannot show: {limit}")
    say(f"Written: {asked.out / 'labels.html'}, labels.json, labels.parquet")


def bench_speed(asked: argparse.Namespace) -> None:
    """How fast pairs are chosen, beside the floor of the matrix products: speed.json."""
    from winnow_bench import speed

    speed.run(asked.out, quick=asked.quick)


def _expanded(lake: Lake, campaign: Campaign) -> Iterator[Batch]:
    """Batches that have pools, the newest first; none given up, none that cannot be read."""

    def look(key: str) -> Batch | None:
        done = "expand" in done_stages(lake, campaign.name, key)
        return open_batch(campaign, key, lake, lambda: datetime.now(UTC)) if done else None

    for key in sorted((e.batch for e in read_ledger(lake, campaign.name).live), reverse=True):
        found = whole(partial(look, key))
        if isinstance(found, Batch):
            yield found
