"""The page *Selector*: whether the model is trusted to choose, and which strategy teaches most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from winnow.campaign import Campaign
from winnow.console.datasets.figures import Summary, newest_number, summaries
from winnow.console.parts import paging
from winnow.console.scope import is_own
from winnow.console.selector.charts import (
    MILLI,
    gains_chart,
    heard_chart,
    labels_chart,
    log_loss_chart,
)
from winnow.console.selector.figures import (
    Contender,
    Night,
    bake_off_of,
    heard_of,
    judges_of,
    moved,
    night_of,
    people_alone_of,
    reliability_of,
    verdict,
)
from winnow.console.shell import Page, Site, page_of
from winnow.console.stages import keys_of, published_of, stages_of
from winnow.lake import Lake
from winnow.pages.charts import Chart
from winnow.publish.reliability import reliability
from winnow.publish.report.labels import brought_told
from winnow.reward.drift import stored_drift
from winnow.select.rules import is_guided

NIGHTS = 30
"""Nights on one page."""


def page(lake: Lake, campaign: Campaign, query: Mapping[str, str], site: Site) -> Page:
    """The state of the selector after the last published batch, and the nights before it."""
    memory, settings = site.memory, campaign.select
    brings = campaign.brought_labels
    asked = {
        "asked": settings,
        "is_guided": is_guided(settings.strategy),
        "brings": brings and brings.license,
    }
    keys = keys_of(lake, campaign.name, memory)
    every = published_of(lake, campaign.name, keys, memory)
    if not every:
        return page_of("Selector", "selector.html", site, now=None, **asked)
    last = max(every, key=lambda key: (every[key].committed_at, key))
    pages, part = paging("Nights", query, len(keys), lambda n: site.to("selector", page=n), NIGHTS)
    published = {key: every[key] for key in keys[part] if key in every}
    stages = stages_of(lake, campaign.name, [*published, last], memory)
    nights = [night_of(key, done, stages.get(key)) for key, done in published.items()]
    now = night_of(last, every[last], stages.get(last))
    bins, found = reliability_of(every[last]), bake_off_of(every[last])
    contenders, heard = found.contenders if found else (), heard_of(every[last])
    drift = stored_drift(every[last].figures.get("drift"))
    return page_of(
        "Selector",
        "selector.html",
        site,
        now=now,
        **asked,
        dataset=campaign.publish.dataset,
        rolled_back=_rolled_back(lake, campaign, site),
        bins=bins,
        reliability=reliability(bins) if len(bins) > 1 else None,
        drift=drift,
        moved=moved(drift) if drift else [],
        heard=heard,
        heard_chart=heard_chart(heard) if len(heard) > 1 else None,
        judges=judges_of(every[last]),
        brought=brought_told(every[last].figures.get("brought_labels")),
        people_alone=people_alone_of(every[last]),
        bake_off=found,
        verdict=verdict(found, now.strategy) if found else "",
        measured=[each for each in contenders if each.is_measured],
        unmeasured=[each.strategy for each in contenders if not each.is_measured],
        milli=MILLI,
        gains=_gains(contenders),
        nights=nights,
        **_charts(nights),
        changes=_changes(nights),
        paging=pages,
    )


def _rolled_back(lake: Lake, campaign: Campaign, site: Site) -> Summary | None:
    """The newest version where it is a rollback: the model was fitted again since."""
    dataset = campaign.publish.dataset
    if not is_own(lake, campaign, dataset, site.memory):
        return None
    number = newest_number(lake, dataset, site.memory)
    newest = summaries(lake, dataset, [number], site.memory).get(number) if number else None
    return newest if newest is not None and newest.rollback is not None else None


def _gains(contenders: Sequence[Contender]) -> Chart | None:
    known = [each for each in contenders if each.gain is not None]
    return gains_chart(known) if len(known) > 1 else None


def _charts(nights: Sequence[Night]) -> dict[str, Chart | None]:
    """Both charts, oldest night on the left; none of a single night."""
    ordered = list(reversed(nights))
    losses = [n for n in ordered if n.log_loss is not None]
    labels = [n for n in ordered if n.labels is not None]
    return {
        "log_loss": log_loss_chart(ordered) if len(losses) > 1 else None,
        "labels": labels_chart(ordered) if len(labels) > 1 else None,
    }


def _changes(nights: Sequence[Night]) -> list[Night]:
    """The nights, newest first, after which the gate stood otherwise than before."""
    pairs = pairwise(nights)
    moved = [night for night, before in pairs if night.reason and night.state != before.state]
    return moved + [night for night in nights[-1:] if night.reason]
