"""A batch of which only the key was said, where several campaigns have one: which is meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from winnow.console.parts import Field
from winnow.console.scope import Scope
from winnow.console.shell import Page, Site, page_of
from winnow.lake import Lake


def page(
    lake: Lake, scope: Scope, fields: Sequence[Field], query: Mapping[str, str], site: Site
) -> Page:
    """The campaigns that have the batch `key`."""
    key = query.get("key", "")
    return page_of(
        f"Batch {key}",
        "across_batch.html",
        site,
        key=key,
        gone=scope.gone,
        campaigns=scope.campaigns,
    )
