"""What people answer with goes on: in twos, without names, in ways that nobody can read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from winnow.errors import Retryable
from winnow.label.annotation import UNKNOWN
from winnow.label.vendors.file_drop.client import FileDropVendor
from winnow.lake import FolderLake
from winnow.progress import progress, summary
from winnow.publish.card import dataset_card
from winnow.publish.versions import newest
from winnow.stages import label, publish
from winnow.stages.gate_input import measured
from winnow.validate.gate import judge

from .conftest import DAY, SALT, Night

Line = dict[str, Any]
REAL_JUDGE = judge


class Drop:
    """People of a file drop: `write` gives a task's lines, from its number and its id."""

    def __init__(self, folder: Path, write: Callable[[int, str], list[Line]]) -> None:
        self.folder, self.write = folder, write

    def connect(self) -> FileDropVendor:
        # By the night's clock: by another, deadlines would be over some day.
        return FileDropVendor(FolderLake(self.folder, lambda: datetime(2026, 11, 23, tzinfo=UTC)))

    def finish(self) -> None:
        for batch in sorted(self.folder.iterdir()):
            lines = [line for n, t in enumerate(self._asked(batch)) for line in self.write(n, t)]
            (batch / "output").mkdir(exist_ok=True)
            told = "\n".join(map(json.dumps, lines))
            (batch / "output" / "answers.jsonl").write_text(told)

    def bought(self) -> dict[str, int]:
        return {task: 1 for batch in self.folder.iterdir() for task in self._asked(batch)}

    def _asked(self, batch: Path) -> Iterator[str]:
        manifest = batch / "input.manifest"
        for line in manifest.read_text().splitlines() if manifest.exists() else ():
            yield json.loads(line)["task_id"]


@pytest.fixture
def dropped(tmp_path: Path, inbox: Path) -> Callable[..., Night]:
    """A night whose tasks go to a file drop."""

    def make(write: Callable[[int, str], list[Line]], **settings: Any) -> Night:
        (tmp_path / "drop").mkdir()
        told = {"vendor": "file_drop", **settings}
        return Night(tmp_path / "night", inbox, Drop(tmp_path / "drop", write), told)

    return make


def said(n: int, task: str, **more: Any) -> Line:
    return {"task_id": task, "annotator": f"w{n % 5}", "choice": "ab"[n % 2], **more}


def test_second_votes_of_a_vendor_that_names_nobody_count(dropped: Callable[..., Night]) -> None:
    night = dropped(lambda n, task: [said(n, task, annotator="team")], second_vote_share=0.6)
    night.run()
    figures = night.batch().require("label").figures
    rows = night.rows("label", "annotations")
    assert {row["kind"] for row in rows} == {"comparison"}
    assert all(row["annotator"].startswith(UNKNOWN) for row in rows)
    assert figures["n_agreement"] > 0 and figures["n_annotators"] is None
    assert figures["repeat_consistency"] is None
    assert max(row["votes"] for row in night.rows("label", "preferences")) >= 2
    assert "by unknown annotators" in summary(night.batch())
    version = newest(night.lake, "small")
    assert version is not None
    card = " ".join(dataset_card(version, night.campaign, "").split())
    assert "newest batch: unknown annotators" in card
    assert "pairs of votes of unknown annotators" in card


def test_two_people_may_answer_one_task(dropped: Callable[..., Night]) -> None:
    def write(n: int, task: str) -> list[Line]:
        return [said(n, task), *([said(n + 1, task)] if n == 0 else [])]

    night = dropped(write, second_vote_share=0.0)
    night.run()
    with measured(night.batch()) as found:
        verdict = REAL_JUDGE(found, night.campaign.validation).verdict
    assert verdict.verdict != "block", verdict.reasons()
    assert not [line for line in verdict.reasons() if "cost_gap" in line]
    assert sorted(row["votes"] for row in night.rows("label", "preferences"))[-1] == 2
    label_stage = night.batch().require("label")
    assert label_stage.cost == 100_000 * label_stage.counts["annotations"]


STRANGE = [
    {"finished_at": "0001-01-01T00:00:00+01:00"},
    {"started_at": "9999-12-31T23:59:59-05:00"},
    {"rationale": "\ud800"},
    {"price": 2**62},
    {"revision": 2**63 - 1},
    {"strength": 10**40},
    {"active_seconds": float("nan")},
    {"ratings": {"helpfulness": {"a": float("inf"), "b": 1}}},
]


def test_strange_records_go_to_quarantine_and_the_night_goes_on(
    dropped: Callable[..., Night],
) -> None:
    def write(n: int, task: str) -> list[Line]:
        return [said(n, task, **(STRANGE[n] if n < len(STRANGE) else {}))]

    night = dropped(
        write, second_vote_share=1.0, min_completion=0.3, unanswered="buy_again", third_votes=False
    )
    night.run()
    asked = night.rows("label", "tasks")
    kept = night.rows("label", "quarantine")
    refused = [row for row in kept if row["raw"] and row["reason"] != "no_vote"]
    assert len(refused) == len(STRANGE)
    assert all(row["detail"] and row["line"] for row in refused)
    assert len(night.rows("label", "annotations")) == len(asked) - len(STRANGE)
    # Somebody answered and is paid: the tasks are not bought again.
    assert {task["round"] for task in asked} == {0}
    assert night.batch().manifest("publish") is not None


def test_what_cannot_be_read_is_told_while_its_tasks_wait(dropped: Callable[..., Night]) -> None:
    night = dropped(lambda n, task: [said(n, task, choice=None)], third_votes=False)
    night.choose(night.batch())
    vendor = night.simulator.connect()
    label.submit(night.batch(), vendor)
    night.simulator.finish()
    n = len(night.simulator.bought())
    with pytest.raises(Retryable, match=f"{n} answers cannot be read while {n} tasks wait"):
        label.follow_up(night.batch(), vendor, SALT)
    for asked in (None, vendor):
        told = progress(night.batch(), asked)["label"]
        assert f"{n} answers cannot be read while {n} tasks wait" in told
        assert "choice: Field required" in told
    night.simulator.write = lambda n, task: [said(n, task)]
    night.simulator.finish()
    label.follow_up(night.batch(), vendor, SALT)
    assert "cannot be read" not in progress(night.batch())["label"]
    assert label.collect(night.batch(), vendor, SALT).counts["unanswered"] == 0
    assert DAY in publish.check(night.batch())


def as_one_array(lines: list[Line]) -> bytes:
    return json.dumps(lines, indent=1).encode()


def in_another_encoding(lines: list[Line]) -> bytes:
    return "\n".join(map(json.dumps, lines)).encode("utf-16")


@pytest.mark.parametrize("write", [as_one_array, in_another_encoding])
def test_what_was_answered_so_that_nobody_can_read_it_is_not_bought_again(
    dropped: Callable[..., Night], write: Callable[[list[Line]], bytes]
) -> None:
    night = dropped(
        lambda n, task: [said(n, task)],
        unanswered="buy_again",
        third_votes=False,
        min_completion=0.0,
        second_vote_share=0.0,
    )
    night.choose(night.batch())
    vendor = night.simulator.connect()
    ref = label.submit(night.batch(), vendor)["ref"]
    night.simulator.finish()
    output = night.simulator.folder / ref / "output"
    (output / "done.json").write_text("{}")
    (output / "answers.jsonl").unlink()
    lines = [said(n, task) for n, task in enumerate(night.simulator.bought())]
    suffix = "json" if write is as_one_array else "jsonl"
    (output / f"answers.{suffix}").write_bytes(write(lines))
    assert vendor.status(ref).n_unreadable > 0
    label.follow_up(night.batch(), vendor, SALT)
    assert len(night.simulator.bought()) == len(lines)


def test_teams_that_answer_a_round_each_are_nobody_and_one_line_without_a_name_changes_nothing(
    dropped: Callable[..., Night],
) -> None:
    def write(n: int, task: str) -> list[Line]:
        return [said(n, task, annotator="" if n == 3 else "team")]

    night = dropped(write, second_vote_share=0.6)
    night.run()
    rows = night.rows("label", "annotations")
    assert {row["kind"] for row in rows} == {"comparison"}
    assert all(row["annotator"].startswith(UNKNOWN) for row in rows)
