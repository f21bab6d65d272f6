"""A second campaign over nights that another one generated: no pool made, no vote bought again."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from winnow.batch import Batch, read_table
from winnow.campaign import parse_campaign
from winnow.cli import main
from winnow.errors import Fatal, Retryable
from winnow.expand.features import earlier_version, version_of
from winnow.ids import canonical_json, digest
from winnow.ingest.ledger import read_ledger
from winnow.label.annotation import Annotation
from winnow.label.collect import Delivery
from winnow.label.tasks import Task
from winnow.lake import FolderLake
from winnow.progress import progress, summary
from winnow.publish.lineage import lineage_text, trace
from winnow.publish.versions import newest, read_version
from winnow.stages import expand, ingest, label
from winnow.stages.expand import pools_from
from winnow.stages.gate_input import measured
from winnow.stages.label.annotations_from import Taken, votes_bought_before
from winnow.stages.label.plans import read_plan
from winnow.stages.select import reward_model
from winnow.validate.gate import judge

from ...sampling import some
from ..conftest import TOKEN
from ..label.collected import read_deliveries
from .conftest import DAY, LAKE_STEPS, SALT, VENDOR_STEPS, Dying, Killed, Night


class Again(Night):
    """A night of another campaign over the lake and the books of `first`."""

    def __init__(self, first: Night, **changes: Any) -> None:
        self.simulator, self.time = first.simulator, first.time
        self.lake = FolderLake(first.lake.root, lambda: self.time)
        settings = first.campaign.model_dump(mode="json")
        settings |= {"name": "again", "pools_from": "small", "ingest": {}}
        settings |= {"publish": {"dataset": "again"}}
        for name, value in changes.items():
            held = settings.get(name)
            settings[name] = {**held, **value} if isinstance(value, dict) and held else value
        self.campaign = parse_campaign(settings, "test")

    def expand(self, batch: Batch) -> None:
        assert expand.plan(batch) == []
        expand.gather(batch)


class FirstShown:
    """A simulator whose annotators prefer what is shown first: two votes on a pair cancel."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def connect(self) -> Any:
        vendor = FirstShown(self._real.connect())
        fetch = vendor.fetch

        def first_shown(ref: str, cursor: str | None) -> Any:
            page = fetch(ref, cursor)
            records = [{**json.loads(raw), "choice": "a"} for raw in page.records]
            return replace(page, records=tuple(json.dumps(each).encode() for each in records))

        vendor.__dict__["fetch"] = first_shown
        return vendor


def other_strategy(first: Night, **changes: Any) -> Again:
    """Chooses other pairs of the same pools, some of which the first campaign bought."""
    return Again(first, select={"strategy": "random", "pairs_per_prompt": 3}, **changes)


@pytest.fixture(scope="module")
def kept_nights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nights that were run once for all tests, a folder each."""
    return tmp_path_factory.mktemp("nights")


@pytest.fixture
def first(
    tmp_path: Path, inbox: Path, start_simulator: Callable[..., Any], kept_nights: Path
) -> Callable[..., Night]:
    """Copies of a published night, each under its name; other keywords are settings of `label`."""

    def run_once(cancelling: bool, settings: dict[str, Any]) -> Path:
        kept = kept_nights / digest(canonical_json([cancelling, settings]))[:8]
        if not kept.exists():
            simulator = start_simulator(tmp_path / "kept.sqlite")
            simulator = FirstShown(simulator) if cancelling else simulator
            Night(tmp_path / "kept", inbox, simulator, settings).run()
            kept.mkdir()
            for path in tmp_path.glob("kept.sqlite*"):
                shutil.copy(path, kept / path.name)
            shutil.copytree(tmp_path / "kept", kept / "lake")
        return kept

    def make(name: str = "first", cancelling: bool = False, **settings: Any) -> Night:
        kept = run_once(cancelling, settings)
        for path in kept.glob("kept.sqlite*"):
            shutil.copy(path, tmp_path / path.name.replace("kept", name))
        shutil.copytree(kept / "lake", tmp_path / name)
        simulator = start_simulator(tmp_path / f"{name}.sqlite")
        simulator.clock.seconds += 100_000.0
        simulator = FirstShown(simulator) if cancelling else simulator
        return Night(tmp_path / name, inbox, simulator, settings)

    return make


def test_prompts_and_pools_are_the_same_objects_and_nothing_is_generated(
    first: Callable[..., Night],
) -> None:
    one = first()
    again = other_strategy(one)
    batch = again.batch()
    ingest.run(batch)
    again.expand(batch)
    for stage in ("ingest", "expand"):
        source, taken = one.batch().require(stage), batch.require(stage)
        assert (taken.outputs, taken.counts) == (source.outputs, source.counts)
        assert taken.inputs[stage] == source.digest
        assert taken.figures == {**source.figures, "pools_from": "small"}
        assert list(one.lake.tags(f"{batch.folder}/{stage}")) == [
            f"{batch.folder}/{stage}/manifest.json"
        ]
    assert batch.require("expand").inputs != one.batch().require("expand").inputs
    (entry,) = read_ledger(one.lake, "again").entries
    assert (entry.batch, entry.files) == (DAY, {})
    assert "6 prompts, taken over from small" in progress(batch)["ingest"]


def test_another_strategy_buys_only_what_nobody_bought(first: Callable[..., Night]) -> None:
    one = first()
    before = one.simulator.bought()
    again = other_strategy(one)
    again.run()
    pairs = {row["pair_id"] for row in again.rows("select", "comparisons")}
    known = {row["pair_id"] for row in one.rows("select", "comparisons")}
    assert pairs & known and pairs - known
    bought = again.simulator.bought()
    assert set(bought.values()) == {1} and before.items() <= bought.items()
    tasks = again.rows("label", "tasks")
    taken = {row["task_id"]: row for row in tasks if row["taken_from"]}
    mine = {row["task_id"]: row for row in tasks if not row["taken_from"]}
    assert set(taken) <= set(before) and set(mine) == set(bought) - set(before)
    assert {(row["taken_from"], row["price"]) for row in taken.values()} == {("small", 0)}
    wanted = Counter(row["pair_id"] for row in one.rows("label", "tasks"))
    held = Counter(row["pair_id"] for row in taken.values())
    assert held == {pair: n for pair, n in wanted.items() if pair in pairs}
    assert not set(held) & {row["pair_id"] for row in mine.values()}
    done = again.batch().require("label")
    assert done.cost == len(mine) * again.campaign.label.price
    assert done.counts["taken_over"] == len(taken) == done.figures["taken_over"]["small"]
    prices = {row["task_id"]: row["price"] for row in again.rows("label", "annotations")}
    assert {prices[each] for each in taken} == {0} and {prices[each] for each in mine} == {100_000}
    costs = {row["pair_id"]: row["cost"] for row in again.rows("label", "preferences")}
    assert set(costs) == pairs and {costs[pair] for pair in held} == {0}


def test_the_plan_counts_and_prices_only_what_is_bought(first: Callable[..., Night]) -> None:
    again = other_strategy(first(), label={"approve_above_usd": 0.1, "third_votes": False})
    batch = again.batch()
    again.choose(batch)
    told = label.plan(batch)
    n_held = sum(held.n for held in taken_votes(batch).held.values())
    assert told["taken_over"] == n_held > 0
    assert told["pairs"] == 18 - len(taken_votes(batch).held)
    assert told["estimate_usd"] == told["most_usd"] == pytest.approx(told["tasks"] * 0.1)
    assert f"{n_held} votes taken over, waiting for a person" in progress(batch)["label"]


def test_the_gate_finds_no_fault_in_rows_that_were_taken_over(first: Callable[..., Night]) -> None:
    again = other_strategy(first(rated_dimensions=["tone"], repeat_share=0.5))
    again.run()
    with measured(again.batch()) as found:
        broken = {name for name, fault in found.faults.items() if fault.n}
    assert broken == set()
    assert (found.figures["cost_gap"], found.figures["rows_lost"]) == (0.0, 0)
    verdict = judge(found, again.campaign.validation).verdict
    assert verdict.verdict != "block", verdict.reasons()


def test_the_same_choice_again_is_published_without_a_vendor(first: Callable[..., Night]) -> None:
    one = first()
    again = Again(one)
    n_batches, before = len(one.simulator.books.batches()), one.simulator.bought()
    assert again.run(in_vendor=True) == 0
    assert (len(one.simulator.books.batches()), one.simulator.bought()) == (n_batches, before)
    done = again.batch().require("label")
    assert (done.cost, done.counts["unanswered"]) == (0, 0)
    version = newest(one.lake, "again")
    assert version is not None and version.n_rows("annotations") == done.counts["annotations"]
    for row in again.rows("label", "preferences"):
        assert row["votes"] == max(
            r["votes"] for r in one.rows("label", "preferences") if r["pair_id"] == row["pair_id"]
        )


@pytest.mark.sampled
@pytest.mark.parametrize("in_vendor", [False, True], ids=["lake", "vendor"])
def test_a_kill_before_any_step_buys_and_takes_over_the_same(
    first: Callable[..., Night], in_vendor: bool
) -> None:
    def outcome(again: Again) -> Any:
        manifests = [again.batch().require(s) for s in ("ingest", "expand", "select", "label")]
        taken = [row for row in again.rows("label", "tasks") if row["taken_from"]]
        digests = [each.digest for each in manifests[:3]]
        return digests, manifests[3].counts, manifests[3].cost, taken, again.simulator.bought()

    def label_only(again: Again, die_at: int | None) -> int:
        lake = Dying(again.lake, LAKE_STEPS, None if in_vendor else die_at)
        vendor = Dying(again.simulator.connect(), VENDOR_STEPS, die_at if in_vendor else None)
        batch = again.batch(lake)
        again.choose(batch)
        again.buy(batch, vendor)
        return vendor.n_steps if in_vendor else lake.n_steps

    undisturbed = other_strategy(first("undisturbed"))
    n_steps = label_only(undisturbed, None)
    expected = outcome(undisturbed)
    assert n_steps >= (8 if in_vendor else 15) and expected[3]
    for step in some(range(n_steps), 15):
        killed = other_strategy(first(f"killed-{step}"))
        with pytest.raises(Killed):
            label_only(killed, step)
        label_only(killed, None)
        assert outcome(killed) == expected, f"killed before step {step}"


def test_what_the_source_learns_after_the_plan_changes_nothing(
    first: Callable[..., Night],
) -> None:
    one = first()
    again = other_strategy(one)
    batch = again.batch()
    again.choose(batch)
    before = label.plan(batch)
    roll_back_everything(one)
    assert votes_bought_before(batch, again.rows("select", "comparisons")).tasks == []
    assert label.plan(batch) == before and before["taken_over"] == len(taken_votes(batch).tasks)


def test_labels_that_were_rolled_back_are_bought_anew(first: Callable[..., Night]) -> None:
    one = first()
    roll_back_everything(one)
    again = Again(one)
    again.run()
    done = again.batch().require("label")
    assert done.counts["taken_over"] == 0 and done.cost > 0
    assert set(again.simulator.bought().values()) == {1}


def roll_back_everything(one: Night) -> None:
    """Take the night out of its dataset, as a rollback to a version before it does."""
    bare = newest(one.lake, "small")
    assert bare is not None
    path = "datasets/small/versions/v000002.json"
    version = replace(bare, number=2, parent=1, batches=(), withdrawn=bare.batches, files={})
    one.lake.create(path, version.to_bytes())


@pytest.mark.parametrize(
    "label_settings",
    [{"instructions": "Which is truer?"}, {"rubric_version": "other"}, {"rated_dimensions": ["x"]}],
    ids=lambda settings: next(iter(settings)),
)
def test_another_rubric_buys_every_label(
    first: Callable[..., Night], label_settings: dict[str, Any]
) -> None:
    again = Again(first(), label=label_settings)
    batch = again.batch()
    again.choose(batch)
    assert label.plan(batch)["taken_over"] == 0
    assert label.plan(batch)["pairs"] == 12


def test_without_annotations_from_every_label_is_bought_under_ids_of_its_own(
    first: Callable[..., Night],
) -> None:
    one = first()
    again = Again(one, annotations_from=[])
    again.run()
    tasks = {row["task_id"] for row in again.rows("label", "tasks")}
    assert again.batch().require("label").cost == again.campaign.label.price * len(tasks)
    assert not tasks & {row["task_id"] for row in one.rows("label", "tasks")}
    assert set(again.simulator.bought().values()) == {1}


def cancelled(night: Night) -> set[str]:
    """Pairs whose first two votes name one side each."""
    asked = {row["task_id"]: row["round"] for row in night.rows("label", "tasks")}
    said: dict[str, list[str]] = {}
    for row in night.rows("label", "annotations"):
        if row["kind"] == "comparison" and asked[row["task_id"]] == 0:
            said.setdefault(row["pair_id"], []).append(row["preferred"])
    return {pair for pair, votes in said.items() if sorted(votes) == ["first", "second"]}


def test_votes_that_cancel_get_their_third_one_and_no_other(first: Callable[..., Night]) -> None:
    one = first(cancelling=True, second_vote_share=0.5, third_votes=False)
    contested = cancelled(one)
    assert 0 < len(contested) < 12
    again = Again(one, label={"third_votes": True})
    again.run()
    mine = [row for row in again.rows("label", "tasks") if not row["taken_from"]]
    assert {row["pair_id"] for row in mine} == contested and len(mine) == len(contested)
    assert {(row["round"], row["repetition"]) for row in mine} == {(0, 2)}


def test_a_third_vote_that_nobody_gives_is_not_asked_again(first: Callable[..., Night]) -> None:
    one = first(cancelling=True, second_vote_share=0.5, third_votes=False)
    again = Again(one, label={"third_votes": True, "deadline_minutes": 1, "min_completion": 0})
    batch, vendor = again.batch(), one.simulator.connect()
    again.choose(batch)
    label.submit(batch, vendor)
    again.time += timedelta(minutes=2)
    assert label.follow_up(again.batch(), vendor, SALT) == {"sent": 0, "tasks": 0}
    done = label.collect(again.batch(), vendor, SALT)
    assert done.counts["unanswered"] == len(cancelled(one))


def test_a_taken_vote_and_a_bought_one_that_cancel_call_for_a_third(
    first: Callable[..., Night],
) -> None:
    one = first(cancelling=True, second_vote_share=0.0)
    again = Again(one, label={"second_vote_share": 1.0})
    batch = again.batch()
    again.choose(batch)
    assert label.plan(batch)["most_usd"] == pytest.approx(12 * 0.1 + 12 * 0.1)
    again.run()
    tasks = again.rows("label", "tasks")
    second = [row for row in tasks if not row["taken_from"] and row["round"] == 0]
    shown = {row["pair_id"]: row["shown_a"] for row in tasks if row["taken_from"]}
    assert {row["pair_id"] for row in second} == set(shown) and len(second) == len(shown) == 12
    assert all(row["shown_b"] == shown[row["pair_id"]] for row in second)
    thirds = {row["pair_id"] for row in tasks if row["round"] == 1}
    assert thirds == cancelled(again) != set()
    assert {row["repetition"] for row in tasks if row["round"] == 1} == {2}


def test_a_pair_that_was_turned_round_keeps_what_was_shown_and_meant(
    first: Callable[..., Night],
) -> None:
    one = first(rated_dimensions=["tone"], repeat_share=0.5)
    again = Again(one)
    batch = again.batch()
    again.choose(batch)
    rows = again.rows("select", "comparisons")
    straight = votes_bought_before(batch, rows)
    turned = votes_bought_before(
        batch, [{**r, "first_id": r["second_id"], "second_id": r["first_id"]} for r in rows]
    )
    assert any(vote.ratings for vote in straight.annotations)
    other = {"first": "second", "second": "first"}
    for a, b in zip(straight.annotations, turned.annotations, strict=True):
        assert (b.choice, b.swapped) == (a.choice, not a.swapped)
        assert b.preferred == other.get(str(a.preferred), a.preferred)
        assert b.ratings == [{**r, "first": r["second"], "second": r["first"]} for r in a.ratings]
    for task, mirrored in zip(straight.tasks, turned.tasks, strict=True):
        assert (mirrored.shown_a, mirrored.swapped) == (task.shown_a, not task.swapped)


def taken_votes(batch: Batch) -> Taken:
    """The votes that the plan of the batch names."""
    plan = read_plan(batch, 0)
    assert plan is not None
    rows = {name: read_table(batch.lake, table).to_pylist() for name, table in plan.taken.items()}
    return Taken(
        [Task(**row) for row in rows.get("tasks", ())],
        [Annotation(**row) for row in rows.get("annotations", ())],
    )


def test_who_judged_a_pair_before_gives_a_repeat_and_no_second_vote(
    first: Callable[..., Night],
) -> None:
    again = Again(first())
    batch = again.batch()
    again.choose(batch)
    label.plan(batch)
    taken = taken_votes(batch)
    old = taken.annotations[0]
    said = {"task_id": "t", "choice": "a", "price": 100_000, "finished_at": str(again.time)}
    sent = [
        Delivery(json.dumps({**said, "annotation_id": name, "annotator": who}).encode(), "v", n, 0)
        for n, (name, who) in enumerate([("new", old.annotator), ("other", "stranger")])
    ]
    asked = [{"task_id": "t", "pair_id": old.pair_id, "swapped": False, "kind": "comparison"}]
    joined = read_deliveries(sent, asked, {}, taken=taken.annotations).annotations
    kinds = {each.annotation_id: each.kind for each in joined}
    assert (kinds[old.annotation_id], kinds["new"]) == ("comparison", "repeat")
    assert kinds["other"] == "comparison"


def test_a_third_campaign_takes_over_from_both_and_names_who_bought(
    first: Callable[..., Night],
) -> None:
    one = first()
    other_strategy(one).run()
    both = {"name": "third", "annotations_from": ["again", "small"], "pools_from": "again"}
    third = other_strategy(one, **both, publish={"dataset": "third"})
    before = one.simulator.bought()
    third.run()
    assert one.simulator.bought() == before
    ids = [row["annotation_id"] for row in third.rows("label", "annotations")]
    assert len(ids) == len(set(ids))
    by = third.batch().require("label").figures["taken_over"]
    assert set(by) == {"again", "small"} and sum(by.values()) == len(ids)


def test_a_pair_that_this_campaign_may_not_show_takes_no_vote_over(
    night: Callable[..., Night], inbox: Path
) -> None:
    prompts = ["why is rain wet?", "what should I write to ada@example.com?"]
    (inbox / "a.jsonl").write_text("\n".join(json.dumps({"prompt": each}) for each in prompts))
    one = night(pii="send")
    one.run()
    again = Again(one, label={"pii": "block"})
    again.run()
    done = again.batch().require("label")
    assert (done.counts["rows_in"], done.counts["rows_out"], done.counts["quarantined"]) == (
        4,
        2,
        2,
    )
    assert {row["reason"] for row in again.rows("label", "quarantine")} == {"pii"}
    shown = {row["pair_id"] for row in again.rows("label", "preferences")}
    assert {row["pair_id"] for row in again.rows("label", "annotations")} == shown
    assert done.cost == 0


def test_a_model_learns_from_votes_that_were_taken_over_and_chose_without_them(
    first: Callable[..., Night],
) -> None:
    one = first()
    again = other_strategy(one)
    again.run()
    assert reward_model.newest(one.lake, "small") is not None
    assert again.batch().require("select").figures["posterior_labels"] == 0
    votes = [r for r in again.rows("label", "annotations") if r["preferred"] is not None]
    assert again.batch().require("publish").figures["posterior_labels"] == len(votes)


def test_prompts_that_the_campaign_has_already_are_refused(first: Callable[..., Night]) -> None:
    one = first()
    Again(one).run()
    keys = {"small": DAY, "again": DAY}
    batch = Again(one, name="small2", publish={"dataset": "small2"}).batch()
    ingest.run(batch)
    for stage in ("ingest", "expand"):
        for name in keys:
            path = f"batches/{name}/2026-11-23/{stage}/manifest.json"
            one.lake.create(path, one.lake.read(f"batches/{name}/{DAY}/{stage}/manifest.json"))
    settings = one.lake.read(f"batches/small/{DAY}/campaign.json")
    one.lake.create("batches/small/2026-11-23/campaign.json", settings)
    with pytest.raises(Fatal, match=f"6 prompts .* by batch {DAY}"):
        ingest.run(replace(batch, key="2026-11-23"))


def test_pools_that_are_not_there_yet_are_waited_for(night: Callable[..., Night]) -> None:
    one = night()
    batch = Again(one).batch()
    with pytest.raises(Fatal, match=r"campaign small has no batch .* another `name`"):
        ingest.run(batch)
    ingest.run(one.batch())
    with pytest.raises(Retryable, match=r"has no pools yet.*gather_pools"):
        ingest.run(batch)
    one.expand(one.batch())
    assert ingest.run(batch) is not None


def test_labels_still_at_the_vendor_are_waited_for(night: Callable[..., Night]) -> None:
    one = night()
    one.choose(one.batch())
    again = other_strategy(one)
    batch = again.batch()
    again.choose(batch)
    vendor = one.simulator.connect()
    label.submit(one.batch(), vendor)
    with pytest.raises(Retryable, match=r"not published yet.*annotations_from: \[\]"):
        label.submit(batch, vendor)
    assert len(one.simulator.books.batches()) == 1
    one.run()
    assert label.submit(batch, vendor)["sent"] == label.plan(batch)["tasks"] > 0
    assert label.plan(batch)["taken_over"] > 0


def test_a_source_whose_batch_ended_without_a_vote_holds_nobody_up(
    night: Callable[..., Night], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = night()
    one.choose(one.batch())
    label.submit(one.batch(), one.simulator.connect())
    counts = {"rows_in": 1, "rows_out": 0, "quarantined": 1, "tasks": 1, "unanswered": 1}
    one.batch().commit("label", inputs=[], outputs={}, counts=counts)
    again = Again(one)
    again.choose(again.batch())
    assert label.plan(again.batch())["taken_over"] == 0


def test_a_source_that_bought_nothing_holds_nobody_up(night: Callable[..., Night]) -> None:
    one = night()
    one.choose(one.batch())
    label.plan(one.batch())
    again = Again(one)
    again.choose(again.batch())
    assert label.plan(again.batch())["taken_over"] == 0


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"expand": {"temperature": 0.5}}, r"expand\.temperature is 1\.0, here it is 0\.5"),
        ({"expand": {"model": "other"}}, r"expand\.model is 'tiny', here it is 'other'"),
        ({"publish": {"dataset": "small"}}, r"both publish small.*`publish\.dataset` of its own"),
        ({"pools_from": "smal"}, "campaign smal has no batch"),
    ],
    ids=["temperature", "model", "dataset", "name"],
)
def test_pools_that_do_not_fit_are_refused_and_the_setting_named(
    first: Callable[..., Night], changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(Fatal, match=told):
        ingest.run(Again(first(), **changes).batch())


def test_what_does_not_shape_a_pool_may_differ(first: Callable[..., Night]) -> None:
    settings = {"expand": {"engine": "vllm", "responses_per_call": 7, "tokens_per_shard": 9}}
    assert ingest.run(Again(first(), **settings).batch()) is not None


def test_features_of_another_version_are_refused(
    first: Callable[..., Night], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools_from, "version_of", lambda *_: "style-2")
    with pytest.raises(Fatal, match=r"features are of version .*style-1, now they are style-2"):
        ingest.run(Again(first()).batch())


def test_features_of_before_an_upgrade_are_taken_over(
    first: Callable[..., Night], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = first()
    monkeypatch.setattr(
        pools_from, "version_of", lambda *given: earlier_version(version_of(*given))
    )
    assert ingest.run(Again(source).batch()) is not None


def test_lineage_card_and_report_say_what_was_taken_over(first: Callable[..., Night]) -> None:
    again = other_strategy(first())
    again.run()
    row = next(row for row in again.rows("label", "tasks") if row["taken_from"])
    told = lineage_text(trace(again.lake, "again", "again", row["pair_id"]))
    assert f"{row['task_id']}, comparison, round 0" in told and "taken over from small" in told
    version = read_version(again.lake, "again", 1)
    card, report = (
        again.lake.read(version.files[name].path).decode()
        for name in ("README.md", "quality/report.html")
    )
    assert "pools are those of campaign `small`" in card and "taken_over" in card
    assert "votes taken over" in report and "by campaign small" in report
    n_held = sum(held.n for held in taken_votes(again.batch()).held.values())
    assert f"{n_held} votes taken over" in summary(again.batch())


def test_the_command_line_runs_such_a_batch(
    first: Callable[..., Night],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    one = first()
    campaign = tmp_path / "again.yaml"
    campaign.write_text(yaml.safe_dump(Again(one).campaign.model_dump(mode="json")))
    monkeypatch.setenv("WINNOW_VENDOR_TOKEN", TOKEN)
    places = ["--lake", one.lake.uri, "--campaign", str(campaign)]
    run = ["run", *places, "--batch", DAY, "--vendor-url", one.simulator.url]
    assert main(run) == 0
    assert "12 as 0 tasks; 0 answered" in capsys.readouterr().out
    assert main([*run[:-3], "2026-11-21", "--vendor-url", one.simulator.url]) == 1
    assert "leave the day out" in capsys.readouterr().err
    assert main(["status", *places]) == 0
    assert "30 responses, taken over from small" in capsys.readouterr().out


@pytest.mark.parametrize(("theirs", "ours"), [(2, None), (None, 3), (2, 3)])
def test_whose_backfill_began_a_batch_is_its_own_campaigns_matter(
    night: Callable[..., Night], theirs: int | None, ours: int | None
) -> None:
    first = night()
    ingest.run(first.batch(), at_once=theirs)
    first.expand(first.batch())
    manifest = ingest.run(Again(first).batch(), at_once=ours)
    assert manifest is not None and manifest.figures.get("backfill_at_once") == ours
