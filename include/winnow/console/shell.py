"""The frame of every page: navigation, style, policy, and the addresses of pages.

A page is whole without script. The one script there is (`SCRIPT`) opens a link to Airflow in the
window around the page, where Airflow shows the page in a frame that may not navigate its window.
Text that slipped through escaping could do nothing: the policy allows one style, by its digest,
that one script, and no address but the page's own.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from urllib.parse import quote, urlencode

from winnow.console.memory import Memory
from winnow.console.style import STYLE
from winnow.operate.standing import Run

NAV = {
    "batches": "Batches",
    "datasets": "Datasets",
    "spend": "Spend",
    "selector": "Selector",
}
"""Pages in the navigation, by address. A batch's own page is reached from its row."""

UNDER = {"batch": "batches"}
"""Pages that belong to one of the navigation."""

SCRIPT_NAME = "frame.js"

SCRIPT = """\
"use strict";
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-airflow]");
  if (!link || window.top === window || event.defaultPrevented) return;
  if (event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  window.top.history.pushState({}, "", link.href);
  window.top.dispatchEvent(new PopStateEvent("popstate", { state: {} }));
});
"""


class NotFound(LookupError):
    """What was asked for is not there; the message says what, in plain text."""


def no_runs(keys: Sequence[str]) -> Mapping[str, Sequence[Run]]:
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
        runs: DAG runs by batch key, newest first within a stage, for the keys of one page.
        begun: Keys whose first stage goes on or failed, which the lake may know nothing of.
        ui: Address of Airflow's own pages from here (`../`); None where there are none.
        paused: Stages whose DAG is paused.
    """

    now: datetime
    memory: Memory = field(default_factory=Memory)
    runs: Callable[[Sequence[str]], Mapping[str, Sequence[Run]]] = no_runs
    begun: Callable[[], Sequence[str]] = none_begun
    ui: str | None = None
    paused: Callable[[], Collection[str]] = none_paused

    def runs_known(self, keys: Sequence[str]) -> Mapping[str, Sequence[Run]]:
        """The runs of each batch, none where it has none; nothing where Airflow is not asked."""
        if self.runs is no_runs or not keys:
            return {}
        return {**dict.fromkeys(keys, ()), **self.runs(keys)}


@dataclass(frozen=True, slots=True)
class Page:
    """A page: `title` is plain text, `body` markup."""

    title: str
    body: str


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
    script = f'<script src="{SCRIPT_NAME}" defer></script>' if site.ui else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f"<title>{escape(page.title)} · Winnow</title><style>{STYLE}</style>{script}</head>\n"
        '<body><a class="skip" href="#page">Skip to the page</a>'
        f'<header><nav aria-label="Winnow"><ul>{_nav(UNDER.get(here, here), here)}</ul></nav>'
        f'</header>\n<main id="page" tabindex="-1"><h1>{escape(page.title)}</h1>\n'
        f"{page.body}</main>\n<footer><p>{escape(about)}{'. ' if about else ''}"
        f"Read at {site.now:%Y-%m-%d %H:%M:%S} UTC.</p></footer></body></html>\n"
    )


def policy() -> str:
    """The Content-Security-Policy of every page, for the header."""
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; script-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
    )


def _nav(current: str, here: str) -> str:
    return "".join(
        f'<li><a href="{address}"{_current(address, current, here)}>{name}</a></li>'
        for address, name in NAV.items()
    )


def _current(address: str, current: str, here: str) -> str:
    if address == here:
        return ' aria-current="page"'
    return ' aria-current="true"' if address == current else ""
