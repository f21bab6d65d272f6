"""A renamed campaign goes on from the old one: nothing that it took is taken or bought again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from winnow.batch import read_table
from winnow.campaign import load_campaign, parse_campaign
from winnow.campaign.writing import campaign_text
from winnow.cli import main
from winnow.commands import doctor_campaigns
from winnow.errors import Corrupt, Fatal
from winnow.ids import canonical_json
from winnow.ingest.continued import refuse_renamed
from winnow.ingest.ledger import Dropped, ledger_path, read_ledger
from winnow.lake import FolderLake
from winnow.publish.versions import newest
from winnow.stages import ingest, label, publish
from winnow.stages.label.drop import drop

from .conftest import DAY, SALT, Night

NEXT = "2026-11-23"
KEPT = ("batch", "files", "outputs", "counts")


class Renamed(Night):
    """The night of another campaign over the lake, the books and the prompts of `first`."""

    def __init__(self, first: Night, name: str, continues: str | None, day: str = NEXT) -> None:
        self.simulator, self.time, self.day = first.simulator, first.time, day
        self.lake = FolderLake(first.lake.root, lambda: self.time)
        settings = first.campaign.model_dump(mode="json")
        settings |= {"name": name, "continues": continues, "publish": {"dataset": name}}
        self.campaign = parse_campaign(settings, "test")

    def prompts(self) -> list[str]:
        rows = self.rows("ingest", "prompts")
        return [row["messages"][-1]["content"] for row in rows]


def add(first: Night, name: str, *prompts: str) -> None:
    inbox = Path(first.campaign.ingest.sources[0])
    (inbox / f"{name}.jsonl").write_text("\n".join(json.dumps({"prompt": p}) for p in prompts))


def with_labels_outstanding(night: Any) -> Night:
    small: Night = night()
    batch = small.batch()
    small.choose(batch)
    label.submit(batch, small.simulator.connect())
    return small


def test_what_the_old_one_took_is_not_bought_again_and_its_labels_come_home(night: Any) -> None:
    old = with_labels_outstanding(night)
    asked = set(old.simulator.bought())
    new = Renamed(old, "chat", "small")
    assert ingest.run(new.batch()) is None, "every file is taken"
    assert not read_ledger(new.lake, "chat").entries
    repeated = old.rows("ingest", "prompts")[0]["messages"][-1]["content"]
    add(old, "b", repeated, "what is new?")
    new = Renamed(old, "chat", "small", "2026-11-24")
    new.choose(new.batch())
    assert new.prompts() == ["what is new?"]
    [row] = new.rows("ingest", "quarantine")
    assert (row["reason"], row["detail"]) == ("duplicate", f"same prompt as batch {DAY} of small")
    new.buy(new.batch())
    publish.refit(new.batch(), publish.version(new.batch(), publish.check(new.batch())))
    # The old one's batch is drained under its own name, and published once.
    batch = old.batch()
    old.simulator.finish()
    vendor = old.simulator.connect()
    label.follow_up(batch, vendor, SALT)
    old.simulator.finish()
    label.collect(batch, vendor, SALT)
    for _ in range(2):
        publish.refit(batch, publish.version(batch, publish.check(batch)))
    published = newest(old.lake, "small")
    assert published is not None and (published.number, list(published.batches)) == (1, [DAY])
    assert asked < set(old.simulator.bought()) and set(old.simulator.bought().values()) == {1}


def test_a_chain_of_renames_is_followed_though_the_setting_is_taken_out(night: Any) -> None:
    first = night()
    ingest.run(first.batch())
    add(first, "b", "of the second")
    second = Renamed(first, "second", "small", "2026-11-23")
    ingest.run(second.batch())
    add(first, "c", "of the third")
    third = Renamed(first, "third", "second", "2026-11-24")
    ingest.run(third.batch())
    assert (second.prompts(), third.prompts()) == (["of the second"], ["of the third"])
    add(first, "d", "of the fourth night")
    later = Renamed(first, "third", None, "2026-11-25")
    ingest.run(later.batch())
    assert later.prompts() == ["of the fourth night"]


def test_a_campaign_that_gets_its_old_name_back_goes_round_in_no_circle(night: Any) -> None:
    first = night()
    ingest.run(first.batch())
    add(first, "b", "of the second")
    ingest.run(Renamed(first, "second", "small", "2026-11-23").batch())
    add(first, "c", "back again")
    back = Renamed(first, "small", "second", "2026-11-24")
    ingest.run(back.batch())
    assert back.prompts() == ["back again"]


def test_what_the_old_one_gave_up_is_free(night: Any) -> None:
    old = night()
    n_prompts = ingest.run(old.batch()).counts["rows_out"]
    note = Dropped("ann", "2026-11-24T10:00:00+00:00", "wrong")
    drop(old.lake, old.campaign, DAY, note, lambda: old.time, None)
    new = Renamed(old, "chat", "small")
    ingested = ingest.run(new.batch())
    assert ingested is not None and ingested.counts["rows_out"] == n_prompts


def test_a_campaign_that_is_nowhere_is_named_and_the_name_may_be_corrected(night: Any) -> None:
    old = night()
    ingest.run(old.batch())
    with pytest.raises(Fatal, match="campaign smal has no batch"):
        ingest.run(Renamed(old, "chat", "smal").batch())
    assert ingest.run(Renamed(old, "chat", "small").batch()) is None


def test_what_the_old_ones_ledger_no_longer_tells_is_not_taken_for_nothing(night: Any) -> None:
    old = night()
    ingest.run(old.batch())
    new = Renamed(old, "chat", "small")
    entries = json.loads(old.lake.read(ledger_path("small")))
    old.lake.remove(ledger_path("small"))
    with pytest.raises(Corrupt, match="is missing"):
        ingest.run(new.batch())
    other = {**entries[0], "batch": "2026-11-21"}
    old.lake.create(ledger_path("small"), canonical_json([{k: other[k] for k in KEPT}]))
    with pytest.raises(Corrupt, match=f"does not know batch {DAY}"):
        ingest.run(new.batch())
    old.lake.remove(ledger_path("small"))
    del entries[0]["files"]
    old.lake.create(ledger_path("small"), json.dumps(entries).encode())
    with pytest.raises(Corrupt, match="goes on from small"):
        ingest.run(new.batch())


def test_a_campaign_continues_none_but_another(night: Any) -> None:
    with pytest.raises(Fatal, match="nothing over from itself"):
        Renamed(night(), "chat", "chat")


def test_a_first_batch_that_looks_renamed_is_refused_with_both_ways_out(night: Any) -> None:
    old = night()
    ingest.run(old.batch())
    with pytest.raises(Fatal, match=r"`continues: small`.*`continues: none`"):
        refuse_renamed(old.lake, Renamed(old, "chat", None).campaign, {"chat"})
    for said in ("small", "none"):
        refuse_renamed(old.lake, Renamed(old, "chat", said).campaign, {"chat"})
    # Two campaigns that both have files may read the same prompts on purpose.
    refuse_renamed(old.lake, Renamed(old, "chat", None).campaign, {"chat", "small"})
    again = Renamed(old, "chat", "none")
    assert ingest.run(again.batch()) is not None
    refuse_renamed(old.lake, Renamed(old, "chat", None).campaign, {"chat"})


def test_one_that_was_continued_or_gave_all_up_stands_in_nobodys_way(night: Any) -> None:
    old = night()
    ingest.run(old.batch())
    add(old, "b", "of the second")
    ingest.run(Renamed(old, "second", "small").batch())
    refuse_renamed(old.lake, Renamed(old, "chat", None).campaign, {"chat", "second"})
    note = Dropped("ann", "2026-11-24T10:00:00+00:00", "wrong")
    other = Renamed(old, "other", "none", "2026-11-25")
    ingest.run(other.batch())
    drop(old.lake, other.campaign, "2026-11-25", note, lambda: old.time, None)
    refuse_renamed(old.lake, Renamed(old, "chat", None).campaign, {"chat", "second"})
    with pytest.raises(Fatal, match="which campaign second took"):
        refuse_renamed(old.lake, Renamed(old, "chat", None).campaign, {"chat"})
    drop(old.lake, Renamed(old, "second", None).campaign, NEXT, note, lambda: old.time, None)
    refuse_renamed(old.lake, Renamed(old, "chat", None).campaign, {"chat", "second"})
    with pytest.raises(Fatal, match="which campaign small took"):
        refuse_renamed(old.lake, Renamed(old, "chat", None).campaign, {"chat"})


def test_one_that_gets_its_old_name_back_says_so_or_takes_nothing(night: Any) -> None:
    old = night()
    ingest.run(old.batch())
    add(old, "b", "of the second")
    ingest.run(Renamed(old, "second", "small").batch())
    add(old, "c", "of the third")
    ingest.run(Renamed(old, "third", "second", "2026-11-24").batch())
    with pytest.raises(Fatal, match=r"which campaign third took.*`continues: third`"):
        refuse_renamed(old.lake, old.campaign, {"small"})
    # What still has a file reads the same prompts on purpose; so does one that says it.
    refuse_renamed(old.lake, old.campaign, {"small", "third"})
    refuse_renamed(old.lake, Renamed(old, "small", "none").campaign, {"small"})
    back = Renamed(old, "small", "third", "2026-11-25")
    assert ingest.run(back.batch()) is None, "every file is taken"
    add(old, "d", "back again")
    ingest.run(back.batch())
    assert back.prompts() == ["back again"]
    refuse_renamed(old.lake, old.campaign, {"small"})


def test_the_command_refuses_what_looks_renamed_before_anything_is_frozen(
    night: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old = night()
    ingest.run(old.batch())
    folder = tmp_path / "campaigns"
    folder.mkdir()
    settings = Renamed(old, "chat", None).campaign.model_dump(mode="json")
    (folder / "chat.yaml").write_text(yaml.safe_dump(settings))
    monkeypatch.setenv("WINNOW_CAMPAIGNS", str(folder))
    assert main(["run", "--lake", old.lake.uri, "--batch", NEXT]) == 1
    assert "continues: small" in capsys.readouterr().err
    assert list(old.lake.names("batches")) == ["small"]


def test_an_entry_of_the_version_before_is_read(night: Any) -> None:
    old = night()
    ingest.run(old.batch())
    [entry] = read_ledger(old.lake, "small").entries
    assert "continues" not in entry.as_dict()
    assert read_table(old.lake, entry.outputs["prompt_ids"]).num_rows


def test_a_batch_of_the_old_one_that_had_taken_nothing_takes_nothing_of_the_new_one(
    night: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = night()
    ingest.run(old.batch())
    late = Renamed(old, "small", None, NEXT)
    late.batch()  # begun, and its ingest was killed
    add(old, "b", "of both")
    new = Renamed(old, "chat", "small")
    assert ingest.run(new.batch()) is not None
    folder = tmp_path / "campaigns"
    folder.mkdir()
    (folder / "chat.yaml").write_text(campaign_text(new.campaign, []))
    monkeypatch.setenv("WINNOW_CAMPAIGNS", str(folder))
    assert main(["migrate", "small", "--lake", old.lake.uri]) == 0
    late.campaign = load_campaign(folder / "small.yaml")
    assert ingest.run(late.batch()) is None, "the file is taken"
    assert doctor_campaigns.shared(late.campaign, [new.campaign]).outcome == "ok"
