"""Buying stops at the budget, waiting at the deadline, and too few answers stop the batch."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from winnow.batch import Artifact, Manifest, read_table
from winnow.errors import Blocked, Corrupt, Fatal, Retryable
from winnow.label.vendor import BatchStatus
from winnow.progress import progress
from winnow.stages import label, publish
from winnow.stages.label.late import bill_of, collected_bill, keep_late, late_answers
from winnow.stages.label.offered import offered
from winnow.stages.label.plans import read_plan
from winnow.stages.label.rounds import round_path
from winnow.stored import read_sealed, sealed_json
from winnow_airflow import waiting

from ...fabricated import fabricate
from .conftest import SALT, Night


def submitted(night: Night) -> Night:
    night.choose(night.batch())
    label.submit(night.batch(), night.simulator.connect())
    return night


def made_up(night: Night, n_pairs: int) -> Night:
    fabricate(night.batch(), n_pairs)
    label.submit(night.batch(), night.simulator.connect())
    return night


def collect(night: Night) -> Manifest:
    return label.collect(night.batch(), night.simulator.connect(), SALT)


def test_nothing_is_bought_over_the_budget(night: Callable[..., Night]) -> None:
    poor = night(budget_usd=0.5)
    poor.choose(poor.batch())
    with pytest.raises(Blocked, match=r"over the budget of \$0\.50"):
        label.submit(poor.batch(), poor.simulator.connect())
    assert poor.simulator.bought() == {}
    assert not label.is_submitted(poor.batch())


def test_who_is_asked_is_told_of_the_tools_that_a_prompt_has(
    night: Callable[..., Night], inbox: Path
) -> None:
    tool = {"name": "rain", "description": "Will it rain?", "parameters": {"city": "text"}}
    row = {"prompt": "Rain in Oslo?", "tools": [{"type": "function", "function": tool}]}
    (inbox / "b.jsonl").write_text(json.dumps(row))
    told = night()
    told.choose(told.batch())
    shown = {pair.messages for _, pair in offered(told.batch())}
    assert len(shown) == 7
    [messages] = [each for each in shown if len(each) > 1]
    assert [(turn.role, turn.content) for turn in messages] == [
        ("tools", 'rain: Will it rain?\n{"parameters": {"city": "text"}}'),
        ("user", "Rain in Oslo?"),
    ]


def test_a_purchase_that_is_cut_short_says_how_far_it_came_and_when(
    night: Callable[..., Night], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("winnow.pace.EVERY", 0.0)
    cut = night()
    fabricate(cut.batch(), 6)
    vendor = cut.simulator.connect()

    def launch(ref: str) -> None:
        raise Retryable("The line is cut.")

    monkeypatch.setattr(vendor, "launch", launch)
    with pytest.raises(Retryable):
        label.submit(cut.batch(), vendor)
    n = label.plan(cut.batch())["tasks"]
    told = progress(cut.batch())["label"]
    now = cut.batch().clock()
    assert f"{n} of {n} tasks sent, " in told
    assert told.endswith(f" ({now:%Y-%m-%d %H:%M} UTC)")


def test_collecting_needs_a_submission(night: Callable[..., Night]) -> None:
    early = night()
    early.choose(early.batch())
    with pytest.raises(Fatal, match="submit_tasks first"):
        collect(early)


def test_an_open_batch_is_waited_for(night: Callable[..., Night]) -> None:
    waiting = submitted(night())
    with pytest.raises(Retryable, match="still open"):
        collect(waiting)
    waiting.simulator.finish()
    assert collect(waiting).counts["tasks"] == len(waiting.simulator.bought())


def test_after_the_deadline_too_few_answers_stop_the_batch(night: Callable[..., Night]) -> None:
    late = submitted(night(deadline_minutes=1, min_completion=0.9))
    late.time += timedelta(minutes=2)
    with pytest.raises(Blocked, match=r"0 of \d+ tasks were answered.*90%"):
        collect(late)


def test_after_the_deadline_what_came_goes_on_and_the_rest_is_called_off(
    night: Callable[..., Night],
) -> None:
    late = submitted(night(deadline_minutes=1, min_completion=0.1))
    late.simulator.clock.seconds += 8.0
    late.time += timedelta(minutes=2)
    manifest = collect(late)
    n_tasks = len(late.simulator.bought())
    assert 0 < manifest.counts["annotations"] < n_tasks
    assert manifest.counts["unanswered"] == n_tasks - manifest.counts["annotations"]
    assert manifest.cost == 100_000 * manifest.counts["annotations"]
    status = late.simulator.connect().status(label.read_submission(late.batch()).ref)
    assert status.state == "cancelled"


class Unending:
    """The vendor, whose batches do not end when they are called off."""

    def __init__(self, real: Any, refuses: bool) -> None:
        self._real, self.refuses = real, refuses

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def cancel(self, ref: str, reason: str) -> BatchStatus:
        if self.refuses:
            raise Retryable("3 tasks are being worked on.")
        return self._real.status(ref)


@pytest.mark.parametrize("unanswered", ["drop", "buy_again"])
@pytest.mark.parametrize("refuses", [True, False])
def test_a_vendor_that_never_ends_holds_the_batch_for_a_day_and_is_paid_once(
    night: Callable[..., Night], refuses: bool, unanswered: str
) -> None:
    held = submitted(night(deadline_minutes=60, min_completion=0.1, unanswered=unanswered))
    held.simulator.clock.seconds += 8.0
    vendor = Unending(held.simulator.connect(), refuses)
    n_tasks = len(held.simulator.bought())
    for hours in (1, 24):
        held.time += timedelta(hours=hours) - timedelta(minutes=1 if hours == 24 else 0)
        for act in (label.follow_up, label.collect):
            with pytest.raises(Retryable, match=r"until 2026-11-24 01:00 UTC; then .* goes on"):
                act(held.batch(), vendor, SALT)
    held.time += timedelta(minutes=1)
    label.follow_up(held.batch(), vendor, SALT)
    again = {k: n for k, n in held.simulator.bought().items() if n > 1}
    n_follow_ups = len(held.simulator.bought()) - n_tasks
    held.time += timedelta(hours=25, minutes=1)
    manifest = label.collect(held.batch(), vendor, SALT)
    assert not again
    assert 0 < manifest.counts["annotations"] < n_tasks
    assert manifest.counts["follow_ups"] == n_follow_ups
    answered = {row["task_id"] for row in held.rows("label", "annotations")}
    tasks = held.rows("label", "tasks")
    followed = {row["pair_id"] for row in tasks if row["round"]}
    first = [row for row in tasks if not row["round"] and row["pair_id"] in followed]
    assert {row["task_id"] for row in first} <= answered, "what may still come is bought again"
    assert manifest.cost == sum(row["price"] for row in held.rows("label", "annotations"))
    # The rest comes after all: it is told with its price, and the dataset is as it was.
    held.simulator.finish()
    bill, collected = bill_of(held.batch(), vendor), collected_bill(held.batch())
    keep_late(held.batch(), vendor, SALT)
    late = late_answers(held.batch(), vendor)
    assert len(late) == bill.n_answered - collected.n_answered > 0
    assert sum(each.price for each in late) == bill.charged - collected.charged
    assert label.collect(held.batch(), vendor, SALT) == manifest
    assert bill.charged == 100_000 * len(held.simulator.bought())


@pytest.fixture
def resumed(monkeypatch: pytest.MonkeyPatch) -> Callable[[Night, Any], tuple[str, int]]:
    """Resumes Airflow's wait at the deadline; how it ended, and how often it waited on."""

    def until_it_ends(night: Night, vendor: Any) -> tuple[str, int]:
        monkeypatch.setattr(waiting, "batch_of", lambda _: night.batch())
        monkeypatch.setattr(waiting, "vendor_of", lambda *_: vendor)
        wait, event = waiting.WaitForVendor(task_id="w"), {"state": "deadline"}
        for n_waits in itertools.count():
            try:
                return wait.resume({"dag_run": None}, event), n_waits
            except TaskDeferred as waits:
                night.time = datetime.fromisoformat(waits.trigger.deadline)
        raise AssertionError

    return until_it_ends


@pytest.mark.parametrize("refuses", [True, False])
def test_a_vendor_that_never_ends_is_waited_for_a_day_by_the_wait_not_by_the_buyer(
    night: Callable[..., Night], resumed: Callable[[Night, Any], tuple[str, int]], refuses: bool
) -> None:
    held = submitted(night(deadline_minutes=60, min_completion=0.1))
    held.simulator.clock.seconds += 8.0
    held.time += timedelta(hours=1)
    passed, vendor = held.time, Unending(held.simulator.connect(), refuses)
    # At 15 minutes a wait.
    assert resumed(held, vendor) == ("deadline", 96)
    assert held.time == passed + label.CALLING_OFF
    label.follow_up(held.batch(), vendor, SALT)
    assert label.collect(held.batch(), vendor, SALT).counts["annotations"] > 0


def test_a_vendor_that_ends_after_a_while_is_waited_for_no_longer(
    night: Callable[..., Night], resumed: Callable[[Night, Any], tuple[str, int]]
) -> None:
    held = submitted(night(deadline_minutes=60))
    held.time += timedelta(hours=1)

    class Slow(Unending):
        n_calls = 0

        def cancel(self, ref: str, reason: str) -> BatchStatus:
            self.n_calls += 1
            return super().cancel(ref, reason) if self.n_calls < 3 else self._real.cancel(ref, "")

    assert resumed(held, Slow(held.simulator.connect(), True)) == ("deadline", 2)


def test_a_vendor_that_is_away_when_its_day_is_over_is_not_waited_for(
    night: Callable[..., Night], resumed: Callable[[Night, Any], tuple[str, int]]
) -> None:
    held = submitted(night(deadline_minutes=60))
    held.time += timedelta(hours=1)

    class Away(Unending):
        def status(self, ref: str) -> BatchStatus:
            raise Retryable("the vendor is away")

    passed = held.time
    with pytest.raises(Retryable, match="is away"):
        resumed(held, Away(held.simulator.connect(), True))
    assert held.time == passed + label.CALLING_OFF


def test_where_two_disagree_a_third_is_asked(night: Callable[..., Night]) -> None:
    asked = made_up(night(second_vote_share=1.0), 60)
    vendor = asked.simulator.connect()
    with pytest.raises(Retryable, match="still open"):
        label.follow_up(asked.batch(), vendor, SALT)
    asked.simulator.finish()
    bought = label.follow_up(asked.batch(), vendor, SALT)
    assert bought["sent"] == bought["tasks"] > 0
    assert label.follow_up(asked.batch(), vendor, SALT)["sent"] == 0
    asked.simulator.finish()
    manifest = collect(asked)
    assert manifest.counts["follow_ups"] == bought["tasks"]
    rows = asked.rows("label", "annotations")
    thirds = {t["task_id"] for t in asked.rows("label", "tasks") if t["round"] == 1}
    contested = {row["pair_id"] for row in rows if row["task_id"] in thirds}
    first_two = Counter(
        (row["pair_id"], row["preferred"]) for row in rows if row["task_id"] not in thirds
    )
    for pair in contested:
        assert first_two[pair, "first"] == first_two[pair, "second"] == 1
    assert set(asked.simulator.bought().values()) == {1}
    assert manifest.cost == 100_000 * manifest.counts["annotations"]


def test_a_round_that_is_lost_whole_is_no_round_that_never_was(
    night: Callable[..., Night],
) -> None:
    asked = made_up(night(second_vote_share=1.0), 60)
    vendor = asked.simulator.connect()
    asked.simulator.finish()
    n_bought = label.follow_up(asked.batch(), vendor, SALT)["tasks"]
    assert n_bought > 0
    asked.simulator.finish()
    labels = Path(asked.lake.root) / asked.batch().folder / "label"
    for number, act in product(
        (1, 0), (collect, lambda n: label.follow_up(n.batch(), vendor, SALT), submitted)
    ):
        if number == 1 and act is submitted:
            continue
        (labels / f"round-{number}").rename(labels.parent / "aside")
        with pytest.raises(Corrupt, match=rf"round-{number}/\w+.json is missing.*restore it"):
            act(asked)
        (labels.parent / "aside").rename(labels / f"round-{number}")
    assert collect(asked).counts["follow_ups"] == n_bought
    assert set(asked.simulator.bought().values()) == {1}


def test_a_batch_that_needs_no_follow_up_buys_none(night: Callable[..., Night]) -> None:
    plain = submitted(night(second_vote_share=0.0))
    plain.simulator.finish()
    assert label.follow_up(plain.batch(), plain.simulator.connect(), SALT)["sent"] == 0
    assert label.read_submission(plain.batch(), 1) is None
    assert collect(plain).counts["follow_ups"] == 0


def test_follow_ups_go_as_far_as_the_budget(night: Callable[..., Night]) -> None:
    bought = []
    for name, budget in (("rich", 50.0), ("poor", 0.1 * 120 + 0.05)):
        asked = made_up(night(name, second_vote_share=1.0, budget_usd=budget), 60)
        asked.simulator.finish()
        bought.append(label.follow_up(asked.batch(), asked.simulator.connect(), SALT)["tasks"])
    assert 0 < bought[1] < bought[0]
    asked.simulator.finish()
    manifest = collect(asked)
    assert asked.campaign.label.budget - 100_000 <= manifest.cost <= asked.campaign.label.budget


def test_what_nobody_answered_is_bought_again(night: Callable[..., Night]) -> None:
    late = submitted(night(deadline_minutes=1, unanswered="buy_again", third_votes=False))
    late.simulator.clock.seconds += 8.0
    late.time += timedelta(minutes=2)
    n_first = len(late.simulator.bought())
    bought = label.follow_up(late.batch(), late.simulator.connect(), SALT)
    assert 0 < bought["tasks"] < n_first
    late.simulator.finish()
    manifest = collect(late)
    assert manifest.counts["tasks"] == n_first + bought["tasks"]
    assert manifest.counts["annotations"] > 0.8 * n_first
    assert manifest.cost == 100_000 * manifest.counts["annotations"] <= 100_000 * n_first


def test_a_dear_purchase_waits_for_a_persons_approval(night: Callable[..., Night]) -> None:
    dear = night(approve_above_usd=0.5)
    dear.choose(dear.batch())
    with pytest.raises(Blocked, match="wants a person's approval"):
        label.submit(dear.batch(), dear.simulator.connect())
    assert dear.simulator.bought() == {}
    assert "waiting for a person's approval" in progress(dear.batch())["label"]
    label.approve(dear.batch(), "ada")
    assert "approval" not in progress(dear.batch())["label"]
    assert label.submit(dear.batch(), dear.simulator.connect())["sent"] > 0
    assert label.plan(dear.batch())["submitted"]


@pytest.mark.parametrize(
    "most_usd", [float("nan"), float("inf"), -1.0, 1e10, 10**400, "5", True, [1.0]]
)
def test_an_approval_of_no_amount_is_refused_before_it_is_stored(
    night: Callable[..., Night], most_usd: Any
) -> None:
    dear = night(approve_above_usd=0.5)
    dear.choose(dear.batch())
    with pytest.raises(Fatal, match="amount of dollars"):
        label.approve(dear.batch(), "ada", most_usd)
    assert label.plan(dear.batch())["approved_usd"] == 0.0
    label.approve(dear.batch(), "ada", 5)
    assert label.plan(dear.batch())["approved_usd"] == 5.0


def test_a_limit_may_be_moved_for_the_batch_that_it_stopped(night: Callable[..., Night]) -> None:
    late = submitted(night(deadline_minutes=1, min_completion=0.9))
    late.simulator.clock.seconds += 8.0
    late.time += timedelta(minutes=2)
    with pytest.raises(Blocked):
        collect(late)
    relaxed = late.campaign.label.model_copy(update={"min_completion": 0.1, "price_usd": 9.0})
    late.campaign = late.campaign.model_copy(update={"label": relaxed})
    assert collect(late).counts["annotations"] > 0
    assert late.batch().campaign.label.price_usd == 0.1


def test_a_third_vote_makes_up_for_no_task_that_nobody_answered(
    night: Callable[..., Night],
) -> None:
    late = made_up(night(second_vote_share=1.0, deadline_minutes=1, min_completion=0.0), 60)
    late.simulator.clock.seconds += 60.0
    late.time += timedelta(minutes=2)
    third = label.follow_up(late.batch(), late.simulator.connect(), SALT)["tasks"]
    late.simulator.finish()
    n_first = late.simulator.connect().status(rounds(late)[0].ref).n_answered
    assert 0 < n_first < 120 and third > 0
    strict = late.campaign.label.model_copy(update={"min_completion": (n_first + 1) / 120})
    late.campaign = late.campaign.model_copy(update={"label": strict})
    with pytest.raises(Blocked, match=f"{n_first} of 120 tasks were answered"):
        collect(late)


def test_gold_tasks_tell_of_annotators_and_are_not_published(
    night: Callable[..., Night], tmp_path: Path
) -> None:
    gold = tmp_path / "gold.jsonl"
    good = {"prompt": "What is rain?", "chosen": "Water that falls from clouds.", "rejected": "x x"}
    gold.write_text("\n".join([json.dumps(good), json.dumps({"prompt": "?"}), "{"]))
    known = submitted(night(gold=str(gold), gold_share=0.05))
    known.simulator.finish()
    manifest = collect(known)
    assert manifest.counts["gold"] == 1
    assert manifest.figures["n_gold"] == 1
    reasons = [row["reason"] for row in known.rows("label", "quarantine")]
    assert len([reason for reason in reasons if reason != "no_vote"]) == 2
    pairs = {row["pair_id"] for row in known.rows("select", "comparisons")}
    told = {row["pair_id"]: row["kind"] for row in known.rows("label", "annotations")}
    assert [told[pair] for pair in told.keys() - pairs] == ["gold"]
    assert {row["pair_id"] for row in known.rows("label", "preferences")} <= pairs
    publish.refit(known.batch(), publish.version(known.batch(), publish.check(known.batch())))


def test_an_approval_is_for_its_amount(night: Callable[..., Night]) -> None:
    dear = night(approve_above_usd=0.5, budget_usd=1.5, second_vote_share=1.0)
    dear.choose(dear.batch())
    label.approve(dear.batch(), "ada")
    with_more_money(dear, 50.0)
    with pytest.raises(Blocked, match=r"gave it for \$1\.50"):
        label.submit(dear.batch(), dear.simulator.connect())
    assert dear.simulator.bought() == {}
    label.approve(dear.batch(), "grace")
    label.approve(dear.batch(), "a smaller one changes nothing", 1.0)
    label.submit(dear.batch(), dear.simulator.connect())
    told = json.loads(dear.lake.read(f"{dear.batch().folder}/label/approval.json"))
    assert (told["who"], [each["who"] for each in told["earlier"]]) == ("grace", ["ada"])


@pytest.mark.parametrize("approve_above_usd", [1.0, 2.5])
def test_a_budget_raised_after_the_approval_buys_no_dearer_follow_up(
    night: Callable[..., Night], approve_above_usd: float
) -> None:
    dear = night(
        approve_above_usd=approve_above_usd,
        budget_usd=2.3,
        second_vote_share=0.5,
        unanswered="buy_again",
        deadline_minutes=1,
    )
    dear.choose(dear.batch())
    if approve_above_usd < 2.3:
        label.approve(dear.batch(), "ada")
    label.submit(dear.batch(), dear.simulator.connect())
    dear.time += timedelta(minutes=2)
    with_more_money(dear, 50.0)
    label.follow_up(dear.batch(), dear.simulator.connect(), SALT)
    spent = [dear.simulator.connect().status(r.ref).committed for r in rounds(dear)]
    assert sum(spent) <= 1_000_000 * max(2.3, approve_above_usd)


@pytest.mark.parametrize("left_usd", [0.0, 0.05, 0.1, 0.25])
def test_without_money_there_is_no_follow_up_and_the_batch_goes_on(
    night: Callable[..., Night], left_usd: float
) -> None:
    poor = night(second_vote_share=1.0)
    poor.choose(poor.batch())
    label.submit(poor.batch(), poor.simulator.connect())
    poor.simulator.finish()
    spent = poor.simulator.connect().status(rounds(poor)[0].ref).committed / 1e6
    with_more_money(poor, spent - 0.1 + left_usd)
    done = label.follow_up(poor.batch(), poor.simulator.connect(), SALT)
    poor.simulator.finish()
    assert done["sent"] == max(0, round(10 * (left_usd - 0.1) - 0.49)) or done["sent"] == 0
    assert collect(poor).cost <= 1_000_000 * max(spent, spent - 0.1 + left_usd)


@pytest.mark.parametrize("goes", ["nearly all", "one follow-up's"])
def test_money_that_goes_after_the_follow_up_was_planned_buys_none(
    night: Callable[..., Night], goes: str
) -> None:
    poor = night(
        second_vote_share=1.0, unanswered="buy_again", deadline_minutes=1, min_completion=0.1
    )
    poor.choose(poor.batch())
    label.submit(poor.batch(), poor.simulator.connect())
    poor.simulator.clock.seconds += 8.0
    poor.time += timedelta(minutes=2)

    class Away:
        def __getattr__(self, name: str) -> object:
            if name == "open_batch":
                raise Retryable("the vendor is away")
            return getattr(poor.simulator.connect(), name)

    with pytest.raises(Retryable):
        label.follow_up(poor.batch(), Away(), SALT)
    n_planned = label.read_plan(poor.batch(), 1).totals.tasks
    spent = poor.simulator.connect().status(rounds(poor)[0].ref).committed / 1e6
    with_more_money(poor, 0.2 if goes == "nearly all" else spent + 0.1 * (n_planned - 1))
    left_out = label.follow_up(poor.batch(), poor.simulator.connect(), SALT)["left_out"]
    assert left_out == n_planned > 0
    assert collect(poor).counts["annotations"] > 0


def with_more_money(night: Night, budget_usd: float) -> None:
    """The campaign with another budget."""
    told = night.campaign.label.model_copy(update={"budget_usd": budget_usd})
    night.campaign = night.campaign.model_copy(update={"label": told})


def rounds(night: Night) -> list[label.SubmissionRecord]:
    """Where each round was bought."""
    found = [label.read_submission(night.batch(), number) for number in (0, 1)]
    return [each for each in found if each is not None]


def test_a_plan_from_before_second_votes_went_by_disagreement_goes_on(
    night: Callable[..., Night],
) -> None:
    old = made_up(night(second_vote_share=1.0), 60)
    path = round_path(old.batch(), 0, "plan.json")
    content = read_sealed(old.lake.read(path))
    asked = read_table(old.lake, Artifact(**content["asked"]))
    without = old.batch().write_table("label", "asked-0", asked.drop_columns("by_disagreement"))
    old.lake.remove(path)
    old.lake.create(path, sealed_json({**content, "asked": asdict(without)}))
    before = old.simulator.bought()
    assert label.submit(old.batch(), old.simulator.connect())["sent"] == 0
    old.simulator.finish()
    assert label.follow_up(old.batch(), old.simulator.connect(), SALT)["tasks"] > 0
    old.simulator.finish()
    collect(old)
    tasks = {task["task_id"] for task in old.rows("label", "tasks")}
    assert before.keys() < tasks == old.simulator.bought().keys()
    assert set(old.simulator.bought().values()) == {1}


@pytest.mark.parametrize("gate", ["open", "undecided"])
def test_second_votes_go_by_disagreement_once_the_gate_is_open(
    night: Callable[..., Night], gate: str
) -> None:
    plans = []
    for how in ("uniform", "disagreement"):
        asked = night(how, second_vote_share=0.4, second_votes=how)
        fabricate(asked.batch(), 300, gate=gate)
        label.plan(asked.batch())
        plan = read_plan(asked.batch(), 0)
        assert plan is not None
        plans.append(plan.tasks.to_pylist())
    evenly, by_model = ({task["task_id"] for task in tasks} for tasks in plans)
    sought = [task for task in plans[1] if task["by_disagreement"]]
    assert (evenly == by_model, bool(sought)) == (gate != "open", gate == "open")
    assert all(task["repetition"] == 1 for task in sought)
    assert abs(len(evenly) - len(by_model)) < 60
