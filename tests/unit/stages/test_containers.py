"""A round is bought where its first task went, or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from winnow.batch import Batch
from winnow.errors import Blocked, Fatal, Retryable
from winnow.ingest.ledger import Dropped
from winnow.label.vendor import VendorAccount
from winnow.label.vendors import connect
from winnow.lake import FolderLake, lake_id
from winnow.stages import label
from winnow.stages.label.drop import drop
from winnow.stages.label.late import bill_of, keep_late

from .conftest import SALT, Dying, Killed, Night


@pytest.fixture
def other(tmp_path: Path, start_other_account: Callable[[Path], Any]) -> Any:
    """Another account of the vendor's."""
    return start_other_account(tmp_path / "other.sqlite")


def chosen(night: Night) -> Night:
    night.choose(night.batch())
    return night


def beside(night: Night, simulator: Any) -> Night:
    """The same campaign and batch in a lake of its own."""
    made = Night(Path(f"{night.lake.uri}-beside"), Path("nowhere"), simulator, {})
    made.campaign = night.campaign
    return chosen(made)


def test_a_round_is_never_bought_in_another_account(
    night: Callable[..., Night], other: Any
) -> None:
    a, b = chosen(night()), other
    label.submit(a.batch(), a.simulator.connect())
    with pytest.raises(Fatal, match=r"leads to.*Nothing was sent"):
        label.submit(a.batch(), b.connect())
    assert b.bought() == {}
    assert set(a.simulator.bought().values()) == {1}


@pytest.mark.parametrize("at", range(8))
def test_nor_when_the_connection_changes_in_the_middle_of_the_purchase(
    night: Callable[..., Night], other: Any, at: int
) -> None:
    a, b = chosen(night()), other
    dying = Dying(a.simulator.connect(), ("open_batch", "add_tasks", "launch", "list_task_ids"), at)
    for vendor in (dying, b.connect(), a.simulator.connect(), b.connect()):
        with suppress(Killed, Fatal):
            label.submit(a.batch(), vendor)
    n_tasks = label.read_plan(a.batch(), 0).totals.tasks
    sold = [simulator.bought() for simulator in (a.simulator, b)]
    assert sorted(map(len, sold)) == [0, n_tasks]


def test_neither_answers_nor_a_bill_come_from_another_account(
    night: Callable[..., Night], other: Any
) -> None:
    a = chosen(night())
    label.submit(a.batch(), a.simulator.connect())
    a.simulator.finish()
    # The other account holds a batch of the same key: another lake bought it there.
    theirs = beside(a, other)
    label.submit(theirs.batch(), other.connect())
    other.finish()
    batch, wrong = a.batch(), other.connect()
    for call in (
        lambda: label.follow_up(batch, wrong, SALT),
        lambda: label.collect(batch, wrong, SALT),
        lambda: bill_of(batch, wrong),
        lambda: keep_late(batch, wrong, SALT),
    ):
        with pytest.raises(Fatal, match="another purchase"):
            call()
    assert "cannot be asked" in str(label.progress(batch, wrong))
    label.follow_up(batch, a.simulator.connect(), SALT)
    a.simulator.finish()
    assert label.collect(batch, a.simulator.connect(), SALT).counts["annotations"] > 0


def test_a_container_that_another_lake_made_is_refused(night: Callable[..., Night]) -> None:
    a = chosen(night("one"))
    label.submit(a.batch(), a.simulator.connect())
    b = beside(a, a.simulator)
    with pytest.raises(Fatal, match="made by another lake"):
        label.submit(b.batch(), b.simulator.connect())
    assert set(a.simulator.bought().values()) == {1}


def test_a_lake_that_moved_goes_on(night: Callable[..., Night], tmp_path: Path) -> None:
    a = chosen(night())
    label.submit(a.batch(), a.simulator.connect())
    shutil.move(a.lake.uri, tmp_path / "moved")
    moved = FolderLake(tmp_path / "moved", lambda: a.time)
    assert label.submit(a.batch(moved), a.simulator.connect())["sent"] == 0
    a.simulator.finish()
    label.follow_up(a.batch(moved), a.simulator.connect(), SALT)
    a.simulator.finish()
    assert label.collect(a.batch(moved), a.simulator.connect(), SALT).counts["annotations"] > 0
    assert set(a.simulator.bought().values()) == {1}


def test_a_lake_keeps_its_id(tmp_path: Path) -> None:
    lake = FolderLake(tmp_path / "a")
    first = lake_id(lake)
    assert lake_id(FolderLake(tmp_path / "a")) == first != lake_id(FolderLake(tmp_path / "b"))


def test_a_purchase_that_the_version_before_made_goes_on(night: Callable[..., Night]) -> None:
    a = chosen(night())
    label.submit(a.batch(), a.simulator.connect())
    as_before(a.batch(), a.simulator)
    assert label.submit(a.batch(), a.simulator.connect())["sent"] == 0
    a.simulator.finish()
    label.follow_up(a.batch(), a.simulator.connect(), SALT)
    assert set(a.simulator.bought().values()) == {1}


def as_before(batch: Batch, simulator: Any) -> None:
    """The round's files as version 0.2 wrote them, and the vendor's batch without a mark."""
    folder = Path(batch.lake.uri) / batch.folder / "label/round-0"
    (folder / "container.json").unlink()
    opening = json.loads((folder / "opening.json").read_text())
    (folder / "opening.json").write_text(json.dumps({"deadline": opening["deadline"]}))
    (Path(batch.lake.uri) / "lake.json").unlink()
    with simulator.books.transaction() as (db, _):
        db.execute("UPDATE batches SET mark = ''")


@pytest.mark.parametrize("ahead", [timedelta(days=8), timedelta(days=-8), timedelta(days=4000)])
def test_a_worker_whose_clock_is_off_cancels_nothing(
    night: Callable[..., Night], ahead: timedelta
) -> None:
    a = chosen(night())
    wrong = replace(a.batch(), clock=lambda: a.time + ahead)
    label.submit(wrong, a.simulator.connect())
    with pytest.raises(Retryable, match="still open"):
        label.follow_up(wrong, a.simulator.connect(), SALT)
    with pytest.raises(Retryable, match="still open"):
        label.follow_up(a.batch(), a.simulator.connect(), SALT)
    a.simulator.finish()
    label.follow_up(wrong, a.simulator.connect(), SALT)
    a.simulator.finish()
    assert label.collect(wrong, a.simulator.connect(), SALT).counts["unanswered"] == 0


def test_nothing_is_called_off_in_another_account(night: Callable[..., Night], other: Any) -> None:
    a = chosen(night())
    label.submit(a.batch(), a.simulator.connect())
    theirs = beside(a, other)
    label.submit(theirs.batch(), other.connect())
    note = Dropped("Ada", a.time.isoformat(), "a test")
    with pytest.raises(Blocked, match="cannot be called off"):
        drop(a.lake, a.campaign, a.batch().key, note, lambda: a.time, other.connect(), SALT)
    assert other.connect().status(label.read_submission(theirs.batch()).ref).state == "open"


def test_files_in_another_folder_are_not_asked_for_again(
    night: Callable[..., Night], tmp_path: Path
) -> None:
    a = chosen(night(vendor="file_drop"))
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    here, there = (
        connect("file_drop", VendorAccount(str(tmp_path / name), "")) for name in ("here", "there")
    )
    label.submit(a.batch(), here)
    with pytest.raises(Fatal, match="Nothing was sent"):
        label.submit(a.batch(), there)
    assert list((tmp_path / "there").iterdir()) == []
