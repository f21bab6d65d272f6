"""A stage is real from its manifest on, and a manifest is honest about its rows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pytest

from winnow.batch import Batch, Manifest, open_batch, read_table, table_bytes
from winnow.campaign import Campaign, parse_campaign
from winnow.errors import Corrupt, Fatal
from winnow.lake import FolderLake, Lake

SETTINGS = {
    "name": "small",
    "schedule": {"cron": None, "key": "text"},
    "ingest": {"sources": ["prompts"]},
    "expand": {"model": "m", "pool_size": 4},
    "label": {"budget_usd": 10},
    "publish": {"dataset": "small"},
}
Clock = Callable[[], datetime]


def campaign(**changes: object) -> Campaign:
    return parse_campaign({**SETTINGS, **changes}, "test")


@pytest.fixture
def batch(lake: Lake, clock: Clock) -> Batch:
    return open_batch(campaign(), "2026-11-22", lake, clock)


def commit(batch: Batch, stage: str = "ingest", **counts: int) -> Manifest:
    rows = {"rows_in": 1, "rows_out": 1, "quarantined": 0, **counts}
    return batch.commit(stage, inputs=[], outputs={}, counts=rows)


def test_a_stage_is_done_once_its_manifest_is_there(batch: Batch) -> None:
    assert batch.manifest("ingest") is None
    with pytest.raises(Fatal, match="ingest is not done"):
        batch.require("ingest")
    assert commit(batch) == batch.require("ingest")


def test_a_twin_gets_the_manifest_of_the_first(batch: Batch) -> None:
    first = commit(batch, rows_in=2, rows_out=2)
    assert commit(batch, rows_in=3, rows_out=3) == first


def test_rows_that_vanish_stop_the_commit(batch: Batch) -> None:
    with pytest.raises(Corrupt, match="5 rows came in"):
        commit(batch, rows_in=5, rows_out=3, quarantined=1)
    assert batch.manifest("ingest") is None


def test_rows_that_never_came_in_stop_the_commit(batch: Batch) -> None:
    with pytest.raises(Corrupt, match="3 rows came in but 3 went out and 1 to quarantine"):
        commit(batch, rows_in=3, rows_out=3, quarantined=1)
    assert batch.manifest("ingest") is None


def test_the_digest_does_not_depend_on_the_time_of_the_commit(lake: Lake, clock: Clock) -> None:
    digests = {commit(open_batch(campaign(), "d", lake, clock), s).digest for s in ("ingest",)}
    other = open_batch(campaign(name="small"), "d", lake, clock)
    assert {commit(other, "ingest").digest} == digests


@pytest.mark.parametrize(
    ("schedule", "good", "bad"),
    [
        ({}, "2026-11-22 2026-11-22.2", "2026-11-2 2026-02-29 2026-11-22T06 day-1 2026-11-22.x"),
        ({"cron": "0 * * * *"}, "2026-11-22T06 2026-10-25T02B", "2026-11-22 2026-11-22T25"),
        ({"cron": "*/5 * * * *"}, "2026-11-22T0630 2026-11-22T0630.2", "2026-11-22T06"),
        ({"cron": None}, "2026-11-22 2026-11-22T06 2026-11-22T0630", "2026-11-2 monday"),
        ({"cron": None, "key": "text"}, "2026-11-2 de|2026-11-22", ""),
    ],
)
def test_a_new_batch_is_named_as_its_campaigns_schedule_names_them(
    lake: Lake, clock: Clock, schedule: dict[str, object], good: str, bad: str
) -> None:
    asked = campaign(schedule=schedule)
    for key in good.split():
        assert open_batch(asked, key, lake, clock).key == key
    for key in bad.split():
        with pytest.raises(Fatal, match="cannot be the key of a new batch"):
            open_batch(asked, key, lake, clock)
        assert not lake.exists(f"batches/small/{key}/campaign.json")


def test_a_batch_that_was_begun_keeps_its_odd_key(lake: Lake, clock: Clock) -> None:
    open_batch(campaign(), "2026-11-2", lake, clock)
    assert open_batch(campaign(schedule={}), "2026-11-2", lake, clock).key == "2026-11-2"


@pytest.mark.parametrize(
    ("key", "day"),
    [("2026-11-22T06", "2026-11-22"), ("2026-11-22.2", "2026-11-22"), ("2026-11-2", "2026-11-2")],
)
def test_the_day_of_a_batch_is_that_of_its_key(
    lake: Lake, clock: Clock, key: str, day: str
) -> None:
    assert open_batch(campaign(), key, lake, clock).day == day


@pytest.mark.parametrize("key", ["", "../up", "a/b", ".hidden", "x" * 101])
def test_a_key_that_is_no_name_is_refused(tmp_path: Path, clock: Clock, key: str) -> None:
    with pytest.raises(Fatal, match="cannot be a batch's key"):
        open_batch(campaign(), key, FolderLake(tmp_path), clock)


def test_tables_are_stored_under_their_content(batch: Batch) -> None:
    table = pa.table({"x": [1, 2]})
    one, again = (batch.write_table("ingest", "t", table) for _ in range(2))
    assert one == again
    assert read_table(batch.lake, one).equals(table)
    assert table_bytes(table) == table_bytes(pa.table({"x": [1, 2]}))


def test_damaged_and_missing_objects_are_corrupt(tmp_path: Path, clock: Clock) -> None:
    lake = FolderLake(tmp_path)
    artifact = open_batch(campaign(), "d", lake, clock).write_table(
        "ingest", "t", pa.table({"x": [1]})
    )
    path = tmp_path / artifact.path
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(Corrupt, match="digest"):
        read_table(lake, artifact)
    path.unlink()
    with pytest.raises(Corrupt, match="missing"):
        read_table(lake, artifact)


def test_a_batch_keeps_the_settings_it_was_started_with(lake: Lake, clock: Clock) -> None:
    open_batch(campaign(), "d", lake, clock)
    changed = campaign(expand={"model": "other", "pool_size": 9})
    assert open_batch(changed, "d", lake, clock).campaign.expand.model == "m"
    assert open_batch(changed, "e", lake, clock).campaign.expand.model == "other"


def test_a_batch_spends_the_money_of_the_team_that_its_campaign_has_now(
    lake: Lake, clock: Clock
) -> None:
    open_batch(campaign(team="chat"), "d", lake, clock)
    assert open_batch(campaign(team="safety"), "d", lake, clock).campaign.team == "safety"
    assert open_batch(campaign(), "d", lake, clock).campaign.team is None


def test_settings_of_another_batch_in_its_place_stop_whoever_pays(lake: Lake, clock: Clock) -> None:
    made = {
        key: open_batch(campaign(expand={"model": key, "pool_size": 4}), key, lake, clock)
        for key in ("one", "other")
    }
    for each in made.values():
        commit(each, "select")
        each.check_whole("select")
    # A limit that moved is no other setting.
    relaxed = campaign(label={"budget_usd": 99})
    open_batch(relaxed, "one", lake, clock).check_whole("select")
    path = "batches/small/{}/campaign.json"
    _, tag = lake.read_tagged(path.format("one"))
    assert lake.swap(path.format("one"), lake.read(path.format("other")), tag)
    with pytest.raises(Corrupt, match=r"one/campaign.json is not what .*one/select"):
        open_batch(relaxed, "one", lake, clock).check_whole("select")


def test_the_gate_may_be_relaxed_after_a_batch_was_started(lake: Lake, clock: Clock) -> None:
    open_batch(campaign(), "d", lake, clock)
    relaxed = campaign(validation={"min_agreement_block": 0.1})
    assert open_batch(relaxed, "d", lake, clock).campaign.validation.min_agreement_block == 0.1
