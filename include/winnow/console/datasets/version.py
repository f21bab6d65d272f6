"""One version: its figures, its files, what is in it, and how to get it."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from math import ceil
from shlex import quote
from typing import Any

from winnow.batch import Artifact
from winnow.campaign import Campaign
from winnow.console import parts
from winnow.console.datasets import diff as datasets_diff
from winnow.console.datasets.figures import Opened, version_name, view_of
from winnow.console.datasets.words import batches_line, note, published, verdict
from winnow.console.shell import Page, Site, to
from winnow.lake import Lake
from winnow.pages.pieces import facts_list, folded, paragraphs, said, section
from winnow.pages.words import NOT_MEASURED, between, count, dollars, number, percent
from winnow.publish.versions import REPORT
from winnow.text import plain_text


def page(
    lake: Lake,
    campaign: Campaign,
    version: Opened,
    newest: int,
    query: Mapping[str, str],
    site: Site,
) -> Page:
    """The page of one version; `newest` is the number of the newest one."""
    told = version.summary
    lead = f"{published(told, site)}. {verdict(told)} {note(told)}."
    report = _report_link(version)
    pull = f"winnow pull {version.dataset}@{version.name} --out data --lake {quote(lake.uri)}"
    tiles = parts.tiles(
        [
            (count(told.rows.get("reward", 0)), "preferences", "rows of the view reward"),
            (count(told.rows.get("dpo", 0)), "sure preferences", "rows of the view dpo"),
            (count(len(version.batches)), "batches", f"the newest: {told.newest_batch or 'none'}"),
            (f"{told.n_bytes / 1e6:,.1f} MB", "in files", f"{len(version.files):,} files"),
        ]
    )
    body = (
        f'<p class="lead">{lead}</p>{report}{tiles}'
        + section("Get it", parts.command(pull) + _digest(version))
        + section("Figures", _figures(version))
        + section("Files", _files(version, query))
        + section("Batches", _batches(version))
        + section("Compare", _beside(version, campaign.publish.dataset, newest, query))
    )
    return Page(f"{version.dataset} {version.name}", body)


def _report_link(version: Opened) -> str:
    if REPORT not in version.files:
        return paragraphs(["This version has no quality report."], "soft")
    address = to("report", dataset=version.dataset, version=version.name)
    told = parts.link("Quality report", address)
    return f"<p>{told}: what was bought and why, agreement, calibration, cost, the gate.</p>"


def _digest(version: Opened) -> str:
    told = f"Data digest <code>{escape(version.summary.digest)}</code>: equal data, equal digest."
    return f'<p class="soft">{told}</p>'


def _figures(version: Opened) -> str:
    found = version.figures
    known = [
        ("gate", said(str(found.get("verdict") or "not judged"))),
        ("labels cost", dollars(_known(found, "cost"))),
        (
            "two annotators agree",
            f"{percent(_known(found, 'agreement'))} "
            f"{between(_known(found, 'agreement_low'), _known(found, 'agreement_high'))}",
        ),
        ("gold answered right", percent(_known(found, "gold_accuracy"))),
        ("ties", percent(_known(found, "tie_rate"))),
        ("pairs bought", count(_known(found, "comparisons"))),
        ("of pairs scored", count(_known(found, "pairs_scored"))),
        ("drawn uniformly", count(_known(found, "exploration"))),
        ("strategy", said(str(found.get("strategy") or NOT_MEASURED))),
        ("prompts", count(_known(found, "prompts"))),
    ]
    others = [
        (plain_text(name.replace("_", " ")), said(_inline(value), 200))
        for name, value in sorted(found.items())
    ]
    whose = "Of the newest batch, as measured when it was published."
    return (
        paragraphs([whose], "soft")
        + facts_list(known)
        + folded("Every figure of the manifest", facts_list(others))
    )


def _files(version: Opened, query: Mapping[str, str]) -> str:
    rows_of = version.summary.rows
    wanted = query.get("view", "") if query.get("view") in rows_of else ""
    names = [n for n in sorted(version.files) if not wanted or view_of(n) == wanted]
    n_pages = max(1, ceil(len(names) / parts.PER_PAGE))
    at = min(parts.page_number(query), n_pages)
    shown = names[(at - 1) * parts.PER_PAGE : at * parts.PER_PAGE]
    rows = [_file(version, name) for name in shown]

    def address(view: str, page: int | None = None) -> str:
        place = {"dataset": version.dataset, "version": version.name}
        return to("datasets", **place, view=view, page=page)

    by_view = [
        (parts.link(plain_text(view), address(view)), count(rows_of[view]))
        for view in sorted(rows_of)
    ]
    which = f"Files of the view {wanted}" if wanted else "Every file"
    back = f"<p>{parts.link('Every file', address(''))}</p>" if wanted else ""
    return (
        parts.table("Rows by view", ["View", "Rows"], by_view)
        + f"<h3>{escape(plain_text(which))}, {len(names):,}</h3>"
        + back
        + parts.table("Files", ["File", "Rows", "Bytes", "SHA-256"], rows)
        + parts.pages(lambda n: address(wanted, n), at, n_pages, "Files")
    )


def _file(version: Opened, name: str) -> tuple[str, ...]:
    artifact = Artifact(**version.files[name])
    address = to("file", dataset=version.dataset, version=version.name, name=name)
    rows, shown = count(artifact.n_rows) if view_of(name) else "", plain_text(name)
    return (
        parts.link(shown, address, label=f"Download {shown}"),
        rows,
        count(artifact.n_bytes),
        f"<code>{escape(artifact.sha256[:12])}</code>",
    )


def _batches(version: Opened) -> str:
    told = batches_line("In it", version.batches)
    if version.withdrawn:
        told += batches_line(
            "Withdrawn by a rollback, and taken in by no later version", version.withdrawn
        )
    return told


def _beside(version: Opened, default: str, newest: int, query: Mapping[str, str]) -> str:
    if version.parent is None:
        if newest < 2:
            return paragraphs(["This is the only version."])
        first = {**query, "before": version.name, "after": version_name(newest)}
        return datasets_diff.chooser(version.dataset, default, newest, first)
    pair = {"before": version_name(version.parent), "after": version.name}
    link = parts.link(
        f"What changed since {pair['before']}", to("datasets", dataset=version.dataset, **pair)
    )
    form = datasets_diff.chooser(version.dataset, default, newest, {**query, **pair})
    return f"<p>{link}</p>{form}"


def _known(figures: Mapping[str, Any], name: str) -> float | None:
    value = figures.get(name)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number else None


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{k}: {_inline(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_inline(each) for each in value)
    if isinstance(value, float):
        return number(value, 4)
    return NOT_MEASURED if value is None else str(value)
