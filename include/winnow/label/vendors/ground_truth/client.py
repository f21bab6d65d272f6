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
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from winnow.errors import Fatal, Retryable
from winnow.ids import canonical_json
from winnow.label.vendor import (
    AnnotationPage,
    BatchState,
    BatchStatus,
    BatchTerms,
    LabelVendor,
    TaskRequest,
    VendorAccount,
)
from winnow.label.vendors.file_drop.folder import (
    AskedLine,
    BatchFolder,
    account_client,
    counted,
    look_at,
    make_folder,
    open_store,
    read_delivered,
    read_terms,
    write_manifest,
)
from winnow.label.vendors.file_drop.place import FilePlace
from winnow.label.vendors.ground_truth.answers import is_response, line_of, read_answers
from winnow.label.vendors.ground_truth.jobs import (
    JobSettings,
    create_job,
    describe_job,
    job_request,
    stop_job,
)
from winnow.label.vendors.ground_truth.template import worker_template
from winnow.lake import Lake

LONGEST_NAME = 58
"""A job's name has 63 characters; the rest numbers the jobs of a batch that grew."""
FILES_IN_A_PAGE = 100
FILE_BYTES = 16 << 20
"""Largest file of a worker's responses, which is of one task."""
SHORTEST_TASK, LONGEST_TASK, USUAL_TASK = 30, 28_800, 3_600
SHORTEST_LIFE, LONGEST_LIFE = 60, 864_000
"""Seconds that a private work team may have for a task, and a task may be offered."""

_ENDED = ("Completed", "Failed", "Stopped")


@dataclass(frozen=True, slots=True)
class Job:
    """A labeling job of a batch: its manifest, and what SageMaker says of it; None: not made."""

    name: str
    manifest: str
    description: Mapping[str, Any] | None

    @property
    def status(self) -> str:
        """SageMaker's word for where the job stands; empty before it is made."""
        return str(self.description["LabelingJobStatus"]) if self.description else ""


def connect(account: VendorAccount) -> LabelVendor:
    """Ground Truth with the account's work team.

    Raises:
        Fatal: The address is not on S3, or a role or work team is not named.
    """
    if not account.url.startswith("s3://"):
        raise Fatal("Ground Truth reads S3: set the connection's address to s3://bucket/prefix.")
    settings = JobSettings.of(account)
    return GroundTruthVendor(open_store(account), account_client("sagemaker", account), settings)


class GroundTruthVendor:
    """Labeling jobs over files in `store`; `now` is the clock of deadlines, by default the store's.

    Every call raises `Retryable` when AWS does not answer or is busy, `Fatal` when it refuses, and
    `Corrupt` when somebody changed what Winnow wrote.
    """

    name = "ground_truth"
    max_request = 1000
    names_people = True
    takes_a_task_once = True
    snapshot = True

    def __init__(
        self,
        store: Lake,
        sagemaker: Any,
        settings: JobSettings,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        self._store, self._sagemaker, self._settings = store, sagemaker, settings
        self._now = now or store.now
        self._account = f"{account_of(settings.role_arn)} in {sagemaker.meta.region_name}"
        self.place = f"{store.uri}, account {self._account}"

    def estimate(self, tasks: Sequence[TaskRequest]) -> int:
        """Micro-dollars that `tasks` cost if all are answered: the sum of their prices."""
        return sum(task.price for task in tasks)

    def open_batch(self, batch_key: str, terms: BatchTerms) -> str:
        """Find or make the folder of `batch_key`."""
        ref = make_folder(self._store, batch_key, terms, LONGEST_NAME)
        # Two accounts may share a bucket: a job of one is unknown in the other.
        self._store.create(f"{ref}/account.json", canonical_json({"account": self._account}))
        return ref

    def mark_of(self, ref: str) -> str:
        """The mark under which the folder was made.

        Raises:
            Fatal: Its jobs are of another account or region.
        """
        terms = read_terms(self._store, ref)
        with suppress(FileNotFoundError):
            told = json.loads(self._store.read(f"{ref}/account.json"))["account"]
            if told != self._account:
                raise Fatal(f"the jobs of {ref} are of account {told}, not {self._account}")
        return terms.mark

    def list_task_ids(self, ref: str) -> set[str]:
        """Ids of all tasks in the batch."""
        return set(look_at(self._store, ref).tasks())

    def add_tasks(self, ref: str, tasks: Sequence[TaskRequest]) -> None:
        """Put tasks into the batch; what other batches hold is not looked at."""
        folder = look_at(self._store, ref)
        if folder.is_cancelled:
            raise Fatal(f"Batch {ref} was cancelled and takes no more tasks.")
        folder.add(tasks)

    def launch(self, ref: str) -> None:
        """Make a labeling job of every manifest that has none."""
        folder = write_manifest(self._store, ref)
        if folder.is_cancelled:
            return
        template = f"{ref}/template.liquid.html"
        self._store.create(template, worker_template().encode())
        for job in self._jobs(folder):
            if job.description is None:
                create_job(self._sagemaker, self._request(folder, job, template))

    def status(self, ref: str) -> BatchStatus:
        """Where the batch stands, by its jobs and the responses that are there."""
        folder = look_at(self._store, ref)
        jobs, tasks = list(self._jobs(folder)), folder.tasks()
        found = dict(_responses(folder, jobs))
        answered = {task.task_id for task in found.values() if task is not None}
        stray = [path for path, task in found.items() if task is None]
        _check_not_failed(jobs, answered)
        status = counted(_state(folder, jobs, tasks.keys(), answered), tasks, answered)
        told = f"{stray[0]} answers no line of the batch's manifests" if stray else ""
        return replace(status, n_unreadable=len(stray), unreadable=told)

    def fetch(self, ref: str, cursor: str | None) -> AnnotationPage:
        """Workers' responses, by the files' names; what does not parse as it is.

        A response to a line that was not asked comes as one to a task of the file's name.

        Whether more will come was decided before the first file was read.
        """
        place = FilePlace.read(cursor, lambda: self.status(ref).is_final)
        folder = look_at(self._store, ref)
        asked = dict(_responses(folder, [Job(n, m, None) for n, m in _names(folder)]))
        paths, place = place.next_of(sorted(asked), FILES_IN_A_PAGE)
        tasks = {path: asked[path] or _nobodys(path) for path in paths}
        read = [
            read_answers(read_delivered(self._store, path, FILE_BYTES), task)
            for path, task in tasks.items()
        ]
        records = tuple(record for file in read for record in file)
        if place.has_more:
            return AnnotationPage(records, place.as_cursor(), complete=False)
        return AnnotationPage(records, None, place.is_final)

    def cancel(self, ref: str, reason: str) -> BatchStatus:
        """Stop the batch's jobs; what workers submitted is kept and paid.

        Raises:
            Retryable: A job is still stopping, and its last responses are being written.
        """
        look_at(self._store, ref).cancel(reason, self._now())
        folder = look_at(self._store, ref)
        for job in self._jobs(folder):
            if job.status in ("Initializing", "InProgress"):
                stop_job(self._sagemaker, job.name)
        status = self.status(ref)
        if status.state == "open":
            raise Retryable(f"Labeling jobs of {ref} are stopping; try again in a few minutes.")
        return status

    def _jobs(self, folder: BatchFolder) -> Iterator[Job]:
        for name, manifest in _names(folder):
            uri = f"{self._store.uri}/{manifest}"
            # An empty manifest makes no job, and needs none.
            if folder.lines(manifest):
                yield Job(name, manifest, describe_job(self._sagemaker, name, uri))

    def _request(self, folder: BatchFolder, job: Job, template: str) -> dict[str, Any]:
        root = self._store.uri
        request = job_request(
            self._settings,
            job.name,
            f"{root}/{job.manifest}",
            f"{root}/{folder.ref}/output",
            f"{root}/{template}",
        )
        minutes = folder.terms.session_minutes
        left = int((folder.terms.deadline - self._now()).total_seconds())
        request["HumanTaskConfig"] |= {
            "TaskTimeLimitInSeconds": _within(
                SHORTEST_TASK, 60 * minutes if minutes else USUAL_TASK, LONGEST_TASK
            ),
            "TaskAvailabilityLifetimeInSeconds": _within(SHORTEST_LIFE, left, LONGEST_LIFE),
        }
        return request


def account_of(arn: str) -> str:
    """The account in an ARN; the whole text where it is none.

    >>> account_of("arn:aws:iam::123456789012:role/labeling")
    '123456789012'
    """
    parts = arn.split(":")
    return parts[4] if len(parts) > 5 else arn


def _names(folder: BatchFolder) -> list[tuple[str, str]]:
    """Name and manifest of each job of the batch."""
    numbered = enumerate(folder.manifests, start=1)
    return [(folder.ref if n == 1 else f"{folder.ref}-{n}", path) for n, path in numbered]


def _responses(folder: BatchFolder, jobs: Sequence[Job]) -> Iterator[tuple[str, AskedLine | None]]:
    """Path of each worker-response file, and the task that it answers; None: none was asked."""
    lines = {job.name: folder.lines(job.manifest) for job in jobs}
    for path in filter(is_response, folder.below("output")):
        asked = lines.get(path.split("/")[2], [])
        number = line_of(path)
        yield path, asked[number] if number is not None and number < len(asked) else None


def _nobodys(path: str) -> AskedLine:
    return AskedLine(path.split("/", 2)[2], 0, b"")


def _check_not_failed(jobs: Sequence[Job], answered: set[str]) -> None:
    for job in jobs:
        if job.status == "Failed" and job.description and not answered:
            reason = job.description.get("FailureReason", "no reason given")
            raise Fatal(f"Labeling job {job.name} failed: {reason}")


def _state(
    folder: BatchFolder, jobs: Sequence[Job], tasks: Collection[str], answered: set[str]
) -> BatchState:
    is_running = any(job.status not in ("", *_ENDED) for job in jobs)
    if folder.is_cancelled:
        return "open" if is_running else "cancelled"
    if not folder.manifests:
        return "draft"
    is_unlaunched = any(not job.status for job in jobs) or len(tasks) > len(folder.launched())
    if is_running or is_unlaunched:
        return "open"
    if any(job.status == "Stopped" for job in jobs):
        return "cancelled"
    has_failed = any(job.status == "Failed" for job in jobs)
    return "expired" if has_failed and len(answered) < len(tasks) else "complete"


def _within(lowest: int, wanted: int, highest: int) -> int:
    return max(lowest, min(wanted, highest))
