"""The frame of every page: navigation, style, policy, and the addresses of pages.

A page is whole without script. The one script there is (`frame.js`) opens a link to Airflow in the
window around the page, shows times in the viewer's zone, and copies ids. Text that slipped through
escaping could do nothing: the policy allows one style, by its digest, that one script, and no
address but the page's own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from winnow.console.memory import Memory
from winnow.console.nav import NAV, UNDER
from winnow.console.parts import Field
from winnow.console.state import WORDS
from winnow.operate.standing import Run
from winnow.pages.render import fragment, policy, render, style_of

SCRIPT_NAME = "frame.js"

_TEMPLATES = Path(__file__).with_name("templates")

SCRIPT = (_TEMPLATES / SCRIPT_NAME).read_text()

POLICY = (
    f"{policy(style_of(_TEMPLATES))}; script-src 'self'; img-src data:; form-action 'self'; "
    "frame-ancestors 'self'"
)
"""The Content-Security-Policy of every page, for the header."""


class NotFound(LookupError):
    """What was asked for is not there; the message says what, in plain text."""


Runs = Mapping[str, Sequence[Run]]
"""DAG runs by batch key, newest first within a stage."""


@dataclass(frozen=True, slots=True)
class Airflow:
    """What Airflow knows of the batches of campaigns; each answer, by campaign, is one query.

    Attributes:
        runs: Runs of batches, whose keys are given by campaign.
        begun: Keys whose first stage goes on or failed, which the lake may know nothing of.
        paused: Stages whose DAG is paused.
    """

    runs: Callable[[Mapping[str, Sequence[str]]], Mapping[str, Runs]]
    begun: Callable[[Collection[str]], Mapping[str, Sequence[str]]]
    paused: Callable[[Collection[str]], Mapping[str, Collection[str]]]


def no_runs(keys: Sequence[str]) -> Runs:
    """What is known of DAG runs where there is no Airflow."""
    return {}


def none_paused() -> Collection[str]:
    """Stages whose DAG is paused, where there is no Airflow."""
    return ()


def none_begun() -> Sequence[str]:
    """Keys of batches that only Airflow knows, where there is no Airflow."""
    return ()


@dataclass(frozen=True, slots=True)
class Site:
    """What stands around a page.

    Attributes:
        now: The time of the request, UTC.
        memory: What was read before.
        runs: DAG runs of the campaign's batches, for the keys of one page.
        begun: Keys whose first stage goes on or failed, which the lake may know nothing of.
        ui: Address of Airflow's own pages from here (`../`); None where there are none.
        paused: Stages whose DAG is paused.
        asked: Whose pages these are, as every link says it: `campaign`, or `team` of several.
        choose: The campaigns that there are to choose from; nothing where there is one.
    """

    now: datetime
    memory: Memory = field(default_factory=Memory)
    runs: Callable[[Sequence[str]], Runs] = no_runs
    begun: Callable[[], Sequence[str]] = none_begun
    ui: str | None = None
    paused: Callable[[], Collection[str]] = none_paused
    asked: Mapping[str, str] = field(default_factory=dict)
    choose: Sequence[Field] = ()

    def of(self, campaign: str, airflow: Airflow | None) -> Site:
        """The site around a page of one campaign."""
        asked = {"campaign": campaign}
        if airflow is None:
            return replace(self, asked=asked)

        def runs(keys: Sequence[str]) -> Runs:
            return airflow.runs({campaign: keys}).get(campaign, {})

        return replace(
            self,
            asked=asked,
            runs=runs,
            begun=lambda: airflow.begun([campaign]).get(campaign, ()),
            paused=lambda: airflow.paused([campaign]).get(campaign, ()),
        )

    def to(self, page: str, /, **query: str | int | None) -> str:
        """The address of a page from any other, which says whose it is as this one does.

        `campaign` may name another; what is None or empty is left out.
        """
        asked = {name: value for name, value in query.items() if value not in (None, "")}
        return to(page, **{**({} if "campaign" in asked else self.asked), **asked})

    def runs_known(self, keys: Sequence[str]) -> Runs:
        """The runs of each batch, none where it has none; nothing where Airflow is not asked."""
        if self.runs is no_runs or not keys:
            return {}
        return {**dict.fromkeys(keys, ()), **self.runs(keys)}

    def run_address(self, run: Run) -> str:
        """The address of a run in Airflow's pages, of which there must be some."""
        return f"{self.ui}dags/{quote(run.dag, safe='')}/runs/{quote(run.run_id, safe='')}"


@dataclass(frozen=True, slots=True)
class Page:
    """A page: `title` is plain text, `body` what its template gave."""

    title: str
    body: str


def page_of(title: str, template: str, site: Site, **shown: Any) -> Page:
    """A page from its template, which is given plain data by name."""
    given = {"to": site.to, "site": site, "state_words": WORDS, **shown}
    return Page(title, fragment(template, _TEMPLATES, **given))


def to(page: str, /, **query: str | int | None) -> str:
    """The address of a page from any other; what is None or empty is left out.

    >>> to("batch", key="de|2026-11-20"), to("batches", q=None)
    ('batch?key=de%7C2026-11-20', 'batches')
    """
    asked = {name: str(value) for name, value in query.items() if value not in (None, "")}
    return f"{page}?{urlencode(asked, quote_via=quote)}" if asked else page


def document(page: Page, here: str, site: Site, about: str = "") -> str:
    """A whole page.

    Args:
        page: What it shows.
        here: The page's own address without query, one of `NAV` or `UNDER`, or another.
        site: What stands around it.
        about: What the pages are about, plain text for the foot: the campaign.
    """
    return render(
        "frame.html",
        _TEMPLATES,
        heading=page.title,
        body=page.body,
        nav=NAV,
        here=here,
        under=UNDER.get(here),
        site=site,
        about=about,
        script=SCRIPT_NAME,
    )
