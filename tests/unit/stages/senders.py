"""Vendors whose people send any bytes as an answer, each behind its own adapter.

`record` is what a careful vendor sends for a task; a test spoils it and sends the bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import httpx

from winnow.label.vendor import BatchStatus, LabelVendor
from winnow.label.vendors.simulator.client import SimulatorVendor
from winnow.lake import FolderLake

from ...label_studio_world import LabelStudioWorld, rated
from ...malformed import Record
from ..label.file_drop_fake import FileDropWorld
from ..label.ground_truth_fake import GroundTruthWorld
from ..label.label_studio_fake import LabelStudioFake
from ..label.scale_fake import ScaleFake, create_app
from ..label.test_scale import KEY, PROJECT, ScaleWorld

START, END = "2026-11-22T10:00:00.000Z", "2026-11-22T10:01:12.345Z"
PRICE = 100_000
"""Micro-dollars of a task; the vendors here take it for each record that they send."""


class Asked(NamedTuple):
    """A task that people see: its container, its id, its number among those of the container."""

    ref: str
    task_id: str
    n: int


class Sender(Protocol):
    """A vendor as these tests move it."""

    def connect(self) -> LabelVendor:
        """A client."""

    def asked(self) -> list[Asked]:
        """Every task."""

    def record(self, task: Asked, who: int, choice: str) -> Record:
        """What a careful vendor sends for the task, by the person `who`."""

    def send(self, task: Asked, raw: bytes) -> None:
        """Let these bytes be an answer to the task."""

    def finish(self) -> None:
        """No more answers will come."""


@dataclass
class _Files:
    """What vendors that take files share; `world` is the vendor's fake."""

    world: Any

    def connect(self) -> LabelVendor:
        return self.world.connect()

    def _refs(self) -> list[str]:
        return sorted({path.split("/")[0] for path in self.world.store.tags("")})


class FileDropSender(_Files):
    """Lines of one file in each folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(FileDropWorld(FolderLake(folder)))
        self.lines: dict[str, list[bytes]] = {}

    def asked(self) -> list[Asked]:
        return _numbered((ref, self.world.asked(ref)) for ref in self._refs())

    def record(self, task: Asked, who: int, choice: str) -> Record:
        return told(task, who, choice)

    def send(self, task: Asked, raw: bytes) -> None:
        lines = self.lines.setdefault(task.ref, [])
        lines.append(raw.replace(b"\n", b" "))

    def finish(self) -> None:
        for ref in self._refs():
            self.world.put(f"{ref}/output/answers.jsonl", b"\n".join(self.lines.get(ref, [])))
            self.world.put(f"{ref}/output/done.json", b"{}")


class GroundTruthSender(_Files):
    """A file for each worker's response."""

    def __init__(self, folder: Path) -> None:
        super().__init__(GroundTruthWorld(FolderLake(folder)))
        self.n_sent = 0

    def asked(self) -> list[Asked]:
        return _numbered((name, self.world.asked(job)) for name, job in self.world.jobs.items())

    def record(self, task: Asked, who: int, choice: str) -> Record:
        content = {
            "choice": {c: c == choice for c in ("a", "b", "tie", "both_bad", "skip")},
            "rating/a/helpfulness": {"4": True},
            "rating/b/helpfulness": {"2": True},
            "rationale": f"because of {task.task_id}",
        }
        answer = {
            "acceptanceTime": START,
            "submissionTime": END,
            "timeSpentInSeconds": 71.9,
            "workerId": f"w{who}",
            "answerContent": content,
        }
        return {"answers": [answer]}

    def send(self, task: Asked, raw: bytes) -> None:
        self.n_sent += 1
        job = f"{task.ref}/output/{task.ref}/annotations/worker-response/iteration-1"
        assert self.world.store.create(f"{job}/{task.n}/2026-11-22_{self.n_sent:06d}.json", raw)

    def finish(self) -> None:
        self.world.expire("")


class _OverHttp(httpx.BaseTransport):
    """Passes calls on, and puts in the place of some elements of the list `listed` other bytes."""

    def __init__(
        self, inner: httpx.BaseTransport, listed: str, written: Callable[[Record], bytes]
    ) -> None:
        self.inner, self.listed, self.written = inner, listed, written

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self.inner.handle_request(request)
        answer.read()
        page = answer.json() if answer.is_success and answer.content else None
        if not isinstance(page, dict) or self.listed not in page:
            # Anew: what was read once cannot be read again from the connection.
            return httpx.Response(answer.status_code, content=answer.content)
        rows = b", ".join(self.written(row) for row in page.pop(self.listed))
        rest = json.dumps(page).encode()[:-1] + (b", " if page else b"")
        return httpx.Response(
            answer.status_code, content=b'%s"%s": [%s]}' % (rest, self.listed.encode(), rows)
        )


class LabelStudioSender:
    """Annotations of tasks, in the bytes that were sent."""

    def __init__(self) -> None:
        self.fake = LabelStudioFake()
        self.raw: list[bytes] = []
        self.ids = count(10_000)
        transport = _OverHttp(self.fake.transport(), "tasks", self._written)
        self.world = LabelStudioWorld("http://127.0.0.1:8080", transport, self.fake.count_held)
        self.clock = datetime(2026, 11, 22, tzinfo=UTC)
        self.world.now = lambda: self.clock  # type: ignore[method-assign]

    def connect(self) -> LabelVendor:
        vendor = self.world.connect()
        vendor.max_request = vendor.page_size = 500
        return vendor

    def asked(self) -> list[Asked]:
        kept = [(t["project"], t["id"], t["meta"]["winnow"]) for t in self.fake.tasks.values()]
        return [Asked(str(ref), m["task_id"], n) for ref, n, m in kept if "task_id" in m]

    def record(self, task: Asked, who: int, choice: str) -> Record:
        return {
            "id": next(self.ids),
            "completed_by": 100 + who,
            "was_cancelled": False,
            "result": rated(choice, 4, 2, f"because of {task.task_id}"),
            "lead_time": 41.5,
            "created_at": START,
            "updated_at": END,
        }

    def send(self, task: Asked, raw: bytes) -> None:
        self.raw.append(raw)
        self.fake.tasks[task.n]["annotations"].append(len(self.raw) - 1)

    def mend(self, task: Asked, raw: bytes) -> None:
        [number] = self.fake.tasks[task.n]["annotations"]
        self.raw[number] = raw

    def finish(self) -> None:
        self.clock = datetime(2027, 6, 1, tzinfo=UTC)

    def _written(self, task: Record) -> bytes:
        rows = b", ".join(self.raw[number] for number in task["annotations"])
        rest = json.dumps({**task, "annotations": None}).encode()
        return rest.replace(b'"annotations": null', b'"annotations": [%s]' % rows, 1)


class ScaleSender:
    """Tasks with their response, in the bytes that were sent."""

    def __init__(self, front: Any, transport: httpx.BaseTransport) -> None:
        self.scale = ScaleFake(KEY, PROJECT)
        self.raw: dict[str, bytes] = {}
        front.app = create_app(self.scale)
        listed = _OverHttp(transport, "docs", self._written)
        self.world = ScaleWorld(self.scale, front.url, listed)

    def connect(self) -> LabelVendor:
        vendor = self.world.connect()
        vendor.max_request = 100
        return vendor

    def asked(self) -> list[Asked]:
        tasks = self.scale.tasks.values()
        return [Asked(t["batch"], t["metadata"]["task_id"], n) for n, t in enumerate(tasks)]

    def record(self, task: Asked, who: int, choice: str) -> Record:
        held = self.scale.find(task.task_id)
        more = {"rating/a/helpfulness": "4", "rating/b/helpfulness": "2", "strength": "2"}
        self.scale.answer(held, choice, rationale=f"because of {task.task_id}", **more)
        left_out = ("params", "created_at", "type", "project")
        return {"created_at": START, **{k: v for k, v in held.items() if k not in left_out}}

    def send(self, task: Asked, raw: bytes) -> None:
        self.raw[self.scale.find(task.task_id)["task_id"]] = raw

    mend = send

    def finish(self) -> None:
        for name in self.scale.batches:
            self.world.expire(name)

    def _written(self, task: Record) -> bytes:
        return self.raw.get(task["task_id"]) or json.dumps(task).encode()


@dataclass
class SimulatorSender:
    """The simulator's service without its people: it gives what it was told to give, in order."""

    tasks: dict[str, list[Record]] = field(default_factory=dict)
    raw: dict[str, list[bytes]] = field(default_factory=dict)
    marks: dict[str, str] = field(default_factory=dict)
    is_done: bool = False

    def connect(self) -> LabelVendor:
        transport = httpx.MockTransport(self._answer)
        return SimulatorVendor("http://127.0.0.1:8790", "token", transport, lambda _: None)

    def asked(self) -> list[Asked]:
        return _numbered(self.tasks.items())

    def record(self, task: Asked, who: int, choice: str) -> Record:
        return told(task, who, choice)

    def send(self, task: Asked, raw: bytes) -> None:
        self.raw[task.ref].append(raw)

    def mend(self, task: Asked, raw: bytes) -> None:
        self.raw[task.ref][task.n] = raw

    def finish(self) -> None:
        self.is_done = True

    def _answer(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else {}
        if request.url.path == "/batches":
            ref = "sim-" + re.sub("[^a-z0-9]+", "-", body["batch_key"])
            self.tasks.setdefault(ref, [])
            self.raw.setdefault(ref, [])
            self.marks.setdefault(ref, body["mark"])
            return httpx.Response(200, json={"ref": ref})
        _, _, ref, *rest = request.url.path.split("/")
        if rest == ["tasks"] and request.method == "POST":
            self.tasks[ref] += body["tasks"]
            return httpx.Response(200, json={})
        if rest == ["tasks"]:
            return httpx.Response(200, json={"task_ids": [t["task_id"] for t in self.tasks[ref]]})
        if rest == ["mark"]:
            return httpx.Response(200, json={"mark": self.marks[ref]})
        if rest == ["annotations"]:
            return httpx.Response(200, content=self._page(ref, request.url.params.get("cursor")))
        status = self._status(ref)
        return httpx.Response(200, json={**asdict(status), "expected_done_at": None})

    def _page(self, ref: str, cursor: str | None) -> bytes:
        """Three records a page; a later look goes on behind the last one."""
        start = int(cursor or 0)
        end = min(start + 3, len(self.raw[ref]))
        more = f'"{end}"' if end < len(self.raw[ref]) else "null"
        told = f'"next_cursor": {more}, "complete": false, "resume_cursor": "{end}"'
        return b'{%s, "annotations": [%s]}' % (told.encode(), b", ".join(self.raw[ref][start:end]))

    def _status(self, ref: str) -> BatchStatus:
        n_tasks, n_answered = len(self.tasks[ref]), min(len(self.raw[ref]), len(self.tasks[ref]))
        left = n_tasks - n_answered
        return BatchStatus(
            state="complete" if self.is_done or not left else "open",
            n_tasks=n_tasks,
            n_answered=n_answered,
            n_expired=left if self.is_done else 0,
            n_pending=0 if self.is_done else left,
            charged=PRICE * len(self.raw[ref]),
            committed=PRICE * (len(self.raw[ref]) + (0 if self.is_done else left)),
            expected_done_at=None,
        )


def told(task: Asked, who: int, choice: str) -> Record:
    """An answer in the shape of Winnow's own contract."""
    return {
        "annotation_id": f"n{who}-{task.task_id}",
        "revision": 0,
        "task_id": task.task_id,
        "annotator": f"w{who}",
        "choice": choice,
        "strength": 2,
        "ratings": {"helpfulness": {"a": 4, "b": 2}},
        "rationale": f"because of {task.task_id}",
        "started_at": START,
        "finished_at": END,
        "active_seconds": 71.9,
        "status": "submitted",
        "price": PRICE,
    }


def _numbered(asked: Iterable[tuple[str, list[Record]]]) -> list[Asked]:
    return [Asked(ref, task["task_id"], n) for ref, held in asked for n, task in enumerate(held)]
