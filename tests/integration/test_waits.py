"""A batch waits for a person or for its vendor, on real Airflow and the real simulator."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from standardwebhooks import Webhook as Signer

from winnow.lake import FolderLake
from winnow.stages import label

from .waits import SECRET, Waits, wait_for, waiting_airflow

pytestmark = pytest.mark.slow

N_WAITS = 150
PROGRESS = "taskInstances/wait_for_vendor/xcomEntries/progress"


@pytest.fixture(scope="module")
def waits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Waits]:
    with waiting_airflow(tmp_path_factory.mktemp("waits")) as found:
        yield found


@pytest.mark.kill
def test_150_waits_hold_no_worker_and_outlive_a_killed_triggerer(waits: Waits) -> None:
    keys = [f"wait-{i:03d}" for i in range(N_WAITS)]
    for key in keys:
        waits.submit(waits.batch(key))
    runs = [waits.start("nightly.only_waits", key) for key in keys]
    deferring = wait_for(lambda: waits.n_tasks("deferred") == N_WAITS)
    pool = waits.get("pools/default_pool")
    assert pool["occupied_slots"] == pool["running_slots"] == pool["queued_slots"] == 0
    assert pool["open_slots"] == pool["slots"]
    assert pool["deferred_slots"] >= N_WAITS

    path = f"dags/nightly.only_waits/dagRuns/{runs[0]}/{PROGRESS}"
    wait_for(lambda: waits.http.get(f"/api/v2/{path}").is_success)
    progress = waits.get(path, deserialize=True)["value"]
    assert "'answered': 0" in str(progress) and "'tasks': 1" in str(progress)

    memory = [p.memory_full_info().pss / 1e6 for p in waits.triggerers()]
    for process in waits.triggerers():
        os.kill(process.pid, signal.SIGKILL)
    wait_for(lambda: not waits.triggerers())
    done = waits.finish()
    assert waits.n_tasks("deferred") == N_WAITS, "a wait outlives its triggerer"
    waits.start_triggerer()
    restarted = time.time()
    wait_for(lambda: waits.n_tasks("success") == N_WAITS)
    ends = _ends(waits)
    print(
        f"\n{N_WAITS} deferred in {deferring:.0f} s; triggerer {[round(m) for m in memory]} MB; "
        f"after the vendor was done and the triggerer restarted, first resumed "
        f"{min(ends) - restarted:.0f} s, last {max(ends) - restarted:.0f} s later "
        f"(done {restarted - done:.1f} s before the restart)"
    )
    assert len(ends) == N_WAITS


def _ends(waits: Waits) -> list[float]:
    path = "dags/nightly.only_waits/dagRuns/~/taskInstances"
    pages = [waits.get(path, limit=100, offset=offset) for offset in (0, 100)]
    tasks = [task for page in pages for task in page["task_instances"]]
    return [datetime.fromisoformat(task["end_date"]).timestamp() for task in tasks]


def test_a_person_approves_and_the_batch_goes_through(waits: Waits) -> None:
    batch = waits.batch("dear-yes", n_pairs=8, n_of_experts=3, poll_seconds=2.0)
    run = waits.start("nightly.label_pairs", batch.key)
    wait_for(lambda: waits.state(run, "approve_purchase") == "awaiting_input")
    assert waits.bought(batch.key) == 0
    path = f"dags/nightly.label_pairs/dagRuns/{run}/taskInstances/approve_purchase/-1/hitlDetails"
    question = waits.get(path)
    assert "5 over 5 pairs" in question["body"]
    assert "doctors | 3 tasks, $0.30" in question["body"]
    assert "$0.80" in question["subject"]
    waits.answer(run, "Approve")
    wait_for(lambda: waits.state(run, "wait_for_vendor") == "deferred")
    # Experts are asked by a mapped task, and waited for by another.
    wait_for(lambda: waits.mapped_states(run, "wait_for_source") == ["deferred"])
    assert waits.bought(batch.key) == 8
    for number in (0, 2):
        submission = label.read_submission(batch, number)
        assert submission is not None
        waits.finish(submission.ref)
    wait_for(lambda: waits.state(run, "collect_annotations") in ("success", "skipped"))
    manifest = batch.manifest("label")
    assert manifest is not None and manifest.figures["sources"]["doctors"]["tasks"] == 3
    assert waits.bought(batch.key) == 8


def test_a_person_rejects_and_nothing_is_bought(waits: Waits) -> None:
    batch = waits.batch("dear-no", n_pairs=8)
    run = waits.start("nightly.label_pairs", batch.key)
    wait_for(lambda: waits.state(run, "approve_purchase") == "awaiting_input")
    waits.answer(run, "Reject")
    wait_for(lambda: waits.get(f"dags/nightly.label_pairs/dagRuns/{run}")["state"] == "failed")
    assert waits.state(run, "submit_tasks") == "upstream_failed"
    assert waits.bought(batch.key) == 0


@pytest.mark.kill
def test_a_run_past_its_deadline_is_shown_and_warned_of(waits: Waits) -> None:
    batch = waits.batch("late", n_pairs=8)
    run = waits.start("nightly.label_pairs", batch.key)
    url = f"/ui/dags/nightly.label_pairs/dagRuns/{run}/deadlines"

    def missed() -> list[bool]:
        found = waits.http.get(url).raise_for_status().json()["deadlines"]
        return [deadline["missed"] for deadline in found]

    wait_for(lambda: missed() == [False])
    wait_for(lambda: missed() == [True])
    logs = waits.home.folder / "logs"
    wait_for(lambda: "Labels of batch late are late" in (logs / "triggerer.log").read_text())


def test_a_batch_whose_event_was_lost_while_its_dag_was_paused_is_carried_on(waits: Waits) -> None:
    waits.reconcile()  # What the other batches need a person for is told now.
    batch = waits.lost("lost")
    waits.pause("nightly.label_pairs", True)
    waits.emit("nightly.comparisons", batch.key)
    assert set(waits.reconcile().values()) == {"skipped"}, "a paused DAG is left alone"
    waits.pause("nightly.label_pairs", False)
    assert not waits.runs("nightly.label_pairs", batch.key), "Airflow has dropped the event"
    states = waits.reconcile()
    assert states["announce_comparisons"] == states["tell"] == "success"
    assert states["announce_annotations"] == "skipped"
    wait_for(lambda: bool(waits.runs("nightly.label_pairs", batch.key)))
    assert set(waits.reconcile().values()) == {"skipped"}
    [run] = waits.runs("nightly.label_pairs", batch.key)
    assert run["run_type"] == "asset_triggered"


def test_a_failure_that_needs_a_person_is_told_once_with_its_command(waits: Waits) -> None:
    batch = waits.lost("refused")
    comparisons = batch.require("select").outputs["comparisons"]
    (waits.home.lake / comparisons.path).write_bytes(b"another table")
    run = waits.start("nightly.label_pairs", batch.key)
    wait_for(lambda: waits.get(f"dags/nightly.label_pairs/dagRuns/{run}")["state"] == "failed")
    states = waits.reconcile()
    assert states["tell"] == "failed"
    assert set(waits.reconcile().values()) == {"skipped"}


def test_a_webhook_shortens_a_wait(waits: Waits) -> None:
    batch = waits.batch("nudged", poll_seconds=3600.0, max_poll_seconds=3600.0)
    run = waits.start("nightly.label_pairs", batch.key)
    wait_for(lambda: waits.state(run, "wait_for_vendor") == "deferred")
    path = f"dags/nightly.label_pairs/dagRuns/{run}/{PROGRESS}"
    wait_for(lambda: waits.http.get(f"/api/v2/{path}").is_success)
    submission = label.read_submission(batch, 0)
    assert submission is not None
    waits.finish(submission.ref)
    lake = FolderLake(waits.home.lake)
    body = json.dumps({"type": "batch.updated", "data": {"ref": submission.ref}}).encode()

    def post(content: bytes, at: datetime, event: str) -> int:
        headers = {
            "webhook-id": event,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": Signer(SECRET).sign(event, at, body.decode()),
        }
        url = f"{waits.home.ui}/winnow/webhooks/simulator"
        return httpx.post(url, content=content, headers=headers, timeout=30).status_code

    now = datetime.now(UTC)
    before = {path: tag for path, tag in lake.tags("").items() if path.startswith(("w", "n"))}
    assert post(body + b" ", now, "msg_1") == 401
    assert post(body, now - timedelta(hours=1), "msg_1") == 400
    assert post(b"x" * 2_000_000, now, "msg_1") == 413
    assert httpx.post(f"{waits.home.ui}/winnow/webhooks/scale", content=body).status_code == 404
    after = {path: tag for path, tag in lake.tags("").items() if path.startswith(("w", "n"))}
    assert after == before
    assert waits.state(run, "wait_for_vendor") == "deferred"
    began = time.monotonic()
    assert post(body, now, "msg_1") == 202
    taken = time.monotonic() - began
    assert post(body, now, "msg_1") == 409
    seconds = wait_for(lambda: waits.state(run, "wait_for_vendor") == "success", pause=0.5)
    print(f"\na webhook answered in {taken:.2f} s, the wait resumed after {seconds:.1f} s")
    wait_for(lambda: waits.state(run, "collect_annotations") in ("success", "skipped"))
