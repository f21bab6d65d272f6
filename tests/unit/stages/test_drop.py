"""A batch that is given up: files and prompts are free, the money is told, nothing runs on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from winnow.batch import Batch, open_batch
from winnow.cli import main
from winnow.console import batch as batch_page
from winnow.console import batches, spend
from winnow.console.memory import Memory
from winnow.console.shell import Site
from winnow.errors import Blocked, Fatal, Retryable
from winnow.ids import digest
from winnow.ingest.ledger import Dropped, Entry, append, ledger_path, mark, read_ledger
from winnow.operate.reconcile.once import Airflow, reconcile
from winnow.operate.standing import Run
from winnow.progress import progress_of
from winnow.stages import ingest, label, publish
from winnow.stages.label.drop import drop
from winnow.stages.label.rounds import batch_key, terms_of

from .conftest import DAY, LAKE_STEPS, SALT, VENDOR_STEPS, Dying, Killed, Night

AGAIN = f"{DAY}.2"
NOTE = Dropped("ann", "2026-11-24T10:00:00+00:00", "the wrong prompts")


def give_up(night: Night, lake: Any = None, vendor: Any = None, **more: Any) -> Dropped:
    vendor = vendor or night.simulator.connect()
    return drop(
        lake or night.lake, night.campaign, DAY, NOTE, lambda: night.time, vendor, SALT, **more
    )


def second(night: Night) -> Batch:
    return open_batch(night.campaign, AGAIN, night.lake, lambda: night.time)


def bought(night: Night, n_seconds: float = 3.0) -> Batch:
    """The batch with the vendor, some of its tasks answered."""
    batch = night.batch()
    night.choose(batch)
    label.submit(batch, night.simulator.connect())
    night.simulator.clock.seconds += n_seconds
    return batch


def test_files_and_prompts_are_free_and_the_batch_of_another_key_takes_them(night: Any) -> None:
    small = night()
    prompts = ingest.run(small.batch()).counts["rows_out"]
    assert ingest.run(second(small)) is None
    assert give_up(small) == NOTE
    assert ingest.run(second(small)).counts["rows_out"] == prompts


def test_the_dropped_key_starts_nothing_again(night: Any) -> None:
    small = night()
    ingest.run(small.batch())
    give_up(small)
    before = small.lake.tags("batches")
    small.lake.remove(f"batches/small/{DAY}/ingest/manifest.json")
    assert ingest.run(small.batch()) is None
    assert set(small.lake.tags("batches")) == {
        path for path in before if not path.endswith(f"{DAY}/ingest/manifest.json")
    }


def test_what_is_open_at_the_vendor_is_called_off_and_what_it_charged_is_told(night: Any) -> None:
    small = night()
    batch = bought(small)
    record = label.read_submission(batch)
    dropped = give_up(small)
    status = small.simulator.connect().status(record.ref)
    assert status.state == "cancelled" and status.n_answered
    assert dropped.charged == status.charged > 0
    # Nothing that was asked before is asked again under another batch's name, nor forgotten.
    assert small.lake.listing(f"batches/small/{DAY}/label/round-0/inbox")
    later = second(small)
    Night.choose(small, later)
    small.buy(later)
    publish.refit(later, publish.version(later, publish.check(later)))
    assert max(small.simulator.bought().values()) == 1
    spent = spend.page(small.lake, small.campaign, {}, Site(small.time, Memory())).body
    assert f"${dropped.charged / 1e6:,.2f}" in spent


@pytest.mark.parametrize("in_vendor", [False, True])
def test_killed_at_any_step_the_same_call_ends_in_the_same_place(
    night: Any, in_vendor: bool
) -> None:
    at = 0
    while True:
        small = night(f"night-{at}-{in_vendor}")
        record = label.read_submission(bought(small))
        lake = Dying(small.lake, LAKE_STEPS, None if in_vendor else at)
        vendor = Dying(small.simulator.connect(), VENDOR_STEPS, at if in_vendor else None)
        try:
            give_up(small, lake, vendor)
        except Killed:
            died = True
        else:
            died = False
        dropped = give_up(small)
        assert dropped == read_ledger(small.lake, "small").dropped(DAY)
        status = small.simulator.connect().status(record.ref)
        assert status.state == "cancelled"
        assert dropped.charged == status.charged
        assert not read_ledger(small.lake, "small").live_keys
        if not died:
            break
        at += 1
    assert at >= 2


def test_a_purchase_that_was_cut_off_is_found_by_its_key_and_called_off(night: Any) -> None:
    small = night()
    batch = small.batch()
    small.choose(batch)
    dying = Dying(small.simulator.connect(), VENDOR_STEPS, 5)
    with pytest.raises(Killed):
        label.submit(batch, dying)
    assert label.read_submission(batch) is None
    give_up(small)
    with pytest.raises(Blocked, match="was dropped by ann"):
        label.submit(batch, small.simulator.connect())
    vendor = small.simulator.connect()
    ref = vendor.open_batch(batch_key(batch, 0), terms_of(batch, 0))
    assert vendor.status(ref).state == "cancelled"


def test_without_the_vendor_an_open_purchase_is_not_given_up_in_silence(night: Any) -> None:
    small = night()
    bought(small)
    with pytest.raises(Blocked, match="WINNOW_VENDOR_TOKEN"):
        drop(small.lake, small.campaign, DAY, NOTE, lambda: small.time, None)
    assert read_ledger(small.lake, "small").dropped(DAY) is None
    dropped = drop(small.lake, small.campaign, DAY, NOTE, lambda: small.time, None, called_off=True)
    assert dropped.charged is None
    # What it may cost at most stays committed.
    told = spend.page(small.lake, small.campaign, {}, Site(small.time, Memory())).body
    assert "$0.00</b> committed" not in told


def test_a_vendor_that_is_away_or_slow_leaves_the_batch_as_it_was(night: Any) -> None:
    small = night()
    bought(small)

    class Away:
        def __getattr__(self, name: str) -> Any:
            return getattr(small.simulator.connect(), name)

        def status(self, ref: str) -> Any:
            raise Retryable("away")

    class Slow(Away):
        def status(self, ref: str) -> Any:
            return replace(small.simulator.connect().status(ref), state="open")

        def cancel(self, ref: str, reason: str) -> Any:
            return self.status(ref)

    for vendor in (Away(), Slow()):
        with pytest.raises(Retryable):
            give_up(small, vendor=vendor)
        assert read_ledger(small.lake, "small").dropped(DAY) is None


def test_dropping_twice_keeps_the_first_note(night: Any) -> None:
    small = night()
    ingest.run(small.batch())
    first = give_up(small)
    again = drop(
        small.lake,
        small.campaign,
        DAY,
        replace(NOTE, reason="another"),
        lambda: small.time,
        None,
    )
    assert again == first


def test_a_published_batch_is_rolled_back_first(published: Night) -> None:
    small = published
    with pytest.raises(Blocked, match=r"v000001.*[Rr]oll back"):
        give_up(small)
    assert read_ledger(small.lake, "small").dropped(DAY) is None


def test_no_stage_that_had_begun_buys_or_publishes_afterwards(night: Any) -> None:
    small = night()
    batch = small.batch()
    small.choose(batch)
    label.plan(batch)
    give_up(small)
    with pytest.raises(Blocked, match="was dropped by ann at 2026-11-24 10:00 UTC: the wrong"):
        label.submit(batch, small.simulator.connect())
    assert small.simulator.bought() == {}


def test_published_at_the_same_moment_the_drop_is_taken_back(
    night: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = night()
    batch = small.batch()
    small.choose(batch)
    small.buy(batch)
    real = type(small.lake).swap

    def publish_first(lake: Any, path: str, data: bytes, tag: str | None) -> bool:
        if path.endswith("ingested.json") and not ran:
            ran.append(publish.version(batch, publish.check(batch)))
        return real(lake, path, data, tag)

    ran: list[int] = []
    monkeypatch.setattr(type(small.lake), "swap", publish_first)
    with pytest.raises(Blocked, match="v000001"):
        give_up(small)
    assert ran == [1]
    assert read_ledger(small.lake, "small").dropped(DAY) is None


def test_reconcile_neither_mends_nor_tells_of_it(night: Any) -> None:
    small = night()
    small.choose(small.batch())
    give_up(small)
    failed = [
        Run("nightly", "ingest", DAY, "r", "failed"),
        Run("nightly", "label", DAY, "r2", "failed"),
    ]
    later = datetime(2027, 1, 1, tzinfo=UTC)
    report = reconcile(small.lake, small.campaign, Airflow(failed), later)
    assert not report.findings and not report.announce and not report.tell


def test_status_and_pages_show_who_gave_it_up_and_why(night: Any) -> None:
    small = night()
    small.choose(small.batch())
    give_up(small)
    lines = "\n".join(progress_of(small.lake, small.campaign, DAY, small.time).lines())
    assert "dropped" in lines and "by ann" in lines and "the wrong prompts" in lines
    assert "done: 6 prompts" in lines
    site = Site(small.time, Memory())
    page = batch_page.page(small.lake, small.campaign, {"key": DAY}, site).body
    assert "the wrong prompts" in page and "airflow dags clear" not in page
    table = batches.page(small.lake, small.campaign, {"state": "dropped"}, site).body
    assert DAY in table and "Nothing is." in table


def test_a_ledger_of_the_version_before_is_read_and_written_the_same(night: Any) -> None:
    small = night()
    entry = Entry("2026-11-20", {"f": "a.jsonl"}, {}, {"rows_in": 1})
    assert append(small.lake, "small", read_ledger(small.lake, "small"), entry)
    data, _ = small.lake.read_tagged("campaigns/small/ingested.json")
    assert set(json.loads(data)[0]) == {"batch", "files", "outputs", "counts", "seal"}
    unsealed = [{n: v for n, v in json.loads(data)[0].items() if n != "seal"}]
    assert small.lake.swap(ledger_path("small"), json.dumps(unsealed).encode(), digest(data))
    ledger = read_ledger(small.lake, "small")
    assert ledger.entries == (entry,)
    assert mark(small.lake, "small", ledger, "2026-11-20", NOTE)
    assert not mark(small.lake, "small", ledger, "2026-11-20", None)
    read = read_ledger(small.lake, "small")
    assert (read.dropped("2026-11-20"), read.taken(["f"]), read.live_keys) == (NOTE, set(), [])


def test_a_batch_that_is_not_there_cannot_be_dropped(night: Any) -> None:
    with pytest.raises(Fatal, match="no batch"):
        give_up(night())


def test_the_command(
    night: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small = night()
    monkeypatch.delenv("WINNOW_VENDOR_TOKEN", raising=False)
    bought(small)
    file = tmp_path / "campaign.yaml"
    file.write_text(yaml.safe_dump(small.campaign.model_dump(mode="json", exclude_unset=True)))
    places = ["--lake", small.lake.uri, "--campaign", str(file)]
    asked = ["drop", DAY, "--reason", "the wrong prompts", *places]
    assert main(asked) == 1
    assert "--called-off" in capsys.readouterr().err
    assert main([*asked, "--called-off"]) == 0
    assert "the wrong prompts" in capsys.readouterr().out
    assert main(["run", "--batch", DAY, *places]) == 0
    told = capsys.readouterr().out
    assert "was dropped" in told and f"--batch {AGAIN}" in told
    assert main(["status", *places]) == 0
    assert "dropped" in capsys.readouterr().out
    assert main(["reconcile", *places]) == 0
    assert DAY not in capsys.readouterr().out


def test_day_of_a_source_is_the_same_for_a_further_batch(
    night: Callable[..., Night], tmp_path: Path
) -> None:
    small = night()
    source = str(tmp_path / "inbox-{day}")
    (tmp_path / f"inbox-{DAY}").mkdir()
    (tmp_path / f"inbox-{DAY}" / "b.jsonl").write_text('{"prompt": "Why?"}')
    small.campaign = small.campaign.model_copy(
        update={"ingest": small.campaign.ingest.model_copy(update={"sources": [source]})}
    )
    assert ingest.run(small.batch()).counts["rows_out"] == 1
    give_up(small)
    assert ingest.run(second(small)).counts["rows_out"] == 1


def test_a_batch_in_a_version_is_not_dropped_whatever_the_dataset_is_called_now(
    published: Night,
) -> None:
    small = published
    small.lake.remove(f"batches/small/{DAY}/publish/manifest.json")
    renamed = small.campaign.publish.model_copy(update={"dataset": "renamed"})
    small.campaign = small.campaign.model_copy(update={"publish": renamed})
    with pytest.raises(Blocked, match="is in small v000001"):
        give_up(small)


def test_a_batch_whose_dataset_is_lost_is_not_dropped(published: Night) -> None:
    small = published
    for path in ("latest.json", "versions/v000001.json", "v000001/manifest.json"):
        small.lake.remove(f"datasets/small/{path}")
    with pytest.raises(Blocked, match=r"was published in small.*is lost; restore it"):
        give_up(small)
