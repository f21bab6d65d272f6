"""The page of one batch: stages, what is stuck, funnel, gains, agreement, quarantine, pairs.

Figures are those of the manifests. Of tables only the first rows of a few columns are read (see
`samples`), so that a batch of a million annotations opens like a small one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from winnow.batch import batch_folder, is_key
from winnow.campaign import Campaign
from winnow.console import samples
from winnow.console.batches import batch_states
from winnow.console.clues import parse_label_settings
from winnow.console.datasets.figures import dataset_of
from winnow.console.memory import at_once
from winnow.console.shell import NotFound, Page, Site, page_of
from winnow.console.stages import Stages, keys_of, stages_of
from winnow.console.trouble import troubles_of
from winnow.ids import trace_id
from winnow.ingest.shapes.told import told_formats
from winnow.lake import Lake
from winnow.money import MICROS
from winnow.operate.damage import Damage, whole
from winnow.pace import last_note
from winnow.pages.charts import Chart, funnel
from winnow.pages.words import cut, number, percent, ratio
from winnow.publish.compaction import batches_of
from winnow.publish.report.bought import ARMS, gains_chart
from winnow.publish.report.labels import agreement_chart, agreement_intervals
from winnow.validate.verdict import DATA_DOCS

_MOST_RUNS = 5


def page(lake: Lake, campaign: Campaign, query: Mapping[str, str], site: Site) -> Page:
    """The batch of `key`.

    Raises:
        NotFound: The campaign has no such batch.
    """
    key = query.get("key", "")
    runs = site.runs_known([key]) if is_key(key) else {}
    if key in keys_of(lake, campaign.name, site.memory):
        stages = stages_of(lake, campaign.name, [key], site.memory)
    elif runs.get(key):
        stages = {key: Stages(campaign.name, key, {})}
    else:
        raise NotFound(f"Campaign {campaign.name} has no batch {cut(key, 100)!r}.")
    batch = batch_states(lake, campaign, stages, runs, site)[key]
    done = stages[key]
    settings = f"{batch_folder(campaign.name, key)}/campaign.json"
    # A part that cannot be read says why, and takes no other with it. On S3 each read waits for
    # the store, so all are read at the same time.
    makers: dict[str, Callable[[], Any]] = {
        "funnel": lambda: _funnel(lake, done, site),
        "votes": lambda: samples.votes(lake, done, site.memory),
        "gains": lambda: _gains(lake, done, site),
        "agreement": lambda: _agreement(done),
        "settings": lambda: _settings(site.memory.once(lake, settings, parse_label_settings) or {}),
        "quarantine": lambda: [
            each
            for stage in done.done.values()
            for each in samples.quarantine(lake, stage, site.memory)
        ],
        "pairs": lambda: samples.pairs(lake, done, site.memory),
        "pace": lambda: _pace(lake, done),
    }
    parts = at_once(lambda name: whole(makers[name]), makers)
    votes, pace = parts.pop("votes"), parts.pop("pace")
    return page_of(
        f"Batch {key}",
        "batch.html",
        site,
        key=key,
        batch=batch,
        done=done,
        label=done.done.get("label"),
        dataset=dataset_of(done.figure("publish", "folder")),
        troubles=troubles_of(batch, site.now),
        pairs_name=_pairs_name(done),
        formats=told_formats(done.done["ingest"].figures) if "ingest" in done.done else "",
        votes=None if isinstance(votes, Damage) else votes,
        pace=None if isinstance(pace, Damage) else pace,
        trace=trace_id(campaign.name, key),
        has_data_docs=_has_data_docs(done),
        most_gains=samples.MOST_GAINS,
        most_runs=_MOST_RUNS,
        most_quarantined=samples.MOST_QUARANTINED,
        n_quarantined=sum(
            each.outputs["quarantine"].n_rows
            for each in done.done.values()
            if "quarantine" in each.outputs
        ),
        budget=campaign.label.budget,
        **parts,
    )


def parse_newest_rows(data: bytes) -> int:
    """Rows of the view `reward` that a version's newest batch brought, from its manifest."""
    content = json.loads(data)
    newest = content["batches"][-1] if content["batches"] else ""
    return sum(
        file["n_rows"]
        for name, file in content["files"].items()
        if name.startswith("data/reward/") and batches_of(name) == (newest, newest)
    )


def _has_data_docs(done: Stages) -> bool:
    """Whether the newest check of the batch's labels left Data Docs, as far as can be seen here."""
    published = done.done.get("publish")
    if published is not None:
        return DATA_DOCS in published.outputs
    return any(each.name.startswith(f"publish/{DATA_DOCS}-") for each in done.left)


def _pace(lake: Lake, done: Stages) -> tuple[str, str] | None:
    """The stage that is under way and how far it says it is; None where nothing was said."""
    if done.next is None:
        return None
    told = last_note(lake, batch_folder(done.campaign, done.key), done.next)
    return (done.next, told) if told else None


def _pairs_name(done: Stages) -> str:
    """Pairs whose votes another campaign paid for were not bought."""
    return "pairs chosen" if done.n("label", "taken_over") else "pairs bought"


def _funnel(lake: Lake, done: Stages, site: Site) -> Chart | None:
    prompts, responses = done.n("ingest", "rows_out"), done.n("expand", "responses")
    scored, bought = done.n("select", "pairs_scored"), done.n("select", "comparisons")
    rows, name = _published_rows(lake, done, site), _pairs_name(done)
    steps = [
        ("prompts", prompts, ""),
        ("pool", responses, _each(responses, prompts)),
        ("pairs scored", scored, _each(scored, prompts)),
        (name, bought, _share(bought, scored, "of those scored")),
        ("annotations", done.n("label", "annotations"), ""),
        ("rows", rows, _share(rows, bought, f"of the {name}")),
    ]
    known = [step for step in steps if step[1] is not None]
    return funnel("From prompts to published rows", known, 540) if len(known) > 1 else None


def _published_rows(lake: Lake, done: Stages, site: Site) -> int | None:
    version, dataset = (
        done.figure("publish", "version"),
        dataset_of(done.figure("publish", "folder")),
    )
    if version is None or dataset is None:
        return None
    path = f"datasets/{dataset}/versions/{version}.json"
    return site.memory.once(lake, path, parse_newest_rows)


def _each(n: int | None, prompts: int | None) -> str:
    each = ratio(n, prompts)
    return "" if each is None else f"{number(each, 1)} a prompt"


def _share(n: int | None, of: int | None, what: str) -> str:
    share = ratio(n, of)
    return "" if share is None else f"{percent(share)} {what}"


def _gains(lake: Lake, done: Stages, site: Site) -> dict[str, Any]:
    """Expected gain by rank, a chart with its legend where there is more than one rank."""
    ranks = samples.gains(lake, done, site.memory)
    kinds = {each.kind for each in ranks}
    return {
        "ranks": ranks,
        "legend": [(f"{name} pairs", css) for name, css in ARMS.items() if name in kinds],
        "chart": gains_chart(ranks) if len({each.rank for each in ranks}) > 1 else None,
    }


def _settings(label: Mapping[str, Any]) -> dict[str, Any]:
    """Vendor and price of an answer, micro-dollars, that a batch was started with."""
    price = label.get("price_usd")
    return {"vendor": label.get("vendor"), "price": None if price is None else price * MICROS}


def _agreement(done: Stages) -> dict[str, Any]:
    """Figures of the labels with their intervals, a chart where there is more than one."""
    rows = agreement_intervals(done.done["label"].figures) if "label" in done.done else []
    return {"rows": rows, "chart": agreement_chart(rows) if len(rows) > 1 else None}
