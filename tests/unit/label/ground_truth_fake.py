"""A fake of SageMaker's labeling jobs, for tests: behind boto3's own client and its validation.

Written after the API reference of CreateLabelingJob, DescribeLabelingJob and StopLabelingJob, and
the layout of a job's output. People answer by hand.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import boto3
from botocore.exceptions import ConnectTimeoutError, ReadTimeoutError

from winnow.label.vendors.ground_truth.client import GroundTruthVendor
from winnow.label.vendors.ground_truth.jobs import JobSettings
from winnow.lake import Lake

from ...vendor_faults import Fault, Killed, Strike
from ...vendor_world import Can
from .lake_fake import FaultyLake

ROLE = "arn:aws:iam::123456789012:role/labeling"
TEAM = "arn:aws:sagemaker:us-east-1:123456789012:workteam/private-crowd/readers"
_CALLS = ("CreateLabelingJob", "DescribeLabelingJob", "StopLabelingJob")


@dataclass
class GroundTruthWorld:
    """Labeling jobs over the files in `store`."""

    store: Lake
    clock: datetime = datetime(2026, 11, 22, tzinfo=UTC)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    n_responses: int = 0
    stops_at_once: bool = True
    can = Can(edit=False, retract=False, misdeliver=False, account_keys=False, refuse_tokens=False)
    n_tasks = 3
    n_paged = 4

    def __post_init__(self) -> None:
        self.strike: Strike | None = None
        self.client = sagemaker_client()
        for call in _CALLS:
            serve = getattr(self, f"_{call}")
            self.client.meta.events.register(
                f"before-call.sagemaker.{call}",
                lambda params, serve=serve, **_: _struck(
                    self.strike, serve, json.loads(params["body"])
                ),
            )

    def connect(self, strike: Strike | None = None, token: str | None = None) -> GroundTruthVendor:
        self.strike = strike
        store = self.store if strike is None else FaultyLake(self.store, strike)
        vendor = GroundTruthVendor(store, self.client, JobSettings(ROLE, TEAM), self.now)
        vendor.max_request = 2
        return vendor

    def now(self) -> datetime:
        return self.clock

    def answer(self, ref: str, task_id: str, annotator: str, choice: str) -> None:
        [(job, number)] = [
            (name, number)
            for name, job in self.jobs.items()
            for number, line in enumerate(self.asked(job))
            if line["task_id"] == task_id
        ]
        picked = {value: value == choice for value in {"a", "b", "tie", "both_bad", "skip", choice}}
        self.respond(ref, job, number, annotator, {"choice": picked, "rationale": " "})

    def respond(self, ref: str, job: str, number: int, annotator: str, content: Any) -> None:
        """Write a worker's response, and end the job when it was the last one wanted."""
        self.n_responses += 1
        answer = {
            "acceptanceTime": "2026-11-22T10:00:00.000Z",
            "submissionTime": "2026-11-22T10:01:12.345Z",
            "timeSpentInSeconds": 71.9,
            "workerId": annotator,
            "workerMetadata": {"identityData": {"sub": "x"}},
            "answerContent": content,
        }
        folder = f"{ref}/output/{job}/annotations/worker-response/iteration-1/{number}"
        path = f"{folder}/2026-11-22_10:01:{self.n_responses:02d}.json"
        assert self.store.create(path, json.dumps({"answers": [answer]}).encode())
        done = {
            p.split("/")[-2] for p in self.store.tags(f"{ref}/output/{job}") if "worker-re" in p
        }
        if len(done) == len(self.asked(self.jobs[job])):
            self.jobs[job]["LabelingJobStatus"] = "Completed"

    def expire(self, ref: str) -> None:
        for job in self.jobs.values():
            job["LabelingJobStatus"] = "Completed"

    def times_held(self, task_id: str) -> int:
        lines = [line for job in self.jobs.values() for line in self.asked(job)]
        return sum(line["task_id"] == task_id for line in lines)

    def charged(self, ref: str) -> int:
        charged = 0
        for name, job in self.jobs.items():
            paths = [p for p in self.store.tags(f"{ref}/output/{name}") if "worker-response" in p]
            prices = [line["price"] for line in self.asked(job)]
            charged += sum(prices[int(p.split("/")[-2])] for p in paths)
        return charged

    def asked(self, job: dict[str, Any]) -> list[dict[str, Any]]:
        """The lines of a job's manifest."""
        uri = job["InputConfig"]["DataSource"]["S3DataSource"]["ManifestS3Uri"]
        manifest = self.store.read(uri.removeprefix(f"{self.store.uri}/"))
        return [json.loads(line) for line in manifest.splitlines()]

    def _CreateLabelingJob(self, body: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        if body["LabelingJobName"].lower() in {name.lower() for name in self.jobs}:
            return _error("ResourceInUse")
        if not self.asked(body):
            return _error("ValidationException")
        self.jobs[body["LabelingJobName"]] = {**body, "LabelingJobStatus": "InProgress"}
        return {"LabelingJobArn": f"arn:{body['LabelingJobName']}"}

    def _DescribeLabelingJob(self, body: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return self.jobs.get(body["LabelingJobName"]) or _error("ResourceNotFound")

    def _StopLabelingJob(self, body: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        job = self.jobs[body["LabelingJobName"]]
        job["LabelingJobStatus"] = "Stopped" if self.stops_at_once else "Stopping"
        return {}


def sagemaker_client(region: str = "us-east-1") -> Any:
    """A real client of boto3, which checks parameters before it calls."""
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    return boto3.client("sagemaker", region_name=region, **keys)


def _error(code: str, status: int = 400) -> dict[str, Any]:
    return {
        "Error": {"Code": code, "Message": code},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }


def _struck(strike: Strike | None, serve: Any, body: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """What a call of the client ends in: an HTTP status and the answer as botocore reads it."""
    fault = strike.fault if strike and strike.hits() else None
    if fault is not None and not fault.name.endswith("_AFTER"):
        return _parsed(_failed(fault))
    answer = serve(body)
    if fault is Fault.SENT_TWICE_AFTER:
        answer = serve(body)
    elif fault is not None:
        answer = _failed(fault)
    return _parsed(answer)


def _failed(fault: Fault) -> dict[str, Any]:
    where = {"endpoint_url": "https://sagemaker", "error": "late"}
    if fault in (Fault.KILLED_BEFORE, Fault.KILLED_AFTER):
        raise Killed
    if fault is Fault.TIMED_OUT_BEFORE:
        raise ConnectTimeoutError(**where)
    if fault in (Fault.TIMED_OUT_AFTER, Fault.CUT_AFTER):
        raise ReadTimeoutError(**where)
    if fault is Fault.BUSY:
        return _error("ThrottlingException")
    return _error("ConflictException", 409) if fault is Fault.CONFLICT else _error("Internal", 500)


def _parsed(answer: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 200)
    return SimpleNamespace(status_code=status), dict(answer)
