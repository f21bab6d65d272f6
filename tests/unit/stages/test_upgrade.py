"""A lake that an earlier version made goes on: nothing is bought again, later nights build on it.

What lies in `stored` is what the code of those versions left, by the fixtures of this folder: of
0.1 one night over the rows below; of 0.2 a night, and a second one whose labels a person approved
and the vendor was asked for, with the vendor's books; of 0.3 and later what `store_lake` says.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from winnow.batch import Batch, open_batch
from winnow.commands import upgrade
from winnow.errors import Fatal
from winnow.ingest.ledger import read_ledger
from winnow.lake import FolderLake
from winnow.progress import progress_of
from winnow.publish.versions import newest
from winnow.stages import label, publish
from winnow.validate.gate import judge

from ... import foreign
from .conftest import DAY, SALT, Night
from .store_lake import DAYS, carry_on

STORED = Path(__file__).parent / "stored"
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


def unpack(name: str, folder: Path) -> None:
    with tarfile.open(STORED / name) as archive:
        archive.extractall(folder, filter="data")


@pytest.fixture
def bought(tmp_path: Path, start_simulator: Callable[[Path], Any]) -> Later:
    """The night of version 0.2 whose labels are with the vendor."""
    unpack("lake-0.2.tar.gz", tmp_path)
    simulator = start_simulator(tmp_path / "books.sqlite")
    simulator.clock.seconds += 100_000.0  # Later than when it was stored.
    asked = {"approve_above_usd": 0.5, "vendor": "simulator"}
    return Later(tmp_path / "night", tmp_path / "inbox", simulator, asked)


@pytest.fixture
def later(tmp_path: Path, start_simulator: Callable[[Path], Any]) -> Later:
    unpack("lake-0.1.tar.gz", tmp_path)
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
    told = progress_of(later.lake, later.campaign, DAY, later.time)
    assert list(told.stages) == ["ingest", "expand", "select", "label", "publish"]
    assert all(line.startswith("done") for line in told.stages.values())
    assert not told.standing.is_trouble


def test_labels_that_an_earlier_version_bought_come_home_once(bought: Later) -> None:
    batch, vendor = bought.batch(), bought.simulator.connect()
    before = bought.simulator.bought()
    assert label.submit(batch, vendor)["sent"] == 0
    bought.simulator.finish()
    label.follow_up(batch, vendor, SALT)
    bought.simulator.finish()
    manifest = label.collect(batch, vendor, SALT)
    publish.refit(batch, publish.version(batch, publish.check(batch)))
    after = bought.simulator.bought()
    assert before.keys() <= after.keys() and set(after.values()) == {1}
    assert manifest.cost == 100_000 * manifest.counts["annotations"]
    version = newest(bought.lake, "small")
    assert version is not None and list(version.batches) == [DAY, NEXT]
    for key in (DAY, NEXT):
        told = progress_of(bought.lake, bought.campaign, key, bought.time)
        assert not told.standing.is_trouble


def test_they_are_not_bought_again_elsewhere(
    bought: Later, tmp_path: Path, start_other_account: Callable[[Path], Any]
) -> None:
    other = start_other_account(tmp_path / "other.sqlite")
    with pytest.raises(Fatal, match="Nothing was sent"):
        label.submit(bought.batch(), other.connect())
    assert other.bought() == {}


@pytest.mark.parametrize("lake", sorted(path.name for path in STORED.glob("*.tar.xz")))
def test_what_a_release_left_half_done_is_published_as_it_would_have_been(
    lake: str,
    tmp_path: Path,
    start_simulator: Callable[[Path], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unpack(lake, tmp_path)
    simulator = start_simulator(tmp_path / "books.sqlite")
    before = simulator.bought()
    monkeypatch.setattr(publish, "judge", judge)
    published = carry_on(tmp_path, simulator)
    assert published == json.loads((tmp_path / "published.json").read_text())
    for day, manifest in zip(DAYS[1:], published.values(), strict=True):
        assert {"README.md", "quality/report.html", f"quality/{day}.json"} < set(manifest["files"])
    after = simulator.bought()
    assert before.keys() < after.keys() and set(after.values()) == {1}


def test_an_upgrade_is_told_what_becomes_of_what_a_release_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpack("lake-0.3.tar.xz", tmp_path)
    campaigns = tmp_path / "campaigns"
    campaigns.mkdir()
    monkeypatch.setenv("WINNOW_CAMPAIGNS", str(campaigns))
    lake, wrote, work, reward = upgrade.told(FolderLake(tmp_path / "night"))
    assert "named by the next batch, nothing is rewritten" in lake
    assert wrote == "small: batches of winnow 0.3.0 are read as they are."
    assert "2 batches are open" in work and f"({DAYS[1]} $" in work
    assert "nothing is bought again; it has no file: winnow migrate small." in work
    assert reward.endswith("votes goes on.")
