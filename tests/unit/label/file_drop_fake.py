"""The other side of a file drop, for tests: a vendor's people as lines in files, by hand."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from winnow.errors import Retryable
from winnow.label.vendors.file_drop.client import FileDropVendor
from winnow.lake import Lake

from ...vendor_faults import Strike
from ...vendor_world import Can
from .lake_fake import FaultyLake


@dataclass
class FileDropWorld:
    """A vendor that keeps one output file for each task and writes as `docs/file_drop.md` says."""

    store: Lake
    clock: datetime = datetime(2026, 11, 22, tzinfo=UTC)
    misdelivers: bool = False
    answers: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    can = Can(account_keys=False, refuse_tokens=False)
    n_tasks = 3
    n_paged = 4

    def connect(self, strike: Strike | None = None, token: str | None = None) -> FileDropVendor:
        store = self.store if strike is None else FaultyLake(self.store, strike)
        vendor = FileDropVendor(store, self.now)
        vendor.max_request = 2
        return vendor

    def now(self) -> datetime:
        return self.clock

    def answer(self, ref: str, task_id: str, annotator: str, choice: str) -> None:
        asked = {line["task_id"]: line for line in self.asked(ref)}
        said = {"choice": choice, "annotator": annotator, "finished_at": self.clock.isoformat()}
        # Every other task comes back as a line of the manifest with a label.
        as_label = len(self.answers) % 2 == 0
        metadata = {"preference-metadata": {"type": "winnow/preference", "human-annotated": "yes"}}
        line = {**asked[task_id], "preference": said, **metadata} if as_label else said
        self.answers[ref, task_id] = {"task_id": task_id, "revision": 0, **line}
        self._write(ref, task_id)

    def edit(self, ref: str, task_id: str, choice: str) -> None:
        line = self.answers[ref, task_id]
        said = line.get("preference", line)
        said["choice"] = choice
        said["revision"] = said.get("revision", 0) + 1
        self._write(ref, task_id)

    def retract(self, ref: str, task_id: str) -> None:
        del self.answers[ref, task_id]
        self._write(ref, task_id)

    def expire(self, ref: str) -> None:
        self.clock += timedelta(days=8)

    def misdeliver(self) -> None:
        self.misdelivers = True
        for ref, task_id in list(self.answers):
            self._write(ref, task_id)

    def times_held(self, task_id: str) -> int:
        refs = {path.split("/")[0] for path in self.store.tags("")}
        return sum(Counter(a["task_id"] for a in self.asked(ref))[task_id] for ref in refs)

    def charged(self, ref: str) -> int:
        price = {line["task_id"]: line["price"] for line in self.asked(ref)}
        return sum(price[task_id] for at, task_id in self.answers if at == ref)

    def asked(self, ref: str) -> list[dict[str, Any]]:
        """What the vendor reads: every line of every manifest."""
        paths = [p for p in self.store.tags(ref) if p.endswith(".manifest")]
        lines = [line for path in paths for line in self.store.read(path).splitlines()]
        return [json.loads(line) for line in lines]

    def put(self, path: str, data: bytes) -> None:
        """Write a file, in place of one that is there."""
        if not self.store.swap(path, data, self.store.read_tagged(path)[1]):
            raise Retryable(path)

    def _write(self, ref: str, task_id: str) -> None:
        held = [a for (at, of), a in self.answers.items() if (at, of) == (ref, task_id)]
        if self.misdelivers:
            held = [a for (at, _), a in self.answers.items() if at == ref][::-1] + held
        text = "\n".join(json.dumps(line) for line in held)
        self.put(f"{ref}/output/{task_id}.jsonl", text.encode())
