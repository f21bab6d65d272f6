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

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from winnow.errors import Fatal
from winnow.ingest.values import Unreadable
from winnow.label.vendor import BatchState, BatchStatus, LabelVendor, VendorAccount
from winnow.label.vendors.file_drop.answers import (
    Lines,
    answer_files,
    is_answer,
    lines_of,
    read_line,
    strange_files,
)
from winnow.label.vendors.file_drop.folder import (
    AskedLine,
    BatchFolder,
    FolderVendor,
    counted,
    open_store,
)

FILE_LINES = 1_000_000
"""Most lines of a file of answers."""


def connect(account: VendorAccount) -> LabelVendor:
    """The vendor that reads and writes at the account's address; raises as `open_store`."""
    return FileDropVendor(open_store(account))


class FileDropVendor(FolderVendor):
    """Files that anybody answers, in `store`."""

    name = "file_drop"
    names_people = False

    def status(self, ref: str) -> BatchStatus:
        """Where the batch stands, by the files that are there; each person who answers is paid."""
        folder = self._look(ref)
        tasks = folder.tasks()
        answers, faults = self._answers(folder, tasks)
        answered = {task_id for task_id, _ in answers}
        state = _state(folder, len(tasks) - len(answered), self._now())
        charged = sum(tasks[task_id].price for task_id, _ in answers)
        return counted(state, tasks, answered, faults, charged)

    def _answers(
        self, folder: BatchFolder, tasks: Mapping[str, AskedLine]
    ) -> tuple[set[tuple[str, str | None]], list[str]]:
        """Task and annotator of each answer to the batch, and what is wrong with the others."""
        answers: set[tuple[str, str | None]] = set()
        faults = strange_files(folder)
        for path in answer_files(folder):
            lines, fault = self._lines(path)
            faults += [f"{path}, {fault}"] if fault else []
            for number, line in enumerate(lines, start=1):
                try:
                    answer = read_line(line, tasks)
                    if answer.task_id not in tasks:
                        raise Unreadable("unknown_task", "the batch asked for no such task")
                    answers.add((answer.task_id, answer.annotator))
                except Unreadable as error:
                    faults.append(f"answer {number} of {path}, {error}")
                    done = is_answer(line, tasks)
                    answers |= {done} if done else set()
        return answers, faults

    def _answer_paths(self, folder: BatchFolder) -> list[str]:
        return answer_files(folder)

    def _records(self, folder: BatchFolder, paths: Sequence[str]) -> Iterator[bytes]:
        tasks = folder.tasks() if paths else {}
        for line in (line for path in paths for line in self._lines(path).lines):
            try:
                yield read_line(line, tasks).model_dump_json().encode()
            except Unreadable:
                yield line

    def _lines(self, path: str) -> Lines:
        try:
            lines = lines_of(self._read(path))
        except FileNotFoundError:
            return Lines([])
        if len(lines.lines) > FILE_LINES:
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
