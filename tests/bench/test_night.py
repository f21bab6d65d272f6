"""The night bench takes every step of nights of any size, and many nights in one lake."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from winnow.errors import Fatal
from winnow_bench import night, nights
from winnow_bench.document import in_a_process
from winnow_bench.night_steps import STEPS, World, steps_of

PAGES = {"batches", "batch", "datasets", "spend", "selector"}


@pytest.mark.kill
@pytest.mark.usefixtures("in_this_process")
def test_a_small_night_goes_the_whole_way(tmp_path: Path) -> None:
    def take(steps: list[str] | None = None) -> dict[str, dict]:
        report = night.run(
            [12],
            10,
            tmp_path / "out",
            lambda _: None,
            steps=steps or list(STEPS),
            kept=tmp_path / "kept",
            processes=1,
        )
        assert json.loads((tmp_path / "out" / "night.json").read_text()) == report
        return {row["stage"]: row for row in report["rows"]}

    # A step that cannot be taken says why, and stops no other.
    first = take(["ingest", "select", "plan"])
    assert "stage expand is not done" in first["select"]["error"]
    assert "error" in first["plan"]
    # What is kept is gone on from.
    rest = take()
    assert [*rest] == [step for step in steps_of(World("")) if step != "ingest"]
    for row in (first["ingest"], *rest.values()):
        assert "error" not in row
        assert row["prompts"] == 12
        assert min(row["seconds"], row["peak_mib"], row["bytes_read"], row["rows"]) > 0
        assert row["ratio_to_plain"] > 0.0
    assert rest["select"]["strategy"] == "decision_gain"
    assert rest["select"]["ratio_to_bare"] > 0.0
    assert take() == {}


def test_what_is_measured_has_a_process_of_its_own() -> None:
    assert in_a_process(os.getpid) != os.getpid()


@pytest.mark.kill
@pytest.mark.parametrize("brought", [False, True])
def test_many_nights_in_one_lake(tmp_path: Path, brought: bool) -> None:
    report = nights.run(2, 12, 4, tmp_path, lambda _: None, brought=brought)
    assert json.loads((tmp_path / "night.json").read_text()) == report
    for number in (1, 2):
        told = {row["stage"]: row for row in report["rows"] if row["night"] == number}
        first = {f"first page {page}" for page in PAGES}
        running = {f"page {page}" for page in PAGES} if number > 1 else set()
        steps = steps_of(World("", brought=brought))
        assert told.keys() == {*steps, "status", *first, *running}
        assert all(row["seconds"] > 0.0 for row in told.values())
        assert told["status"]["bytes_read"] > 0


def test_stages_are_named_in_their_order() -> None:
    assert night.named("select, ingest") == ["ingest", "select"]
    assert night.named(None) == list(STEPS)
    with pytest.raises(Fatal, match="rewrite: the stages are ingest, "):
        night.named("ingest,rewrite")
