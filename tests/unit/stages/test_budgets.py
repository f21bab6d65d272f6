"""Budgets of a month: of a campaign and of its team, before each purchase of each campaign."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from winnow.batch import Batch, open_batch
from winnow.campaign import Campaign, parse_campaign
from winnow.campaign.teams import NO_LIMITS, Limits
from winnow.console import clues
from winnow.console.memory import Memory
from winnow.console.stages import stages_of
from winnow.errors import Blocked, Corrupt
from winnow.ingest.ledger import Dropped
from winnow.label.purchases import spent
from winnow.label.vendors.file_drop.client import FileDropVendor
from winnow.lake import FolderLake
from winnow.operate.facts import facts_of
from winnow.operate.standing import Run, standing_of
from winnow.stages import label
from winnow.stages.label.drop import drop

from ...fabricated import fabricate
from ...sampling import some
from .conftest import SALT, VENDOR_STEPS, Dying, Killed

MONTH = "2026-11"
LAKE_STEPS = ("create", "swap")
SETTINGS = {"vendor": "file_drop", "budget_usd": 5.0, "second_vote_share": 1.0}
SIX = 1_200_000
"""What six pairs cost: twelve votes at ten cents."""


class World:
    """A lake, a vendor that takes files, and campaigns of one team."""

    def __init__(self, root: Path) -> None:
        self.root, self.time = root, datetime(2026, 11, 23, tzinfo=UTC)
        self.lake = FolderLake(root / "lake", lambda: self.time)
        self.campaigns: dict[str, Campaign] = {}

    def begin(self, name: str, key: str = "2026-11-22", n_pairs: int = 6, **more: Any) -> Batch:
        """A batch whose comparisons are chosen; keywords are settings of `label`."""
        campaign = {
            "name": name,
            "ingest": {"sources": ["nowhere"]},
            "expand": {"model": "tiny"},
            "label": {**SETTINGS, "min_completion": 0.0, "deadline_minutes": 60, **more},
            "publish": {"dataset": name},
        }
        self.campaigns[name] = parse_campaign(campaign, "test")
        fabricate(self.batch(name, key), n_pairs)
        return self.batch(name, key)

    def batch(self, name: str, key: str = "2026-11-22", lake: Any = None) -> Batch:
        return open_batch(self.campaigns[name], key, lake or self.lake, lambda: self.time)

    def vendor(self, die_at: int | None = None) -> Any:
        (self.root / "vendor").mkdir(exist_ok=True)
        vendor = FileDropVendor(FolderLake(self.root / "vendor", lambda: self.time))
        return Dying(vendor, VENDOR_STEPS, die_at)

    def answer(self, choices: str, n: int | None = None) -> None:
        """Answer the first `n` tasks of each container, by as many people as there are choices."""
        for manifest in self.root.glob("vendor/*/input*.manifest"):
            tasks = [json.loads(line)["task_id"] for line in manifest.read_text().splitlines()]
            lines = [
                {
                    "annotation_id": f"answer {task}",
                    "task_id": task,
                    "annotator": f"person {k}",
                    "choice": choices[k % len(choices)],
                    "finished_at": self.time.isoformat(),
                }
                for k, task in enumerate(tasks[:n])
            ]
            output = manifest.parent / "output"
            output.mkdir(exist_ok=True)
            (output / "answers.jsonl").write_text("\n".join(map(json.dumps, lines)))

    def n_asked(self) -> int:
        parts = self.root.glob("vendor/*/input/*.jsonl")
        return sum(len(part.read_text().splitlines()) for part in parts)

    def end(self, batch: Batch, limits: Limits = NO_LIMITS) -> None:
        """Follow up and collect, each after its deadline."""
        self.time += timedelta(hours=2)
        label.follow_up(batch, self.vendor(), SALT, limits)
        self.time += timedelta(hours=2)
        label.collect(batch, self.vendor(), SALT)

    def spent(self, month: str = MONTH) -> dict[str, int]:
        return dict(spent(self.lake, month).campaigns)

    def team(self, month: str = MONTH) -> int:
        return spent(self.lake, month).teams.get("safety", 0)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def team(month: int | None, own: int | None = None) -> Limits:
    return Limits(own, "safety", month, "/campaigns/teams.yaml")


def test_two_campaigns_share_their_teams_month(world: World) -> None:
    chat, code = world.begin("chat"), world.begin("code")
    label.submit(chat, world.vendor(), team(2_000_000))
    before = world.n_asked()
    with pytest.raises(Blocked) as stopped:
        label.submit(code, world.vendor(), team(2_000_000))
    assert world.n_asked() == before == 12
    assert not list(world.lake.names(f"{code.folder}/label/round-0", "plan.json"))
    for told in (
        "$1.20 more", "$2.00", "team safety", MONTH, "$1.20 is spent or reserved",
        "raise budget_month_usd of safety in /campaigns/teams.yaml", "wait for the next month",
        "clear submit_tasks",
    ):  # fmt: skip
        assert told in str(stopped.value)
    assert (world.spent(), world.team()) == ({"chat": SIX}, SIX)
    label.submit(code, world.vendor(), team(2_400_000))
    assert (world.spent(), world.team()) == ({"chat": SIX, "code": SIX}, 2 * SIX)
    # Buying again reserves nothing again.
    label.submit(code, world.vendor(), team(0))
    assert world.team() == 2 * SIX


def test_a_campaigns_month_holds_for_all_its_batches_until_the_month_is_over(world: World) -> None:
    limits = Limits(2_000_000)
    first, second = world.begin("chat"), world.begin("chat", "2026-11-23")
    label.submit(first, world.vendor(), limits)
    with pytest.raises(Blocked, match=r"campaign chat may buy for in 2026-11, \$1\.20 is spent"):
        label.submit(second, world.vendor(), limits)
    world.time = datetime(2026, 12, 1, tzinfo=UTC)
    label.submit(second, world.vendor(), limits)
    assert (world.spent(), world.spent("2026-12")) == ({"chat": SIX}, {"chat": SIX})


def test_who_wins_a_race_is_decided_in_the_lake(world: World) -> None:
    chat, code = world.begin("chat"), world.begin("code")
    limits, raced = team(2_000_000), []

    class Racing:
        def __getattr__(self, name: str) -> Any:
            return getattr(world.lake, name)

        def create(self, path: str, data: bytes) -> bool:
            if path.startswith("purchases/2026-11/") and not raced:
                raced.append(path)
                label.submit(code, world.vendor(), limits)
            return world.lake.create(path, data)

    with pytest.raises(Blocked, match="team safety"):
        label.submit(world.batch("chat", lake=Racing()), world.vendor(), limits)
    assert raced and label.is_submitted(code) and not label.is_submitted(chat)
    assert (world.team(), world.n_asked()) == (SIX, 12)


def test_a_follow_up_goes_as_far_as_the_month_does(world: World) -> None:
    batch, limits = world.begin("chat", third_votes=True), team(1_350_000)
    label.submit(batch, world.vendor(), limits)
    world.answer("ab")
    world.time += timedelta(hours=2)
    bought = label.follow_up(batch, world.vendor(), SALT, limits)
    assert (bought["tasks"], world.team()) == (1, 1_300_000)
    unlimited = World(world.root / "unlimited")
    other = unlimited.begin("chat", third_votes=True)
    label.submit(other, unlimited.vendor())
    unlimited.answer("ab")
    unlimited.time += timedelta(hours=2)
    assert label.follow_up(other, unlimited.vendor(), SALT)["tasks"] > 1


def test_a_follow_up_whose_money_went_meanwhile_is_left_out(world: World) -> None:
    batch, rival = world.begin("chat", third_votes=True), world.begin("code", n_pairs=1)
    limits = team(1_450_000)
    label.submit(batch, world.vendor(), limits)
    world.answer("ab")
    world.time += timedelta(hours=2)
    # It planned, and dies before it has reserved anything.
    lake = Dying(world.lake, ("create",), 3)
    with pytest.raises(Killed):
        label.follow_up(world.batch("chat", lake=lake), world.vendor(), SALT, limits)
    assert label.read_plan(batch, 1).totals.tasks
    label.submit(rival, world.vendor(), limits)
    left_out = label.follow_up(batch, world.vendor(), SALT, limits)
    assert left_out["sent"] == 0 and left_out["left_out"] == 2
    label.collect(batch, world.vendor(), SALT)
    assert world.team() == world.spent()["chat"] + world.spent()["code"] <= 1_450_000


def test_what_was_not_answered_is_free_again_once_the_cost_is_known(world: World) -> None:
    batch = world.begin("chat")
    label.submit(batch, world.vendor(), team(SIX))
    world.answer("a", 4)
    world.end(batch)
    assert batch.require("label").cost == 400_000
    assert (world.spent(), world.team()) == ({"chat": 400_000}, 400_000)
    stored = world.lake.tags("")
    label.collect(batch, world.vendor(), SALT)
    assert world.lake.tags("") == stored


def test_a_round_that_is_over_gives_back_what_it_did_not_cost(world: World) -> None:
    batch = world.begin("chat", third_votes=True)
    label.submit(batch, world.vendor(), team(SIX))
    world.answer("ab", 8)
    world.time += timedelta(hours=2)
    bought = label.follow_up(batch, world.vendor(), SALT, team(SIX))["tasks"]
    assert (bought, world.team()) == (2, 1_000_000)
    # What it may cost is what the vendor's books say, whatever is run again.
    label.submit(batch, world.vendor(), team(SIX))
    assert world.team() == 1_000_000
    # Entering what was there before is done once; done again it would change nothing.
    world.lake.remove("purchases/begun.json")
    label.submit(world.begin("code", n_pairs=1), world.vendor(), team(SIX))
    assert world.team() == 1_200_000
    assert world.lake.exists("purchases/begun.json") and world.spent()["chat"] == 1_000_000
    world.time += timedelta(hours=2)
    label.collect(batch, world.vendor(), SALT)
    assert world.spent()["chat"] == batch.require("label").cost == 800_000


def test_a_round_that_is_called_off_gives_it_back_too(world: World) -> None:
    batch = world.begin("chat")
    label.submit(batch, world.vendor(), team(SIX))
    world.answer("a", 4)
    world.time += timedelta(hours=2)
    label.call_off(batch, world.vendor(), 0)
    assert world.team() == 400_000


def test_what_the_batch_may_not_cost_reserves_nothing(world: World) -> None:
    batch = world.begin("chat", budget_usd=1.0)
    with pytest.raises(Blocked, match=r"budget of \$1\.00"):
        label.submit(batch, world.vendor(), team(SIX))
    assert world.team() == 0


@pytest.mark.parametrize("is_dropped", [False, True], ids=["collected", "dropped"])
def test_a_follow_up_that_no_vendor_has_holds_nothing_at_the_end(
    world: World, is_dropped: bool
) -> None:
    batch = world.begin("chat", third_votes=True)
    label.submit(batch, world.vendor())
    world.answer("ab", 8)
    world.time += timedelta(hours=2)

    class DyingBeforeTheVendor:
        def __getattr__(self, name: str) -> Any:
            return getattr(world.lake, name)

        def create(self, path: str, data: bytes) -> bool:
            if path.endswith("round-1/opening.json"):
                raise Killed
            return world.lake.create(path, data)

    with pytest.raises(Killed):
        label.follow_up(world.batch("chat", lake=DyingBeforeTheVendor()), world.vendor(), SALT)
    assert world.spent() == {"chat": 1_000_000} and world.n_asked() == 12
    if is_dropped:
        note = Dropped("ann", "2026-11-24T10:00:00+00:00", "the wrong prompts")
        campaign = world.campaigns["chat"]
        drop(world.lake, campaign, batch.key, note, lambda: world.time, world.vendor(), SALT)
    else:
        label.collect(batch, world.vendor(), SALT)
    assert world.spent() == {"chat": 800_000}


@pytest.mark.parametrize("n_answered", [None, 3])
def test_a_dropped_batch_keeps_what_it_was_charged_alone(
    world: World, n_answered: int | None
) -> None:
    batch = world.begin("chat")
    if n_answered is None:
        with pytest.raises(Killed):  # reserved, and no vendor has heard of it
            label.submit(batch, world.vendor(die_at=0), team(SIX))
        assert world.team() == SIX
    else:
        label.submit(batch, world.vendor(), team(SIX))
        world.answer("a", n_answered)
    note = Dropped("ann", "2026-11-24T10:00:00+00:00", "the wrong prompts")
    campaign = world.campaigns["chat"]
    drop(world.lake, campaign, batch.key, note, lambda: world.time, world.vendor(), SALT)
    assert world.team() == 100_000 * (n_answered or 0)


def run(root: Path, at: int | None, in_vendor: bool) -> tuple[Any, int]:
    """Two batches are bought, one killed before a step: how it ended, and how many steps it had."""
    world, n_steps = World(root), 0
    batch, other = world.begin("chat", third_votes=True), world.begin("code")
    limits = team(2 * SIX)
    label.submit(other, world.vendor(), limits)

    def do(step: Callable[[Batch, Any], object]) -> None:
        nonlocal n_steps
        left = None if at is None or at < n_steps else at - n_steps
        lake = Dying(world.lake, LAKE_STEPS, None if in_vendor else left)
        vendor = world.vendor(left if in_vendor else None)
        try:
            step(world.batch("chat", lake=lake), vendor)
        except Killed:
            step(world.batch("chat"), world.vendor())
        n_steps += vendor.n_steps if in_vendor else lake.n_steps
        assert world.team() <= 2 * SIX

    do(lambda batch, vendor: label.submit(batch, vendor, limits))
    world.answer("ab", 8)
    world.end(other, limits)
    do(lambda batch, vendor: label.follow_up(batch, vendor, SALT, limits))
    world.answer("ab", 4)
    world.time += timedelta(hours=2)
    do(lambda batch, vendor: label.collect(batch, vendor, SALT))
    manifest = batch.require("label")
    assert world.spent()["chat"] == manifest.cost
    return (world.spent(), world.team(), world.n_asked(), manifest.cost, manifest.counts), n_steps


@pytest.mark.sampled
@pytest.mark.parametrize("in_vendor", [False, True], ids=["lake", "vendor"])
def test_a_purchase_killed_anywhere_ends_with_the_same_totals(
    tmp_path: Path, in_vendor: bool
) -> None:
    undisturbed, n_steps = run(tmp_path / "undisturbed", None, in_vendor)
    assert n_steps > 8
    for at in some(range(n_steps), 20):
        end, _ = run(tmp_path / f"{at}", at, in_vendor)
        assert end == undisturbed, f"killed before step {at}"


def as_an_earlier_version_left_it(world: World) -> None:
    """Take away what it did not write."""
    for path in [*world.lake.tags("purchases"), *world.lake.tags("batches")]:
        if path.startswith("purchases/") or "/reserved-" in path:
            world.lake.remove(path)


def test_what_an_earlier_version_bought_this_month_counts_once(world: World) -> None:
    world.time = datetime(2026, 10, 20, tzinfo=UTC)
    old = world.begin("chat", "2026-10-19")
    label.submit(old, world.vendor())
    world.time = datetime(2026, 11, 10, tzinfo=UTC)
    for key in ("2026-11-08", "2026-11-09"):
        label.submit(world.begin("chat", key), world.vendor())
    label.submit(world.begin("code", "2026-11-09"), world.vendor())
    world.answer("a", 4)
    world.end(world.batch("chat", "2026-11-08"))
    as_an_earlier_version_left_it(world)
    # $0.40 collected and $1.20 with the vendor, of this month; nobody else's money is its team's.
    with pytest.raises(Blocked, match=r"\$2\.70 that team safety .* \$1\.60 is spent or reserved"):
        label.submit(world.begin("chat"), world.vendor(), team(2_700_000))
    assert world.spent() == {"chat": 1_600_000, "code": SIX}
    stored = world.lake.tags("purchases")
    label.submit(world.batch("chat", "2026-11-09"), world.vendor(), team(0))
    label.submit(old, world.vendor(), team(0))
    assert world.lake.tags("purchases") == stored
    world.end(world.batch("chat", "2026-11-09"))
    assert world.spent() == {"chat": 800_000, "code": SIX}
    world.end(old)
    assert world.spent() == {"chat": 800_000, "code": SIX}


def test_entering_it_may_be_killed_anywhere(world: World) -> None:
    for name in ("chat", "code"):
        label.submit(world.begin(name), world.vendor())
    as_an_earlier_version_left_it(world)
    more, at = world.begin("safe", n_pairs=1), 0
    while True:
        lake = Dying(world.lake, LAKE_STEPS, at)
        with suppress(Killed):
            label.submit(world.batch("safe", lake=lake), world.vendor(), team(10 * SIX))
            break
        at += 1
        if label.is_submitted(more):
            break
    assert at > 4
    assert world.spent() == {"chat": SIX, "code": SIX, "safe": 200_000}
    entries = Counter(
        (entry["campaign"], entry["part"])
        for path in world.lake.tags("purchases/2026-11")
        for entry in [json.loads(world.lake.read(path))]
    )
    assert set(entries.values()) == {1}


def test_a_batch_that_cannot_be_read_stops_no_other_campaign(world: World) -> None:
    for name in ("chat", "code"):
        label.submit(world.begin(name), world.vendor())
    as_an_earlier_version_left_it(world)
    (world.lake.root / "batches/chat/2026-11-22/label/round-0/submission.json").write_text("{")
    label.submit(world.begin("safe"), world.vendor())
    assert world.spent() == {"code": SIX, "safe": SIX}


def test_a_lost_ledger_stops_the_purchase_and_says_what_to_restore(world: World) -> None:
    label.submit(world.begin("chat"), world.vendor())
    world.lake.remove("purchases/2026-11/000000.json")
    with pytest.raises(Corrupt, match=r"purchases/2026-11/000000\.json is missing.*restore it"):
        label.submit(world.begin("code"), world.vendor())
    assert world.n_asked() == 12


def test_the_batch_says_that_a_month_stopped_it_and_what_mends_it(world: World) -> None:
    batch, limits = world.begin("chat"), team(500_000)
    with pytest.raises(Blocked):
        label.submit(batch, world.vendor(), limits)
    facts = facts_of(world.lake, world.campaigns["chat"], batch.key)
    failed = Run("chat", "label", batch.key, "run", "failed", ended=world.time)
    for runs in (None, [failed]):
        standing = standing_of(facts, world.time, runs)
        assert (standing.kind, standing.level) == ("over_budget", "stuck")
        assert "$0.50 that team safety may buy for in 2026-11" in standing.cause
        assert standing.mend == (
            "raise budget_month_usd of safety in /campaigns/teams.yaml, or wait for the next "
            "month, then: airflow dags clear chat.label_pairs --partition-key 2026-11-22 -y"
        )
    memory = Memory()
    stages = stages_of(world.lake, "chat", [batch.key], memory)[batch.key]
    page, _ = clues.facts_of(world.lake, world.campaigns["chat"], stages, memory)
    assert page.over_month == facts.over_month
    label.submit(batch, world.vendor(), team(SIX))
    facts = facts_of(world.lake, world.campaigns["chat"], batch.key)
    assert facts.over_month is None and standing_of(facts, world.time).kind == "vendor"


def test_a_batch_without_pairs_buys_nothing(world: World) -> None:
    batch = world.begin("small", n_pairs=0)
    label.submit(batch, world.vendor())
    assert world.spent() == {}
