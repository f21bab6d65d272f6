"""Who is given which task, and what they answered: files below the folder of a batch.

    workers/<worker>/link.json      the browser that opened the worker's link first
    workers/<worker>/shared.json    another one opened it as well
    workers/<worker>/dealt/<task>   the worker was shown the task
    leases/<task>.json              who has the task now, and until when; the one file that moves
    answers/<task>.json             the answer

What always holds: an answer is created and never changes, so a task has one, whoever else looked
at it; only who holds a task's lease answers it, and a lease goes over by compare-and-swap when its
time is over. What a process that was killed leaves behind is a task that its worker finds again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from threading import Lock
from typing import Any

from winnow.ids import canonical_json, content_id
from winnow.ingest.values import read_json
from winnow.label.vendor import DeliveredAnnotation, Rating
from winnow.label.vendors.file_drop.folder import BatchFolder
from winnow.label.vendors.links.tokens import Link
from winnow.lake import Lake, Stored
from winnow.stored import StoredTime, as_json, parsed, reader, sealed_json, stored_time

LEASE = timedelta(minutes=45)
"""A task that its worker leaves alone for so long may go to another."""
LOOK_SECONDS = 5.0
"""So old may be what is known of the others' tasks where a new one is chosen."""


class Taken(Exception):
    """The task is not this worker's any more."""


class Shared(Exception):
    """Another browser opened this worker's link first."""


class Closed(Exception):
    """No answers to the batch are wanted any more."""


@dataclass(frozen=True, slots=True)
class Lease:
    """`worker` has the task since they saw it first."""

    worker: str
    since: StoredTime
    until: StoredTime


@dataclass(frozen=True, slots=True)
class Opened:
    """The browser that opened a worker's link, as a digest."""

    worker: str
    browser: str
    at: StoredTime


@dataclass(frozen=True, slots=True)
class Task:
    """A launched task: where its line stands, and what decides who gets it."""

    key: str
    task_id: str
    pair_id: str
    repeats: str | None
    price: int
    path: str
    start: int
    n_bytes: int


@dataclass(frozen=True, slots=True)
class Said:
    """What a worker said of a task, checked against what it asks."""

    choice: str
    ratings: Mapping[str, Rating]
    choices: Mapping[str, str]
    rationale: str | None


@dataclass(frozen=True, slots=True)
class Turn:
    """What a worker sees next: `shown` is the task as its line has it; None: nothing is left."""

    n_done: int
    n_asked: int
    task: Task | None = None
    shown: Mapping[str, Any] | None = None


class Desk:
    """Deals out the tasks of the batches in `store`; `look` is how a batch is seen as it is now."""

    def __init__(
        self,
        store: Lake,
        look: Callable[[str], BatchFolder],
        now: Callable[[], datetime],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._look, self._now, self._clock = store, look, now, clock
        self._lock = Lock()
        self._seen: dict[str, tuple[float, BatchFolder]] = {}
        self._tasks: dict[str, tuple[list[Stored], dict[str, Task]]] = {}
        self._by: dict[str, str] = {}

    def batch(self, ref: str) -> BatchFolder:
        """A batch, as it was some seconds ago at most; raises as `FolderVendor.status`."""
        seen, now = self._seen.get(ref), self._clock()
        if seen is None or now - seen[0] > LOOK_SECONDS:
            with self._lock:
                seen = self._seen.get(ref)
                if seen is None or now - seen[0] > LOOK_SECONDS:
                    seen = self._clock(), self._look(ref)
                    self._seen[ref] = seen
        return seen[1]

    def is_closed(self, folder: BatchFolder) -> bool:
        """Whether no answer is wanted (yet, or any more)."""
        return folder.is_cancelled or not folder.manifests or self._now() >= folder.terms.deadline

    def n_free(self, folder: BatchFolder) -> int:
        """How many tasks have no answer."""
        return len(self._sheet(folder).keys() - _keys(folder, "answers"))

    def check_browser(self, link: Link, browser: str, *, begin: bool) -> bool:
        """Whether the worker has begun, in this browser; `begin` binds the link to it.

        Raises:
            Shared: In another one.
        """
        path, at = f"{_worker(link)}/link.json", self._now().isoformat()
        mark = content_id("browser", browser)
        if begin:
            self._store.create(path, sealed_json(as_json(Opened(link.worker, mark, at))))
        try:
            opened = parsed(self._store, path, reader(Opened))
        except FileNotFoundError:
            return False
        if opened.browser != mark:
            self._store.create(f"{_worker(link)}/shared.json", canonical_json({"at": at}))
            raise Shared
        return True

    def turn(self, link: Link) -> Turn:
        """What the worker of a link does next; a task is theirs alone for a while.

        Raises:
            Closed: Nothing, any more.
        """
        folder = self.batch(link.batch)
        sheet = self._sheet(folder)
        dealt = self._dealt(link, sheet)
        if link.task:
            dealt = [task for task in dealt if task.task_id == link.task]
        authors = {task.key: self._author(link.batch, task) for task in dealt}
        n_done = sum(author == link.worker for author in authors.values())
        wanted = min(link.most or len(sheet), 1 if link.task else len(sheet))
        if self.is_closed(folder):
            if n_done:
                return Turn(n_done, n_done)
            raise Closed
        if n_done < wanted:
            yet = [task for task in dealt if authors[task.key] is None]
            for task in chain(yet, self._candidates(link, folder, sheet, dealt)):
                if self._hold(link, task):
                    return Turn(n_done, wanted, task, self._shown(task))
        return Turn(n_done, wanted)

    def answer(self, link: Link, key: str, said: Callable[[Mapping[str, Any]], Said]) -> None:
        """Keep what `said` reads of the worker's form for the task, once.

        Raises:
            Taken: It is another worker's, or was never this one's.
            Closed: The batch takes no answers.
        """
        folder = self.batch(link.batch)
        task = self._sheet(folder).get(key)
        lease = self._lease(link.batch, key)[0]
        if task is None or lease is None or lease.worker != link.worker:
            raise Taken
        if self.is_closed(folder) or self._store.exists(f"{link.batch}/cancelled.json"):
            raise Closed
        given = said(self._shown(task))
        annotation = DeliveredAnnotation(
            annotation_id=content_id("annotation", task.task_id, link.worker),
            task_id=task.task_id,
            annotator=link.worker,
            choice=given.choice,
            ratings=dict(given.ratings),
            dimension_choices=dict(given.choices),
            rationale=given.rationale,
            started_at=lease.since,
            finished_at=self._now(),
            price=task.price,
        )
        data = canonical_json(annotation.model_dump(mode="json", exclude_none=True))
        self._store.create(_answer(link.batch, key), data)
        if self._author(link.batch, task) != link.worker:
            raise Taken

    def workers(self, ref: str) -> Iterator[tuple[str, int, bool]]:
        """Everybody who began on a batch: who, how many tasks they answered, and whether shared."""
        folder = self._look(ref)
        sheet, names = self._sheet(folder), folder.below("workers")
        for path in names:
            if path.endswith("/link.json"):
                who = parsed(self._store, path, reader(Opened)).worker
                link = Link(0, ref, who)
                dealt = self._dealt(link, sheet)
                n_done = sum(self._author(ref, task) == who for task in dealt)
                yield who, n_done, f"{_worker(link)}/shared.json" in names

    def _candidates(
        self, link: Link, folder: BatchFolder, sheet: Mapping[str, Task], dealt: list[Task]
    ) -> Iterator[Task]:
        """New tasks that the worker may be given, the best first.

        Each worker has an order of their own; a pair that they judged comes again where a repeat
        of theirs is wanted, and a repeat goes to others last.
        """
        answered, n_tasks = _keys(folder, "answers"), len(sheet)
        known, pairs = {t.task_id for t in dealt}, {t.pair_id for t in dealt}
        busy = self._busy(folder)
        keys = sorted(sheet)
        begin = int(content_id("order", link.worker), 16) % max(n_tasks, 1)
        later: list[Task] = []
        last: list[Task] = []
        for key in keys[begin:] + keys[:begin]:
            task = sheet[key]
            if key in answered or key in busy or task.task_id in known:
                continue
            if link.task and task.task_id != link.task:
                continue
            if task.pair_id in pairs:
                later += [task] if task.repeats in known else []
            elif task.repeats is not None:
                last.append(task)
            else:
                yield task
        yield from later
        yield from last

    def _hold(self, link: Link, task: Task) -> bool:
        """Take or renew the task's lease; False where it is another's, or answered.

        The worker is noted first: who comes back after a crash in between finds the task again.
        """
        path, note = f"{link.batch}/leases/{task.key}.json", f"{_worker(link)}/dealt/{task.key}"
        now, is_new = self._now(), False
        # Once more where it moved meanwhile: it may be this worker's, from another window.
        for _ in range(2):
            lease, tag = self._lease(link.batch, task.key)
            since = now.isoformat()
            if lease is not None:
                left = stored_time(lease.until) - now
                if lease.worker == link.worker:
                    if left > LEASE / 2:
                        return True
                    since = lease.since
                elif left > timedelta(0):
                    break
            if self._store.exists(_answer(link.batch, task.key)):
                break
            is_new = self._store.create(note, b"{}") or is_new
            new = Lease(link.worker, since, (now + LEASE).isoformat())
            if self._store.swap(path, sealed_json(as_json(new)), tag):
                return True
        if is_new:
            self._store.remove(note)
        return False

    def _lease(self, ref: str, key: str) -> tuple[Lease | None, str | None]:
        path = f"{ref}/leases/{key}.json"
        data, tag = self._store.read_tagged(path)
        return (None if data is None else parsed(self._store, path, reader(Lease), data)), tag

    def _busy(self, folder: BatchFolder) -> set[str]:
        """Keys of tasks whose lease was still running when the folder was looked at."""
        free = self._now() - LEASE
        begin = f"{folder.ref}/leases/"
        leases = ((path.removeprefix(begin), folder.files[path]) for path in folder.below("leases"))
        return {name.removesuffix(".json") for name, file in leases if file.modified > free}

    def _dealt(self, link: Link, sheet: Mapping[str, Task]) -> list[Task]:
        names = self._store.names(f"{_worker(link)}/dealt")
        return [sheet[name] for name in names if name in sheet]

    def _author(self, ref: str, task: Task) -> str | None:
        """Who answered the task; None where nobody did."""
        path = _answer(ref, task.key)
        if path not in self._by:
            try:
                told = parsed(self._store, path, DeliveredAnnotation.model_validate_json)
            except FileNotFoundError:
                return None
            self._by[path] = told.annotator or ""
        return self._by[path]

    def _shown(self, task: Task) -> dict[str, Any]:
        line: dict[str, Any] = read_json(self._store.part(task.path, task.start, task.n_bytes))
        return line

    def _sheet(self, folder: BatchFolder) -> dict[str, Task]:
        """The launched tasks by their keys, read once."""
        files = [folder.files[path] for path in folder.manifests]
        held = self._tasks.get(folder.ref)
        if held is None or held[0] != files:
            held = files, {task.key: task for file in files for task in self._lines(file.path)}
            self._tasks[folder.ref] = held
        return held[1]

    def _lines(self, path: str) -> Iterator[Task]:
        start = 0
        with self._store.local(path) as manifest, manifest.open("rb") as text:
            for line in text:
                told, n = read_json(line), len(line)
                names = ("task_id", "pair_id", "repeats", "price")
                about = {name: told[name] for name in names}
                key = task_key(told["task_id"])
                yield Task(key=key, path=path, start=start, n_bytes=n, **about)
                start += n


def task_key(task_id: str) -> str:
    """A task's name among the files of its batch, and in addresses."""
    return content_id("task", task_id)


def answered_keys(folder: BatchFolder) -> set[str]:
    """Keys of the tasks that were answered when the folder was looked at."""
    return _keys(folder, "answers")


def _keys(folder: BatchFolder, kind: str) -> set[str]:
    begin = f"{folder.ref}/{kind}/"
    return {p.removeprefix(begin).removesuffix(".json") for p in folder.below(kind)}


def _answer(ref: str, key: str) -> str:
    return f"{ref}/answers/{key}.json"


def _worker(link: Link) -> str:
    return f"{link.batch}/workers/{content_id('worker', link.worker)}"
