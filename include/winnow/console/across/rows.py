"""A page with a row a campaign, a part of them at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from winnow.console.memory import at_once
from winnow.console.parts import Field, paging
from winnow.console.scope import Scope
from winnow.console.shell import Page, Site, page_of


def page_of_rows(
    title: str,
    scope: Scope,
    fields: Sequence[Field],
    query: Mapping[str, str],
    site: Site,
    look: Callable[[str], Any],
) -> Page:
    """The part that `page` of the query asks for; `look` gives a campaign's row by its name."""
    name, names = title.lower(), list(scope.campaigns)
    pages, part = paging(
        "Campaigns", query, len(names), lambda n: site.to(name, page=n if n > 1 else None)
    )
    return page_of(
        title,
        f"across_{name}.html",
        site,
        gone=scope.gone,
        fields=fields,
        query=query,
        rows=list(at_once(look, names[part]).values()),
        paging=pages,
    )
