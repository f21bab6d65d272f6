"""A lake that version 0.1 made goes on: nothing is bought again, the next night builds on it.

`stored/lake-0.1.tar.gz` is what that version's code left of one night over the rows below, by the
fixtures of this folder.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from winnow.batch import Batch, open_batch
from winnow.ingest.ledger import read_ledger
from winnow.progress import standing
from winnow.publish.versions import newest

from ... import foreign
from .conftest import DAY, Night

STORED = Path(__file__).parent / "stored" / "lake-0.1.tar.gz"
NEXT = "2026-11-23"
CALL = {"function": {"name": "rain", "arguments": {"z": 1.0, "a": "x"}}}
TALK = [
    {"role": "user", "content": "Rain?"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "content": "no"},
]
ROWS: list[dict[str, Any]] = [
    *({"prompt": f"why does number {n} follow number {n - 1}?"} for n in range(6)),
    {"prompt": "What does this print?\nfor i in range(3):\n    if i:\n        print(i)"},
    {"prompt": "How do ti\u00addes work?"},
    {"prompt": "Why is  bread soft?"},
    {"messages": TALK, "tools": [{"name": "rain", "strict": None}]},
]
NEW = [{"prompt": f"why does letter {letter} come so late?"} for letter in "xyz"]


class Later(Night):
    """The night after the stored one."""

    def batch(self, lake: Any = None) -> Batch:
        return open_batch(self.campaign, NEXT, lake or self.lake, lambda: self.time)


@pytest.fixture
def later(tmp_path: Path, start_simulator: Callable[[Path], Any]) -> Later:
    with tarfile.open(STORED) as archive:
        archive.extractall(tmp_path, filter="data")
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    (inbox / "again.jsonl").write_bytes(foreign.json_file(ROWS))
    (inbox / "new.json").write_text(json.dumps(NEW))
    simulator = start_simulator(tmp_path / "books.sqlite")
    return Later(tmp_path / "night", inbox, simulator, {})


def test_what_an_earlier_version_accepted_is_not_bought_again(later: Later) -> None:
    later.run()
    ingested = later.batch().require("ingest")
    assert ingested.counts == {"rows_in": 13, "rows_out": 3, "quarantined": 10}
    assert {row["detail"] for row in later.rows("ingest", "quarantine")} == {
        f"same prompt as batch {DAY}"
    }
    prompts = {row["prompt_id"] for row in later.rows("ingest", "prompts")}
    assert {row["prompt_id"] for row in later.rows("select", "comparisons")} <= prompts
    version = newest(later.lake, "small")
    assert version is not None
    assert (version.number, list(version.batches)) == (2, [DAY, NEXT])


def test_the_pages_and_commands_read_an_earlier_lake(later: Later) -> None:
    assert read_ledger(later.lake, "small").keys == [DAY]
    told = standing(later.lake, later.campaign, DAY, later.time)
    assert list(told.stages) == ["ingest", "expand", "select", "label", "publish"]
    assert all(line.startswith("done") for line in told.stages.values())
    assert told.trouble is None
