"""HTML is written in templates, which escape what they are given; no module joins it from strings.

A tag in a Python string is where escaping is forgotten: whoever adds a text beside it must think of
`escape`, and nothing tells them. In a template there is nothing to think of.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from winnow.console import batch, batches, datasets, selector, shell, spend
from winnow.console.across import batch as of_batch
from winnow.console.across import batches as of_batches
from winnow.console.across import datasets as of_datasets
from winnow.console.across import rows as of_rows
from winnow.console.across import selector as of_selector
from winnow.console.across import spend as of_spend
from winnow.console.memory import Memory
from winnow.console.scope import Scope
from winnow.console.shell import Page, Site, document, page_of
from winnow.lake import FolderLake
from winnow.publish.rollback import roll_back
from winnow.publish.versions import read_version

from ...console_world import World, campaign, day
from ...published import labelled, night

ROOT = Path(__file__).parents[3]
MODULES = [*ROOT.glob("include/winnow/**/*.py"), *ROOT.glob("plugins/**/*.py")]
TEMPLATES = [f for f in ROOT.glob("include/**/templates/*") if f.suffix in (".html", ".jinja")]
IN_PAGES = ROOT / "include" / "winnow" / "pages"
MARKDOWN = {IN_PAGES / "words.py", ROOT / "include" / "winnow" / "publish" / "card.py"}
"""Modules that mark a text as Markdown that is written already."""
DATA_DOCS = ROOT / "include" / "winnow" / "validate" / "data_docs.py"
"""Takes over what Great Expectations renders of texts that can be no markup."""
MAKERS = {IN_PAGES / "render.py", IN_PAGES / "rich.py", DATA_DOCS}
"""What templates are filled by, and what makes HTML of Markdown (`test_rich`)."""

TAG = re.compile(
    r"</?(a|article|b|blockquote|body|br|button|code|dd|details|div|dl|dt|em|figure|footer|form|"
    r"h[1-6]|head|header|html|i|img|input|label|li|link|main|meta|nav|ol|option|p|pre|script|"
    r"section|select|small|span|strong|style|summary|svg|table|tbody|td|th|thead|time|title|tr|ul)"
    r"(?=[\s>/]|$)"
)
FIGURES = (
    "spend.html",
    *(f"across_{name}.html" for name in ("batch", "datasets", "selector", "spend")),
)
"""Templates that are given no hostile text here: names, figures, and a month in words."""
HOSTILE = "<img src=x onerror=alert(1)>\"'\u202e</title><script>alert(2)</script>"
NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


def strings(module: Path) -> Iterator[ast.Constant]:
    """The strings of a module that are no documentation."""
    tree = ast.parse(module.read_text())
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if is_text and id(node) not in documentation:
            yield node


def test_no_tag_stands_in_a_string_of_the_product() -> None:
    assert len(MODULES) > 200
    found = [
        f"{module.relative_to(ROOT)}:{node.lineno}: {node.value[:60]}"
        for module in MODULES
        if IN_PAGES not in module.parents
        for node in strings(module)
        if TAG.search(node.value)
    ]
    assert found == []


def test_nothing_is_escaped_or_taken_for_markup_by_hand() -> None:
    found = []
    for module in {*MODULES} - MARKDOWN - MAKERS:
        for node in ast.walk(ast.parse(module.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            if isinstance(node, ast.Import):
                names = [each.name for each in node.names]
            if {"html", "markupsafe"} & {*names}:
                found.append(str(module.relative_to(ROOT)))
    assert found == []
    assert len(TEMPLATES) > 15
    for template in TEMPLATES:
        assert not re.search(r"\|\s*safe\b|autoescape", template.read_text()), template


class Hostile(World):
    """Every text that a stage, a model or a person may bring is hostile."""

    def commit_publish(self, batch: Any, label: Any, *told: Any) -> None:
        strategies = [{"strategy": HOSTILE, "prompts": 30.0, "gain": [0.1, 0.0, 0.2]}]
        n = label.counts["rows_out"]
        batch.commit(
            "publish",
            inputs=[label],
            outputs={},
            counts={"rows_in": n, "rows_out": n, "quarantined": 0},
            figures={
                "folder": "datasets/nightly/v000001",
                "version": HOSTILE,
                "verdict": HOSTILE,
                "gate": {"state": "closed", "reason": HOSTILE, "n": 7},
                "bake_off": {"batches": 1, "votes": 1, "strategies": strategies},
            },
        )


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Page]:
    """A page of every template of the console, by the template's name."""
    folder = tmp_path_factory.mktemp("hostile")
    world = Hostile(FolderLake(folder / "a"))
    world.make(day(0), text=HOSTILE)
    lake, asked = FolderLake(folder / "b"), campaign(publish={"dataset": "d"})
    for key in ("n1", "<img src=x>"):
        night(lake, labelled(key, [HOSTILE]), 0.0)
    roll_back(lake, read_version(lake, "d", 1), HOSTILE, HOSTILE, NOW)
    site, made = Site(NOW, Memory(), ui="../", begun=lambda: [HOSTILE]), {}

    def recorded(title: str, template: str, *args: Any, **shown: Any) -> Page:
        made[template] = page_of(title, template, *args, **shown)
        return made[template]

    with pytest.MonkeyPatch.context() as patch:
        for module in (batch, batches, datasets, datasets.datasets_diff, selector, spend):
            patch.setattr(module, "page_of", recorded)
        patch.setattr(datasets.datasets_version, "page_of", recorded)
        batches.page(world.lake, world.campaign, {"q": HOSTILE}, site)
        batch.page(world.lake, world.campaign, {"key": day(0)}, site)
        selector.page(world.lake, world.campaign, {}, site)
        spend.page(world.lake, world.campaign, {"month": HOSTILE}, site)
        for query in ({}, {"version": "v3"}, {"before": "v1", "after": "v2"}):
            datasets.page(lake, asked, query, site)
        both = Scope({name: campaign(name=name) for name in ("nightly", "weekly")})
        two = world.lake, both, [], {"key": HOSTILE, "month": HOSTILE, "q": HOSTILE}, site
        for module in (of_batch, of_batches, of_spend, of_rows):
            patch.setattr(module, "page_of", recorded)
        for module in (of_batch, of_batches, of_datasets, of_selector, of_spend):
            module.page(*two)
        recorded(HOSTILE, "told.html", site, words=HOSTILE, address="")
    return made


def test_every_template_of_the_console_shows_hostile_text_as_text(pages: dict[str, Page]) -> None:
    folder = Path(shell.__file__).with_name("templates")
    frames = {"frame.html", "console.html", "versions.html"}
    assert {*pages} | frames == {each.name for each in folder.glob("*.html")}
    for name, page in pages.items():
        whole = document(page, name, Site(NOW, ui="../"), HOSTILE)
        tags: list[tuple[str, dict[str, str | None]]] = []

        class Reader(HTMLParser):
            def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
                tags.append((tag, dict(attrs)))  # noqa: B023

        Reader().feed(whole)
        assert "\u202e" not in whole, name
        assert [given for tag, given in tags if tag == "script"] == [
            {"src": "frame.js", "defer": None}
        ], name
        assert not [tag for tag, given in tags if tag == "img" or "onerror" in given], name
        if name not in FIGURES:
            assert "&lt;" in page.body, name
