"""The page of all batches: a row a batch, a column a stage, and on top what is stuck and why.

At its first look the page reads one manifest of every batch, and all five of those it shows; later
looks read only what is not done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from winnow.batch import STAGES, is_key
from winnow.campaign import Campaign
from winnow.console.clues import facts_of
from winnow.console.parts import Field, paging
from winnow.console.shell import Page, Site, page_of
from winnow.console.stages import Done, Stages, keys_of, published_of, stages_of
from winnow.console.state import SETTLED, BatchState, damaged, state_of
from winnow.console.trouble import Trouble, troubles_of
from winnow.lake import Lake
from winnow.operate.damage import Damage, whole
from winnow.operate.memory import read_memory
from winnow.operate.standing import Mended, Run, mend_name
from winnow.stages.tasks import dag_id

MOST_TROUBLES = 10
MOST_OPEN = 1_000
"""Batches not done, the newest first, of which Airflow is asked for runs."""

_MOST_REFUSED = 5

STATE = Field(
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
SEARCH = Field("q", "Batch or version")


def page(lake: Lake, campaign: Campaign, query: Mapping[str, str], site: Site) -> Page:
    """All batches of the campaign, filtered by `state` and `q`, a part of them by `page`."""
    taken = keys_of(lake, campaign.name, site.memory)
    begun = site.begun()
    keys = sorted({*taken, *filter(is_key, begun)}, reverse=True)
    refused = [key for key in begun if not is_key(key)]
    given = {
        "campaign": campaign,
        "refused": refused[:_MOST_REFUSED],
        "n_refused": len(refused),
        "first": dag_id(campaign.name, STAGES[0]),
    }
    if not keys:
        return page_of("Batches", "batches.html", site, n_all=0, **given)
    published = published_of(lake, campaign.name, keys, site.memory)
    unfinished = [key for key in keys if key not in published]
    stages = stages_of(lake, campaign.name, unfinished, site.memory)
    runs = site.runs_known([key for key in unfinished if not stages[key].ended][:MOST_OPEN])
    standing = batch_states(lake, campaign, stages, runs, site)
    shown = _matching(keys, published, standing, query)
    of_query = {field.name: field.asked(query) for field in (STATE, SEARCH)}
    pages, part = paging(
        "Pages of batches",
        query,
        len(shown),
        lambda n: site.to("batches", **of_query, page=n if n > 1 else None),
    )
    settled = [k for k in shown[part] if k in published or standing[k].state == "ended"]
    stages = stages_of(lake, campaign.name, settled, site.memory)
    runs = site.runs_known(settled)
    rows = {**standing, **batch_states(lake, campaign, stages, runs, site)}
    # Of batches on this page, and of all that are not done.
    unsettled = {key for key, batch in rows.items() if batch.state not in SETTLED}
    told_of = sorted({*shown[part], *unsettled}, reverse=True)
    troubles = troubles_in([rows[key] for key in told_of], site)
    return page_of(
        "Batches",
        "batches.html",
        site,
        **given,
        n_all=len(keys),
        n_done=len(published),
        states=[batch.state for batch in standing.values()],
        paid=sum(done.cost for done in published.values())
        + sum(batch.stages.cost for batch in standing.values()),
        most_open=MOST_OPEN,
        n_not_asked=sum(each.state not in SETTLED for each in standing.values()) - MOST_OPEN,
        troubles=troubles[:MOST_TROUBLES],
        n_troubles=len(troubles),
        fields=[STATE, SEARCH],
        query=query,
        batches=[rows[key] for key in shown[part]],
        stages=[stage.capitalize() for stage in STAGES],
        n_shown=len(shown),
        paging=pages,
    )


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
        facts, words = facts_of(lake, campaign, each, site.memory)
        mended = mends.get(mend_name(each.key, each.next or ""))
        return state_of(each, facts, site.now, runs.get(each.key), paused, mended, words)

    found = {key: whole(partial(state, each)) for key, each in stages.items()}
    return {
        key: damaged(campaign.name, key, each.cause, site.now) if isinstance(each, Damage) else each
        for key, each in found.items()
    }


def _mends(lake: Lake, campaign: Campaign, site: Site) -> Mapping[str, Mended]:
    """How often `reconcile` announced what is open."""

    def read() -> Mapping[str, Mended]:
        memory = whole(lambda: read_memory(lake, campaign.name)[0])
        return {} if isinstance(memory, Damage) else memory.mends

    return site.memory.lately(lake, ("mends", campaign.name), read)


def _matching(
    keys: Sequence[str],
    published: Mapping[str, Done],
    standing: Mapping[str, BatchState],
    query: Mapping[str, str],
) -> list[str]:
    state, text = STATE.asked(query), SEARCH.asked(query).casefold()

    def matches(key: str) -> bool:
        now = "done" if key in published else standing[key].state
        if state and state != now and not (state == "open" and now not in SETTLED):
            return False
        version = str(published[key].figures.get("version", "")) if key in published else ""
        return text in key.casefold() or text in version.casefold()

    return [key for key in keys if matches(key)]


def troubles_in(batches: Sequence[BatchState], site: Site) -> list[Trouble]:
    """What is stuck, the worst first."""
    order = {"bad": 0, "warn": 1, "soft": 2, "good": 3}
    known = [batch for batch in batches if batch.state != "dropped"]
    found = [each for batch in known for each in troubles_of(batch, site.now)]
    return sorted(found, key=lambda each: order[each.kind])
