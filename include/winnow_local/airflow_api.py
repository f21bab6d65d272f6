"""The few calls of Airflow's REST API that a local Winnow needs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import httpx

from winnow.calls import Calls

ACTIVE = ("queued", "running")
READ_TRIES = 5


@dataclass(frozen=True, slots=True)
class Run:
    """One DAG run of a batch."""

    dag: str
    run_id: str
    state: str


class AirflowApi:
    """A logged-in client of one API server, for one campaign."""

    def __init__(self, base: str, password: str, campaign: str = "nightly") -> None:
        self.campaign = campaign
        self._calls, self._headers = Calls("Airflow", base), dict[str, str]()
        answer = self._send("POST", "/auth/token", {"username": "admin", "password": password})
        self._headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def parsed_dags(self) -> set[str]:
        """Ids of the campaign's DAGs that the scheduler knows."""
        found = self.get("/api/v2/dags", limit=100, tags=f"campaign:{self.campaign}")
        return {dag["dag_id"] for dag in found["dags"]}

    def runs(self, batch: str) -> list[Run]:
        """Every run of the batch, newest first."""
        found = self.get(
            "/api/v2/dags/~/dagRuns",
            limit=100,
            order_by="-id",
            dag_id_prefix_pattern=f"{self.campaign}.",
            partition_key_prefix_pattern=batch,
        )
        return [
            Run(run["dag_id"], run["dag_run_id"], run["state"])
            for run in found["dag_runs"]
            if run["partition_key"] == batch
        ]

    def trigger(self, dag: str, batch: str) -> None:
        """Start a run of `dag` for the batch."""
        body = {"logical_date": None, "partition_key": batch}
        self._send("POST", f"/api/v2/dags/{dag}/dagRuns", body)

    def pause(self, dag: str, paused: bool) -> None:
        """Pause a DAG, or let it go on."""
        body, mask = {"is_paused": paused}, {"update_mask": "is_paused"}
        self._send("PATCH", f"/api/v2/dags/{dag}", body, mask)

    def failures(self, run: Run) -> dict[str, str]:
        """The tasks that failed in a run, each with the error that its log ends in."""
        path = f"/api/v2/dags/{run.dag}/dagRuns/{run.run_id}/taskInstances"
        tasks = self.get(path, limit=100)["task_instances"]
        return {
            task["task_id"]: self._last_error(f"{path}/{task['task_id']}/logs/{task['try_number']}")
            for task in tasks
            if task["state"] == "failed"
        }

    def _last_error(self, path: str) -> str:
        lines = self.get(path, full_content=True)["content"]
        details = [line["error_detail"] for line in lines if line.get("error_detail")]
        if not details:
            return "its log in the UI says why"
        return f"{details[-1][0]['exc_type']}: {details[-1][0]['exc_value']}"

    def get(self, path: str, **params: Any) -> Any:
        """A busy API server gets a few more chances to read from it."""
        for remaining in reversed(range(READ_TRIES)):
            try:
                return self._send("GET", path, params=params).json()
            except httpx.HTTPError:
                if not remaining:
                    raise
                time.sleep(2)
        return None

    def _send(
        self, method: str, path: str, body: Any = None, params: dict[str, Any] | None = None
    ) -> httpx.Response:
        answer = self._calls.send(method, path, body, params, headers=self._headers)
        return answer.raise_for_status()
