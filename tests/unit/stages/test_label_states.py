"""Whatever happens to a purchase, in any order, its money and its answers are accounted for.

Nothing is bought twice, in two places, or over what was allowed; every answer that was paid is a
vote or a row in quarantine; the cost is the vendor's.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from winnow.batch import Batch, open_batch, read_table
from winnow.campaign import parse_campaign
from winnow.errors import Ambiguous, Blocked, Fatal, Retryable
from winnow.label.purchases import spent
from winnow.label.vendor import BatchStatus
from winnow.label.vendors.file_drop.client import FileDropVendor
from winnow.lake import FolderLake
from winnow.stages import label

from ...fabricated import fabricate
from ...sampling import examples
from .conftest import SALT, VENDOR_STEPS, Dying, Killed

PRICE = 100_000
REFUSALS = (Blocked, Fatal, Retryable, Ambiguous, Killed)
LAKE_STEPS = ("create", "swap")

money = st.sampled_from([0.0, 0.1, 0.45, 1.0, 1.1, 1.3, 2.0, 50.0])
accounts = st.sampled_from(["a"] * 5 + ["b"])
deaths = st.sampled_from([None] * 12 + list(range(12)))
people = st.sampled_from(["ann", "ben", "crowd", "", 17])
choices = st.sampled_from(["a", "B", "tie", "nonsense"])


class Purchase(RuleBasedStateMachine):
    """One batch, two accounts of a vendor that takes files, and people at both."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="winnow-states-")
        self.root = Path(self.folder.name)
        self.time = datetime(2026, 11, 23, tzinfo=UTC)
        self.lake = FolderLake(self.root / "lake", lambda: self.time)
        self.campaign = parse_campaign(
            {
                "name": "small",
                "schedule": {"cron": None, "key": "text"},
                "ingest": {"sources": ["nowhere"]},
                "expand": {"model": "tiny"},
                "label": {
                    "vendor": "file_drop",
                    "budget_usd": 1.0,
                    "approve_above_usd": 0.4,
                    "second_vote_share": 0.5,
                    "unanswered": "buy_again",
                    "min_completion": 0.0,
                    "deadline_minutes": 60,
                },
                "publish": {"dataset": "small"},
            },
            "test",
        )
        self.lines: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self.seen: set[str] = set()
        self.allowed = self.n_lines = self.unasked = 0
        fabricate(self.batch(), 6)

    def teardown(self) -> None:
        """Undisturbed, every purchase that began comes to its end."""
        holder = "a" if self.held("a") else "b"
        self.submit(holder, None, None)
        self.answer("crowd", "a", 0.9)
        self.pass_the_deadline()
        # Money that nobody approved.
        self.change_limits(50.0, self.campaign.label.approve_above_usd)
        self.follow_up(holder, None, None, 0)
        self.answer("eve", "b", 1.0)
        self.pass_the_deadline()
        self.collect(holder, None, None, 0)
        self.each_task_is_bought_once_in_one_place_and_within_what_was_allowed()
        self.every_answer_is_a_vote_or_in_quarantine_and_the_cost_is_the_vendors()
        assert self.is_collected() == label.is_submitted(self.batch())
        self.folder.cleanup()

    def batch(self, ahead: timedelta = timedelta(0), die_at: int | None = None) -> Batch:
        opened = open_batch(self.campaign, "day", self.lake, lambda: self.time + ahead)
        return replace(opened, lake=Dying(self.lake, LAKE_STEPS, die_at))

    def vendor(self, account: str, die_at: int | None = None) -> Any:
        place = self.root / account
        place.mkdir(exist_ok=True)
        vendor = FileDropVendor(FolderLake(place, lambda: self.time))
        vendor.max_request = 4
        return Dying(vendor, VENDOR_STEPS, die_at)

    def do(self, step: Callable[[], Any]) -> Any:
        """A step of the stage, which may be refused, and never fails in another way."""
        settings = self.campaign.label
        approved = self.approved()
        limit = settings.budget
        if settings.approve_above is not None:
            limit = min(limit, max(settings.approve_above, approved))
        self.allowed = max(self.allowed, limit)
        with suppress(*REFUSALS):
            return step()
        return None

    def approved(self) -> int:
        with suppress(FileNotFoundError):
            told = json.loads(self.lake.read("batches/small/day/label/approval.json"))
            return round(told["most_usd"] * 1_000_000)
        return 0

    @initialize(
        tries=st.lists(
            st.tuples(st.sampled_from("ab"), st.none() | st.integers(0, 9), st.booleans()),
            max_size=4,
        )
    )
    def begin(self, tries: list[tuple[str, int | None, bool]]) -> None:
        if tries:
            self.approve(None)
        for account, at, in_lake in tries:
            self.submit(account, at if in_lake else None, None if in_lake else at)

    # What people of the team do.

    @rule(account=accounts, in_lake=deaths, in_vendor=deaths)
    def submit(self, account: str, in_lake: int | None, in_vendor: int | None) -> None:
        self.do(lambda: label.submit(self.batch(die_at=in_lake), self.vendor(account, in_vendor)))

    @rule(account=accounts, in_lake=deaths, in_vendor=deaths, days=st.sampled_from([0, 0, 8, -8]))
    def follow_up(
        self, account: str, in_lake: int | None, in_vendor: int | None, days: int
    ) -> None:
        batch = self.batch(timedelta(days=days), in_lake)
        self.do(lambda: label.follow_up(batch, self.vendor(account, in_vendor), SALT))

    @rule(account=accounts, in_lake=deaths, in_vendor=deaths, days=st.sampled_from([0, 0, 8, -8]))
    def collect(self, account: str, in_lake: int | None, in_vendor: int | None, days: int) -> None:
        batch = self.batch(timedelta(days=days), in_lake)
        self.do(lambda: label.collect(batch, self.vendor(account, in_vendor), SALT))

    @rule(most_usd=st.none() | money)
    def approve(self, most_usd: float | None) -> None:
        label.approve(self.batch(), "ada", most_usd)

    @rule(budget_usd=money, approve_above_usd=st.none() | money)
    def change_limits(self, budget_usd: float, approve_above_usd: float | None) -> None:
        limits = {"budget_usd": budget_usd, "approve_above_usd": approve_above_usd}
        told = self.campaign.label.model_copy(update=limits)
        self.campaign = self.campaign.model_copy(update={"label": told})

    @rule()
    def pass_the_deadline(self) -> None:
        self.time += timedelta(hours=2)

    # What people at the vendor do, until the batch is collected.

    @precondition(lambda self: not self.is_collected())
    @rule(annotator=people, choice=choices, share=st.sampled_from([0.2, 1.0]))
    def answer(self, annotator: Any, choice: str, share: float) -> None:
        asked = [each for each in self.asked() if self.is_open(each[0])]
        for place, task_id in asked[: round(share * len(asked) + 0.5)]:
            self.n_lines += 1
            line = {
                "annotation_id": f"answer-{self.n_lines}",
                "task_id": task_id,
                "annotator": f"{annotator}-{self.n_lines}" if annotator == "crowd" else annotator,
                "choice": "ab"[int(task_id[:4], 16) % 2] if annotator == "crowd" else choice,
                "finished_at": (self.time + timedelta(seconds=self.n_lines)).isoformat(),
            }
            self.lines.setdefault(place, []).append(line)
        self.write()

    @precondition(lambda self: any(self.lines.values()) and not self.is_collected())
    @rule(data=st.data(), choice=choices, revision=st.sampled_from([1, 2, "3", 2**62, -1]))
    def edit(self, data: Any, choice: str, revision: Any) -> None:
        line = self.a_line(data)
        line.update(choice=choice, revision=revision)
        self.write()

    @precondition(lambda self: any(self.lines.values()) and not self.is_collected())
    @rule(data=st.data())
    def retract(self, data: Any) -> None:
        line = self.a_line(data)
        for lines in self.lines.values():
            lines[:] = [each for each in lines if each is not line]
        self.write()

    def a_line(self, data: Any) -> dict[str, Any]:
        return data.draw(st.sampled_from([line for at in self.lines.values() for line in at]))

    # What must hold after each step.

    @invariant()
    def each_task_is_bought_once_in_one_place_and_within_what_was_allowed(self) -> None:
        held = {name: self.held(name) for name in ("a", "b")}
        assert all(set(tasks.values()) <= {1} for tasks in held.values())
        assert not (held["a"] and held["b"])
        assert PRICE * sum(map(self.n_paid, held)) <= self.allowed
        self.unasked = max(self.unasked, sum(map(self.charged_unasked, held)))
        assert self.booked() <= self.allowed + self.unasked

    @invariant()
    def every_answer_is_a_vote_or_in_quarantine_and_the_cost_is_the_vendors(self) -> None:
        if not self.is_collected():
            return
        manifest = self.batch().require("label")
        rows = read_table(self.lake, manifest.outputs["annotations"]).to_pylist()
        quarantined = read_table(self.lake, manifest.outputs["quarantine"]).to_pylist()
        votes = {row["annotation_id"] for row in rows}
        bad = b"\n".join(row["raw"] or b"" for row in quarantined)
        for lines in self.lines.values():
            for line in lines:
                named = line["annotation_id"]
                assert named in votes or f'"{named}"'.encode() in bad, line
        place = "a" if self.held("a") else "b"
        refs = [r.ref for r in label.submissions(self.batch()).values()]
        charged = sum(self.vendor(place).status(ref).charged for ref in refs)
        assert manifest.cost == charged == self.booked()

    def booked(self) -> int:
        """What the books of the month hold for the batch."""
        return spent(self.lake, "2026-11").campaigns.get("small", 0)

    def statuses(self, account: str) -> list[BatchStatus]:
        refs = {path.name for path in self.root.glob(f"{account}/*")}
        return [self.vendor(account).status(ref) for ref in refs]

    def n_paid(self, account: str) -> int:
        """Tasks of an account that cost something: answered, or still to be answered."""
        return sum(status.n_answered + status.n_pending for status in self.statuses(account))

    def charged_unasked(self, account: str) -> int:
        """What an account charges for answers to tasks that somebody else had answered."""
        return sum(each.charged - PRICE * each.n_answered for each in self.statuses(account))

    def is_open(self, place: tuple[str, str]) -> bool:
        """Whether people may still answer a container's tasks."""
        return not self.vendor(place[0]).status(place[1]).is_final

    def is_collected(self) -> bool:
        return self.lake.exists("batches/small/day/label/manifest.json")

    def asked(self) -> list[tuple[tuple[str, str], str]]:
        """Every task that people see: account and container, and its id."""
        return [
            ((manifest.parts[-3], manifest.parts[-2]), json.loads(line)["task_id"])
            for manifest in sorted(self.root.glob("[ab]/*/input*.manifest"))
            for line in manifest.read_text().splitlines()
        ]

    def held(self, account: str) -> Counter[str]:
        """How often people of an account are asked to do each task, or will be."""
        shown = Counter(task_id for (at, _), task_id in self.asked() if at == account)
        parts = self.root.glob(f"{account}/*/input/*.jsonl")
        sold = {json.loads(line)["task_id"] for part in parts for line in part.open()}
        return shown | Counter(sold)

    def write(self) -> None:
        for (account, ref), lines in self.lines.items():
            output = self.root / account / ref / "output"
            output.mkdir(exist_ok=True)
            (output / "answers.jsonl").write_text("\n".join(map(json.dumps, lines)))


Purchase.TestCase.settings = settings(
    max_examples=examples(25),
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestPurchase = pytest.mark.sampled(Purchase.TestCase)


@pytest.mark.parametrize("at", range(8))
def test_a_round_that_was_being_bought_when_its_task_ended_is_not_left_out(at: int) -> None:
    state = Purchase()
    state.approve(None)
    state.submit("a", None, None)
    state.pass_the_deadline()
    state.follow_up("a", at, None, 0)
    state.answer("ann", "a", 1.0)
    state.pass_the_deadline()
    state.collect("a", None, None, 0)
    state.every_answer_is_a_vote_or_in_quarantine_and_the_cost_is_the_vendors()
    state.teardown()
