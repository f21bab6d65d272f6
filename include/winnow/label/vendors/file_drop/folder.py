"""A batch as files below one folder, and what vendors that take files share.

What always holds: every object that Winnow writes is written once. A task is in the batch when it
is a line of a part below `input/`, and is asked when it is a line of a manifest; a manifest holds
what no earlier one does, so that over all manifests each task is one line.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, TypeAdapter, ValidationError

from winnow.errors import Corrupt, Fatal, Retryable
from winnow.ids import canonical_json, digest
from winnow.ingest.values import Unreadable, read_json, tidy
from winnow.label.ids import Ids
from winnow.label.vendor import (
    AnnotationPage,
    BatchState,
    BatchStatus,
    BatchTerms,
    LabelVendor,
    Price,
    TaskRequest,
    VendorAccount,
    as_cursor,
    container_name,
    read_cursor,
)
from winnow.lake import Lake, Stored, aws_client, open_lake

_REF = re.compile(r"[a-z0-9-]{1,63}")
_MANIFEST = re.compile(r"input(-\d{4,})?\.manifest")
_TERMS = TypeAdapter(BatchTerms)
_PRICE: TypeAdapter[int] = TypeAdapter(Price)
_TRIES = 5
RECORDS = 10_000
"""Answers that one page of `fetch` holds at most."""


class AskedLine(NamedTuple):
    """A task as it stands in a part or a manifest."""

    task_id: str
    price: int


class AskedLines(Mapping[str, AskedLine]):
    """The tasks of some files in their order, by id; of twins that two writers made, the first.

    A million take some 50 MB: what is shown is not kept.

    Attributes:
        ids: Of every line, files one after another.
        price_n: Micro-dollars.
        files: In their order.
    """

    def __init__(self) -> None:
        self.ids, self.price_n = Ids(), np.empty(0, np.int64)
        self.files: list[Stored] = []
        self._ends = [0]

    def plus(self, file: Stored, lines: Sequence[AskedLine]) -> AskedLines:
        """With the lines of a further file."""
        more = AskedLines()
        more.ids = self.ids.plus(Ids(line.task_id for line in lines))
        prices = np.array([line.price for line in lines], np.int64)
        more.price_n = np.concatenate([self.price_n, prices])
        more.files = [*self.files, file]
        more._ends = [*self._ends, len(more.price_n)]
        return more

    def places(self, path: str) -> range:
        """The places of the lines of a file."""
        number = [file.path for file in self.files].index(path)
        return range(self._ends[number], self._ends[number + 1])

    def line(self, place: int) -> AskedLine:
        """The task at a place."""
        return AskedLine(self.ids.at(place), int(self.price_n[place]))

    def __getitem__(self, task_id: str) -> AskedLine:
        place = self.ids.place(task_id)
        if place is None:
            raise KeyError(task_id)
        return AskedLine(task_id, int(self.price_n[place]))

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __len__(self) -> int:
        return len(self.ids)


class Tables:
    """The tables of files in `store`, each file read once as long as it stays what it is."""

    def __init__(self, store: Lake) -> None:
        self._store = store
        self._held: dict[str, AskedLines] = {}

    def of(self, name: str, files: Sequence[Stored]) -> AskedLines:
        """The tasks in parts or manifests; those of one name are read on from what was read.

        Raises:
            Corrupt: Somebody changed a file: a task without a price is not Winnow's.
        """
        held = self._held.get(name, AskedLines())
        if held.files != files[: len(held.files)]:
            held = AskedLines()
        for file in files[len(held.files) :]:
            with self._store.local(file.path) as local, local.open("rb") as text:
                held = held.plus(file, [self._line(file, line) for line in text])
        self._held[name] = held
        return held

    def _line(self, file: Stored, line: bytes) -> AskedLine:
        try:
            fields = tidy(read_json(line), "line")
            return AskedLine(str(fields["task_id"]), _PRICE.validate_python(fields["price"]))
        except (Unreadable, KeyError, TypeError, ValidationError) as error:
            raise Corrupt(
                f"{self._store.uri}/{file.path} is not as Winnow wrote it; look who writes there."
            ) from error


@dataclass(frozen=True, slots=True)
class BatchFolder:
    """The folder `ref` of a batch; `files` are all objects below it when it was looked at."""

    tables: Tables
    ref: str
    terms: BatchTerms
    files: Mapping[str, Stored]

    @property
    def paths(self) -> list[str]:
        """Paths of all objects, sorted."""
        return sorted(self.files)

    @property
    def is_cancelled(self) -> bool:
        """True after `cancel`."""
        return f"{self.ref}/cancelled.json" in self.files

    @property
    def manifests(self) -> list[str]:
        """Paths of the manifests, in the order in which they were launched."""
        begin = f"{self.ref}/"
        manifests = [p for p in self.files if _MANIFEST.fullmatch(p.removeprefix(begin))]
        return sorted(manifests, key=lambda path: (len(path), path))

    def below(self, folder: str) -> list[str]:
        """Paths of the objects below a folder of the batch, sorted."""
        return [path for path in self.paths if path.startswith(f"{self.ref}/{folder}/")]

    def tasks(self) -> AskedLines:
        """All tasks of the batch; raises as `Tables.of`."""
        files = [self.files[path] for path in self.below("input")]
        return self.tables.of(f"{self.ref}/input", files)

    def launched(self) -> AskedLines:
        """The tasks that the vendor is asked for; raises as `Tables.of`."""
        files = [self.files[path] for path in self.manifests]
        return self.tables.of(f"{self.ref}/manifests", files)


class FilePlace(BaseModel):
    """Behind the file `after`; `is_final` was true before the first file was read.

    Of what comes next so many `records` are passed, as long as its files are as they `were`.
    """

    is_final: bool
    after: str = ""
    records: int = 0
    were: str = ""


class FolderVendor(LabelVendor):
    """A vendor that takes and leaves files in `store`; `now` is the clock, by default the store's.

    A call also raises `Corrupt`, when somebody changed what Winnow wrote.
    """

    max_request = 10_000
    takes_a_task_once = True
    snapshot = True
    longest_ref = 63
    files_in_a_page = 1
    file_bytes = 256 << 20
    """Largest file of answers; a vendor may leave any number of files."""

    def __init__(self, store: Lake, now: Callable[[], datetime] | None = None) -> None:
        self._store, self._now, self.place = store, now or store.now, store.uri
        self._tables = Tables(store)

    def open_batch(self, batch_key: str, terms: BatchTerms) -> str:
        """Find or make the folder of `batch_key`; the first terms stay."""
        ref = container_name(batch_key, self.longest_ref)
        about = {"batch_key": batch_key, "terms": _TERMS.dump_python(terms, mode="json")}
        self._store.create(f"{ref}/batch.json", canonical_json(about))
        return ref

    def mark_of(self, ref: str) -> str:
        return self._terms(ref).mark

    def list_task_ids(self, ref: str) -> Ids:
        return self._look(ref).tasks().ids

    def add_tasks(self, ref: str, tasks: Sequence[TaskRequest]) -> None:
        """Put what the batch does not hold into a new part; other batches are not looked at."""
        folder = self._look(ref)
        if folder.is_cancelled:
            raise Fatal(f"Batch {ref} was cancelled and takes no more tasks.")
        held = folder.tasks()
        part = b"".join(_line(t, folder.terms) for t in tasks if t.task_id not in held)
        if part:
            number = len(folder.below("input")) + 1
            self._store.create(f"{ref}/input/{number:04d}-{digest(part)[:16]}.jsonl", part)

    def launch(self, ref: str) -> None:
        """Write a manifest of the tasks that none asks for yet.

        Raises:
            Retryable: Others launch the same batch at the same time.
        """
        self._launched(ref)

    def _launched(self, ref: str) -> BatchFolder:
        """The folder as it is afterwards."""
        for _ in range(_TRIES):
            folder = self._look(ref)
            new = folder.tasks().ids.only_here(folder.launched().ids)
            number = len(folder.manifests) + 1
            if folder.is_cancelled or (number > 1 and not len(new)):
                return folder
            name = "input.manifest" if number == 1 else f"input-{number:04d}.manifest"
            with tempfile.TemporaryDirectory(prefix="winnow-manifest-") as place:
                manifest = Path(place) / name
                self._write_manifest(folder, new, manifest)
                self._store.create_file(f"{ref}/{name}", manifest)
        raise Retryable(
            f"{self._store.uri}/{ref} is being launched by another process; try again later."
        )

    def _write_manifest(
        self, folder: BatchFolder, wanted: NDArray[np.intp], manifest: Path
    ) -> None:
        """The lines at the places that are `wanted`; a line is held at a time."""
        tasks = folder.tasks()
        is_wanted_n = np.zeros(len(tasks.price_n), np.bool_)
        is_wanted_n[wanted] = True
        with manifest.open("wb") as out:
            for file in tasks.files:
                places = tasks.places(file.path)
                with self._store.local(file.path) as part, part.open("rb") as text:
                    for place, line in zip(places, text, strict=True):
                        if is_wanted_n[place]:
                            out.write(line)

    def fetch(self, ref: str, cursor: str | None) -> AnnotationPage:
        """The answers of the next output files, by name; what does not parse as it is.

        A file of more than `RECORDS` answers fills several pages.

        Whether more will come was decided before the first file was read.
        """
        if cursor is None:
            place = FilePlace(is_final=self.status(ref).is_final)
        else:
            place = read_cursor(FilePlace, cursor)
        folder = self._look(ref)
        left = [path for path in self._answer_paths(folder) if path > place.after]
        paths = left[: self.files_in_a_page]
        were = max((f"{folder.files[path].modified} {path}" for path in paths), default="")
        # Of a file that was replaced meanwhile all records come again.
        passed = place.records if place.were == were else 0
        records = iter(self._records(folder, paths, passed))
        page = tuple(islice(records, RECORDS))
        if next(records, None) is not None:
            after = {"after": place.after, "records": passed + len(page), "were": were}
        elif len(left) > len(paths):
            after = {"after": paths[-1]}
        else:
            return AnnotationPage(page, None, place.is_final)
        cursor = as_cursor(FilePlace.model_validate({"is_final": place.is_final, **after}))
        return AnnotationPage(page, cursor, complete=False)

    def _answer_paths(self, folder: BatchFolder) -> list[str]:
        """Paths of the files of answers, sorted."""
        raise NotImplementedError

    def _records(self, folder: BatchFolder, paths: Sequence[str], passed: int) -> Iterable[bytes]:
        """The records in files of answers but for so many that are `passed`."""
        raise NotImplementedError

    def cancel(self, ref: str, reason: str) -> BatchStatus:
        """Leave a note that no more answers are wanted; the first reason stays."""
        self._note_cancelled(ref, reason)
        return self.status(ref)

    def _note_cancelled(self, ref: str, reason: str) -> None:
        self._terms(ref)
        note = canonical_json({"reason": reason, "at": self._now().isoformat()})
        self._store.create(f"{ref}/cancelled.json", note)

    def _read(self, path: str) -> bytes:
        """A file that the vendor left, which may be of any size.

        Raises:
            FileNotFoundError: It is gone.
            Fatal: It is too large.
        """
        data = self._store.part(path, 0, self.file_bytes + 1)
        if len(data) > self.file_bytes:
            raise Fatal(
                f"{self._store.uri}/{path} has more than {self.file_bytes >> 20:,} MiB, which is "
                "the largest file that is read: let the vendor split it, or move it away."
            )
        return data

    def _look(self, ref: str) -> BatchFolder:
        """The batch's folder as it is now; raises as `_terms`."""
        files = {file.path: file for file in self._store.listing(ref)}
        return BatchFolder(self._tables, ref, self._terms(ref), files)

    def _terms(self, ref: str) -> BatchTerms:
        """The terms under which the batch's folder was made.

        Raises:
            Fatal: There is no such batch.
            Corrupt: Its `batch.json` is not as Winnow wrote it.
        """
        try:
            if not _REF.fullmatch(ref):
                raise FileNotFoundError(ref)
            return _TERMS.validate_python(
                json.loads(self._store.read(f"{ref}/batch.json"))["terms"]
            )
        except FileNotFoundError:
            raise Fatal(
                f"{self._store.uri} holds no batch {ref}: was the vendor's connection changed?"
            ) from None
        except (ValueError, KeyError, TypeError) as error:
            raise Corrupt(
                f"{self._store.uri}/{ref}/batch.json is not as Winnow wrote it."
            ) from error


def open_store(account: VendorAccount) -> Lake:
    """Where the account's files are: a folder, or `s3://bucket/prefix`.

    On S3 `login` and `token` are the access key, both empty for the machine's own credentials;
    `extra.endpoint_url` and `extra.region` say which service.

    Raises:
        Fatal: The address is empty or of an unknown kind.
    """
    if not account.url:
        raise Fatal("Set the vendor's connection to a folder or to s3://bucket/prefix.")
    on_s3 = account.url.startswith("s3://")
    return open_lake(account.url, account_client("s3", account) if on_s3 else None)


def open_books(account: VendorAccount, who: str, folder: str) -> Lake:
    """Where a vendor of ours keeps its books: `extra.books`, else a folder of the lake.

    Raises:
        Fatal: Neither is said.
    """
    lake = os.environ.get("WINNOW_LAKE")
    place = account.extra.get("books") or (f"{lake.rstrip('/')}/{folder}" if lake else "")
    if not place:
        raise Fatal(
            f"The {who} has no place for its books: set extra.books of the vendor's connection to "
            "a folder or s3://bucket/prefix, or WINNOW_LAKE."
        )
    return open_lake(place)


def account_client(service: str, account: VendorAccount) -> Any:
    """A client of an AWS service with the account's credentials; raises as `aws_client`."""
    return aws_client(
        service,
        aws_access_key_id=account.login or None,
        aws_secret_access_key=account.token or None,
        endpoint_url=account.extra.get("endpoint_url"),
        region_name=account.extra.get("region"),
    )


def counted(
    state: BatchState,
    tasks: AskedLines,
    answered: NDArray[np.intp],
    faults: Sequence[str],
    charged: int | None = None,
) -> BatchStatus:
    """The status of a batch in `state`, of whose tasks those at the places `answered` are answered.

    Once it ended, what is not answered has expired.
    """
    if charged is None:
        charged = int(tasks.price_n[answered].sum())
    is_due_n = tasks.ids.firsts()
    is_due_n[answered] = False
    due = tasks.price_n[is_due_n].tolist()
    n_expired = 0 if state in ("draft", "open") else len(due)
    return BatchStatus.counted(
        state, len(answered), charged, due if not n_expired else [], n_expired, faults
    )


def _line(task: TaskRequest, terms: BatchTerms) -> bytes:
    """A task as a line of JSON, with the `source` that Ground Truth wants in each."""
    rated = [name for name in terms.dimensions if name not in terms.choices]
    fields = {"source": task.task_id, **asdict(task), "dimensions": rated}
    if terms.choices:
        fields["choice_dimensions"] = list(terms.choices)
    return canonical_json(fields) + b"\n"
