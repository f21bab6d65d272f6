"""Real Airflow over batches made up in the lake, and a vendor that is done when told to be.

Nothing is generated. The waits stand in a DAG of their own, which holds the operator of
`label_pairs` and nothing else; `label_pairs` itself runs for the few batches that a person or a
webhook decides on.
"""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from winnow.batch import Batch, open_batch
from winnow.campaign import Campaign, Schedule, load_campaign
from winnow.label.vendor import VendorAccount
from winnow.label.vendors import connect
from winnow.lake import FolderLake
from winnow.stages import label
from winnow_local import stack

from ..fabricated import fabricate
from .conftest import books_at, free_port, wait_for

POLL_SECONDS = 15.0
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SIMULATOR_SPEED = 0.001
"""So slow that a vendor's batch is done when a test says so, and not before."""
CAMPAIGN = {
    "name": "nightly",
    "ingest": {"sources": ["/nowhere"]},
    "expand": {"model": "none"},
    "label": {
        "budget_usd": 5.0,
        "approve_above_usd": 0.5,
        "second_vote_share": 0.0,
        "min_completion": 0.0,
        "poll_seconds": POLL_SECONDS,
        "max_poll_seconds": 2 * POLL_SECONDS,
        "deadline_minutes": 1.0,
        "sources": [{"name": "doctors", "vendor": "simulator", "connection": "winnow_vendor"}],
        "experts": "doctors",
    },
    "publish": {"dataset": "nightly"},
}
ONLY_WAITS = """
from airflow.sdk import DAG
from winnow_airflow.waiting import WaitForVendor

with DAG("nightly.only_waits", schedule=None, max_active_runs=500):
    WaitForVendor(task_id="wait_for_vendor")
"""


@dataclass
class Waits:
    """A local Winnow whose vendor is done when told to be."""

    home: stack.Home
    env: dict[str, str] = field(repr=False)
    http: httpx.Client = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.http = httpx.Client(base_url=self.home.ui, timeout=60, trust_env=False)
        password = stack.secrets_of(self.home)["password"]
        login = {"username": "admin", "password": password}
        token = self.http.post("/auth/token", json=login).raise_for_status().json()["access_token"]
        self.http.headers["Authorization"] = f"Bearer {token}"

    def get(self, path: str, **params: Any) -> Any:
        return self.http.get(f"/api/v2/{path}", params=params).raise_for_status().json()

    def batch(self, key: str, n_pairs: int = 1, n_of_experts: int = 0, **settings: Any) -> Batch:
        """A batch up to its comparisons; it waits for days, whatever the alert says."""
        campaign = self._campaign()
        changed = campaign.label.model_copy(update={"deadline_minutes": 10_000.0, **settings})
        campaign = campaign.model_copy(update={"label": changed})
        batch = open_batch(campaign, key, FolderLake(self.home.lake), lambda: datetime.now(UTC))
        names = ["people"] * (n_pairs - n_of_experts) + ["doctors"] * n_of_experts
        fabricate(batch, n_pairs, [[name] for name in names])
        return batch

    def _campaign(self) -> Campaign:
        """The campaign, with batches of any name."""
        by_hand = Schedule(cron=None, key="text")
        return load_campaign(self.home.campaigns).model_copy(update={"schedule": by_hand})

    def lost(self, key: str) -> Batch:
        """A batch whose comparisons were made an hour ago, of which Airflow never heard."""
        lake, campaign = FolderLake(self.home.lake), self._campaign()
        batch = open_batch(campaign, key, lake, lambda: datetime.now(UTC) - timedelta(hours=1))
        fabricate(batch, n_pairs=1)
        return batch

    def pause(self, dag: str, paused: bool) -> None:
        """Pause a DAG or let it go on."""
        mask, body = {"update_mask": "is_paused"}, {"is_paused": paused}
        self.http.patch(f"/api/v2/dags/{dag}", params=mask, json=body).raise_for_status()

    def emit(self, asset: str, key: str) -> None:
        """An event of an asset, as a task would emit it."""
        found = self.get("assets", name_pattern=asset)["assets"]
        [number] = [each["id"] for each in found if each["name"] == asset]
        body = {"asset_id": number, "partition_key": key}
        self.http.post("/api/v2/assets/events", json=body).raise_for_status()

    def reconcile(self) -> dict[str, str | None]:
        """Run the DAG reconcile to its end; the state of each of its tasks."""
        made = self.http.post("/api/v2/dags/nightly.reconcile/dagRuns", json={"logical_date": None})
        run = made.raise_for_status().json()["dag_run_id"]
        path = f"dags/nightly.reconcile/dagRuns/{run}"
        wait_for(lambda: self.get(path)["state"] in ("success", "failed"))
        return {
            t["task_id"]: t["state"] for t in self.get(f"{path}/taskInstances")["task_instances"]
        }

    def runs(self, dag: str, key: str) -> list[dict[str, Any]]:
        """The runs of a DAG for a batch."""
        found = self.get(f"dags/{dag}/dagRuns", limit=100)["dag_runs"]
        return [run for run in found if run["partition_key"] == key]

    def submit(self, batch: Batch) -> str:
        """Buy the batch's labels here; its ref at the vendor."""
        account = VendorAccount(self.home.vendor, stack.secrets_of(self.home)["vendor_token"])
        label.plan(batch)
        return str(label.submit(batch, connect("simulator", account))["ref"])

    def finish(self, ref: str | None = None) -> float:
        """The vendor is done with one batch or with all; when that was."""
        where, which = (" AND ref = ?", (ref,)) if ref else ("", ())
        books = sqlite3.connect(self.home.folder / "vendor-simulator.sqlite", timeout=30)
        with books:
            books.execute(f"UPDATE tasks SET due_at = 0 WHERE due_at IS NOT NULL{where}", which)
        books.close()
        return time.time()

    def start(self, dag: str, key: str) -> str:
        """Start a run for a batch, once; its id."""
        run = f"test-{key}"
        body: dict[str, Any] = {"logical_date": None, "dag_run_id": run}
        body |= (
            {"partition_key": key} if dag == "nightly.label_pairs" else {"conf": {"partition": key}}
        )

        def is_there() -> bool:
            # Airflow's SQLite database is locked now and then; the run's id keeps it to one run.
            answer = self.http.post(f"/api/v2/dags/{dag}/dagRuns", json=body)
            return answer.is_success or answer.status_code == 409

        wait_for(is_there)
        return run

    def n_tasks(self, state: str) -> int:
        """Waits of the 150 that are in a state."""
        path = "dags/nightly.only_waits/dagRuns/~/taskInstances"
        return int(self.get(path, state=state, limit=1)["total_entries"])

    def state(self, run: str, task: str) -> str | None:
        """The state of a task of `nightly.label_pairs`."""
        return self.get(f"dags/nightly.label_pairs/dagRuns/{run}/taskInstances/{task}")["state"]

    def mapped_states(self, run: str, task: str) -> list[str]:
        """The states of a mapped task, none before it is known how many there are."""
        path = f"/api/v2/dags/nightly.label_pairs/dagRuns/{run}/taskInstances/{task}/listMapped"
        answer = self.http.get(path)
        return [t["state"] for t in answer.json()["task_instances"]] if answer.is_success else []

    def answer(self, run: str, chosen: str) -> None:
        """What a person does in Required Actions, until it is settled.

        Airflow 3.3.2 fails the task and asks again, half a minute later, when an answer comes
        before its scheduler has heard that the process which asked has ended.
        """
        path = f"/api/v2/dags/nightly.label_pairs/dagRuns/{run}/taskInstances/approve_purchase/-1"
        body = {"chosen_options": [chosen], "params_input": {}}

        def is_settled() -> bool:
            if self.state(run, "approve_purchase") == "awaiting_input" and self._asked(run):
                self.http.patch(f"{path}/hitlDetails", json=body)
            return self.state(run, "approve_purchase") in ("success", "failed")

        wait_for(is_settled)

    def _asked(self, run: str) -> bool:
        """Whether the scheduler has heard of the end of the process which asked."""
        path = f"dags/nightly.label_pairs/dagRuns/{run}/taskInstances/approve_purchase"
        names = f"task_id='approve_purchase', run_id='{run}', "
        heard = f"{names}try_number={self.get(path)['try_number']}"
        log = (self.home.folder / "logs" / "scheduler.log").read_text(errors="replace")
        return any(heard in line for line in log.splitlines() if "Received executor event" in line)

    def bought(self, key: str) -> int:
        """Tasks that the vendor sold for a batch."""
        token = stack.secrets_of(self.home)["vendor_token"]
        tasks = books_at(self.home.vendor, token)
        return sum(task["batch_key"].split("#")[0] == f"nightly/{key}" for task in tasks)

    def triggerers(self) -> list[psutil.Process]:
        """The triggerer's processes."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.cwd() == str(self.home.run):
                    words = " ".join([process.name(), *process.cmdline()])
                    if "triggerer" in words:
                        found.append(process)
        return found

    def start_triggerer(self) -> None:
        with (self.home.folder / "logs" / "triggerer.log").open("ab") as log:
            subprocess.Popen(
                [str(stack.ROOT / ".venv" / "bin" / "airflow"), "triggerer", "--skip-serve-logs"],
                env=self.env,
                cwd=self.home.run,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


@contextlib.contextmanager
def waiting_airflow(folder: Path) -> Iterator[Waits]:
    """Airflow over three DAGs, and the simulator, all running."""
    dags = folder / "dags"
    dags.mkdir()
    (dags / "only_waits.py").write_text(ONLY_WAITS)
    (dags / "label_pairs.py").symlink_to(stack.ROOT / "dags" / "label_pairs.py")
    # A pass is made when a test says so, not also at a quarter of an hour.
    source = (stack.ROOT / "dags" / "reconcile.py").read_text()
    (dags / "reconcile.py").write_text(re.sub(r"schedule=.*", "schedule=None,", source))
    campaign = folder / "campaign.yaml"
    campaign.write_text(yaml.safe_dump(CAMPAIGN))
    home = stack.Home(folder / "home", campaign, free_port(), free_port())
    env = _environment(home, dags)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stack, "environment", lambda _: env)
        stack.migrate(home, env)
        try:
            with stack.running(home, SIMULATOR_SPEED):
                found = Waits(home, env)
                dags_known = {"nightly.only_waits", "nightly.label_pairs", "nightly.reconcile"}
                wait_for(lambda: dags_known <= {d["dag_id"] for d in found.get("dags")["dags"]})
                yield found
        finally:
            stack.stop_leftovers(home)


def _environment(home: stack.Home, dags: Path) -> dict[str, str]:
    env = stack.environment(home)
    connection = json.loads(env["AIRFLOW_CONN_WINNOW_VENDOR"])
    connection["extra"] = {"webhook_secret": SECRET}
    del env["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"]
    return {
        **env,
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW_CONN_WINNOW_VENDOR": json.dumps(connection),
    }
