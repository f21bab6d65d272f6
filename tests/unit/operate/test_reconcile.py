"""A pass over a real lake: what it mends there, what it hands to Airflow, what it remembers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from winnow.batch import STAGES, open_batch
from winnow.campaign import Campaign, parse_campaign
from winnow.errors import Blocked, Fatal, Retryable
from winnow.ingest.ledger import Entry, append, read_ledger
from winnow.lake import Lake
from winnow.operate import facts
from winnow.operate.failures import note_failure
from winnow.operate.memory import read_memory
from winnow.operate.reconcile import once
from winnow.operate.reconcile.findings import TELL_AGAIN
from winnow.operate.reconcile.once import (
    Airflow,
    Report,
    alarm_text,
    leave_alone,
    note_told,
    reconcile,
    report_text,
    start_again,
    unfinished,
)
from winnow.operate.standing import GRACE, Run
from winnow.publish import versions
from winnow.publish.versions import is_finished, publish, store_object

NOW = datetime(2026, 11, 25, tzinfo=UTC)
LATER = NOW + GRACE
DAY = "2026-11-24"
CAMPAIGN = parse_campaign(
    {
        "name": "small",
        "ingest": {"sources": ["/nowhere/{day}"]},
        "expand": {"model": "tiny"},
        "label": {"budget_usd": 5},
        "publish": {"dataset": "d"},
    },
    "test",
)
COUNTS = {"rows_in": 1, "rows_out": 1, "quarantined": 0}
IDLE = Airflow([])


class Killed(BaseException):
    """The process died here."""


def begin(lake: Lake, key: str = DAY) -> None:
    """The batch has files in the ledger."""
    assert append(lake, CAMPAIGN.name, read_ledger(lake, CAMPAIGN.name), Entry(key, {}, {}, COUNTS))


def up_to(lake: Lake, stage: str, key: str = DAY, counts: dict[str, int] = COUNTS) -> None:
    """Every stage before `stage` is done."""
    begin(lake, key)
    batch = open_batch(CAMPAIGN, key, lake, lambda: NOW)
    for name in STAGES[: STAGES.index(stage)]:
        batch.commit(name, inputs=[], outputs={}, counts=counts)


def passed(lake: Lake, airflow: Airflow | None = IDLE, now: datetime = LATER) -> Report:
    """A pass that tells what there is to tell."""
    report = reconcile(lake, CAMPAIGN, airflow, now)
    note_told(lake, CAMPAIGN.name, [finding.name for finding in report.tell], now)
    return report


def failed(stage: str, run_id: str = "r1") -> Airflow:
    return Airflow([Run("nightly", stage, DAY, run_id, "failed", NOW, NOW)])


@pytest.mark.parametrize(
    ("stage", "announced"),
    [("expand", "ingest"), ("select", "expand"), ("label", "select"), ("publish", "label")],
)
def test_a_lost_event_is_handed_to_airflow_by_key(lake: Lake, stage: str, announced: str) -> None:
    up_to(lake, stage)
    assert [state.stage for state in unfinished(lake, CAMPAIGN)] == [stage]
    report = passed(lake)
    assert report.announce == {announced: [DAY]}
    assert not report.tell
    assert f"{stage}: " in report_text(report)


def test_a_second_pass_does_nothing(lake: Lake) -> None:
    up_to(lake, "select")
    up_to(lake, "label", "2026-11-23")
    first = passed(lake)
    assert first.announce == {"expand": [DAY], "select": ["2026-11-23"]}
    before = lake.tags("")
    second = passed(lake)
    assert (second.announce, second.tell, second.mended) == ({}, [], [])
    assert lake.tags("") == before


def test_without_airflow_nothing_is_announced(lake: Lake) -> None:
    up_to(lake, "select")
    assert passed(lake, None).findings == []


def test_what_is_through_is_not_read_again(lake: Lake) -> None:
    up_to(lake, "publish")
    open_batch(CAMPAIGN, DAY, lake, lambda: NOW).commit(
        "publish", inputs=[], outputs={}, counts=COUNTS
    )
    up_to(lake, "select", "2026-11-23", {**COUNTS, "rows_out": 0, "quarantined": 1})
    assert passed(lake).findings == []
    assert read_memory(lake, CAMPAIGN.name)[0].through == {DAY, "2026-11-23"}


def test_a_failure_that_needs_a_person_is_told_once_and_again_after_a_week(lake: Lake) -> None:
    up_to(lake, "publish")
    error = Blocked("agreement 0.31\nis below \x1b[31m0.45")
    note_failure(lake, CAMPAIGN.name, DAY, "publish", "r1", error, NOW)
    told = alarm_text(passed(lake, failed("publish")).tell)
    assert "Blocked: agreement 0.31 is below [31m0.45" in told
    assert (
        f"airflow dags clear small.publish_dataset --partition-key {DAY} --only-failed -y" in told
    )
    assert not passed(lake, failed("publish"), LATER + timedelta(days=6)).tell
    assert passed(lake, failed("publish"), LATER + TELL_AGAIN).tell
    note_failure(lake, CAMPAIGN.name, DAY, "publish", "r2", Blocked("agreement 0.32"), NOW)
    assert passed(lake, failed("publish", "r2"), LATER + TELL_AGAIN).tell, "it failed otherwise"


# On a folder alone: two dozen passes ask a store nothing that those of the other tests do not.
@pytest.mark.parametrize("lake", ["folder"], indirect=True)
@pytest.mark.parametrize("error", [Retryable("busy"), OSError("token=secret")])
def test_a_failure_that_may_pass_is_tried_three_times(lake: Lake, error: Exception) -> None:
    up_to(lake, "label")
    note_failure(lake, CAMPAIGN.name, DAY, "label", "r1", error, NOW)
    assert b"secret" not in lake.read(f"batches/small/{DAY}/failures/label.json")
    reports = [passed(lake, failed("label"), LATER + i * timedelta(hours=1)) for i in range(12)]
    assert sum(bool(report.announce) for report in reports) == 3
    assert sum(bool(report.tell) for report in reports) == 1
    [finding] = next(report.tell for report in reports if report.tell)
    assert finding.kind == "gave_up"
    start_again(lake, CAMPAIGN.name, DAY)
    later = [LATER + timedelta(days=1, hours=i) for i in range(12)]
    reports = [passed(lake, failed("label"), at) for at in later]
    assert reports[0].announce == {"select": [DAY]}
    assert sum(bool(report.tell) for report in reports) == 1, "it gave up a second time"


def test_a_batch_that_is_left_alone_is_neither_mended_nor_told(lake: Lake) -> None:
    up_to(lake, "publish")
    note_failure(lake, CAMPAIGN.name, DAY, "publish", "r1", Blocked("no"), NOW)
    leave_alone(lake, CAMPAIGN.name, DAY)
    assert passed(lake, failed("publish")).findings == []
    start_again(lake, CAMPAIGN.name, DAY)
    assert passed(lake, failed("publish")).tell


def test_two_passes_at_once_announce_once(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    up_to(lake, "select")
    other: list[Report] = []
    swap = type(lake).swap

    def swap_after_the_other(self: Lake, *arguments: Any) -> bool:
        monkeypatch.setattr(type(lake), "swap", swap)
        other.append(passed(lake))
        return swap(self, *arguments)

    monkeypatch.setattr(type(lake), "swap", swap_after_the_other)
    mine = passed(lake)
    assert [mine.announce, other[0].announce] == [{}, {"expand": [DAY]}]


def test_a_batch_in_the_ledger_without_a_manifest_is_committed(lake: Lake) -> None:
    begin(lake)
    assert "the manifest of ingest is written" in report_text(passed(lake))
    assert [state.stage for state in unfinished(lake, CAMPAIGN)] == ["expand"]
    assert passed(lake, now=LATER + GRACE).announce == {"ingest": [DAY]}


@pytest.mark.parametrize("step", ["lay_out", "_point_to"])
def test_a_half_done_publication_is_finished(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def die(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(versions, step, die)
        with pytest.raises(Killed):
            _publish(lake)
    version = versions.newest(lake, "d")
    assert version is not None and not is_finished(lake, version)
    assert passed(lake).mended == ["d v000001 has its folder and the pointer"]
    assert is_finished(lake, version)
    assert lake.exists("datasets/d/v000001/data/reward/b1.parquet") == lake.links
    assert lake.exists("datasets/d/v000001/README.md") and lake.exists(
        "datasets/d/latest/README.md"
    )
    assert passed(lake).findings == []
    assert passed(lake).findings == []
    assert read_memory(lake, CAMPAIGN.name)[0].finished == 1


def _publish(lake: Lake) -> None:
    shard = store_object(lake, "d", b"rows", "parquet", n_rows=1)
    publish(lake, "d", "b1", {"data/reward/b1.parquet": shard}, {}, lambda v: v.name, NOW)


def test_one_batch_that_cannot_be_read_does_not_hide_the_others(lake: Lake) -> None:
    up_to(lake, "select")
    begin(lake, "2026-11-23")
    lake.create("batches/small/2026-11-23/ingest/manifest.json", b"half a manif")
    report = passed(lake)
    assert report.announce == {"expand": [DAY]}
    [finding] = report.tell
    assert (finding.kind, finding.key) == ("unreadable", "2026-11-23")


def test_everything_that_needs_a_person_is_one_message(lake: Lake) -> None:
    up_to(lake, "select")
    twins = [Run("nightly", "select", DAY, f"r{i}", "running", NOW) for i in (1, 2)]
    night = Run("nightly", "ingest", "2026-11-20", "r3", "failed", NOW, NOW)
    told = alarm_text(passed(lake, Airflow([*twins, night])).tell)
    assert told.startswith(
        "2 things need a person:\n- 2026-11-24 select: 2 runs of nightly.select_pairs"
    )
    assert "winnow backfill --campaign nightly --from 2026-11-20 --to 2026-11-20 --failed" in told


def test_what_was_found_is_told_again_where_the_telling_was_killed(lake: Lake) -> None:
    up_to(lake, "publish")
    note_failure(lake, CAMPAIGN.name, DAY, "publish", "r1", Blocked("no"), NOW)
    assert reconcile(lake, CAMPAIGN, failed("publish"), LATER).tell
    assert passed(lake, failed("publish")).tell
    assert not passed(lake, failed("publish")).tell


def test_what_cannot_be_mended_holds_up_no_other_batch(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(lake, "2026-11-20")
    up_to(lake, "expand")

    def gone(*_: Any) -> None:
        raise Fatal("its source is gone")

    monkeypatch.setattr(once.ingest, "run", gone)
    report = passed(lake)
    assert report.announce == {"ingest": [DAY]}
    assert report.mended == ["2026-11-20 is not mended: its source is gone"]


def test_a_store_that_is_away_is_no_damaged_batch(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    up_to(lake, "expand")

    def busy(*_: Any) -> None:
        raise Retryable("SlowDown")

    monkeypatch.setattr(facts, "facts_of", busy)
    with pytest.raises(Retryable):
        passed(lake)


def test_a_pass_that_is_killed_anywhere_is_made_good_by_later_ones(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign: Campaign = CAMPAIGN
    up_to(lake, "select")
    swap = type(lake).swap

    def die_after(self: Lake, *arguments: Any) -> bool:
        swap(self, *arguments)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(type(lake), "swap", die_after)
        with pytest.raises(Killed):
            reconcile(lake, campaign, IDLE, LATER)
    assert not passed(lake, now=LATER + timedelta(minutes=15)).announce
    assert passed(lake, now=LATER + timedelta(minutes=30)).announce == {"expand": [DAY]}
