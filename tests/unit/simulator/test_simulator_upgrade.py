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


def as_before(database: Path, version: int) -> None:
    with sqlite3.connect(database) as db:
        for column in ("mark", "choices") if version == 2 else ("choices",):
            db.execute(f"ALTER TABLE batches DROP COLUMN {column}")
        db.execute(f"PRAGMA user_version = {version}")


@pytest.mark.parametrize("version", [2, 3])
def test_books_of_versions_before_go_on(
    version: int,
    tmp_path: Path,
    start_simulator: Callable[[Path], Any],
    make_tasks: Callable[[int], list[TaskRequest]],
) -> None:
    old = start_simulator(tmp_path / "books.sqlite")
    ref = old.connect().open_batch("day-1", TERMS)
    old.connect().add_tasks(ref, make_tasks(3))
    old.books.close()
    as_before(tmp_path / "books.sqlite", version)
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
