"""Batches of several campaigns, the newest first, and on top what is stuck of the newest of each.

Read are the ledgers, the batches on the page and the newest few of each campaign, no others.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from heapq import merge
from itertools import islice

from winnow.batch import STAGES, is_key
from winnow.console.batches import MOST_TROUBLES, batch_states, troubles_in
from winnow.console.memory import at_once
from winnow.console.parts import Field, paging
from winnow.console.scope import Scope
from winnow.console.shell import Page, Runs, Site, page_of
from winnow.console.spend.figures import day_of
from winnow.console.stages import Stages, keys_of, published_of, stages_of
from winnow.console.state import BatchState
from winnow.lake import Lake
from winnow.operate.damage import Damage, whole

NEWEST = 3
"""Batches of each campaign, the newest, of which is told what is stuck."""

FROM, TO = Field("from", "From day", kind="date"), Field("to", "To day", kind="date")


@dataclass(frozen=True, slots=True)
class _Asked:
    """The runs of batches, and which stages are paused, by campaign; None without Airflow."""

    runs: Mapping[str, Runs] | None
    paused: Mapping[str, Collection[str]]


def page(
    lake: Lake, scope: Scope, fields: Sequence[Field], query: Mapping[str, str], site: Site
) -> Page:
    """All batches of the campaigns, of the days `from` to `to`, a part of them by `page`."""
    begun = scope.airflow.begun(list(scope.campaigns)) if scope.airflow else {}
    taken = at_once(lambda name: whole(lambda: keys_of(lake, name, site.memory)), scope.campaigns)
    between = _between(query)
    keys = {
        name: sorted(filter(between, {*own, *filter(is_key, begun.get(name, ()))}), reverse=True)
        for name, own in taken.items()
        if not isinstance(own, Damage)
    }
    days = {field.name: field.asked(query) for field in (FROM, TO)}
    n_all = sum(map(len, keys.values()))
    pages, part = paging(
        "Pages of batches",
        query,
        n_all,
        lambda n: site.to("batches", **days, page=n if n > 1 else None),
    )
    shown = list(islice(_newest_first(keys), part.start, part.stop))
    wanted = {name: dict.fromkeys(own[:NEWEST]) for name, own in keys.items()}
    for key, name in shown:
        wanted[name][key] = None
    stages = at_once(lambda name: _look(lake, name, wanted[name], shown, site), wanted)
    states = _states(lake, scope, stages, site)
    troubles = troubles_in([batch for own in states.values() for batch in own.values()], site)
    return page_of(
        "Batches",
        "across_batches.html",
        site,
        gone=scope.gone,
        campaigns=scope.campaigns,
        damaged={name: own.cause for name, own in taken.items() if isinstance(own, Damage)},
        fields=[*fields, FROM, TO],
        query=query,
        n_all=n_all,
        newest=NEWEST,
        looked=[batch.state for own in states.values() for batch in own.values()],
        troubles=troubles[:MOST_TROUBLES],
        n_troubles=len(troubles),
        batches=[states[name][key] for key, name in shown],
        stages=[stage.capitalize() for stage in STAGES],
        paging=pages,
    )


def _between(query: Mapping[str, str]) -> Callable[[str], bool] | None:
    """Whether a key is of the days that are asked for; None where all are."""
    first, last = (_day(field.asked(query)) for field in (FROM, TO))
    if first is None and last is None:
        return None

    def between(key: str) -> bool:
        day = day_of(key)
        return day is not None and (first or date.min) <= day <= (last or date.max)

    return between


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _newest_first(keys: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """Key and campaign of each batch: keys sort as times do, so lists of them are only merged."""
    ordered = ([(key, name) for key in own] for name, own in keys.items())
    return merge(*ordered, key=lambda each: each[0], reverse=True)


def _look(
    lake: Lake,
    name: str,
    keys: Mapping[str, None],
    shown: Sequence[tuple[str, str]],
    site: Site,
) -> dict[str, Stages]:
    """The stages of a campaign's batches that are on the page, or not published."""
    published = published_of(lake, name, list(keys), site.memory)
    own = {key for key, campaign in shown if campaign == name}
    open_ones = [key for key in keys if key in own or key not in published]
    return stages_of(lake, name, open_ones, site.memory)


def _states(
    lake: Lake, scope: Scope, stages: Mapping[str, Mapping[str, Stages]], site: Site
) -> dict[str, dict[str, BatchState]]:
    """How the batches stand, by campaign; Airflow is asked once for all."""
    known = {name: list(own) for name, own in stages.items() if own}
    asked = _Asked(None, {})
    if scope.airflow is not None and known:
        asked = _Asked(scope.airflow.runs(known), scope.airflow.paused(list(known)))

    def states(name: str) -> dict[str, BatchState]:
        runs = {} if asked.runs is None else asked.runs.get(name, {})
        empty: Runs = {} if asked.runs is None else dict.fromkeys(known[name], ())
        own = replace(site, paused=lambda: asked.paused.get(name, ()))
        return batch_states(lake, scope.campaigns[name], stages[name], {**empty, **runs}, own)

    return at_once(states, known)
