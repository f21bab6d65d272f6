"""What the documents point at is there: files, headings, tests, commands and targets of make."""

from __future__ import annotations

import re
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest

import winnow
from winnow.cli import COMMANDS
from winnow.stages.tasks import DAGS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def headings(page: Path) -> set[str]:
    """The anchors of a page, as repositories' pages make them."""
    found = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    for link in links:
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in headings(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_is_there(page: Path) -> None:
    text = page.read_text()
    for path in re.findall(r"`((?:tests|include|docker|plugins|dags|docs)/[\w/.-]+)`", text):
        assert (ROOT / path).exists(), path
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M)
    for target in re.findall(r"(?:`|^ {4}|^)make ([a-z]+)", text, re.M):
        assert target in targets, target
    for command in re.findall(r"(?:`|/|^)winnow ([a-z]+)", text, re.M):
        assert command in COMMANDS, command


def _held(name: str) -> Any:
    """A setting that the page on capacity names: of the code, or of Compose."""
    if name.startswith("winnow."):
        owner, _, field = name.rpartition(".")
        holder = resolve_name(owner)
        fields = getattr(holder, "model_fields", {})
        return fields[field].default if field in fields else getattr(holder, field)
    compose = (ROOT / "docker" / "compose.yaml").read_text()
    [value] = set(re.findall(rf"{name}[:=] ?\"?(?:\$\{{\w+:-)?(\d+)", compose))
    return int(value)


def test_what_capacity_is_reckoned_from_is_so() -> None:
    page = (ROOT / "docs" / "capacity.md").read_text()
    rows = re.findall(r"\| (\d+) \| `((?:winnow\.|AIRFLOW__|max_)[\w.]+)` \|$", page, re.M)
    assert len(rows) > 4
    assert {name: int(value) for value, name in rows} == {name: _held(name) for _, name in rows}
    a_night = sum(not task.optional for dag in DAGS[:-1] for task in dag.tasks)
    assert f"A night of one shard left {a_night} task instances" in " ".join(page.split())
    assert f"96 passes of {len(DAGS[-1].tasks)} tasks" in page


def test_the_newest_heading_of_the_changelog_fits_the_version() -> None:
    newest, before, *_ = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    version = [int(part) for part in winnow.__version__.split(".")]
    if newest == "Unreleased":
        assert version > [int(part) for part in before.split(".")], "it is the next one's"
    else:
        assert newest == winnow.__version__
