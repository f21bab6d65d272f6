"""The simulator keeps the contract that every vendor adapter keeps, over its real service.

Its staff is at home in these tests: whatever is answered, a test has answered by hand.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from winnow.label.vendors.simulator.client import SimulatorVendor
from winnow_simulator import hand
from winnow_simulator.settle import LOG

from ...vendor_contract import VendorContract
from ...vendor_faults import FaultyTransport, Strike
from ...vendor_world import Can


class SmallCalls(SimulatorVendor):
    """The client, with calls small enough that a few tasks take several."""

    max_request = 2


class SimulatorWorld:
    """Books and clock of one running service."""

    can = Can()
    n_tasks = 5
    n_paged = 203

    def __init__(self, simulator: Any) -> None:
        self._of = simulator

    def connect(self, strike: Strike | None = None, token: str | None = None) -> SimulatorVendor:
        inner = self._of.transport
        transport = inner if strike is None else FaultyTransport(inner, strike)
        return SmallCalls(self._of.url, token or self._of.token, transport, self._of.sleeps.append)

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._of.clock.seconds, UTC)

    def answer(self, ref: str, task_id: str, annotator: str, choice: Any) -> None:
        given = hand.HandAnswer(annotator, choice, {}, None, self._of.clock.seconds)
        hand.answer(self._of.books, task_id, given)

    def edit(self, ref: str, task_id: str, choice: str) -> None:
        self._revise(ref, task_id, "edit", {"choice": choice})

    def retract(self, ref: str, task_id: str) -> None:
        self._revise(ref, task_id, "retraction", {"status": "retracted"})

    def expire(self, ref: str) -> None:
        self._of.clock.seconds += 8 * 24 * 3600.0

    def misdeliver(self) -> None:
        self._of.books.faults.rates.update(record_twice=1.0, page_shuffled=1.0, page_twice=1.0)

    def times_held(self, task_id: str) -> int:
        return int(self._of.bought().get(task_id, 0))

    def charged(self, ref: str) -> int:
        tasks = self._of.ask("GET", "/books").json()["tasks"]
        return sum(task["charged"] for task in tasks if task["ref"] == ref)

    def _revise(self, ref: str, task_id: str, kind: str, changes: dict[str, str]) -> None:
        with self._of.books.transaction() as (db, _):
            said = "SELECT record FROM answers WHERE task_id = ? ORDER BY number DESC LIMIT 1"
            last = json.loads(db.execute(said, (task_id,)).fetchone()["record"])
            revised = {**last, **changes, "revision": last["revision"] + 1}
            db.execute(LOG, (ref, task_id, kind, json.dumps(revised)))


class TestSimulator(VendorContract):
    @pytest.fixture
    def world(self, start_simulator: Callable[..., Any], tmp_path: Path) -> SimulatorWorld:
        return SimulatorWorld(start_simulator(tmp_path / "simulator.sqlite", staff="none"))
