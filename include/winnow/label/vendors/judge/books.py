"""What a judge was asked of a batch and what came of it, some tasks at a time.

    asked/000012.json       tasks that are about to be asked, and what that may cost
    verdicts/000012.json    what came of them, and what it cost
    spent-0001.json         the tasks of the first manifest cost too much for the rest to be asked

What always holds: both are created, and never change. Whoever starts on a batch first closes what
is still open with no verdict and all that it may have cost: a process that was killed comes back
to nothing, and one that lives on and comes later finds its place taken, so that a task has one
verdict and the money of each request is booked once.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from winnow.errors import Retryable
from winnow.ids import canonical_json
from winnow.label.vendor import DeliveredAnnotation
from winnow.label.vendors.file_drop.folder import BatchFolder
from winnow.lake import Lake, Stored
from winnow.stored import as_json, parsed, reader, sealed_json


@dataclass(frozen=True, slots=True)
class Asked:
    """Tasks that `holder` is about to ask, for `most` micro-dollars at most."""

    holder: str
    tasks: list[str]
    most: int


@dataclass(frozen=True, slots=True)
class Closed:
    """What came of them: records of annotations, and micro-dollars."""

    holder: str
    charged: int
    verdicts: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Account:
    """What a batch came to so far, micro-dollars; `open` are the numbers that are not closed."""

    charged: int
    answered: frozenset[str]
    open: Mapping[int, int]
    last: int

    @property
    def most(self) -> int:
        """What is charged, if all that is open costs as much as it may."""
        return self.charged + sum(self.open.values())


class Books:
    """The books of all batches in a store; a file is read once as long as it stays what it is."""

    def __init__(self, store: Lake) -> None:
        self._store = store
        self._closed: dict[Stored, tuple[int, tuple[str, ...]]] = {}
        self._asked: dict[Stored, int] = {}

    def account(self, folder: BatchFolder) -> Account:
        """What the batch came to when the folder was looked at."""
        closed, asked = _numbered(folder, "verdicts"), _numbered(folder, "asked")
        told = [self._told(file) for file in closed.values()]
        waiting = {n: self._most(file) for n, file in asked.items() if n not in closed}
        answered = frozenset(task for _, tasks in told for task in tasks)
        last = max([*closed, *asked], default=0)
        return Account(sum(cost for cost, _ in told), answered, waiting, last)

    def records(self, paths: Sequence[str]) -> Iterator[bytes]:
        """The annotations in files of verdicts."""
        for path in paths:
            for verdict in parsed(self._store, path, reader(Closed)).verdicts:
                yield canonical_json(verdict)

    def spent(self, folder: BatchFolder) -> bool:
        """Whether the money of all that was launched did not reach for all of it."""
        return _spent(folder) in folder.files

    def _told(self, file: Stored) -> tuple[int, tuple[str, ...]]:
        if file not in self._closed:
            closed = parsed(self._store, file.path, reader(Closed))
            tasks = tuple(verdict["task_id"] for verdict in closed.verdicts)
            self._closed[file] = closed.charged, tasks
        return self._closed[file]

    def _most(self, file: Stored) -> int:
        if file not in self._asked:
            self._asked[file] = parsed(self._store, file.path, reader(Asked)).most
        return self._asked[file]


class Entries:
    """Who writes the books of one batch, from the account that it found on."""

    def __init__(self, store: Lake, folder: BatchFolder, account: Account) -> None:
        """Close what others left open."""
        self._store, self._folder = store, folder
        self._holder, self._last = uuid.uuid4().hex, account.last
        self.charged = account.most
        for number, most in account.open.items():
            self.close(number, most, [])

    def begin(self, tasks: Sequence[str], most: int) -> int:
        """Note that tasks are about to be asked; the number under which they are closed.

        Raises:
            Retryable: Another process began to ask meanwhile.
        """
        self._last += 1
        self._write("asked", self._last, Asked(self._holder, list(tasks), most))
        return self._last

    def close(self, number: int, charged: int, verdicts: Sequence[DeliveredAnnotation]) -> None:
        """Note what came of them; raises as `begin`, and then nothing came of them here."""
        told = [v.model_dump(mode="json", exclude_none=True) for v in verdicts]
        self._write("verdicts", number, Closed(self._holder, charged, told))

    def note_spent(self) -> None:
        """Note that the rest is not asked: it would cost more than was bought."""
        self._store.create(_spent(self._folder), sealed_json({"charged": self.charged}))

    def _write(self, kind: str, number: int, content: Asked | Closed) -> None:
        path, data = f"{self._folder.ref}/{kind}/{number:06d}.json", sealed_json(as_json(content))
        # A store that answered too late may have written it all the same.
        if not self._store.create(path, data) and self._store.read(path) != data:
            raise Retryable(
                f"{self._store.uri}/{path} is another process's, which asks the judge now: this "
                "one ends. Look with it, or try again later."
            )


def _numbered(folder: BatchFolder, kind: str) -> dict[int, Stored]:
    begin = f"{folder.ref}/{kind}/"
    found = {path.removeprefix(begin): folder.files[path] for path in folder.below(kind)}
    return {int(name[:6]): file for name, file in found.items() if name[:6].isdecimal()}


def _spent(folder: BatchFolder) -> str:
    return f"{folder.ref}/spent-{len(folder.manifests):04d}.json"
