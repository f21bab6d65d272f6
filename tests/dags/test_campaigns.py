"""A folder of campaigns becomes DAG files that stand and fall one by one."""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from winnow.addresses import ServerAddress
from winnow.campaign import load_campaign
from winnow.errors import Fatal
from winnow.ingest.ledger import Entry, append, read_ledger
from winnow.lake import FolderLake
from winnow.stages.tasks import DAGS
from winnow_airflow import campaigns
from winnow_airflow.bundle import CampaignBundle
from winnow_airflow.console_campaigns import settings_of
from winnow_airflow.context import batch_of, hub_of, nights_at_once, the_lake

CAMPAIGN = """
name: {name}
owner: ann
team: chat
tags: [english]
priority: 50
max_active: 3
start: 2026-11-01
schedule: {{cron: "30 2 * * 1-5", timezone: Europe/Berlin}}
access: {{reviewers: read}}
ingest: {{sources: [inbox]}}
expand: {{model: tiny}}
label: {{budget_usd: 5}}
publish: {{dataset: {name}}}
"""
STAGES = ("ingest_prompts", "expand_pools", "select_pairs", "label_pairs", "publish_dataset")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two campaigns, which Airflow reads."""
    made = tmp_path / "campaigns"
    made.mkdir()
    (made / "teams.yaml").write_text("chat: {budget_month_usd: 100}")
    monkeypatch.setenv("WINNOW_CAMPAIGNS", str(made))
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow"))
    monkeypatch.setattr(campaigns, "_made", {})
    for name in ("alpha", "beta"):
        write(made, name)
    return made


def write(folder: Path, name: str, *, instead: tuple[str, str] = ("", "")) -> None:
    (folder / f"{name}.yaml").write_text(CAMPAIGN.format(name=name).replace(*instead))


@pytest.fixture
def bundle(folder: Path, tmp_path: Path) -> CampaignBundle:
    return on_host(tmp_path / "host")


def on_host(path: Path) -> CampaignBundle:
    """The bundle as another machine has it."""
    made = CampaignBundle(name="winnow")
    made.base_dir = path
    made.initialize()
    return made


def read(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The DAGs that Airflow finds in a folder, and what it cannot read."""
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(str(path), bundle_path=path, bundle_name="winnow")
    return dict(bag.dags), dict(bag.import_errors)


def names(dags: dict[str, Any]) -> set[str]:
    return {dag_id.partition(".")[0] for dag_id in dags}


def test_each_campaign_has_its_own_dags_as_it_asks_for_them(bundle: CampaignBundle) -> None:
    dags, errors = read(bundle.path)
    assert not errors
    assert set(dags) == {f"{n}.{dag}" for n in ("alpha", "beta") for dag in (*STAGES, "reconcile")}
    head, pools = dags["alpha.ingest_prompts"], dags["alpha.expand_pools"]
    assert head.timetable.summary == "30 2 * * 1-5"
    assert (head.owner, pools.max_active_runs) == ("ann", 3)
    assert {"campaign:alpha", "stage:expand", "team:chat", "english"} <= set(pools.tags)
    assert set(pools.access_control) == {"reviewers"}
    assert str(head.start_date) == "2026-10-31 23:00:00+00:00"
    assert {task.priority_weight for task in pools.tasks} == {50}
    assert [asset.name for asset in pools.get_task("gather_pools").outlets] == [
        "alpha.candidate_pools"
    ]
    assert Path(pools.fileloc) == bundle.path / "alpha.py"
    # A new campaign's batches wait for whoever unpauses its first DAG, and for nobody after it.
    paused = {dag_id: dag.is_paused_upon_creation for dag_id, dag in dags.items()}
    assert {dag_id for dag_id, is_paused in paused.items() if is_paused is None} == {
        "alpha.ingest_prompts",
        "beta.ingest_prompts",
    }


def test_a_broken_campaign_goes_on_as_it_was_and_says_what_is_wrong(
    bundle: CampaignBundle, folder: Path
) -> None:
    before = (bundle.path / "beta.py").read_text()
    write(folder, "alpha", instead=("budget_usd", "budgt_usd"))
    write(folder, "beta", instead=("ann", "bob"))
    bundle.refresh()
    dags, errors = read(bundle.path)
    assert names(dags) == {"alpha", "beta"}
    assert dags["alpha.ingest_prompts"].timetable.summary == "30 2 * * 1-5"
    assert dags["beta.ingest_prompts"].owner == "bob"
    [(name, error)] = errors.items()
    assert name == "alpha.broken.py"
    assert "label.budgt_usd" in error
    assert (bundle.path / "beta.py").read_text() != before
    assert campaigns.campaign_named("alpha").label.budget_usd == 5.0
    write(folder, "alpha")
    bundle.refresh()
    assert not read(bundle.path)[1]


def test_on_a_host_that_never_saw_it_good_a_broken_one_has_dags_without_a_schedule(
    bundle: CampaignBundle, folder: Path, tmp_path: Path
) -> None:
    write(folder, "alpha", instead=("budget_usd", "budgt_usd"))
    other = on_host(tmp_path / "other")
    dags, errors = read(other.path)
    assert names(dags) == {"alpha", "beta"}
    assert set(errors) == {"alpha.broken.py"}
    assert type(dags["alpha.ingest_prompts"].timetable).__name__ == "PartitionedAssetTimetable"
    with pytest.raises(Fatal, match="budgt_usd"):
        campaigns.campaign_named("alpha")


def test_teams_are_checked_once_for_all_and_a_team_that_is_none_is_its_campaigns_error(
    bundle: CampaignBundle, folder: Path
) -> None:
    write(folder, "alpha", instead=("team: chat", "team: chatt"))
    bundle.refresh()
    dags, errors = read(bundle.path)
    assert names(dags) == {"alpha", "beta"}
    assert set(errors) == {"alpha.broken.py"}
    assert "team: chatt, which is not in" in errors["alpha.broken.py"]
    (folder / "teams.yaml").write_text("chat: {budget: 100}")
    bundle.refresh()
    assert "chat.budget" in read(bundle.path)[1]["teams.broken.py"]
    (folder / "teams.yaml").write_text("chat: {}\nchatt: {}")
    bundle.refresh()
    assert not read(bundle.path)[1]


def test_a_file_that_is_gone_takes_its_dags_and_no_others(
    bundle: CampaignBundle, folder: Path
) -> None:
    (folder / "alpha.yaml").unlink()
    bundle.refresh()
    assert names(read(bundle.path)[0]) == {"beta"}


def test_a_folder_that_is_away_changes_nothing(bundle: CampaignBundle, folder: Path) -> None:
    shutil.move(folder, folder.with_name("away"))
    bundle.refresh()
    folder.mkdir()
    bundle.refresh()
    dags, errors = read(bundle.path)
    assert (names(dags), errors) == ({"alpha", "beta"}, {})


def test_two_files_of_one_name_and_a_file_of_another_name_are_errors(
    bundle: CampaignBundle, folder: Path
) -> None:
    shutil.copy(folder / "alpha.yaml", folder / "alpha.yml")
    shutil.copy(folder / "beta.yaml", folder / "gamma.yaml")
    bundle.refresh()
    dags, errors = read(bundle.path)
    assert {n for n in names(dags) if dags[f"{n}.ingest_prompts"].owner == "ann"} == {
        "alpha",
        "beta",
    }
    assert "stands twice" in errors["alpha.broken.py"]
    assert "name: is beta, the file's is gamma" in errors["gamma.broken.py"]
    assert set(errors) == {"alpha.broken.py", "gamma.broken.py"}


def test_what_names_no_campaign_and_a_link_to_nothing_stop_no_other(
    bundle: CampaignBundle, folder: Path
) -> None:
    (folder / "lost.yaml").symlink_to(folder / "nowhere")
    odd = [
        b"\xff",
        b"a" * 249,
        b'a"""\nraise SystemExit\n"""b',
        b"a\\N{x}",
        b"Big",
        b"alpha.broken",
    ]
    for name in odd:
        Path(os.fsdecode(os.path.join(os.fsencode(folder), name + b".yaml"))).write_text("x")
    (folder / "teams.yml").write_text("chat: {}")
    write(folder, "beta", instead=("ann", "bob"))
    bundle.refresh()
    dags, errors = read(bundle.path)
    assert {n for n in names(dags) if dags[f"{n}.ingest_prompts"].owner == "ann"} == {"alpha"}
    assert dags["beta.ingest_prompts"].owner == "bob" and names(dags) == {"alpha", "beta", "lost"}
    assert "No such file" in errors.pop("lost.broken.py")
    assert len(errors) == len(odd) + 1
    assert all("cannot name a campaign" in error for error in errors.values())
    assert any(
        "teams.yml" in error and "Teams are in teams.yaml" in error for error in errors.values()
    )


def test_an_editors_lock_takes_no_page_away(folder: Path, tmp_path: Path) -> None:
    (folder / ".#alpha.yaml").symlink_to("ann@host.123")
    found, gone = settings_of(FolderLake(tmp_path / "lake"), ["alpha"])
    assert (found["alpha"].owner, gone) == ("ann", set())  # type: ignore[union-attr]


def test_what_did_not_change_is_not_read_again(
    bundle: CampaignBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("a campaign was read")

    monkeypatch.setattr("winnow_airflow.bundle.read", never)
    bundle.refresh()


def test_another_version_makes_all_files_anew(
    bundle: CampaignBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = (bundle.path / "alpha.py").read_text()
    (bundle.path / "alpha.py").write_text("from winnow_airflow.elsewhere import make_dags")
    monkeypatch.setattr("winnow_airflow.bundle.__version__", "9.9.9")
    bundle.refresh()
    assert (bundle.path / "alpha.py").read_text() == made


def test_a_plain_airflow_over_the_dag_folder_has_them_all(folder: Path) -> None:
    assert names(read(campaigns.WIRING)[0]) == {"alpha", "beta"}
    write(folder, "alpha", instead=("budget_usd", "budgt_usd"))
    dags, errors = read(campaigns.WIRING)
    assert names(dags) == {"alpha", "beta"}
    [(name, error)] = errors.items()
    assert Path(name).name == campaigns.FAULTS_FILE
    assert "label.budgt_usd" in error


@pytest.mark.parametrize(
    ("schedule", "kind", "assets"),
    [
        ("{cron: null}", "PartitionedAssetTimetable", ["alpha.by_hand"]),
        ("{assets: [team_x.exports]}", "PartitionedAssetTimetable", ["team_x.exports"]),
        ("{cron: '0 * * * *'}", "BatchTimetable", []),
    ],
)
def test_a_batch_begins_by_cron_by_asset_or_by_hand(
    bundle: CampaignBundle, folder: Path, schedule: str, kind: str, assets: list[str]
) -> None:
    cron = '{cron: "30 2 * * 1-5", timezone: Europe/Berlin}'
    write(folder, "alpha", instead=(cron, schedule))
    bundle.refresh()
    timetable = read(bundle.path)[0]["alpha.ingest_prompts"].timetable
    assert type(timetable).__name__ == kind
    condition = getattr(timetable, "asset_condition", None)
    assert [asset.name for asset in getattr(condition, "objects", [])] == assets


def test_reconcile_is_as_often_as_asked_and_campaigns_take_turns(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from winnow_airflow.policy import reconcile_minutes

    def cron(name: str) -> str:
        write(folder, name)
        return reconcile_minutes(campaigns.campaign_named(name))

    names = [f"c{number}" for number in range(30)]
    assert len({cron(name) for name in names}) > 10
    assert all(cron(name).endswith("-59/15 * * * *") for name in names)
    monkeypatch.setenv("WINNOW_RECONCILE_MINUTES", "60")
    assert cron("alpha").endswith("-59/60 * * * *")
    monkeypatch.setenv("WINNOW_RECONCILE_MINUTES", "7")
    with pytest.raises(Fatal, match="WINNOW_RECONCILE_MINUTES"):
        cron("alpha")


@pytest.mark.parametrize(
    ("run_type", "conf", "nights"),
    [
        ("scheduled", {"at_once": 3}, None),
        ("manual", {}, None),
        ("manual", {"at_once": 2}, 2),
        ("backfill", None, 1),
        ("backfill", {"at_once": 4}, 4),
    ],
)
def test_a_backfills_nights_wait_in_order_unless_it_says_how_many_may_not(
    run_type: str, conf: dict[str, Any] | None, nights: int | None
) -> None:
    from airflow.sdk.api.datamodels._generated import DagRunType

    run = SimpleNamespace(run_type=DagRunType(run_type), conf=conf)
    assert nights_at_once(run) == nights


@pytest.mark.parametrize("said", [0, -1, "2", 1.5, True])
def test_a_backfill_that_says_no_number_is_refused(said: Any) -> None:
    run = SimpleNamespace(run_type="backfill", conf={"at_once": said})
    with pytest.raises(Fatal, match="at_once"):
        nights_at_once(run)


def test_a_first_batch_of_a_renamed_campaign_is_refused_before_it_takes_anything(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WINNOW_LAKE", str(tmp_path / "lake"))
    run = SimpleNamespace(dag_id="alpha.ingest_prompts", partition_key="2026-11-23", conf={})
    lake = the_lake()
    before = batch_of(run)
    assert append(lake, "alpha", read_ledger(lake, "alpha"), Entry(before.key, {}, {}, {}))
    (folder / "alpha.yaml").unlink()
    write(folder, "gamma")
    new = SimpleNamespace(dag_id="gamma.ingest_prompts", partition_key="2026-11-24", conf={})
    with pytest.raises(Fatal, match="`continues: alpha`"):
        batch_of(new)
    assert "gamma" not in lake.names("batches")
    write(folder, "gamma", instead=("owner: ann", "owner: ann\ncontinues: alpha"))
    assert batch_of(new).campaign.predecessor == "alpha"
    write(folder, "alpha")
    write(folder, "gamma")
    assert batch_of(new).key == "2026-11-24"


def test_a_campaign_with_sources_asks_each_by_a_task_of_its_own(
    bundle: CampaignBundle, folder: Path
) -> None:
    sources = "sources: [{name: small, judge: {model: m}}, {name: large, judge: {model: n}}]"
    write(folder, "alpha", instead=("budget_usd: 5", f"budget_usd: 5, {sources}"))
    bundle.refresh()
    dags, errors = read(bundle.path)
    assert not errors
    [listed] = [dag.tasks for dag in DAGS if dag.name == "label_pairs"]
    found, plain = (dags[f"{name}.label_pairs"] for name in ("alpha", "beta"))
    assert {task.task_id for task in found.tasks} == {task.name for task in listed}
    assert {t.task_id for t in plain.tasks} == {t.name for t in listed if not t.optional}
    mapped = ["ask_source", "wait_for_source", "bring_source", "collect_annotations"]
    for before, after in itertools.pairwise(["approve_purchase", "list_sources", *mapped]):
        assert after in found.get_task(before).downstream_task_ids
    assert all(found.get_task(name).is_mapped for name in mapped[:3])
    assert found.get_task("collect_annotations").trigger_rule == "none_failed"


def test_a_campaign_with_a_hub_pushes_to_it_when_the_stage_has_ended(
    bundle: CampaignBundle, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = "publish: {dataset: alpha"
    write(folder, "alpha", instead=(own, f"{own}, hub: {{repo: org/nights}}"))
    bundle.refresh()
    dags, errors = read(bundle.path)
    assert not errors
    found, plain = (dags[f"{name}.publish_dataset"] for name in ("alpha", "beta"))
    assert {t.task_id for t in found.tasks} - {t.task_id for t in plain.tasks} == {"push_to_hub"}
    assert "push_to_hub" in found.get_task("refit_posterior").downstream_task_ids
    assert [t.task_id for t in found.tasks if t.outlets] == ["refit_posterior"]
    campaign = load_campaign(folder / "alpha.yaml")
    secret = '{"conn_type": "http", "host": "%s", "password": "hf_secret"}'
    for host, url in (
        ("", "https://huggingface.co"),
        ("https://hub.example/", "https://hub.example"),
    ):
        monkeypatch.setenv("AIRFLOW_CONN_WINNOW_HUB", secret % host)
        assert hub_of(campaign) == ServerAddress(url, "hf_secret")
    assert hub_of(load_campaign(folder / "beta.yaml")) is None
