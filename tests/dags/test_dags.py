"""What every DAG must keep: it imports fast and light, is linked by assets, and says what it is."""

from __future__ import annotations

import ast
import itertools
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from winnow.errors import Fatal
from winnow.stages.tasks import DAGS, TASKS
from winnow_airflow.bundle import CampaignBundle
from winnow_airflow.policy import HOURS, time_limit

ROOT = Path(__file__).parents[2]
FILES = sorted(path for path in (ROOT / "dags").glob("*.py") if path.stem != "campaigns")
CHAIN = [
    ("ingest_prompts", None, "prompts"),
    ("expand_pools", "prompts", "candidate_pools"),
    ("select_pairs", "candidate_pools", "comparisons"),
    ("label_pairs", "comparisons", "annotations"),
    ("publish_dataset", "annotations", "datasets"),
]
HEAVY = ("numpy", "pandas", "pyarrow", "duckdb", "boto3", "torch", "vllm", "great_expectations")


@pytest.fixture(scope="module")
def airflow_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("airflow")
    os.environ["AIRFLOW_HOME"] = str(home)
    os.environ["AIRFLOW__CORE__PLUGINS_FOLDER"] = str(ROOT / "plugins")
    os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
    return home


@pytest.fixture(scope="module")
def dags(airflow_home: Path) -> dict[str, Any]:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(str(ROOT / "dags"))
    assert not bag.import_errors
    of = {dag_id: dag for dag_id, dag in bag.dags.items() if dag_id.startswith("nightly.")}
    assert {dag_id.partition(".")[0] for dag_id in bag.dags} == {"nightly", "nightly-dts"}
    return {dag_id.removeprefix("nightly."): dag for dag_id, dag in of.items()}


def test_the_five_dags_and_the_one_that_mends_are_there(dags: dict[str, Any]) -> None:
    assert set(dags) == {*(name for name, _, _ in CHAIN), "reconcile"}


@pytest.mark.parametrize(("dag_id", "asset_in", "asset_out"), CHAIN)
def test_each_dag_is_linked_to_the_next_by_one_asset(
    dags: dict[str, Any], dag_id: str, asset_in: str | None, asset_out: str
) -> None:
    dag = dags[dag_id]
    outlets = {asset.name for task in dag.tasks for asset in task.outlets}
    assert outlets == {f"nightly.{asset_out}"}
    kind = type(dag.timetable).__name__
    assert kind == ("PartitionedAssetTimetable" if asset_in else "BatchTimetable")
    if asset_in:
        assert [dag.timetable.asset_condition.name] == [f"nightly.{asset_in}"]


def test_the_table_of_tasks_names_each_task_of_each_dag_in_its_order_and_no_other(
    dags: dict[str, Any],
) -> None:
    listed = {dag.name: [t.name for t in dag.tasks if not t.optional] for dag in DAGS}
    found = {name: [task.task_id for task in dag.topological_sort()] for name, dag in dags.items()}
    mending = {name: sorted(of.pop("reconcile")) for name, of in (("a", listed), ("b", found))}
    assert found == listed
    assert mending["a"] == mending["b"]
    optional = [task for task in TASKS.values() if task.optional]
    assert len(TASKS) == sum(map(len, [*found.values(), mending["a"], optional]))
    ends = {dag_id: [t.task_id for t in dags[dag_id].tasks if t.outlets] for dag_id in found}
    assert ends == {name: tasks[-1:] for name, tasks in listed.items()}


@pytest.mark.parametrize("dag_id", [*(name for name, _, _ in CHAIN), "reconcile"])
def test_each_dag_has_owner_docs_tags_retries_and_a_limit(
    dags: dict[str, Any], dag_id: str
) -> None:
    dag = dags[dag_id]
    assert dag.owner == "winnow"
    assert {"winnow", "campaign:nightly"} <= set(dag.tags)
    assert {(task.weight_rule, task.priority_weight) for task in dag.tasks} == {("absolute", 10)}
    assert "**When it fails**" in dag.doc_md
    waits = dag_id in ("select_pairs", "label_pairs")
    assert 1 <= dag.max_active_runs <= (500 if waits else 16)
    assert all(task.retries >= 2 for task in dag.tasks)
    assert all(task.retry_policy is not None for task in dag.tasks)
    assert not dag.catchup
    # What `tell` fails with it has told; a pass of `reconcile` that died is made good by the next.
    assert dag.has_on_failure_callback == (dag_id != "reconcile")
    silent = {task.task_id for task in dag.tasks if not task.has_on_failure_callback}
    assert silent == ({"tell"} if dag_id == "reconcile" else set())
    assert all(task.has_on_success_callback for task in dag.tasks)


def test_each_task_has_a_time_limit_but_the_question_that_a_person_answers(
    dags: dict[str, Any],
) -> None:
    limits = {t.task_id: t.execution_timeout for dag in dags.values() for t in dag.tasks}
    assert {name for name, limit in limits.items() if limit is None} == {"approve_purchase"}
    assert dags["label_pairs"].get_task("approve_purchase").response_timeout is None
    hours = {name: limit / timedelta(hours=1) for name, limit in limits.items() if limit}
    longer = {name: n for name, n in hours.items() if n != HOURS["default"]}
    here = {name for name, task in TASKS.items() if not task.optional}
    assert longer == {name: n for name, n in HOURS.items() if name in here}


def test_a_team_moves_the_time_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINNOW_TASK_HOURS", "generate_responses=48, default=0.5")
    assert time_limit("generate_responses") == timedelta(hours=48)
    assert time_limit() == timedelta(minutes=30)
    assert time_limit("submit_tasks") == timedelta(hours=HOURS["submit_tasks"])


@pytest.mark.parametrize(
    "said", ["two", "generate=3", "default=", "default=-1", "default=nan", "default=1e9", "=", "3"]
)
def test_time_limits_that_say_nothing_are_refused(
    monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setenv("WINNOW_TASK_HOURS", said)
    with pytest.raises(Fatal, match="WINNOW_TASK_HOURS"):
        time_limit()


def test_a_task_beyond_its_limit_is_ended_and_tried_again() -> None:
    from airflow.sdk import RetryAction
    from airflow.sdk.exceptions import AirflowTaskTimeout

    from winnow_airflow.policy import RETRY_POLICY

    assert RETRY_POLICY.evaluate(AirflowTaskTimeout(), 1, 3).action is not RetryAction.FAIL


def test_a_batch_that_was_dropped_is_skipped_by_every_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    from winnow.ingest.ledger import Dropped, Entry, append, mark, read_ledger
    from winnow_airflow.context import batch_of, the_lake

    monkeypatch.setenv("WINNOW_LAKE", str(tmp_path / "lake"))
    lake, name = the_lake(), "nightly"
    counts = {"rows_in": 1, "rows_out": 1, "quarantined": 0}
    assert append(lake, name, read_ledger(lake, name), Entry("2026-11-22", {}, {}, counts))
    run = SimpleNamespace(
        dag_id="nightly.label_pairs", partition_key="2026-11-22", conf={}, run_id="r"
    )
    assert batch_of(run).key == "2026-11-22"
    note = Dropped("ann", "2026-11-23T10:00:00+00:00", "the wrong prompts")
    assert mark(lake, name, read_ledger(lake, name), "2026-11-22", note)
    with pytest.raises(AirflowSkipException, match="dropped by ann"):
        batch_of(run)


def test_labels_are_planned_approved_bought_and_awaited_in_two_rounds(dags: dict[str, Any]) -> None:
    dag = dags["label_pairs"]
    order = [
        "plan_tasks",
        "approve_purchase",
        "submit_tasks",
        "wait_for_vendor",
        "submit_follow_up",
        "wait_for_follow_up",
        "collect_annotations",
    ]
    assert [task.task_id for task in dag.topological_sort()] == order
    for before, after in itertools.pairwise(order):
        assert after in dag.get_task(before).downstream_task_ids
    assert [dag.get_task(name).round for name in order if name.startswith("wait")] == [0, 1]


def test_a_run_whose_labels_are_late_is_seen(dags: dict[str, Any]) -> None:
    assert [dag_id for dag_id, dag in dags.items() if dag.deadline] == ["label_pairs"]


def test_what_was_lost_is_announced_on_the_assets_that_link_the_dags(dags: dict[str, Any]) -> None:
    dag = dags["reconcile"]
    outlets = {t.task_id: [asset.name for asset in t.outlets] for t in dag.tasks if t.outlets}
    linking = [asset_in for _, asset_in, _ in CHAIN if asset_in]
    assert outlets == {f"announce_{name}": [f"nightly.{name}"] for name in linking}
    assert all(dag.get_task(name).upstream_task_ids == {"look_around"} for name in outlets)
    assert dag.get_task("tell").upstream_task_ids == {"look_around"}
    assert dag.max_active_runs == 1


def test_reconcile_knows_the_dags_and_a_task_that_every_run_of_them_has(
    dags: dict[str, Any],
) -> None:
    from winnow.batch import STAGES
    from winnow.stages.tasks import DAG_OF, FIRST_TASK
    from winnow_airflow.reconcile import handed_on

    assert list(DAG_OF.values()) == [name for name, _, _ in CHAIN]
    assert tuple(DAG_OF) == STAGES
    for stage, task_id in FIRST_TASK.items():
        assert dags[DAG_OF[stage]].get_task(task_id).upstream_task_ids == set()
    for (stage, task, asset), (_, asset_in, _) in zip(handed_on("x"), CHAIN[1:], strict=True):
        assert (task, asset.name) == (f"announce_{asset_in}", f"x.{asset_in}")
        assert stage in DAG_OF


def test_generation_alone_runs_on_the_gpu_pool(dags: dict[str, Any]) -> None:
    on_gpu = {task.task_id for dag in dags.values() for task in dag.tasks if task.pool == "gpu"}
    assert on_gpu == {"generate_responses"}


def test_pools_are_gathered_where_no_shard_is_left_to_generate(dags: dict[str, Any]) -> None:
    gather = dags["expand_pools"].get_task("gather_pools")
    assert gather.trigger_rule == "none_failed"


def test_what_a_person_must_mend_fails_at_once_and_a_busy_store_is_retried() -> None:
    from airflow.sdk import RetryAction

    from winnow import errors
    from winnow_airflow.policy import RETRY_POLICY

    for kind in (errors.Fatal, errors.Blocked, errors.Corrupt, errors.Ambiguous):
        assert RETRY_POLICY.evaluate(kind("x"), 1, 3).action is RetryAction.FAIL
    assert RETRY_POLICY.evaluate(errors.Retryable("x"), 1, 3).action is RetryAction.RETRY
    assert RETRY_POLICY.evaluate(OSError("x"), 1, 3).action is RetryAction.DEFAULT


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_dag_file_imports_only_airflow_sdk_and_the_adapters(path: Path) -> None:
    tree = ast.parse(path.read_text())
    top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = {
        name
        for node in top
        for name in (
            [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        )
    }
    allowed = ("airflow.sdk", "airflow.providers", "winnow_airflow")
    assert modules
    assert all(str(module).startswith(allowed) for module in modules)
    assert len(path.read_text().splitlines()) <= 80


PARSED = """
import os, runpy, sys, time
start = time.process_time()
import airflow.sdk
airflow_took, before = time.process_time() - start, set(sys.modules)
for path in sys.argv[2:]:
    if os.fork() == 0:
        start = time.process_time()
        runpy.run_path(path)
        heavy = [m for m in sys.argv[1].split() if m in set(sys.modules) - before]
        print(path, (time.process_time() - start) / airflow_took, *heavy, flush=True)
        os._exit(0)
    os.wait()
"""
"""Each file as if alone in a process that has imported Airflow's SDK: what it took beside that."""


def stub_of(folder: Path) -> Path:
    """The DAG file that the bundle makes of the shipped campaign."""
    bundle = CampaignBundle(name="winnow")
    bundle.base_dir = folder
    bundle.initialize()
    return folder / "nightly.py"


def test_parsing_a_dag_file_is_quick_and_imports_nothing_heavy(
    airflow_home: Path, tmp_path: Path
) -> None:
    files = [*FILES, stub_of(tmp_path)]
    paths = os.pathsep.join([str(ROOT / "plugins"), str(ROOT / "include")])
    done = subprocess.run(
        [sys.executable, "-c", PARSED, " ".join(HEAVY), *map(str, files)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.split() for line in done.stdout.splitlines()]
    parsed = {path: (float(share), heavy) for path, share, *heavy in lines if path.endswith(".py")}
    assert set(parsed) == set(map(str, files))
    assert not [path for path, (share, heavy) in parsed.items() if share >= 0.5 or heavy], parsed


def test_the_product_imports_no_airflow() -> None:
    script = (
        "import pkgutil, sys, importlib, winnow\n"
        "for module in pkgutil.walk_packages(winnow.__path__, 'winnow.'):\n"
        # One is a file of the folders that are exported, where there is PyTorch.
        "    if not module.name.endswith(('__main__', 'modeling_winnow')):\n"
        "        importlib.import_module(module.name)\n"
        "foreign = ('airflow', 'torch', 'great_expectations')\n"
        "print([m for m in sys.modules if m.split('.')[0] in foreign])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "include")}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("run_type", "try_number", "is_begun", "goes_on"),
    [
        ("scheduled", 1, True, False),
        ("scheduled", 1, False, True),
        # Its own task, which died before it could announce the prompts.
        ("scheduled", 2, True, True),
        ("manual", 1, True, True),
        ("backfill", 1, True, True),
    ],
)
def test_a_tick_hands_on_no_batch_that_a_person_began(
    run_type: str, try_number: int, is_begun: bool, goes_on: bool
) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    from winnow_airflow.context import unless_begun_by_hand

    manifest = object() if is_begun else None
    batch: Any = SimpleNamespace(key="2026-11-22", manifest=lambda _: manifest)
    run, task = SimpleNamespace(run_type=run_type), SimpleNamespace(try_number=try_number)
    if goes_on:
        assert unless_begun_by_hand(batch, run, task) is batch
    else:
        with pytest.raises(AirflowSkipException, match="begun by hand"):
            unless_begun_by_hand(batch, run, task)
