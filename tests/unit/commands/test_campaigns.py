"""Commands over a folder of campaigns: all by default, one by name, a broken or removed one too."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from winnow.batch import open_batch
from winnow.campaign import parse_campaign
from winnow.campaign.folder import read
from winnow.cli import main
from winnow.ingest.ledger import read_ledger
from winnow.label.aggregation.votes import COMPARISON
from winnow.label.tasks import Task
from winnow.label.vendor import Message, TaskRequest
from winnow.lake import FolderLake
from winnow.stages.label.plans import freeze_plan
from winnow.stages.label.rounds import record_submission, terms_of

from ...label_rows import drafted
from .conftest import DAY, NOW, begun, settings


@pytest.fixture
def winnow(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Runs a command; its exit code and all that it printed."""

    def run(*arguments: str) -> tuple[int, str]:
        code = main(arguments)
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run


def with_vendor(lake: FolderLake, name: str, key: str = DAY) -> None:
    """A batch of which three tasks at 10 cents are with the vendor."""
    begun(lake, name, 3, key)
    batch = open_batch(parse_campaign(settings(name), "test"), key, lake, lambda: NOW)
    message = (Message("user", "why?"),)
    ids = [f"t{n}" for n in range(3)]
    tasks = [Task(t, t, COMPARISON, 0, None, "a", "b", False, "r", 0, "v", 100_000) for t in ids]
    requests = [TaskRequest(t, t, message, "a", "b", "h", "i", "r", 100_000) for t in ids]
    freeze_plan(batch, 0, lambda _: drafted(tasks, requests))
    terms_of(batch, 0)  # by which the vendor hears of it
    record_submission(batch, 0, "ref", NOW)


def test_all_campaigns_are_told_of_each_under_its_heading(
    winnow: Callable[..., tuple[int, str]], lake: FolderLake
) -> None:
    begun(lake, "code", 5)
    code, told = winnow("status")
    lines = told.splitlines()
    assert code == 0 and lines[:2] == ["Campaign chat", "  No batch yet."]
    assert lines[2:4] == ["Campaign code", DAY]
    [row] = json.loads(winnow("status", "--json")[1])
    assert (row["campaign"], row["batch"]) == ("code", DAY)
    assert "Campaign" not in winnow("status", "--campaign", "code")[1]
    assert winnow("status", "--batch", DAY)[1].splitlines()[0] == DAY
    code, told = winnow("status", "--batch", "2026-11-01")
    assert code == 1 and "there are chat, code" in told


def test_a_command_about_one_wants_its_name_and_says_which_there_are(
    winnow: Callable[..., tuple[int, str]], folder: Path, tmp_path: Path
) -> None:
    code, told = winnow("versions")
    assert code == 1 and "--campaign NAME" in told and "chat, code" in told
    assert winnow("versions", "--campaign", "chat")[0] == 0
    assert winnow("versions", "--campaign", str(folder / "code.yaml"))[0] == 0
    code, told = winnow("versions", "--campaign", "chatt")
    assert code == 1 and "There is no campaign chatt" in told and "chat, code" in told
    (folder / "code.yaml").unlink()
    assert winnow("versions")[0] == 0, "the only one needs no name"


def test_one_file_as_before_needs_no_name(
    winnow: Callable[..., tuple[int, str]],
    folder: Path,
    lake: FolderLake,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun(lake, "chat", 5)
    begun(lake, "elsewhere", 3)
    monkeypatch.delenv("WINNOW_CAMPAIGNS")
    monkeypatch.setenv("WINNOW_CAMPAIGN", str(folder / "chat.yaml"))
    assert winnow("versions")[0] == 0
    code, told = winnow("status")
    assert winnow("status", "--campaign", "elsewhere")[1].splitlines()[0] == DAY
    code, old = winnow("migrate", "elsewhere")
    assert code == 1 and "point WINNOW_CAMPAIGNS at a folder" in old
    assert told.splitlines()[0] == DAY and "elsewhere" not in told


def test_the_shipped_folder_means_nightly_where_one_is_wanted(
    winnow: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WINNOW_CAMPAIGNS")
    code, told = winnow("versions")
    assert code == 0 and "nightly" in told


def test_a_broken_one_is_named_shown_as_it_was_begun_and_stops_no_other(
    winnow: Callable[..., tuple[int, str]], folder: Path, lake: FolderLake
) -> None:
    begun(lake, "chat", 2)
    begun(lake, "code", 2)
    (folder / "chat.yaml").write_text("name: chat\nexpand: {modle: x}\n")
    for command in ("status", "reconcile"):
        code, told = winnow(command)
        assert code == 1
        chat, other = told.split("Campaign code")
        assert "broken" in chat and "expand.modle" in chat and f"\n{DAY}" in chat
        assert DAY in other and "broken" not in other
    rows = json.loads(winnow("status", "--json")[1])
    assert [(row["campaign"], row["batch"]) for row in rows] == [
        *(("chat", None), ("chat", DAY), ("code", DAY)),
    ]
    assert rows[0]["trouble"]["level"] == "broken"
    assert winnow("status", "--campaign", "code")[0] == 0


def test_a_ledger_that_is_lost_stops_no_other(
    winnow: Callable[..., tuple[int, str]], lake: FolderLake
) -> None:
    begun(lake, "chat", 2)
    begun(lake, "code", 2)
    lake.remove("campaigns/chat/ingested.json")
    code, told = winnow("status")
    assert code == 1
    chat, other = told.split("Campaign code")
    assert "failed" in chat and "ingested.json is missing" in chat and DAY in other
    assert winnow("drop", DAY, "--reason", "wrong")[0] == 0
    assert read_ledger(lake, "code").dropped(DAY) is not None


def test_the_batch_of_a_key_is_found_unless_two_have_it(
    winnow: Callable[..., tuple[int, str]], lake: FolderLake
) -> None:
    begun(lake, "chat", 2)
    reason = ["--reason", "wrong"]
    code, told = winnow("drop", DAY, *reason)
    assert code == 0 and read_ledger(lake, "chat").dropped(DAY) is not None
    begun(lake, "code", 2)
    code, told = winnow("drop", DAY, *reason)
    assert code == 1 and "chat, code have one" in told
    assert winnow("drop", DAY, *reason, "--campaign", "code")[0] == 0
    code, told = winnow("reconcile", "--again", "2026-11-21")
    assert code == 1 and "No campaign has a batch 2026-11-21" in told


def test_a_removed_one_says_what_is_open_and_where_money_waits(
    winnow: Callable[..., tuple[int, str]], folder: Path, lake: FolderLake
) -> None:
    with_vendor(lake, "safety")
    begun(lake, "over", 5)
    code, told = winnow("status")
    assert code == 0 and "Campaign over" not in told
    told = told.split("Campaign safety")[1]
    assert "It has no file in" in told and "1 batch is open" in told
    assert f"labels for $0.30 are not collected ({DAY} $0.30)" in told
    assert "Do: winnow migrate safety" in told and f"\n{DAY}" in told
    row = next(r for r in json.loads(winnow("status", "--json")[1]) if r["batch"] is None)
    assert (row["campaign"], row["trouble"]["level"]) == ("safety", "removed")
    assert winnow("status", "--campaign", "over")[1].splitlines()[0] == DAY
    assert winnow("quarantine", "--campaign", "over")[0] == 0
    code, told = winnow("drop", DAY, "--campaign", "safety", "--reason", "x", "--called-off")
    assert code == 0 and "dropped" in told, told


def test_a_removed_one_is_drained_by_a_file_of_its_own_settings(
    winnow: Callable[..., tuple[int, str]], folder: Path, lake: FolderLake
) -> None:
    own = {"owner": "1e3", "description": "all: of\n- it", "start": "2026-01-02", "tags": ["null"]}
    schedule = {"cron": "0 6 * * *", "timezone": "Europe/Berlin"}
    begun(lake, "safety", 3, "2026-11-21", owner="earlier")
    begun(lake, "safety", 3, **own, schedule=schedule)
    path = folder / "safety.yaml"
    code, told = winnow("migrate", "safety", "--print")
    assert code == 0 and not path.exists()
    printed = parse_campaign(yaml.safe_load(told), "test")
    assert winnow("migrate", "safety", "--check")[0] == 0 and not path.exists()
    code, told = winnow("migrate", "safety")
    assert code == 0 and "2 batches are open" in told and str(path) in told
    brought = read(folder, "safety")
    assert brought.schedule.cron is None and brought.schedule.timezone == "Europe/Berlin"
    begun_as = parse_campaign(settings("safety", **own, schedule=schedule), "test")
    whole = {"exclude": {"schedule", "ingest"}}
    assert (
        brought.model_dump(**whole) == begun_as.model_dump(**whole) == printed.model_dump(**whole)
    )
    assert "may be deleted" in path.read_text().replace("\n# ", " ")
    code, told = winnow("migrate", "safety")
    assert code == 0 and "has a file, and goes on" in told
    for key in ("2026-11-21", DAY):
        assert winnow("drop", key, "--reason", "x", "--called-off")[0] == 0
    assert "its file in" in winnow("migrate", "safety")[1]
    path.unlink()
    code, told = winnow("migrate", "safety")
    assert code == 0 and "it needs no file" in told and not path.exists()


def test_nothing_is_written_of_one_that_is_nowhere_or_broken(
    winnow: Callable[..., tuple[int, str]], folder: Path, lake: FolderLake
) -> None:
    code, told = winnow("migrate", "nowhere")
    assert code == 1 and "There is no campaign nowhere" in told
    begun(lake, "chat", 2)
    (folder / "chat.yaml").write_text("name: chat\n")
    code, told = winnow("migrate", "chat")
    assert code == 1 and "Mend the file" in told
    assert (folder / "chat.yaml").read_text() == "name: chat\n"


def test_doctor_looks_at_every_campaign_and_at_what_two_share(
    winnow: Callable[..., tuple[int, str]], folder: Path, lake: FolderLake
) -> None:
    with_vendor(lake, "gone")
    more = {"schedule": {"cron": "30 2,14 * * 1-5", "timezone": "Europe/Berlin"}}
    shared = settings("twin", **more) | {"ingest": {"sources": ["inbox-chat"]}}
    (folder / "twin.yaml").write_text(yaml.safe_dump(shared))
    (folder / "same.yaml").write_text(yaml.safe_dump(settings("same", publish={"dataset": "code"})))
    (folder / "both.yaml").write_text(yaml.safe_dump(settings("both")))
    (folder / "both.yml").write_text(yaml.safe_dump(settings("both")))
    (folder / "odd.yaml").write_text(yaml.safe_dump(settings("even")))
    code, told = winnow("doctor", "--json", "--seconds", "5")
    assert code == 1
    checks = {(each["campaign"], each["name"]): each for each in json.loads(told)}
    assert "stands twice" in checks["both", "campaign"]["measured"]
    assert "name: is even, the file's is odd" in checks["odd", "campaign"]["measured"]
    assert "chat reads the same prompts" in checks["twin", "shared"]["measured"]
    assert checks["twin", "shared"]["outcome"] == "warning"
    assert "same publishes code too" in checks["code", "shared"]["measured"]
    assert checks["code", "shared"]["outcome"] == "failed"
    assert (
        checks["twin", "schedule"]["measured"].count("T02")
        + (checks["twin", "schedule"]["measured"].count("T14"))
        == 3
    )
    assert checks["", "removed"]["mend"] == "winnow migrate gone"
    for name in ("sources", "vendor", "engine", "versions"):
        assert ("chat", name) in checks and ("odd", name) not in checks
    assert "Campaign twin" in winnow("doctor", "--seconds", "5")[1]


def test_doctor_says_a_campaigns_budgets_and_whose_team_is_not_known(
    winnow: Callable[..., tuple[int, str]], folder: Path, lake: FolderLake
) -> None:
    for name, team in (("chat", "words"), ("code", "machines")):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(settings(name, team=team)))
    (folder / "teams.yaml").write_text("words: {budget_month_usd: 1200}\n")
    told = winnow("doctor", "--json", "--seconds", "5")[1]
    checks = {(each["campaign"], each["name"]): each for each in json.loads(told)}
    assert "team words $1,200.00" in checks["chat", "campaign"]["measured"]
    assert checks["code", "campaign"]["outcome"] == "failed"
    assert "team: machines, which is not in" in checks["code", "campaign"]["measured"]
