"""What the worlds of vendors share whose books are folders of ours."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime, timedelta

from winnow.lake import Lake


class FolderWorld:
    """A clock of the test, and what the books hold."""

    store: Lake
    clock: datetime

    def now(self) -> datetime:
        return self.clock

    def expire(self, ref: str) -> None:
        self.clock += timedelta(days=8)

    def times_held(self, task_id: str) -> int:
        manifests = [p for p in self.store.tags("") if p.endswith(".manifest")]
        lines = [line for p in manifests for line in self.store.read(p).splitlines()]
        return Counter(json.loads(line)["task_id"] for line in lines)[task_id]
