"""A vendor that takes and leaves files: in a folder, or below an S3 prefix.

The connection: `url` is the folder or `s3://bucket/prefix`; for S3 `login` and `token` are the
access key, `extra.endpoint_url` and `extra.region` the service. `docs/file_drop.md` is the format
for a vendor to implement; in short, below the folder of a batch:

    batch.json            Winnow: the batch's key and terms
    input/NNNN-*.jsonl    Winnow: tasks bought so far; nobody is to work on them yet
    input.manifest        Winnow, at launch: the tasks, one JSON a line, price in micro-dollars;
                          input-0002.manifest and so on if the batch grew later
    cancelled.json        Winnow: no more answers are wanted
    output/*.jsonl        vendor: answers, one JSON a line; files may come and be replaced any time;
                          .ndjson as well, and .gz, .zst, .bz2 of both
    output/done.json      vendor, if it likes: no more answers will come

What always holds: Winnow writes each object once, so that a repeated call writes nothing. What the
output holds now is what stands: an answer that is gone was retracted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from winnow.errors import Fatal
from winnow.ingest.values import Unreadable
from winnow.label.vendor import (
    AnnotationPage,
    BatchState,
    BatchStatus,
    BatchTerms,
    LabelVendor,
    TaskRequest,
    VendorAccount,
)
from winnow.label.vendors.file_drop.answers import delivered_line, is_answer, read_line
from winnow.label.vendors.file_drop.folder import (
    AskedLine,
    BatchFolder,
    counted,
    look_at,
    make_folder,
    open_store,
    read_delivered,
    read_terms,
    write_manifest,
)
from winnow.label.vendors.file_drop.outputs import (
    Lines,
    answer_files,
    lines_of,
    strange_files,
)
from winnow.label.vendors.file_drop.place import FilePlace
from winnow.lake import Lake

FILE_BYTES, FILE_LINES = 256 << 20, 1_000_000
"""Largest file of answers; a vendor may leave any number of files."""


def connect(account: VendorAccount) -> LabelVendor:
    """The vendor that reads and writes at the account's address.

    Raises:
        Fatal: The address is empty or of an unknown kind.
    """
    return FileDropVendor(open_store(account))


class FileDropVendor:
    """Files in `store`; `now` is the clock by which deadlines pass, the store's own by default.

    Every call raises `Retryable` when the store does not answer, `Fatal` when it refuses the key or
    knows no such batch, and `Corrupt` when somebody changed what Winnow wrote.
    """

    name = "file_drop"
    max_request = 1000
    names_people = False
    takes_a_task_once = True
    snapshot = True

    def __init__(self, store: Lake, now: Callable[[], datetime] | None = None) -> None:
        self._store, self._now, self.place = store, now or store.now, store.uri

    def estimate(self, tasks: Sequence[TaskRequest]) -> int:
        """Micro-dollars that `tasks` cost if all are answered: the sum of their prices."""
        return sum(task.price for task in tasks)

    def open_batch(self, batch_key: str, terms: BatchTerms) -> str:
        """Find or make the folder of `batch_key`."""
        return make_folder(self._store, batch_key, terms)

    def mark_of(self, ref: str) -> str:
        """The mark under which the folder was made."""
        return read_terms(self._store, ref).mark

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
        """Write the manifest of the tasks that none asks for yet."""
        write_manifest(self._store, ref)

    def status(self, ref: str) -> BatchStatus:
        """Where the batch stands, by the files that are there; each person who answers is paid."""
        folder = look_at(self._store, ref)
        tasks = folder.tasks()
        answers, faults = self._answers(folder, tasks)
        answered = {task_id for task_id, _ in answers}
        state = _state(folder, len(tasks) - len(answered), self._now())
        charged = sum(tasks[task_id].price for task_id, _ in answers)
        told = counted(state, tasks, answered, charged)
        return replace(told, n_unreadable=len(faults), unreadable=faults[0] if faults else "")

    def fetch(self, ref: str, cursor: str | None) -> AnnotationPage:
        """The answers of one output file, the files by name; lines that do not parse as they are.

        Whether more will come was decided before the first file was read.
        """
        place = FilePlace.read(cursor, lambda: self.status(ref).is_final)
        folder = look_at(self._store, ref)
        paths, place = place.next_of(answer_files(folder))
        tasks = folder.tasks() if paths else {}
        records = tuple(record for path in paths for record in self._records(path, tasks))
        if place.has_more:
            return AnnotationPage(records, place.as_cursor(), complete=False)
        return AnnotationPage(records, None, place.is_final)

    def cancel(self, ref: str, reason: str) -> BatchStatus:
        """Leave a note that no more answers are wanted; those that are there are kept and paid."""
        look_at(self._store, ref).cancel(reason, self._now())
        return self.status(ref)

    def _answers(
        self, folder: BatchFolder, tasks: dict[str, AskedLine]
    ) -> tuple[set[tuple[str, str | None]], list[str]]:
        """Task and annotator of each answer to the batch, and what is wrong with the others."""
        answers: set[tuple[str, str | None]] = set()
        faults = strange_files(folder)
        for path in answer_files(folder):
            lines = self._lines(path)
            faults += [f"{path}, {lines.fault}"] if lines.fault else []
            for number, line in enumerate(lines.found, start=1):
                try:
                    found = read_line(line, tasks)
                    if found.task_id not in tasks:
                        raise Unreadable("unknown_task", "the batch asked for no such task")
                    answers.add((found.task_id, found.annotator))
                except Unreadable as fault:
                    faults.append(f"answer {number} of {path}, {fault}")
                    done = is_answer(line, tasks)
                    answers |= {done} if done else set()
        return answers, faults

    def _records(self, path: str, tasks: dict[str, AskedLine]) -> list[bytes]:
        lines = self._lines(path).found
        read = [(line, delivered_line(line, tasks)) for line in lines]
        return [answer.model_dump_json().encode() if answer else line for line, answer in read]

    def _lines(self, path: str) -> Lines:
        try:
            lines = lines_of(read_delivered(self._store, path, FILE_BYTES))
        except FileNotFoundError:
            return Lines([])
        if len(lines.found) > FILE_LINES:
            raise Fatal(
                f"{self._store.uri}/{path} has more than {FILE_LINES:,} lines: let the vendor "
                "split it, or move it away."
            )
        return lines


def _state(folder: BatchFolder, n_open: int, now: datetime) -> BatchState:
    if folder.is_cancelled:
        return "cancelled"
    if not folder.manifests:
        return "draft"
    if not n_open or f"{folder.ref}/output/done.json" in folder.paths:
        return "complete"
    return "open" if now < folder.terms.deadline else "expired"
