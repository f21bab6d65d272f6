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

from array import array
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice

import numpy as np
from numpy.typing import NDArray

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
    AskedLines,
    BatchFolder,
    FolderVendor,
    counted,
    open_store,
)

FILE_LINES = 1_000_000
"""Most lines of a file of answers."""
_BITS = 32
"""Of a number of 64, those that tell who answered; the others tell of which task."""


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
        place_v, faults = self._answers(folder, tasks)
        answered = np.unique(place_v)
        state = _state(folder, len(tasks) - len(answered), self._now())
        return counted(state, tasks, answered, faults, int(tasks.price_n[place_v].sum()))

    def _answers(
        self, folder: BatchFolder, tasks: AskedLines
    ) -> tuple[NDArray[np.int64], list[str]]:
        """Places of the tasks that were answered, one for each person that answers, and faults."""
        answers = array("q")
        people: dict[str | None, int] = {}
        faults = strange_files(folder)

        def note(task_id: str, annotator: str | None) -> bool:
            place = tasks.ids.place(task_id)
            if place is not None:
                answers.append(place << _BITS | people.setdefault(annotator, len(people)))
            return place is not None

        for path in answer_files(folder):
            lines, fault = self._lines(path)
            faults += [f"{path}, {fault}"] if fault else []
            for number, line in enumerate(lines, start=1):
                try:
                    answer = read_line(line, tasks)
                    if not note(answer.task_id, answer.annotator):
                        raise Unreadable("unknown_task", "the batch asked for no such task")
                except Unreadable as error:
                    faults.append(f"answer {number} of {path}, {error}")
                    if done := is_answer(line, tasks):
                        note(*done)
        return np.unique(np.array(answers, np.int64)) >> _BITS, faults

    def _answer_paths(self, folder: BatchFolder) -> list[str]:
        return answer_files(folder)

    def _records(self, folder: BatchFolder, paths: Sequence[str], passed: int) -> Iterator[bytes]:
        tasks = folder.tasks()
        lines = (line for path in paths for line in self._lines(path).lines)
        for line in islice(lines, passed, None):
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
