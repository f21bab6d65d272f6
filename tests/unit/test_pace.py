"""Long work says how far it is: what it says is measured, now and then, and kept for the pages."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

from winnow.lake import FolderLake
from winnow.pace import EVERY, Pace, last_note, line, noted


def test_lines_come_now_and_then_with_the_speed_since_the_first_figure() -> None:
    now, said = [0.0], list[str]()
    pace = Pace("prompts", 1_000, said.append, lambda: now[0])
    for seconds, n in ((1.0, 400), (2.0, 450), (EVERY + 1.0, 700), (EVERY + 2.0, 900)):
        now[0] = seconds
        pace.at(n)
    assert said == ["700 of 1,000 prompts, 27 a second, 11 s left"]
    now[0] = EVERY + 3.0
    pace.at(1_000)
    assert said[1:] == ["1,000 of 1,000 prompts, 46 a second"]


def test_short_work_says_nothing() -> None:
    said: list[str] = []
    pace = Pace("prompts", 2, said.append, lambda: 0.0)
    for n in range(3):
        pace.at(n)
    assert said == []


def test_slow_work_is_told_by_the_minute() -> None:
    assert line("parts", 1, 3, 1, 30.0) == "1 of 3 parts, 2.0 a minute, 60 s left"
    assert line("parts", 1, 3, 0, 30.0) == "1 of 3 parts"


def test_the_last_line_is_kept_for_the_pages_with_its_time(tmp_path: Path) -> None:
    lake, said = FolderLake(tmp_path), list[str]()
    assert last_note(lake, "batches/a/b", "select") is None
    at = datetime(2026, 11, 29, 23, 41, 8, tzinfo=timezone(timedelta(hours=2)))
    say = noted(lake, "batches/a/b", "select", said.append, lambda: at)
    say("one")
    say("two")
    assert said == ["one", "two"]
    assert last_note(lake, "batches/a/b", "select") == "two (2026-11-29 21:41 UTC)"
