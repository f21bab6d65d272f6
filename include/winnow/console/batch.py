"""The page of one batch: stages, what is stuck, funnel, gains, agreement, quarantine, pairs.

Figures are those of the manifests. Of tables only the first rows of a few columns are read (see
`samples`), so that a batch of a million annotations opens like a small one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from html import escape
from typing import Any

from winnow.batch import batch_folder, is_key
from winnow.campaign import Campaign
from winnow.console import samples
from winnow.console.batches import batch_states
from winnow.console.clues import parse_label_settings
from winnow.console.datasets.figures import dataset_of
from winnow.console.memory import at_once
from winnow.console.parts import Kind, chip, link, moment, notice, table, tiles
from winnow.console.rows import run_link, stage_cell, state_chip, trouble_notice
from winnow.console.samples import Pair, Reason
from winnow.console.shell import NotFound, Page, Site, to
from winnow.console.stages import Stages, keys_of, stages_of
from winnow.console.state import BatchState, Cell
from winnow.console.trouble import troubles_of
from winnow.lake import Lake
from winnow.operate.damage import Damage, whole
from winnow.pages.charts import funnel
from winnow.pages.pieces import (
    facts_list,
    figure,
    legend,
    paragraphs,
    passage,
    picture,
    said,
    section,
)
from winnow.pages.words import NOT_MEASURED, count, cut, dollars, number, percent, ratio
from winnow.publish.report.bought import ARMS, gains_chart
from winnow.publish.report.labels import agreement_chart, agreement_intervals
from winnow.records import MICROS

_MOST_RUNS = 5
_RUNS: Mapping[str, Kind] = {"success": "good", "failed": "bad"}
_VERDICTS: Mapping[str, Kind] = {"pass": "good", "warn": "warn", "block": "bad"}


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
        stages = {key: Stages(key, {})}
    else:
        raise NotFound(f"Campaign {campaign.name} has no batch {cut(key, 100)!r}.")
    batch = batch_states(lake, campaign, stages, runs, site)[key]
    told = stages[key]
    _read_ahead(lake, campaign, told, site)
    troubles = "".join(trouble_notice(each, site) for each in troubles_of(batch, site.now))
    parts: list[tuple[str, Callable[[], str]]] = [
        ("Stages", lambda: _stages(batch, site)),
        ("From prompts to rows", lambda: _funnel(lake, told, site)),
        ("Gain by rank", lambda: _gains(lake, told, site)),
        ("Agreement", lambda: _agreement(told)),
        ("Cost", lambda: _cost(lake, campaign, told, site)),
        ("Quarantine", lambda: _quarantine(lake, told, site)),
        ("Chosen pairs", lambda: _pairs(samples.pairs(lake, told, site.memory))),
    ]
    sections = {title: section(title, _guarded(make)) for title, make in parts}
    sections["Quarantine"] = f'<div id="quarantine">{sections["Quarantine"]}</div>'
    body = (
        f'<p class="lead">{state_chip(batch.state)} {_guarded(lambda: _version(told))}</p>'
        + troubles
        + _guarded(lambda: _tiles(told))
        + "".join(sections.values())
    )
    return Page(f"Batch {key}", body)


def parse_newest_rows(data: bytes) -> int:
    """Rows of the view `reward` that a version's newest batch brought, from its manifest."""
    content = json.loads(data)
    newest = content["batches"][-1] if content["batches"] else ""
    return sum(
        file["n_rows"]
        for name, file in content["files"].items()
        if name.startswith("data/reward/") and _batch_of(name) == newest
    )


def _batch_of(shard: str) -> str:
    """The batch that a shard is of: `data/reward/train/KEY-DIGEST.parquet`."""
    return shard.rpartition("/")[2].rpartition("-")[0]


def _read_ahead(lake: Lake, campaign: Campaign, told: Stages, site: Site) -> None:
    """Bring into memory what the page is made of, at the same time; nothing after the first look.

    On S3 each read waits for the store.
    """
    parts: dict[str, Callable[[], object]] = {
        "gains": lambda: samples.gains(lake, told, site.memory),
        "pairs": lambda: samples.pairs(lake, told, site.memory),
        "rows": lambda: _published_rows(lake, told, site),
        "settings": lambda: _settings(lake, campaign, told, site),
        "quarantine": lambda: [
            samples.quarantine(lake, d, site.memory) for d in told.done.values()
        ],
    }
    at_once(lambda name: _quietly(parts[name]), parts)


def _quietly(read: Callable[[], object]) -> None:
    """Read a part ahead; what it fails by is said where it stands on the page."""
    whole(read)


def _guarded(make: Callable[[], str]) -> str:
    """A part of the page, or why it cannot be shown: it takes no other part with it."""
    found = whole(make)
    if isinstance(found, Damage):
        return notice(paragraphs([f"This part cannot be shown: {found.cause}"]))
    return found


def _version(told: Stages) -> str:
    version = told.figure("publish", "version")
    if version is None:
        return "not published yet"
    verdict = str(told.figure("publish", "verdict"))
    shown, report = (to(n, dataset=_dataset(told), version=version) for n in ("datasets", "report"))
    return (
        f"published as {link(version, shown)}, gate "
        f"{chip(verdict, _VERDICTS.get(verdict, 'soft'))} · {link('quality report', report)}"
    )


def _dataset(told: Stages) -> str | None:
    """The dataset that the batch was published in, whatever the campaign names now."""
    return dataset_of(told.figure("publish", "folder"))


def _tiles(told: Stages) -> str:
    prompts, pairs = told.n("ingest", "rows_out"), told.n("select", "comparisons")
    votes = told.n("label", "annotations")
    shown = [
        (prompts, "prompts", ""),
        (told.n("expand", "responses"), "responses", str(told.figure("expand", "engine") or "")),
        (pairs, _pairs_name(told), str(told.figure("select", "strategy") or "")),
        (votes, "votes", f"of {count(told.n('label', 'tasks'))} tasks" if votes else ""),
    ]
    figures = [(_known(n), name, cut(note, 60)) for n, name, note in shown]
    if "label" in told.done:
        each = ratio(told.cost, prompts)
        figures.append((dollars(told.cost), "paid", f"{dollars(each)} a prompt"))
    return tiles(figures)


def _pairs_name(told: Stages) -> str:
    """Pairs whose votes another campaign paid for were not bought."""
    return "pairs chosen" if told.n("label", "taken_over") else "pairs bought"


def _known(n: int | None) -> str:
    return "–" if n is None else count(n)


def _stages(batch: BatchState, site: Site) -> str:
    rows = [_stage_row(cell, batch, site) for cell in batch.cells]
    heads = ["Stage", "State", "Committed", "Rows in", "Rows out", "In quarantine", "Runs"]
    return table("Stages", heads, rows, ["State", "Committed", "Runs"])


def _stage_row(cell: Cell, batch: BatchState, site: Site) -> tuple[str, ...]:
    done = batch.stages.done.get(cell.stage)
    shown = replace(cell, since=None if done else cell.since, quarantined=0, runs=())
    runs = [
        f"{chip(run.state, _RUNS.get(run.state, 'soft'))} {run_link(run, site)}"
        for run in cell.runs[:_MOST_RUNS]
    ]
    return (
        escape(cell.stage),
        stage_cell(shown, site),
        moment(done.committed_at, site.now) if done else "–",
        *(_known(done.counts.get(n) if done else None) for n in ("rows_in", "rows_out")),
        _known(cell.quarantined if done else None),
        "<br>".join(runs) or "–",
    )


def _funnel(lake: Lake, told: Stages, site: Site) -> str:
    prompts, responses = told.n("ingest", "rows_out"), told.n("expand", "responses")
    scored, bought = told.n("select", "pairs_scored"), told.n("select", "comparisons")
    rows = _published_rows(lake, told, site)
    steps = [
        ("prompts", prompts, ""),
        ("pool", responses, _note(responses, prompts, "a prompt")),
        ("pairs scored", scored, _note(scored, prompts, "a prompt")),
        (_pairs_name(told), bought, _share(bought, scored, "of those scored")),
        ("votes", told.n("label", "annotations"), ""),
        ("rows", rows, _share(rows, bought, f"of the {_pairs_name(told)}")),
    ]
    known = [step for step in steps if step[1] is not None]
    note = "Bars are as wide as the logarithm of the number."
    drawn = picture(funnel("From prompts to published rows", known))
    return figure("Funnel", note, drawn, "wide") if known else _not_yet("Nothing")


def _published_rows(lake: Lake, told: Stages, site: Site) -> int | None:
    version, dataset = told.figure("publish", "version"), _dataset(told)
    if version is None or dataset is None:
        return None
    path = f"datasets/{dataset}/versions/{version}.json"
    return site.memory.once(lake, path, parse_newest_rows)


def _note(n: int | None, of: int | None, what: str) -> str:
    each = ratio(n, of)
    return "" if each is None else f"{number(each, 1)} {what}"


def _share(n: int | None, of: int | None, what: str) -> str:
    share = ratio(n, of)
    return "" if share is None else f"{percent(share)} {what}"


def _gains(lake: Lake, told: Stages, site: Site) -> str:
    ranks = samples.gains(lake, told, site.memory)
    if not ranks:
        return _not_yet("The model's expected gain")
    kinds = {each.kind for each in ranks}
    arms = [(f"{name} pairs", css) for name, css in ARMS.items() if name in kinds]
    pairs = told.n("select", "comparisons") or 0
    first = f" Of the first {samples.MOST_GAINS:,} pairs." if pairs > samples.MOST_GAINS else ""
    note = f"Before anybody saw the pair; bars are 95 % intervals of the mean.{first}"
    drawn = legend(arms) + picture(gains_chart(ranks))
    return f'<div class="plots">{figure("Expected information gain, nats", note, drawn)}</div>'


def _agreement(told: Stages) -> str:
    if "label" not in told.done:
        return _not_yet("Agreement")
    rows = agreement_intervals(told.done["label"].figures)
    if not rows:
        return paragraphs([f"Agreement: {NOT_MEASURED}."], "soft")
    note = "Dots are the figures, bars their 95 % intervals."
    return figure("Of the labels", note, picture(agreement_chart(rows)), "wide")


def _cost(lake: Lake, campaign: Campaign, told: Stages, site: Site) -> str:
    settings = _settings(lake, campaign, told, site)
    price = (settings or {}).get("price_usd")
    paid = told.cost if "label" in told.done else None
    votes, taken = told.n("label", "annotations"), told.n("label", "taken_over") or 0
    rows = [
        ("paid", _money(paid)),
        ("per prompt", _money(ratio(paid, told.n("ingest", "rows_out")))),
        ("per answer", _money(ratio(paid, None if votes is None else votes - taken))),
        *([("votes taken over", count(taken))] if taken else []),
        ("price of an answer", "–" if price is None else dollars(price * MICROS)),
        ("vendor", said(str((settings or {}).get("vendor", "–")))),
        ("budget of a batch now", dollars(campaign.label.budget)),
    ]
    return facts_list(rows)


def _settings(lake: Lake, campaign: Campaign, told: Stages, site: Site) -> dict[str, Any] | None:
    path = f"{batch_folder(campaign.name, told.key)}/campaign.json"
    return site.memory.once(lake, path, parse_label_settings)


def _money(value: float | None) -> str:
    return "–" if value is None else dollars(value)


def _quarantine(lake: Lake, told: Stages, site: Site) -> str:
    reasons: list[Reason] = []
    n_all = 0
    for done in told.done.values():
        reasons += samples.quarantine(lake, done, site.memory)
        n_all += done.outputs["quarantine"].n_rows if "quarantine" in done.outputs else 0
    if not n_all:
        return paragraphs(["Nothing of this batch is in quarantine."], "soft")
    rows = [
        (said(each.stage), said(each.reason), count(each.n), _examples(each)) for each in reasons
    ]
    heads = ["Stage", "Reason", "Rows", "For instance"]
    most = samples.MOST_QUARANTINED
    told_of = f"{n_all:,} rows; of a stage the first {most:,} are counted." if n_all > most else ""
    listed = table("Quarantine", heads, rows, ["Reason", "For instance"])
    return paragraphs([told_of] if told_of else []) + listed


def _examples(reason: Reason) -> str:
    return "<br>".join(
        f"{said(each.where, 100)} {said(each.detail, 160)}" for each in reason.examples
    )


def _pairs(pairs: Sequence[Pair]) -> str:
    return "".join(map(_pair, pairs)) if pairs else _not_yet("A pair")


def _pair(pair: Pair) -> str:
    sides = "".join(
        f'<div class="{"chosen" if side == pair.preferred else "other"}">'
        f"<h4>{_role(side, pair.preferred)}</h4>{passage(text, 500)}</div>"
        for side, text in (("first", pair.first), ("second", pair.second))
    )
    rank = "" if pair.rank is None else f", rank {pair.rank + 1}"
    last = "" if pair.turns <= 1 else f", the last of {pair.turns:,} turns"
    votes = (
        f'<p class="soft">The first is preferred with {percent(pair.p_preferred)} after '
        f"{pair.votes} vote{'' if pair.votes == 1 else 's'}.</p>"
        if pair.preferred is not None
        else '<p class="soft">No vote yet.</p>'
    )
    return (
        f'<article class="pair"><h3>{said(pair.kind)}{rank}</h3>'
        f'<div class="asked"><h4>Prompt{last}</h4>{passage(pair.prompt, 300)}</div>'
        f'<div class="sides">{sides}</div>{votes}</article>'
    )


def _role(side: str, preferred: str | None) -> str:
    name = side.capitalize()
    if preferred is None:
        return name
    if preferred not in ("first", "second"):
        return f"{name} · no difference"
    return f"{name} · {'chosen' if side == preferred else 'rejected'}"


def _not_yet(what: str) -> str:
    return paragraphs([f"{what} is not there yet."], "soft")
