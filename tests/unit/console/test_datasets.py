"""The page Datasets: versions of a real dataset, their files, and what differs between them."""

from __future__ import annotations

import html
import json
import re
import shlex
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from winnow import cli
from winnow.campaign import Campaign
from winnow.console import datasets
from winnow.console.datasets import diff as datasets_diff
from winnow.console.datasets.figures import open_version, parse_summary, version_number
from winnow.console.shell import NotFound, Site
from winnow.errors import Corrupt
from winnow.lake import FolderLake
from winnow.publish.diff import diff_versions
from winnow.publish.rollback import roll_back
from winnow.publish.versions import publish, read_version, store_object
from winnow.publish.views import VIEWS

from ...console_world import World, campaign
from ...published import labelled, night

HOSTILE = "<img src=x onerror=alert(1)>\"'\u202e</title><script>"


def asked() -> Campaign:
    """A campaign that publishes the dataset `d`."""
    return campaign(publish={"dataset": "d"})


def text(page: Any) -> str:
    """What a reader sees of a page."""
    return html.unescape(" ".join(re.sub(r"<[^>]+>", " ", page.body).split()))


def addresses(page: Any) -> list[str]:
    """Where its links go."""
    return [html.unescape(each) for each in re.findall(r'href="([^"]*)"', page.body)]


def tags_and_attributes(page: Any) -> set[str]:
    """Every name of a tag or an attribute, as a browser reads the page."""
    found: set[str] = set()

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.update([tag, *(name for name, _ in attrs)])

    Reader().feed(page.body)
    return found


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> FolderLake:
    """Three nights, a rollback to the first for a hostile reason, and a fourth night."""
    made = FolderLake(tmp_path_factory.mktemp("datasets"))
    for batch in ("n1", "n2", "n3"):
        night(made, labelled(batch, [f"Why {batch} {k}?" for k in range(4)]), 0.0)
    when = datetime(2026, 11, 24, tzinfo=UTC)
    roll_back(made, read_version(made, "d", 1), HOSTILE, "Ann <ann@example.org>", when)
    night(made, labelled("n4", ["What <b>now</b>?"]), 0.0)
    return made


def test_every_version_is_listed_the_newest_first(lake: FolderLake, site: Site) -> None:
    page = datasets.page(lake, asked(), {}, site)
    told = text(page)
    assert "Dataset d has 5 versions" in told
    assert f"winnow pull d@latest --out data --lake {lake.uri}" in told
    names = [each.partition("version=")[2] for each in addresses(page) if "version=" in each]
    assert names == ["v000005", "v000004", "v000003", "v000002", "v000001"]
    version = read_version(lake, "d", 3)
    row = f"v000003 {version.digest[:12]} 2026-11-23 00:00 UTC, 3 days ago adds n3 3"
    assert f"{row} {version.n_rows('reward')} " in told


def test_a_rollback_says_who_and_why_and_what_is_withdrawn(lake: FolderLake, site: Site) -> None:
    page = datasets.page(lake, asked(), {}, site)
    assert "The files of v000001 again, by Ann <ann@example.org> : <img src=x" in text(page)
    assert "; 2 withdrawn" in text(page)
    assert "<img" not in page.body and "<script" not in page.body
    own = datasets.page(lake, asked(), {"version": "v4"}, site)
    assert "Withdrawn by a rollback, and taken in by no later version, 2: n2 , n3 ." in text(own)


def test_versions_come_in_pages(
    lake: FolderLake, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "VERSIONS", 2)
    page = datasets.page(lake, asked(), {"page": "3"}, site)
    assert [each for each in addresses(page) if "version=" in each] == [
        "datasets?dataset=d&version=v000001"
    ]
    assert "datasets?dataset=d&page=2" in addresses(page)


def test_a_version_has_files_to_save_a_report_and_a_command(tmp_path: Path, site: Site) -> None:
    world = World(FolderLake(tmp_path))
    world.make("2026-11-24")
    page = datasets.page(world.lake, world.campaign, {"version": "v000001"}, site)
    version = read_version(world.lake, "nightly", 1)
    told, links = text(page), addresses(page)
    assert "report?dataset=nightly&version=v000001" in links
    for name in version.files:
        assert f"file?dataset=nightly&version=v000001&name={name.replace('/', '%2F')}" in links
    assert "winnow pull nightly@v000001 --out data" in told and version.digest in told
    assert "batch?key=2026-11-24" in links
    assert "two annotators agree 80.0 % (37.6 % to 96.4 %)" in told


def test_files_of_one_view_are_shown_alone(lake: FolderLake, site: Site) -> None:
    every = datasets.page(lake, asked(), {"version": "v3"}, site)
    some = datasets.page(lake, asked(), {"version": "v3", "view": "dpo"}, site)
    files = [each for each in addresses(some) if each.startswith("file?")]
    assert files and all("data%2Fdpo%2F" in each for each in files)
    assert len(files) < len([each for each in addresses(every) if each.startswith("file?")])


def test_what_changed_is_what_the_command_says(lake: FolderLake, site: Site) -> None:
    page = datasets.page(lake, asked(), {"before": "v000001", "after": "v000003"}, site)
    told = text(page)
    found = diff_versions(lake, read_version(lake, "d", 1), read_version(lake, "d", 3), 20)
    assert page.title == "d: v000001 to v000003"
    for name, view in found.views.items():
        counts = f"{view.n_before} {view.n_after} {view.n_added} {view.n_removed}"
        assert f"{name} {counts} {view.n_relabelled} {view.n_rewritten}" in told
    assert "Added, 2: n2 , n3 ." in told
    assert all(row in told for row in found.views["reward"].added)
    back = text(datasets.page(lake, asked(), {"before": "v3", "after": "v1"}, site))
    assert "Removed, 2: n2 , n3 ." in back


def test_a_rollback_differs_in_nothing_from_its_target(lake: FolderLake, site: Site) -> None:
    told = text(datasets.page(lake, asked(), {"before": "v1", "after": "v4"}, site))
    assert "Both versions hold the same batches" in told and "4 4 0 0 0 0" in told


def test_too_large_a_difference_is_counted_and_not_read(
    lake: FolderLake, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("rows were compared")

    monkeypatch.setattr(datasets_diff, "diff_versions", never)
    monkeypatch.setattr(datasets_diff, "MOST_BYTES", 10)
    told = text(datasets.page(lake, asked(), {"before": "v1", "after": "v3"}, site))
    assert "reward 4 12 +8" in told and "winnow diff d@v000001 d@v000003 --lake" in told
    monkeypatch.setattr(datasets_diff, "MOST_BYTES", 10**9)
    monkeypatch.setattr(datasets_diff, "MOST_SHARDS", 1)
    assert "winnow diff" in text(
        datasets.page(lake, asked(), {"before": "v1", "after": "v3"}, site)
    )


def test_the_command_for_a_large_difference_works_as_it_stands(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = FolderLake(tmp_path / "a lake; with 'marks'")
    for batch in ("n1", "n2"):
        night(one, labelled(batch, ["Why?"]), 0.0)
    monkeypatch.setattr(datasets_diff, "MOST_BYTES", 10)
    query = {"dataset": "d", "before": "v1", "after": "v2"}
    page = datasets.page(one, campaign(publish={"dataset": "weekly"}), query, site)
    (command,) = re.findall(r"<code>(winnow diff .*?)</code>", page.body)
    assert cli.main(shlex.split(html.unescape(command))[1:]) == 0
    assert "v000002" in capsys.readouterr().out


@pytest.mark.parametrize(
    "query",
    [
        {"version": "v9"},
        {"version": "../../x"},
        {"version": "v" + "9" * 40},
        {"before": "v1", "after": "latest"},
        {"dataset": "../d", "version": "v1"},
        {"dataset": "D"},
    ],
)
def test_what_is_not_there_is_not_found(
    lake: FolderLake, site: Site, query: dict[str, str]
) -> None:
    with pytest.raises(NotFound):
        datasets.page(lake, asked(), query, site)


@pytest.mark.parametrize("page", ["0", "-1", "x", "9" * 50, "²"])
def test_a_strange_page_number_shows_a_page(lake: FolderLake, site: Site, page: str) -> None:
    assert "v00000" in datasets.page(lake, asked(), {"page": page}, site).body


def test_no_version_yet(tmp_path: Path, site: Site) -> None:
    page = datasets.page(FolderLake(tmp_path), asked(), {}, site)
    assert "Dataset d has no version yet" in page.body


def test_one_version_cannot_be_compared_yet(tmp_path: Path, site: Site) -> None:
    one = FolderLake(tmp_path)
    night(one, labelled("n1", ["Why?"]), 0.0)
    told = text(datasets.page(one, asked(), {}, site))
    assert "There is one version" in told
    assert "This is the only version" in text(datasets.page(one, asked(), {"version": "v1"}, site))


def test_hostile_figures_and_names_are_shown_as_text(tmp_path: Path, site: Site) -> None:
    one = FolderLake(tmp_path)
    name = f"data/reward/train/{HOSTILE.replace('/', '')}.parquet"
    files = {name: store_object(one, "d", b"rows", "parquet", 1)}
    figures = {"verdict": HOSTILE, "strategy": HOSTILE, HOSTILE: {HOSTILE: HOSTILE}}
    for number in (1, 2):
        publish(
            one,
            "d",
            f"n{number}",
            files,
            {**figures, "n": number, "other": HOSTILE if number == 2 else None},
            lambda new: "card",
            datetime(2026, 11, 24, tzinfo=UTC),
        )
    for query in ({}, {"version": "v1"}, {"before": "v1", "after": "v2"}):
        page = datasets.page(one, asked(), query, site)
        assert "<img" not in page.body and "<script" not in page.body
        assert "\u202e" not in page.body
        assert not tags_and_attributes(page) & {"img", "script", "onerror", "src"}


def test_hostile_ids_of_rows_are_shown_as_text(tmp_path: Path, site: Site) -> None:
    one = FolderLake(tmp_path)
    night(one, labelled("n1", ["Why?"]), 0.0)
    night(one, labelled("<img src=x>", ["Why not?"]), 0.0)
    page = datasets.page(one, asked(), {"before": "v1", "after": "v2"}, site)
    assert "<img src=x>0" in text(page)
    assert not tags_and_attributes(page) & {"img", "src"}


def test_a_summary_is_what_the_version_says(lake: FolderLake) -> None:
    for number in range(1, 6):
        told = parse_summary(lake.read(f"datasets/d/versions/v{number:06d}.json"))
        version = read_version(lake, "d", number)
        assert told.whole and (told.name, told.digest) == (version.name, version.digest)
        assert told.rows == {v: n for v in VIEWS if (n := version.n_rows(v))} | {
            "sharegpt": version.n_rows("sharegpt")
        }
        assert told.n_files == len(version.files)
        assert told.n_bytes == sum(each.n_bytes for each in version.files.values())
        assert (told.n_batches, told.n_withdrawn) == (len(version.batches), len(version.withdrawn))


def test_a_manifest_that_was_changed_is_named(lake: FolderLake) -> None:
    stored = json.loads(lake.read("datasets/d/versions/v000002.json"))
    assert parse_summary(json.dumps(stored).encode()).whole
    stored["digest"] = "0" * 64
    assert not parse_summary(json.dumps(stored).encode()).whole


def test_a_manifest_that_was_changed_is_not_opened(tmp_path: Path, site: Site) -> None:
    one = FolderLake(tmp_path)
    night(one, labelled("n1", ["Why?"]), 0.0)
    path = tmp_path / "datasets/d/versions/v000001.json"
    content = json.loads(path.read_text())
    path.unlink()
    path.write_text(json.dumps({**content, "files": {}}))
    with pytest.raises(Corrupt, match="does not match its own number and digest"):
        open_version(one, "d", "v1")
    assert "does not match its digest" in datasets.page(one, asked(), {}, site).body


def test_datasets_of_older_settings_stay_reachable(tmp_path: Path, site: Site) -> None:
    world = World(FolderLake(tmp_path))
    world.make("2026-11-24")
    page = datasets.page(world.lake, campaign(publish={"dataset": "weekly"}), {}, site)
    assert "Dataset weekly has no version yet" in page.body
    assert "datasets?dataset=nightly" in addresses(page)


@pytest.mark.parametrize(
    ("name", "number"), [("v000012", 12), ("12", 12), ("v0", None), ("v-1", None), ("", None)]
)
def test_version_names(name: str, number: int | None) -> None:
    assert version_number(name) == number
