"""`winnow links`: links for workers, tasks, everybody and a team, and who is done."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from winnow.cli import main
from winnow.label.vendor import BatchTerms, TaskRequest
from winnow.label.vendors.links.client import LinksVendor
from winnow.label.vendors.links.desk import Said
from winnow.label.vendors.links.tokens import Link, Signer
from winnow.lake import FolderLake

SECRET, URL = "secret-of-the-tests", "http://links.test/winnow-links"
KEY = "2026-11-22"


class Desk:
    """A campaign by links with one launched batch, and the command on it."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys
        settings = {
            "name": "small",
            "ingest": {"sources": ["inbox"]},
            "expand": {"model": "tiny"},
            "label": {"budget_usd": 50, "vendor": "links"},
            "publish": {"dataset": "small"},
        }
        (folder / "campaign.yaml").write_text(yaml.safe_dump(settings))
        self.vendor = LinksVendor(FolderLake(folder / "lake" / "links"), URL, Signer(SECRET))

    def __call__(self, *words: str, code: int = 0) -> list[dict[str, str]]:
        """The rows that the command prints."""
        places = ["--campaign", str(self.folder / "campaign.yaml"), "--lake"]
        ended = main(["links", *words, *places, str(self.folder / "lake")])
        self.said = self._capsys.readouterr()
        assert ended == code, self.said
        return list(csv.DictReader(io.StringIO(self.said.out)))

    def link(self, row: dict[str, str]) -> Link:
        """What the link in a row opens."""
        address, token = row["link"].rsplit("/", 1)
        assert address == URL
        return self.vendor.signer.link(token, datetime.now(UTC))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> Desk:
    told = f'{{"host": "{URL}", "password": "{SECRET}"}}'
    monkeypatch.setenv("AIRFLOW_CONN_WINNOW_VENDOR", told)
    return Desk(tmp_path, capsys)


@pytest.fixture
def tasks(desk: Desk, make_tasks: Callable[..., list[TaskRequest]]) -> list[TaskRequest]:
    deadline = datetime.now(UTC) + timedelta(days=1)
    ref = desk.vendor.open_batch(f"small/{KEY}", BatchTerms("Which?", "h-1", (), deadline))
    tasks = make_tasks(3)
    desk.vendor.add_tasks(ref, tasks)
    desk.vendor.launch(ref)
    return tasks


def test_links_are_for_workers_tasks_everybody_or_a_team(desk: Desk, tasks) -> None:
    ref = desk.vendor.open_batch(f"small/{KEY}", BatchTerms("", "", (), datetime.now(UTC)))
    batch = ["make", "--batch", KEY]
    rows = desk(*batch, "--workers", "2", "--worker", "Zoë", "--most", "5", "--days", "2")
    opened = [desk.link(row) for row in rows]
    assert [row["worker"] for row in rows] == ["w00001", "w00002", "Zoë"]
    assert [(own.batch, own.worker, own.most) for own in opened] == [
        (ref, row["worker"], 5) for row in rows
    ]
    left = opened[0].expires - datetime.now(UTC).timestamp()
    assert 2 * 86400 - 60 < left <= 2 * 86400
    each = desk(*batch, "--each")
    assert {desk.link(row).task for row in each} == {task.task_id for task in tasks}
    assert all(row["task"] == desk.link(row).task for row in each)
    [everybody] = desk(*batch)
    assert (desk.link(everybody).worker, desk.link(everybody).batch) == ("", ref)
    [inbox] = desk("make", "--worker", "ann")
    assert (desk.link(inbox).worker, desk.link(inbox).batch) == ("ann", "")


def test_codes_tell_who_is_done_and_no_cell_is_a_formula(desk: Desk, tasks) -> None:
    ref = desk.vendor.open_batch(f"small/{KEY}", BatchTerms("", "", (), datetime.now(UTC)))
    for who, n in (("=1+1", 2), ("bob", 0)):
        link = Link(2**40, ref, who)
        desk.vendor.desk.check_browser(link, "b" * 20, begin=True)
        for _ in range(n):
            task = desk.vendor.desk.turn(link).task
            assert task is not None
            desk.vendor.desk.answer(link, task.key, lambda _: Said("a", {}, {}, None))
    rows = sorted(desk("codes", "--batch", KEY), key=lambda row: row["worker"])
    assert [(row["worker"], row["answers"], row["shared"]) for row in rows] == [
        ("'=1+1", "2", ""),
        ("bob", "0", ""),
    ]
    assert [row["code"] for row in rows] == [desk.vendor.signer.code(ref, "=1+1"), ""]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["make", "--batch", "2026-01-01"], "holds no batch"),
        (["make", "--batch", KEY, "--each", "--workers", "2"], "--each"),
        (["make"], "--worker NAME"),
        (["make", "--batch", KEY, "--worker", " "], "1 to 100"),
        (["codes", "--batch", "2026-01-01"], "holds no batch"),
    ],
)
def test_what_cannot_be_made_is_said(desk: Desk, tasks, words: list[str], why: str) -> None:
    assert desk(*words, code=1) == []
    assert why in desk.said.err
    assert SECRET not in desk.said.err


def test_without_the_connection_or_the_vendor_it_is_said(desk: Desk, monkeypatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WINNOW_VENDOR", "no-uri")
    desk("make", "--worker", "ann", code=1)
    assert "AIRFLOW_CONN_WINNOW_VENDOR" in desk.said.err
    settings = desk.folder / "campaign.yaml"
    settings.write_text(settings.read_text().replace("vendor: links", "vendor: scale"))
    desk("make", "--worker", "ann", code=1)
    assert "label.vendor to links" in desk.said.err
