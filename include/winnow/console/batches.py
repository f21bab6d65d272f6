"""The page of all batches: a row a batch, a column a stage, and on top what is stuck and why.

At its first look the page reads one manifest of every batch, and all five of those it shows; later
looks read only what is not done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from html import escape

from winnow.batch import STAGES, is_key
from winnow.campaign import Campaign
from winnow.console.clues import facts_of
from winnow.console.parts import (
    PER_PAGE,
    Choice,
    Text,
    asked_choice,
    asked_text,
    filters,
    notice,
    page_number,
    pages,
    table,
    tiles,
)
from winnow.console.rows import batch_link, stage_cell, state_chip, trouble_notice
from winnow.console.shell import Page, Site, to
from winnow.console.stages import Done, Stages, keys_of, published_of, stages_of
from winnow.console.state import SETTLED, BatchState, damaged, state_of
from winnow.console.trouble import Trouble, troubles_of
from winnow.lake import Lake
from winnow.operate.damage import Damage, whole
from winnow.operate.memory import read_memory
from winnow.operate.standing import Mended, Run, mend_name
from winnow.pages.pieces import paragraphs, said
from winnow.pages.words import dollars
from winnow.stages.tasks import DAG_OF

MOST_TROUBLES = 10
MOST_OPEN = 1_000
"""Batches not done, the newest first, of which Airflow is asked for runs."""

_MOST_REFUSED = 5
_LONGEST_KEY = 60

STATE = Choice(
    "state",
    "State",
    (
        ("", "all"),
        ("open", "not done"),
        ("blocked", "blocked"),
        ("waiting", "waiting"),
        ("running", "running"),
        ("idle", "not begun"),
        ("done", "done"),
        ("ended", "ended"),
        ("damaged", "damaged"),
        ("dropped", "dropped"),
    ),
)
SEARCH = Text("q", "Batch or version")


def page(lake: Lake, campaign: Campaign, query: Mapping[str, str], site: Site) -> Page:
    """All batches of the campaign, filtered by `state` and `q`, a part of them by `page`."""
    taken = keys_of(lake, campaign.name, site.memory)
    begun = site.begun()
    keys = sorted({*taken, *filter(is_key, begun)}, reverse=True)
    refused = _refused([key for key in begun if not is_key(key)])
    if not keys:
        return Page("Batches", refused + _none_yet(campaign))
    published = published_of(lake, campaign.name, keys, site.memory)
    unfinished = [key for key in keys if key not in published]
    standing = _standing(lake, campaign, unfinished, site)
    shown = _matching(keys, published, standing, query)
    n_pages = max(1, -(-len(shown) // PER_PAGE))
    number = min(page_number(query), n_pages)
    part = shown[(number - 1) * PER_PAGE : number * PER_PAGE]
    settled = [k for k in part if k in published or standing[k].state == "ended"]
    rows = {**standing, **_finished(lake, campaign, settled, site)}
    body = (
        _figures(keys, published, standing)
        + refused
        + _not_asked(standing)
        + _stuck([rows[key] for key in _told_of(part, rows)], site)
        + filters("batches", [STATE, SEARCH], query)
        + _table([rows[key] for key in part], site, len(shown), len(keys))
        + pages(lambda n: _address(query, n), number, n_pages, "Pages of batches")
    )
    return Page("Batches", body)


def batch_states(
    lake: Lake,
    campaign: Campaign,
    stages: Mapping[str, Stages],
    runs: Mapping[str, Sequence[Run]],
    site: Site,
) -> dict[str, BatchState]:
    """How each of the batches stands; one that cannot be read says why.

    Of a batch that `runs` does not name, Airflow was not asked.
    """
    open_ones = any(each.next is not None for each in stages.values())
    mends = _mends(lake, campaign, site) if open_ones else {}
    paused = site.paused() if open_ones else ()

    def state(each: Stages) -> BatchState:
        facts, told = facts_of(lake, campaign, each, site.memory)
        mended = mends.get(mend_name(each.key, each.next or ""))
        return state_of(each, facts, site.now, runs.get(each.key), paused, mended, told)

    found = {key: whole(partial(state, each)) for key, each in stages.items()}
    return {
        key: damaged(key, each.cause, site.now) if isinstance(each, Damage) else each
        for key, each in found.items()
    }


def _mends(lake: Lake, campaign: Campaign, site: Site) -> Mapping[str, Mended]:
    """How often `reconcile` announced what is open."""

    def read() -> Mapping[str, Mended]:
        memory = whole(lambda: read_memory(lake, campaign.name)[0])
        return {} if isinstance(memory, Damage) else memory.mends

    return site.memory.lately(lake, ("mends", campaign.name), read)


def _standing(
    lake: Lake, campaign: Campaign, keys: Sequence[str], site: Site
) -> dict[str, BatchState]:
    stages = stages_of(lake, campaign.name, keys, site.memory)
    unsettled = [key for key in keys if not stages[key].ended]
    runs = site.runs_known(unsettled[:MOST_OPEN])
    return batch_states(lake, campaign, stages, runs, site)


def _finished(
    lake: Lake, campaign: Campaign, keys: Sequence[str], site: Site
) -> dict[str, BatchState]:
    stages = stages_of(lake, campaign.name, keys, site.memory)
    return batch_states(lake, campaign, stages, site.runs_known(keys), site)


def _matching(
    keys: Sequence[str],
    published: Mapping[str, Done],
    standing: Mapping[str, BatchState],
    query: Mapping[str, str],
) -> list[str]:
    state, text = asked_choice(query, STATE), asked_text(query, SEARCH.name).casefold()

    def matches(key: str) -> bool:
        now = "done" if key in published else standing[key].state
        if state and state != now and not (state == "open" and now not in SETTLED):
            return False
        version = str(published[key].figures.get("version", "")) if key in published else ""
        return text in key.casefold() or text in version.casefold()

    return [key for key in keys if matches(key)]


def _told_of(part: Sequence[str], rows: Mapping[str, BatchState]) -> list[str]:
    """Batches whose troubles are told: those on this page, and all that are not done."""
    unfinished = {key for key, batch in rows.items() if batch.state not in SETTLED}
    return sorted({*part, *unfinished}, reverse=True)


def _figures(
    keys: Sequence[str], published: Mapping[str, Done], standing: Mapping[str, BatchState]
) -> str:
    states = [batch.state for batch in standing.values()]
    paid = sum(done.cost for done in published.values())
    paid += sum(batch.stages.cost for batch in standing.values())
    return tiles(
        [
            (
                f"{len(keys):,}",
                "batch" if len(keys) == 1 else "batches",
                _settled(len(published), states.count("ended")),
            ),
            (f"{states.count('running'):,}", "running", ""),
            (f"{states.count('waiting'):,}", "waiting", "for the vendor or for a person"),
            (
                f"{states.count('blocked') + states.count('damaged'):,}",
                "blocked",
                "somebody must act",
            ),
            (dollars(paid), "paid for labels", "as the vendor charged"),
        ]
    )


def _settled(done: int, ended: int) -> str:
    return f"{done:,} done{f', {ended:,} ended with no row' if ended else ''}"


def _refused(keys: Sequence[str]) -> str:
    """Says which keys of Airflow's runs name no batch."""
    if not keys:
        return ""
    named = ", ".join(said(key, _LONGEST_KEY) for key in keys[:_MOST_REFUSED])
    left = len(keys) - _MOST_REFUSED
    more = f" and {left:,} more" if left > 0 else ""
    told = f"Runs of {DAG_OF[STAGES[0]]} have partition keys that can name no batch: {named}{more}."
    return notice(f"<p>{told}</p>", "soft")


def _not_asked(standing: Mapping[str, BatchState]) -> str:
    """Says that Airflow was not asked for the runs of every batch that is not done."""
    left = sum(batch.state not in SETTLED for batch in standing.values()) - MOST_OPEN
    if left <= 0:
        return ""
    told = (
        f"Airflow was asked for runs of the newest {MOST_OPEN:,} batches that are not done. Of "
        f"{left:,} older ones the lake alone tells here; each one's own page asks Airflow."
    )
    return notice(paragraphs([told]), "soft")


def _stuck(batches: Sequence[BatchState], site: Site) -> str:
    order = {"bad": 0, "warn": 1, "soft": 2, "good": 3}
    found: list[Trouble] = [
        each
        for batch in batches
        if batch.state != "dropped"
        for each in troubles_of(batch, site.now)
    ]
    found.sort(key=lambda each: order[each.kind])
    if not found:
        return '<section><h2>What is stuck</h2><p class="soft">Nothing is.</p></section>\n'
    told = "".join(trouble_notice(each, site) for each in found[:MOST_TROUBLES])
    left = len(found) - MOST_TROUBLES
    more = f'<p><a href="{escape(to("batches", state="open"))}">Batches that are not done</a></p>'
    rest = f"<p>{left:,} more are stuck.</p>{more}" if left > 0 else ""
    return f"<section><h2>What is stuck</h2>{told}{rest}</section>\n"


def _table(batches: Sequence[BatchState], site: Site, n_shown: int, n_all: int) -> str:
    if not batches:
        return '<p class="soft">No batch is like this.</p>'
    rows = [
        (
            f"{batch_link(batch.key)}<br>{state_chip(batch.state)}",
            *(stage_cell(cell, site) for cell in batch.cells),
            dollars(batch.stages.cost)
            if "label" in batch.stages.done or batch.stages.cost
            else "–",
        )
        for batch in batches
    ]
    heads = ["Batch", *(stage.capitalize() for stage in STAGES), "Cost"]
    words = [stage.capitalize() for stage in STAGES]
    told = "" if n_shown == n_all else f'<p class="soft">{n_shown:,} of {n_all:,} batches</p>'
    return told + table("Batches", heads, rows, words)


def _cost(batch: BatchState) -> str:
    known = "label" in batch.stages.done or batch.stages.cost
    return dollars(batch.stages.cost) if known else "–"


def _address(query: Mapping[str, str], number: int) -> str:
    asked = {"state": asked_choice(query, STATE), "q": asked_text(query, SEARCH.name)}
    return to("batches", **asked, page=number if number > 1 else None)


def _none_yet(campaign: Campaign) -> str:
    return (
        f'<p class="lead">Campaign {escape(campaign.name)} has no batch yet. The first one '
        "appears here when ingest_prompts has taken a file of prompts.</p>"
    )
