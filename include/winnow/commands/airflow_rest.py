"""The few calls of Airflow's REST API that a backfill needs.

Which Airflow and who asks stands in the environment: WINNOW_AIRFLOW_URL, such as
http://127.0.0.1:8080, and either WINNOW_AIRFLOW_TOKEN, a bearer token, or WINNOW_AIRFLOW_USER and
WINNOW_AIRFLOW_PASSWORD, for which Airflow gives one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from winnow.addresses import holds_secret
from winnow.calls import Bounds, Calls, is_callable, is_sendable, why
from winnow.errors import Fatal, Retryable
from winnow.ingest.values import Unreadable, read_json
from winnow.stages.tasks import DAG_OF
from winnow.text import plain_text

HEAD_DAG = DAG_OF["ingest"]
SHOWN_CHARS = 300
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

    def paused(self, dags: list[str]) -> list[str]:
        """Those of the DAGs that are paused."""
        return [dag for dag in dags if self._ask(_Dag, "GET", f"/api/v2/dags/{dag}").is_paused]

    def _ask(
        self, shape: type[_Shape], method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> _Shape:
        try:
            answer = self._calls.send(method, path, body)
        except httpx.TransportError as error:
            raise _unreachable(self.url, error) from None
        if answer.is_success:
            return _read(self.url, answer, shape)
        raise _refused(self.url, answer)


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


def _unreachable(url: str, error: httpx.TransportError) -> Retryable:
    return Retryable(
        f"Airflow at {url} cannot be reached ({why(error)}); is it running? `make up`."
    )


def _refused(url: str, answer: httpx.Response) -> Fatal:
    """What Airflow will not do, in its own words and with what helps."""
    status = answer.status_code
    if status in (401, 403):
        return Fatal(f"Airflow at {url} refuses the token (HTTP {status}); it may have run out.")
    if status == 409:
        return Fatal(
            f"Airflow runs a backfill of {HEAD_DAG} already, and one at a time is all it takes: "
            "wait for it, or cancel it under Backfills in the UI."
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
