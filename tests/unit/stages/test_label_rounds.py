"""What a vendor sends is kept page by page, whoever looks and whenever they are stopped."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from winnow.batch import Batch, open_batch
from winnow.campaign import parse_campaign
from winnow.errors import Corrupt, Fatal
from winnow.label.vendor import AnnotationPage
from winnow.lake import FolderLake
from winnow.stages.label.rounds import (
    deliveries,
    last_looks,
    look,
    read_submission,
    record_submission,
    submissions,
    terms_of,
)

from .conftest import Killed

NOW = datetime(2026, 11, 23, tzinfo=UTC)
SALT = b"salt"


class Pages:
    """A vendor that gives these records, `size` a page, by their number."""

    name = "pages"

    def __init__(self, records: list[bytes], size: int = 2, window: int = 0) -> None:
        self.records, self.size, self.window = records, size, window
        self.cursors: list[str | None] = []
        self.before_fetch: Callable[[], None] = lambda: None

    def fetch(self, _ref: str, cursor: str | None) -> AnnotationPage:
        self.before_fetch()
        self.cursors.append(cursor)
        start = int(cursor or 0)
        end = start + self.size
        following = str(end) if end < len(self.records) else None
        resume = str(max(0, len(self.records) - self.window))
        return AnnotationPage(tuple(self.records[start:end]), following, False, resume)


def record(i: int) -> bytes:
    return json.dumps({"annotation_id": f"a-{i}", "annotator": "Grace H."}).encode()


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    settings: dict[str, Any] = {
        "name": "small",
        "schedule": {"cron": None, "key": "text"},
        "ingest": {"sources": ["nowhere"]},
        "expand": {"model": "m"},
        "label": {"budget_usd": 50, "deadline_minutes": 60},
        "publish": {"dataset": "small"},
    }
    opened = open_batch(
        parse_campaign(settings, "test"),
        "day",
        FolderLake(tmp_path / "lake", lambda: NOW),
        lambda: NOW,
    )
    record_submission(opened, 0, "ref", NOW)
    return opened


def ids(batch: Batch) -> list[str]:
    return [json.loads(each.raw)["annotation_id"] for each in deliveries(batch, (0,))]


def test_a_look_keeps_every_page_and_nobodys_name(batch: Batch) -> None:
    look(batch, 0, Pages([record(i) for i in range(5)]), "ref", SALT)
    assert ids(batch) == [f"a-{i}" for i in range(5)]
    assert [each.line for each in deliveries(batch, (0,))] == [1, 2, 3, 4, 5]
    assert all(b"Grace" not in p.read_bytes() for p in Path(batch.lake.uri).rglob("*.json"))


@pytest.mark.parametrize("at", [1, 2])
def test_a_look_that_was_killed_goes_on_from_its_last_page(batch: Batch, at: int) -> None:
    vendor = Pages([record(i) for i in range(5)])

    def die() -> None:
        if len(vendor.cursors) == at:
            raise Killed

    vendor.before_fetch = die
    with pytest.raises(Killed):
        look(batch, 0, vendor, "ref", SALT)
    vendor.before_fetch = lambda: None
    look(batch, 0, vendor, "ref", SALT)
    assert vendor.cursors == [None, "2", "4"]
    assert ids(batch) == [f"a-{i}" for i in range(5)]


def test_a_later_look_goes_on_from_where_the_vendor_says(batch: Batch) -> None:
    vendor = Pages([record(i) for i in range(3)], window=1)
    look(batch, 0, vendor, "ref", SALT)
    vendor.records.append(record(3))
    look(batch, 0, vendor, "ref", SALT)
    assert vendor.cursors == [None, "2", "2"]
    assert ids(batch) == ["a-0", "a-1", "a-2", "a-2", "a-3"]
    assert [each.look for each in deliveries(batch, (0,))] == [0, 0, 0, 1, 1]
    assert last_looks(batch, (0,)) == {"simulator/ref": 1}


@pytest.mark.parametrize("n_pages", [1, 2, 7, 8, 30])
def test_a_later_look_opens_the_newest_page_alone(batch: Batch, n_pages: int) -> None:
    vendor = Pages([record(i) for i in range(n_pages)], size=1)
    look(batch, 0, vendor, "ref", SALT)
    reads: list[str] = []

    class Watched:
        def __getattr__(self, name: str) -> Any:
            return getattr(batch.lake, name)

        def read(self, path: str) -> bytes:
            reads.append(path)
            return batch.lake.read(path)

    watched = replace(batch, lake=cast(Any, Watched()))
    vendor.records.append(record(n_pages))
    look(watched, 0, vendor, "ref", SALT)
    opened = {path.rsplit("/", 1)[1] for path in reads if "/inbox/" in path}
    # The newest one, and the one that was written now.
    assert opened == {f"{n:06d}.json" for n in (n_pages - 1, n_pages)}
    assert ids(batch) == [f"a-{i}" for i in range(n_pages + 1)]


def test_twins_that_look_at_once_lose_nothing(batch: Batch) -> None:
    vendor, twin = Pages([record(i) for i in range(6)]), Pages([record(i) for i in range(6)])
    others = iter([lambda: look(batch, 0, twin, "ref", SALT)])
    vendor.before_fetch = lambda: next(others, lambda: None)()
    look(batch, 0, vendor, "ref", SALT)
    assert set(ids(batch)) == {f"a-{i}" for i in range(6)}


def test_a_look_that_is_not_whole_does_not_count_as_the_last(batch: Batch) -> None:
    vendor = Pages([record(i) for i in range(4)])
    look(batch, 0, vendor, "ref", SALT)

    def die() -> None:
        if len(vendor.cursors) == 3:
            raise Killed

    vendor.before_fetch = die
    vendor.records += [record(4), record(5), record(6)]
    with pytest.raises(Killed):
        look(batch, 0, vendor, "ref", SALT)
    assert last_looks(batch, (0,)) == {"simulator/ref": 0}


def test_pages_in_a_circle_are_corrupt(batch: Batch) -> None:
    class Circle(Pages):
        def fetch(self, _ref: str, cursor: str | None) -> AnnotationPage:
            return AnnotationPage((), "1" if cursor in (None, "2") else "2", False)

    with pytest.raises(Corrupt, match="circle"):
        look(batch, 0, Circle([]), "ref", SALT)


def test_an_empty_salt_is_fatal(batch: Batch) -> None:
    with pytest.raises(Fatal, match="salt"):
        look(batch, 0, Pages([]), "ref", b"")


def test_the_deadline_is_fixed_before_the_vendor_hears_of_the_round(batch: Batch) -> None:
    first = terms_of(batch, 1)
    assert first.deadline == NOW + timedelta(minutes=60)
    lake = FolderLake(Path(batch.lake.uri), lambda: NOW + timedelta(days=3))
    later = Batch(batch.campaign, batch.key, lake, batch.clock)
    assert terms_of(later, 1) == first


def test_a_round_that_was_not_bought_has_no_submission(batch: Batch) -> None:
    assert read_submission(batch, 1) is None
    assert list(submissions(batch)) == [0]
