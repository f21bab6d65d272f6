"""SageMaker Ground Truth behind the vendor contract, for accounts that have it.

AWS takes no new customers for it. The connection: `url` s3://bucket/prefix, readable and writable
by the job's role; `login` and `token` an access key, or empty for the machine's own; in `extra`
`region`, `role_arn`, `workteam_arn` (private, or a vendor's from the Marketplace), and if wanted
`template_uri`, `pre_lambda_arn`, `post_lambda_arn`, `title`.

A batch is a folder as `file_drop` keeps it; launching makes a labeling job of each manifest. What
always holds: the job's name follows from the batch key, and a name is taken once in an account and
region, so that no manifest is asked twice. A job's output is read from S3, each worker's response
by itself. AWS prices a work team by contract: money is counted by what Winnow agreed to pay.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from winnow.errors import Fatal, Retryable
from winnow.ids import canonical_json
from winnow.label.ids import Ids
from winnow.label.vendor import (
    CHOICE_LABELS,
    BatchState,
    BatchStatus,
    BatchTerms,
    LabelVendor,
    VendorAccount,
)
from winnow.label.vendors.file_drop.folder import (
    AskedLine,
    BatchFolder,
    FolderVendor,
    account_client,
    counted,
    open_store,
)
from winnow.label.vendors.ground_truth.answers import is_response, line_of, read_answers
from winnow.label.vendors.ground_truth.jobs import Jobs, JobSettings, job_request
from winnow.lake import Lake
from winnow.pages.render import render

SHORTEST_TASK, LONGEST_TASK, USUAL_TASK = 30, 28_800, 3_600
SHORTEST_LIFE, LONGEST_LIFE = 60, 864_000
"""Seconds that a private work team may have for a task, and a task may be offered."""

_TEMPLATES = Path(__file__).with_name("templates")
_ENDED = ("Completed", "Failed", "Stopped")
_Job = Mapping[str, Any]


def connect(account: VendorAccount) -> LabelVendor:
    """Ground Truth with the account's work team.

    Raises:
        Fatal: The address is not on S3, or a role or work team is not named.
    """
    if not account.url.startswith("s3://"):
        raise Fatal("Ground Truth reads S3: set the connection's address to s3://bucket/prefix.")
    settings = JobSettings.of(account)
    return GroundTruthVendor(open_store(account), account_client("sagemaker", account), settings)


class GroundTruthVendor(FolderVendor):
    """Labeling jobs over files in `store`, made by the client `sagemaker`."""

    name = "ground_truth"
    names_people = True
    longest_ref = 58
    """A job's name has 63 characters; the rest numbers the jobs of a batch that grew."""
    files_in_a_page = 100
    file_bytes = 16 << 20
    """Largest file of a worker's responses, which is of one task."""

    def __init__(
        self,
        store: Lake,
        sagemaker: Any,
        settings: JobSettings,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        super().__init__(store, now)
        self._jobs, self._settings = Jobs(sagemaker), settings
        self._account = f"{account_of(settings.role_arn)} in {sagemaker.meta.region_name}"
        self.place = f"{store.uri}, account {self._account}"

    def open_batch(self, batch_key: str, terms: BatchTerms) -> str:
        """Find or make the folder of `batch_key`, with a note of the account beside it."""
        ref = super().open_batch(batch_key, terms)
        # Two accounts may share a bucket: a job of one is unknown in the other.
        self._store.create(f"{ref}/account.json", canonical_json({"account": self._account}))
        return ref

    def mark_of(self, ref: str) -> str:
        """The mark under which the folder was made.

        Raises:
            Fatal: Its jobs are of another account or region.
        """
        mark = super().mark_of(ref)
        with suppress(FileNotFoundError):
            account = json.loads(self._store.read(f"{ref}/account.json"))["account"]
            if account != self._account:
                raise Fatal(f"the jobs of {ref} are of account {account}, not {self._account}")
        return mark

    def launch(self, ref: str) -> None:
        """Make a labeling job of every manifest that has none."""
        folder = self._launched(ref)
        if folder.is_cancelled:
            return
        template = f"{ref}/template.liquid.html"
        self._store.create(template, worker_template().encode())
        for name, job in self._jobs_of(folder).items():
            if job is None:
                self._jobs.create(self._request(folder, name, template))

    def status(self, ref: str) -> BatchStatus:
        """Where the batch stands, by its jobs and the responses that are there.

        Raises:
            Fatal: A job failed, and nobody has answered.
        """
        folder = self._look(ref)
        jobs, tasks = self._jobs_of(folder), folder.tasks()
        responses = dict(_responses(folder))
        answered = tasks.ids.places(
            Ids(task.task_id for task in responses.values() if task is not None)
        )
        # Of what is asked for no longer, as where a part was taken away, nothing is counted.
        answered = answered[answered >= 0]
        for name, job in jobs.items():
            if _status(job) == "Failed" and job and not len(answered):
                reason = job.get("FailureReason", "no reason given")
                raise Fatal(f"Labeling job {name} failed: {reason}")
        state = _state(folder, [_status(job) for job in jobs.values()], len(tasks), len(answered))
        stray = [
            f"{path} answers no line of the batch's manifests"
            for path, task in responses.items()
            if task is None
        ]
        return counted(state, tasks, answered, stray)

    def _answer_paths(self, folder: BatchFolder) -> list[str]:
        return [path for path in folder.below("output") if is_response(path)]

    def _records(self, folder: BatchFolder, paths: Sequence[str], passed: int) -> Iterable[bytes]:
        """Workers' responses; one to a line that was not asked is to a task of the file's name."""
        task_of = dict(_responses(folder))
        tasks = ((path, task_of[path] or AskedLine(path.split("/", 2)[2], 0)) for path in paths)
        records = (each for path, task in tasks for each in read_answers(self._read(path), task))
        return islice(records, passed, None)

    def cancel(self, ref: str, reason: str) -> BatchStatus:
        """Stop the batch's jobs; what workers submitted is kept and paid.

        Raises:
            Retryable: A job is still stopping, and its last responses are being written.
        """
        self._note_cancelled(ref, reason)
        for name, job in self._jobs_of(self._look(ref)).items():
            if _status(job) in ("Initializing", "InProgress"):
                self._jobs.stop(name)
        status = self.status(ref)
        if status.state == "open":
            raise Retryable(f"Labeling jobs of {ref} are stopping; try again in a few minutes.")
        return status

    def _jobs_of(self, folder: BatchFolder) -> dict[str, _Job | None]:
        """What SageMaker says of each job of the batch, by its name; None: it is not made."""
        return {
            name: self._jobs.describe(name, f"{self._store.uri}/{manifest}")
            for name, manifest in _names(folder).items()
            # An empty manifest makes no job, and needs none.
            if folder.launched().places(manifest)
        }

    def _request(self, folder: BatchFolder, name: str, template: str) -> dict[str, Any]:
        paths = (_names(folder)[name], f"{folder.ref}/output", template)
        request = job_request(self._settings, name, *(f"{self._store.uri}/{p}" for p in paths))
        minutes = folder.terms.session_minutes
        wanted = 60 * minutes if minutes else USUAL_TASK
        left = int((folder.terms.deadline - self._now()).total_seconds())
        request["HumanTaskConfig"] |= {
            "TaskTimeLimitInSeconds": max(SHORTEST_TASK, min(wanted, LONGEST_TASK)),
            "TaskAvailabilityLifetimeInSeconds": max(SHORTEST_LIFE, min(left, LONGEST_LIFE)),
        }
        return request


def worker_template() -> str:
    """The page that a worker sees, in Liquid."""
    return render("worker.html", _TEMPLATES, choices=CHOICE_LABELS)


def account_of(arn: str) -> str:
    """The account in an ARN; the whole text where it is none.

    >>> account_of("arn:aws:iam::123456789012:role/labeling")
    '123456789012'
    """
    parts = arn.split(":")
    return parts[4] if len(parts) > 5 else arn


def _names(folder: BatchFolder) -> dict[str, str]:
    """The manifest of each job of the batch, by the job's name."""
    numbered = enumerate(folder.manifests, start=1)
    return {folder.ref if n == 1 else f"{folder.ref}-{n}": path for n, path in numbered}


def _responses(folder: BatchFolder) -> Iterator[tuple[str, AskedLine | None]]:
    """Path of each worker-response file, and the task that it answers; None: none was asked."""
    asked = folder.launched()
    places = {name: asked.places(manifest) for name, manifest in _names(folder).items()}
    for path in filter(is_response, folder.below("output")):
        of_job = places.get(path.split("/")[2], range(0))
        number = line_of(path)
        place = of_job[number] if number is not None and number < len(of_job) else None
        yield path, None if place is None else asked.line(place)


def _status(job: _Job | None) -> str:
    """SageMaker's word for where a job stands; empty before it is made."""
    return str(job["LabelingJobStatus"]) if job else ""


def _state(folder: BatchFolder, jobs: Sequence[str], n_tasks: int, n_answered: int) -> BatchState:
    is_running = any(status not in ("", *_ENDED) for status in jobs)
    if folder.is_cancelled:
        return "open" if is_running else "cancelled"
    if not folder.manifests:
        return "draft"
    if is_running or "" in jobs or n_tasks > len(folder.launched()):
        return "open"
    if "Stopped" in jobs:
        return "cancelled"
    return "expired" if "Failed" in jobs and n_answered < n_tasks else "complete"
