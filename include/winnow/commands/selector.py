"""Commands about selection: what to buy, and pairs from a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from winnow.batch import Batch, done_stages, open_batch
from winnow.campaign import MOST_USD, Campaign
from winnow.commands import options
from winnow.commands.say import answer, say
from winnow.errors import Corrupt, Fatal
from winnow.ingest.ledger import read_ledger
from winnow.lake import Lake
from winnow.money import MICROS
from winnow.operate.damage import whole
from winnow.select import STRATEGIES, Rules
from winnow.select.plan_text import render, sizing, sizing_rows
from winnow.stages.expand.pool_files import select_file
from winnow.stages.select.plan import measured_prices, plan_batch


def plan(
    lake: options.LakeOption,
    gpu_usd_per_hour: Annotated[float, options.decimal(0, 1e6, help="price of one GPU")],
    campaign: options.CampaignOption = options.UNNAMED,
    budget: Annotated[
        float | None,
        options.decimal(0, MOST_USD, help="dollars; the campaign's label budget if absent"),
    ] = None,
    prompts: Annotated[
        int | None, options.whole_number(1, help="prompts of a night; the last batch's if absent")
    ] = None,
    pool_sizes: Annotated[
        Any, typer.Option(parser=options.sizes, metavar="NUMBERS", help="responses per prompt")
    ] = "10,25,50,100",
    max_labels: Annotated[int, options.whole_number(1, 10**6, help="most labels per prompt")] = 8,
    tokens_per_second: Annotated[
        float | None,
        options.decimal(
            1e-3,
            1e9,
            help="what one GPU generates; what the last batch's processes made if absent",
        ),
    ] = None,
    sizing_only: Annotated[
        bool,
        typer.Option("--sizing", help="only the GPU hours of pool options.sizes and prompts"),
    ] = False,
    as_json: options.JsonOption = False,
) -> None:
    """Pool size and labels per prompt for a budget: measured on the last batch with pools."""

    def measure(batch: Batch | None) -> tuple[list[dict[str, Any]], str]:
        """The plan by the pools of a batch: a row for each design, and the same as text."""
        gpu_hour = round(gpu_usd_per_hour * MICROS)
        if sizing_only and campaign.expand.is_brought:
            raise Fatal(f"The pools of {campaign.name} are brought: they take no GPU hours.")
        prices = measured_prices(batch, campaign, gpu_hour, tokens_per_second)
        if sizing_only:
            return sizing_rows(prices, pool_sizes), sizing(prices, pool_sizes)
        n_prompts = prompts or (batch and batch.require("ingest").counts["rows_out"])
        if not n_prompts:
            raise Fatal("No batch tells how many prompts a night has: give --prompts.")
        most = campaign.label.budget if budget is None else round(budget * MICROS)
        made = plan_batch(batch, prices, n_prompts, most, pool_sizes, max_labels)
        rows = [{**asdict(option), "best": option is made.best} for option in made.listed]
        return rows, render(made)

    for batch in _expanded(lake, campaign):
        try:
            rows, text = measure(batch)
        except Corrupt as error:
            say(f"Batch {batch.key} is passed over: {error}", error=as_json)
        else:
            break
    else:
        rows, text = measure(None)
    answer(rows, text.split("\n"), as_json)


def select(
    pool: Annotated[Path, typer.Option(help="file, a row a response")],
    out: Annotated[Path, typer.Option(help="file to write")],
    preferences: Annotated[Path | None, typer.Option(help="file, prompt, chosen, rejected")] = None,
    labels: Annotated[int, options.whole_number(1, help="pairs per prompt")] = 4,
    strategy: Annotated[str, options.one_of(STRATEGIES)] = "decision_gain",
    exploration: Annotated[float, options.decimal(0, 1, help="share drawn uniformly")] = 0.15,
    seed: Annotated[int, options.whole_number(0, 2**62)] = 0,
) -> None:
    """Comparisons from a file of candidate pools: no lake, no vendor."""
    rules = Rules(labels, strategy, exploration, seed=seed)
    done = select_file(pool, out, rules, preferences)
    if done.note:
        say(done.note)
    refused = f"; {len(done.refused)} refused, see {out}.quarantine.jsonl"
    say(
        f"{len(done.comparisons)} comparisons from {done.rows_in} rows in {out}"
        f"{refused if done.refused else ''}"
    )


def _expanded(lake: Lake, campaign: Campaign) -> Iterator[Batch]:
    """Batches that have pools, the newest first; none given up, none that cannot be read."""

    def look(key: str) -> Batch | None:
        done = "expand" in done_stages(lake, campaign.name, key)
        return open_batch(campaign, key, lake, lambda: datetime.now(UTC)) if done else None

    for key in sorted(read_ledger(lake, campaign.name).live_keys, reverse=True):
        batch = whole(partial(look, key))
        if isinstance(batch, Batch):
            yield batch
