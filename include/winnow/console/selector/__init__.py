"""The page *Selector*: whether the model is trusted to choose, and which strategy teaches most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from math import ceil

from winnow.campaign import Campaign
from winnow.console import parts
from winnow.console.datasets.figures import newest_number, summaries
from winnow.console.selector.charts import MILLI, gains_chart, labels_chart, log_loss_chart
from winnow.console.selector.figures import (
    BakeOff,
    Night,
    bake_off_of,
    night_of,
    reliability_of,
    verdict,
)
from winnow.console.shell import Page, Site, to
from winnow.console.stages import Done, keys_of, published_of, stages_of
from winnow.lake import Lake
from winnow.pages.pieces import figure, legend, paragraphs, picture, said, section
from winnow.pages.words import NOT_MEASURED, count, number, percent
from winnow.publish.reliability import reliability
from winnow.reward.calibration import ReliabilityBin

NIGHTS = 30
"""Nights on one page."""

_GATE: dict[str, parts.Kind] = {"open": "good", "closed": "bad", "undecided": "soft"}


def page(lake: Lake, campaign: Campaign, query: Mapping[str, str], site: Site) -> Page:
    """The state of the selector after the last published batch, and the nights before it."""
    memory = site.memory
    keys = keys_of(lake, campaign.name, memory)
    every = published_of(lake, campaign.name, keys, memory)
    if not every:
        told = (
            "No batch was published yet. The first labels fit the reward model, and the "
            "exploration votes of later batches tell whether it can be trusted."
        )
        return Page("Selector", paragraphs([told], "lead") + _asked(campaign))
    last = max(every, key=lambda key: (every[key].committed_at, key))
    n_pages = max(1, ceil(len(keys) / NIGHTS))
    at = min(parts.page_number(query), n_pages)
    shown = keys[(at - 1) * NIGHTS : at * NIGHTS]
    published = {key: every[key] for key in shown if key in every}
    stages = stages_of(lake, campaign.name, [*published, last], memory)
    nights = [night_of(key, done, stages.get(key)) for key, done in published.items()]
    now = night_of(last, every[last], stages.get(last))
    body = (
        _lead(now)
        + _rolled_back(lake, campaign, site)
        + _tiles(now)
        + _asked(campaign)
        + section("Calibration", _calibration(now, reliability_of(every[last])))
        + section("Bake-off of the strategies", _bake_off(every[last], now))
        + section("Night by night", _charts(nights) + _table(nights))
        + parts.pages(lambda n: to("selector", page=n), at, n_pages, "Nights")
    )
    return Page("Selector", body)


def _lead(now: Night) -> str:
    chip = _gate(now)
    link = parts.link(now.key, to("batch", key=now.key))
    reason = said(now.reason, 600) or "The gate was not measured."
    chosen = ""
    if now.fallback:
        chosen = parts.notice(f"<p>Batch {link} fell back. {said(now.fallback, 600)}</p>", "warn")
    return f'<p class="lead">After batch {link}: {chip} {reason}</p>{chosen}'


def _rolled_back(lake: Lake, campaign: Campaign, site: Site) -> str:
    """Says that a rollback refitted the model since, where one did."""
    dataset = campaign.publish.dataset
    number = newest_number(lake, dataset, site.memory)
    told = summaries(lake, dataset, [number], site.memory).get(number) if number else None
    if told is None or told.rollback is None:
        return ""
    link = parts.link(told.name, to("datasets", dataset=dataset, version=told.name))
    back = (
        f"<p>{link} is a rollback to {said(told.rollback.to)}: the model was fitted again on its "
        "labels alone. The figures here are of the last batch before that.</p>"
    )
    return parts.notice(back, "warn")


def _tiles(now: Night) -> str:
    ece = NOT_MEASURED if now.ece is None else number(now.ece[0], 3)
    interval = "" if now.ece is None else f"{number(now.ece[1], 3)} to {number(now.ece[2], 3)}"
    return parts.tiles(
        [
            (count(now.labels), "labels", "votes behind the posterior of the next batch"),
            (count(now.n), "exploration votes", "judged by the gate, of the last 10 batches"),
            (number(now.log_loss, 3), "log-loss", "nats a vote; a coin has 0.693"),
            (ece, "calibration error", interval),
            (number(now.temperature), "temperature", "above 1: the model was too sure"),
        ]
    )


def _asked(campaign: Campaign) -> str:
    chosen = campaign.select
    told = (
        f"The campaign asks for the strategy {chosen.strategy}, with {percent(chosen.exploration)} "
        "of the pairs drawn uniformly. Only votes on those tell anything on this page: the model "
        "neither chose them nor saw them before it spoke."
    )
    return paragraphs([told], "soft")


def _calibration(now: Night, bins: Sequence[ReliabilityBin]) -> str:
    if not bins:
        told = "Not measured: the last published batch tells of no exploration vote on a model."
        return paragraphs([told])
    n = sum(each.n for each in bins)
    about = (
        f"On {n:,} exploration votes of the last batches that a model chose, with what it stated "
        "before each vote. A tie counts half. Few votes make the error look larger than it is."
    )
    rows = [(percent(b.stated), percent(b.observed), count(b.n)) for b in bins]
    drawn = figure(
        "Stated probability against votes",
        "Bars are 95 % intervals. An honest model lies on the line.",
        picture(reliability(bins)),
        "narrow",
    )
    listed = parts.table("Reliability", ["Stated", "Preferred", "Votes"], rows)
    return paragraphs([about], "soft") + f'<div class="plots">{drawn}{listed}</div>'


def _bake_off(published: Done, now: Night) -> str:
    found = bake_off_of(published)
    if found is None:
        told = "Not measured: the last published batch is of a time before the bake-off."
        return paragraphs([told])
    return paragraphs([verdict(found, now.strategy)]) + _contenders(found) + _how(found)


def _contenders(found: BakeOff) -> str:
    rows = [
        (
            said(each.strategy),
            number(each.prompts, 0),
            _milli(each.taught),
            _milli(each.gain) if each.strategy != "random" else "",
            _milli(each.information),
        )
        for each in found.contenders
    ]
    heads = ["Strategy", "Prompts", "Taught", "Taught beside uniform", "Information"]
    listed = parts.table("Strategies", heads, rows)
    if not any(each.gain for each in found.contenders):
        return listed
    note = "Bars are 95 % intervals, not corrected for how many strategies are looked at."
    drawn = figure(
        "What picks taught beyond uniform draws", note, picture(gains_chart(found.contenders))
    )
    return drawn + listed


def _how(found: BakeOff) -> str:
    told = (
        f"From {found.votes:,} exploration votes on {found.prompts:,} prompts of "
        f"{found.batches:,} batches, the last ten that a model with labels chose; of a large batch "
        "a fair part is used. Each vote is replayed on the model that chose its batch.",
        "Taught is how much one vote on a pair makes the log-loss of the exploration votes on "
        "other prompts fall; it can be negative. Information is how far the vote moved the model, "
        "right or wrong. Both are thousandths of a nat, means over the tenth of a pool's pairs "
        "that a strategy ranks best, weighted by the inverse of the chance that exploration drew "
        "the pair. Prompts is the effective number behind a row; below 20 it has no figures.",
        "One vote at a time is measured: what many labels teach together is for the label bench. "
        "The strategy traditional draws uniformly, as random does.",
    )
    return paragraphs(told, "soft")


def _milli(value: tuple[float, float, float] | None) -> str:
    if value is None:
        return "not enough votes"
    # Adding 0 makes a 0 of what rounds to -0.
    mean, low, high = (number(round(MILLI * each, 3) + 0.0, 3) for each in value)
    return f"{mean} <small>{low} to {high}</small>"


def _charts(nights: Sequence[Night]) -> str:
    """Both charts, oldest night on the left."""
    ordered = list(reversed(nights))
    if not ordered:
        return paragraphs(["No batch of this page was published."])
    drawn = ""
    if any(n.log_loss is not None for n in ordered):
        names = legend([("reward model", "k0"), ("response length alone", "k1")])
        note = (
            "On the exploration votes of the last ten batches that a model chose. Lower is better."
        )
        drawn += figure("Log-loss by night", note, names + picture(log_loss_chart(ordered)))
    if any(n.labels is not None for n in ordered):
        drawn += figure("Labels behind the posterior", "", picture(labels_chart(ordered)))
    return f'<div class="plots">{drawn}</div>' if drawn else ""


def _table(nights: Sequence[Night]) -> str:
    heads = [
        "Batch",
        "Chosen by",
        "Gate after it",
        "Votes",
        "Log-loss",
        "Length",
        "Calibration error",
        "Temperature",
        "Labels",
    ]
    rows = [
        (
            parts.link(night.key, to("batch", key=night.key)),
            said(night.strategy or NOT_MEASURED),
            _gate(night),
            count(night.n),
            number(night.log_loss, 3),
            number(night.length_log_loss, 3),
            _ece(night),
            number(night.temperature),
            count(night.labels),
        )
        for night in nights
    ]
    sentences = "".join(
        f"<li>{parts.link(night.key, to('batch', key=night.key))}: {said(night.reason, 600)}</li>"
        for night in _changes(nights)
    )
    changed = f"<h3>When the gate moved</h3><ul>{sentences}</ul>" if sentences else ""
    listed = parts.table("Nights", heads, rows, ["Chosen by", "Gate after it"]) if rows else ""
    return listed + changed


def _changes(nights: Sequence[Night]) -> list[Night]:
    """The nights, newest first, after which the gate stood otherwise than before."""
    pairs = pairwise(nights)
    moved = [night for night, before in pairs if night.reason and night.state != before.state]
    return moved + [night for night in nights[-1:] if night.reason]


def _gate(night: Night) -> str:
    if night.state is None:
        return parts.chip(NOT_MEASURED, "soft")
    return parts.chip(f"gate {night.state}", _GATE[night.state])


def _ece(night: Night) -> str:
    if night.ece is None:
        return escape(NOT_MEASURED)
    error, low, high = (number(each, 3) for each in night.ece)
    return f"{error} <small>{low} to {high}</small>"
