"""The few calls of Airflow's REST API that a backfill and a migration need.

Which Airflow and who asks stands in the environment: WINNOW_AIRFLOW_URL, such as
http://127.0.0.1:8080, and either WINNOW_AIRFLOW_TOKEN, a bearer token, or WINNOW_AIRFLOW_USER and
WINNOW_AIRFLOW_PASSWORD, for which Airflow gives one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from winnow.addresses import holds_secret
from winnow.calls import Bounds, Calls, is_callable, is_sendable, why
from winnow.errors import Fatal, Retryable
from winnow.ingest.values import Unreadable, read_json
from winnow.text import plain_text

SHOWN_CHARS = 300
_PAGE = 100
"""Rows of an answer; Airflow gives no more by default."""
BOUNDS = Bounds(seconds=120.0, silence=60.0)


class _Answer(BaseModel):
    model_config = ConfigDict(strict=True)


class _Login(_Answer):
    access_token: str


class _Planned(_Answer):
    partition_key: str


class _Plan(_Answer):
    backfills: list[_Planned]


class _Created(_Answer):
    id: int


class _Dag(_Answer):
    is_paused: bool


class _Tag(_Answer):
    name: str


class ListedDag(_Answer):
    """A DAG that Airflow has records of; stale where no DAG file makes it any more."""

    dag_id: str
    is_stale: bool
    tags: list[_Tag]

    def is_tagged(self, name: str) -> bool:
        """Whether it has a tag."""
        return any(tag.name == name for tag in self.tags)


class _Dags(_Answer):
    dags: list[ListedDag]


class ListedRun(_Answer):
    """A run of a DAG, and the key that it is of, if any."""

    dag_run_id: str
    partition_key: str | None = None


class _Runs(_Answer):
    dag_runs: list[ListedRun]


class _Nothing(_Answer):
    pass


_Shape = TypeVar("_Shape", bound=_Answer)


class AirflowRest:
    """A logged-in client of one Airflow."""

    def __init__(self, url: str, token: str, transport: httpx.BaseTransport | None = None) -> None:
        self.url = url
        self._calls = Calls("Airflow", url, {"Authorization": f"Bearer {token}"}, BOUNDS, transport)

    def days_to_run(self, body: Mapping[str, Any]) -> list[str]:
        """Keys of the batches for which a backfill would start a run."""
        plan = self._ask(_Plan, "POST", "/api/v2/backfills/dry_run", body)
        return [each.partition_key for each in plan.backfills]

    def create_backfill(self, body: Mapping[str, Any]) -> int:
        """Start a backfill; its id."""
        return self._ask(_Created, "POST", "/api/v2/backfills", body).id

    def has_run(self, dag: str, key: str) -> bool:
        """Whether the DAG has a run of the key."""
        prefix = f"partition_key_prefix_pattern={quote(key, safe='')}"
        path = f"/api/v2/dags/{dag}/dagRuns?limit={_PAGE}&{prefix}"
        runs = self._ask(_Runs, "GET", path).dag_runs
        return any(run.partition_key == key for run in runs)

    def begin(self, dag: str, key: str, conf: Mapping[str, Any]) -> None:
        """Start a run of a key."""
        body = {"logical_date": None, "partition_key": key, "conf": dict(conf)}
        self._ask(ListedRun, "POST", f"/api/v2/dags/{dag}/dagRuns", body)

    def dag(self, name: str) -> ListedDag | None:
        """A DAG that Airflow knows, stale ones too; None where it knows none of the name."""
        path = f"/api/v2/dags?exclude_stale=false&limit={_PAGE}&dag_id_prefix_pattern={name}"
        dags = self._ask(_Dags, "GET", path).dags
        return next((dag for dag in dags if dag.dag_id == name), None)

    def frozen_runs(self, dag: str) -> list[ListedRun]:
        """Runs of a DAG that did not end, the oldest first."""
        runs: list[ListedRun] = []
        path = f"/api/v2/dags/{dag}/dagRuns?state=running&state=queued&order_by=id&limit={_PAGE}"
        while page := self._ask(_Runs, "GET", f"{path}&offset={len(runs)}").dag_runs:
            runs += page
        return runs

    def fail_run(self, dag: str, run_id: str) -> None:
        """Mark a run as failed, with its tasks that did not end."""
        path = f"/api/v2/dags/{dag}/dagRuns/{quote(run_id, safe='')}"
        self._ask(_Nothing, "PATCH", path, {"state": "failed"})

    def delete_dag(self, dag: str) -> None:
        """Delete a DAG's records, its runs and their tasks among them."""
        self._send("DELETE", f"/api/v2/dags/{dag}")

    def paused(self, dags: list[str]) -> list[str]:
        """Those of the DAGs that are paused."""
        return [dag for dag in dags if self._ask(_Dag, "GET", f"/api/v2/dags/{dag}").is_paused]

    def _ask(
        self, shape: type[_Shape], method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> _Shape:
        return _read(self.url, self._send(method, path, body), shape)

    def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> httpx.Response:
        try:
            answer = self._calls.send(method, path, body)
        except httpx.TransportError as error:
            raise _unreachable(self.url, error) from None
        if not answer.is_success:
            raise _refused(self.url, answer)
        return answer


def connect_airflow(transport: httpx.BaseTransport | None = None) -> AirflowRest:
    """The Airflow that the environment names.

    Raises:
        Fatal: A variable is missing, or Airflow refuses the login.
        Retryable: Airflow cannot be reached.
    """
    variable = os.environ.get
    url, token = variable("WINNOW_AIRFLOW_URL", ""), variable("WINNOW_AIRFLOW_TOKEN", "")
    user, password = variable("WINNOW_AIRFLOW_USER", ""), variable("WINNOW_AIRFLOW_PASSWORD", "")
    if not url or not (token or (user and password)):
        raise Fatal(
            "Set WINNOW_AIRFLOW_URL, and WINNOW_AIRFLOW_TOKEN or WINNOW_AIRFLOW_USER and "
            'WINNOW_AIRFLOW_PASSWORD; with `make up` running: make winnow CMD="backfill ...".'
        )
    if not is_callable(url) or holds_secret(url):
        raise Fatal(
            "WINNOW_AIRFLOW_URL must be a URL such as http://127.0.0.1:8080, without a password: "
            "that belongs into WINNOW_AIRFLOW_PASSWORD."
        )
    token = token or _login(url, user, password, transport)
    if not is_sendable(token):
        raise Fatal(
            "The token of Airflow holds characters that no header carries: set "
            "WINNOW_AIRFLOW_TOKEN as Airflow gave it."
        )
    return AirflowRest(url, token, transport)


def _login(url: str, user: str, password: str, transport: httpx.BaseTransport | None) -> str:
    body = {"username": user, "password": password}
    try:
        answer = Calls("Airflow", url, None, BOUNDS, transport).send("POST", "/auth/token", body)
    except httpx.TransportError as error:
        raise _unreachable(url, error) from None
    if not answer.is_success:
        raise Fatal(
            f"Airflow at {url} refuses the login (HTTP {answer.status_code}); check "
            "WINNOW_AIRFLOW_USER and WINNOW_AIRFLOW_PASSWORD, or set WINNOW_AIRFLOW_TOKEN."
        )
    return _read(url, answer, _Login).access_token


def _read(url: str, answer: httpx.Response, shape: type[_Shape]) -> _Shape:
    try:
        return shape.model_validate_json(answer.content)
    except ValidationError:
        # Not as its cause: that quotes the answer, which may hold a token.
        raise Fatal(
            f"What answers at {url} is no Airflow that Winnow knows: its answer to "
            f"{answer.request.url.path} cannot be read. Correct WINNOW_AIRFLOW_URL."
        ) from None


def _dag_of(request: httpx.Request) -> str:
    return str(json.loads(request.content)["dag_id"])


def _unreachable(url: str, error: httpx.TransportError) -> Retryable:
    return Retryable(
        f"Airflow at {url} cannot be reached ({why(error)}); is it running? `make up`."
    )


def _refused(url: str, answer: httpx.Response) -> Fatal:
    """What Airflow will not do, in its own words and with what helps."""
    status = answer.status_code
    if status in (401, 403):
        return Fatal(f"Airflow at {url} refuses the token (HTTP {status}); it may have run out.")
    if status == 409 and answer.request.url.path.endswith("/backfills"):
        return Fatal(
            f"Airflow runs a backfill of {_dag_of(answer.request)} already, and one at a time is "
            "all it takes: wait for it, or cancel it under Backfills in the UI."
        )
    if status == 503:
        return Fatal(
            f"Airflow at {url} cannot write now (HTTP 503): its SQLite database is locked. Try "
            "again, and use PostgreSQL where this happens often."
        )
    try:
        words = str(read_json(answer.content).get("detail", ""))
    except (Unreadable, AttributeError):
        words = answer.content[: 4 * SHOWN_CHARS].decode(errors="replace")
    return Fatal(
        f"Airflow at {url} answered HTTP {status}: "
        f"{' '.join(plain_text(words).split())[:SHOWN_CHARS]}"
    )
