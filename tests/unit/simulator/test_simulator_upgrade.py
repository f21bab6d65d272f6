"""Books that the version before kept go on."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from winnow.label.vendor import TaskRequest
from winnow_simulator.tables import OtherBooks

from .test_simulator import TERMS


def as_version_2(database: Path) -> None:
    with sqlite3.connect(database) as db:
        db.execute("ALTER TABLE batches DROP COLUMN mark")
        db.execute("PRAGMA user_version = 2")


def test_books_of_version_2_get_marks(
    tmp_path: Path,
    start_simulator: Callable[[Path], Any],
    make_tasks: Callable[[int], list[TaskRequest]],
) -> None:
    old = start_simulator(tmp_path / "books.sqlite")
    ref = old.connect().open_batch("day-1", TERMS)
    old.connect().add_tasks(ref, make_tasks(3))
    old.books.close()
    as_version_2(tmp_path / "books.sqlite")
    new = start_simulator(tmp_path / "books.sqlite")
    assert new.connect().open_batch("day-1", TERMS) == ref
    assert (new.connect().mark_of(ref), new.connect().status(ref).n_tasks) == ("", 3)


def test_books_of_another_version_are_refused(
    tmp_path: Path, start_simulator: Callable[[Path], Any]
) -> None:
    start_simulator(tmp_path / "books.sqlite").books.close()
    with sqlite3.connect(tmp_path / "books.sqlite") as db:
        db.execute("PRAGMA user_version = 1")
    with pytest.raises(OtherBooks):
        start_simulator(tmp_path / "books.sqlite")
